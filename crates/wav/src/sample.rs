//! How a sample is written, and what it is worth.

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// 8-bit unsigned; only read.
    U8,
    /// 16-bit signed, little endian.
    S16,
    /// 16-bit signed, big endian; only read, and only where nothing but the caller says so.
    S16Be,
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
            Self::S16 | Self::S16Be => 2,
            Self::S24 => 3,
            Self::S32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The format tag of a WAV header (RFC 2361).
    pub(crate) const fn tag(self) -> u16 {
        match self {
            Self::U8 | Self::S16 | Self::S16Be | Self::S24 | Self::S32 => 1,
            Self::F32 | Self::F64 => 3,
            Self::Alaw => 6,
            Self::Mulaw => 7,
        }
    }

    pub(crate) const fn of(tag: u16, bits: u16) -> Option<Self> {
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

    /// Whether 16 bits keep every bit of a sample.
    pub const fn fits_i16(self) -> bool {
        matches!(self, Self::U8 | Self::S16 | Self::S16Be | Self::Mulaw | Self::Alaw)
    }

    /// Appends bytes as samples, full scale ±1; what is no number is silence.
    pub fn read(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::U8 => out.extend(bytes.iter().map(|&byte| unit(centre(byte)))),
            Self::S16 => out.extend(bytes.as_chunks().0.iter().map(|&two| unit(i16::from_le_bytes(two)))),
            Self::S16Be => out.extend(bytes.as_chunks().0.iter().map(|&two| unit(i16::from_be_bytes(two)))),
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
            Self::Mulaw => out.extend(bytes.iter().map(|&byte| unit(expand_mulaw(byte)))),
            Self::Alaw => out.extend(bytes.iter().map(|&byte| unit(expand_alaw(byte)))),
        }
    }

    /// Appends bytes as 16-bit samples: the very ones where [`Self::fits_i16`], else the nearest.
    pub fn read_i16(self, bytes: &[u8], out: &mut Vec<i16>) {
        match self {
            Self::U8 => out.extend(bytes.iter().map(|&byte| centre(byte))),
            Self::S16 => out.extend(bytes.as_chunks().0.iter().map(|&two| i16::from_le_bytes(two))),
            Self::S16Be => out.extend(bytes.as_chunks().0.iter().map(|&two| i16::from_be_bytes(two))),
            Self::Mulaw => out.extend(bytes.iter().map(|&byte| expand_mulaw(byte))),
            Self::Alaw => out.extend(bytes.iter().map(|&byte| expand_alaw(byte))),
            Self::S24 | Self::S32 | Self::F32 | Self::F64 => {
                let mut floats = Vec::with_capacity(bytes.len() / self.bytes());
                self.read(bytes, &mut floats);
                out.extend(floats.iter().map(|&sample| to_i16(sample)));
            }
        }
    }
}

/// An unsigned byte, in the upper bits of 16.
const fn centre(byte: u8) -> i16 {
    (byte as i16 - 128) << 8
}

/// Full scale ±1.
fn unit(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

/// The nearest 16-bit sample; what is beyond full scale is clipped.
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_fits_sixteen_bits_is_the_same_as_float() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for sample in [Sample::U8, Sample::S16, Sample::S16Be, Sample::Mulaw, Sample::Alaw] {
            assert!(sample.fits_i16());
            let (mut whole, mut floats) = (Vec::new(), Vec::new());
            sample.read_i16(&bytes, &mut whole);
            sample.read(&bytes, &mut floats);
            assert_eq!(floats.iter().map(|&float| to_i16(float)).collect::<Vec<_>>(), whole, "{sample:?}");
        }
    }

    #[test]
    fn g711_expands_by_the_tables_of_the_itu() {
        assert_eq!([0x00, 0x7f, 0x80, 0xff].map(expand_mulaw), [-32_124, 0, 32_124, 0]);
        assert_eq!([0x55, 0xd5, 0x2a, 0xaa].map(expand_alaw), [-8, 8, -32_256, 32_256]);
    }
}
