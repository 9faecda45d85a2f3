//! Entering: from a name and a room to a connection on which voice flows.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use vox_cli::{Exit, Failure, SecretSource, Wake, stop_requested, wait};
use vox_room::{Message, Notice, Splitter};
use vox_sys::{monotonic_ns, net};
use zeroize::Zeroizing;

use crate::args::{Args, Carrying};

/// How long a server may take to answer, in ns.
const ANSWER_NS: i64 = 5_000_000_000;

/// How often the key of the media is sent until it is answered, in ns.
const KNOCK_NS: i64 = 150_000_000;

/// How long UDP is tried, in ns.
const UDP_NS: i64 = 1_500_000_000;

/// The most lines that are kept while entering.
const MAX_EARLY: usize = 4096;

/// A connection in a room.
pub(crate) struct Session {
    pub(crate) tcp: TcpStream,
    pub(crate) splitter: Splitter,
    pub(crate) media: Option<Media>,
    /// What was told while entering.
    pub(crate) early: Vec<Notice>,
    /// With which this session is taken up again.
    pub(crate) token: Option<String>,
}

/// Voice by datagrams.
pub(crate) struct Media {
    pub(crate) socket: Arc<UdpSocket>,
    /// What binds our address; sent again and again, it keeps a NAT open.
    pub(crate) key: Vec<u8>,
}

/// What opens doors.
#[derive(Default)]
pub(crate) struct Secrets {
    /// The password of the room.
    pub(crate) room: Option<Zeroizing<String>>,
    /// That of the nickname.
    pub(crate) nick: Option<Zeroizing<String>>,
}

impl Secrets {
    pub(crate) fn read(args: &Args) -> Result<Self, Failure> {
        let read = |source: &Option<SecretSource>| source.as_ref().map(SecretSource::read).transpose();
        Ok(Self { room: read(&args.password_file)?, nick: read(&args.nick_password)? })
    }
}

/// Why somebody is not in the room.
pub(crate) enum Refusal {
    /// There is no connection: another try may get one.
    Lost(String),
    /// The server does not want it: it would not the next time.
    Final(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Final(failure)
    }
}

/// Enters the room; `resume` is the token of a session that was lost.
pub(crate) fn enter(args: &Args, secrets: &Secrets, resume: Option<&str>) -> Result<Session, Refusal> {
    let tcp = connect(&args.room.server)?;
    let room = args.room.room.as_str();
    let resume = resume.map_or_else(String::new, |token| format!(" resume={token}"));
    let pass = secrets.nick.as_ref().map_or_else(String::new, |secret| format!(" pass={}", secret.as_str()));
    let real_name: String = args.real_name.chars().filter(|c| !c.is_control() && *c != '"').collect();
    let mut session = Session { tcp, splitter: Splitter::new(), media: None, early: Vec::new(), token: None };
    session.say(&format!("CONNECT: \"{}\" \"{real_name}\" 1.0.0{resume}{pass}", args.name))?;
    session.until(|notice| matches!(notice, Notice::Accepted(_)))?;
    if args.reconnect.is_some() {
        session.say("SESSION")?;
        session.until(|notice| matches!(notice, Notice::Session(_)))?;
    }
    let password = secrets.room.as_ref().map_or_else(String::new, |secret| format!(" {}", secret.as_str()));
    session.say(&format!("JOIN: {room}{password}"))?;
    session.until(|notice| matches!(notice, Notice::Joined(joined) if joined == room))?;
    session.begin_voice(args)?;
    Ok(session)
}

fn connect(server: &str) -> Result<TcpStream, Refusal> {
    let address = net::resolve(server).map_err(|error| Refusal::Lost(format!("cannot resolve {server}: {error}")))?;
    let lost = |error: std::io::Error| Refusal::Lost(format!("cannot reach {server}: {error}"));
    let tcp = TcpStream::connect_timeout(&address, Duration::from_nanos(ANSWER_NS as u64)).map_err(lost)?;
    tcp.set_nodelay(true).map_err(lost)?;
    tcp.set_nonblocking(true).map_err(lost)?;
    Ok(tcp)
}

impl Session {
    fn say(&mut self, line: &str) -> Result<(), Refusal> {
        // A fresh connection takes a few lines at once.
        self.tcp
            .write_all(format!("{line}\r\n").as_bytes())
            .map_err(|error| Refusal::Lost(format!("the connection broke: {error}")))
    }

    /// Reads until a line that `wanted` says yes to. What else is told is kept; what is a refusal ends it.
    fn until(&mut self, wanted: impl Fn(&Notice) -> bool) -> Result<Notice, Refusal> {
        let deadline = monotonic_ns() + ANSWER_NS;
        loop {
            while let Some(notice) = self.next_notice()? {
                if wanted(&notice) {
                    if let Notice::Session(token) = &notice {
                        self.token = Some(token.clone());
                    }
                    return Ok(notice);
                }
                self.other(notice)?;
            }
            self.fill(deadline)?;
        }
    }

    fn other(&mut self, notice: Notice) -> Result<(), Refusal> {
        let denied = |text: String| Refusal::Final(Failure { exit: Exit::Denied, message: text });
        match notice {
            Notice::Ping(number) => self.say(&format!("PONG: {number}"))?,
            Notice::NickInUse(text) => return Err(denied(format!("{text} (--name)"))),
            Notice::NotAccepted(text) => {
                let hint = if text.contains(" is registered;") { " (--nick-password)" } else { "" };
                return Err(denied(format!("the server says: {text}{hint}")));
            }
            Notice::Refused { verb, word, text } if word == "busy" || verb == "JOIN" || verb == "VOICE" => {
                let hint = if word == "locked" { " (--password-file)" } else { "" };
                return Err(denied(format!("the server says: {text}{hint}")));
            }
            other if self.early.len() < MAX_EARLY => self.early.push(other),
            _ => {}
        }
        Ok(())
    }

    fn next_notice(&mut self) -> Result<Option<Notice>, Refusal> {
        loop {
            let message = self.splitter.next_message().map_err(|error| Refusal::Lost(error.to_string()))?;
            match message {
                None => return Ok(None),
                Some(Message::Line(line)) => return Ok(Some(Notice::parse(&String::from_utf8_lossy(line)))),
                // Voice before we are ready for it.
                Some(Message::Packet(_) | Message::TooLong(_)) => {}
            }
        }
    }

    fn fill(&mut self, deadline: i64) -> Result<(), Refusal> {
        loop {
            if stop_requested() {
                return Err(Refusal::Final(Failure::quiet(Exit::Done)));
            }
            let mut buffer = [0; 16_384];
            match self.tcp.read(&mut buffer) {
                Ok(0) => return Err(Refusal::Lost("the server hung up".to_owned())),
                Ok(length) => {
                    self.splitter.push(&buffer[..length]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if wait(Some(self.tcp.as_fd()), Some(deadline))? == Wake::Deadline {
                        return Err(Refusal::Lost("the server does not answer".to_owned()));
                    }
                }
                Err(error) => return Err(Refusal::Lost(format!("the connection broke: {error}"))),
            }
        }
    }

    fn begin_voice(&mut self, args: &Args) -> Result<(), Refusal> {
        // Who calls is heard in the call and nowhere else.
        let about = if args.call.is_some() { String::new() } else { format!(" {}", args.room.room) };
        let is_voice = |notice: &Notice| matches!(notice, Notice::VoiceUdp(..) | Notice::VoiceTcp);
        if args.carrier != Carrying::Tcp {
            self.say(&format!("VOICE{about}: udp"))?;
            match self.until(is_voice) {
                Ok(Notice::VoiceUdp(address, token)) => {
                    if let Some(media) = bind(address, &token)? {
                        self.media = Some(media);
                        return Ok(());
                    }
                    if args.carrier == Carrying::Udp {
                        return Err(Refusal::Lost(format!("no datagrams get to {address} and back")));
                    }
                }
                Ok(_) => {}
                // The server has no UDP.
                Err(Refusal::Final(failure)) if failure.exit == Exit::Denied && args.carrier == Carrying::Auto => {}
                Err(refusal) => return Err(refusal),
            }
        }
        self.say(&format!("VOICE{about}: tcp"))?;
        self.until(|notice| matches!(notice, Notice::VoiceTcp)).map(drop)
    }
}

/// Binds an address of ours to the key; none where nothing comes back.
fn bind(to: SocketAddr, token: &str) -> Result<Option<Media>, Refusal> {
    let lost = |error: std::io::Error| Refusal::Lost(format!("cannot send to {to}: {error}"));
    let any = if to.is_ipv4() { SocketAddr::from(([0, 0, 0, 0], 0)) } else { SocketAddr::from(([0u16; 8], 0)) };
    let socket = net::receiver(any, None, None).map_err(lost)?;
    socket.connect(to).map_err(lost)?;
    let key = format!("TALKSESSION: {token}").into_bytes();
    let give_up = monotonic_ns() + UDP_NS;
    let mut buffer = [0; 2048];
    while monotonic_ns() < give_up && !stop_requested() {
        // What is not sent now is sent with the next knock.
        let _unsent = socket.send(&key);
        wait(Some(socket.as_fd()), Some(monotonic_ns() + KNOCK_NS))?;
        while let Some(datagram) = net::receive(&socket, &mut buffer).map_err(lost)? {
            if buffer[..datagram.length].starts_with(b"TALKSESSION: ok") {
                return Ok(Some(Media { socket: Arc::new(socket), key }));
            }
        }
    }
    Ok(None)
}
