//! A long gap in pieces that are worth making.

use vox_frame::{Gap, GapReason, LaterPacket, Rate, Times};

/// How long a piece is, in ns: as long as the longest packet of Opus, so that a copy of the last lost packet fits the
/// last piece (RFC 6716, section 3.1).
const PIECE_NS: i64 = 120_000_000;

/// From here on a gap is silence, in ns: every concealment has faded by then.
const CONCEALED_NS: i64 = 500_000_000;

/// Cuts a gap of a stream at `rate` into pieces that lie side by side, whose slots add up to its slot. A later packet
/// is seen from each of them; behind half a second of concealment there is silence, unless a later packet may tell more.
pub fn pieces<'a>(gap: &Gap<'a>, rate: Rate) -> impl Iterator<Item = Gap<'a>> + use<'a> {
    let gap = *gap;
    let (most, concealed) = (rate.ticks(PIECE_NS).max(1), rate.ticks(CONCEALED_NS));
    // A gap that holds no media is cut by the time that it takes.
    let whole = if gap.duration > 0 {
        gap.duration
    } else {
        rate.ticks(i64::try_from(gap.slot.unwrap_or(0)).unwrap_or(i64::MAX)).max(1)
    };
    let mut done = 0;
    core::iter::from_fn(move || {
        let length = most.min(whole - done);
        if length == 0 {
            return None;
        }
        let media = if gap.duration > 0 { (done, length) } else { (0, 0) };
        let ahead = share(gap.slot, done, whole).unwrap_or_else(|| rate.ns(done));
        let piece = Gap {
            timestamp: gap.timestamp.plus(media.0),
            duration: media.1,
            packets: if done == 0 { gap.packets } else { 0 },
            reason: if done < concealed || gap.later.is_some() { gap.reason } else { GapReason::Silent },
            times: moved(&gap.times, ahead),
            slot: part(gap.slot, done, length, whole),
            later: gap.later.and_then(|later| nearer(later, media.0)),
            ..gap
        };
        done += length;
        Some(piece)
    })
}

/// The same packet, seen from `done` ticks further on; none where it lies behind.
fn nearer(later: LaterPacket<'_>, done: u64) -> Option<LaterPacket<'_>> {
    let ahead = u64::from(later.ahead).checked_sub(done)?;
    Some(LaterPacket { ahead: u32::try_from(ahead).ok()?, ..later })
}

/// How far into a slot the tick `offset` of `whole` stands, in ns.
fn share(slot: Option<u64>, offset: u64, whole: u64) -> Option<i64> {
    let ns = u128::from(slot?) * u128::from(offset) / u128::from(whole.max(1));
    i64::try_from(ns).ok()
}

/// What `ticks` from `offset` on have of the slot: parts that lie side by side add up to it.
fn part(slot: Option<u64>, offset: u64, ticks: u64, whole: u64) -> Option<u64> {
    let (begins, ends) = (share(slot, offset, whole)?, share(slot, offset + ticks, whole)?);
    u64::try_from(ends - begins).ok()
}

fn moved(times: &Times, ns: i64) -> Times {
    Times {
        captured: times.captured.map(|stamp| stamp.plus(ns)),
        arrived: times.arrived.map(|stamp| stamp.plus(ns)),
        due: times.due.map(|stamp| stamp.plus(ns)),
    }
}

#[cfg(test)]
mod tests {
    use vox_frame::{MediaTime, SequenceNumber, Stamp, StreamId};

    use super::*;

    fn gap(duration: u64, slot: Option<u64>, ahead: Option<u32>) -> Gap<'static> {
        Gap {
            id: StreamId(1),
            sequence: SequenceNumber(5),
            timestamp: MediaTime(1_000),
            duration,
            packets: 9,
            reason: GapReason::Lost,
            times: Times { due: Some(Stamp::ZERO), ..Times::default() },
            slot,
            later: ahead.map(|ahead| LaterPacket { ahead, payload: &[1] }),
        }
    }

    #[test]
    fn pieces_lie_side_by_side_and_add_up() {
        let whole = gap(48_000, Some(1_200_000_001), Some(48_000));
        let cut: Vec<_> = pieces(&whole, Rate::HZ_48000).collect();
        assert_eq!(cut.iter().map(|piece| piece.duration).sum::<u64>(), 48_000);
        assert_eq!(cut.iter().filter_map(|piece| piece.slot).sum::<u64>(), 1_200_000_001);
        assert_eq!(cut.iter().map(|piece| piece.packets).sum::<u32>(), 9);
        for pair in cut.windows(2) {
            assert_eq!(pair[0].timestamp.plus(pair[0].duration), pair[1].timestamp);
            let due = pair[0].times.due.unwrap().plus(pair[0].slot.unwrap() as i64);
            assert!((pair[1].times.due.unwrap().since(due)).abs() <= 1);
        }
        let aheads: Vec<_> = cut.iter().filter_map(|piece| piece.later).map(|later| later.ahead).collect();
        assert_eq!((aheads[0], aheads[1], aheads[8]), (48_000, 42_240, 1_920));
    }

    #[test]
    fn time_without_media_is_cut_by_time() {
        let cut: Vec<_> = pieces(&gap(0, Some(250_000_000), None), Rate::HZ_8000).collect();
        assert_eq!(cut.len(), 3);
        assert!(cut.iter().all(|piece| piece.duration == 0 && piece.timestamp == MediaTime(1_000)));
        assert_eq!(cut.iter().filter_map(|piece| piece.slot).sum::<u64>(), 250_000_000);
    }

    #[test]
    fn behind_half_a_second_there_is_silence() {
        let reasons: Vec<_> = pieces(&gap(8_000, None, None), Rate::HZ_8000).map(|piece| piece.reason).collect();
        assert_eq!(reasons[4], GapReason::Lost);
        assert_eq!(reasons[5], GapReason::Silent);
    }

    #[test]
    fn an_endless_gap_has_no_end_but_pieces() {
        let mut cut = pieces(&gap(u64::MAX, None, None), Rate::HZ_48000);
        assert!(cut.nth(100_000).is_some());
    }
}
