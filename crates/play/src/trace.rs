//! Which media time is played when, as rows of CSV: the measure of a playout.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use vox_cli::Failure;
use vox_frame::{Audio, Codec, Gap, MediaTime, Rate, Record, Stamp, StreamId};
use vox_playout::carries_copy;

/// The length of a row's block, in ns.
const BLOCK_NS: i64 = 10_000_000;

/// More than this is not written out row by row, in ns: a pause of a recording.
const PAUSE_NS: i64 = 60_000_000_000;

/// A row per 10 ms of the first stream's playout timeline: when it begins, in ms of the stream's clock; the RTP
/// timestamp there; and how many of its ticks came from no packet and from no copy of one. What is stretched came from
/// its packet.
pub(crate) struct Trace {
    path: PathBuf,
    file: BufWriter<File>,
    stream: Option<Followed>,
}

struct Followed {
    id: StreamId,
    codec: Codec,
    rate: Rate,
    /// The open block: when it began, the media time there, and how many ns of it were concealed so far.
    block: Option<Block>,
    rows: String,
}

#[derive(Clone, Copy)]
struct Block {
    at: Stamp,
    media: MediaTime,
    concealed_ns: i64,
}

/// A span of the playout timeline.
struct Span {
    due: Stamp,
    slot_ns: i64,
    timestamp: MediaTime,
    ticks: u64,
    concealed: bool,
}

impl Trace {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written (1).
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let unwritable = |error| Failure::failed(format_args!("cannot write {}: {error}", path.display()));
        let mut file = BufWriter::new(File::create(path).map_err(unwritable)?);
        file.write_all(b"t_ms,media_ts,concealed\n").map_err(unwritable)?;
        Ok(Self { path: path.to_owned(), file, stream: None })
    }

    /// Looks at a record on its way to the decoder.
    ///
    /// # Errors
    /// When the file cannot be written (1).
    pub(crate) fn handle(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        if let (Record::Format(id, format), None) = (record, &self.stream) {
            let (codec, rate) = (format.codec.clone(), format.rate);
            self.stream = Some(Followed { id: *id, codec, rate, block: None, rows: String::new() });
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match record {
            Record::Audio(audio) if audio.id == stream.id && !audio.padding => stream.audio(audio),
            Record::Gap(gap) if gap.id == stream.id => stream.gap(gap),
            _ => return Ok(()),
        }
        let written = self.file.write_all(stream.rows.as_bytes());
        stream.rows.clear();
        written.map_err(|error| self.unwritable(&error))
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the file cannot be written (1).
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.file.flush().map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &std::io::Error) -> Failure {
        Failure::failed(format_args!("cannot write {}: {error}", self.path.display()))
    }
}

impl Followed {
    fn audio(&mut self, audio: &Audio<'_>) {
        let ticks = u64::from(audio.duration);
        let Some(due) = audio.times.due else { return };
        let slot_ns = audio.slot.map_or_else(|| self.rate.ns(ticks), i64::from);
        self.span(&Span { due, slot_ns, timestamp: audio.timestamp, ticks, concealed: false });
    }

    fn gap(&mut self, gap: &Gap<'_>) {
        let Some(due) = gap.times.due else { return };
        let slot_ns = gap.slot.and_then(|slot| i64::try_from(slot).ok());
        let slot_ns = slot_ns.unwrap_or_else(|| self.rate.ns(gap.duration));
        let follows = gap.later.filter(|later| u64::from(later.ahead) == gap.duration);
        let repaired = follows.is_some_and(|later| carries_copy(&self.codec, later.payload));
        let concealed = !repaired || gap.duration == 0;
        self.span(&Span { due, slot_ns, timestamp: gap.timestamp, ticks: gap.duration, concealed });
    }

    /// Goes on through a span, and writes the blocks that end in it.
    fn span(&mut self, span: &Span) {
        let mut block = self.block.unwrap_or(Block { at: span.due, media: span.timestamp, concealed_ns: 0 });
        let end = span.due.plus(span.slot_ns);
        if end.since(block.at) > PAUSE_NS {
            self.block = Some(Block { at: end, media: span.timestamp.plus(span.ticks), concealed_ns: 0 });
            return;
        }
        let mut from = span.due.max(block.at);
        while from < end {
            let until = end.min(block.at.plus(BLOCK_NS));
            block.concealed_ns += if span.concealed { until.since(from) } else { 0 };
            from = until;
            if until < block.at.plus(BLOCK_NS) {
                break;
            }
            self.row(&block);
            block = Block { at: until, media: span.media_at(until), concealed_ns: 0 };
        }
        // A block that begins where the next span does takes its media time from there.
        if block.at == end {
            block.media = span.timestamp.plus(span.ticks);
        }
        self.block = Some(block);
    }

    fn row(&mut self, block: &Block) {
        use core::fmt::Write as _;
        let at = block.at.ns() as f64 / 1e6;
        let concealed = Rate::HZ_48000.ticks(block.concealed_ns);
        // Writing to a string does not fail.
        let _ = writeln!(self.rows, "{at:.3},{},{concealed}", block.media.rtp());
    }
}

impl Span {
    /// The media time that is played at `at`.
    fn media_at(&self, at: Stamp) -> MediaTime {
        let share = i128::from(at.since(self.due)) * i128::from(self.ticks) / i128::from(self.slot_ns.max(1));
        self.timestamp.plus(u64::try_from(share).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn rows(spans: &[(i64, i64, u64, u64, bool)]) -> Vec<String> {
        let mut followed =
            Followed { id: StreamId(1), codec: Codec::Opus, rate: Rate::HZ_48000, block: None, rows: String::new() };
        for &(due, slot, timestamp, ticks, concealed) in spans {
            followed.span(&Span {
                due: Stamp::from_ns(due * MS),
                slot_ns: slot * MS,
                timestamp: MediaTime(timestamp),
                ticks,
                concealed,
            });
        }
        followed.rows.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_row_says_what_is_played_where_it_begins() {
        let rows = rows(&[(5, 20, 0, 960, false), (25, 25, 960, 960, false), (50, 20, 1_920, 960, false)]);
        assert_eq!(rows[..3], ["5.000,0,0", "15.000,480,0", "25.000,960,0"]);
        assert_eq!(rows[3..5], ["35.000,1344,0", "45.000,1728,0"]);
        assert_eq!(rows[5], "55.000,2160,0");
    }

    #[test]
    fn inserted_time_and_gaps_are_concealed_and_left_out_media_takes_no_time() {
        let rows =
            rows(&[(0, 5, 0, 240, false), (5, 10, 240, 0, true), (15, 0, 240, 960, true), (15, 20, 1_200, 960, false)]);
        assert_eq!(rows, ["0.000,0,240", "10.000,240,240", "20.000,1440,0"]);
    }
}
