//! Clients of other programs: their connections, and the doors that they come in by.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use vox_dialect::{Board, Dialect, Goodbye, PeerToPeer, Said, Streamer, ToClient};
use vox_frame::{Rate, Stamp};
use vox_room::{ConnId, RoomName};
use vox_sys::{Readiness, tcp};

/// Audio that may wait for a client: beyond it the oldest is left out, so that a slow client loses its own only.
const MAX_VOICE_WAITING: usize = 50;

/// Messages that may wait: a client that does not read them is sent away.
const MAX_WAITING: usize = 1024;

/// How often they are looked after, in ns.
const TICK_NS: i64 = 20_000_000;

/// What is spoken behind a door.
#[derive(Debug, Clone)]
pub(crate) enum Language {
    /// That of the TCP streamer, in one room, at one rate.
    Streamer(RoomName, Rate),
    /// That of the P2P app, at one rate.
    PeerToPeer(Arc<Board>, Rate),
}

impl Language {
    const fn name(&self) -> &'static str {
        match self {
            Self::Streamer(..) => "tcpstreamer",
            Self::PeerToPeer(..) => "p2p",
        }
    }

    fn begin(&self, random: u64) -> Box<dyn Dialect> {
        match self {
            Self::Streamer(room, rate) => Box::new(Streamer::new(room.clone(), "streamer".to_owned(), *rate, random)),
            Self::PeerToPeer(board, rate) => Box::new(PeerToPeer::new(Arc::clone(board), *rate, random)),
        }
    }
}

struct Foreigner {
    stream: TcpStream,
    peer: SocketAddr,
    dialect: Box<dyn Dialect>,
    language: &'static str,
    /// Of the first, `sent` bytes are gone.
    waiting: VecDeque<ToClient>,
    sent: usize,
    voice: usize,
    dropped: u64,
    wants_write: bool,
    closing: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Foreigners {
    doors: BTreeMap<u64, (TcpListener, Language)>,
    all: BTreeMap<ConnId, Foreigner>,
    touched: BTreeSet<ConnId>,
    next_tick: i64,
}

impl Foreigners {
    /// Opens a door, whose number is `key`; gives its address.
    pub(crate) fn open(
        &mut self,
        key: u64,
        address: SocketAddr,
        language: Language,
        readiness: &Readiness,
    ) -> io::Result<SocketAddr> {
        let listener = tcp::listen(address)?;
        readiness.add(&listener, key)?;
        let address = listener.local_addr()?;
        self.doors.insert(key, (listener, language));
        Ok(address)
    }

    pub(crate) fn is_door(&self, key: u64) -> bool {
        self.doors.contains_key(&key)
    }

    pub(crate) fn has(&self, conn: ConnId) -> bool {
        self.all.contains_key(&conn)
    }

    pub(crate) fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.all.get(&conn).map(|foreigner| foreigner.peer)
    }

    /// From where somebody comes, and what he speaks.
    pub(crate) fn get(&self, conn: ConnId) -> Option<(SocketAddr, &'static str)> {
        self.all.get(&conn).map(|foreigner| (foreigner.peer, foreigner.language))
    }

    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.all.keys().copied().collect()
    }

    /// Who waits at a door.
    pub(crate) fn knocking(&self, key: u64) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        self.doors.get(&key).map_or(Ok(None), |(listener, _)| tcp::accept(listener))
    }

    /// Lets somebody in by a door.
    pub(crate) fn add(
        &mut self,
        key: u64,
        conn: ConnId,
        (stream, peer): (TcpStream, SocketAddr),
        random: u64,
        readiness: &Readiness,
    ) -> io::Result<()> {
        let Some((_, language)) = self.doors.get(&key) else { return Ok(()) };
        readiness.add(&stream, conn.0)?;
        let foreigner = Foreigner {
            stream,
            peer,
            dialect: language.begin(random),
            language: language.name(),
            waiting: VecDeque::new(),
            sent: 0,
            voice: 0,
            dropped: 0,
            wants_write: false,
            closing: false,
        };
        self.all.insert(conn, foreigner);
        Ok(())
    }

    /// Forgets somebody; gives his address and how much was too late for him.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<(IpAddr, u64)> {
        self.touched.remove(&conn);
        self.all.remove(&conn).map(|foreigner| (foreigner.peer.ip(), foreigner.dropped))
    }

    /// Everything that is out is out; then he goes.
    pub(crate) fn close(&mut self, conn: ConnId) {
        if let Some(foreigner) = self.all.get_mut(&conn) {
            foreigner.closing = true;
            self.touched.insert(conn);
        }
    }

    /// Lets the dialect of somebody say something; gives what it says to the rooms.
    fn with(
        &mut self,
        conn: ConnId,
        act: impl FnOnce(&mut dyn Dialect, &mut Said) -> Result<(), Goodbye>,
    ) -> (Said, Option<Goodbye>) {
        let mut said = Said::default();
        let Some(foreigner) = self.all.get_mut(&conn) else { return (said, None) };
        let outcome = act(foreigner.dialect.as_mut(), &mut said);
        for message in said.client.drain(..) {
            foreigner.push(message);
        }
        foreigner.closing |= foreigner.waiting.len() > MAX_WAITING;
        self.touched.insert(conn);
        (said, outcome.err())
    }

    pub(crate) fn begin(&mut self, now: Stamp, conn: ConnId) -> Said {
        self.with(conn, |dialect, said| {
            dialect.begin(now, said);
            Ok(())
        })
        .0
    }

    /// Reads what somebody says. None where the connection is over.
    pub(crate) fn read(&mut self, now: Stamp, conn: ConnId, buffer: &mut [u8]) -> Option<(Said, Option<Goodbye>)> {
        let foreigner = self.all.get_mut(&conn)?;
        match tcp::read(&foreigner.stream, buffer) {
            Ok(None) => Some((Said::default(), None)),
            Ok(Some(read @ 1..)) => {
                Some(self.with(conn, |dialect, said| dialect.handle_bytes(now, &buffer[..read], said)))
            }
            Ok(Some(0)) | Err(_) => None,
        }
    }

    pub(crate) fn line(&mut self, now: Stamp, conn: ConnId, line: &str) -> (Said, Option<Goodbye>) {
        self.with(conn, |dialect, said| dialect.handle_line(now, line, said))
    }

    /// A packet of the mix: nothing that it brings about is said to the rooms.
    pub(crate) fn packet(&mut self, now: Stamp, conn: ConnId, packet: &[u8]) {
        self.with(conn, |dialect, said| {
            dialect.handle_packet(now, packet, said);
            Ok(())
        });
    }

    pub(crate) fn touch(&mut self, conn: ConnId) {
        self.touched.insert(conn);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        (!self.all.is_empty()).then(|| Stamp::from_ns(self.next_tick))
    }

    /// Looks after those for whom it is time; what they say to the rooms.
    pub(crate) fn handle_timeout(&mut self, now: Stamp) -> Vec<(ConnId, Said)> {
        if now.ns() < self.next_tick {
            return Vec::new();
        }
        self.next_tick = now.ns().saturating_add(TICK_NS);
        let is_due = |foreigner: &Foreigner| foreigner.dialect.next_deadline().is_some_and(|at| now >= at);
        let due: Vec<ConnId> = self.all.iter().filter(|(_, one)| is_due(one)).map(|(conn, _)| *conn).collect();
        let act = |conn: ConnId| {
            let (said, _) = self.with(conn, |dialect, said| {
                dialect.handle_timeout(now, said);
                Ok(())
            });
            (conn, said)
        };
        due.into_iter().map(act).collect()
    }

    /// Writes what was put in since the last time; gives the connections that have ended.
    pub(crate) fn flush(&mut self, readiness: &Readiness) -> Vec<ConnId> {
        let mut ended = Vec::new();
        for conn in std::mem::take(&mut self.touched) {
            let Some(foreigner) = self.all.get_mut(&conn) else { continue };
            let alive = foreigner.flush().is_ok();
            let wants = !foreigner.waiting.is_empty();
            let changed = wants != foreigner.wants_write;
            foreigner.wants_write = wants;
            let lost = changed && readiness.change(&foreigner.stream, conn.0, wants).is_err();
            if !alive || foreigner.closing || lost {
                ended.push(conn);
            }
        }
        ended
    }
}

impl Foreigner {
    fn push(&mut self, message: ToClient) {
        self.voice += usize::from(matches!(message, ToClient::Voice(_)));
        self.waiting.push_back(message);
        if self.voice <= MAX_VOICE_WAITING {
            return;
        }
        // The first may be half gone already.
        let begun = usize::from(self.sent > 0);
        let oldest = self.waiting.iter().skip(begun).position(|one| matches!(one, ToClient::Voice(_)));
        if let Some(at) = oldest {
            self.waiting.remove(begun + at);
            self.voice -= 1;
            self.dropped += 1;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(ToClient::Message(first) | ToClient::Voice(first)) = self.waiting.front() {
            let Some(written) = tcp::write(&self.stream, &first[self.sent..])? else { return Ok(()) };
            self.sent += written;
            if self.sent >= first.len() {
                let gone = self.waiting.pop_front();
                self.voice -= usize::from(matches!(gone, Some(ToClient::Voice(_))));
                self.sent = 0;
            }
        }
        Ok(())
    }
}
