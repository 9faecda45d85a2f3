//! A call over a simulated network into the jitter buffer, on virtual time.

use vox_frame::{MediaTime, Rate, SequenceNumber, Stamp};
use vox_link::{Config as LinkConfig, Fate, Link};
use vox_playout::{Config, Meta, Output, Playout, Stats};

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const S: i64 = 1_000 * MS;

/// What is sent, and over what.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) link: LinkConfig,
    pub(crate) seed: u64,
    pub(crate) packets: u64,
    pub(crate) frame_ms: u32,
    /// Every packet carries a copy of the one before it.
    pub(crate) copies: bool,
    /// What is sent in this time (ns) arrives at its end, in order.
    pub(crate) outage: Option<(i64, i64)>,
}

/// A span of playout time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Played {
    pub(crate) due: Stamp,
    pub(crate) slot_ns: i64,
    pub(crate) nominal_ns: i64,
    pub(crate) audio: bool,
    /// How long after it was sent it is played, in ns; audio only.
    pub(crate) delay_ns: i64,
}

/// What a listener got.
pub(crate) struct Heard {
    pub(crate) played: Vec<Played>,
    pub(crate) stats: Stats,
    /// The smallest network delay.
    pub(crate) base_ns: i64,
    /// The estimate of the drift at each second.
    pub(crate) drift_ppb: Vec<i64>,
}

impl Call {
    pub(crate) fn over(link: LinkConfig, seed: u64) -> Self {
        Self { link, seed, packets: 3_000, frame_ms: 20, copies: false, outage: None }
    }

    pub(crate) fn lasting(self, seconds: u64) -> Self {
        Self { packets: seconds * 1_000 / u64::from(self.frame_ms), ..self }
    }

    /// Plays it.
    pub(crate) fn hear(&self, config: Config) -> Heard {
        let config = Config { max_behind_ns: i64::MAX, ..config };
        let mut listener = Listener::new(config, self.link.ppm);
        let (mut link, rate) = (Link::new(self.link.clone(), self.seed), Rate::HZ_48000);
        let ticks = 48 * self.frame_ms;
        let mut arriving: Vec<(Stamp, u64)> = Vec::new();
        let mut last = Stamp::ZERO;
        let deliver = |listener: &mut Listener, arriving: &mut Vec<(Stamp, u64)>, before: Option<Stamp>| {
            arriving.sort();
            let ready = arriving.partition_point(|(at, _)| before.is_none_or(|before| *at < before));
            for (at, n) in arriving.drain(..ready) {
                listener.arrive(Meta {
                    sequence: SequenceNumber(n),
                    timestamp: MediaTime(n * u64::from(ticks)),
                    duration: ticks,
                    marker: n == 0,
                    recovered: false,
                    padding: false,
                    redundant: self.copies,
                    reach: 0,
                    silent: false,
                    quiet: false,
                    arrived: at,
                    bytes: 60,
                });
            }
        };
        for n in 0..self.packets {
            let sent = Stamp::from_ns(rate.ns(n * u64::from(ticks)));
            let Fate::Arrives(at) = link.handle_packet(sent, 60).fate else { continue };
            let held = self.outage.filter(|(from, until)| (*from..*until).contains(&at.ns()));
            let at = held.map_or(at, |(_, until)| Stamp::from_ns(until)).max(if held.is_some() { last } else { at });
            last = at;
            // No packet is overtaken by one that is sent a second after it.
            deliver(&mut listener, &mut arriving, Some(sent.plus(-S)));
            arriving.push((at, n));
        }
        deliver(&mut listener, &mut arriving, None);
        listener.finish()
    }
}

struct Listener {
    playout: Playout<()>,
    heard: Heard,
    tick_ns: f64,
}

impl Listener {
    fn new(config: Config, ppm: f64) -> Self {
        let heard = Heard { played: Vec::new(), stats: Stats::default(), base_ns: i64::MAX, drift_ppb: Vec::new() };
        Self { playout: Playout::new(config, Rate::HZ_48000), heard, tick_ns: 1e9 / 48_000.0 * (1.0 - ppm * 1e-6) }
    }

    fn arrive(&mut self, meta: Meta) {
        self.release(Some(meta.arrived));
        let network = meta.arrived.ns() - self.sent(meta.timestamp);
        self.heard.base_ns = self.heard.base_ns.min(network);
        while self.heard.drift_ppb.len() as i64 <= meta.arrived.ns() / S {
            self.heard.drift_ppb.push(self.playout.drift_ppb());
        }
        self.playout.handle_packet(meta.arrived, meta, ());
    }

    fn sent(&self, timestamp: MediaTime) -> i64 {
        (timestamp.0 as f64 * self.tick_ns) as i64
    }

    fn release(&mut self, before: Option<Stamp>) {
        while let Some(now) = self.playout.next_deadline().filter(|at| before.is_none_or(|before| *at < before)) {
            let (due, slot, ticks, timestamp) = match self.playout.poll(now) {
                Output::Audio(audio) => {
                    (audio.due, audio.slot, u64::from(audio.meta.duration), Some(audio.meta.timestamp))
                }
                Output::Gap(gap) => (gap.due, gap.slot, gap.duration, None),
                Output::Wait(_) | Output::Idle | Output::Ended => break,
            };
            self.heard.played.push(Played {
                due,
                slot_ns: slot as i64,
                nominal_ns: Rate::HZ_48000.ns(ticks),
                audio: timestamp.is_some(),
                delay_ns: timestamp.map_or(0, |timestamp| due.ns() - self.sent(timestamp)),
            });
        }
    }

    fn finish(mut self) -> Heard {
        let now = self.heard.played.last().map_or(Stamp::ZERO, |last| last.due);
        self.playout.finish(now, None);
        self.release(None);
        self.heard.stats = *self.playout.stats();
        self.heard
    }
}

impl Heard {
    /// Excess delay of each packet that was played: (when, ns over the fastest packet).
    pub(crate) fn excess(&self) -> impl Iterator<Item = (Stamp, i64)> + '_ {
        self.played.iter().filter(|played| played.audio).map(|played| (played.due, played.delay_ns - self.base_ns))
    }

    /// Mean excess delay from `from` (ns) on, in ms.
    pub(crate) fn mean_excess_ms(&self, from: i64) -> f64 {
        let late: Vec<i64> = self.excess().filter(|(at, _)| at.ns() >= from).map(|(_, excess)| excess).collect();
        late.iter().sum::<i64>() as f64 / late.len().max(1) as f64 / 1e6
    }

    /// Share of the excess delays that lie below, in ms.
    pub(crate) fn excess_percentile_ms(&self, percent: usize) -> f64 {
        let mut all: Vec<i64> = self.excess().map(|(_, excess)| excess).collect();
        all.sort_unstable();
        all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).map_or(0.0, |ns| *ns as f64 / 1e6)
    }

    /// Share of the playout time, in percent, that so many ticks are.
    pub(crate) fn percent(&self, ticks: u64) -> f64 {
        let played: i64 = self.played.iter().map(|played| played.slot_ns).sum();
        ticks as f64 / 48_000.0 / (played as f64 / 1e9) * 100.0
    }
}
