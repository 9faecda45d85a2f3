//! G.711 over every input, against the reference's rule written another way: by searching the segments.

use vox_codec::g711::Law;

/// The rule of ITU-T G.191's ulaw_compress.
fn reference_mu(sample: i16) -> u8 {
    let sample = i32::from(sample);
    let biased = ((if sample < 0 { !sample } else { sample } >> 2) + 33).min(0x1fff);
    let mut segment = 1;
    let mut rest = biased >> 6;
    while rest != 0 {
        segment += 1;
        rest >>= 1;
    }
    let code = (8 - segment) << 4 | (15 - (biased >> segment & 15));
    (if sample >= 0 { code | 0x80 } else { code }) as u8
}

/// The rule of ITU-T G.191's alaw_compress.
fn reference_a(sample: i16) -> u8 {
    let sample = i32::from(sample);
    let mut code = if sample < 0 { !sample } else { sample } >> 4;
    if code > 15 {
        let mut exponent = 1;
        while code > 31 {
            code >>= 1;
            exponent += 1;
        }
        code = code - 16 + (exponent << 4);
    }
    ((if sample >= 0 { code | 0x80 } else { code }) ^ 0x55) as u8
}

/// The values of the decision table's middles: mu-law by its formula (G.711, table 2a), A-law likewise (table 1a).
fn reference_value(law: Law, code: u8) -> i32 {
    match law {
        Law::Mu => {
            let bits = i32::from(!code);
            let value = ((2 * (bits & 15) + 33) * (1 << (bits >> 4 & 7)) - 33) * 4;
            if code & 0x80 == 0 { -value } else { value }
        }
        Law::A => {
            let bits = i32::from(code ^ 0x55);
            let (exponent, mantissa) = (bits >> 4 & 7, bits & 15);
            let value = if exponent == 0 { 16 * mantissa + 8 } else { (16 * mantissa + 264) << (exponent - 1) };
            if bits & 0x80 == 0 { -value } else { value }
        }
    }
}

#[test]
fn all_65536_samples_have_the_code_of_the_reference() {
    for (law, reference) in [(Law::Mu, reference_mu as fn(i16) -> u8), (Law::A, reference_a)] {
        for sample in i16::MIN..=i16::MAX {
            let code = law.encode_table()[usize::from(sample as u16)];
            assert_eq!(code, reference(sample), "{law:?} {sample}");
        }
    }
}

#[test]
fn all_256_codes_have_the_value_of_the_reference() {
    for law in [Law::Mu, Law::A] {
        for code in 0..=255 {
            assert_eq!(i32::from(law.decode_table()[usize::from(code)]), reference_value(law, code), "{law:?} {code}");
        }
    }
}

#[test]
fn known_codes_of_silence_and_full_scale() {
    let code = |law: Law, sample: i16| law.encode_table()[usize::from(sample as u16)];
    assert_eq!((code(Law::Mu, 0), code(Law::Mu, i16::MAX), code(Law::Mu, i16::MIN)), (0xff, 0x80, 0x00));
    assert_eq!((code(Law::A, 0), code(Law::A, i16::MAX), code(Law::A, i16::MIN)), (0xd5, 0xaa, 0x2a));
}

#[test]
fn every_code_survives_decoding_and_encoding_again() {
    for law in [Law::Mu, Law::A] {
        for code in 0..=255u8 {
            let sample = law.decode_table()[usize::from(code)];
            let again = law.encode_table()[usize::from(sample as u16)];
            // mu-law has two zeros; the negative one comes back as the positive.
            assert!(again == code || (law == Law::Mu && code == 0x7f && again == 0xff), "{law:?} {code:#04x}");
        }
    }
}
