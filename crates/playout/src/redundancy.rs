//! What a payload says of itself in its first bytes, without a codec.

use vox_frame::Codec;

/// Whether the payload carries a copy of the packet before it: Opus in-band error correction (the LBRR flag of RFC
/// 6716, section 4.2.4).
pub fn carries_copy(codec: &Codec, payload: &[u8]) -> bool {
    *codec == Codec::Opus && opus_copy(payload).unwrap_or(false)
}

/// Whether the payload is the last before a pause: an Opus frame without content (DTX, RFC 6716, section 2.1.9).
pub fn falls_silent(codec: &Codec, payload: &[u8]) -> bool {
    *codec == Codec::Opus && payload.len() <= 2
}

/// Whether the encoder found no voice in the payload (the VAD flags of Opus, RFC 6716, section 4.2.3); false where it
/// does not tell.
pub fn is_quiet(codec: &Codec, payload: &[u8]) -> bool {
    *codec == Codec::Opus && opus_flags(payload).is_some_and(|(voice, _)| !voice)
}

fn opus_copy(payload: &[u8]) -> Option<bool> {
    opus_flags(payload).map(|(_, copy)| copy)
}

/// What the first bits of a SILK frame say: voice, and a copy; none for CELT, which has neither.
fn opus_flags(payload: &[u8]) -> Option<(bool, bool)> {
    let (&toc, rest) = payload.split_first()?;
    let config = toc >> 3;
    // SILK frames in the first Opus frame (RFC 6716, table 2 and section 4.2.2).
    let frames = match config {
        0..12 => [1, 1, 2, 3][usize::from(config & 3)],
        12..16 => 1,
        _ => return None,
    };
    let &flags = first_frame(toc & 3, rest)?.first()?;
    // For each channel a flag a frame, then that of the copy.
    let channel = |skipped: u8| {
        let bits = flags << skipped;
        (bits >> (8 - frames) != 0, bits >> (7 - frames) & 1 == 1)
    };
    let (voice, copy) = channel(0);
    let side = if toc & 4 != 0 { channel(frames + 1) } else { (false, false) };
    Some((voice || side.0, copy || side.1))
}

/// The bytes from the first frame on (RFC 6716, section 3.2).
fn first_frame(code: u8, rest: &[u8]) -> Option<&[u8]> {
    match code {
        0 | 1 => Some(rest),
        2 => skip_length(rest),
        _ => {
            let (&count, mut rest) = rest.split_first()?;
            if count & 0x40 != 0 {
                while let (&255, after) = rest.split_first()? {
                    rest = after;
                }
                rest = &rest[1..];
            }
            if count & 0x80 != 0 {
                for _ in 1..count & 0x3f {
                    rest = skip_length(rest)?;
                }
            }
            Some(rest)
        }
    }
}

fn skip_length(bytes: &[u8]) -> Option<&[u8]> {
    let length = if *bytes.first()? < 252 { 1 } else { 2 };
    bytes.get(length..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(payload: &[u8]) -> bool {
        carries_copy(&Codec::Opus, payload)
    }

    #[test]
    fn the_flag_behind_the_voice_activity_tells() {
        // SILK wideband, 20 ms, mono: one activity bit, then the flag.
        assert!(copy(&[9 << 3, 0b0100_0000, 0]));
        assert!(!copy(&[9 << 3, 0b1011_1111, 0]));
        // 60 ms: three activity bits.
        assert!(copy(&[11 << 3, 0b0001_0000, 0]));
        // Stereo: the second channel's flag.
        assert!(copy(&[9 << 3 | 4, 0b0001_0000, 0]));
        // CELT, other codecs, nothing.
        assert!(!copy(&[31 << 3, 0xff, 0xff]));
        assert!(!carries_copy(&Codec::Pcmu, &[9 << 3, 0xff]));
        assert!(!copy(&[]) && !copy(&[9 << 3]));
    }

    #[test]
    fn lengths_and_padding_before_the_first_frame_are_passed_over() {
        assert!(copy(&[9 << 3 | 2, 1, 0b0100_0000, 0]));
        assert!(copy(&[9 << 3 | 2, 252, 1, 0b0100_0000, 0]));
        assert!(copy(&[9 << 3 | 3, 0xc2, 255, 3, 1, 0b0100_0000, 0]));
        assert!(!copy(&[9 << 3 | 3, 0x41, 255, 255]));
    }

    #[test]
    fn voice_is_told_by_the_encoder() {
        let quiet = |payload: &[u8]| is_quiet(&Codec::Opus, payload);
        assert!(quiet(&[9 << 3, 0b0100_0000]) && !quiet(&[9 << 3, 0b1000_0000]));
        assert!(!quiet(&[11 << 3, 0b0010_0000]) && quiet(&[11 << 3, 0b0001_1111]));
        assert!(!quiet(&[9 << 3 | 4, 0b0010_0000]) && !quiet(&[31 << 3, 0]));
    }

    #[test]
    fn an_empty_frame_falls_silent() {
        assert!(falls_silent(&Codec::Opus, &[9 << 3]) && !falls_silent(&Codec::Opus, &[9 << 3, 1, 2]));
        assert!(!falls_silent(&Codec::Pcmu, &[]));
    }
}
