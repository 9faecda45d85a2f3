//! What clients of the Peer-to-Peer Communication App say and are told: JSON objects between CR LF, over TCP.

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

/// The longest line that is looked at, in bytes: a chunk of audio has 3000, a picture of a screen is passed over.
const MAX_LINE: usize = 64 * 1024;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum P2pRequest {
    /// A room is to be made.
    Create(String),
    /// Which rooms there are.
    List,
    /// Into a room.
    Join(String),
    /// Out of the room where it is.
    Quit,
    /// Another name.
    Name(String),
    /// At which rate audio goes.
    Rate,
    /// Audio: samples of 16 bits, little endian, one channel.
    Voice(Vec<u8>),
    /// Whether the room is recorded.
    Record(bool),
    /// To show a screen.
    Screen,
    /// Goodbye.
    Exit,
    /// Something else.
    Other,
}

impl P2pRequest {
    /// Understands an object; none where it is not one that asks for anything.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let object: Value = serde_json::from_slice(line).ok()?;
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(match object.get("action")?.as_str()? {
            "create" => Self::Create(text("room")?),
            "list" => Self::List,
            "join" => Self::Join(text("room")?),
            "quit_room" => Self::Quit,
            "request_user_name" => Self::Name(text("user_name")?),
            "request_sample_rate" => Self::Rate,
            "voice" => {
                let mut samples = Base64::decode_vec(&text("audio_data")?).ok()?;
                // Half a sample is none.
                samples.truncate(samples.len() & !1);
                Self::Voice(samples)
            }
            "record_start" => Self::Record(true),
            "record_end" => Self::Record(false),
            "screen_share" => Self::Screen,
            "exit" => Self::Exit,
            _ => Self::Other,
        })
    }
}

/// Cuts a byte stream into requests. It holds one unfinished line at most.
#[derive(Debug, Default)]
pub struct P2pReader {
    buffer: Vec<u8>,
    /// The rest of a line that was too long is being skipped.
    skipping: bool,
}

impl P2pReader {
    /// Takes bytes as they came; `out` gets the requests in them.
    pub fn push(&mut self, bytes: &[u8], mut out: impl FnMut(P2pRequest)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.skipping {
                self.buffer.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let request = P2pRequest::parse(self.buffer.trim_ascii()).filter(|_| !self.skipping);
                self.buffer.clear();
                self.skipping = false;
                if let Some(request) = request {
                    out(request);
                }
            } else if self.buffer.len() > MAX_LINE {
                self.buffer.clear();
                self.skipping = true;
            }
        }
    }
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum P2pReply<'a> {
    /// What became of making a room.
    Created {
        /// `ok` or `room already exists`.
        status: &'a str,
        /// The room.
        room: &'a str,
    },
    /// The rooms, and whether the client is in each.
    Rooms(&'a [(String, bool)]),
    /// What became of entering.
    Joined {
        /// `ok`, `room not found` or `room already joined`.
        status: &'a str,
        /// The room.
        room: &'a str,
    },
    /// What became of another name.
    Named {
        /// `ok` or `conflict`.
        status: &'a str,
        /// The name.
        name: &'a str,
    },
    /// Who is in the room.
    Users {
        /// The room.
        room: &'a str,
        /// Their names.
        users: &'a [String],
    },
    /// At which rate audio goes, in Hz.
    Rate(u32),
    /// What the others say: samples of 16 bits, little endian.
    Voice(&'a [u8]),
    /// Recording has begun or ended.
    Record {
        /// Whether it has begun.
        on: bool,
        /// The room.
        room: &'a str,
    },
    /// No screen is shown here.
    NoScreen,
    /// The server goes.
    Terminate,
}

impl P2pReply<'_> {
    /// The reply as it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let object = match self {
            Self::Created { status, room } => json!({ "label": "created_room", "status": status, "room": room }),
            Self::Rooms(rooms) => {
                let rooms: serde_json::Map<String, Value> =
                    rooms.iter().map(|(room, is_member)| (room.clone(), (*is_member).into())).collect();
                json!({ "label": "list_rooms", "rooms": rooms })
            }
            Self::Joined { status, room } => {
                json!({ "label": "join_room", "status": status, "room": room, "is_screen_sharing": false })
            }
            Self::Named { status, name } => {
                json!({ "label": "response_user_name", "status": status, "user_name": name })
            }
            Self::Users { room, users } => json!({ "label": "update_room_users", "room": room, "users": users }),
            Self::Rate(hz) => json!({ "label": "response_sample_rate", "sample_rate": hz }),
            Self::Voice(samples) => json!({ "label": "voice", "audio_data": Base64::encode_string(samples) }),
            Self::Record { on, room } => {
                json!({ "label": if *on { "record_start" } else { "record_end" }, "room_name": room })
            }
            // The word that makes its client give up.
            Self::NoScreen => json!({ "label": "screen_share_response", "status": "someone else is sharing" }),
            Self::Terminate => json!({ "label": "terminate" }),
        };
        format!("\r\n{object}\r\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(chunks: &[&[u8]]) -> Vec<P2pRequest> {
        let (mut reader, mut requests) = (P2pReader::default(), Vec::new());
        chunks.iter().for_each(|chunk| reader.push(chunk, |request| requests.push(request)));
        requests
    }

    #[test]
    fn requests_are_understood_however_they_are_cut() {
        let text = b"\r\n{\"action\": \"create\", \"room\": \"Room A\"}\r\n\r\n{\"action\":\"voice\",\"room_name\":\"x\",\"audio_data\":\"AQACAA==\"}\r\n";
        let whole = requests(&[text]);
        assert_eq!(whole, [P2pRequest::Create("Room A".to_owned()), P2pRequest::Voice(vec![1, 0, 2, 0])]);
        let pieces: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(requests(&pieces), whole);
    }

    #[test]
    fn nonsense_is_passed_over() {
        let huge = vec![b'x'; 3 * MAX_LINE];
        let list: &[u8] = b"{\"action\":\"list\"}\r\n";
        let voice: &[u8] = b"{\"action\":\"voice\",\"audio_data\":\"!\"}\r\n";
        assert_eq!(
            requests(&[b"hello\r\n[1]\r\n{}\r\n", voice, &huge, b"\r\n", list, b"{\"action\":\"dance\"}\n"]),
            [P2pRequest::List, P2pRequest::Other]
        );
    }

    #[test]
    fn replies_are_objects_between_line_ends() {
        let text = String::from_utf8(P2pReply::Voice(&[1, 0]).to_bytes()).expect("text");
        assert!(text.starts_with("\r\n{") && text.ends_with("}\r\n"));
        let object: Value = serde_json::from_str(text.trim()).expect("JSON");
        assert_eq!((&object["label"], &object["audio_data"]), (&"voice".into(), &"AQA=".into()));
        let rooms = [("a".to_owned(), true), ("b".to_owned(), false)];
        let object: Value = serde_json::from_slice(P2pReply::Rooms(&rooms).to_bytes().trim_ascii()).expect("JSON");
        assert_eq!(object["rooms"], serde_json::json!({ "a": true, "b": false }));
    }
}
