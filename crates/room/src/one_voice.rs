//! Many streams in turn as one: for who can take a single stream, the loudest is what it hears, with numbers and
//! timestamps that go on from one speaker to the next (RFC 3550, section 5.1).

use vox_frame::{Rate, Stamp};
use vox_rtp::{ExtensionMap, HeaderExtension, HeaderFacts, Packet, PayloadFormat};

use crate::LEVEL_EXTENSION;
use crate::floor::Floor;

/// After what silence the next speaker is heard at once, in ns.
const SILENCE_NS: i64 = 200_000_000;

/// How far back a packet may come and still be in order, in packets (RFC 3550, A.1).
const MAX_MISORDER: u16 = 100;

/// The one stream.
#[derive(Debug)]
pub(crate) struct OneVoice {
    payload_type: u8,
    clock: Rate,
    format: PayloadFormat,
    ssrc: u32,
    floor: Floor<u32>,
    /// The next number and timestamp where somebody else begins.
    sequence: u16,
    timestamp: u32,
    turn: Option<Turn>,
    /// When the last packet that went out will have been heard, in ns.
    due: Option<i64>,
}

/// Who is heard now.
#[derive(Debug, Clone, Copy)]
struct Turn {
    ssrc: u32,
    /// The number of its first packet: what is older was said before its turn.
    first: u16,
    highest: u16,
    sequence_offset: u16,
    timestamp_offset: u32,
}

impl OneVoice {
    pub(crate) fn new(payload_type: u8, format: &PayloadFormat, ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            payload_type,
            clock: format.clock,
            format: format.clone(),
            ssrc,
            floor: Floor::default(),
            sequence,
            timestamp,
            turn: None,
            due: None,
        }
    }

    pub(crate) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Makes a packet one of the stream; false where somebody else is heard.
    pub(crate) fn handle_packet(&mut self, now: Stamp, bytes: &mut [u8]) -> bool {
        let Ok(packet) = Packet::parse(bytes) else { return false };
        let header = packet.header;
        let mut map = ExtensionMap::default();
        map.insert(LEVEL_EXTENSION, HeaderExtension::AudioLevel);
        let facts = packet.extension.map(|(profile, bytes)| HeaderFacts::read(&map, profile, bytes));
        let level = facts.and_then(|facts| facts.level).map(|(_, level)| level);
        let ticks = self.format.measure(packet.payload).map_or(0, |(ticks, _)| u64::from(ticks) / self.format.scale());
        if !self.floor.admits(now, header.ssrc, level, 1, SILENCE_NS) {
            return false;
        }
        let begins = self.turn.is_none_or(|turn| turn.ssrc != header.ssrc);
        let mut turn = match self.turn.filter(|_| !begins) {
            Some(turn) => turn,
            None => self.next_turn(now, header.ssrc, header.sequence, header.timestamp),
        };
        let since_first = header.sequence.wrapping_sub(turn.first);
        if since_first >= 0u16.wrapping_sub(MAX_MISORDER) {
            // From before its turn: its number was another's.
            return false;
        }
        let ahead = header.sequence.wrapping_sub(turn.highest);
        if ahead < 0x8000 {
            turn.highest = header.sequence;
            // Far from its beginning, late packets are its own: the beginning moves along.
            turn.first = if since_first > 0x4000 { header.sequence.wrapping_sub(MAX_MISORDER) } else { turn.first };
            self.sequence = header.sequence.wrapping_add(turn.sequence_offset).wrapping_add(1);
            self.timestamp = header.timestamp.wrapping_add(turn.timestamp_offset).wrapping_add(ticks as u32);
            self.due = Some(now.ns().saturating_add(self.clock.ns(ticks)));
        }
        self.turn = Some(turn);
        bytes[1] = self.payload_type | if begins || header.marker { 0x80 } else { 0 };
        bytes[2..4].copy_from_slice(&header.sequence.wrapping_add(turn.sequence_offset).to_be_bytes());
        bytes[4..8].copy_from_slice(&header.timestamp.wrapping_add(turn.timestamp_offset).to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        true
    }

    /// A stream has ended: nobody waits for more of it.
    pub(crate) fn handle_end(&mut self, ssrc: u32) {
        self.floor.leave(&ssrc);
    }

    /// Somebody else has the word: his numbers follow the last one's, his timestamps the time that has passed.
    fn next_turn(&mut self, now: Stamp, ssrc: u32, sequence: u16, timestamp: u32) -> Turn {
        let pause = self.due.map_or(0, |due| self.clock.ticks(now.ns().saturating_sub(due)));
        let begins = self.timestamp.wrapping_add(pause as u32);
        Turn {
            ssrc,
            first: sequence,
            highest: sequence,
            sequence_offset: self.sequence.wrapping_sub(sequence),
            timestamp_offset: begins.wrapping_sub(timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use vox_rtp::{Header, write_packet};

    use super::*;

    const MS: i64 = 1_000_000;

    struct Ear(OneVoice, i64);

    impl Ear {
        fn new() -> Self {
            Self(OneVoice::new(0, &"PCMU/8000".parse().expect("a format"), 7, 65_534, 1000), 0)
        }

        /// What is heard of a packet: number, timestamp, marker.
        fn hears(&mut self, ssrc: u32, sequence: u16, timestamp: u32) -> Option<(u16, u32, bool)> {
            let mut bytes = Vec::new();
            let header = Header { ssrc, sequence, timestamp, payload_type: 0, marker: false };
            write_packet(header, &[], &[0; 160], &mut bytes);
            if !self.0.handle_packet(Stamp::from_ns(self.1), &mut bytes) {
                return None;
            }
            let header = Packet::parse(&bytes).expect("a packet").header;
            assert_eq!((header.ssrc, header.payload_type), (7, 0));
            Some((header.sequence, header.timestamp, header.marker))
        }

        fn passes(&mut self, ms: i64) {
            self.1 += ms * MS;
        }
    }

    #[test]
    fn one_speaker_keeps_his_order_and_his_losses() {
        let mut ear = Ear::new();
        assert_eq!(ear.hears(1, 10, 500), Some((65_534, 1000, true)));
        assert_eq!(ear.hears(1, 13, 980), Some((1, 1480, false)), "two were lost");
        assert_eq!(ear.hears(1, 12, 820), Some((0, 1320, false)), "one came late");
        assert_eq!(ear.hears(1, 14, 1140), Some((2, 1640, false)));
    }

    #[test]
    fn the_next_speaker_goes_on_where_the_last_one_was() {
        let mut ear = Ear::new();
        assert_eq!(ear.hears(1, 10, 500), Some((65_534, 1000, true)));
        ear.passes(20);
        assert_eq!(ear.hears(1, 11, 660), Some((65_535, 1160, false)));
        assert_eq!(ear.hears(2, 900, 77), None, "one at a time");
        ear.passes(220);
        assert_eq!(ear.hears(2, 901, 237), Some((0, 1320 + 1600, true)), "200 ms of silence between them");
        assert_eq!(ear.hears(2, 899, 0), None, "said before his turn");
        ear.passes(20);
        assert_eq!(ear.hears(2, 902, 397), Some((1, 3080, false)));
        assert_eq!(ear.hears(1, 30, 9000), None);
    }

    #[test]
    fn nobody_waits_for_who_has_ended() {
        let mut ear = Ear::new();
        assert!(ear.hears(1, 10, 500).is_some());
        assert_eq!(ear.hears(2, 900, 77), None);
        ear.0.handle_end(1);
        assert_eq!(ear.hears(2, 901, 237), Some((65_535, 1160, true)));
    }

    #[test]
    fn a_long_turn_has_no_end_of_its_numbers() {
        let mut ear = Ear::new();
        let mut expected = 65_534u16;
        for n in 0..200_000u32 {
            let heard = ear.hears(1, n as u16, n * 160).map(|(sequence, ..)| sequence);
            assert_eq!(heard, Some(expected), "packet {n}");
            expected = expected.wrapping_add(1);
            ear.passes(20);
        }
    }
}
