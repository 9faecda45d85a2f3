//! A call over a simulated network into the jitter buffer, on virtual time.

use vox_frame::{MediaTime, Rate, SequenceNumber, Stamp};
use vox_link::Config as LinkConfig;
use vox_playout::{Config, Meta, Output, Playout, Stats};
use vox_testkit::{DriftingClock, Events, PacketSource, SentPacket, Wire, watch_log};

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const S: i64 = 1_000 * MS;

/// What a packet weighs on the link.
const WIRE_BYTES: usize = 60;

/// What is sent, and over what.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) link: LinkConfig,
    pub(crate) seed: u64,
    pub(crate) packets: u64,
    pub(crate) frame_ms: u32,
    /// Every packet carries a copy of the one before it.
    pub(crate) copies: bool,
    /// Every packet describes so many ticks before it (deep redundancy).
    pub(crate) reach: u32,
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
        Self { link, seed, packets: 3_000, frame_ms: 20, copies: false, reach: 0, outage: None }
    }

    pub(crate) fn lasting(self, seconds: u64) -> Self {
        Self { packets: seconds * 1_000 / u64::from(self.frame_ms), ..self }
    }

    /// Plays it.
    pub(crate) fn hear(&self, config: Config) -> Heard {
        let (mut events, mut wire) =
            (Events::new(), Wire::new(LinkConfig { ppm: 0.0, ..self.link.clone() }, self.seed));
        let _log = watch_log(events.clock());
        // The first packet leaves at 0, and the others when the sender's clock says.
        let clock = DriftingClock::new(self.link.ppm, 0);
        let mut source = PacketSource::opus(self.frame_ms)
            .on(clock)
            .from(Stamp::from_ns(-MS * i64::from(self.frame_ms)), SequenceNumber(0));
        let mut listener = Listener::new(Config { max_behind_ns: i64::MAX, ..config }, self.link.ppm);
        let (mut sent, mut held) = (0, Vec::new());
        loop {
            let sends = source.next_deadline().filter(|_| sent < self.packets);
            let opens = self.outage.map(|(_, until)| Stamp::from_ns(until)).filter(|_| !held.is_empty());
            // What arrives at the very moment at which something is to be played has arrived.
            let deadlines = [sends, wire.next_deadline(), opens, listener.playout.next_deadline()];
            if sends.is_none() && deadlines[1].is_none() && opens.is_none() {
                break;
            }
            let Some((now, who)) = events.next(Stamp::from_ns(i64::MAX), &deadlines) else { break };
            match who {
                0 => {
                    let packet = source.poll(now).expect("it is due");
                    wire.send(now, WIRE_BYTES, packet);
                    sent += 1;
                }
                1 => {
                    let packet = wire.poll(now).expect("it is due");
                    match self.outage {
                        Some((from, until)) if (from..until).contains(&now.ns()) => held.push(packet),
                        _ => listener.arrive(now, &packet, self),
                    }
                }
                2 => held.drain(..).for_each(|packet| listener.arrive(now, &packet, self)),
                _ => listener.release(now),
            }
        }
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
        Self { playout: Playout::new(config, Rate::HZ_48000), heard, tick_ns: 1e9 / 48_000.0 / (1.0 + ppm * 1e-6) }
    }

    fn arrive(&mut self, now: Stamp, packet: &SentPacket, call: &Call) {
        let network = now.ns() - self.sent(packet.timestamp);
        self.heard.base_ns = self.heard.base_ns.min(network);
        while self.heard.drift_ppb.len() as i64 <= now.ns() / S {
            self.heard.drift_ppb.push(self.playout.drift_ppb());
        }
        let meta = Meta {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            duration: packet.duration,
            marker: packet.marker,
            recovered: false,
            padding: false,
            redundant: call.copies,
            reach: call.reach,
            silent: false,
            quiet: false,
            arrived: now,
            bytes: packet.bytes,
        };
        self.playout.handle_packet(now, meta, ());
    }

    fn sent(&self, timestamp: MediaTime) -> i64 {
        (timestamp.0 as f64 * self.tick_ns) as i64
    }

    fn release(&mut self, now: Stamp) {
        while self.playout.next_deadline().is_some_and(|at| at <= now) {
            if !self.release_one(now) {
                break;
            }
        }
    }

    fn release_one(&mut self, now: Stamp) -> bool {
        let (due, slot, ticks, timestamp) = match self.playout.poll(now) {
            Output::Audio(audio) => (audio.due, audio.slot, u64::from(audio.meta.duration), Some(audio.meta.timestamp)),
            Output::Gap(gap) => (gap.due, gap.slot, gap.duration, None),
            Output::Wait(_) | Output::Idle | Output::Ended => return false,
        };
        self.heard.played.push(Played {
            due,
            slot_ns: slot as i64,
            nominal_ns: Rate::HZ_48000.ns(ticks),
            audio: timestamp.is_some(),
            delay_ns: timestamp.map_or(0, |timestamp| due.ns() - self.sent(timestamp)),
        });
        true
    }

    fn finish(mut self) -> Heard {
        let now = self.heard.played.last().map_or(Stamp::ZERO, |last| last.due);
        self.playout.finish(now, None);
        while let Some(now) = self.playout.next_deadline() {
            if !self.release_one(now) {
                break;
            }
        }
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
