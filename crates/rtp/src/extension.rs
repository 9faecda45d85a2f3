//! Header extensions (RFC 8285): audio level (RFC 6464) and the absolute time of capture.

use vox_frame::Stamp;

use crate::heard::believed;
use crate::ntp::NtpTime;

/// The profile of one-byte elements (RFC 8285, section 4.2).
const ONE_BYTE: u16 = 0xbede;
/// The profile of two-byte elements; the low four bits are free (RFC 8285, section 4.3).
const TWO_BYTE: u16 = 0x1000;
/// The highest id of a one-byte element; 15 ends the list.
const MAX_ID: u8 = 14;

/// A header extension that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderExtension {
    /// Level of the audio in the packet, from client to mixer (RFC 6464).
    AudioLevel,
    /// When the first sample was captured, on the sender's clock (WebRTC's `abs-capture-time`).
    CaptureTime,
}

impl HeaderExtension {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::AudioLevel, Self::CaptureTime];

    /// The URI that session descriptions name it by.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::CaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
        }
    }

    /// A short name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AudioLevel => "audio-level",
            Self::CaptureTime => "capture-time",
        }
    }
}

/// Which ids mean which header extension. Without it none is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionMap {
    ids: [Option<u8>; 2],
}

impl ExtensionMap {
    /// Gives an extension the id by which packets name it, 1 to 14; others are ignored.
    pub fn insert(&mut self, id: u8, extension: HeaderExtension) {
        if (1..=MAX_ID).contains(&id) {
            self.ids[extension as usize] = Some(id);
        }
    }

    /// The id of an extension.
    pub const fn id(&self, extension: HeaderExtension) -> Option<u8> {
        self.ids[extension as usize]
    }

    /// Every extension that has an id.
    pub fn iter(&self) -> impl Iterator<Item = (u8, HeaderExtension)> {
        HeaderExtension::ALL.into_iter().filter_map(|extension| Some((self.id(extension)?, extension)))
    }

    /// Reads `ID=NAME`, such as `1=audio-level`.
    ///
    /// # Errors
    /// Where it is not of that form, as a text that says what is.
    pub fn parse_assignment(text: &str) -> Result<(u8, HeaderExtension), String> {
        let wrong = || format!("{text:?} is not ID=NAME, such as 1=audio-level or 2=capture-time (IDs 1 to 14)");
        let (id, name) = text.split_once('=').ok_or_else(wrong)?;
        let id = id.trim().parse().ok().filter(|id| (1..=MAX_ID).contains(id)).ok_or_else(wrong)?;
        let extension = HeaderExtension::ALL.into_iter().find(|known| known.name() == name).ok_or_else(wrong)?;
        Ok((id, extension))
    }
}

/// What the header extensions of one packet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderFacts {
    /// Voice activity, and the level in -dBov, 0 to 127.
    pub level: Option<(bool, u8)>,
    /// When the first sample was captured.
    pub captured: Option<NtpTime>,
}

impl HeaderFacts {
    /// Reads the elements of a header extension that `map` knows. Elements that lie about their length end the list;
    /// what came before them counts.
    pub fn read(map: &ExtensionMap, profile: u16, bytes: &[u8]) -> Self {
        let mut facts = Self::default();
        for (id, value) in elements(profile, bytes) {
            if map.id(HeaderExtension::AudioLevel) == Some(id) {
                facts.level = value.first().map(|byte| (byte & 0x80 != 0, byte & 0x7f)).or(facts.level);
            } else if map.id(HeaderExtension::CaptureTime) == Some(id) {
                // 8 bytes of time; 8 more may tell the offset of a clock further up, which is not used.
                let time = value.first_chunk::<8>().map(|bytes| NtpTime(u64::from_be_bytes(*bytes)));
                facts.captured = time.or(facts.captured);
            }
        }
        facts
    }

    /// Writes what `map` has an id for, as one-byte elements, padded to whole words; empty where there is nothing.
    pub fn write(&self, map: &ExtensionMap, out: &mut Vec<u8>) {
        out.clear();
        if let (Some(id), Some((voice, level))) = (map.id(HeaderExtension::AudioLevel), self.level) {
            out.extend_from_slice(&[id << 4, u8::from(voice) << 7 | level.min(127)]);
        }
        if let (Some(id), Some(time)) = (map.id(HeaderExtension::CaptureTime), self.captured) {
            out.push(id << 4 | 7);
            out.extend_from_slice(&time.0.to_be_bytes());
        }
        out.resize(out.len().next_multiple_of(4), 0);
    }

    /// When the first sample was captured, of a packet that arrived at `arrived`; none where that is more than a minute
    /// before or a second behind, as then the clocks of the two hosts cannot be compared.
    pub fn captured(&self, arrived: Stamp) -> Option<Stamp> {
        self.captured.and_then(|time| believed(time.stamp(arrived), arrived))
    }
}

/// The profile under which [`HeaderFacts::write`] writes.
pub(crate) const PROFILE: u16 = ONE_BYTE;

fn elements(profile: u16, bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        loop {
            let (&first, after) = rest.split_first()?;
            if first == 0 {
                // Padding between elements.
                rest = after;
                continue;
            }
            let (id, length, after) = if profile == ONE_BYTE {
                (first >> 4, usize::from(first & 0xf) + 1, after)
            } else if profile & 0xfff0 == TWO_BYTE {
                let (&length, after) = after.split_first()?;
                (first, usize::from(length), after)
            } else {
                return None;
            };
            if profile == ONE_BYTE && id > MAX_ID {
                return None;
            }
            let (value, after) = after.split_at_checked(length)?;
            rest = after;
            return Some((id, value));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> ExtensionMap {
        let mut map = ExtensionMap::default();
        map.insert(1, HeaderExtension::AudioLevel);
        map.insert(3, HeaderExtension::CaptureTime);
        map
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let facts = HeaderFacts { level: Some((true, 42)), captured: Some(NtpTime(0x0102_0304_0506_0708)) };
        let mut bytes = Vec::new();
        facts.write(&map(), &mut bytes);
        assert_eq!(bytes, [0x10, 0x80 | 42, 0x37, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
        assert_eq!(HeaderFacts::read(&map(), PROFILE, &bytes), facts);
    }

    #[test]
    fn two_byte_elements_are_read() {
        let bytes = [9, 0, 0, 1, 1, 0x85, 0, 0];
        assert_eq!(HeaderFacts::read(&map(), 0x1003, &bytes).level, Some((true, 5)));
    }

    #[test]
    fn elements_that_lie_about_their_length_end_the_list() {
        for bytes in [&[0x10, 5, 0x3f, 1][..], &[0x10, 5, 0xf0, 9], &[0x10, 5, 0x30]] {
            let facts = HeaderFacts::read(&map(), PROFILE, bytes);
            assert_eq!(facts, HeaderFacts { level: Some((false, 5)), captured: None }, "{bytes:?}");
        }
        assert_eq!(HeaderFacts::read(&map(), 0x1000, &[1]), HeaderFacts::default());
        assert_eq!(HeaderFacts::read(&map(), 0x4242, &[0x10, 5, 0, 0]), HeaderFacts::default());
    }

    #[test]
    fn without_a_map_nothing_is_read_or_written() {
        let none = ExtensionMap::default();
        let mut bytes = vec![1];
        HeaderFacts { level: Some((true, 1)), captured: None }.write(&none, &mut bytes);
        assert_eq!(bytes, [0; 0]);
        assert_eq!(HeaderFacts::read(&none, PROFILE, &[0x10, 5, 0, 0]), HeaderFacts::default());
    }

    #[test]
    fn a_time_of_capture_of_another_clock_is_not_believed() {
        let arrived = Stamp::from_ns(1_700_000_000_000_000_000);
        let told = |seconds: i64| {
            let captured = arrived.plus(-seconds * 1_000_000_000);
            HeaderFacts { level: None, captured: Some(NtpTime::of(captured)) }.captured(arrived)
        };
        assert!(told(0).is_some() && told(59).is_some());
        for seconds in [-10_800, -2, 61, 1_800, 10_800, 1_576_800_000] {
            assert_eq!(told(seconds), None, "{seconds} s before it arrived");
        }
    }

    #[test]
    fn assignments_are_ids_and_names() {
        assert_eq!(ExtensionMap::parse_assignment("1=audio-level"), Ok((1, HeaderExtension::AudioLevel)));
        for text in ["0=audio-level", "15=audio-level", "1=level", "audio-level"] {
            assert!(ExtensionMap::parse_assignment(text).is_err(), "{text}");
        }
    }
}
