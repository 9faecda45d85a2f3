//! Parity packets (RFC 5109, one level of protection): the exclusive or of some packets restores any one of them.
//!
//! RFC 5109 and not RFC 8627: it is what a peer speaks here (GStreamer's `rtpulpfecenc` and `rtpulpfecdec`), and its
//! mask of 48 packets says everything that rows, columns and both need.

/// Bytes of an RTP header without contributing sources and extension.
const RTP_HEADER: usize = 12;

/// Bytes of the FEC header and of the shorter header of a level (RFC 5109, sections 7.3 and 7.4).
const FEC_HEADER: usize = 10;
const LEVEL_HEADER: usize = 4;

/// How many packets a mask covers: 16, or 48 in its longer form.
const SHORT_MASK: u16 = 16;
/// How far apart the first and the last packet that a parity packet protects may lie.
pub const MAX_SPAN: u16 = 48;

/// The exclusive or of packets: everything that can be restored of one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    /// The first two bytes of the header (P, X, CC, M and PT count).
    start: [u8; 2],
    timestamp: u32,
    /// Length of what follows the fixed header.
    length: u16,
    /// What follows the fixed header: contributing sources, extension, payload, padding.
    rest: Vec<u8>,
}

impl Sum {
    fn add(&mut self, start: [u8; 2], timestamp: u32, length: u16, rest: &[u8]) {
        self.start[0] ^= start[0];
        self.start[1] ^= start[1];
        self.timestamp ^= timestamp;
        self.length ^= length;
        if self.rest.len() < rest.len() {
            self.rest.resize(rest.len(), 0);
        }
        for (sum, byte) in self.rest.iter_mut().zip(rest) {
            *sum ^= byte;
        }
    }

    fn add_packet(&mut self, packet: &[u8]) {
        let Some((header, rest)) = packet.split_first_chunk::<RTP_HEADER>() else { return };
        let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        self.add([header[0], header[1]], timestamp, rest.len() as u16, rest);
    }
}

/// What a parity packet carries, being built up packet by packet.
#[derive(Debug, Clone)]
pub struct Parity {
    base: u16,
    /// A bit for each packet from the base on, the base's the highest of 48.
    mask: u64,
    sum: Sum,
}

impl Parity {
    /// Protects no packet yet; the first one that it will is that of number `base`.
    pub fn new(base: u16) -> Self {
        Self { base, mask: 0, sum: Sum::default() }
    }

    /// Protects an RTP packet too. False where it is none, is protected already, or lies outside of the mask.
    pub fn add(&mut self, packet: &[u8]) -> bool {
        let Some(sequence) = sequence_of(packet) else { return false };
        let bit = bit(sequence.wrapping_sub(self.base));
        if bit == 0 || self.mask & bit != 0 || packet.len() > RTP_HEADER + usize::from(u16::MAX) {
            return false;
        }
        self.mask |= bit;
        self.sum.add_packet(packet);
        true
    }

    /// How many packets are protected.
    pub const fn count(&self) -> u32 {
        self.mask.count_ones()
    }

    /// Writes the payload of the parity packet into `out`, replacing what was there.
    pub fn write(&self, out: &mut Vec<u8>) {
        let long = self.mask.trailing_zeros() < u32::from(MAX_SPAN - SHORT_MASK);
        out.clear();
        // E is 0, L says how long the mask is; the version's two bits stand there in an RTP header.
        out.push(self.sum.start[0] & 0x3f | u8::from(long) << 6);
        out.push(self.sum.start[1]);
        out.extend_from_slice(&self.base.to_be_bytes());
        out.extend_from_slice(&self.sum.timestamp.to_be_bytes());
        out.extend_from_slice(&self.sum.length.to_be_bytes());
        out.extend_from_slice(&(self.sum.rest.len() as u16).to_be_bytes());
        let mask = (self.mask << (64 - MAX_SPAN)).to_be_bytes();
        out.extend_from_slice(if long { &mask[..6] } else { &mask[..2] });
        out.extend_from_slice(&self.sum.rest);
    }
}

/// The bit of the packet `offset` after the base; 0 outside of the mask.
const fn bit(offset: u16) -> u64 {
    if offset < MAX_SPAN { 1 << (MAX_SPAN - 1 - offset) } else { 0 }
}

pub(crate) fn sequence_of(packet: &[u8]) -> Option<u16> {
    let (header, _) = packet.split_first_chunk::<RTP_HEADER>()?;
    (header[0] >> 6 == 2).then(|| u16::from_be_bytes([header[2], header[3]]))
}

/// A parity packet as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedParity {
    base: u16,
    mask: u64,
    sum: Sum,
}

impl ReceivedParity {
    /// Reads the payload of a parity packet; further levels, which protect the beginnings of packets more, are left
    /// out. None where lengths do not fit, or the first level protects less than the payload of what it is (then it
    /// restores beginnings only).
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (header, rest) = payload.split_first_chunk::<FEC_HEADER>()?;
        // An extension of the header, reserved.
        if header[0] & 0x80 != 0 {
            return None;
        }
        let long = header[0] & 0x40 != 0;
        let (level, rest) = rest.split_first_chunk::<LEVEL_HEADER>()?;
        let protected = usize::from(u16::from_be_bytes([level[0], level[1]]));
        let mut mask = [0; 8];
        mask[..2].copy_from_slice(&level[2..]);
        let rest = if long {
            let (more, rest) = rest.split_first_chunk::<4>()?;
            mask[2..6].copy_from_slice(more);
            rest
        } else {
            rest
        };
        let mask = u64::from_be_bytes(mask) >> (64 - MAX_SPAN);
        if mask == 0 {
            return None;
        }
        Some(Self {
            base: u16::from_be_bytes([header[2], header[3]]),
            mask,
            sum: Sum {
                start: [header[0] & 0x3f, header[1]],
                timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                length: u16::from_be_bytes([header[8], header[9]]),
                rest: rest.get(..protected)?.to_vec(),
            },
        })
    }

    /// The numbers of the packets that it protects.
    pub fn protects(&self) -> impl Iterator<Item = u16> + use<> {
        let (base, mask) = (self.base, self.mask);
        (0..MAX_SPAN).filter(move |offset| mask & bit(*offset) != 0).map(move |offset| base.wrapping_add(offset))
    }

    /// Restores the packet `missing` of the source `ssrc` into `out`, where all others are there: `find` gives them.
    /// False, with `out` undefined, where one is not, or what comes out is no packet.
    pub fn restore<'a>(
        &self,
        ssrc: u32,
        missing: u16,
        find: impl Fn(u16) -> Option<&'a [u8]>,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut sum = self.sum.clone();
        for sequence in self.protects().filter(|sequence| *sequence != missing) {
            let Some(packet) = find(sequence) else { return false };
            // What a packet has beyond the level's length was not summed up.
            if packet.len() > RTP_HEADER + self.sum.rest.len() {
                return false;
            }
            sum.add_packet(packet);
        }
        let length = usize::from(sum.length);
        let Some(rest) = sum.rest.get(..length) else { return false };
        out.clear();
        out.extend_from_slice(&[0x80 | sum.start[0] & 0x3f, sum.start[1]]);
        out.extend_from_slice(&missing.to_be_bytes());
        out.extend_from_slice(&sum.timestamp.to_be_bytes());
        out.extend_from_slice(&ssrc.to_be_bytes());
        out.extend_from_slice(rest);
        // Beyond the length of the packet there was nothing: what is left there betrays another packet under one of
        // the numbers.
        sum.rest[length..].iter().all(|byte| *byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(sequence: u16, timestamp: u32, second: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, second];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&7u32.to_be_bytes());
        packet.extend_from_slice(rest);
        packet
    }

    fn parity(packets: &[Vec<u8>]) -> (Parity, Vec<u8>) {
        let mut parity = Parity::new(sequence_of(&packets[0]).unwrap_or_default());
        for packet in packets {
            assert!(parity.add(packet));
        }
        let mut out = Vec::new();
        parity.write(&mut out);
        (parity, out)
    }

    /// The example of RFC 5109, section 10.2 (all four packets under one level of protection), with the figures of its
    /// FEC header. Media packets: SN 8, 9, 10, 11; M 1, 0, 1, 0; PT 11, 18, 11, 18; TS 3, 5, 7, 9; lengths 200, 140,
    /// 100, 340.
    #[test]
    fn the_header_is_that_of_the_example_in_rfc_5109() {
        let packets = [
            packet(8, 3, 0x80 | 11, &[1; 200]),
            packet(9, 5, 18, &[2; 140]),
            packet(10, 7, 0x80 | 11, &[3; 100]),
            packet(11, 9, 18, &[4; 340]),
        ];
        let (_, out) = parity(&packets);
        // TS recovery 8, length recovery 372, PT recovery 0, M 0, SN base 8, mask 0xf000, protection length 340.
        let expected = [0, 0, 0, 8, 0, 0, 0, 8, 372u16.to_be_bytes()[0], 372u16.to_be_bytes()[1], 1, 84, 0xf0, 0];
        assert_eq!(out[..14], expected);
        assert_eq!(out.len(), 14 + 340);
    }

    #[test]
    fn a_packet_restored_of_the_wrong_ones_is_found_out_or_differs() {
        let packets: Vec<_> = (0..4).map(|i| packet(i, 160 * u32::from(i), 0, &[i as u8; 50])).collect();
        let (_, payload) = parity(&packets);
        let received = ReceivedParity::read(&payload).unwrap();
        let longer = packet(1, 160, 0, &[1; 60]);
        let mut out = Vec::new();
        let find =
            |sequence: u16| Some(if sequence == 1 { &longer } else { &packets[usize::from(sequence)] }.as_slice());
        assert!(!received.restore(7, 2, find, &mut out));
    }

    #[test]
    fn a_packet_outside_of_the_mask_is_not_protected() {
        let mut parity = Parity::new(65_530);
        assert!(parity.add(&packet(65_530, 0, 0, &[])) && !parity.add(&packet(65_530, 0, 0, &[])));
        assert!(parity.add(&packet(65_530u16.wrapping_add(47), 0, 0, &[])));
        assert!(!parity.add(&packet(65_530u16.wrapping_add(48), 0, 0, &[])) && !parity.add(&packet(65_529, 0, 0, &[])));
        assert!(!parity.add(&[0x80, 0]));
        assert_eq!(parity.count(), 2);
    }

    proptest! {
        #[test]
        fn any_one_packet_is_restored(
            base in any::<u16>(),
            offsets in prop::collection::btree_set(1u16..48, 0..12),
            lost in any::<prop::sample::Index>(),
            contents in prop::collection::vec((0u8..64, any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..200)), 13),
        ) {
            let offsets: Vec<u16> = std::iter::once(0).chain(offsets).collect();
            let packets: Vec<_> = offsets.iter().zip(&contents).map(|(offset, (first, second, timestamp, rest))| {
                let mut packet = packet(base.wrapping_add(*offset), *timestamp, *second, rest);
                packet[0] |= first;
                packet
            }).collect();
            let (_, payload) = parity(&packets);
            let received = ReceivedParity::read(&payload).unwrap();
            let numbers: Vec<u16> = received.protects().collect();
            prop_assert_eq!(&numbers, &offsets.iter().map(|offset| base.wrapping_add(*offset)).collect::<Vec<_>>());
            let lost = lost.index(packets.len());
            let find = |sequence: u16| {
                let at = numbers.iter().position(|number| *number == sequence)?;
                (at != lost).then(|| packets[at].as_slice())
            };
            let mut out = Vec::new();
            prop_assert!(received.restore(7, numbers[lost], find, &mut out));
            prop_assert_eq!(&out, &packets[lost]);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(received) = ReceivedParity::read(&bytes) {
                let first = received.protects().next().unwrap();
                let _restored_or_not = received.restore(1, first, |_| Some(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), &mut Vec::new());
            }
        }
    }
}
