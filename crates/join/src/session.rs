//! Entering: from a name and a room to a connection on which voice flows.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vox_cli::{Exit, Failure, SecretSource, Wake, stop_requested, wait};
use vox_room::{Message, Notice, Splitter, VoiceKeys};
use vox_srtp::{Protector, Unprotector};
use vox_sys::{monotonic_ns, net};
use zeroize::Zeroizing;

use crate::args::{Args, Carrying};
use crate::tls::{KnownHosts, Seen, Stream};

/// How long a server may take to answer, in ns.
const ANSWER_NS: i64 = 5_000_000_000;

/// How often the key of the media is sent until it is answered, in ns.
const KNOCK_NS: i64 = 150_000_000;

/// How long UDP is tried, in ns.
const UDP_NS: i64 = 1_500_000_000;

/// Streams that are heard at a time under one key; of more, the one that was silent longest is looked for anew.
const MAX_HEARD: usize = 4096;

/// The most lines that are kept while entering.
const MAX_EARLY: usize = 4096;

/// A connection in a room.
pub(crate) struct Session {
    pub(crate) stream: Stream,
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
    /// What seals our packets, and opens those that we hear; none where they travel in plain.
    pub(crate) seal: Option<Arc<Mutex<Protector>>>,
    pub(crate) opener: Option<Mutex<Unprotector>>,
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
    let (stream, seen) = connect(args)?;
    let room = args.room.room.as_str();
    let resume = resume.map_or_else(String::new, |token| format!(" resume={token}"));
    let pass = secrets.nick.as_ref().map_or_else(String::new, |secret| format!(" pass={}", secret.as_str()));
    let real_name: String = args.real_name.chars().filter(|c| !c.is_control() && *c != '"').collect();
    let mut session = Session { stream, splitter: Splitter::new(), media: None, early: Vec::new(), token: None };
    if let Some(seen) = seen {
        session.check_identity(args, &seen)?;
    }
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

fn connect(args: &Args) -> Result<(Stream, Option<Arc<Seen>>), Refusal> {
    let server = &args.room.server;
    let addresses =
        net::addresses(server).map_err(|error| Refusal::Lost(format!("cannot resolve {server}: {error}")))?;
    let lost = |error: std::io::Error| Refusal::Lost(format!("cannot reach {server}: {error}"));
    let reach = |address: &SocketAddr| {
        let tcp = TcpStream::connect_timeout(address, Duration::from_nanos(ANSWER_NS as u64))?;
        Ok((tcp, *address))
    };
    let (tcp, address) = first_ok(&addresses, reach).map_err(lost)?;
    tcp.set_nodelay(true).map_err(lost)?;
    tcp.set_nonblocking(true).map_err(lost)?;
    // What stays within this host nobody else hears.
    if args.plain || (!args.tls && address.ip().is_loopback()) {
        return Ok((Stream::plain(tcp), None));
    }
    let (stream, seen) = Stream::encrypted(tcp, server)?;
    Ok((stream, Some(seen)))
}

/// What comes of the first that it can be done with, or why it cannot with the last.
fn first_ok<T>(addresses: &[SocketAddr], reach: impl Fn(&SocketAddr) -> std::io::Result<T>) -> std::io::Result<T> {
    let (last, others) = addresses.split_last().expect("a name that resolves has an address");
    others.iter().find_map(|address| reach(address).ok()).map_or_else(|| reach(last), Ok)
}

impl Session {
    /// Waits until the server has shown its key, and whether that is the one that it had before.
    fn check_identity(&mut self, args: &Args, seen: &Seen) -> Result<(), Refusal> {
        let known = KnownHosts::at(args.known_hosts.as_deref())?;
        let deadline = monotonic_ns() + ANSWER_NS;
        self.stream.flush().map_err(|error| Refusal::Lost(format!("the connection broke: {error}")))?;
        while self.stream.is_handshaking() {
            self.fill(deadline)?;
        }
        let Some(fingerprint) = seen.fingerprint() else {
            return Err(Refusal::Lost("the server has shown no key".to_owned()));
        };
        Ok(known.check(&args.room.server, &fingerprint)?)
    }

    fn say(&mut self, line: &str) -> Result<(), Refusal> {
        // A fresh connection takes a few lines at once.
        self.stream
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

    /// Reads once; also where only the handshake came to its end.
    fn fill(&mut self, deadline: i64) -> Result<(), Refusal> {
        let was_handshaking = self.stream.is_handshaking();
        loop {
            if stop_requested() {
                return Err(Refusal::Final(Failure::quiet(Exit::Done)));
            }
            let mut buffer = vec![0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Refusal::Lost("the server hung up".to_owned())),
                Ok(length) => {
                    self.splitter.push(&buffer[..length]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It would try again in vain.
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(Refusal::Final(Failure::network(error)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if was_handshaking && !self.stream.is_handshaking() {
                        return Ok(());
                    }
                    if wait(Some(self.stream.as_fd()), Some(deadline))? == Wake::Deadline {
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
        let mix = args.mix.as_ref().map_or_else(String::new, |mix| format!(" {}", mix.0));
        let is_voice =
            |notice: &Notice| matches!(notice, Notice::VoiceUdp(..) | Notice::VoiceSrtp(..) | Notice::VoiceTcp);
        if args.carrier != Carrying::Tcp {
            // Keys are told where nobody in between reads them.
            let carrier = if self.stream.is_encrypted() { "srtp" } else { "udp" };
            self.say(&format!("VOICE{about}: {carrier}{mix}"))?;
            let answer = self.until(is_voice).map(|notice| match notice {
                Notice::VoiceUdp(address, token) => Some((address, token, None)),
                Notice::VoiceSrtp(address, token, keys) => Some((address, token, Some(keys))),
                _ => None,
            });
            match answer {
                Ok(Some((address, token, keys))) => {
                    if let Some(media) = bind(address, &token, keys.as_ref())? {
                        self.media = Some(media);
                        return Ok(());
                    }
                    if args.carrier == Carrying::Udp {
                        return Err(Refusal::Lost(format!("no datagrams get to {address} and back")));
                    }
                }
                Ok(None) => {}
                // The server has no UDP.
                Err(Refusal::Final(failure)) if failure.exit == Exit::Denied && args.carrier == Carrying::Auto => {}
                Err(refusal) => return Err(refusal),
            }
        }
        self.say(&format!("VOICE{about}: tcp{mix}"))?;
        self.until(|notice| matches!(notice, Notice::VoiceTcp)).map(drop)
    }
}

/// Binds an address of ours to the key; none where nothing comes back.
fn bind(to: SocketAddr, token: &str, keys: Option<&VoiceKeys>) -> Result<Option<Media>, Refusal> {
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
                return Ok(Some(Media {
                    socket: Arc::new(socket),
                    key,
                    seal: keys.map(|keys| Arc::new(Mutex::new(Protector::new(&keys.own)))),
                    opener: keys.map(|keys| Mutex::new(Unprotector::new(keys.heard.clone(), MAX_HEARD))),
                }));
            }
        }
    }
    Ok(None)
}
