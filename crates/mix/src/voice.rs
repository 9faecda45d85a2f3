//! One stream: from its records to samples at their place on the timeline of the output.

use vox_codec::{DecoderOptions, StreamDecoder};
use vox_dsp::{Fit, Timeline};
use vox_frame::{Audio, Channels, End, Format, Gap, MediaTime, Rate, Stamp, StreamId, Times};

use crate::who::ChannelMap;

/// The only track of a voice's timeline.
const TRACK: StreamId = StreamId(0);

/// How far a record may lie beside its place before its stream is moved there, in ns: less is the rounding of clocks
/// and the delay of codecs.
const TOLERANCE_NS: i64 = 10_000_000;

/// The same where the place is told by when packets arrived, which jitters.
const ARRIVAL_TOLERANCE_NS: i64 = 500_000_000;

/// The longest gap that is silence, in ns.
const MAX_GAP_NS: i64 = 3_600_000_000_000;

/// The longest hole in media time, and the longest slot, in ns; what jumps farther goes on where it was. All of it is
/// held at once, so that it is bounded tighter than a gap.
const MAX_HOLE_NS: i64 = 60_000_000_000;

/// More than any encoder's delay, in ticks: 65 ms of Opus.
const MAX_DELAY_TICKS: i64 = 3_120;

/// A stream that is mixed.
pub(crate) struct Voice {
    pub(crate) format: Format,
    decoder: StreamDecoder,
    timeline: Timeline,
    fit: Fit,
    pub(crate) gain: f32,
    pub(crate) map: Option<ChannelMap>,
    /// Media time at which the next record begins.
    next: Option<MediaTime>,
    /// The playout time of the first record that had one, and the frames (of the decoder) fitted since.
    playout: Option<(Stamp, i64)>,
    /// What the encoder's delay has left out, in frames of the decoder.
    short: i64,
    /// Fitted samples of the last record, kept back where the stream may end within it.
    pending: Vec<f32>,
    pub(crate) ended: bool,
    /// What happened.
    pub(crate) tally: Tally,
    pcm: Vec<f32>,
    fitted: Vec<f32>,
}

/// What happened to a stream, in frames of the output.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Frames of gaps.
    pub(crate) concealed: u64,
    /// Frames that came after their time.
    pub(crate) late: u64,
}

/// Where a record is to begin, by the output's frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// As its stamps say.
    pub(crate) at: Option<i64>,
    /// Where the stream begins if it has none.
    pub(crate) begin: i64,
    /// Whether stamps count for later records too: in real time.
    pub(crate) follows: bool,
}

impl Voice {
    /// A voice on a timeline that has come to `head`.
    ///
    /// # Errors
    /// Where the codec is not known here.
    pub(crate) fn new(
        format: &Format,
        rate: Rate,
        channels: Channels,
        map: Option<ChannelMap>,
        head: i64,
    ) -> Result<Self, vox_codec::Error> {
        let options = DecoderOptions { hold_due: false, ..DecoderOptions::default() };
        let decoder = StreamDecoder::new(format, options)?;
        // Mapped channels are put in their places when they are summed.
        let to = if map.is_some() { decoder.channels() } else { channels };
        let mut timeline = Timeline::new(rate, to);
        timeline.skip_to(head);
        timeline.open(TRACK, decoder.rate(), decoder.channels());
        Ok(Self {
            fit: Fit::new(decoder.rate(), decoder.channels()),
            format: format.clone(),
            decoder,
            timeline,
            gain: 1.0,
            map,
            next: None,
            playout: None,
            short: 0,
            pending: Vec::new(),
            ended: false,
            tally: Tally::default(),
            pcm: Vec::new(),
            fitted: Vec::new(),
        })
    }

    /// The frame up to which it is known; none before its first record.
    pub(crate) fn position(&self) -> Option<i64> {
        self.timeline.complete()
    }

    /// The frame behind its last one.
    pub(crate) const fn end_frame(&self) -> i64 {
        self.timeline.end()
    }

    /// Its channels when it is summed.
    pub(crate) const fn channels(&self) -> usize {
        self.timeline.channels().count()
    }

    /// Whether it has ended and all of it was taken.
    pub(crate) const fn is_over(&self) -> bool {
        self.ended && self.timeline.head() >= self.timeline.end()
    }

    /// Appends its samples up to `frame`.
    pub(crate) fn take(&mut self, frame: i64, out: &mut Vec<f32>) {
        let start = out.len();
        self.timeline.take(frame, out);
        if self.gain != 1.0 {
            out[start..].iter_mut().for_each(|sample| *sample *= self.gain);
        }
    }

    /// Leaves out what lies before `frame`.
    pub(crate) fn skip_to(&mut self, frame: i64) {
        self.timeline.skip_to(frame);
    }

    pub(crate) fn audio(&mut self, audio: &Audio<'_>, place: Place) {
        if audio.padding {
            // What it says of the noise in pauses.
            self.decoder.audio(audio, &mut self.pcm);
            return;
        }
        let ticks = u64::from(audio.duration);
        self.arrange(audio.timestamp, ticks, &audio.times, place);
        let mut pcm = std::mem::take(&mut self.pcm);
        pcm.clear();
        self.decoder.audio(audio, &mut pcm);
        self.push(&pcm, &audio.times, audio.slot.map(u64::from), ticks);
        self.pcm = pcm;
    }

    pub(crate) fn gap(&mut self, gap: &Gap<'_>, place: Place) {
        self.arrange(gap.timestamp, gap.duration, &gap.times, place);
        let mut pcm = std::mem::take(&mut self.pcm);
        pcm.clear();
        self.decoder.gap(gap, &mut pcm);
        let rate = self.decoder.rate();
        let made = gap.duration.min(u64::from(rate.hz()) * StreamDecoder::MAX_AT_ONCE_S);
        let media = gap.duration.min(rate.ticks(MAX_GAP_NS));
        self.push(&pcm, &gap.times, gap.slot, media);
        if gap.times.due.is_none() {
            self.silence(media.saturating_sub(made));
        }
        if !gap.reason.is_silence() {
            self.tally.concealed += rate.convert(made, self.timeline.rate());
        }
        self.pcm = pcm;
    }

    /// The stream ends, with an End or without.
    pub(crate) fn end(&mut self, end: Option<&End>) {
        let mut pcm = std::mem::take(&mut self.pcm);
        pcm.clear();
        match end {
            Some(end) => self.decoder.end(end, &mut pcm),
            None => self.decoder.flush(&mut pcm),
        }
        if let Some((end, next)) = end.zip(self.next) {
            // A last packet may reach beyond the end with padding.
            let beyond = next.since(end.timestamp).saturating_sub(self.short.unsigned_abs());
            let frames = usize::try_from(beyond).unwrap_or(usize::MAX);
            let channels = self.decoder.channels().count();
            self.pending.truncate(self.pending.len().saturating_sub(frames.saturating_mul(channels)));
        }
        let Self { timeline, tally, pending, .. } = self;
        timeline.push(TRACK, pending, |late| tally.late += late.frames);
        timeline.push(TRACK, &pcm, |late| tally.late += late.frames);
        timeline.close(TRACK, |late| tally.late += late.frames);
        self.ended = true;
        self.pcm = pcm;
    }

    /// Puts the stream at the place where the record begins.
    fn arrange(&mut self, timestamp: MediaTime, ticks: u64, times: &Times, place: Place) {
        let rate = self.format.rate;
        let hole = self.next.map_or(0, |next| timestamp.since(next));
        self.next = Some(timestamp.plus(ticks));
        if times.due.is_none() && hole > 0 && rate.ns(hole) <= MAX_HOLE_NS {
            self.silence(rate.convert(hole, self.decoder.rate()));
        }
        let pending = (self.pending.len() / self.decoder.channels().count()) as u64;
        let held = self.decoder.rate().convert(self.decoder.held() + pending, self.timeline.rate());
        let Some(position) = self.timeline.position(TRACK) else {
            let at = place.at.unwrap_or(place.begin);
            // What lies before the beginning is dropped, so that the rest keeps its place.
            self.timeline.place(TRACK, at.max(self.timeline.head()));
            self.timeline.place(TRACK, at);
            return;
        };
        let position = position.saturating_add_unsigned(held);
        let tolerance =
            if times.due.is_none() && times.arrived.is_some() { ARRIVAL_TOLERANCE_NS } else { TOLERANCE_NS };
        let tolerance = self.timeline.rate().ticks(tolerance);
        if let Some(at) =
            place.at.filter(|at| (times.due.is_some() || place.follows) && at.abs_diff(position) > tolerance)
        {
            self.playout = None;
            self.timeline.place(TRACK, at.saturating_sub_unsigned(held));
        }
    }

    /// Adds samples; those that are due at a time are fitted into the slot that they have until the next.
    fn push(&mut self, pcm: &[f32], times: &Times, slot_ns: Option<u64>, ticks: u64) {
        let Self { timeline, tally, fit, fitted, playout, pending, decoder, .. } = self;
        let rate = decoder.rate();
        let Some(due) = times.due else {
            timeline.push(TRACK, pcm, |late| tally.late += late.frames);
            return;
        };
        // What the encoder's delay leaves out at the beginning is missing from then on: the rest is that much earlier.
        let short = (ticks as i64 - (pcm.len() / decoder.channels().count()) as i64).clamp(0, MAX_DELAY_TICKS);
        let (mut began, mut given) = *playout.get_or_insert_with(|| {
            self.short = self.short.max(short);
            (due, short)
        });
        let slot = slot_ns.map_or_else(|| rate.ns(ticks), |ns| i64::try_from(ns).unwrap_or(i64::MAX).min(MAX_GAP_NS));
        let ticks_until =
            |began: Stamp| i64::try_from(rate.ticks(due.since(began).saturating_add(slot))).unwrap_or(i64::MAX);
        let mut until = ticks_until(began);
        if until.saturating_sub(given) > rate.ticks(MAX_GAP_NS) as i64 {
            // Nobody waits for that: the stream goes on where it was.
            (began, given) = (due, 0);
            until = ticks_until(began);
        }
        let wanted = usize::try_from(until - given).unwrap_or(0);
        let most = rate.hz() as usize;
        fitted.clear();
        fit.process(pcm, wanted.min(most), fitted);
        *playout = Some((began, given.max(until)));
        if self.format.live || self.format.pre_skip == 0 || wanted > most {
            timeline.push(TRACK, pending, |late| tally.late += late.frames);
            timeline.push(TRACK, fitted, |late| tally.late += late.frames);
            pending.clear();
        } else {
            std::mem::swap(pending, fitted);
            timeline.push(TRACK, fitted, |late| tally.late += late.frames);
        }
        timeline.push_silence(TRACK, wanted.saturating_sub(most) as u64, |late| tally.late += late.frames);
    }

    fn silence(&mut self, frames: u64) {
        let tally = &mut self.tally;
        self.timeline.push_silence(TRACK, frames, |late| tally.late += late.frames);
    }
}
