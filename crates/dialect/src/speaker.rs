//! Both directions of audio: what a client says as packets of a room, and packets of the mix as samples that go on.

use vox_frame::{Rate, Stamp};
use vox_room::LEVEL_EXTENSION;
use vox_rtp::{ExtensionMap, Header, HeaderExtension, HeaderFacts, Packet, write_extended};

/// A pause beyond this is a pause, in ns; less is the way's doing.
const PAUSE_NS: i64 = 300_000_000;

/// The longest hole in the mix that is filled, in ns: where it rests longer, the client's own buffer starts anew.
const FILL_NS: i64 = 200_000_000;

/// A stream of packets.
pub(crate) struct Speaker {
    pub(crate) ssrc: u32,
    payload_type: u8,
    rate: Rate,
    sequence: u16,
    timestamp: u32,
    /// When the next sample is expected.
    expected: Option<i64>,
    extension: Vec<u8>,
}

impl Speaker {
    /// A stream that begins with numbers made of `random`.
    pub(crate) const fn new(payload_type: u8, rate: Rate, random: u64) -> Self {
        Self {
            ssrc: random as u32,
            payload_type,
            rate,
            sequence: (random >> 48) as u16 >> 1,
            timestamp: (random >> 24) as u32,
            expected: None,
            extension: Vec::new(),
        }
    }

    /// The packet for `ticks` of audio that have come at `now`, with that level in -dBov.
    pub(crate) fn packet(&mut self, now: Stamp, payload: &[u8], ticks: u32, level: (bool, u8)) -> Vec<u8> {
        let now = now.ns();
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
        let mut packet = Vec::new();
        write_extended(header, &[], &self.extension, payload, &mut packet);
        packet
    }
}

/// The mix as a client hears it that knows no holes.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// The timestamp that comes next.
    next: Option<u32>,
}

impl Joined {
    /// Appends what a packet holds; what is missing before it is `silence`, a byte repeated. `tick` are the bytes of a
    /// sample.
    pub(crate) fn handle(&mut self, rate: Rate, packet: &[u8], tick: usize, silence: u8, out: &mut Vec<u8>) {
        let Ok(packet) = Packet::parse(packet) else { return };
        let missing = self.next.map_or(0, |next| packet.header.timestamp.wrapping_sub(next));
        // What comes late was filled already.
        if missing > u32::MAX / 2 {
            return;
        }
        if u64::from(missing) <= rate.ticks(FILL_NS) {
            out.resize(out.len() + missing as usize * tick, silence);
        }
        out.extend_from_slice(packet.payload);
        self.next = Some(packet.header.timestamp.wrapping_add((packet.payload.len() / tick) as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_pause_and_jitter_is_none() {
        let mut speaker = Speaker::new(0, Rate::HZ_8000, 77);
        let mut said = |ms: i64| {
            let packet = speaker.packet(Stamp::from_ns(ms * 1_000_000), &[0; 160], 160, (true, 20));
            let header = Packet::parse(&packet).expect("a packet").header;
            (header.timestamp, header.marker)
        };
        let (first, marker) = said(0);
        assert!(marker);
        for (n, ms) in [(1, 5), (2, 90), (3, 60)] {
            assert_eq!(said(ms), (first.wrapping_add(n * 160), false), "{ms}");
        }
        assert_eq!(said(1080), (first.wrapping_add(4 * 160 + 8000), true), "a second of silence");
    }

    #[test]
    fn a_short_hole_is_filled_and_a_long_one_is_none() {
        let (mut joined, mut out) = (Joined::default(), Vec::new());
        let mut heard = |timestamp: u32| {
            out.clear();
            let header = Header { ssrc: 1, sequence: 0, timestamp, payload_type: 0, marker: false };
            let mut packet = Vec::new();
            write_extended(header, &[], &[], &[1; 160], &mut packet);
            joined.handle(Rate::HZ_8000, &packet, 1, 0xff, &mut out);
            (out.len(), out.first().copied())
        };
        assert_eq!(heard(1000), (160, Some(1)));
        assert_eq!(heard(1160), (160, Some(1)));
        assert_eq!(heard(1480), (320, Some(0xff)), "one was lost");
        assert_eq!(heard(1320), (0, None), "too late");
        assert_eq!(heard(90_000), (160, Some(1)), "ten seconds of rest");
    }
}
