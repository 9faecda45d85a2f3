//! What is mixed and recorded: what somebody asks for, and orders for who does it.

use core::fmt;
use std::collections::BTreeSet;
use std::sync::Arc;

use vox_frame::{Channels, Codec, Rate, Stamp};
use vox_rtp::{PayloadFormat, PayloadMap};

use crate::StreamFacts;

/// The rates at which somebody may be sent PCM, in Hz.
const RATES: core::ops::RangeInclusive<u32> = 4_000..=96_000;

/// The payload type of what has no number of its own.
const DYNAMIC: u8 = 97;

/// libopus's delay, in ticks of 48 kHz: 6.5 ms.
const OPUS_DELAY: u32 = 312;

/// One stream of everybody else instead of a stream for each, and how it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixWish {
    /// Opus at 48 kHz, PCMU, PCMA or L16.
    pub format: PayloadFormat,
    /// Channels, one or two, which Opus does not tell by its format.
    pub channels: u8,
}

impl Default for MixWish {
    fn default() -> Self {
        Self { format: PayloadFormat::new(Codec::Opus, Rate::HZ_48000, Channels::STEREO), channels: 1 }
    }
}

impl MixWish {
    /// That format, with so many channels where it does not tell. None where no mix is made so.
    pub fn new(format: PayloadFormat, channels: Option<u8>) -> Option<Self> {
        let hz = format.clock.hz();
        let channels = match format.codec {
            Codec::Opus if hz == 48_000 => channels.unwrap_or(1),
            Codec::Pcmu | Codec::Pcma | Codec::L16 if RATES.contains(&hz) => format.channels.count() as u8,
            _ => return None,
        };
        (1..=2).contains(&channels).then_some(Self { format, channels })
    }

    /// The stream, as it is announced.
    pub fn facts(&self) -> StreamFacts {
        let is_opus = self.format.codec == Codec::Opus;
        let number = if is_opus { PayloadMap::OPUS } else { self.format.static_type().unwrap_or(DYNAMIC) };
        StreamFacts {
            payload_type: number,
            format: self.format.clone(),
            channels: self.channels,
            frame: self.format.clock.hz() / 50,
            pre_skip: if is_opus { OPUS_DELAY } else { 0 },
            label: None,
        }
    }
}

impl MixWish {
    /// The wish of a VOICE line, behind the carrier: `mix`, `mix=pcmu`, `mix=L16/16000`, `mix=opus channels=2`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of_words(text.split_whitespace()).flatten()
    }

    /// The same, where there may be none.
    pub(crate) fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Option<Option<Self>> {
        let (mut format, mut wanted, mut channels) = (None, false, None);
        for word in words {
            match word.split_once('=') {
                None if word.eq_ignore_ascii_case("mix") => wanted = true,
                Some(("mix", text)) => {
                    wanted = true;
                    format = Some(if text.contains('/') { text.parse().ok()? } else { Self::named(text)? });
                }
                Some(("channels", count)) => channels = Some(count.parse().ok()?),
                _ => return None,
            }
        }
        if !wanted {
            return channels.is_none().then_some(None);
        }
        Self::new(format.unwrap_or_else(|| Self::default().format), channels).map(Some)
    }

    /// The usual form of a codec.
    fn named(codec: &str) -> Option<PayloadFormat> {
        let text = match codec.to_ascii_lowercase().as_str() {
            "opus" => "opus/48000/2",
            "pcmu" => "PCMU/8000",
            "pcma" => "PCMA/8000",
            "l16" => "L16/48000",
            _ => return None,
        };
        text.parse().ok()
    }
}

impl fmt::Display for MixWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mix={} channels={}", self.format, self.channels)
    }
}

/// Who hears a stream of those who get a mix, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hearers {
    /// Everybody but its owner.
    All,
    /// Everybody but its owner and these.
    AllBut(Arc<BTreeSet<u64>>),
    /// Nobody.
    Nobody,
}

/// What is to be done with the streams of a place that is mixed or recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskOrder {
    /// The streams of a place are wanted. Numbers of places are not used twice.
    Open {
        /// The place.
        desk: u64,
        /// Its name for people.
        place: String,
    },
    /// A stream of that place, or what it is from now on.
    Stream {
        /// The place.
        desk: u64,
        /// The stream.
        ssrc: u32,
        /// Whose it is, by number and by name.
        owner: u64,
        /// His nickname.
        nick: String,
        /// What it is.
        facts: StreamFacts,
    },
    /// Who hears it from now on; all unless that was told.
    Hearers {
        /// The place.
        desk: u64,
        /// The stream.
        ssrc: u32,
        /// Who.
        hearers: Hearers,
    },
    /// A packet of it.
    Packet {
        /// The place.
        desk: u64,
        /// The stream.
        ssrc: u32,
        /// When it came.
        arrived: Stamp,
        /// RTP, whole.
        bytes: Vec<u8>,
    },
    /// It has ended.
    End {
        /// The place.
        desk: u64,
        /// The stream.
        ssrc: u32,
        /// The RTP timestamp at which it ends, where that is known.
        rtp: Option<u32>,
        /// Why.
        reason: String,
    },
    /// Somebody gets a mix from now on: what is made goes to [`Hall::handle_mixed`](crate::Hall::handle_mixed).
    Listen {
        /// The place.
        desk: u64,
        /// Who.
        who: u64,
        /// How.
        wish: MixWish,
    },
    /// Somebody gets none any more.
    Leave {
        /// The place.
        desk: u64,
        /// Who.
        who: u64,
    },
    /// The place is recorded from now on, or (false) no longer.
    Record {
        /// The place.
        desk: u64,
        /// Whether it is.
        on: bool,
    },
    /// Nothing of the place is wanted any more.
    Close {
        /// The place.
        desk: u64,
    },
}

/// When the server records a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Records {
    /// Never.
    #[default]
    Never,
    /// While somebody in it asks for it (RECORD on).
    Asked,
    /// While somebody has his voice there.
    Always,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_asked_for_in_any_format_that_one_is_made_in() {
        let wish = |text: &str, channels| MixWish::new(text.parse().unwrap(), channels);
        assert_eq!(
            MixWish::default().facts().to_string(),
            "pt=96 format=opus/48000/2 channels=1 frame=960 preskip=312"
        );
        let phone = wish("PCMU/8000", None).unwrap().facts();
        assert_eq!(phone.to_string(), "pt=0 format=PCMU/8000 channels=1 frame=160 preskip=0");
        assert_eq!(wish("L16/22050", Some(2)).unwrap().facts().payload_type, 97);
        assert_eq!(wish("L16/48000/2", None).unwrap().channels, 2);
        for (text, channels) in
            [("opus/16000/2", None), ("L16/48000/6", None), ("L16/200000", None), ("opus/48000/2", Some(3))]
        {
            assert_eq!(wish(text, channels), None, "{text}");
        }
    }
}
