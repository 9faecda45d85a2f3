//! The threads that mix. Forwarding never waits for them: what they are told and what they have made goes through queues.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use vox_bridge::{Audience, Bridge, Config, Effort, Packet, PersonId, Shape};
use vox_cli::warn;
use vox_frame::{Codec, Rate, Stamp};
use vox_room::{DeskOrder, Hearers, MixWish};
use vox_sys::{Clock, pipe};

use crate::effort::Governor;

/// Packets that may wait for a mixer; those beyond are not mixed.
const MAX_WAITING: usize = 16_384;

/// How long a mixer waits that has nothing to mix.
const LONG: Duration = Duration::from_secs(3600);

/// What was made for some who hear the same.
pub(crate) struct Made {
    pub(crate) desk: u64,
    pub(crate) to: Vec<PersonId>,
    pub(crate) timestamp: u64,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
}

/// What mixers have to say.
pub(crate) enum Outcome {
    /// What was made at one time.
    Made(Vec<Made>),
    /// Somebody cannot get a mix.
    Refused(u64, String),
}

/// All mixers.
pub(crate) struct Mixers {
    threads: Vec<(Sender<DeskOrder>, Arc<AtomicUsize>)>,
    outcomes: Receiver<Outcome>,
    /// Becomes readable when there is something.
    bell: UnixStream,
    rung: Arc<AtomicBool>,
    /// Packets that found too many before them.
    pub(crate) dropped: u64,
    /// Mixers that are busy, and encode with less effort.
    light: Arc<AtomicUsize>,
}

impl Mixers {
    /// So many threads.
    ///
    /// # Errors
    /// Where the system gives none.
    pub(crate) fn start(threads: usize, config: Config, clock: Clock) -> io::Result<Self> {
        let (made, outcomes) = channel();
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        let (rung, light) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut all = Vec::new();
        for _ in 0..threads.max(1) {
            let (orders, ordered) = channel();
            let waiting = Arc::new(AtomicUsize::new(0));
            let mixer = Mixer {
                orders: ordered,
                waiting: Arc::clone(&waiting),
                made: made.clone(),
                bell: ringer.try_clone()?,
                rung: Arc::clone(&rung),
                config,
                clock,
                governor: Governor::new(clock.now()),
                light: Arc::clone(&light),
                desks: BTreeMap::new(),
                due: BTreeSet::new(),
            };
            thread::Builder::new().name("mixer".to_owned()).spawn(move || mixer.run())?;
            all.push((orders, waiting));
        }
        Ok(Self { threads: all, outcomes, bell, rung, dropped: 0, light })
    }

    /// How many mixers are so busy that they encode with less effort.
    pub(crate) fn light(&self) -> usize {
        self.light.load(Ordering::Relaxed)
    }

    pub(crate) const fn bell(&self) -> &UnixStream {
        &self.bell
    }

    /// Hands an order to whose place it is.
    pub(crate) fn order(&mut self, order: DeskOrder) {
        let at = (desk(&order) % self.threads.len() as u64) as usize;
        let (orders, waiting) = &self.threads[at];
        if matches!(order, DeskOrder::Packet { .. }) {
            if waiting.load(Ordering::Relaxed) >= MAX_WAITING {
                self.dropped += 1;
                return;
            }
            waiting.fetch_add(1, Ordering::Relaxed);
        }
        if orders.send(order).is_err() {
            self.dropped += 1;
        }
    }

    /// What the bell has rung for; ask until there is nothing.
    pub(crate) fn outcome(&mut self) -> Option<Outcome> {
        if self.rung.swap(false, Ordering::AcqRel) {
            let _rung = self.bell.read(&mut [0; 64]);
        }
        self.outcomes.try_recv().ok()
    }
}

/// Which place an order is about.
pub(crate) const fn desk(order: &DeskOrder) -> u64 {
    match order {
        DeskOrder::Open { desk, .. }
        | DeskOrder::Stream { desk, .. }
        | DeskOrder::Hearers { desk, .. }
        | DeskOrder::Packet { desk, .. }
        | DeskOrder::End { desk, .. }
        | DeskOrder::Listen { desk, .. }
        | DeskOrder::Leave { desk, .. }
        | DeskOrder::Record { desk, .. }
        | DeskOrder::Close { desk } => *desk,
    }
}

/// One thread.
struct Mixer {
    orders: Receiver<DeskOrder>,
    waiting: Arc<AtomicUsize>,
    made: Sender<Outcome>,
    bell: UnixStream,
    rung: Arc<AtomicBool>,
    config: Config,
    clock: Clock,
    governor: Governor,
    light: Arc<AtomicUsize>,
    desks: BTreeMap<u64, Desk>,
    /// When there is something to do for whom.
    due: BTreeSet<(i64, u64)>,
}

/// A place.
struct Desk {
    bridge: Bridge,
    /// Payload types of its streams.
    types: BTreeMap<u32, u8>,
    deadline: Option<i64>,
}

impl Mixer {
    fn run(mut self) {
        pipe::sharpen_timers();
        loop {
            let wait = self.due.first().map_or(LONG, |(at, _)| {
                let ns = Stamp::from_ns(*at).since(self.clock.now());
                Duration::from_nanos(ns.max(0).unsigned_abs())
            });
            match self.orders.recv_timeout(wait) {
                Ok(order) => self.handle(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // A burst of packets is taken before what is due: it is a part of that.
            while let Ok(order) = self.orders.try_recv() {
                self.handle(order);
            }
            if !self.mix() {
                return;
            }
        }
    }

    fn handle(&mut self, order: DeskOrder) {
        let number = desk(&order);
        let now = self.clock.now();
        match order {
            DeskOrder::Open { .. } => {
                let mut bridge = Bridge::new(self.config, now);
                bridge.set_effort(self.governor.effort());
                let desk = Desk { bridge, types: BTreeMap::new(), deadline: None };
                self.desks.insert(number, desk);
            }
            DeskOrder::Close { .. } => {
                if let Some(at) = self.desks.remove(&number).and_then(|desk| desk.deadline) {
                    self.due.remove(&(at, number));
                }
                return;
            }
            DeskOrder::Packet { .. } => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.with(number, |desk| desk.handle(now, order));
            }
            DeskOrder::Listen { who, wish, .. } => {
                let mut outcome = Ok(());
                self.with(number, |desk| outcome = desk.bridge.listen(PersonId(who), &shape(&wish)));
                if let Err(error) = outcome {
                    self.tell(Outcome::Refused(who, error.to_string()));
                }
            }
            order => self.with(number, |desk| desk.handle(now, order)),
        }
        self.reckon(number);
    }

    fn with(&mut self, number: u64, what: impl FnOnce(&mut Desk)) {
        if let Some(desk) = self.desks.get_mut(&number) {
            what(desk);
        }
    }

    /// Notes when there is something to do for a place.
    fn reckon(&mut self, number: u64) {
        let Some(desk) = self.desks.get_mut(&number) else { return };
        let deadline = desk.bridge.next_deadline().map(Stamp::ns);
        let before = std::mem::replace(&mut desk.deadline, deadline);
        if before != deadline {
            before.map(|at| self.due.remove(&(at, number)));
            deadline.map(|at| self.due.insert((at, number)));
        }
    }

    /// Mixes what is due; false where nobody takes it any more.
    fn mix(&mut self) -> bool {
        let (mut made, began) = (Vec::new(), self.clock.now());
        while let Some(&(at, number)) = self.due.first()
            && at <= self.clock.now().ns()
        {
            let now = self.clock.now();
            self.with(number, |desk| {
                desk.bridge.poll(now, &mut |mixed| {
                    made.push(Made {
                        desk: number,
                        to: mixed.to.to_vec(),
                        timestamp: mixed.timestamp,
                        marker: mixed.marker,
                        payload: mixed.payload.to_vec(),
                    });
                });
            });
            self.due.remove(&(at, number));
            self.with(number, |desk| desk.deadline = None);
            self.reckon(number);
        }
        if made.is_empty() {
            return true;
        }
        if self.governor.worked(began, self.clock.now()) {
            self.take_effort(self.governor.effort());
        }
        self.tell(Outcome::Made(made))
    }

    fn take_effort(&mut self, effort: Effort) {
        self.desks.values_mut().for_each(|desk| desk.bridge.set_effort(effort));
        match effort {
            Effort::Full => self.light.fetch_sub(1, Ordering::Relaxed),
            Effort::Light => self.light.fetch_add(1, Ordering::Relaxed),
        };
    }

    fn tell(&mut self, outcome: Outcome) -> bool {
        let told = self.made.send(outcome).is_ok();
        if !self.rung.swap(true, Ordering::AcqRel) {
            // A bell that is full rings.
            let _full = self.bell.write(&[0]);
        }
        told
    }
}

impl Desk {
    fn handle(&mut self, now: Stamp, order: DeskOrder) {
        match order {
            DeskOrder::Stream { ssrc, owner, facts, .. } => {
                self.types.insert(ssrc, facts.payload_type);
                let format = facts.to_format();
                if let Err(error) = self.bridge.open(ssrc, PersonId(owner), &format, facts.format) {
                    warn(format_args!("stream {ssrc} is not mixed: {error}"));
                }
            }
            DeskOrder::Hearers { ssrc, hearers, .. } => {
                let audience = match hearers {
                    Hearers::All => Audience::All,
                    Hearers::Nobody => Audience::Nobody,
                    Hearers::AllBut(deaf) => {
                        Audience::AllBut(Arc::new(deaf.iter().map(|number| PersonId(*number)).collect()))
                    }
                };
                self.bridge.set_audience(ssrc, audience);
            }
            DeskOrder::Packet { ssrc, arrived, bytes, .. } => {
                let Ok(packet) = vox_rtp::Packet::parse(&bytes) else { return };
                let header = packet.header;
                let packet = Packet {
                    sequence: header.sequence,
                    timestamp: header.timestamp,
                    marker: header.marker,
                    audible: self.types.get(&ssrc) == Some(&header.payload_type),
                    arrived,
                    payload: packet.payload,
                };
                self.bridge.packet(now, ssrc, packet);
            }
            DeskOrder::End { ssrc, .. } => {
                self.types.remove(&ssrc);
                self.bridge.close(now, ssrc);
            }
            DeskOrder::Leave { who, .. } => self.bridge.leave(PersonId(who)),
            DeskOrder::Open { .. } | DeskOrder::Listen { .. } | DeskOrder::Record { .. } | DeskOrder::Close { .. } => {}
        }
    }
}

/// What is encoded for a wish: Opus always at 48 kHz.
fn shape(wish: &MixWish) -> Shape {
    let facts = wish.facts().to_format();
    let rate = if facts.codec == Codec::Opus { Rate::HZ_48000 } else { facts.rate };
    Shape { codec: facts.codec, rate, channels: facts.channels }
}
