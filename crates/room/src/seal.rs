//! The voice of one participant under keys of its own (SRTP), which only the encrypted signalling tells.

use std::collections::BTreeMap;

use vox_frame::Stamp;
use vox_srtp::{KeyError, MasterKey, Protector, Suite, Unprotector};

/// The suite of rooms: authenticated encryption that processors do in hardware (RFC 7714).
pub const SUITE: Suite = Suite::AeadAes128Gcm;

/// Bytes of key and salt.
pub const KEY_BYTES: usize = 28;

/// Streams that one pair of keys protects; who has heard more gets new keys.
const MAX_SOURCES: usize = 4096;

/// Packets that may be overtaken, by one that came later (as in RFC 3711, 3.3.2).
const WINDOW: u16 = 128;

/// Two keys, one for each direction: as base64, for the line that tells them, and at work.
pub(crate) struct Seal {
    protector: Protector,
    unprotector: Unprotector,
    sealed: BTreeMap<u32, Guard>,
    opened: Vec<u8>,
    out: Vec<u8>,
}

/// Why a packet does not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSealed {
    /// That number was used: the same again would give the key stream away (RFC 3711, 9.1).
    Used,
    /// The keys have protected as many streams as they may.
    Exhausted,
}

impl Seal {
    /// `incoming` is the key of the participant's own packets, `outgoing` that of what it hears.
    pub(crate) fn new(incoming: &[u8], outgoing: &[u8]) -> Result<Self, KeyError> {
        let (incoming, outgoing) = (MasterKey::from_bytes(SUITE, incoming)?, MasterKey::from_bytes(SUITE, outgoing)?);
        Ok(Self {
            protector: Protector::new(&outgoing),
            unprotector: Unprotector::new(incoming, crate::Limits::default().streams_each + 1),
            sealed: BTreeMap::new(),
            opened: Vec::new(),
            out: Vec::new(),
        })
    }

    /// A packet of the participant, opened; none where it is not its own, or was seen before.
    pub(crate) fn open(&mut self, now: Stamp, packet: &[u8]) -> Option<Vec<u8>> {
        let mut opened = std::mem::take(&mut self.opened);
        match self.unprotector.handle_rtp(now, packet, &mut opened) {
            Ok(()) => Some(opened),
            Err(_) => {
                self.opened = opened;
                None
            }
        }
    }

    /// Gives room back that [`open`](Self::open) has lent.
    pub(crate) fn give_back(&mut self, opened: Vec<u8>) {
        self.opened = opened;
    }

    /// A packet for the participant, sealed.
    pub(crate) fn close(&mut self, ssrc: u32, sequence: u16, packet: &[u8]) -> Result<&[u8], NotSealed> {
        if !self.sealed.contains_key(&ssrc) && self.sealed.len() >= MAX_SOURCES {
            return Err(NotSealed::Exhausted);
        }
        if !self.sealed.entry(ssrc).or_default().admits(sequence) {
            return Err(NotSealed::Used);
        }
        self.protector.protect_rtp(packet, &mut self.out).map_err(|_| NotSealed::Exhausted)?;
        Ok(&self.out)
    }
}

/// Which numbers of a stream were used.
#[derive(Debug, Default)]
struct Guard {
    highest: Option<u16>,
    /// The highest and those before it, a bit each.
    used: u128,
}

impl Guard {
    fn admits(&mut self, sequence: u16) -> bool {
        let Some(highest) = self.highest else {
            (self.highest, self.used) = (Some(sequence), 1);
            return true;
        };
        let step = sequence.wrapping_sub(highest);
        if (step as i16) > 0 {
            self.used = if step < WINDOW { self.used << step | 1 } else { 1 };
            self.highest = Some(sequence);
            return true;
        }
        let back = highest.wrapping_sub(sequence);
        if back >= WINDOW || self.used & 1 << back != 0 {
            return false;
        }
        self.used |= 1 << back;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_used_twice_and_what_was_overtaken_still_goes() {
        let mut guard = Guard::default();
        let admitted: Vec<bool> =
            [65_534, 65_535, 1, 0, 0, 65_535, 200, 72, 73, 73].into_iter().map(|number| guard.admits(number)).collect();
        assert_eq!(admitted, [true, true, true, true, false, false, true, false, true, false]);
    }

    #[test]
    fn what_one_seals_the_other_opens_and_nobody_else() {
        let (one, two) = ([1; KEY_BYTES], [2; KEY_BYTES]);
        let mut server = Seal::new(&one, &two).expect("keys");
        let mut client = Seal::new(&two, &one).expect("keys");
        let mut packet = Vec::new();
        let header = vox_rtp::Header { ssrc: 5, sequence: 9, timestamp: 0, payload_type: 0, marker: false };
        vox_rtp::write_packet(header, &[], b"hello", &mut packet);
        let sealed = server.close(5, 9, &packet).expect("a new number").to_vec();
        assert_eq!(client.open(Stamp::from_ns(1), &sealed).expect("its own key"), packet);
        assert_eq!(client.open(Stamp::from_ns(1), &sealed), None, "seen before");
        assert_eq!(server.open(Stamp::from_ns(1), &sealed), None, "the key of the other direction");
        assert_eq!(server.close(5, 9, &packet), Err(NotSealed::Used));
    }
}
