//! What is said: the audio of the pipe, cut into pieces of 20 ms on the time line of the call.

use vox_frame::{MediaTime, Stamp};

use crate::{PIECE, RATE, TICKS_PER_MS};

/// A piece of audio that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Counts the pieces, from 1.
    pub(crate) chunk: u64,
    /// When it begins, in ms from the beginning of the call.
    pub(crate) timestamp_ms: u64,
    pub(crate) payload: Vec<u8>,
}

/// One stream after the other becomes the one voice of a call.
#[derive(Debug)]
pub(crate) struct Mouth {
    began: Stamp,
    /// What is added to the media times of the stream, in ticks; none before its first audio.
    shift: Option<i128>,
    /// Where the pieces that are cut have come to, in ticks of the call.
    cut: u64,
    /// Audio that is less than a piece, and follows it.
    rest: Vec<u8>,
    chunk: u64,
}

impl Mouth {
    pub(crate) const fn new(began: Stamp) -> Self {
        Self { began, shift: None, cut: 0, rest: Vec::new(), chunk: 0 }
    }

    /// Another stream begins, or one ends: what is left of the one before is a piece of its own.
    pub(crate) fn begin(&mut self, out: &mut impl FnMut(Piece)) {
        self.flush(out);
        self.shift = None;
    }

    /// The stream was held up by so many ticks.
    pub(crate) fn handle_stall(&mut self, ticks: u64) {
        self.shift = self.shift.map(|shift| shift.saturating_add(i128::from(ticks)));
    }

    /// Takes audio that is to be heard `now`, where it is the stream's first, or where it follows what went before.
    pub(crate) fn handle(&mut self, now: Stamp, timestamp: MediaTime, payload: &[u8], out: &mut impl FnMut(Piece)) {
        let end = self.cut + self.rest.len() as u64;
        let from = i128::from(timestamp.0);
        let elapsed = RATE.ticks(now.since(self.began));
        let shift = *self.shift.get_or_insert_with(|| i128::from(end.max(elapsed)) - from);
        let at = from + shift;
        if at != i128::from(end) {
            self.flush(out);
            // What goes back in time is told after what was told already.
            self.cut = u64::try_from(at).unwrap_or(end).max(end);
            self.shift = Some(i128::from(self.cut) - from);
        }
        self.rest.extend_from_slice(payload);
        let whole = self.rest.len() - self.rest.len() % PIECE;
        let rest = self.rest.split_off(whole);
        for piece in std::mem::replace(&mut self.rest, rest).chunks(PIECE) {
            self.cut(piece, out);
        }
    }

    /// What is left is a piece, too.
    pub(crate) fn flush(&mut self, out: &mut impl FnMut(Piece)) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.cut(&rest, out);
        }
    }

    fn cut(&mut self, payload: &[u8], out: &mut impl FnMut(Piece)) {
        self.chunk += 1;
        // Rounded to the nearest.
        let timestamp_ms = (self.cut + TICKS_PER_MS / 2) / TICKS_PER_MS;
        out(Piece { chunk: self.chunk, timestamp_ms, payload: payload.to_vec() });
        self.cut += payload.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of that audio, each record with the time at which it is handed over, in ms.
    fn said(records: &[(i64, u64, usize)]) -> Vec<(u64, u64, usize)> {
        let (mut mouth, mut pieces) = (Mouth::new(Stamp::ZERO), Vec::new());
        let mut out = |piece: Piece| pieces.push((piece.chunk, piece.timestamp_ms, piece.payload.len()));
        for &(ms, timestamp, length) in records {
            mouth.handle(Stamp::from_ns(ms * 1_000_000), MediaTime(timestamp), &vec![0xff; length], &mut out);
        }
        mouth.flush(&mut out);
        pieces
    }

    #[test]
    fn records_of_any_length_become_pieces_of_20_ms() {
        assert_eq!(said(&[(0, 0, 80), (10, 80, 240)]), [(1, 0, 160), (2, 20, 160)]);
        assert_eq!(said(&[(0, 7, 400)]), [(1, 0, 160), (2, 20, 160), (3, 40, 80)]);
    }

    #[test]
    fn a_stream_begins_when_it_is_first_heard() {
        assert_eq!(said(&[(500, 1 << 40, 160)]), [(1, 500, 160)]);
    }

    #[test]
    fn a_hole_is_a_hole_in_the_times() {
        assert_eq!(said(&[(0, 0, 200), (0, 8_200, 160)]), [(1, 0, 160), (2, 20, 40), (3, 1025, 160)]);
    }

    #[test]
    fn no_time_is_told_twice() {
        assert_eq!(said(&[(0, 8_000, 160), (0, 0, 160), (0, 160, 160)]), [(1, 0, 160), (2, 20, 160), (3, 40, 160)]);
    }

    #[test]
    fn another_stream_follows_the_one_before() {
        let (mut mouth, mut times) = (Mouth::new(Stamp::ZERO), Vec::new());
        let mut out = |piece: Piece| times.push((piece.timestamp_ms, piece.payload.len()));
        let at = |ms: i64| Stamp::from_ns(ms * 1_000_000);
        mouth.handle(at(0), MediaTime(0), &[1; 200], &mut out);
        mouth.begin(&mut out);
        mouth.handle(at(10), MediaTime(99_999), &[2; 160], &mut out);
        mouth.begin(&mut out);
        mouth.handle(at(2_000), MediaTime(0), &[3; 160], &mut out);
        mouth.handle_stall(800);
        mouth.handle(at(2_120), MediaTime(160), &[4; 160], &mut out);
        assert_eq!(times, [(0, 160), (20, 40), (25, 160), (2_000, 160), (2_120, 160)]);
    }
}
