//! The Peer-to-Peer Communication App: rooms, names and voice as JSON over TCP.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vox_room::{Nick, Notice, P2pReader, P2pReply, P2pRequest, RoomName};

use crate::client::{Desk, Dialect};
use crate::house::{House, Refusal};

/// The payload type of 16-bit samples.
const L16: u8 = 97;

/// Samples of a packet that others get: below the size of a datagram.
const PIECE: usize = 512;

/// Samples of a message, at most: what its own clients send.
const CHUNK: usize = 1024;

/// Messages of audio a second, at least.
const MESSAGES_A_SECOND: u32 = 10;

/// Names that are tried.
const NAMES: u32 = 2000;

/// Requests that wait for the house.
const MAX_ASKED: usize = 64;

/// The most rooms whose spelling is remembered.
const MAX_SPELLINGS: usize = 1024;

/// What the clients of one gateway share.
#[derive(Default)]
pub(crate) struct Board {
    /// Rooms as who made them writes them, by their names in the house.
    spelling: Mutex<BTreeMap<RoomName, String>>,
    /// Counts the rooms that were made.
    made: AtomicU64,
}

impl Board {
    fn spelling(&self) -> MutexGuard<'_, BTreeMap<RoomName, String>> {
        self.spelling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, room: &RoomName) -> String {
        self.spelling().get(room).cloned().unwrap_or_else(|| room.as_str().trim_start_matches('#').to_owned())
    }
}

/// Something that is answered when the house has listed its rooms.
enum Asked {
    List,
    Join(String, RoomName),
}

pub(crate) struct PeerToPeer {
    board: Arc<Board>,
    reader: P2pReader,
    room: Option<RoomName>,
    users: Vec<String>,
    /// Rooms that are being made, and one that is being entered.
    making: VecDeque<(String, RoomName)>,
    entering: Option<(String, RoomName)>,
    asked: VecDeque<Asked>,
    listed: Vec<RoomName>,
    /// Rooms made when the client was told of them last.
    told: u64,
    /// When it was sent audio last, in ns of CLOCK_MONOTONIC.
    sent: i64,
    payload: Vec<u8>,
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
    pub(crate) fn new(board: Arc<Board>) -> Self {
        let told = board.made.load(Ordering::Relaxed);
        Self {
            board,
            reader: P2pReader::default(),
            room: None,
            users: Vec::new(),
            making: VecDeque::new(),
            entering: None,
            asked: VecDeque::new(),
            listed: Vec::new(),
            told,
            sent: 0,
            payload: Vec::new(),
            over: false,
        }
    }

    fn ask(&mut self, desk: &mut Desk, asked: Asked) {
        if self.asked.len() < MAX_ASKED {
            self.asked.push_back(asked);
            desk.say("LIST");
        }
    }

    fn handle(&mut self, desk: &mut Desk, request: P2pRequest) -> io::Result<()> {
        match request {
            P2pRequest::Create(room) => match house_name(&room) {
                Some(name) if self.making.len() < MAX_ASKED => {
                    desk.say(&format!("CREATE: {name}"));
                    self.making.push_back((room, name));
                }
                _ => desk.send(P2pReply::Created { status: "room already exists", room: &room }.to_bytes()),
            },
            P2pRequest::List => self.ask(desk, Asked::List),
            P2pRequest::Join(room) => match house_name(&room) {
                Some(name) => self.ask(desk, Asked::Join(room, name)),
                None => desk.send(P2pReply::Joined { status: "room not found", room: &room }.to_bytes()),
            },
            P2pRequest::Quit => {
                self.quit(desk);
                self.ask(desk, Asked::List);
            }
            P2pRequest::Name(name) => self.rename(desk, &name)?,
            P2pRequest::Rate => desk.send(P2pReply::Rate(desk.rate.hz()).to_bytes()),
            P2pRequest::Voice(samples) => self.speak(desk, &samples),
            P2pRequest::Record(on) => {
                if let Some(room) = &self.room {
                    desk.say(&format!("RECORD {room}: {}", if on { "on" } else { "off" }));
                }
            }
            P2pRequest::Screen => desk.send(P2pReply::NoScreen.to_bytes()),
            P2pRequest::Exit => self.over = true,
            P2pRequest::Other => {}
        }
        Ok(())
    }

    fn quit(&mut self, desk: &mut Desk) {
        desk.leave();
        if let Some(room) = self.room.take() {
            desk.say(&format!("LEAVE: {room}"));
        }
        self.users.clear();
    }

    fn speak(&mut self, desk: &mut Desk, samples: &[u8]) {
        for piece in samples.chunks(2 * PIECE) {
            self.payload.clear();
            self.payload.extend(piece.as_chunks().0.iter().flat_map(|&[low, high]| [high, low]));
            desk.speak(piece, &self.payload);
        }
    }

    /// Another name is another seat in the house.
    fn rename(&mut self, desk: &mut Desk, name: &str) -> io::Result<()> {
        let reply = |status| P2pReply::Named { status, name }.to_bytes();
        let entered = nick(name).ok_or(Refusal::Taken).and_then(|nick| House::enter(&desk.server, &nick));
        match entered {
            Ok(house) => {
                desk.leave();
                desk.house = Some(house);
                desk.send(reply("ok"));
                self.users.clear();
                match self.room.take() {
                    Some(room) => {
                        desk.say(&format!("JOIN: {room}"));
                        self.enter(desk, room)
                    }
                    None => Ok(()),
                }
            }
            Err(Refusal::Taken) => {
                desk.send(reply("conflict"));
                Ok(())
            }
            Err(Refusal::Other(text)) => Err(io::Error::other(text)),
        }
    }

    fn enter(&mut self, desk: &mut Desk, room: RoomName) -> io::Result<()> {
        let hz = desk.rate.hz();
        desk.enter(room.as_str(), L16, &format!("pt={L16} format=L16/{hz} channels=1 frame={PIECE}"))?;
        self.room = Some(room);
        Ok(())
    }

    /// The house has listed its rooms.
    fn answer(&mut self, desk: &mut Desk) {
        let listed = std::mem::take(&mut self.listed);
        match self.asked.pop_front() {
            Some(Asked::List) => {
                let is_member = |room: &RoomName| self.room.as_ref() == Some(room);
                let rooms: Vec<(String, bool)> =
                    listed.iter().map(|room| (self.board.shown(room), is_member(room))).collect();
                desk.send(P2pReply::Rooms(&rooms).to_bytes());
            }
            Some(Asked::Join(shown, name)) => {
                let status = if !listed.contains(&name) {
                    "room not found"
                } else if self.room.as_ref() == Some(&name) {
                    "room already joined"
                } else {
                    self.quit(desk);
                    desk.say(&format!("JOIN: {name}"));
                    self.entering = Some((shown, name));
                    return;
                };
                desk.send(P2pReply::Joined { status, room: &shown }.to_bytes());
            }
            None => {}
        }
    }

    fn other_line(&mut self, desk: &mut Desk, line: &str) {
        if let Some((room, _)) = line.strip_prefix("ROOM ").and_then(|rest| rest.split_once(':')) {
            self.listed.extend(RoomName::parse(room));
        } else if line.starts_with("LIST:") {
            self.answer(desk);
        } else if line.starts_with("CREATED") {
            let Some((shown, name)) = self.making.pop_front() else { return };
            desk.send(P2pReply::Created { status: "ok", room: &shown }.to_bytes());
            let mut spelling = self.board.spelling();
            if spelling.len() < MAX_SPELLINGS {
                spelling.insert(name, shown);
            }
            drop(spelling);
            self.board.made.fetch_add(1, Ordering::Relaxed);
        } else if line.starts_with("TERMINATE") {
            desk.send(P2pReply::Terminate.to_bytes());
        }
    }

    fn tell_users(&self, desk: &mut Desk) {
        if let Some(room) = &self.room {
            let room = self.board.shown(room);
            desk.send(P2pReply::Users { room: &room, users: &self.users }.to_bytes());
        }
    }

    fn is_here(&self, room: &str) -> bool {
        self.room.as_ref().is_some_and(|here| here.as_str() == room)
    }
}

impl Dialect for PeerToPeer {
    fn begin(&mut self, desk: &mut Desk) -> io::Result<()> {
        for number in 1..=NAMES {
            let name = format!("User{number:06}");
            let Some(nick) = Nick::parse(&name) else { break };
            match House::enter(&desk.server, &nick) {
                Ok(house) => {
                    desk.house = Some(house);
                    return Ok(());
                }
                Err(Refusal::Taken) => {}
                Err(Refusal::Other(text)) => return Err(io::Error::other(text)),
            }
        }
        Err(io::Error::other("no name is free"))
    }

    fn handle_bytes(&mut self, desk: &mut Desk, bytes: &[u8]) -> io::Result<()> {
        let mut requests = Vec::new();
        self.reader.push(bytes, |request| requests.push(request));
        requests.into_iter().try_for_each(|request| self.handle(desk, request))?;
        if self.over { Err(io::Error::other("it said goodbye")) } else { Ok(()) }
    }

    fn handle_notice(&mut self, desk: &mut Desk, notice: &Notice) -> io::Result<()> {
        match notice {
            Notice::Joined(room) if self.entering.as_ref().is_some_and(|(_, name)| name.as_str() == room) => {
                let Some((shown, name)) = self.entering.take() else { return Ok(()) };
                self.enter(desk, name)?;
                desk.send(P2pReply::Joined { status: "ok", room: &shown }.to_bytes());
            }
            Notice::UserList(room, users) if self.is_here(room) => {
                self.users.extend(users.iter().cloned());
                self.users.sort();
                self.users.dedup();
                self.tell_users(desk);
            }
            Notice::UserJoin(room, user) if self.is_here(room) => {
                self.users.push(user.clone());
                self.tell_users(desk);
            }
            Notice::UserLeave(room, user) if self.is_here(room) => {
                self.users.retain(|known| known != user);
                self.tell_users(desk);
            }
            Notice::Record { room, what } if self.is_here(room) => {
                let name = RoomName::parse(room).map_or_else(|| room.clone(), |room| self.board.shown(&room));
                let on = what.starts_with("on");
                if on || what.starts_with("off") {
                    desk.send(P2pReply::Record { on, room: &name }.to_bytes());
                }
            }
            Notice::Refused { verb, .. } if verb == "CREATE" => {
                if let Some((shown, _)) = self.making.pop_front() {
                    desk.send(P2pReply::Created { status: "room already exists", room: &shown }.to_bytes());
                }
            }
            Notice::Refused { verb, .. } if verb == "JOIN" => {
                if let Some((shown, _)) = self.entering.take() {
                    desk.send(P2pReply::Joined { status: "room not found", room: &shown }.to_bytes());
                }
            }
            Notice::Other(line) => self.other_line(desk, line),
            _ => {}
        }
        Ok(())
    }

    fn handle_samples(&mut self, desk: &mut Desk, samples: &mut Vec<u8>) -> io::Result<()> {
        let chunk = 2 * CHUNK.min((desk.rate.hz() / MESSAGES_A_SECOND) as usize);
        while samples.len() >= chunk {
            desk.send(P2pReply::Voice(&samples[..chunk]).to_bytes());
            samples.drain(..chunk);
            self.sent = vox_sys::monotonic_ns();
        }
        Ok(())
    }

    fn handle_time(&mut self, desk: &mut Desk, now: i64) -> io::Result<()> {
        // A room was made: everybody gets the list.
        let made = self.board.made.load(Ordering::Relaxed);
        if made != self.told {
            self.told = made;
            self.ask(desk, Asked::List);
        }
        // Where nobody talks, its server sends silence.
        let chunk = CHUNK.min((desk.rate.hz() / MESSAGES_A_SECOND) as usize);
        let lasts = desk.rate.ns(chunk as u64);
        if desk.is_in_a_room() && now - self.sent > 2 * lasts {
            self.sent = now - lasts;
            desk.send(P2pReply::Voice(&vec![0; 2 * chunk]).to_bytes());
        }
        Ok(())
    }
}
