//! G.711 as ITU-T G.191 (STL) computes it, apart from the project's own codec: what a sample sounds like behind it.

/// A sample through mu-law and back.
pub fn ulaw(sample: i16) -> i16 {
    let magnitude = (i32::from(if sample < 0 { !sample } else { sample } >> 2) + 33).min(0x1fff);
    let mut segment = 1;
    let mut rest = magnitude >> 6;
    while rest != 0 {
        segment += 1;
        rest >>= 1;
    }
    let mantissa = (magnitude >> segment) & 0xf;
    let exponent = segment - 1;
    let step = 4 << segment;
    let level = (0x80 << exponent) + step * mantissa + step / 2 - 4 * 33;
    (if sample < 0 { -level } else { level }) as i16
}

/// A sample through A-law and back.
pub fn alaw(sample: i16) -> i16 {
    let mut magnitude = i32::from(if sample < 0 { !sample } else { sample } >> 4);
    let mut exponent = 0;
    if magnitude > 15 {
        exponent = 1;
        while magnitude > 31 {
            magnitude >>= 1;
            exponent += 1;
        }
    }
    let mut level = (magnitude << 4) + 8;
    if exponent > 1 {
        level <<= exponent - 1;
    }
    (if sample < 0 { -level } else { level }) as i16
}
