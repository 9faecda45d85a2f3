//! All streams on one timeline, and how far it can be summed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vox_cli::warn;
use vox_frame::{Channels, Format, Rate, Record, Stamp, StreamId, Times};

use crate::args::Args;
use crate::voice::{Place, Voice};
use crate::who::ChannelMap;

/// The longest that a stream which stopped is waited for while others of its input go on, in ns of the output.
const WINDOW_NS: i64 = 30_000_000_000;

/// How far behind what its input has given a stream may begin, in ns, to lie where its times say: what is farther away has a
/// time of its own, as a recording that follows another one in the same input, and is strung on.
const REACH_NS: i64 = 3_600_000_000_000;

/// How far ahead a stream that nobody paces is read in real time, in ns.
const READ_AHEAD_NS: i64 = 200_000_000;

/// In real time: how far from now a stamp may lie to be believed, in ns.
const MAX_AWAY_NS: i64 = 10_000_000_000;

/// The most streams at a time.
const MAX_STREAMS: usize = 4096;

/// A stream by its input and its id there.
pub(crate) type Key = (usize, StreamId);

/// The streams.
pub(crate) struct Mixer<'a> {
    args: &'a Args,
    inputs: Vec<InputState>,
    voices: BTreeMap<Key, Voice>,
    shape: Option<(Rate, Channels)>,
    /// Real time: streams are placed by their stamps on the clock, and late ones are not waited for.
    pub(crate) is_live: bool,
    /// The time that frame 0 stands for.
    origin: Option<Stamp>,
    /// The frame at which the sum goes on.
    head: i64,
    scratch: Vec<f32>,
    /// What each voice gave to the last block, by key.
    own: BTreeMap<Key, Vec<f64>>,
    streams: u64,
    concealed: u64,
    late: u64,
    refused: bool,
    /// Lines of the statistics for streams that have ended.
    pub(crate) lines: Vec<Value>,
}

struct InputState {
    name: String,
    ended: bool,
    /// The frame at which a stream without stamps begins.
    begin: i64,
}

/// What a record changed for the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// A stream has moved on by more than a record: what can be summed is to be summed now, not held.
    Jumped,
    /// A stream has begun.
    Opened(Key, Option<String>),
}

impl<'a> Mixer<'a> {
    pub(crate) fn new(args: &'a Args, inputs: impl Iterator<Item = String>) -> Self {
        Self {
            args,
            inputs: inputs.map(|name| InputState { name, ended: false, begin: 0 }).collect(),
            voices: BTreeMap::new(),
            shape: None,
            is_live: false,
            origin: None,
            head: 0,
            scratch: Vec::new(),
            own: BTreeMap::new(),
            streams: 0,
            concealed: 0,
            late: 0,
            refused: false,
            lines: Vec::new(),
        }
    }

    /// The rate and channels of the output; none before the first stream.
    pub(crate) const fn shape(&self) -> Option<(Rate, Channels)> {
        self.shape
    }

    /// The frame at which the sum goes on.
    pub(crate) const fn head(&self) -> i64 {
        self.head
    }

    /// Says which time frame 0 stands for.
    pub(crate) fn begin_at(&mut self, origin: Stamp) {
        self.origin.get_or_insert(origin);
    }

    /// The time that a frame stands for, where streams have times.
    pub(crate) fn stamp(&self, frame: i64) -> Option<Stamp> {
        let (rate, _) = self.shape?;
        let ns = i128::from(frame) * 1_000_000_000 / i128::from(rate.hz());
        Some(self.origin?.plus(ns as i64))
    }

    /// How many streams there are.
    pub(crate) fn voices(&self) -> usize {
        self.voices.len()
    }

    /// Goes on at `frame`; what lies before it is left out.
    pub(crate) fn skip_to(&mut self, frame: i64) {
        for voice in self.voices.values_mut() {
            voice.skip_to(frame);
        }
        self.head = self.head.max(frame);
    }

    /// Takes a record of an input that was read at `now`.
    pub(crate) fn handle(&mut self, input: usize, record: &Record<'_>, now: Stamp) -> Change {
        match record {
            Record::Format(id, format) => return self.open((input, *id), format),
            Record::Audio(audio) => {
                let place = self.place((input, audio.id), &audio.times, now);
                if let Some(voice) = self.voices.get_mut(&(input, audio.id)) {
                    voice.audio(audio, place);
                }
            }
            Record::Gap(gap) => {
                let place = self.place((input, gap.id), &gap.times, now);
                if let Some(voice) = self.voices.get_mut(&(input, gap.id)) {
                    voice.gap(gap, place);
                    return Change::Jumped;
                }
            }
            Record::End(end) => {
                if let Some(voice) = self.voices.get_mut(&(input, end.id)).filter(|voice| !voice.ended) {
                    voice.end(Some(end));
                    self.follow_end(input);
                }
            }
            Record::Event(_) | Record::Unknown(_) => {}
        }
        Change::Nothing
    }

    /// An input has ended, and with it its streams.
    pub(crate) fn end_input(&mut self, input: usize) {
        self.inputs[input].ended = true;
        for (_, voice) in self.voices.range_mut((input, StreamId(0))..=(input, StreamId(u32::MAX))) {
            if !voice.ended {
                voice.end(None);
            }
        }
    }

    /// Whether every input has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.inputs.iter().all(|input| input.ended)
    }

    /// The frame behind all that has come.
    pub(crate) fn end(&self) -> i64 {
        self.voices.values().map(Voice::end_frame).max().unwrap_or(self.head).max(self.head)
    }

    /// How far an input has come: up to there it can be summed, as a stream that stopped while others go on is waited for
    /// as long only. None where the input has ended.
    pub(crate) fn frontier(&self, input: usize) -> Option<i64> {
        let state = &self.inputs[input];
        if state.ended {
            return None;
        }
        let window = self.shape.map_or(i64::MAX, |(rate, _)| rate.ticks(WINDOW_NS) as i64);
        let open = || self.of(input).filter(|voice| !voice.ended).map(|voice| voice.position().unwrap_or(state.begin));
        Some(open().min().zip(open().max()).map_or(state.begin, |(least, most)| least.max(most.saturating_sub(window))))
    }

    /// The streams of an input.
    fn of(&self, input: usize) -> impl Iterator<Item = &Voice> {
        self.voices.range((input, StreamId(0))..=(input, StreamId(u32::MAX))).map(|(_, voice)| voice)
    }

    /// The frame up to which everything is there, where nobody hurries.
    pub(crate) fn complete(&self) -> i64 {
        (0..self.inputs.len()).filter_map(|input| self.frontier(input)).min().unwrap_or_else(|| self.end())
    }

    /// The frame up to which every open stream has come, in real time; none where no stream is open.
    pub(crate) fn complete_live(&self) -> Option<i64> {
        let open = self.voices.values().filter(|voice| !voice.ended);
        open.map(|voice| voice.position().unwrap_or(self.head)).min()
    }

    /// Whether an input is to be left alone for now, as it runs ahead of time.
    pub(crate) fn is_ahead(&self, input: usize, now: Stamp) -> bool {
        let Some((rate, _)) = self.shape.filter(|_| self.is_live) else { return false };
        let Some(origin) = self.origin else { return false };
        let limit = rate.ticks(now.since(origin)) as i64 + rate.ticks(READ_AHEAD_NS) as i64;
        let mut open = self.of(input).filter(|voice| !voice.ended);
        open.any(|voice| !voice.format.live && voice.position().is_some_and(|position| position > limit))
    }

    /// Sums up to `frame`: of all but those that are to be left out, and, where each has a mix of its own, what each
    /// gave ([`own`](Self::own)).
    pub(crate) fn take(&mut self, frame: i64, sum: &mut Vec<f64>) {
        let Some((_, channels)) = self.shape else { return };
        let frames = usize::try_from(frame - self.head).unwrap_or(0);
        let start = sum.len();
        sum.resize(start + frames * channels.count(), 0.0);
        self.own.clear();
        for (key, voice) in &mut self.voices {
            self.scratch.clear();
            voice.take(frame, &mut self.scratch);
            add(&self.scratch, voice.channels(), voice.map.as_ref(), channels.count(), &mut sum[start..]);
            if self.args.minus_each {
                let own = self.own.entry(*key).or_default();
                own.resize(frames * channels.count(), 0.0);
                add(&self.scratch, voice.channels(), voice.map.as_ref(), channels.count(), own);
            }
        }
        self.head = self.head.max(frame);
    }

    /// What a stream gave to the last sum.
    pub(crate) fn own(&self, key: Key) -> Option<&[f64]> {
        self.own.get(&key).map(Vec::as_slice)
    }

    /// Takes away the streams that are over, and says which.
    pub(crate) fn retire(&mut self) -> Vec<Key> {
        let over: Vec<Key> = self.voices.iter().filter(|(_, voice)| voice.is_over()).map(|(key, _)| *key).collect();
        for key in &over {
            if let Some(voice) = self.voices.remove(key) {
                self.account(*key, &voice);
            }
        }
        over
    }

    /// The last line of the statistics.
    pub(crate) fn summary(&self, limited: u64) -> Value {
        json!({
            "type": "summary",
            "streams": self.streams,
            "totalSamplesReceived": self.head,
            "concealedSamples": self.concealed,
            "lateSamples": self.late,
            "limitedSamples": limited,
        })
    }

    fn account(&mut self, (input, id): Key, voice: &Voice) {
        self.concealed += voice.tally.concealed;
        self.late += voice.tally.late;
        if self.lines.len() < MAX_STREAMS {
            self.lines.push(json!({
                "type": "stream-end",
                "stream": id.to_string(),
                "input": self.inputs[input].name,
                "label": voice.format.label,
                "concealedSamples": voice.tally.concealed,
                "lateSamples": voice.tally.late,
            }));
        }
    }

    fn open(&mut self, key: Key, format: &Format) -> Change {
        let (input, id) = key;
        if let Some(mut before) = self.voices.remove(&key) {
            // A stream of the same id ends where it stands; what of it was not summed yet goes with it only if it is late.
            if !before.ended {
                before.end(None);
            }
            self.keep_ended(key, before);
            self.follow_end(input);
        }
        let name = self.inputs[input].name.as_str();
        if self.args.minus.iter().any(|who| who.is(id, format, name)) {
            return Change::Nothing;
        }
        if self.voices.len() >= MAX_STREAMS {
            if !std::mem::replace(&mut self.refused, true) {
                warn(format_args!("more than {MAX_STREAMS} streams: further ones are left out"));
            }
            return Change::Nothing;
        }
        let map: Option<ChannelMap> = self.args.map.iter().find_map(|map| map.of(id, format, name)).cloned();
        let rate = self.args.rate.map_or(format.rate, |rate| rate.0);
        let channels = self.args.channels.unwrap_or(format.channels);
        let (rate, channels) = *self.shape.get_or_insert((rate, channels));
        match Voice::new(format, rate, channels, map, self.head) {
            Ok(mut voice) => {
                voice.gain =
                    self.args.gain.iter().find_map(|gain| gain.of(id, format, name)).map_or(1.0, |gain| gain.0);
                self.voices.insert(key, voice);
                self.streams += 1;
                Change::Opened(key, format.label.clone())
            }
            Err(error) => {
                warn(format_args!("stream {id} of {name} is left out: {error}"));
                Change::Nothing
            }
        }
    }

    /// Keeps what an ended stream has left, under a key that no stream has.
    fn keep_ended(&mut self, (input, id): Key, voice: Voice) {
        if voice.is_over() {
            return self.account((input, id), &voice);
        }
        let free = (0..=u32::MAX).rev().map(|id| (input, StreamId(id))).find(|key| !self.voices.contains_key(key));
        if let Some(key) = free.filter(|_| self.voices.len() < MAX_STREAMS) {
            self.voices.insert(key, voice);
        }
    }

    /// Where all streams of an input have ended, the next begins at that point.
    fn follow_end(&mut self, input: usize) {
        let of_input = || self.voices.range((input, StreamId(0))..=(input, StreamId(u32::MAX)));
        if of_input().all(|(_, voice)| voice.ended) {
            let end = of_input().map(|(_, voice)| voice.end_frame()).max();
            let state = &mut self.inputs[input];
            state.begin = state.begin.max(end.unwrap_or(0));
        }
    }

    /// Where a record belongs.
    fn place(&mut self, key: Key, times: &Times, now: Stamp) -> Place {
        let begin = self.inputs[key.0].begin.max(0);
        let (Some((rate, _)), Some(voice)) = (self.shape, self.voices.get(&key)) else {
            return Place { at: None, begin, follows: false };
        };
        let stamp = times.due.or(times.arrived).or(times.captured);
        if self.is_live {
            let origin = *self.origin.get_or_insert_with(|| stamp.filter(|_| voice.format.live).unwrap_or(now));
            // What nobody paces begins now, whatever its stamps say.
            let here = frames(rate, now, origin);
            let said = frames(rate, stamp.unwrap_or(now), origin);
            // A clock that is so far off is not this one.
            let believed = if said.abs_diff(here) > rate.ticks(MAX_AWAY_NS) { here } else { said };
            let at = if voice.format.live { believed } else { self.head };
            return Place {
                at: (voice.format.live || voice.position().is_none()).then_some(at),
                begin,
                follows: voice.format.live,
            };
        }
        let at = stamp.and_then(|stamp| Some(frames(rate, stamp, self.origin?)));
        let reach = rate.ticks(REACH_NS) as i64;
        let end = self.of(key.0).map(Voice::end_frame).fold(begin, i64::max);
        let near = at.filter(|at| (begin.saturating_sub(reach).max(0)..end.saturating_add(reach)).contains(at));
        Place { at: near, begin, follows: false }
    }
}

/// Frames from the origin to a time.
fn frames(rate: Rate, stamp: Stamp, origin: Stamp) -> i64 {
    let ns = i128::from(stamp.since(origin));
    ((ns * i128::from(rate.hz()) + 500_000_000).div_euclid(1_000_000_000)) as i64
}

/// Adds samples of so many channels to a sum, as mapped or channel by channel.
fn add(samples: &[f32], from: usize, map: Option<&ChannelMap>, to: usize, sum: &mut [f64]) {
    let Some(ChannelMap(map)) = map else {
        sum.iter_mut().zip(samples).for_each(|(sum, sample)| *sum += f64::from(*sample));
        return;
    };
    for (frame, sum) in samples.chunks_exact(from).zip(sum.chunks_exact_mut(to)) {
        for (sample, channel) in frame.iter().zip(map) {
            if let Some(sum) = channel.and_then(|channel| sum.get_mut(channel)) {
                *sum += f64::from(*sample);
            }
        }
    }
}
