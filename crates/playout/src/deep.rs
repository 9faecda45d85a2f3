//! How far back a packet describes the past: deep redundancy (DRED) in the padding of Opus packets, read without a
//! codec and without the model that makes sound of it.
//!
//! Where it stands: draft-ietf-mlcodec-opus-extension (extensions in the padding), draft-ietf-mlcodec-opus-dred.

use vox_frame::Codec;

/// The extension of DRED, and how its payload begins, as libopus 1.6 writes it: a number that is not assigned yet.
const EXTENSION: u8 = 126;
const BEGINS: [u8; 2] = [b'D', 12];

/// Ticks of 2.5 ms, in which offsets are told, and pieces of 40 ms, in which the past is described, at 48 kHz.
const OFFSET_TICKS: i64 = 120;
const PIECE_TICKS: i64 = 1_920;

/// The most pieces that a packet holds, and how far back they are used.
const MAX_PIECES: u8 = 26;
const MAX_REACH: u32 = 48_000;

/// What a piece takes in the mean, in tenths of a bit, at each of the 16 steps of quality; libopus spends its bits by
/// the same figures.
const PIECE_DECIBITS: [u32; 16] = [732, 681, 625, 570, 515, 457, 399, 324, 264, 204, 163, 130, 93, 82, 72, 64];

/// What stands before the pieces, in tenths of a bit: mostly the state that the model begins with (measured over
/// speech; from 70 to 110 bits).
const HEAD_DECIBITS: u32 = 1_000;

/// By how much quality falls with every piece further back, in sixteenths of a step.
const SLOPES: [u32; 8] = [0, 2, 3, 4, 6, 8, 12, 16];

/// How many ticks before its own beginning the payload describes the past; 0 where it does not. An estimate, from the
/// bits that pieces take in the mean: only the decoder's model tells exactly, to which it is left to fall back.
pub fn deep_reach(codec: &Codec, payload: &[u8]) -> u32 {
    if *codec == Codec::Opus { padding(payload).and_then(extension).map_or(0, reach) } else { 0 }
}

/// The padding of a packet (RFC 6716, section 3.2.5).
fn padding(payload: &[u8]) -> Option<&[u8]> {
    let [toc, count, rest @ ..] = payload else { return None };
    if toc & 3 != 3 || count & 0x40 == 0 {
        return None;
    }
    let (mut length, mut lengths) = (0, rest);
    while let (&255, after) = lengths.split_first()? {
        length += 254;
        lengths = after;
    }
    let (&last, frames) = lengths.split_first()?;
    frames.get(frames.len().checked_sub(length + usize::from(last))?..)
}

/// The description among the extensions, where it belongs to the first frame: libopus puts it nowhere else.
fn extension(mut padding: &[u8]) -> Option<&[u8]> {
    loop {
        let (&head, rest) = padding.split_first()?;
        let (id, long) = (head >> 1, head & 1 == 1);
        let length = match id {
            // The rest is nothing, and a byte of nothing.
            0 if !long => return None,
            0 | 2 => 0,
            // The next frame begins.
            1 => return None,
            3..32 => usize::from(long),
            _ if !long => rest.len(),
            _ => {
                let (length, value) = laced(rest)?;
                let (value, after) = value.split_at_checked(length)?;
                if let Some(description) = described(id, value) {
                    return Some(description);
                }
                padding = after;
                continue;
            }
        };
        let (value, after) = rest.split_at_checked(length)?;
        if let Some(description) = described(id, value) {
            return Some(description);
        }
        padding = after;
    }
}

fn laced(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        (length, bytes) = (length + usize::from(byte), rest);
        if byte < 255 {
            return Some((length, bytes));
        }
    }
}

fn described(id: u8, value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(&BEGINS).filter(|description| id == EXTENSION && !description.is_empty())
}

/// How far back a description reaches, in ticks.
fn reach(description: &[u8]) -> u32 {
    let mut bits = RangeDecoder::new(description);
    let (first, slope) = (bits.uint(16), bits.uint(8));
    let more = if bits.uint(2) == 1 { 32 * i64::from(bits.uint(256)) } else { 0 };
    let offset = 16 - i64::from(bits.uint(32)) - more;
    let worst = bits.worst(first, slope);
    let quality = |piece: u32| {
        let step = first + (SLOPES[(slope & 7) as usize] * piece + 8) / 16;
        PIECE_DECIBITS[step.min(worst).min(15) as usize]
    };
    let there = 80 * description.len() as u32;
    let (mut spent, mut pieces) = (HEAD_DECIBITS, 0);
    while pieces < MAX_PIECES && spent + quality(u32::from(pieces)) / 2 < there {
        spent += quality(u32::from(pieces));
        pieces += 1;
    }
    let reach = i64::from(pieces) * PIECE_TICKS - offset * OFFSET_TICKS;
    if pieces == 0 { 0 } else { u32::try_from(reach).unwrap_or(0).min(MAX_REACH) }
}

/// The range decoder of Opus (RFC 6716, section 4.1), as far as small even distributions need it.
struct RangeDecoder<'a> {
    bytes: &'a [u8],
    range: u32,
    value: u32,
    last: u32,
}

impl<'a> RangeDecoder<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { bytes, range: 128, value: 0, last: 0 };
        decoder.last = decoder.byte();
        decoder.value = 127 - (decoder.last >> 1);
        decoder.renormalise();
        decoder
    }

    fn byte(&mut self) -> u32 {
        let Some((&byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        u32::from(byte)
    }

    fn renormalise(&mut self) {
        while self.range <= 1 << 23 {
            let byte = self.byte();
            let symbol = (self.last << 8 | byte) >> 1 & 255;
            self.last = byte;
            self.range <<= 8;
            self.value = ((self.value << 8) + (255 - symbol)) & 0x7fff_ffff;
        }
    }

    /// Where in `total` the symbol lies.
    fn peek(&self, total: u32) -> u32 {
        total - (self.value / (self.range / total) + 1).min(total)
    }

    /// Takes the symbol that lies in `from..to` of `total`.
    fn take(&mut self, from: u32, to: u32, total: u32) {
        let unit = self.range / total;
        let above = unit * (total - to);
        self.value = self.value.wrapping_sub(above);
        self.range = if from > 0 { unit * (to - from) } else { self.range - above };
        self.renormalise();
    }

    /// One of `total`, at most 256, all equally likely.
    fn uint(&mut self, total: u32) -> u32 {
        let symbol = self.peek(total);
        self.take(symbol, symbol + 1, total);
        symbol
    }

    /// The worst step of quality: every second time the last one, else one of those behind the `first`.
    fn worst(&mut self, first: u32, slope: u32) -> u32 {
        if first >= 14 || slope == 0 {
            return 15;
        }
        let others = 14 - first;
        let symbol = self.peek(2 * others);
        if symbol >= others { first + symbol - others + 1 } else { 15 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of one frame of three bytes, with that padding.
    fn padded(padding: &[u8]) -> Vec<u8> {
        let mut packet = vec![9 << 3 | 3, 0x41];
        let mut length = padding.len();
        while length >= 255 {
            packet.push(255);
            length -= 254;
        }
        packet.push(length as u8);
        packet.extend_from_slice(&[1, 2, 3]);
        packet.extend_from_slice(padding);
        packet
    }

    fn reach_of(padding: &[u8]) -> u32 {
        deep_reach(&Codec::Opus, &padded(padding))
    }

    /// A description: quality 6 falling by 3/16 a piece, no offset; what follows says nothing here.
    fn description(bytes: usize) -> Vec<u8> {
        let mut description = vec![0x64, 0x80];
        description.resize(bytes, 0x55);
        [&BEGINS[..], &description].concat()
    }

    #[test]
    fn more_bytes_reach_further_back() {
        let last = |bytes| [&[126 << 1][..], &description(bytes)].concat();
        let reaches: Vec<_> = [4, 18, 40, 60, 80].map(|bytes| reach_of(&last(bytes))).to_vec();
        // 100 bits, and 39.9 for the first piece make 16 to 18 bytes.
        assert_eq!(reaches[..2], [0, 1_920]);
        assert!(reaches.windows(2).all(|pair| pair[0] < pair[1]) && reaches[4] < MAX_REACH, "{reaches:?}");
        assert_eq!(reach_of(&last(1_000)), MAX_REACH);
    }

    #[test]
    fn it_is_found_among_other_extensions() {
        let value = description(40);
        let last = [&[126 << 1][..], &value].concat();
        let plain = reach_of(&last);
        assert!(plain > 0);
        // A byte of padding, a short extension with and without a byte, a long one with its length.
        let behind = [&[1, 3 << 1 | 1, 9, 4 << 1, 40 << 1 | 1, 2, 7, 7][..], &last].concat();
        assert_eq!(reach_of(&behind), plain);
        let with_length = [&[126 << 1 | 1, value.len() as u8][..], &value, &[0, 0]].concat();
        assert_eq!(reach_of(&with_length), plain);
    }

    #[test]
    fn other_packets_describe_nothing() {
        assert_eq!(reach_of(&[]), 0);
        assert_eq!(reach_of(&[0; 40]), 0);
        assert_eq!(reach_of(&[126 << 1, b'D', 11, 1, 2, 3, 4, 5, 6, 7, 8, 9]), 0);
        let real = padded(&[&[126 << 1][..], &description(60)].concat());
        assert_eq!(deep_reach(&Codec::Pcmu, &real), 0);
        for cut in 0..real.len() {
            deep_reach(&Codec::Opus, &real[..cut]);
        }
    }
}
