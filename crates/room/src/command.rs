//! What a client says, one line at a time.

use vox_rtp::PayloadFormat;

use crate::{MixWish, Nick, RoomName};

/// The longest line, its end included, in bytes.
pub const MAX_LINE: usize = 1024;

/// A line of a client, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Says who it is.
    Connect(Hello),
    /// Takes another nickname.
    Rename(Nick),
    /// The answer to a PING.
    Pong(u64),
    /// Is the server there?
    Ping(String),
    /// Enters rooms, made where they are not there yet.
    Join(Vec<RoomName>, Option<String>),
    /// Leaves a room.
    Leave(RoomName),
    /// Who is in a room?
    UserList(RoomName),
    /// Who is somebody?
    WhoIs(Nick),
    /// Which rooms are there?
    List,
    /// Makes a room.
    Create(RoomName, Option<String>),
    /// Ends a room.
    Delete(RoomName),
    /// Sets the password of a room.
    Lock(RoomName, String),
    /// Takes the password away.
    Unlock(RoomName),
    /// Says something to a room.
    Message(RoomName, String),
    /// Says something to one other.
    Private(Nick, String),
    /// About a private call: with whom, or by which key.
    Talk(Party, TalkAction),
    /// Silences or (false) lets be heard again.
    Mute(Muted, bool),
    /// Sends somebody out of a room.
    Kick(RoomName, Nick),
    /// Where voice goes, and how; none to stop.
    Voice(Option<Voice>),
    /// Announces a stream of packets.
    Stream(u32, StreamFacts),
    /// A stream has ended at this RTP timestamp.
    StreamEnd(u32, Option<u32>, String),
    /// Somebody records, or stops; or a room forbids it.
    Record(RoomName, Recording),
    /// Which events to tell.
    Events(Telling),
    /// Asks for a token with which a lost connection is taken up again.
    Session,
    /// Makes the nickname one's own, by a password.
    Register(String),
    /// Whether a room is to outlive the server.
    Keep(RoomName, bool),
    /// Somebody may not enter a room, or (false) may again.
    Ban(RoomName, Nick, bool),
    /// How TALK is spoken.
    Dialect(Dialect),
    /// Which lines are there?
    Help,
    /// Goodbye.
    Disconnect,
}

/// Who somebody says he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// His nickname.
    pub nick: Nick,
    /// His name for people.
    pub real_name: String,
    /// The token that [`Command::Session`] was answered with, of a connection that was lost.
    pub resume: Option<u128>,
    /// The password of the nickname, where it is registered.
    pub password: Option<String>,
}

/// With whom a call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// By name.
    Nick(Nick),
    /// By the key of the call.
    Key(u64),
}

/// What is to happen with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TalkAction {
    /// Asks for it.
    Request,
    /// Takes it.
    Accept,
    /// Does not.
    Deny,
    /// Ends it.
    End,
}

/// How calls are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// By names: `TALK John: Request`.
    #[default]
    Names,
    /// By keys: `TALK 123456789012345: ACCEPT`.
    Keys,
}

/// Who or what is silenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Muted {
    /// Oneself.
    Own(Direction),
    /// Somebody else, for everybody in one's voice room.
    Other(Nick, Direction),
    /// Somebody else, for oneself only.
    ForMe(Nick),
    /// Everybody but the operators of a room.
    Room(RoomName),
}

/// Which way somebody is silenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Nobody hears him.
    In,
    /// He hears nobody.
    Out,
    /// Neither.
    Both,
}

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carrier {
    /// As datagrams.
    #[default]
    Udp,
    /// As datagrams that only the two ends can read (SRTP).
    Srtp,
    /// Within the connection of the signalling.
    Tcp,
}

/// Where and how somebody talks and listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Where; nowhere yet for who waits for calls.
    pub room: Option<RoomName>,
    /// How packets travel.
    pub carrier: Carrier,
    /// What is heard is to be one stream.
    pub mix: Option<MixWish>,
}

/// What is said of recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// It begins.
    On,
    /// It ends.
    Off,
    /// It is allowed.
    Allow,
    /// It is not.
    Forbid,
}

/// Which events somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Telling {
    /// None.
    #[default]
    Off,
    /// Who joins, leaves, talks, is muted.
    On,
    /// How loud everybody is, too.
    Levels,
}

/// What a listener must know of a stream before its first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Payload type of its packets.
    pub payload_type: u8,
    /// What that means.
    pub format: PayloadFormat,
    /// Channels of the audio, which Opus does not tell by its format.
    pub channels: u8,
    /// Ticks of a packet, 0 where unknown.
    pub frame: u32,
    /// Encoder delay, in ticks.
    pub pre_skip: u32,
    /// A name for people, within those of its owner.
    pub label: Option<String>,
}

/// Why a line was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misunderstood {
    /// No such verb.
    Verb(String),
    /// The verb is known; this is how it is written.
    Syntax(&'static str, &'static str),
}

/// Every verb, how it is written, and what for.
pub const GRAMMAR: &[(&str, &str, &str)] = &[
    ("CONNECT", "CONNECT: \"Nickname\" \"Real Name\" 1.0.0 [pass=PASSWORD]", "say who you are, before all else"),
    ("NICK", "NICK: Nickname", "take another nickname"),
    ("JOIN", "JOIN: #room [password]", "enter a room; it is made where there is none"),
    ("LEAVE", "LEAVE: #room", "leave a room"),
    ("USERLIST", "USERLIST #room", "who is in a room"),
    ("WHOIS", "WHOIS Nickname", "somebody's real name, rooms and round trip"),
    ("LIST", "LIST", "which rooms there are"),
    ("CREATE", "CREATE: #room [password]", "make a room; you are its operator"),
    ("DELETE", "DELETE: #room", "end a room of yours; everybody goes to the lobby"),
    ("LOCK", "LOCK #room: password", "only who knows the password may enter"),
    ("UNLOCK", "UNLOCK: #room", "everybody may enter"),
    ("MSG", "MSG #room: text", "say something to a room"),
    ("PRIVMSG", "PRIVMSG Nickname: text", "say something to one other"),
    ("TALK", "TALK Nickname: Request|Accept|Deny|End", "a private call"),
    ("MUTE", "MUTE [Nickname|#room][: in|out|both|me]", "silence yourself, another, a room"),
    ("UNMUTE", "UNMUTE [Nickname|#room][: in|out|both|me]", "the opposite"),
    ("KICK", "KICK #room: Nickname", "send somebody out of a room of yours"),
    ("BAN", "BAN #room: Nickname", "let somebody into a room of yours no more"),
    ("UNBAN", "UNBAN #room: Nickname", "let him in again"),
    ("REGISTER", "REGISTER: password", "make your nickname your own"),
    ("KEEP", "KEEP #room: on|off", "a room of yours stays when everybody has left"),
    (
        "VOICE",
        "VOICE #room[: udp|srtp|tcp [mix[=FORMAT]]], VOICE: udp|srtp|tcp, VOICE: off",
        "talk and listen in a room you have joined, or in calls only",
    ),
    ("STREAM", "STREAM ssrc: pt=96 format=opus/48000/2 [channels=N frame=N preskip=N label=TEXT]", "announce packets"),
    ("STREAMEND", "STREAMEND ssrc[: rtp=N reason=WORD]", "a stream of yours has ended"),
    ("RECORD", "RECORD #room: on|off|allow|forbid", "tell everybody that you record"),
    ("EVENTS", "EVENTS: on|off|levels", "be told who talks"),
    ("SESSION", "SESSION", "a token that keeps your seat when the connection is lost"),
    ("DIALECT", "DIALECT: names|keys", "how TALK is written"),
    ("PING", "PING: text", "is anybody there"),
    ("PONG", "PONG: number", "the answer to a PING"),
    ("HELP", "HELP", "this list"),
    ("DISCONNECT", "DISCONNECT", "goodbye"),
];

impl Command {
    /// Understands a line, its end left off.
    ///
    /// # Errors
    /// Where there is no such verb, or it is written otherwise.
    pub fn parse(line: &str) -> Result<Self, Misunderstood> {
        let line = line.trim();
        let end = line.find(|c: char| c == ':' || c.is_whitespace()).unwrap_or(line.len());
        let verb = line[..end].to_ascii_uppercase();
        let Some(&(name, syntax, _)) = GRAMMAR.iter().find(|(name, ..)| *name == verb) else {
            return Err(Misunderstood::Verb(line[..end].chars().take(32).collect()));
        };
        let rest = Rest::of(&line[end..]);
        Self::understood(name, rest).ok_or(Misunderstood::Syntax(name, syntax))
    }

    fn understood(verb: &str, rest: Rest<'_>) -> Option<Self> {
        // Before the colon stands about whom, behind it what; where one of them is missing, the other is both.
        let Rest { about, what } = rest;
        let one = || rest.single();
        Some(match verb {
            "CONNECT" => connect(what)?,
            "NICK" => Self::Rename(Nick::parse(one()?)?),
            "PONG" => Self::Pong(one()?.parse().ok()?),
            "PING" => Self::Ping(one().unwrap_or_default().to_owned()),
            "JOIN" => {
                let (rooms, password) = rooms_and_password(one()?)?;
                Self::Join(rooms, password)
            }
            "LEAVE" => Self::Leave(RoomName::parse(one()?)?),
            "USERLIST" => Self::UserList(RoomName::parse(one()?)?),
            "WHOIS" => Self::WhoIs(Nick::parse(one()?)?),
            "LIST" => Self::List,
            "CREATE" => {
                let (mut rooms, password) = rooms_and_password(one()?)?;
                Self::Create(rooms.pop().filter(|_| rooms.is_empty())?, password)
            }
            "DELETE" => Self::Delete(RoomName::parse(one()?)?),
            "LOCK" => Self::Lock(RoomName::parse(about)?, password(what)?),
            "UNLOCK" => Self::Unlock(RoomName::parse(one()?)?),
            "MSG" => Self::Message(RoomName::parse(about)?, text(what)?),
            "PRIVMSG" => Self::Private(Nick::parse(about)?, text(what)?),
            "TALK" => talk(about, what)?,
            "MUTE" => Self::Mute(muted(about, what)?, true),
            "UNMUTE" => Self::Mute(muted(about, what)?, false),
            "KICK" => Self::Kick(RoomName::parse(about)?, Nick::parse(what)?),
            "BAN" => Self::Ban(RoomName::parse(about)?, Nick::parse(what)?, true),
            "UNBAN" => Self::Ban(RoomName::parse(about)?, Nick::parse(what)?, false),
            "REGISTER" => Self::Register(password(one()?)?),
            "KEEP" => Self::Keep(RoomName::parse(about)?, switch(what)?),
            "VOICE" => Self::Voice(voice(about, what)?),
            "STREAM" => Self::Stream(about.parse().ok()?, StreamFacts::parse(what)?),
            "STREAMEND" => stream_end(about, what)?,
            "RECORD" => Self::Record(RoomName::parse(about)?, recording(what)?),
            "EVENTS" => Self::Events(telling(one()?)?),
            "SESSION" => Self::Session,
            "DIALECT" => Self::Dialect(dialect(one()?)?),
            "HELP" => Self::Help,
            "DISCONNECT" => Self::Disconnect,
            _ => return None,
        })
    }
}

/// What follows a verb: `about: what`.
#[derive(Debug, Clone, Copy)]
struct Rest<'a> {
    about: &'a str,
    what: &'a str,
}

impl<'a> Rest<'a> {
    fn of(rest: &'a str) -> Self {
        let (about, what) = rest.split_once(':').unwrap_or((rest, ""));
        Self { about: about.trim(), what: what.trim() }
    }

    /// For verbs with one argument: `JOIN: #room` and `JOIN #room` are the same.
    fn single(&self) -> Option<&'a str> {
        match (self.about, self.what) {
            ("", "") => None,
            ("", one) | (one, "") => Some(one),
            _ => None,
        }
    }
}

fn text(what: &str) -> Option<String> {
    let kept: String = what.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    (!kept.trim().is_empty()).then_some(kept)
}

/// Words cannot hold spaces, so a password cannot either.
fn password(what: &str) -> Option<String> {
    (!what.is_empty() && what.len() <= 128 && !what.contains(char::is_whitespace)).then(|| what.to_owned())
}

/// `"Nickname" "Real Name" 1.0.0 [resume=TOKEN]`; the quotes around the nickname may be left out.
fn connect(what: &str) -> Option<Command> {
    let (nick, rest) = quoted(what)?;
    let (real_name, rest) = quoted(rest).unwrap_or(("", ""));
    let resume = rest.split_whitespace().find_map(|word| word.strip_prefix("resume="));
    let resume = match resume {
        Some(token) => Some(u128::from_str_radix(token, 16).ok()?),
        None => None,
    };
    let password = match rest.split_whitespace().find_map(|word| word.strip_prefix("pass=")) {
        Some(secret) => Some(password(secret)?),
        None => None,
    };
    let real_name = real_name.chars().filter(|c| !c.is_control()).take(64).collect();
    Some(Command::Connect(Hello { nick: Nick::parse(nick)?, real_name, resume, password }))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    match text.strip_prefix('"') {
        Some(inner) => inner.split_once('"'),
        None if text.is_empty() => None,
        None => Some(text.split_once(char::is_whitespace).unwrap_or((text, ""))),
    }
}

/// `#a, #b [password]`.
fn rooms_and_password(text: &str) -> Option<(Vec<RoomName>, Option<String>)> {
    let mut rooms = Vec::new();
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let (last, before) = parts.split_last()?;
    for part in before {
        rooms.push(RoomName::parse(part)?);
    }
    let (name, secret) = last.split_once(char::is_whitespace).unwrap_or((last, ""));
    rooms.push(RoomName::parse(name)?);
    let secret = secret.trim();
    Some((rooms, if secret.is_empty() { None } else { Some(password(secret)?) }))
}

fn talk(about: &str, what: &str) -> Option<Command> {
    let action = match what.to_ascii_lowercase().as_str() {
        "request" => TalkAction::Request,
        "accept" => TalkAction::Accept,
        "deny" => TalkAction::Deny,
        "end" => TalkAction::End,
        _ => return None,
    };
    let is_key = about.len() == 15 && about.bytes().all(|byte| byte.is_ascii_digit());
    let party = if is_key { Party::Key(about.parse().ok()?) } else { Party::Nick(Nick::parse(about)?) };
    Some(Command::Talk(party, action))
}

fn muted(about: &str, what: &str) -> Option<Muted> {
    let lower = what.to_ascii_lowercase();
    let direction = match lower.as_str() {
        "" | "in" => Some(Direction::In),
        "out" => Some(Direction::Out),
        "both" => Some(Direction::Both),
        _ => None,
    };
    match about {
        "" => direction.map(Muted::Own),
        room if room.starts_with('#') => RoomName::parse(room).filter(|_| what.is_empty()).map(Muted::Room),
        nick if lower == "me" => Nick::parse(nick).map(Muted::ForMe),
        nick => Some(Muted::Other(Nick::parse(nick)?, direction?)),
    }
}

fn voice(about: &str, what: &str) -> Option<Option<Voice>> {
    if about.is_empty() && what.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    let (carrier, more) = what.split_once(' ').unwrap_or((what, ""));
    let carrier = match carrier.to_ascii_lowercase().as_str() {
        "" if !about.is_empty() => Carrier::Udp,
        "udp" => Carrier::Udp,
        "srtp" => Carrier::Srtp,
        "tcp" => Carrier::Tcp,
        _ => return None,
    };
    let room = if about.is_empty() { None } else { Some(RoomName::parse(about)?) };
    Some(Some(Voice { room, carrier, mix: MixWish::of_words(more.split_whitespace())? }))
}

fn stream_end(about: &str, what: &str) -> Option<Command> {
    let (mut rtp, mut reason) = (None, "complete");
    for word in what.split_whitespace() {
        match word.split_once('=')? {
            ("rtp", number) => rtp = Some(number.parse().ok()?),
            ("reason", word) => reason = word,
            _ => {}
        }
    }
    let reason = reason.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    Some(Command::StreamEnd(about.parse().ok()?, rtp, reason))
}

fn recording(what: &str) -> Option<Recording> {
    Some(match what.to_ascii_lowercase().as_str() {
        "on" => Recording::On,
        "off" => Recording::Off,
        "allow" => Recording::Allow,
        "forbid" => Recording::Forbid,
        _ => return None,
    })
}

fn switch(what: &str) -> Option<bool> {
    match what.to_ascii_lowercase().as_str() {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn telling(what: &str) -> Option<Telling> {
    Some(match what.to_ascii_lowercase().as_str() {
        "on" => Telling::On,
        "off" => Telling::Off,
        "levels" => Telling::Levels,
        _ => return None,
    })
}

fn dialect(what: &str) -> Option<Dialect> {
    Some(match what.to_ascii_lowercase().as_str() {
        "names" => Dialect::Names,
        "keys" => Dialect::Keys,
        _ => return None,
    })
}
