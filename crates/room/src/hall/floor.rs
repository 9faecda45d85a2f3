//! Who has the floor: in a large room the loudest few are heard, by the levels that packets tell (RFC 6464).

use vox_frame::Stamp;

use super::Hall;
use super::people::MemberId;
use super::voice::Place;

/// How long somebody keeps the floor at least, in ns: a word is not cut off by a cough.
const HOLD_NS: i64 = 500_000_000;

/// By how much another has to be louder to take it, in dB.
const LOUDER_DB: f32 = 6.0;

/// Which part of the difference to a lower level is taken over with each packet: speech has pauses.
const RELEASE: f32 = 0.05;

/// The loudness of a stream whose packets do not tell it, in dB above silence: as a voice that is close.
const UNTOLD_DB: f32 = 97.0;

/// A stream that is heard.
#[derive(Debug)]
pub(super) struct Holder {
    id: MemberId,
    ssrc: u32,
    /// Smoothed, in dB above -127 dBov.
    loudness: f32,
    since: i64,
    last: i64,
}

impl Hall {
    /// Whether a packet of that level, in -dBov, is among the loudest of its place and is to be heard.
    pub(super) fn has_floor(&mut self, now: Stamp, id: MemberId, ssrc: u32, level: Option<u8>) -> bool {
        let Some(most) = self.config.loudest else { return true };
        let Some(place) = self.people.get(id).and_then(super::people::Member::place) else { return true };
        let (now, silence) = (now.ns(), self.config.limits.talk_ns);
        let loudness = level.map_or(UNTOLD_DB, |level| 127.0 - f32::from(level));
        let floor = self.floors.entry(place).or_default();
        floor.retain(|holder| now < holder.last + silence);
        if let Some(holder) = floor.iter_mut().find(|holder| holder.id == id && holder.ssrc == ssrc) {
            holder.last = now;
            let step = loudness - holder.loudness;
            holder.loudness += if step > 0.0 { step } else { step * RELEASE };
            return true;
        }
        let holder = Holder { id, ssrc, loudness, since: now, last: now };
        if floor.len() < most {
            floor.push(holder);
            return true;
        }
        let quietest = floor.iter_mut().min_by(|one, other| one.loudness.total_cmp(&other.loudness));
        match quietest {
            Some(quietest) if now >= quietest.since + HOLD_NS && loudness > quietest.loudness + LOUDER_DB => {
                *quietest = holder;
                true
            }
            _ => false,
        }
    }

    /// Nobody is in a place any more.
    pub(super) fn clear_floor(&mut self, place: &Place) {
        self.floors.remove(place);
    }
}
