//! What the server says, one line at a time, as a client understands it.

use core::net::SocketAddr;

use vox_srtp::MasterKey;

use crate::StreamFacts;

/// Keys of one participant's voice (SRTP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceKeys {
    /// Of what it says.
    pub own: MasterKey,
    /// Of what it hears.
    pub heard: MasterKey,
}

/// A line of the server, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The client is taken; the server's name.
    Accepted(String),
    /// It is not.
    NotAccepted(String),
    /// Its nickname is taken.
    NickInUse(String),
    /// Asks for the same number back.
    Ping(String),
    /// A room was entered.
    Joined(String),
    /// Who is in a room.
    UserList(String, Vec<String>),
    /// Somebody has entered a room.
    UserJoin(String, String),
    /// Somebody has left a room.
    UserLeave(String, String),
    /// Somebody says something to a room.
    Message {
        /// Who.
        nick: String,
        /// Where.
        room: String,
        /// What.
        text: String,
    },
    /// Somebody says something to one.
    Private {
        /// Who.
        nick: String,
        /// What.
        text: String,
    },
    /// About a private call with somebody: `Request`, `Accept`, `Deny`, `End`.
    Talk {
        /// With whom.
        nick: String,
        /// What.
        action: String,
    },
    /// Voice goes by datagrams to there, with that key.
    VoiceUdp(SocketAddr, String),
    /// Voice goes by datagrams to there, with that key, sealed by these: our own first, then that of what is heard.
    VoiceSrtp(SocketAddr, String, VoiceKeys),
    /// Voice goes within this connection.
    VoiceTcp,
    /// A stream that is heard from now on.
    Stream {
        /// Whose.
        nick: String,
        /// Its number.
        ssrc: u32,
        /// What it is.
        facts: StreamFacts,
    },
    /// A stream has ended.
    StreamEnd {
        /// Its number.
        ssrc: u32,
        /// The RTP timestamp at which it ends.
        rtp: Option<u32>,
        /// Why.
        reason: String,
    },
    /// A token with which a lost connection is taken up again.
    Session(String),
    /// Something has happened to somebody: `joined`, `talk-start`, …
    Event {
        /// Where.
        place: String,
        /// What.
        what: String,
        /// To whom.
        nick: String,
        /// More.
        details: String,
    },
    /// Somebody records, or has stopped to.
    Record {
        /// Where.
        room: String,
        /// `on`, `off`, `allowed`, `forbidden`, and who.
        what: String,
    },
    /// Something that was asked for is not done: the verb, a word for programs, and text for people.
    Refused {
        /// What was asked for.
        verb: String,
        /// Why, in one word.
        word: String,
        /// Why.
        text: String,
    },
    /// Something else.
    Other(String),
}

impl Notice {
    /// Understands a line, its end left off.
    pub fn parse(line: &str) -> Self {
        Self::understood(line).unwrap_or_else(|| Self::Other(line.to_owned()))
    }

    fn understood(line: &str) -> Option<Self> {
        let end = line.find([':', ' ']).unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let (about, what) = rest.split_once(':').unwrap_or((rest, ""));
        let (about, what) = (about.trim(), what.trim());
        let owned = str::to_owned;
        Some(match verb.to_ascii_uppercase().as_str() {
            "ACCEPT" | "ACCEPTED" => Self::Accepted(owned(what)),
            "NOTACCEPTED" => Self::NotAccepted(owned(what)),
            "NICKNAMEINUSE" => Self::NickInUse(owned(what)),
            "PING" => Self::Ping(owned(what)),
            "JOINED" => Self::Joined(owned(what)),
            "USERLIST" => Self::UserList(owned(about), what.split(',').map(|nick| owned(nick.trim())).collect()),
            "USERJOIN" => Self::UserJoin(owned(about), owned(what)),
            "USERLEAVE" => Self::UserLeave(owned(about), owned(what)),
            "MSG" => {
                let (nick, room) = about.split_once(' ')?;
                Self::Message { nick: owned(nick), room: owned(room), text: owned(what) }
            }
            "PRIVMSG" => Self::Private { nick: owned(about), text: owned(what) },
            "TALK" => Self::Talk { nick: owned(about), action: owned(what) },
            "VOICE" => voice(what)?,
            "STREAM" => {
                let (nick, ssrc) = about.split_once(' ')?;
                Self::Stream { nick: owned(nick), ssrc: ssrc.parse().ok()?, facts: StreamFacts::parse(what)? }
            }
            "STREAMEND" => {
                let (_, ssrc) = about.split_once(' ')?;
                let value = |name: &str| what.split_whitespace().find_map(|word| word.strip_prefix(name));
                let rtp = value("rtp=").and_then(|number| number.parse().ok());
                Self::StreamEnd { ssrc: ssrc.parse().ok()?, rtp, reason: owned(value("reason=").unwrap_or("left")) }
            }
            "SESSION" => Self::Session(owned(what.split(' ').next()?)),
            "EVENT" => {
                let mut words = what.splitn(3, ' ');
                let (happened, nick) = (words.next()?, words.next()?);
                let details = words.next().unwrap_or_default();
                Self::Event { place: owned(about), what: owned(happened), nick: owned(nick), details: owned(details) }
            }
            "RECORD" => Self::Record { room: owned(about), what: owned(what) },
            "ERROR" => {
                let (word, text) = what.split_once(' ').unwrap_or((what, ""));
                Self::Refused { verb: owned(about), word: owned(word), text: owned(text) }
            }
            _ => return None,
        })
    }
}

/// `udp ADDRESS TOKEN` or `tcp`.
fn voice(what: &str) -> Option<Notice> {
    let mut words = what.split_whitespace();
    match words.next()? {
        "tcp" => Some(Notice::VoiceTcp),
        "srtp" => {
            let (address, token, suite) = (words.next()?.parse().ok()?, words.next()?.to_owned(), words.next()?);
            let mut key = || MasterKey::parse(suite.parse().ok()?, words.next()?).ok();
            Some(Notice::VoiceSrtp(address, token, VoiceKeys { own: key()?, heard: key()? }))
        }
        "udp" => Some(Notice::VoiceUdp(words.next()?.parse().ok()?, words.next()?.to_owned())),
        _ => None,
    }
}
