//! One stream: its buffer, and the records that are to leave in order with its audio.

use std::collections::VecDeque;

use vox_cli::{Failure, Output};
use vox_frame::{Audio, End, Format, Gap, LaterPacket, MAX_PAYLOAD, MediaTime, Raw, Record, Stamp, StreamId, Times};
use vox_playout::{
    Adaptive, Config, Insert, Meta, Missing, Output as Released, Played, Playout, Rule, Stats, carries_copy,
    deep_reach, falls_silent, is_quiet,
};

use crate::trace::Row;

/// The most records of other kinds that wait for their turn among the audio.
const MAX_ASIDE: usize = 1024;

/// A packet, owned while it waits.
pub(crate) struct Held {
    times: Times,
    /// The extensions and behind them the payload.
    bytes: Vec<u8>,
    extensions: usize,
}

impl Held {
    fn new(audio: &Audio<'_>) -> Self {
        let mut bytes = Vec::with_capacity(audio.extensions.len() + audio.payload.len());
        bytes.extend_from_slice(audio.extensions);
        bytes.extend_from_slice(audio.payload);
        Self { times: audio.times, bytes, extensions: audio.extensions.len() }
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[self.extensions..]
    }
}

/// A stream from its Format to its End.
pub(crate) struct Lane {
    id: StreamId,
    pub(crate) format: Format,
    playout: Playout<Held>,
    /// Records to pass on untouched when the release has come to that media time.
    aside: VecDeque<(MediaTime, Vec<u8>)>,
    end: Option<End>,
    /// When it was told that it ends.
    finished: Option<Stamp>,
    /// Where a stream without stamps began: media time and the clock then.
    pub(crate) origin: Option<(MediaTime, Stamp)>,
    announced: bool,
    /// Whether records say when they arrived: then it does not matter when they are read.
    stamped: bool,
}

/// What a lane did when it was asked to play.
pub(crate) enum Step {
    /// Something left.
    Released,
    /// Nothing is due.
    Nothing,
    /// The stream has ended and all of it is out.
    Ended,
}

impl Lane {
    pub(crate) fn new(id: StreamId, format: Format, config: Config) -> Self {
        let playout = Playout::new(fitting(config, &format), format.rate);
        Self {
            id,
            format,
            playout,
            aside: VecDeque::new(),
            end: None,
            finished: None,
            origin: None,
            announced: false,
            stamped: false,
        }
    }

    /// A lane for the same stream, begun anew.
    pub(crate) fn anew(&self, config: Config) -> Self {
        Self::new(self.id, self.format.clone(), config)
    }

    pub(crate) fn stats(&self) -> &Stats {
        self.playout.stats()
    }

    /// The delay that is aimed at, and the clocks' difference (parts per billion).
    pub(crate) fn aim(&self) -> (Option<i64>, i64) {
        (self.playout.target_ns(), self.playout.drift_ppb())
    }

    pub(crate) fn held(&self) -> (usize, i64) {
        (self.playout.held_packets(), self.playout.held_ns())
    }

    /// Whether nothing can be asked of it before its next deadline.
    pub(crate) fn rests(&self) -> bool {
        self.stamped && self.origin.is_none() && self.playout.reached().is_some() && self.next_deadline().is_some()
    }

    /// Takes in a packet that arrived at `arrived`; true when it is the first of a new stream.
    pub(crate) fn handle_audio(&mut self, now: Stamp, arrived: Stamp, audio: &Audio<'_>) -> bool {
        self.stamped = audio.times.arrived.is_some();
        let meta = Meta {
            sequence: audio.sequence,
            timestamp: audio.timestamp,
            duration: audio.duration,
            marker: audio.marker,
            recovered: audio.recovered,
            padding: audio.padding,
            redundant: carries_copy(&self.format.codec, audio.payload),
            reach: deep_reach(&self.format.codec, audio.payload),
            silent: if audio.padding {
                audio.comfort_noise().is_some()
            } else {
                falls_silent(&self.format.codec, audio.payload)
            },
            quiet: is_quiet(&self.format.codec, audio.payload),
            arrived,
            bytes: audio.payload.len(),
        };
        matches!(self.playout.handle_packet(now, meta, Held::new(audio)), Insert::Restart(_))
    }

    pub(crate) fn handle_gap(&mut self, arrived: Stamp, gap: &Gap<'_>) {
        self.playout.handle_gap(arrived, gap.sequence, gap.timestamp, gap.duration, gap.packets, gap.reason);
    }

    /// Keeps a record of another kind for its turn.
    pub(crate) fn handle_other(&mut self, raw: Raw<'_>, output: &mut Output) -> Result<(), Failure> {
        if self.announced && (self.is_drained() || self.aside.len() >= MAX_ASIDE) {
            return output.raw(raw);
        }
        if self.aside.len() >= MAX_ASIDE {
            self.aside.pop_front();
        }
        self.aside.push_back((self.playout.furthest(), raw.bytes().to_vec()));
        Ok(())
    }

    pub(crate) fn handle_end(&mut self, now: Stamp, end: Option<End>) {
        self.playout.finish(now, end.as_ref().map(|end| end.timestamp));
        self.end = end;
        self.finished = Some(now);
    }

    /// Whether it was told that it ends.
    pub(crate) const fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    fn is_drained(&self) -> bool {
        self.playout.reached().is_none_or(|reached| reached >= self.playout.furthest()) && self.held().0 == 0
    }

    /// When this lane has something to release; none while that depends on what arrives.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        self.playout.next_deadline().or(self.finished)
    }

    /// Tells of the stream, once.
    pub(crate) fn announce(&mut self, output: &mut Output) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.announced, true) {
            output.write(&Record::Format(self.id, self.format.clone()))?;
        }
        Ok(())
    }

    /// Releases the next record that is due at `now`.
    pub(crate) fn play(&mut self, now: Stamp, output: &mut Output, row: &mut Option<Row>) -> Result<Step, Failure> {
        self.announce(output)?;
        let released = self.playout.poll(now);
        *row = Row::of(&released, self.format.rate);
        let step = match released {
            Released::Audio(played) => write_audio(self.id, &played, output).map(|()| Step::Released),
            Released::Gap(missing) => {
                let redundant = self.format.tick_bytes().is_none();
                write_gap(self.id, &missing, redundant, output).map(|()| Step::Released)
            }
            Released::Wait(_) | Released::Idle => Ok(Step::Nothing),
            Released::Ended => Ok(Step::Ended),
        }?;
        self.pass_aside(output, matches!(step, Step::Ended))?;
        if matches!(step, Step::Ended)
            && let Some(end) = self.end.take()
        {
            output.write(&Record::End(end))?;
        }
        Ok(step)
    }

    /// Passes on the records whose turn has come.
    fn pass_aside(&mut self, output: &mut Output, all: bool) -> Result<(), Failure> {
        let reached = self.playout.reached();
        while let Some((turn, _)) = self.aside.front() {
            if !all && reached.is_none_or(|reached| reached < *turn) {
                break;
            }
            if let Some((_, bytes)) = self.aside.pop_front() {
                if output.room() < bytes.len() {
                    output.flush()?;
                }
                output.buffer().extend_from_slice(&bytes);
                output.written(self.id, MediaTime(0))?;
            }
        }
        Ok(())
    }
}

/// What nobody paces has no network behind it: there is nothing to be careful of.
const fn fitting(config: Config, format: &Format) -> Config {
    match config.rule {
        Rule::Adaptive(rule) if !format.live => {
            Config { rule: Rule::Adaptive(Adaptive { first_ns: 0, ..rule }), ..config }
        }
        Rule::Adaptive(_) | Rule::Fixed { .. } | Rule::Count { .. } => config,
    }
}

fn write_audio(id: StreamId, played: &Played<Held>, output: &mut Output) -> Result<(), Failure> {
    let Played { meta, payload: held, due, slot } = played;
    output.audio(&Audio {
        id,
        sequence: meta.sequence,
        timestamp: meta.timestamp,
        duration: meta.duration,
        marker: meta.marker,
        recovered: meta.recovered,
        padding: meta.padding,
        times: Times { due: Some(*due), ..held.times },
        slot: u32::try_from(*slot).ok(),
        extensions: &held.bytes[..held.extensions],
        payload: held.payload(),
    })
}

/// Writes a gap; the later packet only where its codec may hold something about the packets before it.
fn write_gap(id: StreamId, missing: &Missing<'_, Held>, redundant: bool, output: &mut Output) -> Result<(), Failure> {
    let later = missing.later.as_ref().filter(|_| redundant).and_then(|later| {
        let payload = later.payload.payload();
        let ahead = u32::try_from(later.ahead).ok()?;
        (payload.len() <= MAX_PAYLOAD && !payload.is_empty()).then_some(LaterPacket { ahead, payload })
    });
    output.gap(&Gap {
        id,
        sequence: missing.sequence,
        timestamp: missing.timestamp,
        duration: missing.duration,
        packets: missing.packets,
        reason: missing.reason,
        times: Times { due: Some(missing.due), ..Times::default() },
        slot: Some(missing.slot),
        later,
    })
}
