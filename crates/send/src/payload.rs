//! Which payload type a stream goes by.

use std::collections::BTreeMap;

use vox_frame::{Codec, Format};
use vox_rtp::{PayloadFormat, PayloadMap, static_format};

use crate::args::Args;

/// The dynamic payload type of what is not Opus and has no static one: 96 means Opus to `vox-recv`.
const OTHER: u8 = 97;

/// The payload types in use, so that one number never means two things to a receiver.
#[derive(Default)]
pub(crate) struct PayloadTypes {
    used: BTreeMap<u8, PayloadFormat>,
}

impl PayloadTypes {
    /// How a stream is carried and by which number; none where RTP does not carry it.
    pub(crate) fn choose(&mut self, format: &Format, args: &Args) -> Option<(u8, PayloadFormat)> {
        let standard = PayloadFormat::of_stream(format)?;
        let mapped = args.map.iter().find(|(_, mapped)| mapped.codec == standard.codec).cloned();
        let carried = mapped.as_ref().map_or(standard, |(_, mapped)| mapped.clone());
        let kept = format.rtp.as_ref().map(|rtp| rtp.payload_type).filter(|&kept| may_keep(kept, &carried));
        let wanted = args
            .payload_type
            .or_else(|| mapped.map(|(number, _)| number))
            .or(kept)
            .or_else(|| carried.static_type())
            .unwrap_or(if carried.codec == Codec::Opus { PayloadMap::OPUS } else { OTHER });
        let number = self.free(wanted, &carried);
        self.used.insert(number, carried.clone());
        Some((number, carried))
    }

    /// The number that is wanted, or a dynamic one where that means something else already.
    fn free(&self, wanted: u8, carried: &PayloadFormat) -> u8 {
        let is_free = |number: &u8| self.used.get(number).is_none_or(|used| used == carried);
        core::iter::once(wanted).chain(OTHER..128).find(is_free).unwrap_or(wanted)
    }
}

/// A number that a stream came with is kept where it can mean what the stream is now: a transcoder may have stood in
/// between.
fn may_keep(kept: u8, carried: &PayloadFormat) -> bool {
    // RFC 3551 leaves 96 to 127 to everybody, and 35 to 63 where those are not enough.
    if kept >= 96 || (35..64).contains(&kept) {
        kept != PayloadMap::OPUS || carried.static_type().is_none()
    } else {
        static_format(kept).is_none_or(|meant| meant == *carried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use vox_frame::{Channels, Rate, RtpOrigin};

    fn chosen(types: &mut PayloadTypes, codec: Codec, kept: Option<u8>) -> u8 {
        let rate = if codec == Codec::Opus { Rate::HZ_48000 } else { Rate::HZ_8000 };
        let mut format = Format::new(codec, rate, Channels::MONO, 160);
        format.rtp = kept.map(|payload_type| RtpOrigin { ssrc: 1, payload_type, source: None });
        let args = Args::parse_from(["vox-send", "127.0.0.1:5004"]);
        types.choose(&format, &args).expect("RTP carries it").0
    }

    #[test]
    fn a_kept_number_gives_way_where_the_codec_has_changed() {
        for (codec, kept, number) in [
            (Codec::Pcma, Some(0), 8),
            (Codec::Pcmu, Some(96), 0),
            (Codec::Opus, Some(0), 96),
            (Codec::Opus, Some(111), 111),
            (Codec::Pcmu, Some(100), 100),
            (Codec::Pcmu, Some(0), 0),
            (Codec::Opus, None, 96),
        ] {
            assert_eq!(chosen(&mut PayloadTypes::default(), codec.clone(), kept), number, "{codec} {kept:?}");
        }
    }

    #[test]
    fn two_codecs_never_share_a_number() {
        let mut types = PayloadTypes::default();
        assert_eq!(chosen(&mut types, Codec::Opus, Some(97)), 97);
        assert_eq!(chosen(&mut types, Codec::Other("speex".to_owned()), None), 98);
        assert_eq!(chosen(&mut types, Codec::Opus, Some(97)), 97);
    }
}
