//! What the room sends: packets and facts become records on stdout.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;

use vox_cli::{Exit, Failure, Output, note, stop_requested, wait_any, warn};
use vox_frame::{EndReason, Event, MediaTime, Record, StreamId, Times};
use vox_room::{Listener, Message, Notice};
use vox_sys::{Clock, monotonic_ns, net};

use crate::args::{Accepting, Args};
use crate::events::Events;
use crate::link::{Datagrams, Link};
use crate::session::{Refusal, Secrets, Session, enter};

/// How often the key of the media is sent again, in ns: keeps a NAT open, and finds the way back after it has changed.
const KEEP_OPEN_NS: i64 = 10_000_000_000;

/// How often bytes that wait for a slow connection are tried again, in ns.
const RETRY_NS: i64 = 10_000_000;

/// The pause before the first try to come back, in ns; each further one is twice as long.
const FIRST_PAUSE_NS: i64 = 100_000_000;

/// The longest pause between tries, in ns.
const LONGEST_PAUSE_NS: i64 = 1_000_000_000;

/// Datagrams that are read before what they gave is written.
const BURST: usize = 64;

pub(crate) struct Ear<'a> {
    pub(crate) args: &'a Args,
    pub(crate) secrets: Secrets,
    /// Room for a packet that was sealed.
    pub(crate) opened: Vec<u8>,
    /// Packets that were forged, or seen before.
    pub(crate) forged: u64,
    pub(crate) link: Link,
    pub(crate) clock: Clock,
    pub(crate) listener: Listener,
    /// None where nobody reads stdout.
    pub(crate) output: Option<Output>,
    /// Readable, at its end, when it is time to leave.
    pub(crate) leave: UnixStream,
    pub(crate) packets: u64,
    pub(crate) reconnects: u32,
    /// Whether somebody reads what is heard, as far as is known.
    pub(crate) is_read: bool,
    /// Where what happens is told beside stdout.
    pub(crate) events: Option<Events>,
}

/// Why a turn with a connection is over.
enum Over {
    /// We leave, for that reason.
    Leave(EndReason),
    /// The connection is lost.
    Lost(String),
    /// The server wants us no longer.
    Gone(Failure),
}

impl Ear<'_> {
    /// Hears until it is time to leave or the connection is gone for good.
    pub(crate) fn run(&mut self, session: Session) -> Result<(), Failure> {
        let mut session = session;
        loop {
            let token = session.token.clone();
            match self.hear(session)? {
                Over::Leave(reason) => {
                    let is_hung_up = self.args.call.is_some() && reason == EndReason::Bye;
                    if is_hung_up {
                        self.link.give_up_speaking();
                    }
                    return self.finish(&reason);
                }
                Over::Gone(failure) => {
                    self.link.give_up();
                    self.finish(&EndReason::Bye)?;
                    return Err(failure);
                }
                Over::Lost(why) => {
                    self.link.down();
                    match self.come_back(&why, token.as_deref()) {
                        Ok(again) => {
                            self.attach(&again)?;
                            session = again;
                        }
                        Err(failure) => {
                            self.link.give_up();
                            let reason =
                                if failure.message.is_empty() { EndReason::Stopped } else { EndReason::Timeout };
                            self.finish(&reason)?;
                            return Err(failure);
                        }
                    }
                }
            }
        }
    }

    /// Tries to come back, as long as was asked for.
    fn come_back(&mut self, why: &str, token: Option<&str>) -> Result<Session, Failure> {
        let Some(patience) = self.args.reconnect else {
            return Err(Failure::network(format_args!("{why} (--reconnect comes back)")));
        };
        warn(format_args!("{why}; coming back"));
        let give_up = monotonic_ns().saturating_add(patience.ns());
        let mut pause = FIRST_PAUSE_NS;
        loop {
            let again = monotonic_ns() + pause;
            pause = (pause * 2).min(LONGEST_PAUSE_NS);
            while monotonic_ns() < again {
                if stop_requested() || self.is_told_to_leave() {
                    return Err(Failure::quiet(Exit::Done));
                }
                vox_cli::wait(Some(self.leave.as_fd()), Some(again))?;
            }
            match enter(self.args, &self.secrets, token) {
                Ok(session) => {
                    self.reconnects += 1;
                    note("the connection is there again");
                    self.listener.handle_reconnected(self.clock.now());
                    return Ok(session);
                }
                Err(Refusal::Lost(why)) if monotonic_ns() >= give_up => return Err(Failure::network(why)),
                // Our own name may be held by the connection that is not quite dead yet.
                Err(Refusal::Final(failure)) if failure.exit != Exit::Denied || monotonic_ns() >= give_up => {
                    return Err(failure);
                }
                Err(_) => {}
            }
        }
    }

    fn is_told_to_leave(&self) -> bool {
        let mut byte = [0];
        matches!((&self.leave).read(&mut byte), Ok(0))
    }

    /// Lets packets and lines go out by this connection.
    pub(crate) fn attach(&self, session: &Session) -> Result<(), Failure> {
        let socket = session
            .media
            .as_ref()
            .map(|media| Datagrams { socket: std::sync::Arc::clone(&media.socket), seal: media.seal.clone() });
        let writer = session.stream.try_clone();
        let writer = writer.map_err(|error| Failure::failed(format_args!("cannot share the connection: {error}")))?;
        self.link.up(writer, socket);
        if self.link.is_muted() {
            self.link.line("MUTE");
        }
        if self.events.is_some() {
            self.link.line("EVENTS: levels");
        }
        if self.args.recording {
            self.link.line(&format!("RECORD {}: on", self.args.room.room));
        }
        Ok(())
    }

    fn hear(&mut self, mut session: Session) -> Result<Over, Failure> {
        for notice in std::mem::take(&mut session.early) {
            if let Some(over) = self.notice(notice)? {
                return Ok(over);
            }
        }
        let mut buffer = vec![0; 65_536];
        let mut keep_open = monotonic_ns() + KEEP_OPEN_NS;
        loop {
            if let Some(over) = self.messages(&mut session)? {
                return Ok(over);
            }
            self.flush()?;
            if self.is_for_nobody() {
                return Ok(Over::Leave(EndReason::Complete));
            }
            if stop_requested() {
                return Ok(Over::Leave(EndReason::Stopped));
            }
            let retry = self.link.flush().then(|| monotonic_ns() + RETRY_NS);
            let listener = self.listener.next_deadline().map(|at| self.clock.mono_ns(at));
            let deadline = [retry, listener, Some(keep_open)].into_iter().flatten().min();
            let mut fds = vec![session.stream.as_fd(), self.leave.as_fd()];
            fds.extend(session.media.as_ref().map(|media| media.socket.as_fd()));
            wait_any(&fds, deadline)?;
            if self.is_told_to_leave() {
                return Ok(Over::Leave(EndReason::Complete));
            }
            self.receive(&session, &mut buffer)?;
            match session.stream.read(&mut buffer) {
                Ok(0) => return Ok(Over::Lost("the server hung up".to_owned())),
                Ok(length) => session.splitter.push(&buffer[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Ok(Over::Lost(format!("the connection broke: {error}"))),
            }
            let Self { listener, output, clock, .. } = self;
            listener.handle_timeout(clock.now(), &mut |record| write(output, &record))?;
            if monotonic_ns() >= keep_open {
                keep_open = monotonic_ns() + KEEP_OPEN_NS;
                if let Some(media) = &session.media {
                    // What is not sent now is sent the next time.
                    let _unsent = media.socket.send(&media.key);
                }
            }
        }
    }

    fn receive(&mut self, session: &Session, buffer: &mut [u8]) -> Result<(), Failure> {
        let Some(media) = &session.media else { return Ok(()) };
        for _ in 0..BURST {
            // A refused packet of ours is told here; the signalling knows whether the server is gone.
            let Ok(Some(datagram)) = net::receive(&media.socket, buffer) else { return Ok(()) };
            let bytes = &buffer[..datagram.length];
            if bytes.starts_with(b"TALKSESSION") || bytes.starts_with(b"SESSIONERROR") {
                continue;
            }
            let now = self.clock.now();
            if let Some(opener) = &media.opener {
                let mut opener = opener.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if opener.handle_rtp(now, bytes, &mut self.opened).is_err() {
                    self.forged += 1;
                    continue;
                }
            }
            self.packets += 1;
            let Self { listener, output, opened, .. } = self;
            let bytes = if media.opener.is_some() { &opened[..] } else { bytes };
            listener.handle_packet(now, now.plus(-datagram.age), bytes, &mut |record| write(output, &record))?;
        }
        Ok(())
    }

    fn messages(&mut self, session: &mut Session) -> Result<Option<Over>, Failure> {
        loop {
            let notice = match session.splitter.next_message() {
                Ok(None) => return Ok(None),
                Ok(Some(Message::Line(line))) => Notice::parse(&String::from_utf8_lossy(line)),
                Ok(Some(Message::TooLong(_))) => continue,
                Ok(Some(Message::Packet(packet))) => {
                    let now = self.clock.now();
                    self.packets += 1;
                    let Self { listener, output, .. } = self;
                    listener.handle_packet(now, now, packet, &mut |record| write(output, &record))?;
                    continue;
                }
                Err(error) => return Ok(Some(Over::Lost(error.to_string()))),
            };
            if let Some(over) = self.notice(notice)? {
                return Ok(Some(over));
            }
        }
    }

    fn notice(&mut self, notice: Notice) -> Result<Option<Over>, Failure> {
        let now = self.clock.now();
        match notice {
            Notice::Ping(number) => self.link.line(&format!("PONG: {number}")),
            Notice::Stream { nick, ssrc, facts } => {
                let Self { listener, output, .. } = self;
                listener.handle_stream(now, &nick, ssrc, facts, &mut |record| write(output, &record))?;
            }
            Notice::StreamEnd { ssrc, rtp, reason } => self.listener.handle_farewell(now, ssrc, rtp, &reason),
            Notice::Event { what, nick, details, .. } => {
                if what == "back" {
                    self.listener.handle_back(Some(&nick));
                }
                let details = if details.is_empty() { Vec::new() } else { vec![("details", details)] };
                self.event(&what, &nick, details)?;
            }
            Notice::Message { nick, room, text } => {
                self.event("message", &nick, vec![("room", room), ("text", text)])?;
            }
            Notice::Private { nick, text } => self.event("message", &nick, vec![("text", text)])?,
            Notice::Record { room, what } => {
                note(format_args!("recording of {room}: {what}"));
                self.event("record", "", vec![("room", room), ("state", what)])?;
            }
            Notice::Refused { verb, word, text } if verb == "TALK" && self.args.call.is_some() => {
                let exit = if word == "busy" { Exit::Busy } else { Exit::NoAnswer };
                return Ok(Some(Over::Gone(Failure { exit, message: text })));
            }
            Notice::Refused { verb, text, .. } => warn(format_args!("{verb}: the server says: {text}")),
            Notice::Talk { nick, action } => {
                self.event("talk", &nick, vec![("action", action.clone())])?;
                return Ok(self.talk(&nick, &action));
            }
            Notice::Other(line) if line.starts_with("TERMINATE") => {
                return Ok(Some(Over::Lost("the server is closing".to_owned())));
            }
            Notice::Other(line) if line.starts_with("KICKED ") || line.starts_with("DELETED") => {
                let failure = Failure { exit: Exit::Denied, message: format!("the server says: {line}") };
                return Ok(Some(Over::Gone(failure)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// What somebody says of a call.
    fn talk(&mut self, nick: &str, action: &str) -> Option<Over> {
        let ours = self.args.call.as_ref().is_some_and(|callee| callee.as_str().eq_ignore_ascii_case(nick));
        let gone = |exit: Exit, text: &str| Some(Over::Gone(Failure { exit, message: format!("{nick} {text}") }));
        match action {
            "Request" => self.requested(nick),
            "Accept" if ours => self.link.set_answered(),
            "Deny" if ours => return gone(Exit::Denied, "does not take the call"),
            "End" if ours && self.link.is_answered() => return Some(Over::Leave(EndReason::Bye)),
            "End" if ours => return gone(Exit::NoAnswer, "does not answer"),
            _ => {}
        }
        None
    }

    /// Somebody calls: takes the call, or does not.
    fn requested(&self, nick: &str) {
        let answer = |link: &Link, nick: &str, takes: bool| {
            link.line(&format!("TALK {nick}: {}", if takes { "Accept" } else { "Deny" }));
        };
        match &self.args.accept {
            Accepting::Ask(command) if self.args.call.is_none() => {
                let (link, nick, mut command) = (self.link.clone(), nick.to_owned(), Command::new(command));
                // Somebody is asked, perhaps for long: what is heard goes on meanwhile.
                let started = thread::Builder::new().name("ask".to_owned()).spawn(move || {
                    // Our stdout is the data path, and our stdin is the audio.
                    let asked = command.arg(&nick).stdin(Stdio::null()).stdout(Stdio::null()).status();
                    answer(&link, &nick, asked.is_ok_and(|status| status.success()));
                });
                if started.is_err() {
                    warn("cannot ask about a call: it rings on");
                }
            }
            accepting => answer(&self.link, nick, *accepting == Accepting::All && self.args.call.is_none()),
        }
    }

    /// A fact becomes an Event, of the stream of whom it is about where there is one.
    fn event(&mut self, what: &str, nick: &str, details: Vec<(&str, String)>) -> Result<(), Failure> {
        let (id, timestamp) = self.listener.stream_of(nick).unwrap_or((StreamId(0), MediaTime(0)));
        let mut map = serde_json::Map::new();
        if !nick.is_empty() {
            map.insert("nick".to_owned(), nick.into());
        }
        for (name, value) in details {
            map.insert(name.to_owned(), value.into());
        }
        let times = Times { arrived: Some(self.clock.now()), ..Times::default() };
        let event = Event { id, timestamp, times, event: what.to_owned(), details: map };
        if let Some(events) = &mut self.events {
            events.tell(&event);
        }
        // How loud somebody is stands in his packets.
        if what == "level" { Ok(()) } else { write(&mut self.output, &Record::Event(event)) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let Some(output) = &mut self.output else { return Ok(()) };
        let outcome = output.flush();
        settle(&mut self.output, outcome)
    }

    /// Whether its reader has gone, and there is nothing to say either.
    fn is_for_nobody(&mut self) -> bool {
        if self.is_read && self.output.is_none() {
            self.is_read = false;
            self.link.set_unread();
        }
        self.link.is_unread() && self.link.has_said_all()
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        let Self { listener, output, .. } = self;
        listener.finish(reason, &mut |record| write(output, &record))?;
        self.flush()
    }
}

fn write(output: &mut Option<Output>, record: &Record<'_>) -> Result<(), Failure> {
    let Some(to) = output else { return Ok(()) };
    let outcome = to.write(record);
    settle(output, outcome)
}

/// A reader that has gone is no failure: whoever speaks as well goes on without it.
fn settle(output: &mut Option<Output>, outcome: Result<(), Failure>) -> Result<(), Failure> {
    match outcome {
        Err(failure) if failure.message.is_empty() => {
            *output = None;
            Ok(())
        }
        outcome => outcome,
    }
}
