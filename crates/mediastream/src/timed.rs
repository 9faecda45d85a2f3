//! Audio that comes with its time: what a bot hears of a telephone.

use vox_frame::{Audio, Gap, GapReason, MediaTime, Record, SequenceNumber, Stamp, StreamId, Times};

use crate::session::Counters;
use crate::{Media, PIECE, RATE, TICKS_PER_MS};

/// How far the time of a message may be off without a hole or an overlap, in ticks: it is told in whole milliseconds.
const ROUNDING: i64 = TICKS_PER_MS as i64;

/// How far a message's time may run ahead of the arrivals, in ticks, before it counts as a jump: 10 s.
const FORWARD_JUMP: i64 = 80_000;

/// How far it may go back, in ticks, before it counts as a jump: 1 s. Less is late, or told twice.
const BACKWARD_JUMP: i64 = 8_000;

/// The media time up to which a first message is taken at its word: ten years.
const LATEST_BEGINNING: u64 = 10 * 366 * 86_400 * 8_000;

/// One track: its messages in the order of their arrival become a stream without holes.
#[derive(Debug)]
pub(crate) struct Timed {
    id: StreamId,
    sequence: SequenceNumber,
    /// Media time up to which the stream is told; none before its first audio.
    end: Option<MediaTime>,
    /// What is added to the times of messages since they jumped, in ticks.
    shift: i128,
    chunk: Option<u64>,
    last: Stamp,
}

impl Timed {
    pub(crate) const fn new(id: StreamId, now: Stamp) -> Self {
        Self { id, sequence: SequenceNumber(0), end: None, shift: 0, chunk: None, last: now }
    }

    pub(crate) const fn id(&self) -> StreamId {
        self.id
    }

    /// Media time up to which the stream is told.
    pub(crate) fn end(&self) -> MediaTime {
        self.end.unwrap_or_default()
    }

    /// Takes a message that came `now`.
    pub(crate) fn handle<E>(
        &mut self,
        now: Stamp,
        media: &Media,
        counters: &mut Counters,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let elapsed = now.since(self.last);
        self.last = now;
        let missing = self.missing(media.chunk);
        let mut payload = &media.payload[..];
        let mut fresh = self.end.is_none();
        let end = match (self.end, media.timestamp_ms.map(|ms| ms.saturating_mul(TICKS_PER_MS))) {
            (None, Some(at)) if at <= LATEST_BEGINNING => MediaTime(at),
            (None, at) => {
                self.shift = -i128::from(at.unwrap_or(0));
                MediaTime(0)
            }
            (Some(end), None) => end,
            (Some(end), Some(at)) => {
                let ahead = i128::from(at) + self.shift - i128::from(end.0);
                let limit = i128::from(RATE.ticks(elapsed)) + i128::from(FORWARD_JUMP);
                if ahead > limit || ahead < -i128::from(BACKWARD_JUMP) {
                    counters.jumps += 1;
                    self.shift -= ahead;
                    fresh = true;
                    end
                } else if ahead > i128::from(ROUNDING) {
                    fresh = true;
                    self.hole(end, ahead as u64, missing, out)?
                } else if ahead < -i128::from(ROUNDING) {
                    let told = payload.len().min(-ahead as usize);
                    payload = &payload[told..];
                    counters.late += u64::from(payload.is_empty());
                    end
                } else {
                    end
                }
            }
        };
        self.end = Some(end);
        self.write(now, payload, fresh, out)
    }

    /// How many messages are missing before that chunk.
    fn missing(&mut self, chunk: Option<u64>) -> u64 {
        let Some(chunk) = chunk else { return 0 };
        let missing = self.chunk.map_or(0, |last| chunk.saturating_sub(last).saturating_sub(1));
        self.chunk = Some(self.chunk.map_or(chunk, |last| last.max(chunk)));
        missing
    }

    /// A span of which nothing came: lost where chunks are missing that could fill it, else nobody sent any.
    fn hole<E>(
        &mut self,
        end: MediaTime,
        ticks: u64,
        missing: u64,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<MediaTime, E> {
        let packets = if missing <= ticks { missing as u32 } else { 0 };
        let reason = if packets > 0 { GapReason::Lost } else { GapReason::Silent };
        out(Record::Gap(gap(self.id, self.sequence, end, ticks, packets, reason)))?;
        self.sequence = self.sequence.plus(u64::from(packets));
        Ok(end.plus(ticks))
    }

    fn write<E>(
        &mut self,
        now: Stamp,
        payload: &[u8],
        mut marker: bool,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in payload.chunks(PIECE) {
            let end = self.end();
            let times = Times { arrived: Some(now), ..Times::default() };
            out(Record::Audio(audio(self.id, self.sequence, end, marker, times, piece)))?;
            marker = false;
            self.sequence = self.sequence.plus(1);
            self.end = Some(end.plus(piece.len() as u64));
        }
        Ok(())
    }
}

/// A record of that audio.
pub(crate) fn audio(
    id: StreamId,
    sequence: SequenceNumber,
    timestamp: MediaTime,
    marker: bool,
    times: Times,
    payload: &[u8],
) -> Audio<'_> {
    Audio {
        id,
        sequence,
        timestamp,
        duration: payload.len() as u32,
        marker,
        recovered: false,
        padding: false,
        times,
        slot: None,
        extensions: &[],
        payload,
    }
}

/// A record of a span without audio.
pub(crate) fn gap(
    id: StreamId,
    sequence: SequenceNumber,
    timestamp: MediaTime,
    duration: u64,
    packets: u32,
    reason: GapReason,
) -> Gap<'static> {
    Gap { id, sequence, timestamp, duration, packets, reason, times: Times::default(), slot: None, later: None }
}
