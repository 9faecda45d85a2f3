//! Keys that are pressed on the way out (RFC 4733): which packets say so.

use std::collections::VecDeque;

use vox_frame::{Event, Rate};

use crate::event::{TELEPHONE_EVENT, TelephoneEvent, code_of};

/// Keys that wait for those before them.
const MAX_WAITING: usize = 32;

/// How often the end of an event is said, as any packet may be lost (RFC 4733, section 2.5.1.4).
const ENDS: u32 = 3;

/// The longest event, in ticks: longer ones would need segments (RFC 4733, section 2.5.1.3).
const MAX_TICKS: u32 = u16::MAX as u32;

/// How long a key is pressed and how loud it is where the record does not say, in ms and dB below full scale.
const DEFAULT_MS: u64 = 100;
const DEFAULT_VOLUME: u8 = 10;

/// The payload type of events where nothing else is said: what most telephones use.
const PAYLOAD_TYPE: u8 = 101;

/// A packet of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tone {
    /// RTP timestamp at which the event began.
    pub(crate) timestamp: u32,
    /// The first packet of it.
    pub(crate) first: bool,
    pub(crate) event: TelephoneEvent,
}

/// The keys of a stream.
#[derive(Debug)]
pub(crate) struct Tones {
    payload_type: u8,
    waiting: VecDeque<(u8, u8, u32)>,
    /// When the first of them began, and how often its end was said.
    began: Option<(u32, u32)>,
}

impl Default for Tones {
    fn default() -> Self {
        Self { payload_type: PAYLOAD_TYPE, waiting: VecDeque::new(), began: None }
    }
}

impl Tones {
    pub(crate) const fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Takes an event record; false where it is no key, or too many wait.
    pub(crate) fn press(&mut self, event: &Event, clock: Rate) -> bool {
        let code = event.details.get("key").and_then(|key| code_of(key.as_str()?));
        let (Some(code), true) = (code, event.event == TELEPHONE_EVENT && self.waiting.len() < MAX_WAITING) else {
            return false;
        };
        let number = |name, default| event.details.get(name).and_then(serde_json::Value::as_u64).unwrap_or(default);
        let volume = number("volume", DEFAULT_VOLUME.into()).min(63) as u8;
        let ms = number("duration_ms", DEFAULT_MS).min(60_000);
        let ticks = clock.ticks(ms as i64 * 1_000_000).clamp(1, MAX_TICKS.into()) as u32;
        self.waiting.push_back((code, volume, ticks));
        true
    }

    /// What the packet of `length` ticks at `timestamp` says in place of audio.
    pub(crate) fn next(&mut self, timestamp: u32, length: u32) -> Option<Tone> {
        let &(code, volume, ticks) = self.waiting.front()?;
        let first = self.began.is_none();
        let (began, ends) = self.began.get_or_insert((timestamp, 0));
        let lasted = timestamp.wrapping_sub(*began).saturating_add(length);
        let (began, end) = (*began, lasted >= ticks);
        *ends += u32::from(end);
        if *ends == ENDS {
            self.waiting.pop_front();
            self.began = None;
        }
        let duration = lasted.min(ticks) as u16;
        Some(Tone { timestamp: began, first, event: TelephoneEvent { code, end, volume, duration } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vox_frame::{MediaTime, StreamId, Times};

    fn key(key: &str, ms: u64) -> Event {
        let mut details = serde_json::Map::new();
        details.insert("key".to_owned(), key.into());
        details.insert("duration_ms".to_owned(), ms.into());
        let event = TELEPHONE_EVENT.to_owned();
        Event { id: StreamId(1), timestamp: MediaTime(0), times: Times::default(), event, details }
    }

    #[test]
    fn a_key_is_said_until_its_end_was_said_three_times() {
        let mut tones = Tones::default();
        assert!(tones.press(&key("#", 60), Rate::HZ_8000));
        let said: Vec<_> = (0..6).map(|n| tones.next(1000 + n * 160, 160)).collect();
        let of = |tone: &Tone| (tone.timestamp, tone.first, tone.event.code, tone.event.duration, tone.event.end);
        let said: Vec<_> = said.iter().flatten().map(of).collect();
        assert_eq!(
            said,
            [
                (1000, true, 11, 160, false),
                (1000, false, 11, 320, false),
                (1000, false, 11, 480, true),
                (1000, false, 11, 480, true),
                (1000, false, 11, 480, true),
            ]
        );
    }

    #[test]
    fn one_key_waits_for_the_other() {
        let mut tones = Tones::default();
        for name in ["1", "2"] {
            assert!(tones.press(&key(name, 20), Rate::HZ_8000));
        }
        let codes: Vec<u8> = (0..8).filter_map(|n| Some(tones.next(n * 160, 160)?.event.code)).collect();
        assert_eq!(codes, [1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn what_is_no_key_is_left_alone() {
        let mut tones = Tones::default();
        assert!(!tones.press(&key("hello", 20), Rate::HZ_8000));
        let other = Event { event: "talk-start".to_owned(), ..key("1", 20) };
        assert!(!tones.press(&other, Rate::HZ_8000));
        assert_eq!(tones.next(0, 160), None);
    }
}
