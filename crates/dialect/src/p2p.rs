//! The Peer-to-Peer Communication App: rooms, names and voice as JSON over TCP.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vox_dsp::{Levels, mean_power_s16le};
use vox_frame::{Rate, Stamp};
use vox_room::{Nick, Notice, P2pReader, P2pReply, P2pRequest, RoomName};

use crate::speaker::{Joined, Speaker};
use crate::{Dialect, Goodbye, Said, ToClient, ToRoom, voice_line};

/// The payload type of 16-bit samples.
const L16: u8 = 97;

/// Samples of a packet that others get: below the size of a datagram.
const PIECE: usize = 512;

/// Samples of a message, at most: what its own clients send.
const CHUNK: usize = 1024;

/// Messages of audio a second, at least.
const MESSAGES_A_SECOND: u32 = 10;

/// Names that are tried.
const NAMES: u32 = 150;

/// Requests that wait for the room.
const MAX_ASKED: usize = 64;

/// The most rooms whose spelling is remembered.
const MAX_SPELLINGS: usize = 1024;

/// How often it is looked whether there are new rooms, in ns.
const BOARD_NS: i64 = 200_000_000;

/// What all clients of this program share.
#[derive(Debug, Default)]
pub struct Board(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Rooms as who made them writes them, by the names that they have in the house.
    spelling: BTreeMap<RoomName, String>,
    /// Counts the rooms that were made.
    made: u64,
    /// Counts the clients.
    users: u32,
}

impl Board {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, room: &RoomName) -> String {
        let shared = self.shared();
        shared.spelling.get(room).cloned().unwrap_or_else(|| room.as_str().trim_start_matches('#').to_owned())
    }

    fn next_user(&self) -> u32 {
        let mut shared = self.shared();
        shared.users = shared.users % 999_999 + 1;
        shared.users
    }

    fn note_made(&self, room: RoomName, shown: String) {
        let mut shared = self.shared();
        shared.made += 1;
        if shared.spelling.len() < MAX_SPELLINGS {
            shared.spelling.insert(room, shown);
        }
    }
}

/// Something that is answered when the rooms have been listed.
#[derive(Debug)]
enum Asked {
    List,
    Join(String, RoomName),
}

/// A client of that program.
pub struct PeerToPeer {
    board: Arc<Board>,
    rate: Rate,
    reader: P2pReader,
    speaker: Speaker,
    levels: Levels,
    joined: Joined,
    heard: Vec<u8>,
    tries: u32,
    is_here: bool,
    room: Option<RoomName>,
    users: Vec<String>,
    /// Requests that came before there was a name, rooms that are being made, one that is being entered, and a name.
    early: Vec<P2pRequest>,
    making: VecDeque<(String, RoomName)>,
    entering: Option<(String, RoomName)>,
    naming: VecDeque<String>,
    asked: VecDeque<Asked>,
    listed: Vec<RoomName>,
    /// Rooms made when the client was told of them last.
    told: u64,
    /// When it was sent audio last, in ns.
    sent: i64,
    over: bool,
}

/// The room of that spelling: names in the house have no spaces.
fn house_name(text: &str) -> Option<RoomName> {
    let plain = |c: char| if c.is_whitespace() || matches!(c, '"' | ':' | ',' | '#') { '-' } else { c };
    RoomName::parse(&text.trim().chars().map(plain).collect::<String>())
}

fn nick(text: &str) -> Option<Nick> {
    let plain = |c: char| if c.is_whitespace() || matches!(c, '"' | ':' | ',') { '_' } else { c };
    Nick::parse(&text.trim().chars().map(plain).collect::<String>())
}

impl PeerToPeer {
    /// A client at that rate.
    pub fn new(board: Arc<Board>, rate: Rate, random: u64) -> Self {
        let told = board.shared().made;
        Self {
            board,
            rate,
            reader: P2pReader::default(),
            speaker: Speaker::new(L16, rate, random),
            levels: Levels::default(),
            joined: Joined::default(),
            heard: Vec::new(),
            tries: 0,
            is_here: false,
            room: None,
            users: Vec::new(),
            early: Vec::new(),
            making: VecDeque::new(),
            entering: None,
            naming: VecDeque::new(),
            asked: VecDeque::new(),
            listed: Vec::new(),
            told,
            sent: 0,
            over: false,
        }
    }

    fn connect(&mut self, said: &mut Said) {
        self.tries += 1;
        said.line(format!("CONNECT: \"User{:06}\" \"P2P app\" 1.0.0", self.board.next_user()));
    }

    /// Samples of a message.
    fn chunk(&self) -> usize {
        CHUNK.min((self.rate.hz() / MESSAGES_A_SECOND) as usize)
    }

    fn ask(&mut self, said: &mut Said, asked: Asked) {
        if self.asked.len() < MAX_ASKED {
            self.asked.push_back(asked);
            said.line("LIST");
        }
    }

    fn handle(&mut self, now: Stamp, request: P2pRequest, said: &mut Said) {
        match request {
            P2pRequest::Create(room) => match house_name(&room) {
                Some(name) if self.making.len() < MAX_ASKED => {
                    said.line(format!("CREATE: {name}"));
                    self.making.push_back((room, name));
                }
                _ => said.tell(P2pReply::Created { status: "room already exists", room: &room }.to_bytes()),
            },
            P2pRequest::List => self.ask(said, Asked::List),
            P2pRequest::Join(room) => match house_name(&room) {
                Some(name) => self.ask(said, Asked::Join(room, name)),
                None => said.tell(P2pReply::Joined { status: "room not found", room: &room }.to_bytes()),
            },
            P2pRequest::Quit => {
                self.quit(said);
                self.ask(said, Asked::List);
            }
            P2pRequest::Name(name) => match nick(&name) {
                Some(nick) if self.naming.len() < MAX_ASKED => {
                    said.line(format!("NICK: {nick}"));
                    self.naming.push_back(name);
                }
                _ => said.tell(P2pReply::Named { status: "conflict", name: &name }.to_bytes()),
            },
            P2pRequest::Rate => said.tell(P2pReply::Rate(self.rate.hz()).to_bytes()),
            P2pRequest::Voice(samples) => self.speak(now, &samples, said),
            P2pRequest::Record(on) => {
                if let Some(room) = &self.room {
                    said.line(format!("RECORD {room}: {}", if on { "on" } else { "off" }));
                }
            }
            P2pRequest::Screen => said.tell(P2pReply::NoScreen.to_bytes()),
            P2pRequest::Exit => self.over = true,
            P2pRequest::Other => {}
        }
    }

    fn quit(&mut self, said: &mut Said) {
        if let Some(room) = self.room.take() {
            said.line(format!("STREAMEND {}: reason=stopped", self.speaker.ssrc));
            said.line("VOICE: off");
            said.line(format!("LEAVE: {room}"));
        }
        self.heard.clear();
        self.joined = Joined::default();
        self.users.clear();
    }

    fn speak(&mut self, now: Stamp, samples: &[u8], said: &mut Said) {
        if self.room.is_none() {
            return;
        }
        for piece in samples.chunks(2 * PIECE) {
            let payload: Vec<u8> = piece.as_chunks().0.iter().flat_map(|&[low, high]| [high, low]).collect();
            let ticks = (piece.len() / 2) as u32;
            let level = self.levels.handle(mean_power_s16le(piece), self.rate.ns(u64::from(ticks)));
            said.room.push(ToRoom::Packet(self.speaker.packet(now, &payload, ticks, level)));
        }
    }

    fn enter(&mut self, room: RoomName, said: &mut Said) {
        let hz = self.rate.hz();
        said.line(voice_line(room.as_str(), &format!("L16/{hz}")));
        let ssrc = self.speaker.ssrc;
        said.line(format!("STREAM {ssrc}: pt={L16} format=L16/{hz} channels=1 frame={PIECE}"));
        said.line("EVENTS: off");
        self.room = Some(room);
    }

    /// The rooms have been listed.
    fn answer(&mut self, said: &mut Said) {
        let listed = std::mem::take(&mut self.listed);
        match self.asked.pop_front() {
            Some(Asked::List) => {
                let is_member = |room: &RoomName| self.room.as_ref() == Some(room);
                let rooms: Vec<(String, bool)> =
                    listed.iter().map(|room| (self.board.shown(room), is_member(room))).collect();
                said.tell(P2pReply::Rooms(&rooms).to_bytes());
            }
            Some(Asked::Join(shown, name)) => {
                let status = if !listed.contains(&name) {
                    "room not found"
                } else if self.room.as_ref() == Some(&name) {
                    "room already joined"
                } else {
                    self.quit(said);
                    said.line(format!("JOIN: {name}"));
                    self.entering = Some((shown, name));
                    return;
                };
                said.tell(P2pReply::Joined { status, room: &shown }.to_bytes());
            }
            None => {}
        }
    }

    fn tell_users(&self, said: &mut Said) {
        if let Some(room) = &self.room {
            let room = self.board.shown(room);
            said.tell(P2pReply::Users { room: &room, users: &self.users }.to_bytes());
        }
    }

    fn is_in(&self, room: &str) -> bool {
        self.room.as_ref().is_some_and(|here| here.as_str() == room)
    }

    fn refused(&mut self, verb: &str, said: &mut Said) {
        match verb {
            "CREATE" => {
                if let Some((shown, _)) = self.making.pop_front() {
                    said.tell(P2pReply::Created { status: "room already exists", room: &shown }.to_bytes());
                }
            }
            "JOIN" => {
                if let Some((shown, _)) = self.entering.take() {
                    said.tell(P2pReply::Joined { status: "room not found", room: &shown }.to_bytes());
                }
            }
            "NICK" => self.named("conflict", said),
            _ => {}
        }
    }

    fn named(&mut self, status: &str, said: &mut Said) {
        if let Some(name) = self.naming.pop_front() {
            said.tell(P2pReply::Named { status, name: &name }.to_bytes());
        }
    }

    fn other_line(&mut self, line: &str, said: &mut Said) {
        if let Some((room, _)) = line.strip_prefix("ROOM ").and_then(|rest| rest.split_once(':')) {
            self.listed.extend(RoomName::parse(room));
        } else if line.starts_with("LIST:") {
            self.answer(said);
        } else if line.starts_with("NICK: ") {
            self.named("ok", said);
            if let Some(room) = &self.room {
                self.users.clear();
                said.line(format!("USERLIST {room}"));
            }
        } else if line.starts_with("CREATED") {
            let Some((shown, name)) = self.making.pop_front() else { return };
            said.tell(P2pReply::Created { status: "ok", room: &shown }.to_bytes());
            self.board.note_made(name, shown);
        } else if line.starts_with("TERMINATE") {
            said.tell(P2pReply::Terminate.to_bytes());
        } else if let Some(room) = line.strip_prefix("DELETED: ")
            && self.is_in(room)
        {
            self.room = None;
            self.users.clear();
            self.ask(said, Asked::List);
        }
    }
}

impl Dialect for PeerToPeer {
    fn begin(&mut self, _now: Stamp, said: &mut Said) {
        self.connect(said);
    }

    fn handle_bytes(&mut self, now: Stamp, bytes: &[u8], said: &mut Said) -> Result<(), Goodbye> {
        let mut requests = Vec::new();
        self.reader.push(bytes, |request| requests.push(request));
        for request in requests {
            if self.is_here {
                self.handle(now, request, said);
            } else if self.early.len() < MAX_ASKED {
                self.early.push(request);
            }
        }
        if self.over { Err(Goodbye("it said goodbye".to_owned())) } else { Ok(()) }
    }

    fn handle_line(&mut self, now: Stamp, line: &str, said: &mut Said) -> Result<(), Goodbye> {
        match Notice::parse(line) {
            Notice::Ping(number) => said.line(format!("PONG: {number}")),
            Notice::NickInUse(_) if self.tries < NAMES => self.connect(said),
            Notice::NickInUse(text) | Notice::NotAccepted(text) => return Err(Goodbye(text)),
            Notice::Accepted(_) => {
                self.is_here = true;
                for request in std::mem::take(&mut self.early) {
                    self.handle(now, request, said);
                }
            }
            Notice::Joined(room) if self.entering.as_ref().is_some_and(|(_, name)| name.as_str() == room) => {
                let Some((shown, name)) = self.entering.take() else { return Ok(()) };
                self.enter(name, said);
                said.tell(P2pReply::Joined { status: "ok", room: &shown }.to_bytes());
            }
            Notice::UserList(room, users) if self.is_in(&room) => {
                self.users.extend(users);
                self.users.sort();
                self.users.dedup();
                self.tell_users(said);
            }
            Notice::UserJoin(room, user) if self.is_in(&room) => {
                self.users.push(user);
                self.tell_users(said);
            }
            Notice::UserLeave(room, user) if self.is_in(&room) => {
                self.users.retain(|known| *known != user);
                self.tell_users(said);
            }
            Notice::Record { room, what } if self.is_in(&room) => {
                let name = RoomName::parse(&room).map_or_else(|| room.clone(), |room| self.board.shown(&room));
                let on = what.starts_with("on");
                if on || what.starts_with("off") {
                    said.tell(P2pReply::Record { on, room: &name }.to_bytes());
                }
            }
            Notice::Talk { nick, action } if action == "Request" => said.line(format!("TALK {nick}: Deny")),
            Notice::Refused { verb, .. } => self.refused(&verb, said),
            Notice::Other(line) => self.other_line(&line, said),
            _ => {}
        }
        Ok(())
    }

    fn handle_packet(&mut self, now: Stamp, packet: &[u8], said: &mut Said) {
        self.joined.handle(self.rate, packet, 2, 0, &mut self.heard);
        let chunk = 2 * self.chunk();
        while self.heard.len() >= chunk {
            // The network's order of bytes is the other one.
            let samples: Vec<u8> =
                self.heard[..chunk].as_chunks().0.iter().flat_map(|&[high, low]| [low, high]).collect();
            self.heard.drain(..chunk);
            self.sent = now.ns();
            said.client.push(ToClient::Voice(P2pReply::Voice(&samples).to_bytes()));
        }
    }

    fn next_deadline(&self) -> Option<Stamp> {
        // Out of rooms it is still told of those that are made.
        let pause = self.room.as_ref().map_or(BOARD_NS, |_| 2 * self.rate.ns(self.chunk() as u64));
        Some(Stamp::from_ns(self.sent.saturating_add(pause)))
    }

    fn handle_timeout(&mut self, now: Stamp, said: &mut Said) {
        // A room was made: everybody gets the list.
        let made = self.board.shared().made;
        if self.is_here && made != self.told {
            self.told = made;
            self.ask(said, Asked::List);
        }
        // Where nobody talks, its server sends silence.
        let lasts = self.rate.ns(self.chunk() as u64);
        if self.room.is_some() && now.ns() >= self.sent.saturating_add(2 * lasts) {
            self.sent = now.ns() - lasts;
            said.client.push(ToClient::Voice(P2pReply::Voice(&vec![0; 2 * self.chunk()]).to_bytes()));
        } else if self.room.is_none() {
            self.sent = now.ns();
        }
    }
}
