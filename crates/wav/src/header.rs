//! Headers that can be written again and again while a file grows.

use vox_frame::{Channels, Rate};

use crate::Sample;

/// Which 64-bit form a file takes when it grows past 4 GiB; both have the same layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    /// RF64 (EBU Tech 3306).
    Rf64,
    /// BW64 (ITU-R BS.2088).
    Bw64,
}

/// What the samples of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// How one is written.
    pub sample: Sample,
    /// Frames a second.
    pub rate: Rate,
    /// Channels, interleaved.
    pub channels: Channels,
}

/// Bytes of the `ds64` chunk without a table, which a `JUNK` chunk keeps free in smaller files (EBU Tech 3306).
pub(crate) const DS64: u32 = 28;

impl Spec {
    /// Bytes of one sample of every channel.
    pub const fn frame_bytes(&self) -> usize {
        self.sample.bytes() * self.channels.count()
    }

    /// The header of a file with `data` bytes of samples. It has the same length for every size, so that it can be
    /// written anew while the file grows.
    pub fn header(&self, data: u64, large: Large) -> Vec<u8> {
        let format = self.format_chunk();
        let rest = 4 + 8 + u64::from(DS64) + 8 + format.len() as u64 + 8;
        let riff = rest + data + data % 2;
        let small = u32::try_from(riff).ok();
        let mut out = Vec::with_capacity(112);
        out.extend_from_slice(match (small, large) {
            (Some(_), _) => b"RIFF",
            (None, Large::Rf64) => b"RF64",
            (None, Large::Bw64) => b"BW64",
        });
        out.extend_from_slice(&small.unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(b"WAVE");
        out.extend_from_slice(if small.is_some() { b"JUNK" } else { b"ds64" });
        out.extend_from_slice(&DS64.to_le_bytes());
        let frames = data / self.frame_bytes() as u64;
        for number in if small.is_some() { [0; 3] } else { [riff, data, frames] } {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(b"fmt ");
        out.extend_from_slice(&(format.len() as u32).to_le_bytes());
        out.extend_from_slice(&format);
        out.extend_from_slice(b"data");
        out.extend_from_slice(&small.map_or(u32::MAX, |_| data as u32).to_le_bytes());
        out
    }

    /// The header of a file whose length nobody knows, as of a pipe: readers take the largest size for "until it ends".
    pub fn endless_header(&self) -> Vec<u8> {
        let format = self.format_chunk();
        let mut out = Vec::with_capacity(68);
        out.extend_from_slice(b"RIFF\xff\xff\xff\xffWAVEfmt ");
        out.extend_from_slice(&(format.len() as u32).to_le_bytes());
        out.extend_from_slice(&format);
        out.extend_from_slice(b"data\xff\xff\xff\xff");
        out
    }

    fn format_chunk(&self) -> Vec<u8> {
        let (count, bytes) = (self.channels.count(), self.sample.bytes());
        let extensible = count > 2;
        let mut out = Vec::with_capacity(40);
        out.extend_from_slice(&(if extensible { EXTENSIBLE } else { self.sample.tag() }).to_le_bytes());
        out.extend_from_slice(&(count as u16).to_le_bytes());
        out.extend_from_slice(&self.rate.hz().to_le_bytes());
        out.extend_from_slice(&self.rate.hz().saturating_mul(self.frame_bytes() as u32).to_le_bytes());
        out.extend_from_slice(&(self.frame_bytes() as u16).to_le_bytes());
        out.extend_from_slice(&(bytes as u16 * 8).to_le_bytes());
        if extensible {
            out.extend_from_slice(&22_u16.to_le_bytes());
            out.extend_from_slice(&(bytes as u16 * 8).to_le_bytes());
            out.extend_from_slice(&speakers(count).to_le_bytes());
            out.extend_from_slice(&self.sample.tag().to_le_bytes());
            out.extend_from_slice(b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
        }
        out
    }
}

/// The format stands in the first two bytes of the sub-format at the end of the chunk.
pub(crate) const EXTENSIBLE: u16 = 0xfffe;

/// The channel mask of an extensible header: the usual speakers, none where there are more than it has names for.
const fn speakers(channels: usize) -> u32 {
    match channels {
        4 => 0x33,
        5 => 0x37,
        0..=18 => (1 << channels) - 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(sample: Sample, channels: u8) -> Spec {
        Spec { sample, rate: Rate::HZ_48000, channels: Channels::new(channels).unwrap() }
    }

    #[test]
    fn a_header_has_one_length_for_every_size() {
        for channels in [1, 2, 6, 30] {
            let spec = spec(Sample::S24, channels);
            let small = spec.header(0, Large::Rf64);
            let large = spec.header(5 << 30, Large::Rf64);
            assert_eq!(small.len(), large.len());
            assert_eq!((&small[..4], &large[..4]), (&b"RIFF"[..], &b"RF64"[..]));
            assert_eq!(&spec.header(5 << 30, Large::Bw64)[..4], b"BW64");
        }
    }

    #[test]
    fn the_header_of_a_pipe_is_the_plain_one() {
        let mono = spec(Sample::S16, 1).endless_header();
        assert_eq!(mono.len(), 44);
        assert_eq!(mono[20..24], [1, 0, 1, 0]);
        assert_eq!(mono[28..32], 96_000_u32.to_le_bytes());
        assert_eq!(mono[40..44], u32::MAX.to_le_bytes());
    }

    #[test]
    fn more_than_two_channels_are_extensible() {
        let header = spec(Sample::F32, 6).endless_header();
        assert_eq!(header.len(), 68);
        assert_eq!(header[20..22], [0xfe, 0xff]);
        assert_eq!(header[40..44], 0x3f_u32.to_le_bytes());
        assert_eq!(header[44..46], [3, 0]);
    }
}
