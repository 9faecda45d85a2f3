//! WAV: headers that can be written again and again while a file grows, and a reader of anyone's.

use std::io::{self, Read, Seek, SeekFrom};

use vox_frame::{Channels, Rate};

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// 8-bit unsigned; only read.
    U8,
    /// 16-bit signed, little endian.
    S16,
    /// 24-bit signed, little endian, three bytes.
    S24,
    /// 32-bit signed, little endian; only read.
    S32,
    /// 32-bit float, little endian, full scale ±1.
    F32,
    /// 64-bit float; only read.
    F64,
    /// G.711 mu-law; only read.
    Mulaw,
    /// G.711 A-law; only read.
    Alaw,
}

impl Sample {
    /// Bytes of one sample.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::Mulaw | Self::Alaw => 1,
            Self::S16 => 2,
            Self::S24 => 3,
            Self::S32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The format tag of a WAV header (RFC 2361).
    const fn tag(self) -> u16 {
        match self {
            Self::U8 | Self::S16 | Self::S24 | Self::S32 => 1,
            Self::F32 | Self::F64 => 3,
            Self::Alaw => 6,
            Self::Mulaw => 7,
        }
    }

    const fn of(tag: u16, bits: u16) -> Option<Self> {
        Some(match (tag, bits) {
            (1, 8) => Self::U8,
            (1, 16) => Self::S16,
            (1, 24) => Self::S24,
            (1, 32) => Self::S32,
            (3, 32) => Self::F32,
            (3, 64) => Self::F64,
            (6, 8) => Self::Alaw,
            (7, 8) => Self::Mulaw,
            _ => return None,
        })
    }

    /// Appends samples as bytes; what is beyond full scale is clipped in whole numbers. Kinds that are only read are
    /// written as float.
    pub fn write(self, samples: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::S16 => out.extend(samples.iter().flat_map(|&sample| to_i16(sample).to_le_bytes())),
            Self::S24 => out.extend(samples.iter().flat_map(|&sample| {
                let [low, middle, high, _] = to_i24(sample).to_le_bytes();
                [low, middle, high]
            })),
            _ => out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
        }
    }

    /// Appends bytes as samples, full scale ±1; what is no number is silence.
    pub fn read(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::U8 => out.extend(bytes.iter().map(|&byte| (f32::from(byte) - 128.0) / 128.0)),
            Self::S16 => {
                out.extend(bytes.as_chunks().0.iter().map(|&two| f32::from(i16::from_le_bytes(two)) / 32_768.0))
            }
            Self::S24 => {
                out.extend(
                    bytes.as_chunks().0.iter().map(|&[low, middle, high]| {
                        (i32::from_le_bytes([0, low, middle, high]) >> 8) as f32 / 8_388_608.0
                    }),
                )
            }
            Self::S32 => out.extend(
                bytes.as_chunks().0.iter().map(|&four| (f64::from(i32::from_le_bytes(four)) / 2_147_483_648.0) as f32),
            ),
            Self::F32 => out.extend(bytes.as_chunks().0.iter().map(|&four| finite(f32::from_le_bytes(four)))),
            Self::F64 => out.extend(bytes.as_chunks().0.iter().map(|&eight| finite(f64::from_le_bytes(eight) as f32))),
            Self::Mulaw => out.extend(bytes.iter().map(|&byte| f32::from(expand_mulaw(byte)) / 32_768.0)),
            Self::Alaw => out.extend(bytes.iter().map(|&byte| f32::from(expand_alaw(byte)) / 32_768.0)),
        }
    }
}

/// The nearest 16-bit sample.
pub fn to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round_ties_even() as i16
}

/// The nearest 24-bit sample.
pub fn to_i24(sample: f32) -> i32 {
    (f64::from(sample) * 8_388_608.0).round_ties_even().clamp(-8_388_608.0, 8_388_607.0) as i32
}

const fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample } else { 0.0 }
}

/// ITU-T G.711, table 2a: the 14-bit value, in the upper bits of 16.
const fn expand_mulaw(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((((code & 0x0f) as i16) << 3) + 0x84) << ((code & 0x70) >> 4);
    if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

/// ITU-T G.711, table 1a: the 13-bit value, in the upper bits of 16.
const fn expand_alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = (code & 0x70) >> 4;
    let step = ((code & 0x0f) as i16) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

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
const DS64: u32 = 28;

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
const EXTENSIBLE: u16 = 0xfffe;

/// The channel mask of an extensible header: the usual speakers, none where there are more than it has names for.
const fn speakers(channels: usize) -> u32 {
    match channels {
        4 => 0x33,
        5 => 0x37,
        0..=18 => (1 << channels) - 1,
        _ => 0,
    }
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

/// Finds the samples of a WAV file, also where its sizes are wrong: `input` stands at the first of them afterwards.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn find(input: &mut (impl Read + Seek)) -> Result<Found, String> {
    let layout = layout(input)?;
    input.seek(SeekFrom::Start(layout.start)).map_err(|error| unreadable(&error))?;
    Ok(Found { spec: layout.spec, start: layout.start, data: layout.data })
}

/// Where everything lies in a file; also what [`crate::repair`] works from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) spec: Spec,
    pub(crate) length: u64,
    /// Offset of the contents of the `fmt ` chunk.
    pub(crate) format: u64,
    /// Offset of room for a `ds64` chunk's contents (a `ds64`, or a `JUNK` right behind the beginning).
    pub(crate) large: Option<u64>,
    pub(crate) start: u64,
    pub(crate) data: u64,
    /// What the header says of the bytes of samples, if it knows.
    pub(crate) claimed: Option<u64>,
}

pub(crate) fn layout(input: &mut (impl Read + Seek)) -> Result<Layout, String> {
    let length = input.seek(SeekFrom::End(0)).map_err(|error| unreadable(&error))?;
    let riff: [u8; 12] = at(input, 0)?;
    if !matches!(&riff[..4], b"RIFF" | b"RF64" | b"BW64") || &riff[8..] != b"WAVE" {
        return Err("no WAV file".to_owned());
    }
    let (mut offset, mut format, mut large, mut wide) = (12, None, None, None);
    loop {
        if offset + 8 > length {
            return Err("it ends before its samples begin".to_owned());
        }
        let [a, b, c, d, size @ ..] = at::<8>(input, offset)?;
        let (body, size) = (offset + 8, u64::from(u32::from_le_bytes(size)));
        match &[a, b, c, d] {
            b"fmt " => format = Some((body, read_format(input, body, size)?)),
            b"ds64" if size >= 16 => {
                wide = Some(u64::from_le_bytes(at(input, body + 8)?));
                large = Some(body);
            }
            b"JUNK" if offset == 12 && size >= u64::from(DS64) => large = Some(body),
            b"data" => {
                let (format, spec) = format.ok_or("its samples come before their format")?;
                let claimed = match (size, wide) {
                    (0xffff_ffff, Some(wide)) => Some(wide),
                    (0, _) if body == length => Some(0),
                    // What programs write that cannot know: 0, the largest, or near it.
                    (0 | 0x7fff_f000..=0x8000_0000 | 0xffff_f000..=0xffff_ffff, _) => None,
                    (size, _) => Some(size),
                };
                let there = length - body;
                let frame = spec.frame_bytes() as u64;
                let data = claimed.unwrap_or(there).min(there) / frame * frame;
                return Ok(Layout { spec, length, format, large, start: body, data, claimed });
            }
            _ => {}
        }
        offset = body.saturating_add(size).saturating_add(size % 2);
    }
}

fn read_format(input: &mut (impl Read + Seek), body: u64, size: u64) -> Result<Spec, String> {
    if size < 16 {
        return Err(format!("its format has {size} bytes, it needs 16"));
    }
    let fields: [u8; 16] = at(input, body)?;
    let field = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
    let (mut tag, count, bits) = (field(0), field(2), field(14));
    if tag == EXTENSIBLE && size >= 26 {
        tag = u16::from_le_bytes(at(input, body + 24)?);
    }
    let hz = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
    let sample =
        Sample::of(tag, bits).ok_or_else(|| format!("format {tag:#06x} with {bits} bits is not known here"))?;
    let rate = Rate::new(hz).filter(|rate| rate.hz() <= 768_000).ok_or_else(|| format!("a rate of {hz} Hz"))?;
    let channels = u8::try_from(count).ok().and_then(Channels::new).ok_or_else(|| format!("{count} channels"))?;
    Ok(Spec { sample, rate, channels })
}

fn at<const N: usize>(input: &mut (impl Read + Seek), offset: u64) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    input.seek(SeekFrom::Start(offset)).map_err(|error| unreadable(&error))?;
    input.read_exact(&mut bytes).map_err(|error| unreadable(&error))?;
    Ok(bytes)
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
    fn more_samples_than_are_there_are_not_found() {
        let spec = spec(Sample::S16, 1);
        let mut file = spec.header(5 << 30, Large::Bw64);
        file.extend_from_slice(&[0; 101]);
        assert_eq!(find(&mut Cursor::new(&file)).unwrap().data, 100);
    }

    #[test]
    fn samples_survive_the_way_there_and_back() {
        let samples = [0.0, 0.5, -1.0, 32_767.0 / 32_768.0];
        for sample in [Sample::S16, Sample::S24, Sample::F32] {
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            sample.write(&samples, &mut bytes);
            sample.read(&bytes, &mut back);
            assert_eq!(back, samples, "{sample:?}");
        }
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        let good = spec(Sample::S16, 2).header(4, Large::Rf64);
        for length in 0..good.len() {
            assert!(find(&mut Cursor::new(&good[..length])).is_err(), "{length} bytes");
        }
    }
}
