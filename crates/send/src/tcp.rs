//! Packets over TCP: to a peer that is connected to, or to everybody who connects here.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::json;
use vox_cli::{Failure, note, stop_requested, wait_any, warn};
use vox_frame::Rate;
use vox_rtp::{Deframer, Framing, Packet, Protocol, StreamerPackets, read_streamer_greeting, streamer_greeting};
use vox_sys::{monotonic_ns, net, tcp};

use crate::queue::Queue;

/// How long a connection may take to stand, in ns.
const CONNECT_NS: i64 = 5_000_000_000;

/// The first and the longest pause before the next attempt to connect, in ns.
const FIRST_PAUSE_NS: i64 = 250_000_000;
const LONGEST_PAUSE_NS: i64 = 8_000_000_000;

/// How long the last packets may take to be written at the end, in ns.
const FINISH_NS: i64 = 1_000_000_000;

/// The most clients of one listener; one more is turned away.
const MAX_CLIENTS: usize = 256;

/// Clients that are accepted, and reads of what a client says, between two packets: a flood waits in the kernel.
const ACCEPTS: usize = 16;
const READS: usize = 4;

/// The longest packet that a peer may send back, and how many wait to be heard; who sends more is not listened to.
const MAX_HEARD_BYTES: usize = 4096;
const MAX_HEARD: usize = 16;

/// How packets are carried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carriage {
    /// How they lie in the stream of bytes.
    pub(crate) framing: Framing,
    /// Whether a connection that breaks is made anew.
    pub(crate) reconnect: bool,
    /// How long a packet may wait for a slow peer, in ns.
    pub(crate) max_age: Option<i64>,
    /// Whether reports are sent and heard.
    pub(crate) reports: bool,
}

/// A destination over TCP.
pub(crate) struct TcpOutlet {
    name: String,
    carriage: Carriage,
    role: Role,
    dialect: StreamerPackets,
    rate: Option<Rate>,
    dropped: u64,
    connections: u64,
}

enum Role {
    Client { address: SocketAddr, link: Link, pause: i64 },
    Server { listener: TcpListener, clients: Vec<Peer> },
}

enum Link {
    Connecting(TcpStream, i64),
    Up(Box<Peer>),
    /// Until when nothing is tried.
    Down(i64),
    Gone,
}

struct Peer {
    from: SocketAddr,
    /// Shared with the thread that waits for what comes back.
    stream: Arc<TcpStream>,
    queue: Queue,
    /// Cuts what it says into packets; none where that is not listened to.
    hear: Option<Deframer>,
    /// The RTCP packets of it, with when they came, in ns of CLOCK_MONOTONIC.
    heard: Vec<(i64, Vec<u8>)>,
    /// What the peer must say before it is sent to.
    greeting: Option<Deframer>,
    /// Whether the peer has ended its own direction.
    silent: bool,
}

impl TcpOutlet {
    /// Connects to `destination`, or listens there.
    pub(crate) fn open(destination: &str, listen: bool, carriage: Carriage) -> Result<Self, Failure> {
        let address = net::resolve(destination)
            .map_err(|error| Failure::network(format_args!("cannot resolve {destination}: {error}")))?;
        let role = if listen {
            let listener = tcp::listen(address)
                .map_err(|error| Failure::network(format_args!("cannot listen on {destination}: {error}")))?;
            Role::Server { listener, clients: Vec::new() }
        } else {
            Role::Client { address, link: Link::Down(0), pause: FIRST_PAUSE_NS }
        };
        let mut outlet = Self {
            name: format!("tcp://{destination}"),
            carriage,
            role,
            dialect: StreamerPackets::default(),
            rate: None,
            dropped: 0,
            connections: 0,
        };
        if !listen {
            outlet.first_connection()?;
        }
        Ok(outlet)
    }

    /// Waits for the first connection; where it is made anew later it need not stand now.
    fn first_connection(&mut self) -> Result<(), Failure> {
        loop {
            self.advance(monotonic_ns())?;
            match &self.role {
                Role::Client { link: Link::Connecting(_, until), .. } if !self.carriage.reconnect => {
                    let tick = monotonic_ns() + 2_000_000;
                    wait_any(&[], Some(tick.min(*until)))?;
                    if stop_requested() {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// The rate of the audio, which the TCP streamer's server tells its clients and its client is told.
    pub(crate) fn set_rate(&mut self, rate: Rate) {
        self.rate = Some(rate);
    }

    /// Sends an RTP packet to whoever is there.
    pub(crate) fn send(&mut self, packet: &[u8]) -> Result<(), Failure> {
        let now = monotonic_ns();
        self.advance(now)?;
        let packet = match self.carriage.framing {
            Framing::Rfc4571 => packet,
            Framing::TcpStreamer => self.dialect.next(Packet::parse(packet).map_or(&[][..], |packet| packet.payload)),
        };
        let mut framed = Vec::with_capacity(packet.len() + 4);
        if !self.carriage.framing.write(packet, &mut framed) {
            return Ok(());
        }
        let max_age = self.carriage.max_age;
        match &mut self.role {
            Role::Client { link: Link::Up(peer), .. } => peer.queue.push(now, framed, max_age),
            Role::Client { .. } => self.dropped += 1,
            Role::Server { clients, .. } => {
                for peer in clients {
                    peer.queue.push(now, framed.clone(), max_age);
                }
            }
        }
        self.flush(now)
    }

    /// Moves connections on: those that are made, those that are asked for.
    fn advance(&mut self, now: i64) -> Result<(), Failure> {
        let Self { role, carriage, connections, name, rate, .. } = self;
        match role {
            Role::Server { listener, clients } => {
                let accepted = |error| Failure::network(format_args!("cannot accept on {name}: {error}"));
                for _ in 0..ACCEPTS {
                    let Some((stream, from)) = tcp::accept(listener).map_err(accepted)? else { break };
                    if clients.len() >= MAX_CLIENTS {
                        continue;
                    }
                    *connections += 1;
                    note(format_args!("{from} listens"));
                    let mut peer = Peer::new(stream, from, carriage);
                    if let (Framing::TcpStreamer, Some(rate)) = (carriage.framing, *rate) {
                        let mut greeting = Vec::new();
                        carriage.framing.write(&streamer_greeting(rate), &mut greeting);
                        peer.queue.push(now, greeting, None);
                    }
                    clients.push(peer);
                }
                Ok(())
            }
            Role::Client { address, link, pause } => {
                let next = match std::mem::replace(link, Link::Gone) {
                    Link::Down(until) if now >= until => match tcp::connect(*address) {
                        Ok(stream) => Ok(Link::Connecting(stream, now + CONNECT_NS)),
                        Err(error) => Err(error),
                    },
                    Link::Connecting(stream, until) => match tcp::is_connected(&stream) {
                        Ok(true) => {
                            *connections += 1;
                            *pause = FIRST_PAUSE_NS;
                            let mut peer = Peer::new(stream, *address, carriage);
                            let awaits = carriage.framing == Framing::TcpStreamer;
                            peer.greeting = awaits.then(|| Deframer::new(carriage.framing));
                            Ok(Link::Up(Box::new(peer)))
                        }
                        Ok(false) if now >= until => Err(io::ErrorKind::TimedOut.into()),
                        Ok(false) => Ok(Link::Connecting(stream, until)),
                        Err(error) => Err(error),
                    },
                    other => Ok(other),
                };
                match next {
                    Ok(next) => *link = next,
                    Err(error) => return self.lost(now, &error),
                }
                Ok(())
            }
        }
    }

    /// The connection cannot be made, or broke.
    fn lost(&mut self, now: i64, error: &io::Error) -> Result<(), Failure> {
        let Role::Client { link, pause, .. } = &mut self.role else { return Ok(()) };
        if !self.carriage.reconnect {
            *link = Link::Gone;
            return Err(Failure::network(format_args!("no connection to {}: {error}", self.name)));
        }
        if *pause == FIRST_PAUSE_NS {
            warn(format_args!("no connection to {}: {error}; trying again", self.name));
        }
        *link = Link::Down(now + *pause);
        *pause = (*pause * 2).min(LONGEST_PAUSE_NS);
        Ok(())
    }

    /// Writes what the peers take.
    fn flush(&mut self, now: i64) -> Result<(), Failure> {
        let rate = self.rate;
        match &mut self.role {
            Role::Server { clients, .. } => {
                clients.retain_mut(|peer| {
                    let outcome = peer.serve();
                    self.dropped += peer.queue.take_dropped();
                    if let Err(error) = &outcome {
                        note(format_args!("{} is gone: {error}", peer.from));
                    }
                    outcome.is_ok()
                });
                Ok(())
            }
            Role::Client { link: Link::Up(peer), .. } => {
                let outcome = match peer.await_greeting(rate)? {
                    Ok(()) if peer.greeting.is_none() => peer.serve(),
                    waiting => waiting,
                };
                self.dropped += peer.queue.take_dropped();
                match outcome {
                    Ok(()) => Ok(()),
                    Err(error) => self.lost(now, &error),
                }
            }
            Role::Client { .. } => Ok(()),
        }
    }

    /// Gives the last packets some time to be written.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let until = monotonic_ns() + FINISH_NS;
        loop {
            self.flush(monotonic_ns())?;
            let waiting = match &self.role {
                Role::Client { link: Link::Up(peer), .. } => !peer.queue.is_empty(),
                Role::Client { .. } => false,
                Role::Server { clients, .. } => clients.iter().any(|peer| !peer.queue.is_empty()),
            };
            let now = monotonic_ns();
            if !waiting || now >= until {
                return Ok(());
            }
            wait_any(&[], Some(now + 5_000_000))?;
        }
    }

    /// Sends RTCP to everybody, or to the peer at that address.
    pub(crate) fn send_control(&mut self, packet: &[u8], to: Option<SocketAddr>) {
        let mut framed = Vec::with_capacity(packet.len() + 2);
        if self.carriage.framing != Framing::Rfc4571 || !self.carriage.framing.write(packet, &mut framed) {
            return;
        }
        let (now, max_age) = (monotonic_ns(), self.carriage.max_age);
        for peer in self.peers().filter(|peer| to.is_none_or(|to| to == peer.from)) {
            peer.queue.push(now, framed.clone(), max_age);
            // A connection that breaks is noticed with the next packet of media.
            let _broken = peer.flush();
        }
    }

    /// The connections on which something may come back.
    pub(crate) fn streams(&mut self) -> impl Iterator<Item = Arc<TcpStream>> + '_ {
        self.peers().filter(|peer| peer.hear.is_some() && !peer.silent).map(|peer| Arc::clone(&peer.stream))
    }

    /// The RTCP packets that came since, with when and from whom.
    pub(crate) fn take_heard(&mut self) -> Vec<(SocketAddr, i64, Vec<u8>)> {
        let mut heard = Vec::new();
        for peer in self.peers() {
            if peer.read().is_err() {
                peer.silent = true;
            }
            let from = peer.from;
            heard.extend(peer.heard.drain(..).map(|(at, packet)| (from, at, packet)));
        }
        heard
    }

    fn peers(&mut self) -> impl Iterator<Item = &mut Peer> {
        let (clients, server): (&mut [Peer], Option<&mut Peer>) = match &mut self.role {
            Role::Server { clients, .. } => (clients, None),
            Role::Client { link: Link::Up(peer), .. } => (&mut [], Some(peer.as_mut())),
            Role::Client { .. } => (&mut [], None),
        };
        clients.iter_mut().chain(server)
    }

    pub(crate) fn summary(&self) -> serde_json::Value {
        json!({ "to": self.name, "connections": self.connections, "packetsDropped": self.dropped })
    }
}

impl Peer {
    fn new(stream: TcpStream, from: SocketAddr, carriage: &Carriage) -> Self {
        let hears = carriage.reports && carriage.framing == Framing::Rfc4571;
        Self {
            from,
            stream: Arc::new(stream),
            queue: Queue::default(),
            hear: hears.then(|| Deframer::new(carriage.framing)),
            heard: Vec::new(),
            greeting: None,
            silent: false,
        }
    }

    /// Writes what the peer takes, and reads what it says: unread, it would make the end of the connection an abortion.
    fn serve(&mut self) -> io::Result<()> {
        self.read()?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let stream = &self.stream;
        self.queue.flush(|bytes| tcp::write(stream, bytes))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut space = [0; 4096];
        for _ in 0..READS {
            if self.silent {
                break;
            }
            match tcp::read(&self.stream, &mut space)? {
                None => break,
                Some(0) => self.silent = true,
                Some(read) => self.take(&space[..read]),
            }
        }
        Ok(())
    }

    /// Keeps the reports of what the peer says, and throws the rest away.
    fn take(&mut self, bytes: &[u8]) {
        let Some(deframer) = &mut self.hear else { return };
        deframer.push(bytes);
        while let Ok(Some(packet)) = deframer.next_packet() {
            if Protocol::of(packet) == Protocol::Rtcp && self.heard.len() < MAX_HEARD {
                self.heard.push((monotonic_ns(), packet.to_vec()));
            }
        }
        if deframer.held() > MAX_HEARD_BYTES {
            self.hear = None;
        }
    }

    /// Looks for the TCP streamer's greeting, where it has not come. The outer error is one that a new connection
    /// does not mend.
    fn await_greeting(&mut self, rate: Option<Rate>) -> Result<io::Result<()>, Failure> {
        let Some(deframer) = &mut self.greeting else { return Ok(Ok(())) };
        let mut space = [0; 4096];
        let read = match tcp::read(&self.stream, &mut space) {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(0)) => return Ok(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(Some(read)) => read,
            Err(error) => return Ok(Err(error)),
        };
        deframer.push(&space[..read]);
        let told = match deframer.next_packet() {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(frame)) => read_streamer_greeting(frame),
            Err(_) => None,
        };
        let Some(told) = told else {
            return Err(Failure::network(format_args!("{} is no TCP streamer: it does not greet as one", self.from)));
        };
        if let Some(rate) = rate.filter(|rate| *rate != told) {
            let (told, rate) = (told.hz(), rate.hz());
            return Err(Failure::network(format_args!("{} asks for {told} Hz, and the stream has {rate}", self.from)));
        }
        self.greeting = None;
        Ok(Ok(()))
    }
}
