//! Redundant audio (RFC 2198): each packet carries the payloads of some before it once more.

use std::collections::VecDeque;

/// Bytes of the header of a block that is not the last one.
const REDUNDANT_HEADER: usize = 4;

/// The longest block that can be repeated: its length has 10 bits.
const MAX_BLOCK: usize = 0x3ff;

/// The furthest back that a block can lie, in ticks of the clock: 14 bits.
const MAX_OFFSET: u32 = 0x3fff;

/// The most blocks that are read of a packet, the primary one included.
pub const MAX_BLOCKS: usize = 32;

/// The most generations that can be sent.
pub const MAX_GENERATIONS: usize = 16;

/// One block of a packet of redundant audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedBlock<'a> {
    /// What it is coded as.
    pub payload_type: u8,
    /// How far it lies before the packet's own timestamp, in ticks; 0 for the primary block.
    pub offset: u32,
    /// The payload that it repeats.
    pub payload: &'a [u8],
}

/// The payload is no redundant audio, or lies about its lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not redundant audio, or blocks whose lengths do not fit")]
pub struct RedError;

/// Reads the payload of a packet of redundant audio into its blocks, oldest first as they stand, the primary one last.
///
/// # Errors
/// Where lengths do not fit, or there are more than [`MAX_BLOCKS`] blocks.
pub fn read_red(payload: &[u8]) -> Result<RedBlocks<'_>, RedError> {
    let mut headers = payload;
    let (mut count, mut redundant) = (1, 0);
    loop {
        match *headers {
            [first, ..] if first & 0x80 == 0 => break,
            [_, _, c, d, ref rest @ ..] if count < MAX_BLOCKS => {
                redundant += usize::from(u16::from_be_bytes([c, d])) & MAX_BLOCK;
                count += 1;
                headers = rest;
            }
            _ => return Err(RedError),
        }
    }
    let bodies = &headers[1..];
    if redundant > bodies.len() {
        return Err(RedError);
    }
    Ok(RedBlocks { headers: payload, bodies, left: count })
}

/// The blocks of a packet, oldest first as they stand.
#[derive(Debug, Clone)]
pub struct RedBlocks<'a> {
    headers: &'a [u8],
    bodies: &'a [u8],
    left: usize,
}

impl<'a> Iterator for RedBlocks<'a> {
    type Item = RedBlock<'a>;

    fn next(&mut self) -> Option<RedBlock<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (&first, _) = self.headers.split_first()?;
        let payload_type = first & 0x7f;
        if self.left == 0 {
            return Some(RedBlock { payload_type, offset: 0, payload: self.bodies });
        }
        let (&[_, b, c, d], headers) = self.headers.split_first_chunk::<REDUNDANT_HEADER>()?;
        let bits = u32::from_be_bytes([0, b, c, d]);
        let (payload, bodies) = self.bodies.split_at_checked(bits as usize & MAX_BLOCK)?;
        (self.headers, self.bodies) = (headers, bodies);
        Some(RedBlock { payload_type, offset: bits >> 10, payload })
    }
}

/// Makes redundant audio of one stream.
#[derive(Debug)]
pub struct RedEncoder {
    generations: usize,
    /// Payload type, timestamp and payload of what was sent, newest first.
    sent: VecDeque<(u8, u32, Vec<u8>)>,
}

impl RedEncoder {
    /// An encoder that repeats each payload in the `generations` packets after it, at most [`MAX_GENERATIONS`].
    pub fn new(generations: usize) -> Self {
        Self { generations: generations.min(MAX_GENERATIONS), sent: VecDeque::new() }
    }

    /// Writes what a packet of redundant audio carries into `out`, replacing what was there. Generations that do not
    /// fit `mtu` bytes are left out, the oldest first.
    pub fn encode(&mut self, payload_type: u8, timestamp: u32, payload: &[u8], mtu: usize, out: &mut Vec<u8>) {
        let mut length = 1 + payload.len();
        let fitting = self
            .sent
            .iter()
            .take_while(|(_, sent_at, block)| {
                length += REDUNDANT_HEADER + block.len();
                let offset = timestamp.wrapping_sub(*sent_at);
                (1..=MAX_OFFSET).contains(&offset) && length <= mtu
            })
            .count();
        out.clear();
        let blocks = || self.sent.iter().take(fitting).rev().filter(|(.., block)| block.len() <= MAX_BLOCK);
        for (payload_type, sent_at, block) in blocks() {
            let bits = timestamp.wrapping_sub(*sent_at) << 10 | block.len() as u32;
            out.extend_from_slice(&(u32::from(0x80 | payload_type) << 24 | bits).to_be_bytes());
        }
        out.push(payload_type & 0x7f);
        for (.., block) in blocks() {
            out.extend_from_slice(block);
        }
        out.extend_from_slice(payload);
        self.remember(payload_type, timestamp, payload);
    }

    /// What was sent so far is not repeated any more: what comes next is another time.
    pub fn clear(&mut self) {
        self.sent.clear();
    }

    fn remember(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut block = Vec::new();
        while self.sent.len() >= self.generations.max(1) {
            if let Some((.., oldest)) = self.sent.pop_back() {
                block = oldest;
            }
        }
        if self.generations > 0 {
            block.clear();
            block.extend_from_slice(payload);
            self.sent.push_front((payload_type & 0x7f, timestamp, block));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(payload: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        let read = read_red(payload).unwrap();
        read.map(|block| (block.payload_type, block.offset, block.payload.to_vec())).collect()
    }

    /// As in the example of RFC 2198, section 6: an LPC block of 14 bytes before a DVI4 block of 84 bytes; an offset
    /// has 14 bits, a length 10.
    #[test]
    fn the_headers_are_those_of_rfc_2198() {
        let mut encoder = RedEncoder::new(1);
        let mut out = Vec::new();
        encoder.encode(7, 1000, &[1; 14], 1200, &mut out);
        assert_eq!(out[0], 7);
        encoder.encode(5, 1160, &[2; 84], 1200, &mut out);
        assert_eq!(out[..5], [0x80 | 7, 160 >> 6, ((160 & 0x3f) << 2) as u8, 14, 5]);
        assert_eq!(out[5..], [&[1; 14][..], &[2; 84]].concat());
    }

    #[test]
    fn each_payload_comes_in_as_many_packets_as_asked_for() {
        let mut encoder = RedEncoder::new(3);
        let mut out = Vec::new();
        for index in 0..10u32 {
            encoder.encode(96, index * 960, &[index as u8; 50], 1200, &mut out);
        }
        let expected: Vec<_> = [3, 2, 1, 0].map(|back| (96, back * 960, vec![9 - back as u8; 50])).into();
        assert_eq!(blocks(&out), expected);
    }

    #[test]
    fn what_does_not_fit_is_left_out_oldest_first() {
        let mut encoder = RedEncoder::new(4);
        let mut out = Vec::new();
        for index in 0..6u32 {
            encoder.encode(96, index * 960, &[0; 300], 1000, &mut out);
            assert!(out.len() <= 1000);
        }
        assert_eq!(blocks(&out).iter().map(|block| block.1).collect::<Vec<_>>(), [1920, 960, 0]);
    }

    #[test]
    fn what_lies_too_far_back_or_is_too_long_is_not_repeated() {
        let mut encoder = RedEncoder::new(2);
        let mut out = Vec::new();
        encoder.encode(96, 0, &[1; 10], 1200, &mut out);
        encoder.encode(96, 16_384, &[2; 1024], 2000, &mut out);
        assert_eq!(blocks(&out).len(), 1);
        encoder.encode(96, 16_384 + 960, &[3; 10], 2000, &mut out);
        assert_eq!(blocks(&out).len(), 1);
    }

    #[test]
    fn lying_lengths_are_refused() {
        for payload in
            [&[][..], &[0x80], &[0x80, 0, 0], &[0x80, 0, 0, 0], &[0x80, 0, 3, 0xff, 96, 1, 2], &[0x80 | 1; 400]]
        {
            assert_eq!(read_red(payload).err(), Some(RedError), "{payload:?}");
        }
        assert_eq!(blocks(&[96]), [(96, 0, vec![])]);
        let most = [[0x80, 0, 0, 0].repeat(MAX_BLOCKS - 1), vec![96]].concat();
        assert_eq!(blocks(&most).len(), MAX_BLOCKS);
        assert!(read_red(&[[0x80, 0, 0, 0].repeat(MAX_BLOCKS), vec![96]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_their_bounds(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(blocks) = read_red(&bytes) {
                let blocks: Vec<_> = blocks.collect();
                prop_assert!((1..=MAX_BLOCKS).contains(&blocks.len()));
                let headers = REDUNDANT_HEADER * (blocks.len() - 1) + 1;
                prop_assert_eq!(headers + blocks.iter().map(|block| block.payload.len()).sum::<usize>(), bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read(
            payloads in prop::collection::vec((0u8..128, prop::collection::vec(any::<u8>(), 0..200)), 1..20),
            generations in 0usize..8,
        ) {
            let mut encoder = RedEncoder::new(generations);
            let mut out = Vec::new();
            for (index, (payload_type, payload)) in payloads.iter().enumerate() {
                encoder.encode(*payload_type, (index as u32 * 160).wrapping_sub(500), payload, 60_000, &mut out);
                let oldest = index.saturating_sub(generations);
                let expected: Vec<_> = payloads[oldest..=index].iter().enumerate()
                    .map(|(at, (payload_type, payload))| (*payload_type, ((index - oldest - at) * 160) as u32, payload.clone()))
                    .collect();
                prop_assert_eq!(blocks(&out), expected);
            }
        }
    }
}
