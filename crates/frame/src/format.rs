//! What an audio stream is: codec, clock rate, channels and where it came from.

use core::fmt;
use core::num::NonZeroU8;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{MAX_JSON, Rate};

/// How the payload of a stream's `Audio` records is coded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Linear PCM, 16-bit signed little endian, channels interleaved.
    PcmS16,
    /// Linear PCM, 32-bit float little endian, full scale ±1.0, channels interleaved.
    PcmF32,
    /// G.711 mu-law, one byte a sample, channels interleaved.
    Pcmu,
    /// G.711 A-law, one byte a sample, channels interleaved.
    Pcma,
    /// Linear PCM as RTP carries it: 16-bit signed big endian, channels interleaved (RFC 3551, section 4.5.11).
    L16,
    /// Opus packets (RFC 6716); the clock rate is always 48000 Hz.
    Opus,
    /// A codec that this version has no name for: passed on untouched.
    Other(String),
}

impl Codec {
    /// The name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::PcmS16 => "pcm_s16le",
            Self::PcmF32 => "pcm_f32le",
            Self::Pcmu => "pcmu",
            Self::Pcma => "pcma",
            Self::L16 => "l16",
            Self::Opus => "opus",
            Self::Other(name) => name,
        }
    }

    /// The codec of that name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "pcm_s16le" => Self::PcmS16,
            "pcm_f32le" => Self::PcmF32,
            "pcmu" => Self::Pcmu,
            "pcma" => Self::Pcma,
            "l16" => Self::L16,
            "opus" => Self::Opus,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Bytes of one sample of one channel, for codecs in which every sample has the same size.
    pub const fn sample_bytes(&self) -> Option<usize> {
        match self {
            Self::PcmS16 | Self::L16 => Some(2),
            Self::PcmF32 => Some(4),
            Self::Pcmu | Self::Pcma => Some(1),
            Self::Opus | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number of channels, 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channels(NonZeroU8);

impl Channels {
    /// One channel.
    pub const MONO: Self = Self(NonZeroU8::MIN);
    /// Two channels: left, right.
    pub const STEREO: Self = Self(NonZeroU8::new(2).expect("not zero"));

    /// That many channels, or none for zero.
    pub const fn new(count: u8) -> Option<Self> {
        match NonZeroU8::new(count) {
            Some(count) => Some(Self(count)),
            None => None,
        }
    }

    /// How many.
    pub const fn count(self) -> usize {
        self.0.get() as usize
    }
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => f.write_str("mono"),
            2 => f.write_str("stereo"),
            n => write!(f, "{n} channels"),
        }
    }
}

/// Where a stream that came from RTP came from. A relay sends it on with these facts unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpOrigin {
    /// Synchronisation source (RFC 3550).
    pub ssrc: u32,
    /// Payload type it arrived with.
    pub payload_type: u8,
    /// The sender's address and port, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The announcement of an audio stream: everything a stage needs to know before its first audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// How the payload is coded.
    pub codec: Codec,
    /// Ticks of media time a second. For PCM codecs this is the sampling rate.
    pub rate: Rate,
    /// Channels of the audio.
    pub channels: Channels,
    /// Nominal duration of an `Audio` record, in ticks: a hint (PCM records may be shorter or longer), 0 if unknown.
    pub frame: u32,
    /// Encoder delay (Opus pre-skip), in ticks: the decoder's first samples that stand before the media time of the
    /// first record.
    pub pre_skip: u32,
    /// Whether the stream is paced by the world (a device, a socket, a room): it is never to be paced again.
    pub live: bool,
    /// A name for people.
    pub label: Option<String>,
    /// Facts of the RTP stream that this one came from.
    pub rtp: Option<RtpOrigin>,
    /// Fields that this version does not know: kept and passed on.
    pub other: Map<String, Value>,
}

impl Format {
    /// A format with no label, no RTP facts, no encoder delay, not live.
    pub fn new(codec: Codec, rate: Rate, channels: Channels, frame: u32) -> Self {
        Self { codec, rate, channels, frame, pre_skip: 0, live: false, label: None, rtp: None, other: Map::new() }
    }

    /// Bytes of one tick of all channels, for codecs in which a tick is a sample of fixed size.
    pub fn tick_bytes(&self) -> Option<usize> {
        self.codec.sample_bytes().map(|bytes| bytes * self.channels.count())
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut wire = WireFormat {
            codec: self.codec.name().to_owned(),
            rate: self.rate.hz(),
            channels: self.channels.count() as u8,
            frame: self.frame,
            pre_skip: self.pre_skip,
            live: self.live,
            label: self.label.clone(),
            rtp: self.rtp.clone(),
            other: self.other.clone(),
        };
        let mut bytes = serde_json::to_vec(&wire).unwrap_or_default();
        if bytes.len() > MAX_JSON {
            // What people named or others added gives way, never what the audio needs.
            wire.other = Map::new();
            wire.label = wire.label.map(|label| label.chars().take(200).collect());
            bytes = serde_json::to_vec(&wire).unwrap_or_default();
        }
        bytes
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let wire: WireFormat = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let codec = Codec::from_name(&wire.codec);
        let rate = Rate::new(wire.rate).ok_or("a rate of zero")?;
        if codec == Codec::Opus && rate != Rate::HZ_48000 {
            return Err(format!("opus at {rate}, its clock is always 48000 Hz"));
        }
        if rate.hz() > MAX_RATE {
            return Err(format!("a rate of {rate} (the limit is {MAX_RATE})"));
        }
        let channels = Channels::new(wire.channels).ok_or("no channels")?;
        Ok(Self {
            codec,
            rate,
            channels,
            frame: wire.frame,
            pre_skip: wire.pre_skip,
            live: wire.live,
            label: wire.label,
            rtp: wire.rtp,
            other: wire.other,
        })
    }
}

/// The highest clock rate that a reader accepts, in Hz: four times the highest that devices and files use, so that a
/// hostile format cannot ask for seconds of audio in a few ticks.
const MAX_RATE: u32 = 768_000;

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.codec, self.rate, self.channels)
    }
}

#[derive(Serialize, Deserialize)]
struct WireFormat {
    codec: String,
    rate: u32,
    channels: u8,
    #[serde(default)]
    frame: u32,
    #[serde(default)]
    pre_skip: u32,
    #[serde(default)]
    live: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rtp: Option<RtpOrigin>,
    #[serde(flatten)]
    other: Map<String, Value>,
}
