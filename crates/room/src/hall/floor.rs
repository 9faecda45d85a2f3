//! In a large room the loudest few are heard.

use vox_frame::Stamp;

use super::Hall;
use super::people::MemberId;
use super::voice::Place;

impl Hall {
    /// Whether a packet of that level, in -dBov, is among the loudest of its place and is to be heard.
    pub(super) fn has_floor(&mut self, now: Stamp, id: MemberId, ssrc: u32, level: Option<u8>) -> bool {
        let Some(most) = self.config.loudest else { return true };
        let Some(place) = self.people.get(id).and_then(super::people::Member::place) else { return true };
        let silence = self.config.limits.talk_ns;
        self.floors.entry(place).or_default().admits(now, (id, ssrc), level, most, silence)
    }

    /// Nobody is in a place any more.
    pub(super) fn clear_floor(&mut self, place: &Place) {
        self.floors.remove(place);
    }
}
