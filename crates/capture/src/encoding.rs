//! How samples are written in files and raw streams, and how they become the PCM of records.

use core::str::FromStr;

use vox_dsp::{Remix, Resampler};
use vox_frame::{Channels, Codec, Rate};

/// How one sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// 8-bit unsigned.
    U8,
    /// 16-bit signed, little endian.
    S16Le,
    /// 16-bit signed, big endian.
    S16Be,
    /// 24-bit signed, little endian, three bytes.
    S24Le,
    /// 32-bit signed, little endian.
    S32Le,
    /// 32-bit float, little endian.
    F32Le,
    /// 64-bit float, little endian.
    F64Le,
    /// G.711 mu-law.
    Mulaw,
    /// G.711 A-law.
    Alaw,
}

impl Encoding {
    /// Bytes of one sample.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::Mulaw | Self::Alaw => 1,
            Self::S16Le | Self::S16Be => 2,
            Self::S24Le => 3,
            Self::S32Le | Self::F32Le => 4,
            Self::F64Le => 8,
        }
    }

    /// The PCM that keeps every bit of it: 16-bit where that is enough, else float.
    pub(crate) const fn natural_pcm(self) -> Codec {
        match self {
            Self::U8 | Self::S16Le | Self::S16Be | Self::Mulaw | Self::Alaw => Codec::PcmS16,
            Self::S24Le | Self::S32Le | Self::F32Le | Self::F64Le => Codec::PcmF32,
        }
    }

    fn to_s16(self, bytes: &[u8], out: &mut Vec<i16>) {
        match self {
            Self::U8 => out.extend(bytes.iter().map(|&byte| (i16::from(byte) - 128) << 8)),
            Self::S16Le => out.extend(bytes.as_chunks().0.iter().map(|&two| i16::from_le_bytes(two))),
            Self::S16Be => out.extend(bytes.as_chunks().0.iter().map(|&two| i16::from_be_bytes(two))),
            Self::Mulaw => out.extend(bytes.iter().map(|&byte| expand_mulaw(byte))),
            Self::Alaw => out.extend(bytes.iter().map(|&byte| expand_alaw(byte))),
            Self::S24Le | Self::S32Le | Self::F32Le | Self::F64Le => {
                let mut floats = Vec::with_capacity(bytes.len() / self.bytes());
                self.to_f32(bytes, &mut floats);
                out.extend(floats.iter().map(|&sample| quantise(sample)));
            }
        }
    }

    fn to_f32(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::U8 | Self::S16Le | Self::S16Be | Self::Mulaw | Self::Alaw => {
                let mut samples = Vec::with_capacity(bytes.len() / self.bytes());
                self.to_s16(bytes, &mut samples);
                out.extend(samples.iter().map(|&sample| f32::from(sample) / 32_768.0));
            }
            Self::S24Le => {
                out.extend(
                    bytes.as_chunks().0.iter().map(|&[low, middle, high]| {
                        (i32::from_le_bytes([0, low, middle, high]) >> 8) as f32 / 8_388_608.0
                    }),
                )
            }
            Self::S32Le => out.extend(
                bytes.as_chunks().0.iter().map(|&four| (f64::from(i32::from_le_bytes(four)) / 2_147_483_648.0) as f32),
            ),
            Self::F32Le => out.extend(bytes.as_chunks().0.iter().map(|&four| finite(f32::from_le_bytes(four)))),
            Self::F64Le => {
                out.extend(bytes.as_chunks().0.iter().map(|&eight| finite(f64::from_le_bytes(eight) as f32)))
            }
        }
    }
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "u8" => Self::U8,
            "s16le" => Self::S16Le,
            "s16be" => Self::S16Be,
            "s24le" => Self::S24Le,
            "s32le" => Self::S32Le,
            "f32le" => Self::F32Le,
            "f64le" => Self::F64Le,
            "mulaw" => Self::Mulaw,
            "alaw" => Self::Alaw,
            _ => return Err("one of s16le, s16be, s24le, s32le, f32le, f64le, u8, mulaw, alaw".to_owned()),
        })
    }
}

/// What a damaged file holds in place of a number is silence.
const fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample } else { 0.0 }
}

/// The 16-bit sample nearest to a float one; what is beyond full scale is clipped.
pub(crate) fn quantise(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
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

/// What a source gives: the encoding, the rate and the channels of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How a sample is written.
    pub(crate) encoding: Encoding,
    /// Samples a second.
    pub(crate) rate: Rate,
    /// Channels, interleaved.
    pub(crate) channels: Channels,
}

impl Shape {
    /// Bytes of one sample of every channel.
    pub(crate) const fn frame_bytes(&self) -> usize {
        self.encoding.bytes() * self.channels.count()
    }
}

/// Turns a source's bytes into the PCM of records: untouched where nothing was asked for.
pub(crate) struct Converter {
    from: Encoding,
    to: Codec,
    remix: Remix,
    resampler: Resampler,
    floats: Vec<f32>,
    mixed: Vec<f32>,
    resampled: Vec<f32>,
    samples: Vec<i16>,
}

impl Converter {
    /// A converter from what the source gives to `codec` (one of the PCM codecs) with that rate and those channels.
    pub(crate) fn new(from: Shape, codec: Codec, rate: Rate, channels: Channels) -> Self {
        Self {
            from: from.encoding,
            to: codec,
            remix: Remix::new(from.channels, channels),
            resampler: Resampler::new(from.rate, rate, channels),
            floats: Vec::new(),
            mixed: Vec::new(),
            resampled: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Whether bytes pass as they are.
    pub(crate) fn is_identity(&self) -> bool {
        let same = match self.from {
            Encoding::S16Le => self.to == Codec::PcmS16,
            Encoding::F32Le => self.to == Codec::PcmF32,
            _ => false,
        };
        same && self.remix.is_identity() && self.resampler.is_identity()
    }

    /// Converts whole frames and appends them to `out`.
    pub(crate) fn process(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.is_identity() {
            out.extend_from_slice(bytes);
            return;
        }
        if self.remix.is_identity() && self.resampler.is_identity() && self.to == Codec::PcmS16 {
            self.samples.clear();
            self.from.to_s16(bytes, &mut self.samples);
            out.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
            return;
        }
        self.floats.clear();
        self.from.to_f32(bytes, &mut self.floats);
        self.mixed.clear();
        self.remix.process(&self.floats, &mut self.mixed);
        self.resampled.clear();
        self.resampler.process(&self.mixed, &mut self.resampled);
        self.write(out);
    }

    /// Appends what the resampler still holds.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.resampled.clear();
        self.resampler.finish(&mut self.resampled);
        self.write(out);
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self.to {
            Codec::PcmF32 => out.extend(self.resampled.iter().flat_map(|sample| sample.to_le_bytes())),
            _ => out.extend(self.resampled.iter().flat_map(|&sample| quantise(sample).to_le_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(encoding: Encoding, codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let shape = Shape { encoding, rate: Rate::HZ_8000, channels: Channels::MONO };
        let mut out = Vec::new();
        let mut converter = Converter::new(shape, codec, Rate::HZ_8000, Channels::MONO);
        converter.process(bytes, &mut out);
        converter.finish(&mut out);
        out
    }

    #[test]
    fn sixteen_bits_pass_bit_by_bit_also_through_float() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        assert_eq!(convert(Encoding::S16Le, Codec::PcmS16, &bytes), bytes);
        let floats = convert(Encoding::S16Le, Codec::PcmF32, &bytes);
        assert_eq!(convert(Encoding::F32Le, Codec::PcmS16, &floats), bytes);
    }

    #[test]
    fn twenty_four_bits_fit_a_float() {
        for value in [-8_388_608_i32, -1, 0, 1, 4_194_305, 8_388_607] {
            let floats = convert(Encoding::S24Le, Codec::PcmF32, &value.to_le_bytes()[..3]);
            let sample = f32::from_le_bytes(floats.try_into().unwrap());
            assert_eq!(f64::from(sample) * 8_388_608.0, f64::from(value));
        }
    }

    #[test]
    fn g711_expands_by_the_tables_of_the_itu() {
        assert_eq!([0x00, 0x7f, 0x80, 0xff].map(expand_mulaw), [-32_124, 0, 32_124, 0]);
        assert_eq!([0x55, 0xd5, 0x2a, 0xaa].map(expand_alaw), [-8, 8, -32_256, 32_256]);
    }

    #[test]
    fn eight_bits_are_centred() {
        let out = convert(Encoding::U8, Codec::PcmS16, &[0, 128, 255]);
        assert_eq!(out, [-32_768_i16, 0, 32_512].map(i16::to_le_bytes).concat());
    }

    #[test]
    fn what_is_no_number_becomes_silence_and_what_is_too_loud_clips() {
        let floats = [f32::NAN, f32::INFINITY, 2.0, -2.0].map(f32::to_le_bytes).concat();
        assert_eq!(
            convert(Encoding::F32Le, Codec::PcmS16, &floats),
            [0_i16, 0, 32_767, -32_768].map(i16::to_le_bytes).concat()
        );
    }
}
