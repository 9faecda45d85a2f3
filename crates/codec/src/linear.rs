//! Linear PCM: bytes to samples and back.

/// Appends 16-bit little-endian samples.
pub fn s16le_to_f32(bytes: &[u8], out: &mut Vec<f32>) {
    out.extend(bytes.as_chunks().0.iter().map(|&two| from_i16(i16::from_le_bytes(two))));
}

/// Appends 16-bit big-endian samples (L16, RFC 3551, section 4.5.11).
pub fn s16be_to_f32(bytes: &[u8], out: &mut Vec<f32>) {
    out.extend(bytes.as_chunks().0.iter().map(|&two| from_i16(i16::from_be_bytes(two))));
}

/// Appends 32-bit float little-endian samples; what is no number is silence.
pub fn f32le_to_f32(bytes: &[u8], out: &mut Vec<f32>) {
    out.extend(bytes.as_chunks().0.iter().map(|&four| {
        let sample = f32::from_le_bytes(four);
        if sample.is_finite() { sample } else { 0.0 }
    }));
}

/// Appends samples as 16-bit little endian.
pub fn f32_to_s16le(samples: &[f32], out: &mut Vec<u8>) {
    out.extend(samples.iter().flat_map(|&sample| to_i16(sample).to_le_bytes()));
}

/// Appends samples as 16-bit big endian.
pub fn f32_to_s16be(samples: &[f32], out: &mut Vec<u8>) {
    out.extend(samples.iter().flat_map(|&sample| to_i16(sample).to_be_bytes()));
}

/// A 16-bit sample at full scale ±1.0: exact, and [`to_i16`] gives it back.
pub fn from_i16(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

/// The nearest 16-bit sample; what is beyond full scale is clipped.
pub fn to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round_ties_even().clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_sample_survives_the_way_through_float() {
        assert!((i16::MIN..=i16::MAX).all(|sample| to_i16(from_i16(sample)) == sample));
    }

    #[test]
    fn what_is_beyond_full_scale_is_clipped_and_what_is_no_number_is_silence() {
        assert_eq!((to_i16(1.5), to_i16(-1.5), to_i16(f32::NAN)), (i16::MAX, i16::MIN, 0));
        let mut out = Vec::new();
        f32le_to_f32(&f32::INFINITY.to_le_bytes(), &mut out);
        assert_eq!(out, [0.0]);
    }
}
