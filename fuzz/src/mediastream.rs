//! Calls of voice bots.

use std::collections::BTreeMap;
use std::convert::Infallible;

use serde_json::Map;
use vox_frame::{Audio, EndReason, Event, MediaTime, Record, SequenceNumber, Stamp, StreamId, Times};
use vox_mediastream::{Session, Side};

use crate::pieces::Pieces;

/// Messages that mean something; `%` stands for a number.
const TEXTS: [&str; 9] = [
    r#"{"event":"connected"}"#,
    r#"{"event":"start","start":{"streamSid":"MZ%"}}"#,
    r#"{"event":"media","media":{"chunk":"%","timestamp":"%0","payload":"f39/f39/f39/f39/"}}"#,
    r#"{"event":"media","media":{"track":"outbound","timestamp":%000,"payload":"f39/f39/f39/f39/f39/f38="}}"#,
    r#"{"event":"media","media":{"timestamp":"%000000000000000","payload":"fw=="}}"#,
    r#"{"event":"mark","mark":{"name":"%"}}"#,
    r#"{"event":"clear"}"#,
    r#"{"event":"dtmf","dtmf":{"digit":"%"}}"#,
    r#"{"event":"stop"}"#,
];

/// Any messages at any times, on both sides: each stream is told from its Format to its End, its time without a hole or an
/// overlap, its numbers in order.
pub fn mediastream(data: &[u8]) {
    let caller = Side::Caller { stream: "s".into(), call: "c".into(), parameters: Map::new(), delay: 60_000_000 };
    for side in [Side::Bot, caller] {
        run(data, side);
    }
}

fn run(data: &[u8], side: Side) {
    let (mut pieces, mut now, mut told) = (Pieces::new(data), Stamp::ZERO, Told::default());
    let ids = [StreamId(1), StreamId(2)];
    let Ok(mut session) = Session::new(now, side, ids, &mut |record| told.handle(&record));
    while !pieces.is_empty() {
        let (kind, which) = (pieces.byte(), pieces.byte());
        let mut out = |record: Record<'_>| told.handle(&record);
        let Ok(()) = match kind {
            0..144 => {
                let text = TEXTS[usize::from(kind) % TEXTS.len()].replace('%', &which.to_string());
                session.handle_text(now, &text, &mut out)
            }
            144..168 => session.handle_text(now, &String::from_utf8_lossy(pieces.piece()), &mut out),
            168..192 => {
                let payload = pieces.piece();
                let timestamp = MediaTime(if which < 200 { u64::from(which) * 80 } else { pieces.number() });
                session.handle_audio(now, &audio(timestamp, payload));
                Ok(())
            }
            192..208 => {
                match which % 4 {
                    0 => session.handle_change(),
                    1 => session.handle_gap(),
                    2 => session.handle_stall(u64::from(which) * 100),
                    _ => {
                        session.handle_event(&event(which));
                    }
                }
                Ok(())
            }
            208..248 => {
                now = now.plus(i64::from(which) * 1_000_000 * if kind < 240 { 1 } else { 1000 });
                session.handle_timeout(now, &mut out)
            }
            248.. => {
                while session.poll_message().is_some() {}
                Ok(())
            }
        };
    }
    let waiting = std::iter::from_fn(|| session.poll_message()).count();
    assert!(waiting <= 1024, "{waiting} messages wait");
    now = now.plus(600_000_000_000);
    let Ok(()) = session.handle_timeout(now, &mut |record| told.handle(&record));
    assert!(session.is_played() && session.next_deadline().is_none(), "what waits is played in ten minutes");
    let Ok(()) = session.finish(now, &EndReason::Bye, &mut |record| told.handle(&record));
    assert!(told.open.is_empty(), "a stream has no End");
}

fn audio(timestamp: MediaTime, payload: &[u8]) -> Audio<'_> {
    Audio {
        id: StreamId(7),
        sequence: SequenceNumber(0),
        timestamp,
        duration: payload.len() as u32,
        marker: false,
        recovered: false,
        padding: false,
        times: Times::default(),
        slot: None,
        extensions: &[],
        payload,
    }
}

fn event(which: u8) -> Event {
    let name = ["mark", "clear", "telephone-event"][usize::from(which) % 3];
    let mut details = Map::new();
    details.insert("name".to_owned(), "x".into());
    details.insert("key".to_owned(), "5".into());
    Event { id: StreamId(7), timestamp: MediaTime(0), times: Times::default(), event: name.to_owned(), details }
}

/// What was told of each open stream: its next number, and where its time is.
#[derive(Default)]
struct Told {
    open: BTreeMap<StreamId, (SequenceNumber, Option<MediaTime>)>,
}

impl Told {
    fn handle(&mut self, record: &Record<'_>) -> Result<(), Infallible> {
        match record {
            Record::Format(id, _) => assert!(self.open.insert(*id, (SequenceNumber(0), None)).is_none()),
            Record::Audio(audio) => {
                assert!(!audio.payload.is_empty() && audio.payload.len() <= 160);
                let stream = self.open.get_mut(&audio.id).expect("a Format came before");
                assert!(stream.0 == audio.sequence && stream.1.is_none_or(|end| end == audio.timestamp));
                *stream = (audio.sequence.plus(1), Some(audio.timestamp.plus(u64::from(audio.duration))));
            }
            Record::Gap(gap) => {
                assert!(gap.duration > 0 && u64::from(gap.packets) <= gap.duration);
                let stream = self.open.get_mut(&gap.id).expect("a Format came before");
                assert!(stream.0 == gap.sequence && stream.1.is_none_or(|end| end == gap.timestamp));
                *stream = (gap.sequence.plus(u64::from(gap.packets)), Some(gap.timestamp.plus(gap.duration)));
            }
            Record::Event(event) => assert!(self.open.contains_key(&event.id)),
            Record::End(end) => {
                let stream = self.open.remove(&end.id).expect("a Format came before");
                assert!(stream.1.is_none_or(|time| time == end.timestamp), "{stream:?} {end:?}");
            }
            Record::Unknown(_) => panic!("an unknown record"),
        }
        Ok(())
    }
}
