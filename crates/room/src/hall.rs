//! The server without its sockets.

mod admin;
mod answer;
mod calls;
mod desk;
mod floor;
mod forward;
mod guest;
mod lasting;
mod mute;
mod people;
mod rename;
mod rooms;
mod session;
mod voice;

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use vox_frame::Stamp;

use crate::floor::Floor;
use crate::{DeskOrder, Limits, Misunderstood, Nick, Records, RoomName};
pub use admin::{Admin, MemberView, RoomView};
use calls::Call;
pub use lasting::{Ban, Change, KeptRoom};
use people::{Connection, Member, MemberId, People};
use rooms::{Room, Ticket};
use voice::Place;

/// A connection, numbered by who accepts it; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// How packets reach somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// As datagrams.
    Udp(SocketAddr),
    /// Within the connection of the signalling.
    Conn(ConnId),
}

/// What the server is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// The room that everybody enters first.
    pub lobby: RoomName,
    /// What the server calls itself.
    pub host: String,
    /// Every bound.
    pub limits: Limits,
    /// Whether clients may make rooms.
    pub may_create: bool,
    /// How many streams are heard at a time in one place, the loudest; all where there is none.
    pub loudest: Option<usize>,
    /// Whether there is something that keeps what is to outlive the server ([`Output::Save`]).
    pub keeps: bool,
    /// Whether anybody may register his nickname.
    pub may_register: bool,
    /// Whether only registered nicknames are let in.
    pub members_only: bool,
    /// Whether there is something that mixes ([`Output::Desk`]).
    pub mixes: bool,
    /// When rooms are recorded here.
    pub records: Records,
}

impl Default for Config {
    fn default() -> Self {
        let lobby = RoomName::parse("#lobby").expect("a room's name");
        Self {
            lobby,
            host: "localhost".to_owned(),
            limits: Limits::default(),
            may_create: true,
            loudest: None,
            keeps: false,
            may_register: false,
            members_only: false,
            mixes: false,
            records: Records::Never,
        }
    }
}

/// What the server has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a line, without its end.
    Line(ConnId, Arc<str>),
    /// Send a packet that waited for the announcement of its stream.
    Packet(Path, Vec<u8>),
    /// Close a connection, once its lines are out.
    Close(ConnId),
    /// Make something out of a password that can be kept, for [`Hall::handle_protected`].
    Protect(u64, String),
    /// Check a password against what was kept, for [`Hall::handle_verified`].
    Verify(u64, String, String),
    /// Keep this for the next start ([`Hall::restore`]).
    Save(Change),
    /// Something for who mixes and records.
    Desk(DeskOrder),
    /// Somebody there guesses passwords.
    Guessed(ConnId),
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HallStats {
    /// Lines that came.
    pub lines: u64,
    /// Lines that were not understood.
    pub lines_misunderstood: u64,
    /// Lines beyond the rate.
    pub lines_refused: u64,
    /// Packets of members.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Packets that were forwarded, each listener counted.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams of nobody who is known here.
    pub packets_foreign: u64,
    /// Packets that are no RTP or of no stream that was announced.
    pub packets_malformed: u64,
    /// Packets that were forged, or seen before (SRTP).
    pub packets_unauthentic: u64,
    /// Packets beyond the rate.
    pub packets_refused: u64,
    /// Packets that were not among the loudest.
    pub packets_quiet: u64,
    /// Packets of members who were not to be heard by anybody.
    pub packets_unheard: u64,
    /// Packets that were mixed.
    pub packets_mixed: u64,
}

/// Numbers that nobody can guess.
pub(crate) type Draw = Box<dyn FnMut() -> u64 + Send>;

/// Everybody, every room and every call.
pub struct Hall {
    config: Config,
    draw: Draw,
    connections: BTreeMap<ConnId, Connection>,
    people: People,
    rooms: BTreeMap<RoomName, Room>,
    calls: BTreeMap<u64, Call>,
    /// Who talks and listens where.
    seated: BTreeMap<Place, Vec<MemberId>>,
    /// Whose streams are heard, where only the loudest are.
    floors: BTreeMap<Place, Floor<(MemberId, u32)>>,
    /// Places that are mixed or recorded.
    desks: BTreeMap<Place, desk::Desk>,
    next_desk: u64,
    /// How many get a mix.
    mixes: usize,
    /// Room for a packet that is being written.
    written: Vec<u8>,
    /// Keys of media, and whose they are.
    tokens: BTreeMap<u128, MemberId>,
    /// Keys of sessions, and whose they are.
    sessions: BTreeMap<u128, MemberId>,
    addresses: BTreeMap<SocketAddr, MemberId>,
    /// Addresses that send raw audio into a call.
    raw: BTreeMap<SocketAddr, u64>,
    /// SSRCs in use on the way out.
    ssrcs: BTreeSet<u32>,
    /// Those of streams that have ended.
    retired: BTreeSet<u32>,
    timers: BTreeSet<(i64, Timer)>,
    tickets: BTreeMap<u64, Ticket>,
    next_ticket: u64,
    /// Registered nicknames, and what was made of their passwords.
    accounts: BTreeMap<Nick, String>,
    bans: BTreeSet<Ban>,
    outputs: VecDeque<Output>,
    stats: HallStats,
}

/// What happens at a time, where nothing has happened before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Handshake(ConnId),
    Ping(ConnId),
    Ring(u64),
    Seat(MemberId),
    Talk(MemberId, u32),
}

impl core::fmt::Debug for Hall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Hall({} connections, {} rooms)", self.connections.len(), self.rooms.len())
    }
}

impl Hall {
    /// An empty house. `draw` gives numbers that nobody can guess: tokens are made of them.
    pub fn new(config: Config, draw: impl FnMut() -> u64 + Send + 'static) -> Self {
        let lobby = config.lobby.clone();
        let mut hall = Self {
            config,
            draw: Box::new(draw),
            connections: BTreeMap::new(),
            people: People::default(),
            rooms: BTreeMap::new(),
            calls: BTreeMap::new(),
            seated: BTreeMap::new(),
            floors: BTreeMap::new(),
            desks: BTreeMap::new(),
            next_desk: 0,
            mixes: 0,
            written: Vec::new(),
            tokens: BTreeMap::new(),
            sessions: BTreeMap::new(),
            addresses: BTreeMap::new(),
            raw: BTreeMap::new(),
            ssrcs: BTreeSet::new(),
            retired: BTreeSet::new(),
            timers: BTreeSet::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            accounts: BTreeMap::new(),
            bans: BTreeSet::new(),
            outputs: VecDeque::new(),
            stats: HallStats::default(),
        };
        hall.rooms.insert(lobby, Room::lasting());
        hall
    }

    /// Counters since the start.
    pub const fn stats(&self) -> &HallStats {
        &self.stats
    }

    /// How many people are here.
    pub fn members(&self) -> usize {
        self.people.len()
    }

    /// Entries of all tables that know of somebody or something besides what lasts: none when nobody is here.
    pub fn left_over(&self) -> usize {
        self.connections.len()
            + self.people.len()
            + self.rooms.values().filter(|room| !room.lasting && !room.kept).count()
            + self.calls.len()
            + self.seated.len()
            + self.floors.len()
            + self.desks.len()
            + self.mixes
            + self.tokens.len()
            + self.sessions.len()
            + self.addresses.len()
            + self.raw.len()
            + self.ssrcs.len()
            + self.timers.len()
            + self.tickets.len()
            + self.outputs.len()
    }

    /// The next thing to do; ask until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.timers.first().map(|&(at, _)| Stamp::from_ns(at))
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Stamp) {
        while let Some(&(at, timer)) = self.timers.first()
            && at <= now.ns()
        {
            self.timers.pop_first();
            match timer {
                Timer::Handshake(conn) => self.handshake_is_over(conn),
                Timer::Ping(conn) => self.ping(now, conn),
                Timer::Ring(key) => self.ring_is_over(key),
                Timer::Seat(id) => self.seat_is_over(now, id),
                Timer::Talk(id, ssrc) => self.check_talk(now, id, ssrc),
            }
        }
    }

    fn set_timer(&mut self, at: i64, timer: Timer) {
        self.timers.insert((at, timer));
    }

    fn draw_token(&mut self) -> u128 {
        u128::from((self.draw)()) << 64 | u128::from((self.draw)())
    }

    fn send(&mut self, conn: ConnId, line: impl Into<Arc<str>>) {
        self.outputs.push_back(Output::Line(conn, line.into()));
    }

    /// A line to a member, where it is connected.
    fn tell(&mut self, id: MemberId, line: impl Into<Arc<str>>) {
        if let Some(conn) = self.people.get(id).and_then(|member| member.conn) {
            self.send(conn, line);
        }
    }

    fn nick(&self, id: MemberId) -> &str {
        self.people.get(id).map_or("", |member| member.nick.as_str())
    }

    fn by_nick(&self, nick: &Nick) -> Option<MemberId> {
        self.people.by_nick(nick)
    }
}

impl Misunderstood {
    /// The line that answers it.
    fn answer(&self) -> String {
        match self {
            Self::Verb(verb) if verb.is_empty() => "ERROR: an empty line (HELP lists the verbs)".to_owned(),
            Self::Verb(verb) => format!("ERROR {}: unknown verb (HELP lists them)", printable(verb)),
            Self::Syntax(verb, syntax) => format!("ERROR {verb}: syntax; it is written {syntax}"),
        }
    }
}

/// What others may be shown of what a stranger has sent.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Lines of a list of names, each short enough for one line.
fn lists(head: &str, names: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    for name in names {
        if line.len() + name.len() + 2 > crate::MAX_LINE - 2 {
            lines.push(std::mem::replace(&mut line, head.to_owned()));
        }
        line.push_str(if line.len() == head.len() { " " } else { ", " });
        line.push_str(name);
    }
    lines.push(line);
    lines
}

impl Member {
    fn place(&self) -> Option<Place> {
        self.call.map(Place::Call).or_else(|| self.voice_room.clone().map(Place::Room))
    }
}
