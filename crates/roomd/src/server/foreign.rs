//! Clients of other programs: to the rooms they are clients like any other.

use std::net::SocketAddr;
use std::sync::Arc;

use vox_cli::{Failure, note, warn};
use vox_dialect::{Board, Goodbye, Said, ToRoom};
use vox_frame::Stamp;
use vox_room::ConnId;

use super::{ACCEPTS, Server};
use crate::args::Args;
use crate::doors::log;
use crate::foreigners::Language;
use crate::way::Way;

impl Server {
    /// Opens the doors for other programs.
    pub(super) fn open_doors(&mut self, args: &Args) -> Result<(), Failure> {
        let board = Arc::new(Board::default());
        let streamers = args.tcpstreamer.iter().map(|(address, room)| {
            (*address, Language::Streamer(room.clone(), args.tcpstreamer_rate.0), "TCP streamers")
        });
        let apps = args.p2p.iter().map(|address| {
            (*address, Language::PeerToPeer(Arc::clone(&board), args.p2p_rate.0), "clients of the P2P app")
        });
        let doors: Vec<(SocketAddr, Language, &str)> = streamers.chain(apps).collect();
        for (address, language, who) in doors {
            let failed = |error| Failure::network(format_args!("cannot listen on {address}: {error}"));
            let key = self.clients.draw().0;
            let bound = self.clients.foreigners.open(key, address, language, &self.readiness).map_err(failed)?;
            note(format_args!("{who} connect to {bound}"));
        }
        Ok(())
    }

    pub(super) fn accept_foreigners(&mut self, now: Stamp, key: u64) {
        for _ in 0..ACCEPTS {
            let (stream, peer) = match self.clients.foreigners.knocking(key) {
                Ok(Some(knocking)) => knocking,
                Ok(None) => return,
                Err(error) => return warn(format_args!("cannot take a connection: {error}")),
            };
            // They understand no reason, so they are told none.
            if self.hall.is_banned(peer.ip()) || self.clients.is_crowded(peer.ip()) {
                continue;
            }
            let conn = self.clients.draw();
            let random = getrandom::u64().expect("the system gives random numbers");
            let added = self.clients.foreigners.add(key, conn, (stream, peer), random, &self.readiness);
            if added.is_err() || !self.hall.handle_connected(now, conn, None) {
                self.clients.foreigners.remove(conn);
                continue;
            }
            self.clients.count_in(peer.ip());
            let said = self.clients.foreigners.begin(now, conn);
            self.pass_on(now, conn, said);
        }
    }

    pub(super) fn read_foreigner(&mut self, now: Stamp, conn: ConnId) {
        match self.clients.foreigners.read(now, conn, &mut self.buffer) {
            None => self.forget_foreigner(now, conn),
            Some((said, goodbye)) => {
                self.pass_on(now, conn, said);
                self.see_off(conn, goodbye);
            }
        }
    }

    /// The rooms say a line to one of them.
    pub(super) fn tell_foreigner(&mut self, conn: ConnId, line: &str) {
        let now = self.clock.now();
        if let Some(peer) = self.clients.foreigners.peer(conn).filter(|_| self.log_protocol) {
            log('O', peer, line);
        }
        let (said, goodbye) = self.clients.foreigners.line(now, conn, line);
        self.pass_on(now, conn, said);
        self.see_off(conn, goodbye);
    }

    fn see_off(&mut self, conn: ConnId, goodbye: Option<Goodbye>) {
        if let Some(goodbye) = goodbye {
            note(format_args!("somebody of another program goes: {goodbye}"));
            self.clients.foreigners.close(conn);
        }
    }

    /// What one of them says to the rooms.
    fn pass_on(&mut self, now: Stamp, conn: ConnId, said: Said) {
        for what in said.room {
            match what {
                ToRoom::Line(line) => {
                    if let Some(peer) = self.clients.foreigners.peer(conn).filter(|_| self.log_protocol) {
                        log('I', peer, &line);
                    }
                    self.hall.handle_line(now, conn, line.as_bytes());
                }
                ToRoom::Packet(mut packet) => {
                    let mut way = Way::new(self.udp.as_ref(), &mut self.clients, &mut self.outbox);
                    self.hall.handle_packet(now, conn, &mut packet, &mut |path, bytes| way.deliver(path, bytes));
                    self.send_errors += way.lost;
                }
            }
        }
    }

    /// Looks after all of them.
    pub(super) fn tend_foreigners(&mut self, now: Stamp) {
        for (conn, said) in self.clients.foreigners.handle_timeout(now) {
            self.pass_on(now, conn, said);
        }
    }

    /// Writes to them; true where somebody has gone.
    pub(super) fn flush_foreigners(&mut self, now: Stamp) -> bool {
        let ended = self.clients.foreigners.flush(&self.readiness);
        for conn in &ended {
            self.forget_foreigner(now, *conn);
        }
        !ended.is_empty()
    }

    fn forget_foreigner(&mut self, now: Stamp, conn: ConnId) {
        if let Some((from, dropped)) = self.clients.foreigners.remove(conn) {
            self.clients.count_out(from);
            if dropped > 0 {
                note(format_args!("{dropped} messages were too late for a client of another program at {from}"));
            }
        }
        self.hall.handle_closed(now, conn);
    }
}
