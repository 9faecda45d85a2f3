//! TCP connections that packets come by: those who connect here, or one that is made.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use vox_cli::{Failure, note, warn};
use vox_frame::Rate;
use vox_rtp::{Deframer, Framing, Packet, read_streamer_greeting, streamer_greeting};
use vox_sys::{net, tcp};

/// How long a connection may take to stand, in ns.
const CONNECT_NS: i64 = 5_000_000_000;

/// How often a connection that is being made is looked at, in ns.
const CONNECTING_NS: i64 = 10_000_000;

/// The first and the longest pause before the next attempt to connect, in ns.
const FIRST_PAUSE_NS: i64 = 250_000_000;
const LONGEST_PAUSE_NS: i64 = 8_000_000_000;

/// How long a client may take for its first packet, and for the rest of one that it has begun, in ns.
const PATIENCE_NS: i64 = 10_000_000_000;

/// What is read of a connection at a time, in bytes: the others have their turn after it.
const READ: usize = 16 * 1024;

/// How packets are carried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carriage {
    pub(crate) framing: Framing,
    /// The rate that the TCP streamer's clients are told.
    pub(crate) rate: Rate,
    pub(crate) reconnect: bool,
    pub(crate) max_clients: usize,
}

pub(crate) struct Inlet {
    name: String,
    carriage: Carriage,
    role: Role,
    connections: BTreeMap<u32, Connection>,
    next_id: u32,
    turn: usize,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) broken: u64,
}

enum Role {
    Server(TcpListener),
    Client { address: SocketAddr, link: Link, pause: i64 },
}

enum Link {
    Down(i64),
    Connecting(TcpStream, i64),
    Up,
}

struct Connection {
    stream: TcpStream,
    from: SocketAddr,
    deframer: Deframer,
    /// Whether the TCP streamer's greeting is still to come.
    awaits_greeting: bool,
    /// When the last good packet was whole, in ns; when the connection was made, before there was one.
    last_whole: i64,
    /// Whether any good packet came.
    spoke: bool,
    /// What is still to be written of the last packet that went back.
    owed: Vec<u8>,
}

/// What came by a connection.
pub(crate) enum Arrival<'a> {
    /// A packet, by that connection.
    Packet(u32, SocketAddr, &'a [u8]),
    /// The TCP streamer's server tells the rate of what follows.
    Rate(Rate),
    /// The connection of that number is over.
    Closed(u32),
}

type Sink<'a> = dyn FnMut(Arrival<'_>) -> Result<(), Failure> + 'a;

impl Inlet {
    /// Listens at `target`, or begins to connect there.
    pub(crate) fn open(target: &str, connect: bool, carriage: Carriage) -> Result<Self, Failure> {
        let shown = if target.starts_with(':') { format!("127.0.0.1{target}") } else { target.to_owned() };
        let address =
            net::resolve(&shown).map_err(|error| Failure::network(format_args!("cannot resolve {target}: {error}")))?;
        let role = if connect {
            Role::Client { address, link: Link::Down(0), pause: FIRST_PAUSE_NS }
        } else {
            let listener = tcp::listen(address)
                .map_err(|error| Failure::network(format_args!("cannot listen on {target}: {error}")))?;
            Role::Server(listener)
        };
        Ok(Self {
            name: format!("tcp://{shown}"),
            carriage,
            role,
            connections: BTreeMap::new(),
            next_id: 0,
            turn: 0,
            accepted: 0,
            refused: 0,
            broken: 0,
        })
    }

    /// What to wait for: each connection in turn first, the listener last.
    pub(crate) fn descriptors(&mut self) -> Vec<BorrowedFd<'_>> {
        self.turn = (self.turn + 1) % self.connections.len().max(1);
        let streams = self.connections.values().map(|connection| connection.stream.as_fd());
        let mut all: Vec<_> = streams.collect();
        all.rotate_left(self.turn);
        if let Role::Server(listener) = &self.role {
            all.push(listener.as_fd());
        }
        all
    }

    /// When something is to be done without anything having come.
    pub(crate) fn next_deadline(&self, now: i64) -> Option<i64> {
        let link = match &self.role {
            Role::Client { link: Link::Down(until), .. } => Some(*until),
            Role::Client { link: Link::Connecting(..), .. } => Some(now + CONNECTING_NS),
            _ => None,
        };
        let impatient = self.connections.values().filter(|connection| connection.is_owing());
        impatient.map(|connection| connection.last_whole + PATIENCE_NS).chain(link).min()
    }

    /// Takes what is there on the descriptor of that index.
    pub(crate) fn handle_ready(&mut self, index: usize, now: i64, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let count = self.connections.len();
        if index >= count {
            return self.accept(now);
        }
        let Some(&id) = self.connections.keys().nth((index + self.turn) % count) else { return Ok(()) };
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        match connection.read(id, now, sink)? {
            Ok(true) => Ok(()),
            Ok(false) => self.close(id, now, None, sink),
            Err(error) => self.close(id, now, Some(&error), sink),
        }
    }

    /// Sends a packet back to whom that is; false where there is no such connection, or it is busy with the last one.
    pub(crate) fn send(&mut self, to: SocketAddr, packet: &[u8]) -> bool {
        let framing = self.carriage.framing;
        let connection = self.connections.values_mut().find(|connection| connection.from == to);
        connection.is_some_and(|connection| connection.send(framing, packet))
    }

    /// Moves connections on, and closes those that say nothing sensible in time.
    pub(crate) fn handle_timeout(&mut self, now: i64, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let overdue = |connection: &Connection| connection.is_owing() && now >= connection.last_whole + PATIENCE_NS;
        let silent: Vec<u32> =
            self.connections.iter().filter(|(_, connection)| overdue(connection)).map(|(id, _)| *id).collect();
        for id in silent {
            self.close(id, now, Some(&io::Error::new(io::ErrorKind::TimedOut, "it sends no packets")), sink)?;
        }
        self.connect(now)
    }

    fn connect(&mut self, now: i64) -> Result<(), Failure> {
        let Role::Client { address, link, .. } = &mut self.role else { return Ok(()) };
        let address = *address;
        let next = match std::mem::replace(link, Link::Up) {
            Link::Down(until) if now >= until => {
                tcp::connect(address).map(|stream| Link::Connecting(stream, now + CONNECT_NS))
            }
            Link::Connecting(stream, until) => match tcp::is_connected(&stream) {
                Ok(true) => {
                    self.add(stream, address, now);
                    return Ok(());
                }
                Ok(false) if now >= until => Err(io::ErrorKind::TimedOut.into()),
                Ok(false) => Ok(Link::Connecting(stream, until)),
                Err(error) => Err(error),
            },
            other => Ok(other),
        };
        match next {
            Ok(next) => {
                if let Role::Client { link, .. } = &mut self.role {
                    *link = next;
                }
                Ok(())
            }
            Err(error) => self.lost(now, &error),
        }
    }

    /// The connection cannot be made, or broke.
    fn lost(&mut self, now: i64, error: &io::Error) -> Result<(), Failure> {
        let Role::Client { link, pause, .. } = &mut self.role else { return Ok(()) };
        if !self.carriage.reconnect {
            return Err(Failure::network(format_args!("no connection to {}: {error}", self.name)));
        }
        if *pause == FIRST_PAUSE_NS {
            warn(format_args!("no connection to {}: {error}; trying again", self.name));
        }
        *link = Link::Down(now + *pause);
        *pause = (*pause * 2).min(LONGEST_PAUSE_NS);
        Ok(())
    }

    fn accept(&mut self, now: i64) -> Result<(), Failure> {
        let Role::Server(listener) = &self.role else { return Ok(()) };
        let accepted = tcp::accept(listener)
            .map_err(|error| Failure::network(format_args!("cannot accept on {}: {error}", self.name)))?;
        let Some((stream, from)) = accepted else { return Ok(()) };
        if self.connections.len() >= self.carriage.max_clients {
            self.refused += 1;
            return Ok(());
        }
        if self.carriage.framing == Framing::TcpStreamer {
            let mut greeting = Vec::new();
            self.carriage.framing.write(&streamer_greeting(self.carriage.rate), &mut greeting);
            // A new connection takes as little as this; one that does not is noticed when it is read.
            let _broken = tcp::write(&stream, &greeting);
        }
        self.add(stream, from, now);
        Ok(())
    }

    fn add(&mut self, stream: TcpStream, from: SocketAddr, now: i64) {
        let is_client = matches!(self.role, Role::Client { .. });
        self.accepted += 1;
        self.next_id = self.next_id.wrapping_add(1);
        self.connections.insert(
            self.next_id,
            Connection {
                stream,
                from,
                deframer: Deframer::new(self.carriage.framing),
                awaits_greeting: is_client && self.carriage.framing == Framing::TcpStreamer,
                last_whole: now,
                spoke: false,
                owed: Vec::new(),
            },
        );
    }

    fn close(&mut self, id: u32, now: i64, error: Option<&io::Error>, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let Some(connection) = self.connections.remove(&id) else { return Ok(()) };
        sink(Arrival::Closed(id))?;
        if let Some(error) = error {
            self.broken += 1;
            note(format_args!("{} is gone: {error}", connection.from));
        }
        if let Role::Client { pause, .. } = &mut self.role {
            if connection.spoke {
                *pause = FIRST_PAUSE_NS;
            }
            let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended");
            return self.lost(now, error.unwrap_or(&ended));
        }
        Ok(())
    }
}

impl Connection {
    /// Whether something is owed: the first packet, or the rest of one.
    const fn is_owing(&self) -> bool {
        !self.spoke || self.deframer.is_mid_frame()
    }

    /// Sends a packet back, whole or not at all; the rest of one that does not fit goes with the next. One that breaks is
    /// noticed when it is read.
    fn send(&mut self, framing: Framing, packet: &[u8]) -> bool {
        self.flush();
        let taken = self.owed.is_empty() && framing.write(packet, &mut self.owed);
        self.flush();
        taken
    }

    fn flush(&mut self) {
        while !self.owed.is_empty() {
            let Ok(Some(written)) = tcp::write(&self.stream, &self.owed) else { return };
            self.owed.drain(..written);
        }
    }

    /// Reads once. The inner result is what became of the connection: whether it goes on.
    fn read(&mut self, id: u32, now: i64, sink: &mut Sink<'_>) -> Result<io::Result<bool>, Failure> {
        let mut space = [0; READ];
        let read = match tcp::read(&self.stream, &mut space) {
            Ok(None) => return Ok(Ok(true)),
            Ok(Some(0)) => return Ok(Ok(false)),
            Ok(Some(read)) => read,
            Err(error) => return Ok(Err(error)),
        };
        self.deframer.push(&space[..read]);
        loop {
            let packet = match self.deframer.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(Ok(true)),
                Err(error) => return Ok(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
            };
            if self.awaits_greeting {
                let Some(rate) = read_streamer_greeting(packet) else {
                    let error = "it is no TCP streamer: it does not greet as one";
                    return Ok(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                };
                self.awaits_greeting = false;
                sink(Arrival::Rate(rate))?;
                continue;
            }
            // Whatever else may be framed does not keep a connection open.
            if Packet::parse(packet).is_ok() {
                self.spoke = true;
                self.last_whole = now;
            }
            sink(Arrival::Packet(id, self.from, packet))?;
        }
    }
}
