//! One packet after another through the link.

use vox_frame::Stamp;

use crate::config::Config;
use crate::draw::{Draw, Purpose};
use crate::gate::{Gate, is_out};
use crate::loss::BurstLoss;
use crate::queue::{Bottleneck, Sawtooth, SpikeTrain};
use crate::trace::Replay;

/// A network link in one direction. Ask it about each packet in the order of sending.
#[derive(Debug, Clone)]
pub struct Link {
    config: Config,
    gates: Vec<Gate>,
    burst: Option<BurstLoss>,
    congestion: Option<Sawtooth>,
    spikes: Option<SpikeTrain>,
    bottleneck: Option<Bottleneck>,
    replay: Option<Replay>,
    delays: Draw,
    losses: Draw,
    reorders: Draw,
    duplicates: Draw,
    /// When the first packet was sent.
    origin: Option<Stamp>,
    /// When the last packet in order arrived, in ns from the origin.
    last_ns: Option<i64>,
    tally: Tally,
}

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives(Stamp),
    /// It does not.
    Lost(Loss),
}

/// Why a packet does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// By chance.
    Random,
    /// In a burst.
    Burst,
    /// A queue was full.
    Queue,
    /// The link was out.
    Outage,
    /// The recorded network lost it.
    Trace,
}

/// What becomes of a packet and of its copy, if the link makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// The packet.
    pub fate: Fate,
    /// When a copy of it arrives.
    pub copy: Option<Stamp>,
}

/// What a link has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Packets sent.
    pub packets: u64,
    /// Packets lost.
    pub lost: u64,
    /// Of them, those that a full queue dropped.
    pub dropped: u64,
    /// Packets that were held back to be overtaken.
    pub reordered: u64,
    /// Packets that came twice.
    pub duplicated: u64,
    /// The delays of the packets that arrived, added up, in ns.
    pub delay_ns: i128,
    /// The longest of them, in ns.
    pub longest_ns: i64,
}

impl Link {
    /// A link in which nothing has been sent yet.
    pub fn new(config: Config, seed: u64) -> Self {
        let gates = config.stalls.iter().enumerate().map(|(index, stalls)| Gate::new(*stalls, seed, index)).collect();
        Self {
            gates,
            burst: config.burst.map(|burst| BurstLoss::new(burst, seed)),
            congestion: config.congestion.map(|congestion| Sawtooth::new(congestion, seed)),
            spikes: config.spikes.map(|spikes| SpikeTrain::new(spikes, seed)),
            bottleneck: config.rate.map(Bottleneck::new),
            replay: config.trace.clone().map(Replay::new),
            delays: Draw::new(seed, Purpose::Delay, 0),
            losses: Draw::new(seed, Purpose::Loss, 0),
            reorders: Draw::new(seed, Purpose::Reorder, 0),
            duplicates: Draw::new(seed, Purpose::Duplicate, 0),
            origin: None,
            last_ns: None,
            tally: Tally::default(),
            config,
        }
    }

    /// What becomes of a packet of `bytes` (headers included) that is sent at `sent` by the sender's clock.
    pub fn handle_packet(&mut self, sent: Stamp, bytes: usize) -> Passage {
        let origin = *self.origin.get_or_insert(sent);
        let sent_ns = sent.since(origin);
        let at_ns = sent_ns.saturating_sub((sent_ns as f64 * self.config.ppm * 1e-6).round() as i64);
        self.tally.packets += 1;
        let held = self.config.reorder.filter(|reorder| self.reorders.chance(reorder.share));
        let doubled = self.duplicates.chance(self.config.duplicate);
        let arrival = self.arrival(at_ns, bytes, held.map(|reorder| reorder.by_ns));
        let stamp = |ns: i64| origin.plus(ns);
        match arrival {
            Err(loss) => {
                self.tally.lost += 1;
                self.tally.dropped += u64::from(loss == Loss::Queue);
                Passage { fate: Fate::Lost(loss), copy: None }
            }
            Ok(ns) => {
                self.tally.reordered += u64::from(held.is_some());
                self.tally.duplicated += u64::from(doubled);
                let delay_ns = ns.saturating_sub(at_ns);
                self.tally.delay_ns += i128::from(delay_ns);
                self.tally.longest_ns = self.tally.longest_ns.max(delay_ns);
                let copy = doubled.then(|| stamp(self.copy(ns)));
                Passage { fate: Fate::Arrives(stamp(ns)), copy }
            }
        }
    }

    /// The earliest that a packet sent at `sent` can arrive: nothing that is sent later arrives before it.
    pub fn earliest(&self, sent: Stamp) -> Stamp {
        let sent_ns = self.origin.map_or(0, |origin| sent.since(origin));
        let drift = (sent_ns as f64 * self.config.ppm * 1e-6).round() as i64;
        let base = if self.config.trace.is_some() { 0 } else { self.config.base_ns };
        sent.plus(base.saturating_sub(drift))
    }

    /// What the link has done so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// When a packet arrives that begins its way at `at_ns`, in ns from the origin.
    fn arrival(&mut self, at_ns: i64, bytes: usize, held_ns: Option<i64>) -> Result<i64, Loss> {
        let mut lost = self.losses.chance(self.config.loss).then_some(Loss::Random);
        if self.burst.as_mut().is_some_and(BurstLoss::loses) {
            lost = lost.or(Some(Loss::Burst));
        }
        let mut served_ns = at_ns;
        for gate in &mut self.gates {
            let (until_ns, drops) = gate.pass(at_ns);
            served_ns = served_ns.max(until_ns);
            if drops {
                lost = lost.or(Some(Loss::Outage));
            }
        }
        if is_out(&self.config.outages, at_ns) {
            lost = lost.or(Some(Loss::Outage));
        }
        let mut delay_ns = self.config.base_ns.saturating_add(self.delays.jitter(&self.config.jitter));
        if let Some(replay) = &mut self.replay {
            match replay.pass(at_ns) {
                Some(recorded_ns) => delay_ns = recorded_ns,
                None => lost = lost.or(Some(Loss::Trace)),
            }
        }
        if let Some(congestion) = &mut self.congestion {
            let (queued_ns, drops) = congestion.pass(at_ns);
            delay_ns = delay_ns.saturating_add(queued_ns);
            if drops {
                lost = lost.or(Some(Loss::Queue));
            }
        }
        if let Some(spikes) = &mut self.spikes {
            delay_ns = delay_ns.saturating_add(spikes.pass(at_ns));
        }
        if let Some(bottleneck) = &mut self.bottleneck {
            served_ns = bottleneck.pass(served_ns, bytes).ok_or(Loss::Queue)?;
        }
        let arrival_ns = self.order(served_ns.saturating_add(delay_ns), held_ns);
        // What is lost was lost behind the queue: it has taken its place there.
        lost.map_or(Ok(arrival_ns), Err)
    }

    /// Keeps packets in order, but for those that are held back.
    fn order(&mut self, arrival_ns: i64, held_ns: Option<i64>) -> i64 {
        if !self.config.in_order {
            return arrival_ns.saturating_add(held_ns.unwrap_or(0));
        }
        let least = self.last_ns.map_or(i64::MIN, |last| last.saturating_add(self.config.spacing_ns));
        let arrival_ns = arrival_ns.max(least);
        if let Some(held_ns) = held_ns {
            return arrival_ns.saturating_add(held_ns);
        }
        self.last_ns = Some(arrival_ns);
        arrival_ns
    }

    /// When the copy of a packet arrives: right behind it.
    fn copy(&mut self, ns: i64) -> i64 {
        let copy_ns = ns.saturating_add(self.config.spacing_ns.max(1));
        self.last_ns = self.last_ns.map(|last| if last == ns { copy_ns } else { last });
        copy_ns
    }
}
