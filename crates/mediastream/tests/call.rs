//! Calls on a simulated clock: what one side says, the other hears.

use std::convert::Infallible;

use serde_json::{Map, Value, json};
use vox_frame::{EndReason, Event, MediaTime, Record, SequenceNumber, Stamp, StreamId, Times};
use vox_mediastream::{Session, Side};

const IDS: [StreamId; 2] = [StreamId(1), StreamId(2)];

/// How long a telephone holds back what begins, in ms.
const DELAY: i64 = 60;

/// One side with what it has told.
struct Party {
    session: Session,
    told: Vec<String>,
    said: Vec<u8>,
    sequence: u64,
}

fn at(ms: i64) -> Stamp {
    Stamp::from_ns(ms * 1_000_000)
}

/// A record as a line: kind, media time in ms, how long, and what else there is to say of it.
fn line(record: &Record<'_>, said: &mut Vec<u8>) -> String {
    match record {
        Record::Format(id, format) => format!("format {} {format} {}", id.0, format.label.as_deref().unwrap_or("")),
        Record::Audio(audio) => {
            said.extend_from_slice(audio.payload);
            let arrived = audio.times.arrived.map_or(-1, |at| at.ns() / 1_000_000);
            let marker = if audio.marker { " marker" } else { "" };
            format!("audio {} {} #{} at {arrived}{marker}", audio.timestamp.0, audio.duration, audio.sequence.0)
        }
        Record::Gap(gap) => {
            format!(
                "gap {} {} #{} {} x{}",
                gap.timestamp.0,
                gap.duration,
                gap.sequence.0,
                gap.reason.name(),
                gap.packets
            )
        }
        Record::Event(event) => {
            format!("{} {} {}", event.event, event.timestamp.0, Value::Object(event.details.clone()))
        }
        Record::End(end) => format!("end {} {}", end.timestamp.0, end.reason.name()),
        Record::Unknown(_) => "unknown".to_owned(),
    }
}

impl Party {
    fn new(side: Side) -> Self {
        let (mut told, mut said) = (Vec::new(), Vec::new());
        let session = Session::new(at(0), side, IDS, &mut |record: Record<'_>| {
            told.push(line(&record, &mut said));
            Ok::<_, Infallible>(())
        });
        let Ok(session) = session;
        Self { session, told, said, sequence: 0 }
    }

    fn caller() -> Self {
        let parameters = [("name".to_owned(), json!("Ana"))].into_iter().collect();
        Self::new(Side::Caller { stream: "MZ1".into(), call: "CA1".into(), parameters, delay: DELAY * 1_000_000 })
    }

    /// A bot in a call that has begun.
    fn bot() -> Self {
        let mut bot = Self::new(Side::Bot);
        bot.hear(0, r#"{"event":"start","start":{"streamSid":"MZ1","callSid":"CA1"}}"#);
        bot.told.clear();
        bot
    }

    fn hear(&mut self, ms: i64, text: &str) {
        let Self { session, told, said, .. } = self;
        let Ok(()) = session.handle_text(at(ms), text, &mut |record: Record<'_>| {
            told.push(line(&record, said));
            Ok::<_, Infallible>(())
        });
    }

    fn media(&mut self, ms: i64, chunk: u64, time: u64, payload: &[u8]) {
        use base64ct::Encoding as _;
        let payload = base64ct::Base64::encode_string(payload);
        let media = json!({"chunk": chunk.to_string(), "timestamp": time.to_string(), "payload": payload});
        self.hear(ms, &json!({"event": "media", "streamSid": "MZ1", "media": media}).to_string());
    }

    fn wait(&mut self, ms: i64) {
        let Self { session, told, said, .. } = self;
        let Ok(()) = session.handle_timeout(at(ms), &mut |record: Record<'_>| {
            told.push(line(&record, said));
            Ok::<_, Infallible>(())
        });
    }

    fn finish(&mut self, ms: i64) {
        let Self { session, told, said, .. } = self;
        let Ok(()) = session.finish(at(ms), &EndReason::Bye, &mut |record: Record<'_>| {
            told.push(line(&record, said));
            Ok::<_, Infallible>(())
        });
    }

    fn say(&mut self, ms: i64, timestamp: u64, payload: &[u8]) {
        let audio = vox_frame::Audio {
            id: StreamId(9),
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(timestamp),
            duration: payload.len() as u32,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload,
        };
        self.sequence += 1;
        self.session.handle_audio(at(ms), &audio);
    }

    fn event(&mut self, name: &str, field: &str, value: &str) -> bool {
        let details: Map<String, Value> = [(field.to_owned(), json!(value))].into_iter().collect();
        let (event, times) = (name.to_owned(), Times::default());
        self.session.handle_event(&Event { id: StreamId(9), timestamp: MediaTime(0), times, event, details })
    }

    /// The events of the messages that wait, audio with its length.
    fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_message()).map(|message| brief(&message.text)).collect()
    }
}

fn brief(text: &str) -> String {
    let value: Value = serde_json::from_str(text).expect("JSON");
    match value["event"].as_str().expect("an event") {
        "media" => format!("media {}", value["media"]["timestamp"].as_str().unwrap_or("-")),
        "mark" => format!("mark {}", value["mark"]["name"]),
        "dtmf" => format!("dtmf {}", value["dtmf"]["digit"]),
        other => other.to_owned(),
    }
}

/// What `from` has to say comes to `to`.
fn deliver(ms: i64, from: &mut Party, to: &mut Party) {
    while let Some(message) = from.session.poll_message() {
        to.hear(ms, &message.text);
    }
}

#[test]
fn what_a_telephone_says_is_heard_bit_by_bit_and_at_its_time() {
    let (mut phone, mut bot) = (Party::caller(), Party::new(Side::Bot));
    let voice: Vec<u8> = (0..960u32).map(|n| (n * 7 % 256) as u8).collect();
    for (n, piece) in voice.chunks(160).enumerate() {
        phone.say(n as i64 * 20, n as u64 * 160, piece);
        deliver(n as i64 * 20 + 5, &mut phone, &mut bot);
    }
    assert_eq!(bot.said, voice);
    assert_eq!(
        bot.told[..2],
        ["format 1 pcmu 8000 Hz mono CA1", r#"joined 0 {"call":"CA1","parameters":{"name":"Ana"},"stream":"MZ1"}"#]
    );
    assert_eq!(bot.told[2..5], ["audio 0 160 #0 at 5 marker", "audio 160 160 #1 at 25", "audio 320 160 #2 at 45"]);
    phone.session.hang_up();
    deliver(130, &mut phone, &mut bot);
    assert_eq!(bot.told.last().unwrap(), "end 960 bye");
    assert!(bot.session.is_over());
}

#[test]
fn what_a_bot_says_at_once_is_played_in_its_time() {
    let (mut phone, mut bot) = (Party::caller(), Party::bot());
    let voice: Vec<u8> = (0..400u32).map(|n| (n % 251) as u8).collect();
    bot.say(0, 0, &voice);
    bot.session.handle_change();
    phone.sent();
    deliver(100, &mut bot, &mut phone);
    assert_eq!(phone.told, ["format 1 pcmu 8000 Hz mono outbound"]);
    for ms in (100..300).step_by(10) {
        phone.wait(ms);
    }
    assert_eq!(
        phone.told[1..],
        ["audio 1280 160 #0 at 160 marker", "audio 1440 160 #1 at 180", "audio 1600 80 #2 at 200"]
    );
    assert_eq!(phone.said, voice);
    phone.finish(1_000);
    assert_eq!(phone.told[4..], ["gap 1680 6320 #3 silent x0", "end 8000 bye"]);
}

#[test]
fn what_comes_in_time_leaves_no_hole() {
    let (mut phone, mut bot) = (Party::caller(), Party::bot());
    for n in 0..50 {
        bot.say(n * 20, n as u64 * 160, &[n as u8; 160]);
        // Up to 50 ms late, one way or the other.
        let late = [0, 30, 50, 10, 40][n as usize % 5];
        phone.wait(n * 20 + late);
        deliver(n * 20 + late, &mut bot, &mut phone);
    }
    phone.wait(5_000);
    let gaps = phone.told.iter().filter(|line| line.starts_with("gap")).count();
    assert_eq!((gaps, phone.said.len()), (0, 8_000), "{:?}", phone.told);
}

#[test]
fn a_hole_in_the_times_is_a_gap_of_its_length() {
    let mut bot = Party::bot();
    bot.media(0, 1, 0, &[1; 160]);
    bot.media(20, 2, 20, &[2; 160]);
    // Two are lost, and then nothing is sent for a second.
    bot.media(80, 5, 80, &[3; 160]);
    bot.media(1_080, 6, 1_100, &[4; 160]);
    assert_eq!(
        bot.told,
        [
            "audio 0 160 #0 at 0 marker",
            "audio 160 160 #1 at 20",
            "gap 320 320 #2 lost x2",
            "audio 640 160 #4 at 80 marker",
            "gap 800 8000 #5 silent x0",
            "audio 8800 160 #5 at 1080 marker",
        ]
    );
}

#[test]
fn times_in_whole_milliseconds_make_no_holes() {
    let mut bot = Party::bot();
    for n in 0..1000u64 {
        // 7.5 ms each.
        bot.media(n as i64 * 7, n + 1, (n * 15).div_ceil(2), &[n as u8; 60]);
    }
    assert!(bot.told.iter().all(|line| line.starts_with("audio")), "{:?}", bot.told);
    assert_eq!(bot.said.len(), 60_000);
}

#[test]
fn what_was_told_already_is_not_told_again() {
    let mut bot = Party::bot();
    bot.media(0, 1, 0, &[1; 160]);
    bot.media(20, 1, 0, &[9; 160]);
    bot.media(20, 2, 10, &[2; 160]);
    assert_eq!(bot.told, ["audio 0 160 #0 at 0 marker", "audio 160 80 #1 at 20"]);
    assert_eq!(bot.session.counters().late, 1);
}

#[test]
fn a_time_that_is_nowhere_near_moves_nothing() {
    let mut bot = Party::bot();
    bot.media(0, 1, 0, &[1; 160]);
    for (n, time) in [(1, u64::MAX), (2, 3_600_000), (3, 3_600_020), (4, 40), (5, 60)] {
        bot.media(n * 20, n as u64 + 1, time, &[n as u8; 160]);
    }
    assert!(bot.told.iter().all(|line| line.starts_with("audio")), "{:?}", bot.told);
    assert_eq!((bot.said.len(), bot.session.counters().jumps), (960, 3));
    let mut bot = Party::bot();
    bot.media(0, 1, u64::MAX, &[1; 160]);
    bot.media(0, 2, u64::MAX, &[2; 160]);
    assert_eq!(bot.told, ["audio 0 160 #0 at 0 marker"], "the same time is told once");
}

#[test]
fn a_mark_is_answered_when_what_came_before_it_was_heard() {
    let (mut phone, mut bot) = (Party::caller(), Party::bot());
    phone.sent();
    bot.say(0, 0, &[7; 800]);
    assert!(bot.event("mark", "name", "said"));
    deliver(0, &mut bot, &mut phone);
    // 60 ms are held back, 100 ms are played.
    phone.wait(159);
    assert_eq!(phone.sent(), [""; 0]);
    assert_eq!(phone.session.next_deadline(), Some(at(160)));
    phone.wait(160);
    assert_eq!(phone.told.last().unwrap(), r#"mark 1280 {"name":"said"}"#);
    deliver(170, &mut phone, &mut bot);
    assert_eq!(bot.told, [r#"mark 0 {"name":"said"}"#]);
    // With nothing before it at once.
    bot.event("mark", "name", "again");
    deliver(500, &mut bot, &mut phone);
    assert_eq!(phone.sent(), [r#"mark "again""#]);
}

#[test]
fn what_is_cleared_is_not_heard_and_takes_no_time() {
    let (mut phone, mut bot) = (Party::caller(), Party::bot());
    phone.sent();
    bot.say(0, 0, &[7; 16_000]);
    bot.event("mark", "name", "never");
    deliver(0, &mut bot, &mut phone);
    for ms in (0..=560).step_by(20) {
        phone.wait(ms);
    }
    assert!(bot.event("clear", "", ""));
    deliver(570, &mut bot, &mut phone);
    // 520 ms were played: from 60 to 560, and 20 ms that have begun.
    assert_eq!(phone.told.last().unwrap(), r#"clear 4640 {"dropped_ms":1480}"#);
    assert_eq!(phone.sent(), [r#"mark "never""#], "whoever waits for it waits no longer");
    assert!(phone.session.is_played());
    bot.say(1_000, 16_000, &[8; 160]);
    deliver(1_000, &mut bot, &mut phone);
    phone.wait(1_060);
    let end = phone.told.len() - 2;
    assert_eq!(phone.told[end..], ["gap 4640 3840 #26 silent x0", "audio 8480 160 #26 at 1060 marker"]);
}

#[test]
fn keys_go_from_the_telephone_to_the_bot() {
    let (mut phone, mut bot) = (Party::caller(), Party::bot());
    phone.sent();
    phone.say(0, 0, &[1; 240]);
    assert!(phone.event("telephone-event", "key", "#"));
    assert!(!phone.event("talk-start", "key", "#"));
    deliver(30, &mut phone, &mut bot);
    assert_eq!(bot.told[2], r##"telephone-event 240 {"key":"#"}"##, "{:?}", bot.told);
    bot.hear(40, r#"{"event":"dtmf","dtmf":{"digit":"hello"}}"#);
    assert_eq!(bot.session.counters().malformed, 1);
}

#[test]
fn a_bot_hears_both_sides_where_it_is_told_both() {
    let mut bot = Party::bot();
    for (ms, track) in [(0, "inbound"), (0, "outbound"), (20, "inbound"), (20, "outbound")] {
        bot.hear(
            ms,
            &format!(r#"{{"event":"media","media":{{"track":"{track}","timestamp":"{ms}","payload":"/w=="}}}}"#),
        );
    }
    assert_eq!(bot.told[1], "format 2 pcmu 8000 Hz mono CA1-outbound");
    bot.hear(40, r#"{"event":"stop"}"#);
    assert_eq!(bot.told.iter().filter(|line| line.starts_with("end 161")).count(), 2, "{:?}", bot.told);
}

#[test]
fn a_bot_says_nothing_before_there_is_somebody() {
    let mut bot = Party::new(Side::Bot);
    bot.say(0, 0, &[1; 160]);
    assert!(!bot.event("clear", "", ""));
    bot.media(0, 1, 0, &[1; 160]);
    assert_eq!((bot.sent(), bot.told.len(), bot.session.counters().unexpected), (Vec::new(), 0, 1));
}

#[test]
fn another_format_is_refused_in_words() {
    let mut bot = Party::new(Side::Bot);
    bot.hear(
        0,
        r#"{"event":"start","streamSid":"MZ1","start":{"mediaFormat":{"encoding":"audio/l16","sampleRate":16000}}}"#,
    );
    assert!(bot.session.is_over() && !bot.session.is_open());
    let refusal = bot.session.take_refusal().unwrap();
    assert!(refusal.contains("audio/l16, 16000 Hz"), "{refusal}");
}

#[test]
fn nonsense_is_counted_and_survived() {
    for mut party in [Party::caller(), Party::bot()] {
        let before = party.told.len();
        for text in ["", "{", "[1]", r#"{"event":"media"}"#, r#"{"event":"media","media":{"payload":"!!"}}"#, "\u{0}"] {
            party.hear(0, text);
        }
        party.session.handle_binary();
        party.hear(0, r#"{"event":"start","start":{"streamSid":"b"}}"#);
        let counters = *party.session.counters();
        assert_eq!((counters.malformed, counters.unexpected), (7, 1), "{counters:?}");
        assert!(party.session.is_open() && party.told.len() == before);
    }
}

#[test]
fn a_telephone_that_is_told_too_much_holds_five_minutes() {
    let mut phone = Party::caller();
    let mut bot = Party::bot();
    for n in 0..320 {
        bot.say(0, n * 8_000, &[0xff; 8_000]);
        bot.event("mark", "name", "x");
        deliver(0, &mut bot, &mut phone);
    }
    let counters = *phone.session.counters();
    assert!(counters.overflows > 900 && counters.overflows < 1_100, "{counters:?}");
    phone.wait(400_000);
    assert_eq!(phone.said.len(), 2_400_000);
}
