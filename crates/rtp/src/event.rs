//! Telephone events (RFC 4733) and comfort noise (RFC 3389): packets of an audio stream that carry no audio.

use vox_frame::{Event, MediaTime, Rate, StreamId, Times};

/// Bytes of an event's payload.
const EVENT_BYTES: usize = 4;

/// The name of a telephone event in the pipe.
pub const TELEPHONE_EVENT: &str = "telephone-event";

/// The payload of a telephone event (RFC 4733, section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// 0 to 9 are the digits, 10 is `*`, 11 is `#`, 12 to 15 are A to D; others are flashes and tones.
    pub code: u8,
    /// Whether this is the last that is said of it.
    pub end: bool,
    /// Power of the tone below full scale, in dB, 0 to 63.
    pub volume: u8,
    /// How long it has lasted, in ticks.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload; bytes beyond the first event are ignored.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[code, flags, high, low] = payload.first_chunk::<EVENT_BYTES>()?;
        Some(Self { code, end: flags & 0x80 != 0, volume: flags & 0x3f, duration: u16::from_be_bytes([high, low]) })
    }

    /// The payload.
    pub const fn to_bytes(self) -> [u8; EVENT_BYTES] {
        let duration = self.duration.to_be_bytes();
        [self.code, (self.end as u8) << 7 | self.volume & 0x3f, duration[0], duration[1]]
    }
}

/// The key of a telephone: `5`, `#`, or the number of an event that has no key.
pub fn key_of(code: u8) -> String {
    match code {
        0..=9 => char::from(b'0' + code).to_string(),
        10 => "*".to_owned(),
        11 => "#".to_owned(),
        12..=15 => char::from(b'A' + code - 12).to_string(),
        code => code.to_string(),
    }
}

/// The number of a key, as [`key_of`] names it.
pub fn code_of(key: &str) -> Option<u8> {
    (0..=u8::MAX).find(|&code| key_of(code).eq_ignore_ascii_case(key))
}

/// The record of a telephone event that has lasted `ms`.
pub(crate) fn record(id: StreamId, timestamp: MediaTime, times: Times, event: TelephoneEvent, clock: Rate) -> Event {
    let mut details = serde_json::Map::new();
    details.insert("key".to_owned(), key_of(event.code).into());
    details.insert("duration_ms".to_owned(), (clock.ns(u64::from(event.duration)) / 1_000_000).into());
    details.insert("volume".to_owned(), event.volume.into());
    Event { id, timestamp, times, event: TELEPHONE_EVENT.to_owned(), details }
}

/// Which events of a stream were told: each is sent many times over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    /// Timestamp and code of the event told last.
    told: Option<(u32, u8)>,
    /// An event that has begun and whose end was not heard.
    open: Option<(u32, TelephoneEvent)>,
}

impl Heard {
    /// Takes a payload; gives the events that are complete with it, each with its timestamp. An event whose end was
    /// lost is complete when another begins.
    pub(crate) fn handle(&mut self, timestamp: u32, event: TelephoneEvent) -> [Option<(u32, TelephoneEvent)>; 2] {
        if self.told == Some((timestamp, event.code)) {
            return [None, None];
        }
        let before = self.open.take_if(|(open, _)| *open != timestamp);
        if !event.end {
            let longest = self.open.map_or(0, |(_, open)| open.duration);
            self.open = Some((timestamp, TelephoneEvent { duration: event.duration.max(longest), ..event }));
            return [before, None];
        }
        self.open = None;
        self.told = Some((timestamp, event.code));
        [before, Some((timestamp, event))]
    }

    /// The event whose end was not heard, when the stream goes on without it.
    pub(crate) fn finish(&mut self) -> Option<(u32, TelephoneEvent)> {
        let (timestamp, event) = self.open.take()?;
        self.told = Some((timestamp, event.code));
        Some((timestamp, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn event(code: u8, duration: u16, end: bool) -> TelephoneEvent {
        TelephoneEvent { code, end, volume: 10, duration }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let event = event(11, 1600, true);
        assert_eq!(event.to_bytes(), [11, 0x8a, 0x06, 0x40]);
        assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), None);
    }

    #[test]
    fn keys_have_the_names_of_a_telephone() {
        for (code, key) in [(0, "0"), (9, "9"), (10, "*"), (11, "#"), (12, "A"), (15, "D"), (16, "16")] {
            assert_eq!((key_of(code).as_str(), code_of(key)), (key, Some(code)));
        }
        assert_eq!((code_of("a"), code_of("x")), (Some(12), None));
    }

    #[test]
    fn an_event_is_told_once_at_its_end() {
        let mut heard = Heard::default();
        assert_eq!(heard.handle(100, event(5, 160, false)), [None, None]);
        assert_eq!(heard.handle(100, event(5, 320, false)), [None, None]);
        assert_eq!(heard.handle(100, event(5, 480, true)), [None, Some((100, event(5, 480, true)))]);
        for _ in 0..2 {
            assert_eq!(heard.handle(100, event(5, 480, true)), [None, None], "the end is sent three times");
        }
    }

    #[test]
    fn an_event_whose_end_was_lost_is_told_when_the_next_begins() {
        let mut heard = Heard::default();
        heard.handle(100, event(5, 160, false));
        assert_eq!(heard.handle(900, event(6, 160, false)), [Some((100, event(5, 160, false))), None]);
        assert_eq!(heard.finish(), Some((900, event(6, 160, false))));
        assert_eq!(heard.finish(), None);
    }
}
