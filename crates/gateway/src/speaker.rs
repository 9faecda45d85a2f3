//! What a client says, as packets of a room.

use vox_frame::Rate;
use vox_room::LEVEL_EXTENSION;
use vox_rtp::{ExtensionMap, Header, HeaderExtension, HeaderFacts, write_extended};

/// A pause beyond this is a pause, in ns; less is the way's doing.
const PAUSE_NS: i64 = 300_000_000;

/// A stream of packets.
pub(crate) struct Speaker {
    pub(crate) ssrc: u32,
    payload_type: u8,
    rate: Rate,
    sequence: u16,
    timestamp: u32,
    /// When the next sample is expected, in ns of CLOCK_MONOTONIC.
    expected: Option<i64>,
    extension: Vec<u8>,
    packet: Vec<u8>,
}

impl Speaker {
    /// A stream with random beginnings.
    pub(crate) fn new(payload_type: u8, rate: Rate) -> Self {
        let random = || getrandom::u32().unwrap_or(1);
        Self {
            ssrc: random(),
            payload_type,
            rate,
            sequence: random() as u16 >> 1,
            timestamp: random(),
            expected: None,
            extension: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// The packet for `ticks` of audio that have come at `now`, in ns of CLOCK_MONOTONIC, with that level in -dBov.
    pub(crate) fn packet(&mut self, now: i64, payload: &[u8], ticks: u32, level: (bool, u8)) -> &[u8] {
        let pause = self.expected.map_or(0, |expected| now - expected);
        let marker = self.expected.is_none() || pause > PAUSE_NS;
        if pause > PAUSE_NS {
            self.timestamp = self.timestamp.wrapping_add(self.rate.ticks(pause) as u32);
        }
        let from = self.expected.filter(|_| !marker).unwrap_or(now);
        self.expected = Some(from + self.rate.ns(u64::from(ticks)));
        let header = Header {
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            payload_type: self.payload_type,
            marker,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(ticks);
        let mut map = ExtensionMap::default();
        map.insert(LEVEL_EXTENSION, HeaderExtension::AudioLevel);
        HeaderFacts { level: Some(level), captured: None }.write(&map, &mut self.extension);
        write_extended(header, &[], &self.extension, payload, &mut self.packet);
        &self.packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vox_rtp::Packet;

    #[test]
    fn a_pause_is_a_pause_and_jitter_is_none() {
        let mut speaker = Speaker::new(0, Rate::HZ_8000);
        let mut said = |ms: i64| {
            let packet = speaker.packet(ms * 1_000_000, &[0; 160], 160, (true, 20));
            let header = Packet::parse(packet).expect("a packet").header;
            (header.timestamp, header.marker)
        };
        let (first, marker) = said(0);
        assert!(marker);
        for (n, ms) in [(1, 5), (2, 90), (3, 60)] {
            assert_eq!(said(ms), (first.wrapping_add(n * 160), false), "{ms}");
        }
        assert_eq!(said(1080), (first.wrapping_add(4 * 160 + 8000), true), "a second of silence");
    }
}
