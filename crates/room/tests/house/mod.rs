//! A house with people in it, for tests: what each was told, and where packets went.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet};

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;
use vox_frame::Stamp;
use vox_room::{Change, Config, ConnId, DeskOrder, Hall, Output, Path};

/// The server, its clients, and a clock that stands still until it is moved.
pub struct House {
    pub hall: Hall,
    pub now: Stamp,
    next: u64,
    lines: BTreeMap<ConnId, Vec<String>>,
    closed: BTreeSet<ConnId>,
    /// Packets that waited for an announcement.
    pub released: Vec<(String, Vec<u8>)>,
    /// What was to be kept for the next server.
    pub saved: Vec<Change>,
    /// Who gave a wrong password.
    pub guessed: Vec<ConnId>,
    /// What was to be mixed and recorded.
    pub orders: Vec<DeskOrder>,
}

impl House {
    pub fn new() -> Self {
        Self::with(Config { host: "hostname.com".to_owned(), ..Config::default() })
    }

    pub fn with(config: Config) -> Self {
        let mut random = Pcg64Mcg::new(7);
        let hall = Hall::new(config, move || random.next_u64());
        let now = Stamp::from_ns(1_000_000_000_000);
        Self {
            hall,
            now,
            next: 0,
            lines: BTreeMap::new(),
            closed: BTreeSet::new(),
            released: Vec::new(),
            saved: Vec::new(),
            guessed: Vec::new(),
            orders: Vec::new(),
        }
    }

    /// A connection that has said nothing.
    pub fn dial(&mut self) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let media = Some("192.0.2.1:10001".parse().expect("an address"));
        assert!(self.hall.handle_connected(self.now, conn, media));
        conn
    }

    /// Somebody in the lobby.
    pub fn arrive(&mut self, nick: &str) -> ConnId {
        let conn = self.dial();
        self.says(conn, &format!("CONNECT: \"{nick}\" \"Real\" 1.0.0"));
        self.heard(conn);
        conn
    }

    /// Somebody in the voice of a room, with an address.
    pub fn speaker(&mut self, nick: &str, room: &str, address: &str) -> ConnId {
        let conn = self.arrive(nick);
        self.says(conn, &format!("JOIN: {room}"));
        self.heard(conn);
        self.voice(conn, room, address);
        conn
    }

    pub fn voice(&mut self, conn: ConnId, room: &str, address: &str) -> Vec<String> {
        self.says(conn, &format!("VOICE {room}"));
        let lines = self.heard(conn);
        let token = lines.iter().find_map(|line| line.strip_prefix(&format!("VOICE {room}: udp 192.0.2.1:10001 ")));
        let token = token.unwrap_or_else(|| panic!("{lines:?}")).to_owned();
        let answer = self.datagram(address, format!("TALKSESSION: {token}").as_bytes());
        assert_eq!(answer, [(address.to_owned(), b"TALKSESSION: ok".to_vec())]);
        lines
    }

    pub fn says(&mut self, conn: ConnId, line: &str) {
        self.hall.handle_line(self.now, conn, line.as_bytes());
        self.settle();
    }

    pub fn hangs_up(&mut self, conn: ConnId) {
        self.hall.handle_closed(self.now, conn);
        self.closed.insert(conn);
        self.settle();
    }

    /// What a connection was told since it was asked last.
    pub fn heard(&mut self, conn: ConnId) -> Vec<String> {
        self.lines.remove(&conn).unwrap_or_default()
    }

    pub fn clear(&mut self) {
        self.lines.clear();
    }

    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.closed.contains(&conn)
    }

    pub fn answer_pings(&mut self, conn: ConnId) {
        for line in self.heard(conn) {
            if let Some(number) = line.strip_prefix("PING: ") {
                self.says(conn, &format!("PONG: {number}"));
            }
        }
    }

    /// Time passes; what is due in between happens when it is due.
    pub fn advance_ns(&mut self, ns: i64) {
        let end = self.now.plus(ns);
        while let Some(at) = self.hall.next_deadline()
            && at <= end
        {
            self.now = self.now.max(at);
            self.hall.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    pub fn advance_s(&mut self, seconds: i64) {
        self.advance_ns(seconds * 1_000_000_000);
    }

    /// A datagram comes from there; where it goes.
    pub fn datagram(&mut self, from: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut out = Vec::new();
        let mut bytes = bytes.to_vec();
        self.hall.handle_datagram(self.now, from.parse().expect("an address"), &mut bytes, &mut |path, packet| {
            let Path::Udp(to) = path else { panic!("not by datagram") };
            out.push((to.to_string(), packet.to_vec()));
        });
        self.settle();
        out
    }

    fn settle(&mut self) {
        while let Some(output) = self.hall.poll_output() {
            match output {
                Output::Line(conn, line) => self.lines.entry(conn).or_default().push(line.to_string()),
                Output::Packet(path, packet) => {
                    let Path::Udp(to) = path else { panic!("not by datagram") };
                    self.released.push((to.to_string(), packet));
                }
                Output::Close(conn) => {
                    self.closed.insert(conn);
                }
                Output::Save(change) => self.saved.push(change),
                Output::Desk(order) => self.orders.push(order),
                Output::Guessed(conn) => self.guessed.push(conn),
                Output::Protect(ticket, password) => self.hall.handle_protected(ticket, format!("kept {password}")),
                Output::Verify(ticket, password, kept) => {
                    self.hall.handle_verified(self.now, ticket, kept == format!("kept {password}"));
                }
            }
        }
    }
}

/// An RTP packet of mu-law.
pub fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
    let header = vox_rtp::Header { ssrc, sequence, timestamp, payload_type: 0, marker: false };
    let mut out = Vec::new();
    vox_rtp::write_packet(header, &[], &[sequence as u8; 160], &mut out);
    out
}
