//! The records of a stream, as borrowed views: payloads stay in the reader's buffer.

use core::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{FIXED_LEN, Format, MediaTime, SequenceNumber, Stamp};

/// The id of an audio stream within a pipe: random, drawn by the stage that creates the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Announces a stream.
    Format,
    /// Carries audio.
    Audio,
    /// Says that audio is missing.
    Gap,
    /// Tells a fact.
    Event,
    /// Ends a stream.
    End,
    /// A kind that this version does not know (an ASCII letter): passed on untouched.
    Unknown(u8),
}

impl Kind {
    pub(crate) const fn of(byte: u8) -> Self {
        match byte {
            b'F' => Self::Format,
            b'A' => Self::Audio,
            b'G' => Self::Gap,
            b'E' => Self::Event,
            b'Z' => Self::End,
            other => Self::Unknown(other),
        }
    }
}

/// The optional times of a record, each on the stream's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// When the first sample was captured at the source.
    pub captured: Option<Stamp>,
    /// When the kernel received the packet.
    pub arrived: Option<Stamp>,
    /// When the jitter buffer releases the record, on the playout timeline.
    pub due: Option<Stamp>,
}

/// A span of audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audio<'a> {
    /// The stream.
    pub id: StreamId,
    /// Counts the stream's packets; where it came from RTP, the low 16 bits are the RTP sequence number.
    pub sequence: SequenceNumber,
    /// Media time of the first sample, in ticks.
    pub timestamp: MediaTime,
    /// Media duration, in ticks.
    pub duration: u32,
    /// The RTP marker: first packet of a talk spurt (RFC 3551, section 4.1).
    pub marker: bool,
    /// Repaired by redundancy or error correction: its arrival says nothing about the network.
    pub recovered: bool,
    /// Uses a sequence number but carries no audio (RTP padding only).
    pub padding: bool,
    /// Captured, arrived, due.
    pub times: Times,
    /// How long the record must fill from `due`, in nanoseconds, where that is not its media duration.
    pub slot: Option<u32>,
    /// Typed extensions, as bytes on the wire; see [`Extensions`].
    pub extensions: &'a [u8],
    /// The coded audio.
    pub payload: &'a [u8],
}

/// The RTP payload type of comfort noise (RFC 3551, table 4).
const COMFORT_NOISE: u8 = 13;

impl<'a> Audio<'a> {
    /// What a record without audio says of the noise of the silence that begins with it (RFC 3389, section 3: the level
    /// in -dBov, then reflection coefficients); none where it says nothing of it.
    pub fn comfort_noise(&self) -> Option<&'a [u8]> {
        let extensions = if self.padding { self.extensions } else { &[] };
        Extensions::new(extensions).find_map(|extension| match extension {
            Extension::RtpPayload { payload_type: COMFORT_NOISE, payload } if !payload.is_empty() => Some(payload),
            _ => None,
        })
    }
}

/// Why audio is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GapReason {
    /// The network lost it.
    Lost,
    /// It came after its time.
    Late,
    /// A stage or a device could not keep up.
    Overrun,
    /// Muted by somebody.
    Muted,
    /// The source sent nothing because there was nothing to hear (DTX).
    Silent,
    /// A reason that this version has no name for.
    Other(u8),
}

impl GapReason {
    pub(crate) const fn from_wire(byte: u8) -> Self {
        match byte {
            1 => Self::Lost,
            2 => Self::Late,
            3 => Self::Overrun,
            4 => Self::Muted,
            5 => Self::Silent,
            other => Self::Other(other),
        }
    }

    pub(crate) const fn to_wire(self) -> u8 {
        match self {
            Self::Lost => 1,
            Self::Late => 2,
            Self::Overrun => 3,
            Self::Muted => 4,
            Self::Silent => 5,
            Self::Other(byte) => byte,
        }
    }

    /// One word for people and scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Overrun => "overrun",
            Self::Muted => "muted",
            Self::Silent => "silent",
            Self::Other(_) => "other",
        }
    }

    /// Whether there was nothing to hear: such a gap is filled with silence, not concealed.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Muted | Self::Silent)
    }
}

/// A packet from behind a gap that has already arrived: a decoder uses its in-band redundancy (Opus FEC, DRED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaterPacket<'a> {
    /// Ticks from the beginning of the gap to the beginning of this packet.
    pub ahead: u32,
    /// The packet's payload.
    pub payload: &'a [u8],
}

/// A span of audio that is missing, with its exact duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap<'a> {
    /// The stream.
    pub id: StreamId,
    /// Sequence number of the first packet missing.
    pub sequence: SequenceNumber,
    /// Media time at which the gap begins, in ticks.
    pub timestamp: MediaTime,
    /// Media duration, in ticks; 0 with a slot inserts time.
    pub duration: u64,
    /// How many packets are missing; 0 where none was sent.
    pub packets: u32,
    /// Why.
    pub reason: GapReason,
    /// Captured, arrived, due.
    pub times: Times,
    /// How long the gap must fill from `due`, in nanoseconds, where that is not its media duration.
    pub slot: Option<u64>,
    /// A packet from behind the gap.
    pub later: Option<LaterPacket<'a>>,
}

/// A small structured fact about a stream: talk start, joined, muted, message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The stream, or 0 for the pipe as a whole.
    pub id: StreamId,
    /// Media time of the fact, in ticks.
    pub timestamp: MediaTime,
    /// Captured, arrived, due.
    pub times: Times,
    /// What happened, such as `talk-start`, `talk-stop`, `joined`, `left`, `muted`, `message`.
    pub event: String,
    /// Its details.
    pub details: Map<String, Value>,
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The source has no more.
    Complete,
    /// Somebody stopped it (SIGINT, SIGTERM).
    Stopped,
    /// The input broke off without an `End`.
    Interrupted,
    /// The sender said goodbye (RTCP BYE).
    Bye,
    /// Nothing was heard for too long.
    Timeout,
    /// A reason that this version has no name for.
    #[serde(untagged)]
    Other(String),
}

impl EndReason {
    /// One word for people and scripts.
    pub fn name(&self) -> &str {
        match self {
            Self::Complete => "complete",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Bye => "bye",
            Self::Timeout => "timeout",
            Self::Other(other) => other,
        }
    }
}

/// The end of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The stream.
    pub id: StreamId,
    /// Media time at which the stream really ends, in ticks: a last packet may reach beyond it with padding.
    pub timestamp: MediaTime,
    /// Captured, arrived, due.
    pub times: Times,
    /// Why.
    pub reason: EndReason,
}

/// Any record, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// Announces the stream of that id. For an id that is announced, ends that stream and begins a new one.
    Format(StreamId, Format),
    /// Carries audio.
    Audio(Audio<'a>),
    /// Says that audio is missing.
    Gap(Gap<'a>),
    /// Tells a fact.
    Event(Event),
    /// Ends a stream.
    End(End),
    /// A kind that this version does not know: pass it on untouched.
    Unknown(Raw<'a>),
}

/// A whole record as bytes, its header checked, its fields not yet looked at: for passing on untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) head: usize,
    pub(crate) offset: u64,
}

impl<'a> Raw<'a> {
    /// The record's bytes, header included.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Offset of the record in its stream, in bytes.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream that the record belongs to.
    pub fn id(&self) -> StreamId {
        let mut id = [0; 4];
        id.copy_from_slice(&self.bytes[8..12]);
        StreamId(u32::from_le_bytes(id))
    }

    /// The kind of record.
    pub fn kind(&self) -> Kind {
        Kind::of(self.bytes[0])
    }

    pub(crate) fn head(&self) -> &'a [u8] {
        &self.bytes[FIXED_LEN..FIXED_LEN + self.head]
    }

    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.bytes[FIXED_LEN + self.head..]
    }
}

/// A typed extension of an `Audio` record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extension<'a> {
    /// Level of the audio: voice activity, and the level in -dBov, 0 to 127 (RFC 6464).
    AudioLevel {
        /// Whether the encoder thinks that it is speech.
        voice: bool,
        /// 0 is full scale, 127 is digital silence.
        level: u8,
    },
    /// Contributing sources (RFC 3550), 4 bytes each, big endian as in RTP.
    ContributingSources(&'a [u8]),
    /// What an RTP packet without audio carried, such as a telephone event or comfort noise: a relay sends it on.
    RtpPayload {
        /// Its payload type.
        payload_type: u8,
        /// The payload.
        payload: &'a [u8],
    },
    /// An extension that this version does not know.
    Unknown(u8, &'a [u8]),
}

/// The longest payload of an [`Extension::RtpPayload`], in bytes.
pub const MAX_RTP_PAYLOAD: usize = 254;

impl Extension<'_> {
    /// Appends the extension in its wire form: a type byte, a length byte, the value.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::AudioLevel { voice, level } => {
                out.extend_from_slice(&[1, 1, u8::from(voice) << 7 | level.min(127)]);
            }
            Self::ContributingSources(list) => push_tlv(out, 2, list),
            Self::RtpPayload { payload_type, payload } => {
                let payload = &payload[..payload.len().min(MAX_RTP_PAYLOAD)];
                out.extend_from_slice(&[3, payload.len() as u8 + 1, payload_type & 0x7f]);
                out.extend_from_slice(payload);
            }
            Self::Unknown(kind, value) => push_tlv(out, kind, value),
        }
    }
}

fn push_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = value.len().min(255);
    out.push(kind);
    out.push(length as u8);
    out.extend_from_slice(&value[..length]);
}

/// Walks the extensions of an `Audio` record; stops at the first that does not fit its bytes.
#[derive(Debug, Clone)]
pub struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    /// The extensions in `bytes` ([`Audio::extensions`]).
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        let (&[kind, length], rest) = self.0.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(match (kind, value) {
            (1, &[byte]) => Extension::AudioLevel { voice: byte & 0x80 != 0, level: byte & 0x7f },
            (2, list) if list.len().is_multiple_of(4) => Extension::ContributingSources(list),
            (3, [payload_type, payload @ ..]) => Extension::RtpPayload { payload_type: payload_type & 0x7f, payload },
            (kind, value) => Extension::Unknown(kind, value),
        })
    }
}
