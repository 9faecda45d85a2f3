//! All connections, and which of them have something to send.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::{Value, json};
use vox_room::ConnId;
use vox_sys::{Clock, Readiness};

use crate::client::Client;
use crate::foreigners::Foreigners;
use crate::guests::Guests;

/// Numbers of connections begin here: those below are the server's own descriptors.
pub(crate) const FIRST_CONNECTION: u64 = 16;

pub(crate) struct Clients {
    /// Those without a connection: plain RTP peers.
    pub(crate) guests: Guests,
    /// Clients of other programs.
    pub(crate) foreigners: Foreigners,
    clock: Clock,
    all: BTreeMap<ConnId, Client>,
    /// Something was put into these since the last flush.
    touched: BTreeSet<ConnId>,
    next: u64,
    each: BTreeMap<IpAddr, u32>,
    most_each: u32,
}

impl Clients {
    pub(crate) fn new(most_each: u32, clock: Clock) -> Self {
        Self {
            guests: Guests::default(),
            foreigners: Foreigners::default(),
            clock,
            all: BTreeMap::new(),
            touched: BTreeSet::new(),
            next: FIRST_CONNECTION,
            each: BTreeMap::new(),
            most_each,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether another connection from there is one too many.
    pub(crate) fn is_crowded(&self, from: IpAddr) -> bool {
        self.each.get(&from).is_some_and(|count| *count >= self.most_each)
    }

    /// A number that nobody has had.
    pub(crate) const fn draw(&mut self) -> ConnId {
        self.next += 1;
        ConnId(self.next - 1)
    }

    pub(crate) fn add(&mut self, stream: TcpStream, peer: SocketAddr, readiness: &Readiness) -> io::Result<ConnId> {
        let client = Client::new(stream, peer)?;
        let conn = self.draw();
        readiness.add(client.stream(), conn.0)?;
        self.count_in(peer.ip());
        self.all.insert(conn, client);
        Ok(conn)
    }

    /// One more is connected from there.
    pub(crate) fn count_in(&mut self, from: IpAddr) {
        *self.each.entry(from).or_default() += 1;
    }

    /// One less.
    pub(crate) fn count_out(&mut self, from: IpAddr) {
        if let Some(count) = self.each.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(&from);
            }
        }
    }

    pub(crate) fn remove(&mut self, conn: ConnId) {
        let Some(client) = self.all.remove(&conn) else { return };
        self.touched.remove(&conn);
        self.count_out(client.peer.ip());
    }

    pub(crate) fn get(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.all.get_mut(&conn)
    }

    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.all.keys().copied().collect()
    }

    /// The client, to be flushed in this turn.
    pub(crate) fn touch(&mut self, conn: ConnId) -> Option<&mut Client> {
        let client = self.all.get_mut(&conn)?;
        self.touched.insert(conn);
        Some(client)
    }

    /// A packet to somebody who has no connection of ours: a plain RTP peer, a client of another program.
    pub(crate) fn packet_elsewhere(&mut self, conn: ConnId, bytes: &[u8]) {
        let now = self.clock.now();
        if self.guests.has(conn) {
            self.guests.packet(now, conn, bytes);
        } else {
            self.foreigners.packet(now, conn, bytes);
        }
    }

    /// How somebody is here who has no connection of ours, for who runs the server.
    pub(crate) fn elsewhere(&self, conn: ConnId) -> Option<Value> {
        if let Some((peer, listens)) = self.guests.get(conn) {
            let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
            let ms = |ns: i64| ns as f64 / 1e6;
            return Some(json!({
                "carrier": "rtp",
                "listens": listens.to_string(),
                "address": text(peer.source()),
                "sendsTo": text(peer.destination()),
                "packetsForeign": peer.foreign(),
                "packetsUnsuited": peer.unsuited(),
                "fractionLost": peer.report().map(|report| report.fraction_lost),
                "packetsLost": peer.report().map(|report| report.packets_lost),
                "jitterMs": peer.report().map(|report| ms(report.jitter_ns)),
                "roundTripMs": peer.report().and_then(|report| report.round_trip_ns).map(ms),
            }));
        }
        let (peer, language) = self.foreigners.get(conn)?;
        Some(json!({ "carrier": language, "address": peer.to_string() }))
    }

    /// Writes what was put in since the last time; gives the connections that have ended.
    pub(crate) fn flush(&mut self, readiness: &Readiness) -> Vec<ConnId> {
        let mut ended = Vec::new();
        for conn in std::mem::take(&mut self.touched) {
            let Some(client) = self.all.get_mut(&conn) else { continue };
            // Whoever is to go and does not take his last lines goes without them.
            if !client.flush() || client.closing {
                ended.push(conn);
                continue;
            }
            let wants = client.is_pending();
            if wants != client.wants_write {
                client.wants_write = wants;
                if readiness.change(client.stream(), conn.0, wants).is_err() {
                    ended.push(conn);
                }
            }
        }
        ended
    }
}
