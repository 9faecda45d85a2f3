//! The loop around the rooms: what is ready is read, what follows from it is sent.

mod foreign;
mod mixing;
mod peers;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use vox_cli::{Failure, StatsFile, forget_stop, note, stop_requested, wait, warn};
use vox_frame::Stamp;
use vox_room::{ConnId, Hall, Message, Output};
use vox_sys::batch::Batch;
use vox_sys::{Clock, Outbox, Readiness, Ready, monotonic_ns, pipe};

use crate::args::Args;
use crate::client::{Terms, Turn};
use crate::clients::{Clients, FIRST_CONNECTION};
use crate::control::{self, Control};
use crate::doors::{listen, log, raise_descriptors, refuse, voice_of};
use crate::guesses::Guesses;
use crate::haste::Haste;
use crate::http;
use crate::mixers::Mixers;
use crate::passwords::{Answer, Passwords, Question};
use crate::recorder::Recorder;
use crate::store::Store;
use crate::tls;
use crate::way::Way;

const ACCEPT: u64 = 0;
const MEDIA: u64 = 1;
const BELL: u64 = 2;
const CONTROL: u64 = 3;

/// Behind the connections of the control.
const MIXED: u64 = 15;

/// Datagrams that are received by one call.
const BURST: usize = 32;

/// Such calls in one turn, so that signalling is never kept waiting.
const TURNS: usize = 4;

/// Datagrams that are sent by one call: few enough that the first is not kept waiting for the last.
const SENDINGS: usize = 64;

/// Connections that are taken in one turn.
const ACCEPTS: usize = 64;

/// How often counters are written, in ns.
const STATS_NS: i64 = 10_000_000_000;

pub(crate) struct Server {
    hall: Hall,
    readiness: Readiness,
    listener: TcpListener,
    udp: Option<UdpSocket>,
    clients: Clients,
    passwords: Passwords,
    mixers: Option<Mixers>,
    terms: Terms,
    recorder: Option<Recorder>,
    control: Control,
    store: Option<Store>,
    guesses: Guesses,
    clock: Clock,
    buffer: Vec<u8>,
    batch: Batch,
    outbox: Outbox,
    address: SocketAddr,
    media_port: u16,
    voice_address: Option<SocketAddr>,
    haste: Haste,
    stats: Option<StatsFile>,
    log_protocol: bool,
    send_errors: u64,
    /// SIGTERM ends at once what SIGINT from a terminal asks about first.
    terminated: Arc<AtomicBool>,
    /// How far behind the fastest packets is mixed, in ns.
    mix_delay_ns: i64,
    told: bool,
}

impl Server {
    pub(crate) fn open(args: &Args) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format_args!("cannot start: {error}"));
        raise_descriptors();
        let cannot = |error| Failure::network(format_args!("cannot listen on {}: {error}", args.listen));
        let (listener, udp) = listen(args.listen, args.no_udp).map_err(cannot)?;
        let address = listener.local_addr().map_err(failed)?;
        let readiness = Readiness::new().map_err(failed)?;
        let passwords = Passwords::start().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        readiness.add(&listener, ACCEPT).map_err(failed)?;
        readiness.add(passwords.bell(), BELL).map_err(failed)?;
        let clock = Clock::own();
        let (mixers, recorder) = mixing::start(args, clock, &readiness).map_err(failed)?;
        let mut control = Control::new(CONTROL + 1);
        let path = args.control.clone().unwrap_or_else(|| control::default_path(address.port()));
        control.listen(&path, &readiness)?;
        if let Some(http) = args.http {
            let (figures, asked) = UnixStream::pair().map_err(failed)?;
            control.add(asked, &readiness).map_err(failed)?;
            note(format_args!("/metrics and /health on http://{}", http::serve(http, figures)?));
        }
        let (store, kept) = args.state.as_deref().map(Store::open).transpose()?.unzip();
        let mut hall = Hall::new(args.config(), || {
            // Without numbers that nobody can guess there is no keeping anybody out.
            getrandom::u64().expect("the system gives random numbers")
        });
        kept.unwrap_or_default().into_iter().for_each(|change| hall.restore(change));
        let mut media_port = 0;
        if let Some(udp) = &udp {
            readiness.add(udp, MEDIA).map_err(failed)?;
            media_port = udp.local_addr().map_err(failed)?.port();
        }
        let terminated = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&terminated)).map_err(failed)?;
        note(format_args!("listening on {address} (TCP){}", voice_of(media_port)));
        let mut server = Self {
            hall,
            readiness,
            listener,
            udp,
            clients: Clients::new(args.max_per_address, Clock::own()),
            passwords,
            mixers,
            terms: Terms {
                identity: tls::identity(args)?,
                allow_plain: args.allow_plain,
                origins: args.allow_origin.clone(),
            },
            recorder,
            control,
            store,
            guesses: Guesses::default(),
            clock,
            buffer: vec![0; 65_536],
            batch: Batch::new(BURST),
            outbox: Outbox::new(SENDINGS),
            address,
            media_port,
            voice_address: args.voice_address,
            haste: Haste::new(!args.no_realtime),
            stats: args.stats.as_deref().map(StatsFile::create).transpose()?,
            log_protocol: args.log_protocol,
            send_errors: 0,
            terminated,
            mix_delay_ns: args.mix_delay().ns(),
            told: false,
        };
        server.open_doors(args)?;
        Ok(server)
    }

    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        let mut ready = Vec::new();
        let mut next_stats = monotonic_ns() + STATS_NS;
        loop {
            let stops = stop_requested() || self.terminated.load(Ordering::Acquire);
            if stops && !self.asks_first() {
                return self.finish();
            }
            let timers = self.hall.next_deadline().map(|at| self.clock.mono_ns(at));
            let guests = self.clients.guests.next_deadline().map(|at| self.clock.mono_ns(at));
            let foreigners = self.clients.foreigners.next_deadline().map(|at| self.clock.mono_ns(at));
            let deadline =
                [timers, guests, foreigners, self.stats.as_ref().map(|_| next_stats)].into_iter().flatten().min();
            self.haste.before_waiting();
            wait(Some(std::os::fd::AsFd::as_fd(&self.readiness)), deadline)?;
            self.haste.after_waiting();
            self.readiness.ready(&mut ready).map_err(|error| Failure::failed(format_args!("cannot wait: {error}")))?;
            for event in &ready {
                self.handle(*event);
            }
            let now = self.clock.now();
            self.hall.handle_timeout(now);
            self.look_after_recorder();
            self.tend_guests(now);
            self.tend_foreigners(now);
            self.settle(now);
            if self.stats.is_some() && monotonic_ns() >= next_stats {
                next_stats = monotonic_ns() + STATS_NS;
                self.write_stats(false);
            }
        }
    }

    fn handle(&mut self, event: Ready) {
        let now = self.clock.now();
        match event.key {
            ACCEPT => self.accept(now),
            MEDIA => self.receive(),
            BELL => {
                while let Some(answer) = self.passwords.answer() {
                    self.answered(answer);
                }
            }
            CONTROL => self.control.accept(&self.readiness),
            MIXED => self.send_mixed(),
            key if self.control.has(key) => {
                let questions = self.control.questions(key);
                let answers: Vec<Value> = questions.iter().map(|question| self.answer(now, question)).collect();
                self.control.answer(key, &self.readiness, &answers);
            }
            key if self.clients.foreigners.is_door(key) => self.accept_foreigners(now, key),
            key if self.clients.foreigners.has(ConnId(key)) => {
                if event.writable {
                    self.clients.foreigners.touch(ConnId(key));
                }
                if event.readable {
                    self.read_foreigner(now, ConnId(key));
                }
            }
            key if key >= FIRST_CONNECTION => {
                let conn = ConnId(key);
                if event.writable {
                    self.clients.touch(conn);
                }
                if event.readable && self.clients.guests.has(conn) {
                    self.receive_from_guest(now, conn);
                } else if event.readable {
                    self.read(now, conn);
                }
            }
            _ => {}
        }
        self.settle(now);
    }

    fn accept(&mut self, now: Stamp) {
        for _ in 0..ACCEPTS {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Out of descriptors, or somebody who has gone already.
                    if error.kind() != ErrorKind::ConnectionAborted {
                        warn(format_args!("cannot take a connection: {error}"));
                    }
                    return;
                }
            };
            if self.hall.is_banned(peer.ip()) || self.guesses.are_too_many(now, peer.ip()) {
                refuse(&stream, "you are not let in");
                continue;
            }
            if self.clients.is_crowded(peer.ip()) {
                refuse(&stream, "too many connections from your address");
                continue;
            }
            let media = stream.local_addr().ok().filter(|_| self.udp.is_some());
            let media =
                media.map(|local| self.voice_address.unwrap_or_else(|| SocketAddr::new(local.ip(), self.media_port)));
            let Ok(conn) = self.clients.add(stream, peer, &self.readiness) else { continue };
            if !self.hall.handle_connected(now, conn, media) {
                if let Some(client) = self.clients.get(conn) {
                    refuse(client.stream(), "the house is full");
                }
                self.clients.remove(conn);
            }
        }
    }

    fn read(&mut self, now: Stamp, conn: ConnId) {
        let Some(client) = self.clients.get(conn) else { return };
        match client.read(&mut self.buffer, &self.terms) {
            Turn::Ended => {
                self.hall.handle_closed(now, conn);
                self.clients.remove(conn);
            }
            // The poller tells of the rest: the others have their turn first.
            Turn::Read => self.messages(now, conn),
            // There may be a handshake, or a refusal, to send.
            Turn::Nothing => drop(self.clients.touch(conn)),
        }
    }

    fn messages(&mut self, now: Stamp, conn: ConnId) {
        let Some(client) = self.clients.get(conn) else { return };
        self.hall.handle_privacy(conn, client.is_encrypted(), self.terms.may_be_plain(client.peer));
        let peer = client.peer;
        let mut splitter = std::mem::take(&mut client.splitter);
        loop {
            match splitter.next_message() {
                Ok(None) => break,
                Ok(Some(Message::Line(line))) => {
                    if self.log_protocol {
                        log('I', peer, &String::from_utf8_lossy(line));
                    }
                    self.hall.handle_line(now, conn, line);
                }
                Ok(Some(Message::TooLong(beginning))) => self.hall.handle_long_line(now, conn, beginning),
                Ok(Some(Message::Packet(packet))) => {
                    let mut packet = packet.to_vec();
                    let mut way = Way::new(self.udp.as_ref(), &mut self.clients, &mut self.outbox);
                    self.hall.handle_packet(now, conn, &mut packet, &mut |path, bytes| way.deliver(path, bytes));
                    self.send_errors += way.lost;
                }
                Err(error) => {
                    self.hall.handle_closed(now, conn);
                    if let Some(client) = self.clients.touch(conn) {
                        client.line(&format!("ERROR: {error}; goodbye"));
                        client.closing = true;
                    }
                    return;
                }
            }
            self.settle_outputs();
        }
        if let Some(client) = self.clients.get(conn) {
            client.splitter = splitter;
            // A WebSocket is answered where no line asks for it.
            if client.closing || client.has_to_say() {
                self.clients.touch(conn);
            }
        }
    }

    fn receive(&mut self) {
        let Some(udp) = &self.udp else { return };
        for _ in 0..TURNS {
            // What cannot be received now is told again by the poller.
            if self.batch.fill(udp).is_err() || self.batch.is_empty() {
                return;
            }
            let now = self.clock.now();
            let mut way = Way::new(Some(udp), &mut self.clients, &mut self.outbox);
            let mut taken = 0;
            while let Some((datagram, bytes)) = self.batch.pop() {
                if taken == 0 {
                    self.haste.received(datagram.age);
                }
                self.hall.handle_datagram(now, datagram.from, bytes, &mut |path, bytes| way.deliver(path, bytes));
                taken += 1;
            }
            way.flush();
            self.send_errors += way.lost;
            if taken < BURST {
                return;
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        let now = self.clock.now();
        match answer {
            Answer::Protected(ticket, kept) => self.hall.handle_protected(ticket, kept),
            Answer::Verified(ticket, right) => self.hall.handle_verified(now, ticket, right),
        }
    }

    /// Does what the rooms ask for, and writes what that gives.
    fn settle(&mut self, now: Stamp) {
        loop {
            self.settle_outputs();
            let mut way = Way::new(self.udp.as_ref(), &mut self.clients, &mut self.outbox);
            way.flush();
            self.send_errors += way.lost;
            let ended = self.clients.flush(&self.readiness);
            let gone = self.flush_foreigners(now);
            if ended.is_empty() && !gone {
                return;
            }
            for conn in ended {
                self.clients.remove(conn);
                self.hall.handle_closed(now, conn);
            }
        }
    }

    fn settle_outputs(&mut self) {
        while let Some(output) = self.hall.poll_output() {
            match output {
                Output::Line(conn, line) if self.clients.guests.has(conn) => {
                    if let Some(reply) = self.clients.guests.line(conn, &line) {
                        self.hall.handle_line(self.clock.now(), conn, reply.as_bytes());
                    }
                }
                Output::Line(conn, line) if self.clients.foreigners.has(conn) => self.tell_foreigner(conn, &line),
                Output::Line(conn, line) => {
                    let Some(client) = self.clients.touch(conn) else { continue };
                    if self.log_protocol {
                        log('O', client.peer, &line);
                    }
                    if !client.line(&line) {
                        // It reads too slowly: nobody else waits for it, and its memory is bounded.
                        client.closing = true;
                        let _gone = client.stream().shutdown(std::net::Shutdown::Both);
                    }
                }
                Output::Packet(path, packet) => {
                    let mut way = Way::new(self.udp.as_ref(), &mut self.clients, &mut self.outbox);
                    way.deliver(path, &packet);
                    self.send_errors += way.lost;
                }
                Output::Close(conn) => {
                    self.clients.guests.remove(self.clock.now(), conn);
                    self.clients.foreigners.close(conn);
                    if let Some(client) = self.clients.touch(conn) {
                        client.closing = true;
                    }
                }
                Output::Save(change) => {
                    if let Some(store) = &self.store {
                        store.save(change);
                    }
                }
                Output::Desk(order) => self.order(order),
                Output::Guessed(conn) => {
                    if let Some(client) = self.clients.touch(conn) {
                        client.closing |= self.guesses.handle(self.clock.now(), client.peer.ip());
                    }
                }
                Output::Protect(ticket, password) => {
                    if let Some(answer) = self.passwords.ask(Question::Protect(ticket, password)) {
                        self.answered(answer);
                    }
                }
                Output::Verify(ticket, password, kept) => {
                    if let Some(answer) = self.passwords.ask(Question::Verify(ticket, password, kept)) {
                        self.answered(answer);
                    }
                }
            }
        }
    }

    /// Ctrl-C in a terminal tells where the server is and how to end it; whoever sends a signal otherwise means it.
    fn asks_first(&mut self) -> bool {
        if self.terminated.load(Ordering::Acquire) || self.told || !pipe::is_terminal(std::io::stderr()) {
            return false;
        }
        self.told = true;
        forget_stop();
        note(format_args!(
            "{} people on {} (TCP){}; Ctrl-C again ends the server",
            self.hall.members(),
            self.address,
            voice_of(self.media_port)
        ));
        true
    }

    fn finish(&mut self) -> Result<(), Failure> {
        note(format_args!("{} is closing", self.address));
        for conn in self.clients.ids() {
            if let Some(client) = self.clients.touch(conn) {
                client.line("TERMINATE: the server is closing; goodbye");
                client.closing = true;
            }
        }
        self.clients.guests.finish(self.clock.now());
        for conn in self.clients.foreigners.ids() {
            let _nothing_more =
                self.clients.foreigners.line(self.clock.now(), conn, "TERMINATE: the server is closing");
        }
        self.clients.foreigners.flush(&self.readiness);
        for conn in self.clients.flush(&self.readiness) {
            self.clients.remove(conn);
        }
        self.write_stats(true);
        Ok(())
    }

    fn write_stats(&mut self, summary: bool) {
        let mut figures = self.figures();
        figures["summary"] = summary.into();
        if let Some(file) = &mut self.stats {
            file.line(&figures);
        }
    }

    /// Counters since the start, and who is here.
    fn figures(&self) -> Value {
        let mut figures = control::figures(&self.hall);
        figures["connections"] = self.clients.len().into();
        figures["mixersBusy"] = self.mixers.as_ref().map_or(0, Mixers::light).into();
        figures["packetsNotMixed"] = self.mixers.as_ref().map_or(0, |mixers| mixers.dropped).into();
        figures["packetsNotRecorded"] = self.recorder.as_ref().map_or(0, |recorder| recorder.dropped).into();
        figures["mixDelayMs"] = (self.mix_delay_ns as f64 / 1e6).into();
        figures["sendErrors"] = self.send_errors.into();
        figures
    }
}
