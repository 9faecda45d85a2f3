//! Who has the floor: of many streams the loudest few, by the levels that packets tell (RFC 6464).

use vox_frame::Stamp;

/// How long somebody keeps the floor at least, in ns: a word is not cut off by a cough.
const HOLD_NS: i64 = 500_000_000;

/// By how much another has to be louder to take it, in dB.
const LOUDER_DB: f32 = 6.0;

/// Which part of the difference to a lower level is taken over with each packet: speech has pauses.
const RELEASE: f32 = 0.05;

/// The loudness of a stream whose packets do not tell it, in dB above silence: as a voice that is close.
const UNTOLD_DB: f32 = 97.0;

/// Those who are heard of a place.
#[derive(Debug)]
pub(crate) struct Floor<K>(Vec<Holder<K>>);

/// A stream that is heard.
#[derive(Debug)]
struct Holder<K> {
    key: K,
    /// Smoothed, in dB above -127 dBov.
    loudness: f32,
    since: i64,
    last: i64,
}

impl<K> Default for Floor<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq> Floor<K> {
    /// Whether a packet of that stream and level, in -dBov, is among the loudest `most` and is to be heard. Who says
    /// nothing for `silence` ns has left the floor.
    pub(crate) fn admits(&mut self, now: Stamp, key: K, level: Option<u8>, most: usize, silence: i64) -> bool {
        let now = now.ns();
        let loudness = level.map_or(UNTOLD_DB, |level| 127.0 - f32::from(level));
        self.0.retain(|holder| now < holder.last.saturating_add(silence));
        if let Some(holder) = self.0.iter_mut().find(|holder| holder.key == key) {
            holder.last = now;
            let step = loudness - holder.loudness;
            holder.loudness += if step > 0.0 { step } else { step * RELEASE };
            return true;
        }
        let holder = Holder { key, loudness, since: now, last: now };
        if self.0.len() < most {
            self.0.push(holder);
            return true;
        }
        let quietest = self.0.iter_mut().min_by(|one, other| one.loudness.total_cmp(&other.loudness));
        match quietest {
            Some(quietest) if now >= quietest.since + HOLD_NS && loudness > quietest.loudness + LOUDER_DB => {
                *quietest = holder;
                true
            }
            _ => false,
        }
    }

    /// A stream has ended: the next is heard at once.
    pub(crate) fn leave(&mut self, key: &K) {
        self.0.retain(|holder| holder.key != *key);
    }
}
