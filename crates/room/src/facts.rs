//! What is said of a stream on a line: `pt=96 format=opus/48000/2 channels=1 frame=960 preskip=312 label=Lecture`.

use core::fmt;

use vox_frame::{Channels, Codec, Format};
use vox_rtp::{PayloadFormat, PayloadMap, static_format};

use crate::StreamFacts;

/// The longest label, in characters.
const MAX_LABEL: usize = 64;

impl StreamFacts {
    /// Reads them; the order does not matter, but a label is the rest of the line.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, label) = match text.split_once("label=") {
            Some((before, label)) => (before, Some(label)),
            None => (text, None),
        };
        let (mut payload_type, mut format, mut channels, mut frame, mut pre_skip) = (None, None, None, 0, 0);
        for word in text.split_whitespace() {
            match word.split_once('=')? {
                ("pt", number) => payload_type = Some(number.parse().ok().filter(|&number: &u8| number < 128)?),
                ("format", name) => format = Some(name.parse::<PayloadFormat>().ok()?),
                ("channels", count) => channels = Some(count.parse().ok().filter(|&count: &u8| count > 0)?),
                ("frame", ticks) => frame = ticks.parse().ok()?,
                ("preskip", ticks) => pre_skip = ticks.parse().ok()?,
                // A newer client says more than this server knows.
                _ => {}
            }
        }
        let payload_type = payload_type?;
        let format = format.or_else(|| standard(payload_type))?;
        let channels = channels.unwrap_or_else(|| format.channels.count() as u8);
        let label = label.map(|label| {
            let kept: String = label.trim().chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect();
            kept
        });
        Some(Self { payload_type, format, channels, frame, pre_skip, label: label.filter(|label| !label.is_empty()) })
    }

    /// What a payload type means that nobody has announced: the static ones, and 96 for Opus.
    pub fn unannounced(payload_type: u8) -> Option<Self> {
        let format = standard(payload_type)?;
        let channels = format.channels.count() as u8;
        Some(Self { payload_type, format, channels, frame: 0, pre_skip: 0, label: None })
    }

    /// Of a stream that is sent as `carried`.
    pub fn of_format(format: &Format, payload_type: u8, carried: PayloadFormat) -> Self {
        Self {
            payload_type,
            format: carried,
            channels: format.channels.count() as u8,
            frame: format.frame,
            pre_skip: format.pre_skip,
            label: format.label.clone(),
        }
    }

    /// The stream as records announce it; it is paced by the room.
    pub fn to_format(&self) -> Format {
        let channels = Channels::new(self.channels).unwrap_or(self.format.channels);
        // What is coded sample by sample has the channels that its format says.
        let channels = if self.format.codec == Codec::Opus { channels } else { self.format.channels };
        let mut format = Format::new(self.format.codec.clone(), self.format.rate(), channels, self.frame);
        format.pre_skip = self.pre_skip;
        format.live = true;
        format.label.clone_from(&self.label);
        format
    }
}

fn standard(payload_type: u8) -> Option<PayloadFormat> {
    static_format(payload_type).or_else(|| PayloadMap::standard().get(payload_type).cloned())
}

impl fmt::Display for StreamFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pt={} format={} channels={}", self.payload_type, self.format, self.channels)?;
        write!(f, " frame={} preskip={}", self.frame, self.pre_skip)?;
        self.label.as_ref().map_or(Ok(()), |label| write!(f, " label={label}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let line = "pt=97 format=L16/48000/2 channels=2 frame=960 preskip=0 label=a lecture, at home";
        let facts = StreamFacts::parse(line).unwrap();
        assert_eq!(facts.to_string(), line);
        assert_eq!(facts.to_format().label.as_deref(), Some("a lecture, at home"));
        assert_eq!(StreamFacts::parse("pt=0").unwrap(), StreamFacts::unannounced(0).unwrap());
    }

    #[test]
    fn nonsense_is_none() {
        for text in ["", "pt=", "pt=128 format=opus/48000/2", "pt=97", "pt=0 channels=0", "pt", "pt=1 format=x/0"] {
            assert_eq!(StreamFacts::parse(text), None, "{text}");
        }
    }
}
