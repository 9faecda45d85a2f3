//! Where the samples of anyone's file are, also where its sizes are wrong or were never known.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use vox_frame::{Channels, Rate};

use crate::header::{DS64, EXTENSIBLE};
use crate::{Sample, Spec};

/// The longest chunk that is skipped before the samples, in bytes: covers are megabytes, not gigabytes.
const MAX_SKIP: u64 = 256 << 20;

/// The highest rate that is believed, in Hz.
const MAX_HZ: u32 = 768_000;

/// What stands before the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the samples are.
    pub spec: Spec,
    /// Offset of the first sample, in bytes.
    pub start: u64,
    /// What the header says of the bytes of samples; none where a program wrote it that could not know.
    pub claimed: Option<u64>,
    /// Offset of the contents of the `fmt ` chunk.
    pub(crate) format: u64,
    /// Offset of room for a `ds64` chunk's contents (a `ds64`, or a `JUNK` right behind the beginning).
    pub(crate) large: Option<u64>,
}

/// What a file of anyone's holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What the samples are.
    pub spec: Spec,
    /// Offset of the first sample in the file.
    pub start: u64,
    /// Bytes of samples that are really there, whole frames.
    pub data: u64,
}

impl Found {
    /// Frames of audio.
    pub const fn frames(&self) -> u64 {
        self.data / self.spec.frame_bytes() as u64
    }
}

/// Reads up to the first sample, from a pipe too.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn read(input: &mut impl Read) -> Result<Head, String> {
    let mut chunks = Chunks { input, position: 0 };
    let riff = chunks.array::<12>()?;
    if !matches!(&riff[..4], b"RIFF" | b"RF64" | b"BW64") || &riff[8..] != b"WAVE" {
        return Err("no WAV file".to_owned());
    }
    let (mut format, mut large, mut wide) = (None, None, None);
    loop {
        let [a, b, c, d, size @ ..] = chunks.array::<8>()?;
        let (body, size) = (chunks.position, u64::from(u32::from_le_bytes(size)));
        match &[a, b, c, d] {
            b"fmt " => format = Some((body, chunks.format(size)?)),
            b"ds64" if size >= 16 => {
                let [_, _, _, _, _, _, _, _, data @ ..] = chunks.array::<16>()?;
                (wide, large) = (Some(u64::from_le_bytes(data)), Some(body));
            }
            b"JUNK" if body == 20 && size >= u64::from(DS64) => large = Some(body),
            b"data" => {
                let (format, spec) = format.ok_or("its samples come before their format")?;
                return Ok(Head { spec, start: body, claimed: claimed(size, wide), format, large });
            }
            _ => {}
        }
        chunks.skip((body + size + size % 2).saturating_sub(chunks.position))?;
    }
}

/// The bytes of samples that a header promises.
const fn claimed(size: u64, wide: Option<u64>) -> Option<u64> {
    match (size, wide) {
        // A pipe leaves these where the size is 64 bits wide too.
        (0xffff_ffff, Some(0 | u64::MAX)) => None,
        (0xffff_ffff, Some(wide)) => Some(wide),
        // What programs write that cannot know: 0, the largest, or near it.
        (0 | 0x7fff_f000..=0x8000_0000 | 0xffff_f000..=0xffff_ffff, _) => None,
        (size, _) => Some(size),
    }
}

/// Finds the samples of a file, also where its sizes are wrong: `input` stands at the first of them afterwards.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn find(input: &mut (impl Read + Seek)) -> Result<Found, String> {
    let Layout { head, data, .. } = layout(input)?;
    input.seek(SeekFrom::Start(head.start)).map_err(|error| unreadable(&error))?;
    Ok(Found { spec: head.spec, start: head.start, data })
}

/// Where everything lies in a file; also what [`crate::repair`] works from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) head: Head,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Bytes of samples that are really there, whole frames.
    pub(crate) data: u64,
}

pub(crate) fn layout(input: &mut (impl Read + Seek)) -> Result<Layout, String> {
    let length = input.seek(SeekFrom::End(0)).map_err(|error| unreadable(&error))?;
    input.seek(SeekFrom::Start(0)).map_err(|error| unreadable(&error))?;
    let mut head = read(&mut BufReader::new(input))?;
    let there = length.saturating_sub(head.start);
    if there == 0 {
        head.claimed.get_or_insert(0);
    }
    let frame = head.spec.frame_bytes() as u64;
    let data = head.claimed.unwrap_or(there).min(there) / frame * frame;
    Ok(Layout { head, length, data })
}

struct Chunks<'a, R> {
    input: &'a mut R,
    position: u64,
}

impl<R: Read> Chunks<'_, R> {
    fn format(&mut self, size: u64) -> Result<Spec, String> {
        if size < 16 {
            return Err(format!("its format has {size} bytes, it needs 16"));
        }
        let fields = self.array::<16>()?;
        let field = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
        let (mut tag, count, bits) = (field(0), field(2), field(14));
        let hz = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
        if tag == EXTENSIBLE && size >= 26 {
            let [_, _, _, _, _, _, _, _, extended @ ..] = self.array::<10>()?;
            tag = u16::from_le_bytes(extended);
        }
        let sample =
            Sample::of(tag, bits).ok_or_else(|| format!("format {tag:#06x} with {bits} bits is not known here"))?;
        let rate = Rate::new(hz).filter(|_| hz <= MAX_HZ).ok_or_else(|| format!("a rate of {hz} Hz"))?;
        let channels = u8::try_from(count).ok().and_then(Channels::new).ok_or_else(|| format!("{count} channels"))?;
        Ok(Spec { sample, rate, channels })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| unreadable(&error))?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > MAX_SKIP {
            return Err("it is damaged: a chunk before its samples is too long".to_owned());
        }
        let skipped = io::copy(&mut self.input.take(bytes), &mut io::sink()).map_err(|error| unreadable(&error))?;
        self.position += skipped;
        if skipped < bytes { Err(unreadable(&io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends inside its header".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::Large;

    fn spec(sample: Sample, channels: u8) -> Spec {
        Spec { sample, rate: Rate::HZ_48000, channels: Channels::new(channels).unwrap() }
    }

    /// A file of somebody who writes other chunks too.
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
            (1, 8, Sample::U8),
            (1, 16, Sample::S16),
            (1, 24, Sample::S24),
            (1, 32, Sample::S32),
            (3, 32, Sample::F32),
            (3, 64, Sample::F64),
            (6, 8, Sample::Alaw),
            (7, 8, Sample::Mulaw),
        ];
        for (tag, bits, sample) in known {
            let head = read(&mut &file(&format(tag, 2, 44_100, bits), 400)[..]).unwrap();
            assert_eq!((head.spec.sample, head.claimed), (sample, Some(400)));
            assert_eq!((head.spec.rate.hz(), head.spec.channels), (44_100, Channels::STEREO));
        }
    }

    #[test]
    fn the_extensible_format_names_its_encoding_at_the_end() {
        let mut extended = format(EXTENSIBLE, 6, 48_000, 24);
        extended.extend_from_slice(&22_u16.to_le_bytes());
        extended.extend_from_slice(&[24, 0, 0, 0, 0, 0]);
        extended.extend_from_slice(&[1, 0]);
        extended.extend_from_slice(&[0; 14]);
        let bytes = file(&extended, 18);
        let head = read(&mut &bytes[..]).unwrap();
        assert_eq!((head.spec.sample, head.spec.channels.count(), head.start), (Sample::S24, 6, bytes.len() as u64));
    }

    #[test]
    fn a_size_that_a_pipe_could_not_know_means_until_the_end() {
        for size in [0, u32::MAX, 0xffff_ff00, 0x7fff_f000] {
            assert_eq!(read(&mut &file(&format(1, 1, 8_000, 16), size)[..]).unwrap().claimed, None);
        }
    }

    #[test]
    fn a_64_bit_size_that_a_pipe_could_not_know_means_until_the_end() {
        for (size, claimed) in [(0, None), (u64::MAX, None), (6, Some(6))] {
            let mut file = spec(Sample::S16, 1).header(5 << 30, Large::Rf64);
            // Behind the name and the size of RF64 and of ds64, and the size of the file.
            file[28..36].copy_from_slice(&u64::to_le_bytes(size));
            file.extend_from_slice(&[0; 8]);
            assert_eq!(read(&mut &file[..]).unwrap().claimed, claimed);
            assert_eq!(find(&mut Cursor::new(&file)).unwrap().data, claimed.unwrap_or(8));
        }
    }

    #[test]
    fn what_is_written_is_found_again() {
        for (sample, channels, data) in [(Sample::S16, 1, 320), (Sample::S24, 6, 180), (Sample::F32, 2, 80)] {
            let spec = spec(sample, channels);
            let mut file = spec.header(data, Large::Rf64);
            file.resize(file.len() + data as usize, 0);
            let found = find(&mut Cursor::new(&file)).unwrap();
            assert_eq!((found.spec, found.data), (spec, data));
            assert_eq!(found.start as usize, file.len() - data as usize);
        }
    }

    #[test]
    fn both_large_forms_say_how_much_there_is() {
        for large in [Large::Rf64, Large::Bw64] {
            let header = spec(Sample::S16, 2).header(5 << 30, large);
            assert_eq!(read(&mut &header[..]).unwrap().claimed, Some(5 << 30));
        }
    }

    #[test]
    fn more_samples_than_are_there_are_not_found() {
        let spec = spec(Sample::S16, 1);
        let mut file = spec.header(5 << 30, Large::Bw64);
        file.extend_from_slice(&[0; 101]);
        assert_eq!(find(&mut Cursor::new(&file)).unwrap().data, 100);
    }

    #[test]
    fn a_damaged_header_is_one_sentence() {
        let plain = file(&format(1, 1, 8_000, 16), 400);
        for whole in [plain, spec(Sample::S16, 2).header(4, Large::Rf64)] {
            for length in 0..whole.len() {
                assert!(read(&mut &whole[..length]).is_err(), "{length} bytes");
                assert!(find(&mut Cursor::new(&whole[..length])).is_err(), "{length} bytes");
            }
        }
        for broken in [format(1, 0, 8_000, 16), format(1, 1, 0, 16), format(2, 1, 8_000, 4), format(1, 999, 8_000, 16)]
        {
            assert!(read(&mut &file(&broken, 400)[..]).is_err());
        }
    }
}
