//! From the timeline to the device: what is there is pushed at once, each frame at its time.

use std::collections::BTreeMap;

use serde::Serialize;
use vox_device::{Error, Output};
use vox_dsp::{Timeline, Varispeed};
use vox_frame::{Audio, Channels, Rate, Record, Stamp, StreamId, Times};
use vox_sys::{Clock, monotonic_ns};

use crate::ear::Ear;
use crate::mixer::{Mixer, Tally};
use crate::pace::{Pace, Step};
use crate::period::Period;
use crate::reference::Reference;
use crate::volume::Volume;

/// The most that is pushed at a time, in ns: its speed is constant.
const BLOCK_NS: i64 = 10_000_000;

/// The most that waits before the device, in ns: what lies there comes before a stream that begins now.
const MOST_NS: i64 = 200_000_000;

/// How much of a stream that the loudspeaker paces waits before it, in ns; nobody hears that.
const UNPACED_NS: i64 = 40_000_000;

/// How long before its last moment a stream that is behind the others is not waited for any longer, in ns.
const MARGIN_NS: i64 = 1_500_000;

/// What is never louder than this may be left out: 46 dB below full scale.
const QUIET: f32 = 0.005;

/// What is due so soon after it arrived may come late without anybody's fault here, in ns.
const NO_TIME_NS: i64 = 1_000_000;

/// How much is blended into each other at a cut, in ns.
const BLEND_NS: i64 = 2_500_000;

/// A loudspeaker and what is on its way to it.
pub(crate) struct Feed {
    clock: Clock,
    /// The time that frame 0 of the timeline stands for, in ns of CLOCK_MONOTONIC.
    origin: i64,
    rate: Rate,
    output: Output,
    volume: Volume,
    reference: Option<Reference>,
    pace: Pace,
    period: Period,
    varispeed: Varispeed,
    channels: usize,
    /// The device's frame that the audio that is playing began with; none while nothing plays.
    playing: Option<u64>,
    block: Vec<f32>,
    blended: Vec<f32>,
    resampled: Vec<f32>,
    /// From when a record is due until it is heard, in ns.
    latency: i64,
    ear: Ear,
    /// The clock rates of the streams that are open.
    rates: BTreeMap<StreamId, Rate>,
    xruns: u64,
    cuts: u64,
}

impl Feed {
    /// Feeds a device; the timeline begins now.
    pub(crate) fn new(output: Output, channels: Channels, volume: Volume, clock: Clock, buffer_ns: i64) -> Self {
        let rate = output.rate();
        Self {
            clock,
            origin: monotonic_ns(),
            rate,
            output,
            volume,
            reference: None,
            pace: Pace::new(rate, buffer_ns),
            period: Period::new(None),
            varispeed: Varispeed::new(rate, channels),
            channels: channels.count(),
            playing: None,
            block: Vec::new(),
            blended: Vec::new(),
            resampled: Vec::new(),
            latency: 0,
            ear: Ear::default(),
            rates: BTreeMap::new(),
            xruns: 0,
            cuts: 0,
        }
    }

    /// Moves so much at a time as `period` says.
    #[must_use]
    pub(crate) fn with_period(mut self, period: Period) -> Self {
        self.period = period;
        self
    }

    /// Tells `reference` what is played.
    #[must_use]
    pub(crate) fn with_reference(mut self, reference: Option<Reference>) -> Self {
        self.reference = reference;
        self
    }

    /// The rate of the device.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// The time that frame 0 of the timeline stands for.
    pub(crate) fn origin(&self) -> Stamp {
        self.clock.from_mono(self.origin)
    }

    /// Gives the device what there is. Gives how much was cut out, in ns.
    ///
    /// # Errors
    /// When the device is gone.
    pub(crate) fn feed(&mut self, mixer: &mut Mixer) -> Result<i64, Error> {
        self.output.check()?;
        while let Some(pull) = self.output.pull() {
            let playing = self.playing.is_some_and(|from| pull.frame >= from);
            self.xruns += u64::from(pull.anew && playing);
            self.pace.pull(&pull, playing);
        }
        let paced = !mixer.has_unpaced();
        let timeline = mixer.timeline_or_default();
        if !paced {
            self.feed_ahead(timeline);
            self.output.wake();
            return Ok(0);
        }
        let before = timeline.head();
        let (dropped, cut) = self.feed_current(timeline);
        self.output.wake();
        debug_assert!(timeline.head() >= before, "a timeline moves on");
        mixer.tally.dropped_samples += dropped;
        Ok(cut)
    }

    /// Lets the device do what it needs by now.
    pub(crate) fn turn(&mut self) {
        self.output.wake();
    }

    /// By when the device must be fed again although nothing comes, in ns of CLOCK_MONOTONIC; none where that does not
    /// matter.
    pub(crate) fn wants_turn_by(&self) -> Option<i64> {
        self.output.wants_turn_by()
    }

    /// How much of the timeline waits, in ns.
    pub(crate) fn ready(&self, mixer: &mut Mixer) -> i64 {
        let timeline = mixer.timeline_or_default();
        self.rate.ns((timeline.end() - timeline.head()).max(0).unsigned_abs())
    }

    /// How long what was pushed takes until it was heard, in ns.
    pub(crate) fn unplayed(&self) -> i64 {
        self.output.unplayed_ns()
    }

    /// Until when a stream that is behind the others is waited for, in ns of CLOCK_MONOTONIC; none where there is no
    /// such stream.
    pub(crate) fn waits_until(&self, mixer: &mut Mixer) -> Option<i64> {
        let paced = !mixer.has_unpaced();
        let timeline = mixer.timeline_or_default();
        let waits = paced && timeline.end() > timeline.head() && !self.is_held_up();
        waits.then(|| self.due(timeline.head()) + self.patience())
    }

    /// Pushes what the resampler holds back.
    pub(crate) fn finish(&mut self) {
        self.block.clear();
        self.block.resize(2 * self.varispeed.delay() * self.channels, 0.0);
        self.push();
        self.output.wake();
    }

    /// Notes when what was just placed will be heard, where it says when it was captured.
    pub(crate) fn hear(&mut self, mixer: &mut Mixer, record: &Record<'_>) {
        match record {
            Record::Format(id, format) => {
                self.rates.insert(*id, format.rate);
                if self.period.follow(format, &mut self.output) {
                    self.pace.renew();
                    self.playing = None;
                }
            }
            Record::End(end) => {
                self.rates.remove(&end.id);
            }
            Record::Audio(audio) => self.hear_audio(mixer, audio),
            Record::Gap(_) | Record::Event(_) | Record::Unknown(_) => {}
        }
    }

    fn hear_audio(&mut self, mixer: &mut Mixer, audio: &Audio<'_>) {
        if let Times { due: Some(due), arrived: Some(arrived), .. } = audio.times
            && due.since(arrived) < NO_TIME_NS
        {
            self.pace.excuse(monotonic_ns());
        }
        let Some(captured) = audio.times.captured.filter(|_| !mixer.has_unpaced()) else { return };
        let end = mixer.timeline_or_default().position(audio.id);
        let Some((rate, end)) = self.rates.get(&audio.id).zip(end) else { return };
        let end_captured = self.clock.mono_ns(captured) + rate.ns(u64::from(audio.duration));
        self.ear.hear(self.due(end) + self.latency - end_captured);
    }

    /// What there is to tell.
    pub(crate) fn summary(&self, kind: &'static str, tally: &Tally) -> impl Serialize + use<> {
        Summary {
            kind,
            tally: tally.clone(),
            underruns: self.pace.underruns(),
            missed_samples: self.pace.missed(),
            xruns: self.xruns,
            cuts: self.cuts,
            clock_jumps: self.pace.jumps(),
            drift_ppm: self.pace.drift_ppm().map(|ppm| (ppm * 10.0).round() / 10.0),
            buffer: seconds(self.pace.buffer()),
            output_latency: seconds(self.latency),
            mouth_to_ear: self.ear.mean().map(seconds),
            mouth_to_ear_min: self.ear.least().map(seconds),
            mouth_to_ear_max: self.ear.most().map(seconds),
        }
    }

    /// When a frame of the timeline is due, in ns of CLOCK_MONOTONIC.
    fn due(&self, frame: i64) -> i64 {
        let ns = self.rate.ns(frame.unsigned_abs());
        self.origin + if frame < 0 { -ns } else { ns }
    }

    /// Whether the device takes nothing for now: what comes waits.
    fn is_held_up(&self) -> bool {
        let most = self.frames(MOST_NS) as usize;
        self.output.waiting() > most || self.pace.place(self.output.next_frame()).is_none()
    }

    /// How long after it is due a stream's audio is waited for while others have theirs, in ns.
    fn patience(&self) -> i64 {
        (self.pace.buffer() - MARGIN_NS).max(0)
    }

    fn frames(&self, ns: i64) -> i64 {
        let frames = self.rate.ticks(ns.abs()).cast_signed();
        if ns < 0 { -frames } else { frames }
    }

    /// By how much the next frame that the resampler gives comes too late, in ns.
    fn lateness(&self, timeline: &Timeline) -> i64 {
        let due = self.due(timeline.head() - self.varispeed.delay() as i64);
        self.pace.lateness(self.output.next_frame(), due)
    }

    /// Streams that are paced by the world: everything that is there is pushed, so that it leaves when its time comes.
    /// Gives the frames dropped and the ns cut.
    fn feed_current(&mut self, timeline: &mut Timeline) -> (u64, i64) {
        let (mut dropped, mut cut) = (0, 0);
        let Some(place) = self.pace.place(self.output.next_frame()) else { return (0, 0) };
        if self.playing.is_none() {
            let delay = self.varispeed.delay() as i64;
            dropped += timeline.skip_to(self.frames(place - self.origin) + delay);
            if timeline.end() <= timeline.head() {
                return (dropped, 0);
            }
            self.playing = Some(self.output.next_frame());
        }
        let patient = self.frames(monotonic_ns() - self.origin - self.patience());
        loop {
            let there = timeline.complete_from(patient).unwrap_or(i64::MAX).min(timeline.end());
            let frames = (there - timeline.head()).min(self.frames(BLOCK_NS));
            if frames <= 0 || self.is_held_up() {
                break;
            }
            let lateness = self.lateness(timeline);
            match self.pace.step(lateness) {
                Step::Skip(ns) => {
                    self.cuts += 1;
                    cut += ns;
                    dropped += self.cut(timeline, ns);
                }
                Step::Wait(ns) => {
                    self.block.clear();
                    self.block.resize(self.frames(ns).unsigned_abs() as usize * self.channels, 0.0);
                    self.push();
                }
                Step::Play { speed, haste } => {
                    self.take(timeline, frames);
                    if haste && self.block.iter().all(|sample| sample.abs() < QUIET) {
                        dropped += frames.unsigned_abs();
                        continue;
                    }
                    self.varispeed.set_speed(speed);
                    self.push();
                }
            }
        }
        let lateness = self.lateness(timeline);
        self.latency = self.pace.lead() + lateness.clamp(-BLOCK_NS, BLOCK_NS) + self.output.latency_ns();
        if timeline.end() <= timeline.head() && (timeline.is_empty() || Pace::is_over(lateness)) {
            self.playing = None;
            if timeline.is_empty() {
                self.pace.rest();
            }
        }
        (dropped, cut)
    }

    /// Streams that wait for the loudspeaker: a level is kept, nothing is resampled.
    fn feed_ahead(&mut self, timeline: &mut Timeline) {
        if self.pace.place(self.output.next_frame()).is_none() {
            return;
        }
        let level = self.frames(self.pace.lead() + UNPACED_NS);
        let wanted = level - self.output.waiting() as i64;
        if wanted <= 0 {
            return;
        }
        if timeline.end() > timeline.head() {
            self.playing.get_or_insert_with(|| self.output.next_frame());
        }
        self.take(timeline, wanted);
        let block = std::mem::take(&mut self.block);
        self.give(&block);
        self.block = block;
        self.latency = self.pace.lead() + UNPACED_NS + self.output.latency_ns();
    }

    /// Leaves out `ns` of the timeline and pushes a blend of both its ends. Gives the frames dropped.
    fn cut(&mut self, timeline: &mut Timeline, ns: i64) -> u64 {
        let blend = self.frames(BLEND_NS);
        self.take(timeline, blend);
        std::mem::swap(&mut self.block, &mut self.blended);
        let to = timeline.head() - blend + self.frames(ns);
        let dropped = timeline.skip_to(to);
        self.take(timeline, blend);
        let channels = self.channels;
        for (n, (new, old)) in self.block.iter_mut().zip(&self.blended).enumerate() {
            let part = (n / channels) as f32 / blend as f32;
            *new = *new * part + *old * (1.0 - part);
        }
        self.push();
        dropped + blend.unsigned_abs()
    }

    /// Takes the timeline's next frames.
    fn take(&mut self, timeline: &mut Timeline, frames: i64) {
        self.block.clear();
        timeline.take(timeline.head() + frames, &mut self.block);
        self.volume.apply(&mut self.block, timeline.rate(), timeline.channels());
    }

    /// Pushes what was taken, resampled.
    fn push(&mut self) {
        self.resampled.clear();
        self.varispeed.process(&self.block, &mut self.resampled);
        let resampled = std::mem::take(&mut self.resampled);
        self.give(&resampled);
        self.resampled = resampled;
    }

    /// Gives frames to the device.
    fn give(&mut self, samples: &[f32]) {
        let frame = self.output.next_frame();
        let given = self.output.push(samples);
        if let (Some(reference), Some(place)) = (&mut self.reference, self.pace.place(frame)) {
            let heard_at = place + self.pace.lead() + self.output.latency_ns();
            reference.push(frame, heard_at, &samples[..given * self.channels]);
        }
    }
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    tally: Tally,
    /// Times that nothing was there for the device although something was playing.
    underruns: u64,
    /// Frames of silence that it got then.
    missed_samples: u64,
    /// Times that the device itself ran empty.
    xruns: u64,
    /// Times that something was left out to be current again.
    cuts: u64,
    /// Times that the device's clock jumped.
    clock_jumps: u64,
    /// How fast the device's clock runs against this computer's, as long as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    drift_ppm: Option<f64>,
    /// How late a record may come and still be played whole, in seconds.
    buffer: f64,
    /// From when a record is due until it is heard, in seconds.
    output_latency: f64,
    /// From when it was captured until it is heard, in seconds: the mean, …
    #[serde(skip_serializing_if = "Option::is_none")]
    mouth_to_ear: Option<f64>,
    /// … the least …
    #[serde(skip_serializing_if = "Option::is_none")]
    mouth_to_ear_min: Option<f64>,
    /// … and the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    mouth_to_ear_max: Option<f64>,
}
