//! What is too old in a live stream.

use vox_cli::value::MaxAge;
use vox_frame::{Audio, Gap, GapReason};
use vox_sys::Clock;

/// The gap that stands for a record of a live stream that has become too old on its way here; none where it has not.
pub(crate) fn gap_for<'a>(audio: &Audio<'a>, live: bool, max_age: MaxAge, clock: Clock) -> Option<Gap<'a>> {
    if !live || !max_age.is_stale(live, &audio.times, clock.now()) {
        return None;
    }
    Some(Gap {
        id: audio.id,
        sequence: audio.sequence,
        timestamp: audio.timestamp,
        duration: u64::from(audio.duration),
        packets: 1,
        reason: GapReason::Overrun,
        times: audio.times,
        slot: audio.slot.map(u64::from),
        later: None,
    })
}
