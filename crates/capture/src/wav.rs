//! The header of a WAV file, also where it comes from a pipe and its sizes are not filled in.

use std::io::{self, Read};

use vox_frame::{Channels, Rate};

use crate::encoding::{Encoding, Shape};

const FORMAT_PCM: u16 = 1;
const FORMAT_FLOAT: u16 = 3;
const FORMAT_ALAW: u16 = 6;
const FORMAT_MULAW: u16 = 7;
/// The format stands in the first two bytes of the sub-format at the end of the chunk.
const FORMAT_EXTENSIBLE: u16 = 0xfffe;

/// The longest chunk that is skipped before the data, in bytes: covers are megabytes, not gigabytes.
const MAX_SKIP: u64 = 256 << 20;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wav {
    /// What the samples are.
    pub(crate) shape: Shape,
    /// Bytes of samples; none where the header was written by a program that could not know (0 or 0xFFFFFFFF), and
    /// the samples go on until the file ends.
    pub(crate) data: Option<u64>,
    /// Bytes from the beginning of the file to the first sample.
    pub(crate) start: u64,
}

/// Reads up to the first sample.
///
/// # Errors
/// A sentence about what is wrong with the file.
pub(crate) fn read(input: &mut impl Read) -> Result<Wav, String> {
    let mut reader = Chunks { input, position: 0, large: None };
    let riff = reader.array::<12>()?;
    if !matches!(&riff[..4], b"RIFF" | b"RF64") || &riff[8..] != b"WAVE" {
        return Err("no WAV file".to_owned());
    }
    let mut shape = None;
    loop {
        let (name, size) = reader.chunk()?;
        match &name {
            b"fmt " => shape = Some(reader.format(size)?),
            b"ds64" => reader.sizes(size)?,
            b"data" => {
                let shape = shape.ok_or("the WAV file has its data before its format")?;
                let data = match (size, reader.large) {
                    (0xffff_ffff, Some(large)) => Some(large),
                    (0 | 0xffff_ff00..=0xffff_ffff, _) => None,
                    (size, _) => Some(size),
                };
                return Ok(Wav { shape, data, start: reader.position });
            }
            _ => reader.skip(size + size % 2)?,
        }
    }
}

struct Chunks<'a, R> {
    input: &'a mut R,
    position: u64,
    /// The size of the data in an RF64 file.
    large: Option<u64>,
}

impl<R: Read> Chunks<'_, R> {
    fn chunk(&mut self) -> Result<([u8; 4], u64), String> {
        let [a, b, c, d, size @ ..] = self.array::<8>()?;
        Ok(([a, b, c, d], u64::from(u32::from_le_bytes(size))))
    }

    fn format(&mut self, size: u64) -> Result<Shape, String> {
        if size < 16 {
            return Err(format!("the format of the WAV file has {size} bytes, it needs 16"));
        }
        let fields = self.array::<16>()?;
        let field = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
        let (mut tag, channels, bits) = (field(0), field(2), field(14));
        let hz = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
        let mut rest = size + size % 2 - 16;
        if tag == FORMAT_EXTENSIBLE && rest >= 24 {
            let extension = self.array::<24>()?;
            tag = u16::from_le_bytes([extension[8], extension[9]]);
            rest -= 24;
        }
        self.skip(rest)?;
        let encoding = match (tag, bits) {
            (FORMAT_PCM, 8) => Encoding::U8,
            (FORMAT_PCM, 16) => Encoding::S16Le,
            (FORMAT_PCM, 24) => Encoding::S24Le,
            (FORMAT_PCM, 32) => Encoding::S32Le,
            (FORMAT_FLOAT, 32) => Encoding::F32Le,
            (FORMAT_FLOAT, 64) => Encoding::F64Le,
            (FORMAT_ALAW, 8) => Encoding::Alaw,
            (FORMAT_MULAW, 8) => Encoding::Mulaw,
            _ => return Err(format!("the WAV file has format {tag:#06x} with {bits} bits, which is not supported")),
        };
        if !(5_000..=192_000).contains(&hz) {
            return Err(format!("the WAV file has a rate of {hz} Hz (5000 to 192000 are supported)"));
        }
        if !(1..=8).contains(&channels) {
            return Err(format!("the WAV file has {channels} channels (1 to 8 are supported)"));
        }
        let rate = Rate::new(hz).ok_or("the WAV file has a rate of 0")?;
        let channels = Channels::new(channels as u8).ok_or("the WAV file has no channels")?;
        Ok(Shape { encoding, rate, channels })
    }

    fn sizes(&mut self, size: u64) -> Result<(), String> {
        if size < 16 {
            return Err("the WAV file has a broken ds64 chunk".to_owned());
        }
        let [_, _, _, _, _, _, _, _, data @ ..] = self.array::<16>()?;
        self.large = Some(u64::from_le_bytes(data));
        self.skip(size + size % 2 - 16)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(truncated)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > MAX_SKIP {
            return Err("the WAV file is damaged (a chunk before the data is too long)".to_owned());
        }
        let skipped = io::copy(&mut self.input.take(bytes), &mut io::sink()).map_err(truncated)?;
        self.position += skipped;
        if skipped < bytes { Err(truncated(io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }
}

fn truncated(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the WAV file ends inside its header".to_owned(),
        _ => format!("cannot read the WAV header: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(format: &[u8], data_size: u32) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVE".to_vec();
        bytes.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        bytes.extend_from_slice(b"fmt ");
        bytes.extend_from_slice(&(format.len() as u32).to_le_bytes());
        bytes.extend_from_slice(format);
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&data_size.to_le_bytes());
        bytes
    }

    fn format(tag: u16, channels: u16, hz: u32, bits: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&channels.to_le_bytes());
        bytes.extend_from_slice(&hz.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes
    }

    #[test]
    fn every_encoding_is_known() {
        let known = [
            (1, 8, Encoding::U8),
            (1, 16, Encoding::S16Le),
            (1, 24, Encoding::S24Le),
            (1, 32, Encoding::S32Le),
            (3, 32, Encoding::F32Le),
            (3, 64, Encoding::F64Le),
            (6, 8, Encoding::Alaw),
            (7, 8, Encoding::Mulaw),
        ];
        for (tag, bits, encoding) in known {
            let wav = read(&mut &file(&format(tag, 2, 44_100, bits), 400)[..]).unwrap();
            assert_eq!((wav.shape.encoding, wav.data), (encoding, Some(400)));
            assert_eq!((wav.shape.rate.hz(), wav.shape.channels), (44_100, Channels::STEREO));
        }
    }

    #[test]
    fn the_extensible_format_names_its_encoding_at_the_end() {
        let mut extended = format(FORMAT_EXTENSIBLE, 6, 48_000, 24);
        extended.extend_from_slice(&22_u16.to_le_bytes());
        extended.extend_from_slice(&[24, 0, 0, 0, 0, 0]);
        extended.extend_from_slice(&[1, 0]);
        extended.extend_from_slice(&[0; 14]);
        let wav = read(&mut &file(&extended, 18)[..]).unwrap();
        assert_eq!((wav.shape.encoding, wav.shape.channels.count()), (Encoding::S24Le, 6));
    }

    #[test]
    fn a_size_that_a_pipe_could_not_know_means_until_the_end() {
        for size in [0, u32::MAX, 0xffff_ff00] {
            assert_eq!(read(&mut &file(&format(1, 1, 8_000, 16), size)[..]).unwrap().data, None);
        }
    }

    #[test]
    fn a_damaged_header_is_one_sentence() {
        let whole = file(&format(1, 1, 8_000, 16), 400);
        for length in 0..whole.len() {
            assert!(read(&mut &whole[..length]).is_err(), "{length} bytes");
        }
        for broken in [format(1, 0, 8_000, 16), format(1, 1, 0, 16), format(2, 1, 8_000, 4), format(1, 9, 8_000, 16)] {
            assert!(read(&mut &file(&broken, 400)[..]).is_err());
        }
    }
}
