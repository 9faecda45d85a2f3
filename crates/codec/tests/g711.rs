//! G.711 over every input: coding against the reference's rule written another way, by searching the segments;
//! decoding against the tables of the recommendation.

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

/// The decoder's output values of G.711, table 2a and 2b, in its 14-bit units, by code 0 to 255; 127 is its negative zero.
#[rustfmt::skip]
const MU: [i32; 256] = [
    -8031, -7775, -7519, -7263, -7007, -6751, -6495, -6239, -5983, -5727, -5471, -5215, -4959, -4703, -4447, -4191,
    -3999, -3871, -3743, -3615, -3487, -3359, -3231, -3103, -2975, -2847, -2719, -2591, -2463, -2335, -2207, -2079,
    -1983, -1919, -1855, -1791, -1727, -1663, -1599, -1535, -1471, -1407, -1343, -1279, -1215, -1151, -1087, -1023,
    -975, -943, -911, -879, -847, -815, -783, -751, -719, -687, -655, -623, -591, -559, -527, -495,
    -471, -455, -439, -423, -407, -391, -375, -359, -343, -327, -311, -295, -279, -263, -247, -231,
    -219, -211, -203, -195, -187, -179, -171, -163, -155, -147, -139, -131, -123, -115, -107, -99,
    -93, -89, -85, -81, -77, -73, -69, -65, -61, -57, -53, -49, -45, -41, -37, -33,
    -30, -28, -26, -24, -22, -20, -18, -16, -14, -12, -10, -8, -6, -4, -2, 0,
    8031, 7775, 7519, 7263, 7007, 6751, 6495, 6239, 5983, 5727, 5471, 5215, 4959, 4703, 4447, 4191,
    3999, 3871, 3743, 3615, 3487, 3359, 3231, 3103, 2975, 2847, 2719, 2591, 2463, 2335, 2207, 2079,
    1983, 1919, 1855, 1791, 1727, 1663, 1599, 1535, 1471, 1407, 1343, 1279, 1215, 1151, 1087, 1023,
    975, 943, 911, 879, 847, 815, 783, 751, 719, 687, 655, 623, 591, 559, 527, 495,
    471, 455, 439, 423, 407, 391, 375, 359, 343, 327, 311, 295, 279, 263, 247, 231,
    219, 211, 203, 195, 187, 179, 171, 163, 155, 147, 139, 131, 123, 115, 107, 99,
    93, 89, 85, 81, 77, 73, 69, 65, 61, 57, 53, 49, 45, 41, 37, 33,
    30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0,
];

/// The decoder's output values of G.711, table 1a and 1b, in its 13-bit units, by code 0 to 255: even bits inverted, as sent.
#[rustfmt::skip]
const A: [i32; 256] = [
    -688, -656, -752, -720, -560, -528, -624, -592, -944, -912, -1008, -976, -816, -784, -880, -848,
    -344, -328, -376, -360, -280, -264, -312, -296, -472, -456, -504, -488, -408, -392, -440, -424,
    -2752, -2624, -3008, -2880, -2240, -2112, -2496, -2368, -3776, -3648, -4032, -3904, -3264, -3136, -3520, -3392,
    -1376, -1312, -1504, -1440, -1120, -1056, -1248, -1184, -1888, -1824, -2016, -1952, -1632, -1568, -1760, -1696,
    -43, -41, -47, -45, -35, -33, -39, -37, -59, -57, -63, -61, -51, -49, -55, -53,
    -11, -9, -15, -13, -3, -1, -7, -5, -27, -25, -31, -29, -19, -17, -23, -21,
    -172, -164, -188, -180, -140, -132, -156, -148, -236, -228, -252, -244, -204, -196, -220, -212,
    -86, -82, -94, -90, -70, -66, -78, -74, -118, -114, -126, -122, -102, -98, -110, -106,
    688, 656, 752, 720, 560, 528, 624, 592, 944, 912, 1008, 976, 816, 784, 880, 848,
    344, 328, 376, 360, 280, 264, 312, 296, 472, 456, 504, 488, 408, 392, 440, 424,
    2752, 2624, 3008, 2880, 2240, 2112, 2496, 2368, 3776, 3648, 4032, 3904, 3264, 3136, 3520, 3392,
    1376, 1312, 1504, 1440, 1120, 1056, 1248, 1184, 1888, 1824, 2016, 1952, 1632, 1568, 1760, 1696,
    43, 41, 47, 45, 35, 33, 39, 37, 59, 57, 63, 61, 51, 49, 55, 53,
    11, 9, 15, 13, 3, 1, 7, 5, 27, 25, 31, 29, 19, 17, 23, 21,
    172, 164, 188, 180, 140, 132, 156, 148, 236, 228, 252, 244, 204, 196, 220, 212,
    86, 82, 94, 90, 70, 66, 78, 74, 118, 114, 126, 122, 102, 98, 110, 106,
];

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
fn all_256_codes_have_the_value_of_the_recommendation() {
    // 16-bit samples hold the recommendation's values at the top.
    for (law, values, unit) in [(Law::Mu, &MU, 4), (Law::A, &A, 8)] {
        for (code, value) in values.iter().enumerate() {
            assert_eq!(i32::from(law.decode_table()[code]), value * unit, "{law:?} {code}");
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
