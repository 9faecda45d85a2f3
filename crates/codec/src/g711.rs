//! G.711 mu-law and A-law on 16-bit samples, by the rule of ITU-T G.191's reference: mu-law looks at the upper 14 bits
//! of a sample, A-law at the upper 13.

use std::sync::OnceLock;

/// One of the two laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// mu-law (PCMU).
    Mu,
    /// A-law (PCMA).
    A,
}

impl Law {
    /// The code of every 16-bit sample, by the sample's bits as an unsigned number.
    pub fn encode_table(self) -> &'static [u8; 65_536] {
        static MU: OnceLock<Box<[u8; 65_536]>> = OnceLock::new();
        static A: OnceLock<Box<[u8; 65_536]>> = OnceLock::new();
        let (cell, encode): (_, fn(i16) -> u8) = match self {
            Self::Mu => (&MU, encode_mu),
            Self::A => (&A, encode_a),
        };
        cell.get_or_init(|| {
            let mut table = Box::new([0; 65_536]);
            for (bits, code) in table.iter_mut().enumerate() {
                *code = encode(bits as u16 as i16);
            }
            table
        })
    }

    /// The sample of every code.
    pub fn decode_table(self) -> &'static [i16; 256] {
        static MU: OnceLock<[i16; 256]> = OnceLock::new();
        static A: OnceLock<[i16; 256]> = OnceLock::new();
        let (cell, decode): (_, fn(u8) -> i16) = match self {
            Self::Mu => (&MU, decode_mu),
            Self::A => (&A, decode_a),
        };
        cell.get_or_init(|| std::array::from_fn(|code| decode(code as u8)))
    }

    /// Appends the codes of 16-bit little-endian samples.
    pub fn encode_s16le(self, bytes: &[u8], out: &mut Vec<u8>) {
        let table = self.encode_table();
        out.extend(bytes.as_chunks().0.iter().map(|&two| table[usize::from(u16::from_le_bytes(two))]));
    }

    /// Appends the samples of codes.
    pub fn decode(self, codes: &[u8], out: &mut Vec<f32>) {
        let table = self.decode_table();
        out.extend(codes.iter().map(|&code| crate::linear::from_i16(table[usize::from(code)])));
    }
}

/// The bias that makes mu-law's segments powers of two, on 14-bit magnitudes.
const MU_BIAS: u16 = 33;

fn encode_mu(sample: i16) -> u8 {
    let negative = sample < 0;
    // The ones' complement of a negative sample, as the reference takes it: -1 and 0 have the same magnitude.
    let magnitude = if negative { !sample } else { sample } as u16 >> 2;
    let biased = (magnitude + MU_BIAS).min(0x1fff);
    let segment = 10 - biased.leading_zeros() as u16;
    let mantissa = (biased >> (segment + 1)) & 0x0f;
    let code = segment << 4 | mantissa;
    let sign = if negative { 0 } else { 0x80 };
    // Codes travel inverted; the sign bit is set for positive samples.
    sign | (!code & 0x7f) as u8
}

fn decode_mu(code: u8) -> i16 {
    let inverted = !code;
    let segment = u16::from(inverted >> 4 & 7);
    let mantissa = u16::from(inverted & 0x0f);
    let magnitude = (((mantissa << 1) + MU_BIAS) << segment) - MU_BIAS;
    let sample = (magnitude << 2) as i16;
    if code & 0x80 == 0 { -sample } else { sample }
}

fn encode_a(sample: i16) -> u8 {
    let negative = sample < 0;
    let magnitude = if negative { !sample } else { sample } as u16 >> 4;
    let code = if magnitude < 16 {
        magnitude
    } else {
        let segment = 12 - magnitude.leading_zeros() as u16;
        segment << 4 | (magnitude >> (segment - 1)) & 0x0f
    };
    let sign = if negative { 0 } else { 0x80 };
    // Every other bit travels inverted (G.711).
    (sign | code as u8) ^ 0x55
}

fn decode_a(code: u8) -> i16 {
    let plain = code ^ 0x55;
    let segment = u16::from(plain >> 4 & 7);
    let mantissa = u16::from(plain & 0x0f) << 4;
    let magnitude = match segment {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (segment - 1),
    };
    let sample = magnitude as i16;
    if plain & 0x80 == 0 { -sample } else { sample }
}
