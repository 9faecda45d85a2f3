//! One stream from its payloads to records of PCM.

use serde::Serialize;
use vox_cli::{Failure, Output, stop_requested};
use vox_codec::{DecoderOptions, StreamDecoder, pieces};
use vox_frame::{Audio, End, Format, Gap, GapReason, MediaTime, Rate, SequenceNumber, StreamId, Times};

use crate::outlet::{Marks, Outlet, Wanted, moved};

/// The longest hole between two records that is filled as a gap, in ns; behind a longer one the stream begins anew.
const MAX_HOLE_NS: i64 = 10_000_000_000;

/// How much of a gap becomes samples, in ns; the rest of a longer one stays a gap.
const MAX_GAP_NS: i64 = 10_000_000_000;

/// A stream that is decoded.
pub(crate) struct Lane {
    id: StreamId,
    input: Format,
    /// Whether gaps stay gaps.
    keep_gaps: bool,
    options: DecoderOptions,
    decoder: StreamDecoder,
    rate: Rate,
    /// Media time of the next frame in; none before the first.
    expected: Option<MediaTime>,
    outlet: Outlet,
    before: Before,
    samples: Vec<f32>,
}

/// What the decoders before this one did.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    tally: Tally,
    /// Ticks by which gaps that were kept are longer than their media time.
    lengthened: i64,
}

/// What was done, in the names of W3C webrtc-stats where they exist. Samples are frames of the decoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tally {
    /// Frames of gaps that were made up, pauses included.
    pub(crate) concealed_samples: u64,
    /// Those of them for which nothing was sent: comfort noise, or silence.
    pub(crate) silent_concealed_samples: u64,
    /// Frames of gaps that came out of later packets.
    pub(crate) recovered_samples: u64,
    /// Frames repeated, so that records fill longer slots.
    pub(crate) inserted_samples_for_deceleration: u64,
    /// Frames left out, so that records fit shorter slots.
    pub(crate) removed_samples_for_acceleration: u64,
    /// Packets that were damaged.
    pub(crate) damaged_packets: u64,
}

impl Tally {
    /// Adds what another stream's decoder did.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.concealed_samples += other.concealed_samples;
        self.silent_concealed_samples += other.silent_concealed_samples;
        self.recovered_samples += other.recovered_samples;
        self.inserted_samples_for_deceleration += other.inserted_samples_for_deceleration;
        self.removed_samples_for_acceleration += other.removed_samples_for_acceleration;
        self.damaged_packets += other.damaged_packets;
    }
}

impl Lane {
    /// A stream of that format, to samples as `wanted`; `keep_gaps` makes no samples of gaps.
    pub(crate) fn new(
        id: StreamId,
        format: &Format,
        decoder: StreamDecoder,
        options: DecoderOptions,
        keep_gaps: bool,
        wanted: &Wanted,
    ) -> Self {
        Self {
            id,
            input: format.clone(),
            keep_gaps,
            options,
            rate: decoder.rate(),
            expected: None,
            outlet: Outlet::new(id, decoder.rate(), decoder.channels(), wanted),
            decoder,
            before: Before::default(),
            samples: Vec::new(),
        }
    }

    /// The format of what comes out.
    pub(crate) fn format(&self) -> Format {
        self.outlet.format(&self.input)
    }

    /// What was done so far.
    pub(crate) fn tally(&self) -> Tally {
        let fitted = self.decoder.fitted();
        let mut tally = self.before.tally;
        tally.add(&Tally {
            concealed_samples: self.decoder.concealed(),
            silent_concealed_samples: self.decoder.silent(),
            recovered_samples: self.decoder.recovered(),
            inserted_samples_for_deceleration: fitted.inserted,
            removed_samples_for_acceleration: fitted.removed,
            damaged_packets: self.decoder.damaged(),
        });
        tally
    }

    /// Decodes a record of audio.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, output: &mut Output) -> Result<(), Failure> {
        if audio.padding {
            // What it says of the noise in pauses.
            self.decoder.audio(audio, &mut self.samples);
            return Ok(());
        }
        self.meet(audio.timestamp, output)?;
        self.expected = Some(audio.timestamp.plus(u64::from(audio.duration)));
        let begins = self.here(audio.timestamp);
        self.samples.clear();
        self.decoder.audio(audio, &mut self.samples);
        let marks = Marks { marker: audio.marker, recovered: audio.recovered, extensions: audio.extensions };
        self.write(begins, &audio.times, marks, output)
    }

    /// Fills a gap, a piece at a time.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        self.meet(gap.timestamp, output)?;
        self.expected = Some(gap.timestamp.plus(gap.duration));
        self.fill(gap, output)
    }

    /// Writes the rest, cut where the stream ends; gives where that is.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn end(&mut self, end: &End, output: &mut Output) -> Result<MediaTime, Failure> {
        let at = self.here(end.timestamp);
        self.samples.clear();
        self.decoder.end(end, &mut self.samples);
        self.write_rest(output)?;
        Ok(self.outlet.media_time(at))
    }

    /// Writes what is held back, where there is no End.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn flush(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.samples.clear();
        self.decoder.flush(&mut self.samples);
        self.write_rest(output)
    }

    /// A media time of the input on the time line of the output, which slots have made longer or shorter.
    fn here(&self, timestamp: MediaTime) -> MediaTime {
        let lengthened = self.before.lengthened + self.decoder.lengthened();
        MediaTime(timestamp.0.saturating_add_signed(lengthened))
    }

    /// A record begins at `timestamp`: what lies between it and the one before is filled; where it is too much, or lies
    /// behind, the stream begins anew.
    fn meet(&mut self, timestamp: MediaTime, output: &mut Output) -> Result<(), Failure> {
        let Some(expected) = self.expected else {
            return self.outlet.move_to(timestamp, output);
        };
        let hole = timestamp.offset_from(expected);
        if hole == 0 {
            return Ok(());
        }
        if hole > 0 && hole.unsigned_abs() <= self.rate.ticks(MAX_HOLE_NS) {
            let lost = Gap {
                id: self.id,
                sequence: SequenceNumber(0),
                timestamp: expected,
                duration: hole.unsigned_abs(),
                packets: 0,
                reason: GapReason::Lost,
                times: Times::default(),
                slot: None,
                later: None,
            };
            return self.fill(&lost, output);
        }
        self.flush(output)?;
        self.before = Before { tally: self.tally(), lengthened: 0 };
        if let Ok(decoder) = StreamDecoder::new(&self.input, self.options) {
            self.decoder = decoder;
        }
        self.outlet.move_to(timestamp, output)
    }

    fn fill(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        let longest = self.rate.ticks(MAX_GAP_NS);
        let (mut done, mut slots) = (0, 0);
        for piece in pieces(gap, self.rate) {
            if self.keep_gaps || done >= longest || slots >= MAX_GAP_NS.unsigned_abs() || (stop_requested() && done > 0)
            {
                let rest = Gap {
                    timestamp: piece.timestamp,
                    duration: gap.duration - done,
                    times: piece.times,
                    slot: gap.slot.map(|slot| slot.saturating_sub(slots)),
                    ..*gap
                };
                return self.pass(&rest, output);
            }
            let begins = self.here(piece.timestamp);
            self.samples.clear();
            self.decoder.gap(&piece, &mut self.samples);
            self.write(begins, &piece.times, Marks::default(), output)?;
            done += piece.duration;
            slots += piece.slot.unwrap_or(0);
        }
        Ok(())
    }

    /// Passes on what is left of a gap: as long as its slot, as nobody fits it any more.
    fn pass(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        let begins = self.here(gap.timestamp);
        self.samples.clear();
        self.decoder.pass(gap, &mut self.samples);
        self.write(begins, &gap.times, Marks::default(), output)?;
        let slot = gap.slot.filter(|slot| slot.abs_diff(self.rate.ns(gap.duration).unsigned_abs()) > 1);
        let duration = slot.map_or(gap.duration, |slot| self.rate.ticks(i64::try_from(slot).unwrap_or(i64::MAX)));
        self.before.lengthened += i64::try_from(i128::from(duration) - i128::from(gap.duration)).unwrap_or(0);
        if duration == 0 {
            return Ok(());
        }
        self.outlet.gap(&Gap { times: self.displaced(begins, &gap.times), ..*gap }, duration, output)
    }

    /// Writes samples that belong to no record any more.
    fn write_rest(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.write(self.outlet.position(), &Times::default(), Marks::default(), output)?;
        self.outlet.finish(output)
    }

    /// Writes the samples that came out of the decoder for a record that begins at `begins` on the time line of the
    /// output.
    fn write(
        &mut self,
        begins: MediaTime,
        times: &Times,
        marks: Marks<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let times = self.displaced(begins, times);
        self.outlet.write(&self.samples, &times, marks, output)
    }

    /// The times of what comes out next, with a record that begins at `begins` on the time line of the output and has
    /// `times`: what the decoder held back comes with a later record than its own, and is as much earlier.
    fn displaced(&self, begins: MediaTime, times: &Times) -> Times {
        let since = self.outlet.position().offset_from(begins);
        moved(times, self.rate.ns(since.unsigned_abs()).saturating_mul(since.signum()))
    }
}
