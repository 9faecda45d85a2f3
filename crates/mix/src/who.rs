//! Which stream is meant, and what is to be done with it.

use std::convert::Infallible;
use std::str::FromStr;

use vox_frame::{Format, StreamId};

/// Names streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// By label, or by the input that it comes from.
    Name(String),
    /// By the SSRC that it had in RTP.
    Ssrc(u32),
    Id(StreamId),
}

impl Who {
    /// Whether a stream that came from `input` is meant.
    pub(crate) fn is(&self, id: StreamId, format: &Format, input: &str) -> bool {
        match self {
            Self::Name(name) => format.label.as_deref() == Some(name) || input == name,
            Self::Ssrc(ssrc) => format.rtp.as_ref().is_some_and(|rtp| rtp.ssrc == *ssrc),
            Self::Id(wanted) => *wanted == id,
        }
    }
}

impl FromStr for Who {
    type Err = Infallible;

    /// What is no number behind `ssrc:` or `id:` is a name.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let hex = |digits: &str| u32::from_str_radix(digits.trim_start_matches("0x"), 16).ok();
        let ssrc = text.strip_prefix("ssrc:").and_then(|number| match number.strip_prefix("0x") {
            Some(digits) => hex(digits),
            None => number.parse().ok(),
        });
        let id = text.strip_prefix("id:").and_then(hex);
        Ok(match (ssrc, id) {
            (Some(ssrc), _) => Self::Ssrc(ssrc),
            (_, Some(id)) => Self::Id(StreamId(id)),
            _ => Self::Name(text.to_owned()),
        })
    }
}

/// Something for the streams that are meant, or for all: `WHO=VALUE` or `VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct For<T> {
    who: Option<Who>,
    value: T,
}

impl<T> For<T> {
    /// The value, if a stream is meant.
    pub(crate) fn of(&self, id: StreamId, format: &Format, input: &str) -> Option<&T> {
        self.who.as_ref().is_none_or(|who| who.is(id, format, input)).then_some(&self.value)
    }
}

impl<T: FromStr<Err = String>> FromStr for For<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (who, value) = match text.rsplit_once('=') {
            Some((who, value)) => (who.parse().ok(), value),
            None => (None, text),
        };
        Ok(Self { who, value: value.parse()? })
    }
}

/// A gain, -120 to 60 dB, as a factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GainDb(pub(crate) f32);

impl FromStr for GainDb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let db: f32 =
            text.trim_end_matches("dB").trim().parse().map_err(|_| "not a gain in dB, such as -6".to_owned())?;
        if !(-120.0..=60.0).contains(&db) {
            return Err("a gain lies between -120 and 60 dB".to_owned());
        }
        Ok(Self(if db == 0.0 { 1.0 } else { 10f32.powf(db / 20.0) }))
    }
}

/// For each channel of a stream the channel of the output, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelMap(pub(crate) Vec<Option<usize>>);

/// The channels of WAV files, in their order.
const NAMES: [&str; 8] = ["FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"];

impl FromStr for ChannelMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let channel = |name: &str| match name {
            "-" => Ok(None),
            _ => NAMES
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name))
                .or_else(|| {
                    name.parse::<usize>().ok().filter(|number| (1..=8).contains(number)).map(|number| number - 1)
                })
                .map(Some)
                .ok_or_else(|| format!("{name:?} is no channel: FL FR FC LFE BL BR SL SR, 1 to 8, or -")),
        };
        text.split(',').map(channel).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vox_frame::{Channels, Codec, Rate, RtpOrigin};

    #[test]
    fn streams_are_known_by_label_ssrc_id_and_input() {
        let mut format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
        format.label = Some("ana".to_owned());
        format.rtp = Some(RtpOrigin { ssrc: 1234, payload_type: 0, source: None });
        let is = |text: &str| text.parse::<Who>().is_ok_and(|who| who.is(StreamId(0xab), &format, "talk.vox"));
        for who in ["ana", "ssrc:1234", "ssrc:0x4d2", "id:ab", "talk.vox"] {
            assert!(is(who), "{who}");
        }
        for who in ["bob", "ssrc:1", "id:ac", "ssrc:ana"] {
            assert!(!is(who), "{who}");
        }
    }

    #[test]
    fn gains_and_maps_are_read() {
        let gain: For<GainDb> = "a=b=-20dB".parse().unwrap();
        assert_eq!(gain.who, Some(Who::Name("a=b".to_owned())));
        assert!((gain.value.0 - 0.1).abs() < 1e-6);
        assert_eq!("0".parse::<GainDb>(), Ok(GainDb(1.0)));
        assert!("ana=loud".parse::<For<GainDb>>().is_err());
        assert_eq!("fl,-,8".parse(), Ok(ChannelMap(vec![Some(0), None, Some(7)])));
        assert!("9".parse::<ChannelMap>().is_err());
    }
}
