//! The messages, as JSON text: what a peer may say, and how ours are worded.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The encoding that both sides speak, as messages name it.
pub(crate) const ENCODING: &str = "audio/x-mulaw";

/// Bytes of a name that a peer gives: a stream, a call, a mark, a key. Longer ones are no names.
const MAX_NAME: usize = 256;

/// Parameters of a call that are told on, of those that a peer gives.
const MAX_PARAMETERS: usize = 16;

/// What a peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Greets.
    Connected,
    /// Begins a call.
    Start(Start),
    /// Carries audio.
    Media(Media),
    /// A key of the telephone was pressed.
    Dtmf(String),
    /// Asks to be told, or tells, that what was said before it was heard.
    Mark(String),
    /// What was said and is not yet heard is to be forgotten.
    Clear,
    /// The call is over.
    Stop,
    /// Something that this version has no use for.
    Other,
}

/// What is told of a call when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// The name of the stream, which messages to it carry.
    pub stream: String,
    /// The name of the call.
    pub call: Option<String>,
    /// Whether the audio is mono mu-law at 8000 Hz; where nothing is said of it, it is.
    pub is_telephony: bool,
    /// What the audio is, in words.
    pub format: String,
    /// What else the caller was given to say.
    pub parameters: Map<String, Value>,
}

/// Whose voice it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Track {
    /// What comes from the telephone.
    Inbound,
    /// What the telephone is told.
    Outbound,
}

impl Track {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Some audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Whose.
    pub track: Track,
    /// Counts the messages with audio of the track, from 1.
    pub chunk: Option<u64>,
    /// When it begins, in ms from the beginning of the call.
    pub timestamp_ms: Option<u64>,
    /// Mono mu-law, 8 kHz.
    pub payload: Vec<u8>,
}

/// Why something is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It is no JSON object, or lacks what its event needs.
    Json,
    /// Its audio is no base64.
    Payload,
    /// A name in it is empty or too long.
    Name,
}

impl Message {
    /// Reads the text of a message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|_| Malformed::Json)?;
        match wire.event.as_ref() {
            "connected" => Ok(Self::Connected),
            "start" => wire.start().map(Self::Start),
            "media" => wire.media.ok_or(Malformed::Json)?.read().map(Self::Media),
            "dtmf" => name(wire.dtmf.and_then(|dtmf| dtmf.digit)).map(Self::Dtmf),
            "mark" => name(wire.mark.and_then(|mark| mark.name)).map(Self::Mark),
            "clear" => Ok(Self::Clear),
            "stop" => Ok(Self::Stop),
            _ => Ok(Self::Other),
        }
    }
}

fn name(name: Option<String>) -> Result<String, Malformed> {
    name.filter(|name| !name.is_empty() && name.len() <= MAX_NAME).ok_or(Malformed::Name)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    stream_sid: Option<String>,
    start: Option<WireStart>,
    #[serde(borrow)]
    media: Option<WireMedia<'a>>,
    dtmf: Option<WireDtmf>,
    mark: Option<WireMark>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStart {
    stream_sid: Option<String>,
    call_sid: Option<String>,
    media_format: Option<WireFormat>,
    #[serde(default)]
    custom_parameters: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireFormat {
    #[serde(default)]
    encoding: String,
    sample_rate: Option<Number>,
    channels: Option<Number>,
}

#[derive(Deserialize)]
struct WireMedia<'a> {
    track: Option<String>,
    chunk: Option<Number>,
    timestamp: Option<Number>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WireDtmf {
    digit: Option<String>,
}

#[derive(Deserialize)]
struct WireMark {
    name: Option<String>,
}

/// A number, which most who speak this protocol write in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Quoted(String),
}

impl Number {
    fn value(&self) -> Option<u64> {
        match self {
            Self::Plain(number) => Some(*number),
            Self::Quoted(text) => text.parse().ok(),
        }
    }
}

impl Wire<'_> {
    fn start(self) -> Result<Start, Malformed> {
        let start = self.start.ok_or(Malformed::Json)?;
        let stream = name(start.stream_sid.or(self.stream_sid))?;
        let call = start.call_sid.map(|call| name(Some(call))).transpose()?;
        let value = |number: &Option<Number>, default| number.as_ref().map_or(Some(default), Number::value);
        let (is_telephony, format) = match &start.media_format {
            None => (true, String::new()),
            Some(format) => {
                let (rate, channels) = (value(&format.sample_rate, 8000), value(&format.channels, 1));
                let is_telephony = format.encoding == ENCODING && rate == Some(8000) && channels == Some(1);
                let encoding: String = format.encoding.chars().filter(|c| !c.is_control()).take(40).collect();
                let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
                (is_telephony, format!("{encoding}, {} Hz, {} channel(s)", number(rate), number(channels)))
            }
        };
        let short = |value: &Value| value.as_str().is_some_and(|text| text.len() <= MAX_NAME);
        let parameters = start.custom_parameters.into_iter();
        let parameters =
            parameters.filter(|(key, value)| key.len() <= MAX_NAME && short(value)).take(MAX_PARAMETERS).collect();
        Ok(Start { stream, call, is_telephony, format, parameters })
    }
}

impl WireMedia<'_> {
    fn read(self) -> Result<Media, Malformed> {
        // What is said to a telephone names no track.
        let track = match self.track.as_deref() {
            None | Some("inbound" | "inbound_track") => Track::Inbound,
            Some("outbound" | "outbound_track") => Track::Outbound,
            Some(_) => return Err(Malformed::Name),
        };
        let payload = Base64::decode_vec(&self.payload).map_err(|_| Malformed::Payload)?;
        let value = |number: Option<Number>| number.and_then(|number| number.value());
        Ok(Media { track, chunk: value(self.chunk), timestamp_ms: value(self.timestamp), payload })
    }
}

/// The texts that the side which calls says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerTexts {
    pub(crate) stream: String,
    pub(crate) call: String,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) sequence: u64,
}

impl CallerTexts {
    pub(crate) fn connected() -> String {
        json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}).to_string()
    }

    pub(crate) fn start(&mut self) -> String {
        let start = json!({
            "streamSid": self.stream,
            "callSid": self.call,
            "accountSid": format!("AC{:032}", 0),
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": ENCODING, "sampleRate": 8000, "channels": 1},
            "customParameters": self.parameters,
        });
        self.numbered("start", "start", start)
    }

    pub(crate) fn media(&mut self, chunk: u64, timestamp_ms: u64, payload: &[u8]) -> String {
        let media = json!({
            "track": Track::Inbound.name(),
            "chunk": chunk.to_string(),
            "timestamp": timestamp_ms.to_string(),
            "payload": Base64::encode_string(payload),
        });
        self.numbered("media", "media", media)
    }

    pub(crate) fn dtmf(&mut self, digit: &str) -> String {
        self.numbered("dtmf", "dtmf", json!({"track": "inbound_track", "digit": digit}))
    }

    pub(crate) fn mark(&mut self, name: &str) -> String {
        self.numbered("mark", "mark", json!({"name": name}))
    }

    pub(crate) fn stop(&mut self) -> String {
        let stop = json!({"accountSid": format!("AC{:032}", 0), "callSid": self.call});
        self.numbered("stop", "stop", stop)
    }

    fn numbered(&mut self, event: &str, field: &str, body: Value) -> String {
        self.sequence += 1;
        let mut message = json!({
            "event": event,
            "sequenceNumber": self.sequence.to_string(),
            "streamSid": self.stream,
        });
        message[field] = body;
        message.to_string()
    }
}

/// The texts that the side which answers says to the stream of that name.
pub(crate) mod bot {
    use super::*;

    pub(crate) fn media(stream: &str, payload: &[u8]) -> String {
        let payload = Base64::encode_string(payload);
        json!({"event": "media", "streamSid": stream, "media": {"payload": payload}}).to_string()
    }

    pub(crate) fn mark(stream: &str, name: &str) -> String {
        json!({"event": "mark", "streamSid": stream, "mark": {"name": name}}).to_string()
    }

    pub(crate) fn clear(stream: &str) -> String {
        json!({"event": "clear", "streamSid": stream}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a telephone network words them.
    const START: &str = r#"{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1",
        "callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},
        "customParameters":{"FirstName":"Ana"}},"streamSid":"MZ1"}"#;
    const MEDIA: &str = r#"{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1",
        "timestamp":"5","payload":"f39/"},"streamSid":"MZ1"}"#;

    fn media(text: &str) -> Media {
        match Message::parse(text) {
            Ok(Message::Media(media)) => media,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_telephone_network_says_is_understood() {
        let Ok(Message::Start(start)) = Message::parse(START) else { panic!("a start") };
        assert_eq!((start.stream.as_str(), start.call.as_deref()), ("MZ1", Some("CA1")));
        assert!(start.is_telephony && start.parameters["FirstName"] == "Ana");
        let expected = Media { track: Track::Inbound, chunk: Some(1), timestamp_ms: Some(5), payload: vec![0x7f; 3] };
        assert_eq!(media(MEDIA), expected);
        let dtmf =
            r#"{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"5","dtmf":{"track":"inbound_track","digit":"1"}}"#;
        assert_eq!(Message::parse(dtmf), Ok(Message::Dtmf("1".to_owned())));
        let mark = r#"{"event":"mark","sequenceNumber":"4","streamSid":"MZ1","mark":{"name":"said"}}"#;
        assert_eq!(Message::parse(mark), Ok(Message::Mark("said".to_owned())));
        assert_eq!(Message::parse(r#"{"event":"clear","streamSid":"MZ1"}"#), Ok(Message::Clear));
        assert_eq!(Message::parse(r#"{"event":"weather"}"#), Ok(Message::Other));
    }

    #[test]
    fn numbers_may_do_without_quotes_and_may_be_missing() {
        let plain = r#"{"event":"media","media":{"chunk":7,"timestamp":140,"payload":"fw=="}}"#;
        assert_eq!((media(plain).chunk, media(plain).timestamp_ms), (Some(7), Some(140)));
        let bare = r#"{"event":"media","media":{"payload":"fw=="}}"#;
        assert_eq!((media(bare).chunk, media(bare).timestamp_ms), (None, None));
        let odd = r#"{"event":"media","media":{"chunk":"-7","timestamp":"soon","payload":"fw=="}}"#;
        assert_eq!((media(odd).chunk, media(odd).timestamp_ms), (None, None));
    }

    #[test]
    fn what_is_no_message_says_why() {
        let long = format!(r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#, "x".repeat(MAX_NAME + 1));
        for (text, why) in [
            ("", Malformed::Json),
            ("[]", Malformed::Json),
            (r#"{"event":7}"#, Malformed::Json),
            (r#"{"event":"media"}"#, Malformed::Json),
            (r#"{"event":"media","media":{"payload":"=f"}}"#, Malformed::Payload),
            (r#"{"event":"media","media":{"track":"sideways","payload":""}}"#, Malformed::Name),
            (r#"{"event":"start","start":{}}"#, Malformed::Name),
            (r#"{"event":"mark","mark":{"name":""}}"#, Malformed::Name),
            (&long, Malformed::Name),
        ] {
            assert_eq!(Message::parse(text), Err(why), "{text}");
        }
        assert_eq!(Message::parse(&"[".repeat(100_000)), Err(Malformed::Json));
    }

    #[test]
    fn another_format_is_told_from_that_of_telephones() {
        for (encoding, rate, telephony) in
            [("audio/x-mulaw", "8000", true), ("audio/x-mulaw", "\"16000\"", false), ("audio/l16", "8000", false)]
        {
            let text = format!(
                r#"{{"event":"start","streamSid":"a","start":{{"mediaFormat":{{"encoding":"{encoding}","sampleRate":{rate}}}}}}}"#
            );
            let Ok(Message::Start(start)) = Message::parse(&text) else { panic!("{text}") };
            assert_eq!(start.is_telephony, telephony, "{text}: {}", start.format);
        }
    }

    #[test]
    fn what_is_said_is_understood_by_the_same_rules() {
        let mut texts =
            CallerTexts { stream: "MZ9".to_owned(), call: "CA9".to_owned(), parameters: Map::new(), sequence: 0 };
        assert_eq!(Message::parse(&CallerTexts::connected()), Ok(Message::Connected));
        let Ok(Message::Start(start)) = Message::parse(&texts.start()) else { panic!("a start") };
        assert!(start.is_telephony && start.stream == "MZ9");
        let said = media(&texts.media(4, 60, &[1, 2, 3]));
        assert_eq!((said.chunk, said.timestamp_ms, said.payload), (Some(4), Some(60), vec![1, 2, 3]));
        assert_eq!(media(&bot::media("MZ9", &[0xff; 160])).payload, [0xff; 160]);
        assert_eq!(Message::parse(&texts.mark("\"\n")), Ok(Message::Mark("\"\n".to_owned())));
        let stop: Value = serde_json::from_str(&texts.stop()).unwrap();
        assert_eq!((&stop["sequenceNumber"], &stop["streamSid"]), (&json!("4"), &json!("MZ9")));
    }
}
