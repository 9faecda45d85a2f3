//! What comes in: connections, messages, and the records that they become.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use serde_json::{Value, json};
use tungstenite::WebSocket;
use tungstenite::protocol::frame::coding::CloseCode;
use vox_cli::{Failure, Output, StatsFile, note, stop_requested, wait_any, warn};
use vox_frame::{EndReason, Item, Record, Splitter, StreamId};
use vox_mediastream::{Counters, Session, Side};
use vox_sys::{Readiness, Ready, monotonic_ns, tcp};

use crate::args::Args;
use crate::carrier::Carrier;
use crate::connection::Connection;
use crate::door::{Doorman, Knock, Knocked};
use crate::hub::Hub;

/// The number of the listener among what is waited for.
const LISTENER: u64 = 0;

/// How long a handshake may take, in ns, and how many are made at a time.
const HANDSHAKE_NS: i64 = 5_000_000_000;
const MAX_KNOCKS: usize = 64;

/// Connections that are accepted before the calls have their turn.
const ACCEPTS: usize = 16;

/// How long all calls together may take to say farewell, in ns.
const FAREWELL_NS: i64 = 1_000_000_000;

/// The side that hears.
pub(crate) struct Ear<'a> {
    args: &'a Args,
    hub: &'a Hub,
    readiness: Readiness,
    listener: Option<TcpListener>,
    knocks: BTreeMap<u64, Box<Knock>>,
    ids: BTreeMap<u64, [StreamId; 2]>,
    next: u64,
    /// Records on their way to stdout, so that whoever reads them slowly keeps nobody else waiting.
    records: Vec<u8>,
    splitter: Splitter,
    output: Option<Output>,
    stats: Option<StatsFile>,
    totals: Totals,
    /// Until when all say farewell.
    leaving: Option<i64>,
    broken: Option<Failure>,
}

/// What all calls together were.
#[derive(Default)]
struct Totals {
    calls: u64,
    refused: u64,
    dropped: u64,
    counters: Counters,
}

impl<'a> Ear<'a> {
    /// Hears what the calls of `hub` say.
    pub(crate) fn new(
        args: &'a Args,
        hub: &'a Hub,
        output: Option<Output>,
        stats: Option<StatsFile>,
    ) -> Result<Self, Failure> {
        let readiness = Readiness::new().map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
        let mut records = Vec::new();
        hub.clock.opening().write(&mut records);
        Ok(Self {
            args,
            hub,
            readiness,
            listener: None,
            knocks: BTreeMap::new(),
            ids: BTreeMap::new(),
            next: LISTENER,
            records,
            splitter: Splitter::new(),
            output,
            stats,
            totals: Totals::default(),
            leaving: None,
            broken: None,
        })
    }

    /// Waits for calls at that address.
    pub(crate) fn listen(&mut self, address: SocketAddr) -> Result<(), Failure> {
        let failed = |error| Failure::network(format_args!("cannot listen on {address}: {error}"));
        let listener = tcp::listen(address).map_err(failed)?;
        self.readiness.add(&listener, LISTENER).map_err(failed)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Takes a call to a bot that stands.
    pub(crate) fn call(&mut self, socket: WebSocket<Carrier>) -> Result<(), Failure> {
        let from = socket.get_ref().tcp().peer_addr();
        let from = from.map_err(|error| Failure::network(format_args!("the call is lost: {error}")))?;
        let side = Side::Caller {
            stream: format!("MZ{:032x}", random_128()),
            call: format!("CA{:032x}", random_128()),
            parameters: self.args.parameter.iter().map(|(name, text)| (name.clone(), json!(text))).collect(),
            delay: self.args.delay.ns(),
        };
        self.admit(socket, from, side)
    }

    /// Hears until all is over.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        let (mut ready, mut more) = (Vec::new(), false);
        loop {
            self.hand_over()?;
            let deadline = if more { monotonic_ns() } else { self.next_deadline() };
            wait_any(&[self.readiness.as_fd(), self.hub.waker()], Some(deadline))?;
            self.hub.awake();
            if (stop_requested() || self.hub.is_stopped()) && self.leaving.is_none() {
                self.leave();
            }
            self.readiness.ready(&mut ready).map_err(|error| Failure::failed(format_args!("cannot wait: {error}")))?;
            more = false;
            for one in &ready {
                more |= self.attend(*one);
            }
            self.tend();
            if self.is_over() {
                return self.finish();
            }
        }
    }

    /// Nobody is there, and nobody will come.
    fn is_over(&self) -> bool {
        let is_empty = self.hub.calls().open.is_empty();
        let waits = self.listener.is_some() && (!self.args.once || self.totals.calls == 0);
        is_empty && (self.leaving.is_some() || !waits) || self.leaving.is_some_and(|until| monotonic_ns() >= until)
    }

    /// Everybody is to take leave.
    fn leave(&mut self) {
        let now = monotonic_ns();
        self.leaving = Some(now + FAREWELL_NS);
        self.listener = None;
        self.knocks.clear();
        for call in self.hub.calls().open.values_mut() {
            call.session.hang_up();
            call.close(now, CloseCode::Away, "");
        }
    }

    /// Something is ready; true where there is more than was read.
    fn attend(&mut self, ready: Ready) -> bool {
        if ready.key == LISTENER {
            self.accept();
            return false;
        }
        if let Some(knock) = self.knocks.remove(&ready.key) {
            self.answer(ready.key, knock.go_on());
            return false;
        }
        let (now, mono) = (self.hub.clock.now(), monotonic_ns());
        let Self { hub, records, .. } = self;
        let mut calls = hub.calls();
        let Some(call) = calls.open.get_mut(&ready.key) else { return false };
        if ready.writable {
            call.go_on(mono);
        }
        ready.readable && call.read(now, mono, &mut |record: Record<'_>| keep(records, &record)).unwrap_or(false)
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            let (stream, from) = match tcp::accept(listener) {
                Ok(Some(accepted)) => accepted,
                Ok(None) => return,
                Err(error) => {
                    // Such as too many open files: it may pass, and the calls that are there go on.
                    warn(format_args!("cannot accept a call: {error}"));
                    return;
                }
            };
            if self.knocks.len() >= MAX_KNOCKS {
                self.totals.refused += 1;
                continue;
            }
            let doorman = Doorman {
                path: self.args.path.clone(),
                origins: self.args.origin.clone(),
                is_full: self.hub.calls().open.len() >= usize::from(self.args.max_calls),
            };
            let until = monotonic_ns() + HANDSHAKE_NS;
            self.next += 1;
            let key = self.next;
            let knocked = Knock::begin(Carrier::Plain(stream), from, until, doorman);
            if let Knocked::Waits(knock) = &knocked
                && knock.descriptor().is_none_or(|fd| self.readiness.add(fd, key).is_err())
            {
                self.totals.refused += 1;
                continue;
            }
            self.answer(key, knocked);
        }
    }

    /// Goes on with a handshake.
    fn answer(&mut self, key: u64, knocked: Knocked) {
        match knocked {
            Knocked::Waits(knock) => {
                self.knocks.insert(key, knock);
            }
            Knocked::Refused(why) => {
                self.totals.refused += 1;
                if self.totals.refused == 1 {
                    note(format_args!("turned away {why} (others are only counted)"));
                }
            }
            Knocked::Open(socket) => {
                let Ok(from) = socket.get_ref().tcp().peer_addr() else { return };
                // The number is that of the handshake, under which it is waited for.
                let _forgotten = self.readiness.remove(socket.get_ref());
                let full = self.hub.calls().open.len() >= usize::from(self.args.max_calls);
                let is_wanted = !(full || self.args.once && self.totals.calls > 0);
                if !is_wanted || self.admit(*socket, from, Side::Bot).is_err() {
                    self.totals.refused += 1;
                }
            }
        }
    }

    fn admit(&mut self, socket: WebSocket<Carrier>, from: SocketAddr, side: Side) -> Result<(), Failure> {
        self.next += 1;
        let (key, mono) = (self.next, monotonic_ns());
        let ids = [0, 1].map(|_| StreamId(random_128() as u32));
        let Self { hub, records, .. } = self;
        let session = Session::new(hub.clock.now(), side, ids, &mut |record: Record<'_>| keep(records, &record));
        let Ok(session) = session;
        self.readiness
            .add(socket.get_ref(), key)
            .map_err(|error| Failure::failed(format_args!("cannot take a call: {error}")))?;
        let mut call = Connection::new(from, socket, session, mono, self.args.max_age.ns());
        call.write(mono);
        self.ids.insert(key, ids);
        self.totals.calls += 1;
        self.hub.calls().open.insert(key, call);
        Ok(())
    }

    /// What time brings: what is to be played, who is silent, who is gone.
    fn tend(&mut self) {
        let (now, mono) = (self.hub.clock.now(), monotonic_ns());
        let late: Vec<u64> = self.knocks.iter().filter(|(_, knock)| knock.until <= mono).map(|(key, _)| *key).collect();
        for key in late {
            self.knocks.remove(&key);
            self.totals.refused += 1;
        }
        let linger = self.linger();
        let Self { hub, records, readiness, .. } = self;
        let mut over = Vec::new();
        let mut calls = hub.calls();
        for (key, call) in &mut calls.open {
            let Ok(()) = call.session.handle_timeout(now, &mut |record: Record<'_>| keep(records, &record));
            if let Some(why) = call.session.take_refusal() {
                warn(format_args!("{} is turned away: {why}", call.from));
                call.close(mono, CloseCode::Unsupported, "only mono audio/x-mulaw at 8000 Hz");
            }
            let was_heard = call.heard_audio;
            if linger.is_some_and(|(said, linger)| mono - said.max(was_heard) >= linger) && call.session.is_played() {
                call.session.hang_up();
            }
            call.write(mono);
            call.tend(mono);
            if call.gone().is_none() {
                let _watched = readiness.change(call.carrier(), *key, call.is_waiting());
            } else {
                let _forgotten = readiness.remove(call.carrier());
            }
            if call.is_over() {
                over.push(*key);
            }
        }
        drop(calls);
        for key in over {
            self.part(key);
        }
    }

    /// When the last was said, and how long after it a telephone hangs up.
    fn linger(&self) -> Option<(i64, i64)> {
        let said = self.hub.said_all().filter(|_| self.args.url.is_some())?;
        let linger = if self.output.is_some() { self.args.linger.ns() } else { 0 };
        Some((said, linger))
    }

    /// A call is over.
    fn part(&mut self, key: u64) {
        let Some(ids) = self.ids.remove(&key) else { return };
        let Some(mut call) = self.hub.calls().remove(key, ids) else { return };
        let why = call.gone().unwrap_or_default().to_owned();
        let reason = if self.leaving.is_some() {
            EndReason::Stopped
        } else if why.is_empty() {
            EndReason::Bye
        } else {
            EndReason::Interrupted
        };
        let Self { hub, records, .. } = self;
        let Ok(()) = call.session.finish(hub.clock.now(), &reason, &mut |record: Record<'_>| keep(records, &record));
        if !why.is_empty() {
            note(format_args!("the call with {} broke off: {why}", call.from));
            if self.args.url.is_some() {
                self.broken = Some(Failure::network(format_args!("the call broke off: {why}")));
            }
        }
        self.totals.add(&call);
        if let Some(stats) = &mut self.stats {
            let mut line = figures(call.session.counters(), call.dropped);
            line["stream"] = json!(call.session.stream());
            line["from"] = json!(call.from.to_string());
            stats.line(&line);
        }
    }

    fn next_deadline(&self) -> i64 {
        let clock = self.hub.clock;
        let knocks = self.knocks.values().map(|knock| knock.until);
        let calls = self.hub.calls();
        let open = calls.open.values();
        let times = open.flat_map(|call| {
            let linger = self.linger().map(|(said, linger)| said.max(call.heard_audio).saturating_add(linger));
            let linger = linger.filter(|_| !call.session.is_over() && call.session.is_played());
            let due = call.session.next_deadline().map(|due| clock.mono_ns(due));
            let look = call.gone().is_none().then(|| call.next_look());
            [due, linger, look].into_iter().flatten()
        });
        times.chain(knocks).chain(self.leaving).min().unwrap_or(i64::MAX)
    }

    /// Ends what is left, in good order.
    fn finish(&mut self) -> Result<(), Failure> {
        let keys: Vec<u64> = self.hub.calls().open.keys().copied().collect();
        for key in keys {
            self.part(key);
        }
        self.hand_over()?;
        if let Some(output) = &mut self.output {
            output.end_open(&EndReason::Stopped)?;
        }
        if let Some(stats) = &mut self.stats {
            let mut line = figures(&self.totals.counters, self.totals.dropped);
            line["summary"] = json!(true);
            line["calls"] = json!(self.totals.calls);
            line["connectionsRefused"] = json!(self.totals.refused);
            stats.line(&line);
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Gives stdout what was heard.
    fn hand_over(&mut self) -> Result<(), Failure> {
        let Self { records, splitter, output, .. } = self;
        let mut rest = &records[..];
        while !rest.is_empty() {
            rest = &rest[splitter.feed(rest)..];
            while let Some(item) = splitter.poll()? {
                if let (Item::Record(raw), Some(output)) = (item, output.as_mut()) {
                    output.raw(raw)?;
                }
            }
        }
        records.clear();
        output.as_mut().map_or(Ok(()), Output::flush)
    }
}

impl Totals {
    fn add(&mut self, call: &Connection) {
        let (sum, one) = (&mut self.counters, call.session.counters());
        for (sum, one) in [
            (&mut sum.media, one.media),
            (&mut sum.samples, one.samples),
            (&mut sum.media_sent, one.media_sent),
            (&mut sum.malformed, one.malformed),
            (&mut sum.unexpected, one.unexpected),
            (&mut sum.late, one.late),
            (&mut sum.jumps, one.jumps),
            (&mut sum.overflows, one.overflows),
        ] {
            *sum += one;
        }
        self.dropped += call.dropped;
    }
}

fn figures(counters: &Counters, dropped: u64) -> Value {
    json!({
        "packetsReceived": counters.media,
        "totalSamplesReceived": counters.samples,
        "packetsSent": counters.media_sent - dropped.min(counters.media_sent),
        "packetsDiscardedOnSend": dropped,
        "packetsDiscarded": counters.late + counters.overflows,
        "timestampJumps": counters.jumps,
        "messagesMalformed": counters.malformed,
        "messagesUnexpected": counters.unexpected,
    })
}

fn keep(records: &mut Vec<u8>, record: &Record<'_>) -> Result<(), Infallible> {
    record.write(records);
    Ok(())
}

fn random_128() -> u128 {
    let half = || u128::from(getrandom::u64().unwrap_or_else(|_| monotonic_ns() as u64));
    half() << 64 | half()
}
