//! Participants that speak plain RTP, each by a socket of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use vox_frame::Stamp;
use vox_room::{Arrival, ConnId, Notice, PlainPeer, PlainTerms, RoomName};
use vox_rtp::Outgoing;
use vox_sys::{Readiness, net};

/// Datagrams that are read of one of them before others have their turn.
pub(crate) const BURST: usize = 64;

/// All of them. To the rooms each is a connection, whose lines are said here.
#[derive(Default)]
pub(crate) struct Guests {
    all: BTreeMap<ConnId, Guest>,
    scratch: Vec<u8>,
}

struct Guest {
    socket: UdpSocket,
    listens: SocketAddr,
    peer: PlainPeer,
    room: RoomName,
    /// It has asked for a mix.
    mixes: bool,
    unsent: u64,
}

impl Guest {
    fn report(&mut self, reports: Option<(SocketAddr, Vec<Outgoing>)>) {
        let Some((to, reports)) = reports else { return };
        let unsent = reports.iter().filter(|report| self.socket.send_to(&report.packet, to).is_err());
        self.unsent += unsent.count() as u64;
    }
}

/// What came of a datagram.
pub(crate) enum Came {
    /// So many bytes are to be passed on as a packet; before that a line is to be said, where there is one.
    Packet(usize, Option<String>),
    /// It was nobody's.
    Ignored,
}

impl Guests {
    pub(crate) fn has(&self, conn: ConnId) -> bool {
        self.all.contains_key(&conn)
    }

    /// Opens a socket for a peer; gives its address.
    pub(crate) fn add(
        &mut self,
        now: Stamp,
        conn: ConnId,
        listen: SocketAddr,
        terms: PlainTerms,
        (room, mixes): (RoomName, bool),
        readiness: &Readiness,
    ) -> io::Result<SocketAddr> {
        let random = || getrandom::u32().map_err(io::Error::other);
        let socket = net::receiver(listen, None, None)?;
        let listens = socket.local_addr()?;
        readiness.add(&socket, conn.0)?;
        // Half of the numbers lie ahead: some receivers take an early wrap for a restart (RFC 3711, section 3.3.1).
        let peer = PlainPeer::new(terms, random()?, (random()? >> 17) as u16, random()?);
        let peer = peer.with_reports(now, getrandom::u64().map_err(io::Error::other)?);
        self.all.insert(conn, Guest { socket, listens, peer, room, mixes, unsent: 0 });
        Ok(listens)
    }

    /// Says goodbye to one of them.
    pub(crate) fn remove(&mut self, now: Stamp, conn: ConnId) -> bool {
        let Some(mut guest) = self.all.remove(&conn) else { return false };
        let reports = guest.peer.finish(now);
        guest.report(reports);
        true
    }

    /// Says goodbye to all of them.
    pub(crate) fn finish(&mut self, now: Stamp) {
        for guest in self.all.values_mut() {
            let reports = guest.peer.finish(now);
            guest.report(reports);
        }
    }

    /// Sends the reports that are due.
    pub(crate) fn send_reports(&mut self, now: Stamp) {
        for guest in self.all.values_mut() {
            let reports = guest.peer.poll_reports(now);
            guest.report(reports);
        }
    }

    /// Who speaks, and the address at which he is heard.
    pub(crate) fn get(&self, conn: ConnId) -> Option<(&PlainPeer, SocketAddr)> {
        self.all.get(&conn).map(|guest| (&guest.peer, guest.listens))
    }

    /// Receives a datagram into `buffer`; none where nothing is there.
    pub(crate) fn receive(&mut self, now: Stamp, conn: ConnId, buffer: &mut [u8]) -> Option<Came> {
        let guest = self.all.get_mut(&conn)?;
        let datagram = net::receive(&guest.socket, buffer).ok()??;
        Some(match guest.peer.handle_datagram(now, datagram.from, &buffer[..datagram.length]) {
            Arrival::Begins(ssrc, facts) => Came::Packet(datagram.length, Some(format!("STREAM {ssrc}: {facts}"))),
            Arrival::Goes => Came::Packet(datagram.length, None),
            Arrival::Held | Arrival::Report | Arrival::Foreign | Arrival::Malformed => Came::Ignored,
        })
    }

    /// A line of the rooms to one of them; gives what is to be answered.
    pub(crate) fn line(&mut self, conn: ConnId, line: &str) -> Option<String> {
        let guest = self.all.get_mut(&conn)?;
        match Notice::parse(line) {
            Notice::Ping(number) => return Some(format!("PONG: {number}")),
            Notice::Stream { ssrc, facts, .. } => guest.peer.handle_stream(ssrc, facts),
            Notice::StreamEnd { ssrc, .. } => guest.peer.handle_stream_end(ssrc),
            // Nobody is there who could be asked.
            Notice::Talk { nick, action } if action == "Request" => return Some(format!("TALK {nick}: Deny")),
            // Nothing is mixed here, or not so: then it hears who talks, untouched.
            Notice::Refused { verb, .. } if verb == "VOICE" && std::mem::take(&mut guest.mixes) => {
                return Some(format!("VOICE {}: tcp", guest.room));
            }
            // Out of its room it is of no use to anybody: it was brought into that one.
            Notice::Other(line) if line.starts_with("KICKED ") || line.starts_with("DELETED") => {
                return Some("DISCONNECT".to_owned());
            }
            _ => {}
        }
        None
    }

    /// A packet of the rooms to one of them. What cannot be sent is lost, as packets are.
    pub(crate) fn packet(&mut self, now: Stamp, conn: ConnId, bytes: &[u8]) {
        let Some(guest) = self.all.get_mut(&conn) else { return };
        self.scratch.clear();
        self.scratch.extend_from_slice(bytes);
        if let Some(to) = guest.peer.handle_packet(now, &mut self.scratch)
            && guest.socket.send_to(&self.scratch, to).is_err()
        {
            guest.unsent += 1;
        }
    }

    /// When a stream of theirs may have ended.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        self.all.values().filter_map(|guest| guest.peer.next_deadline()).min()
    }

    /// The streams that have ended, as lines.
    pub(crate) fn handle_timeout(&mut self, now: Stamp) -> Vec<(ConnId, String)> {
        let ended = |(conn, guest): (&ConnId, &mut Guest)| {
            guest.peer.handle_timeout(now).map(|ssrc| (*conn, format!("STREAMEND {ssrc}: reason=timeout")))
        };
        self.all.iter_mut().filter_map(ended).collect()
    }

    /// A packet of one of them that was held and is due.
    pub(crate) fn poll_packet(&mut self, now: Stamp) -> Option<(ConnId, Vec<u8>)> {
        self.all.iter_mut().find_map(|(conn, guest)| guest.peer.poll_packet(now).map(|packet| (*conn, packet)))
    }
}
