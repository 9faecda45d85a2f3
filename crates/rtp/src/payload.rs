//! What a payload type means: RFC 3551's static types, and dynamic ones from a session description or a person.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use vox_frame::{Channels, Codec, Format, Rate};

use crate::event::TELEPHONE_EVENT;
use crate::opus_ticks;

/// The encoding name of comfort noise (RFC 3389), in lower case.
const COMFORT_NOISE: &str = "cn";

/// Bytes of the longest encoding name that is kept.
const MAX_NAME: usize = 64;

/// What the payload of a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Coded audio.
    Audio,
    /// A key of a telephone or the like, beside the audio (RFC 4733).
    TelephoneEvent,
    /// The noise of silence: nothing follows until there is something to hear (RFC 3389).
    ComfortNoise,
}

/// What the packets of a payload type carry: `opus/48000/2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFormat {
    /// How the payload is coded.
    pub codec: Codec,
    /// The RTP clock rate on the wire. For Opus that is 48000, except with programs that are not standard.
    pub clock: Rate,
    /// Channels.
    pub channels: Channels,
}

impl PayloadFormat {
    /// A payload format; the codec is one that RTP carries.
    pub const fn new(codec: Codec, clock: Rate, channels: Channels) -> Self {
        Self { codec, clock, channels }
    }

    /// How a stream of that format is carried, or none where its codec is not one of RTP (raw PCM).
    pub fn of_stream(format: &Format) -> Option<Self> {
        match format.codec {
            Codec::PcmS16 | Codec::PcmF32 => None,
            // RFC 7587, section 4.1: always announced as 48000 Hz and two channels.
            Codec::Opus => Some(Self::new(Codec::Opus, Rate::HZ_48000, Channels::STEREO)),
            Codec::Pcmu | Codec::Pcma | Codec::L16 | Codec::Other(_) => {
                Some(Self::new(format.codec.clone(), format.rate, format.channels))
            }
        }
    }

    /// What the payload is: audio, or something beside it.
    pub fn content(&self) -> Content {
        match &self.codec {
            Codec::Other(name) if name == TELEPHONE_EVENT => Content::TelephoneEvent,
            Codec::Other(name) if name == COMFORT_NOISE => Content::ComfortNoise,
            _ => Content::Audio,
        }
    }

    /// Telephone events on that clock.
    pub fn telephone_events(clock: Rate) -> Self {
        Self::new(Codec::Other(TELEPHONE_EVENT.to_owned()), clock, Channels::MONO)
    }

    /// The clock rate of the stream in the pipe: for Opus always 48000 Hz, whatever the wire says.
    pub fn rate(&self) -> Rate {
        if self.codec == Codec::Opus { Rate::HZ_48000 } else { self.clock }
    }

    /// Media ticks in the pipe for each tick on the wire.
    pub fn scale(&self) -> u64 {
        u64::from((self.rate().hz() / self.clock.hz()).max(1))
    }

    /// Ticks of [`rate`](Self::rate) that a payload lasts, and how many of its bytes are whole samples. None where it
    /// is no payload of this codec.
    pub fn measure(&self, payload: &[u8]) -> Option<(u32, usize)> {
        match self.codec.sample_bytes() {
            Some(bytes) => {
                let tick = bytes * self.channels.count();
                let ticks = payload.len() / tick;
                (ticks > 0).then_some((ticks as u32, ticks * tick))
            }
            None if self.codec == Codec::Opus => opus_ticks(payload).map(|ticks| (ticks, payload.len())),
            None => Some((0, payload.len())),
        }
    }

    /// The static payload type of RFC 3551 for this format, where it has one.
    pub fn static_type(&self) -> Option<u8> {
        (0..96).find(|&number| static_format(number).as_ref() == Some(self))
    }
}

/// What RFC 3551 says that a payload type means, where that is a codec known here.
pub fn static_format(payload_type: u8) -> Option<PayloadFormat> {
    let (codec, hz, channels) = match payload_type {
        0 => (Codec::Pcmu, 8_000, Channels::MONO),
        8 => (Codec::Pcma, 8_000, Channels::MONO),
        10 => (Codec::L16, 44_100, Channels::STEREO),
        11 => (Codec::L16, 44_100, Channels::MONO),
        13 => (Codec::Other(COMFORT_NOISE.to_owned()), 8_000, Channels::MONO),
        _ => return None,
    };
    Some(PayloadFormat::new(codec, Rate::new(hz)?, channels))
}

impl fmt::Display for PayloadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.codec {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::L16 => "L16",
            Codec::Other(name) if name == COMFORT_NOISE => "CN",
            other => other.name(),
        };
        write!(f, "{name}/{}", self.clock.hz())?;
        match self.channels.count() {
            1 => Ok(()),
            channels => write!(f, "/{channels}"),
        }
    }
}

/// What is wrong with a payload type or its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadTypeError {
    /// Not of the form `NAME/RATE[/CHANNELS]`.
    #[error("{0:?} is not NAME/RATE or NAME/RATE/CHANNELS, such as opus/48000/2")]
    Format(String),
    /// Not a number from 0 to 127.
    #[error("{0:?} is not a payload type (0 to 127)")]
    Number(String),
    /// An Opus clock that does not divide 48000.
    #[error("an Opus clock of {0} Hz (8000, 12000, 16000, 24000 or 48000)")]
    OpusClock(u32),
    /// Not of the form `NUMBER=FORMAT`.
    #[error("{0:?} is not NUMBER=FORMAT, such as 96=opus/48000/2")]
    Assignment(String),
}

impl FromStr for PayloadFormat {
    type Err = PayloadTypeError;

    /// Reads `NAME/RATE[/CHANNELS]`, as in SDP's `rtpmap`. The name's case does not matter.
    fn from_str(text: &str) -> Result<Self, PayloadTypeError> {
        let wrong = || PayloadTypeError::Format(text.chars().take(MAX_NAME).collect());
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|name| !name.is_empty() && name.len() <= MAX_NAME).ok_or_else(wrong)?;
        let clock = parts.next().and_then(|rate| rate.parse().ok()).and_then(Rate::new).ok_or_else(wrong)?;
        let codec = Codec::from_name(&name.to_ascii_lowercase());
        let channels = match parts.next() {
            Some(channels) => channels.parse().ok().and_then(Channels::new).ok_or_else(wrong)?,
            // `opus/8000` says nothing about channels: two is what an Opus decoder can always give.
            None if codec == Codec::Opus => Channels::STEREO,
            None => Channels::MONO,
        };
        if parts.next().is_some() || clock.hz() > 768_000 {
            return Err(wrong());
        }
        if codec == Codec::Opus && (48_000 % clock.hz() != 0 || channels.count() > 2) {
            return Err(PayloadTypeError::OpusClock(clock.hz()));
        }
        Ok(Self { codec, clock, channels })
    }
}

/// Payload types and what they mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PayloadMap {
    formats: BTreeMap<u8, PayloadFormat>,
    /// Payload types of Opus whose sender says that it sends two channels: a bit each.
    stereo: u128,
}

impl PayloadMap {
    /// A map with nothing in it.
    pub const fn empty() -> Self {
        Self { formats: BTreeMap::new(), stereo: 0 }
    }

    /// RFC 3551's static types 0, 8, 10, 11 and 13 (comfort noise), and 96 for Opus: what `vox-send` uses where nothing else is said.
    pub fn standard() -> Self {
        let mut map = Self::empty();
        for number in [0, 8, 10, 11, 13] {
            if let Some(format) = static_format(number) {
                map.insert(number, format);
            }
        }
        map.insert(Self::OPUS, PayloadFormat::new(Codec::Opus, Rate::HZ_48000, Channels::STEREO));
        map
    }

    /// Takes a payload type out of the map.
    pub fn remove(&mut self, payload_type: u8) -> Option<PayloadFormat> {
        self.formats.remove(&payload_type)
    }

    /// The dynamic payload type used for Opus where nothing else is said.
    pub const OPUS: u8 = 96;

    /// Says what a payload type means; the last word counts.
    pub fn insert(&mut self, payload_type: u8, format: PayloadFormat) {
        self.formats.insert(payload_type & 0x7f, format);
    }

    /// The sender of that payload type says that it sends two channels (`sprop-stereo=1`, RFC 7587).
    pub const fn expect_stereo(&mut self, payload_type: u8) {
        self.stereo |= 1 << (payload_type & 0x7f);
    }

    /// Whether two channels were announced for the payload type.
    pub const fn is_stereo_expected(&self, payload_type: u8) -> bool {
        self.stereo & 1 << (payload_type & 0x7f) != 0
    }

    /// What a payload type means.
    pub fn get(&self, payload_type: u8) -> Option<&PayloadFormat> {
        self.formats.get(&payload_type)
    }

    /// The payload type that means `format`, where there is one.
    pub fn find(&self, format: &PayloadFormat) -> Option<u8> {
        self.formats.iter().find(|(_, known)| *known == format).map(|(&number, _)| number)
    }

    /// Every payload type with its format, in order of the numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &PayloadFormat)> {
        self.formats.iter().map(|(&number, format)| (number, format))
    }

    /// Reads `NUMBER=FORMAT`, such as `96=opus/48000/2`.
    ///
    /// # Errors
    /// Where it is not of that form.
    pub fn parse_assignment(text: &str) -> Result<(u8, PayloadFormat), PayloadTypeError> {
        let (number, format) =
            text.split_once('=').ok_or_else(|| PayloadTypeError::Assignment(text.chars().take(MAX_NAME).collect()))?;
        let number = number.trim();
        let parsed = number.parse::<u8>().ok().filter(|&number| number < 128);
        Ok((parsed.ok_or_else(|| PayloadTypeError::Number(number.to_owned()))?, format.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_types_are_those_of_rfc_3551() {
        let map = PayloadMap::standard();
        let names: Vec<String> = map.iter().map(|(number, format)| format!("{number}={format}")).collect();
        assert_eq!(
            names,
            ["0=PCMU/8000", "8=PCMA/8000", "10=L16/44100/2", "11=L16/44100", "13=CN/8000", "96=opus/48000/2"]
        );
        assert_eq!(map.get(10).unwrap().static_type(), Some(10));
        assert_eq!(map.get(96).unwrap().static_type(), None);
    }

    #[test]
    fn opus_with_an_8_khz_clock_is_scaled() {
        let (number, format) = PayloadMap::parse_assignment("0=opus/8000").unwrap();
        assert_eq!((number, format.scale(), format.rate()), (0, 6, Rate::HZ_48000));
        assert_eq!("opus/48000/1".parse::<PayloadFormat>().unwrap().channels, Channels::MONO);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "96",
            "128=opus/48000",
            "x=opus/48000",
            "96=opus",
            "96=opus/0",
            "96=opus/44100",
            "96=l16/8000/0",
            "96=a/1/1/1",
            "96=/8000",
            "96=opus/48000/3",
        ] {
            assert!(PayloadMap::parse_assignment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trailing_part_of_a_sample_is_not_counted() {
        let l16: PayloadFormat = "L16/44100/2".parse().unwrap();
        assert_eq!(l16.measure(&[0; 11]), Some((2, 8)));
        assert_eq!(l16.measure(&[0; 3]), None);
    }
}
