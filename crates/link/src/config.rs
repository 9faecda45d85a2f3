//! What a link does to packets. Every part is off by default; probabilities are 0 to 1, times are ns.

use crate::Trace;

/// A network link.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The delay that every packet has, in ns.
    pub base_ns: i64,
    /// What comes on top of it, drawn for each packet.
    pub jitter: Jitter,
    /// Probability that a packet is lost, each by itself.
    pub loss: f64,
    /// Loss in bursts.
    pub burst: Option<Burst>,
    /// Times in which the link serves nobody, at random.
    pub stalls: Vec<Stalls>,
    /// Times in which everything is lost, counted from the first packet.
    pub outages: Vec<Outage>,
    /// A queue that others fill and that drains again.
    pub congestion: Option<Congestion>,
    /// Sudden delays that fade.
    pub spikes: Option<Spikes>,
    /// The bottleneck.
    pub rate: Option<RateLimit>,
    /// Whether packets leave in the order in which they came, as from one queue.
    pub in_order: bool,
    /// The least time between two packets that leave in order, in ns: how long it takes to send one.
    pub spacing_ns: i64,
    /// Packets that are overtaken, also where the others keep their order.
    pub reorder: Option<Reorder>,
    /// Probability that a packet comes twice.
    pub duplicate: f64,
    /// How much faster the sender's clock runs than the receiver's, in parts per million.
    pub ppm: f64,
    /// Delays and losses of a recorded network; replaces base and jitter.
    pub trace: Option<Trace>,
}

impl Default for Config {
    fn default() -> Self {
        Self::PERFECT
    }
}

impl Config {
    /// A link that does nothing: no delay, no loss.
    pub const PERFECT: Self = Self {
        base_ns: 0,
        jitter: Jitter::None,
        loss: 0.0,
        burst: None,
        stalls: Vec::new(),
        outages: Vec::new(),
        congestion: None,
        spikes: None,
        rate: None,
        in_order: true,
        spacing_ns: 0,
        reorder: None,
        duplicate: 0.0,
        ppm: 0.0,
        trace: None,
    };
}

/// A delay drawn for each packet, in ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Jitter {
    /// None.
    None,
    /// Between 0 and `width_ns`, each as likely.
    Uniform {
        /// The most.
        width_ns: i64,
    },
    /// A gamma distribution: for shape 1 the exponential one, for larger shapes one with a hump.
    Gamma {
        /// Its shape, more than 0.
        shape: f64,
        /// Its mean.
        mean_ns: i64,
    },
    /// A normal distribution, cut at 0.
    Normal {
        /// Its mean.
        mean_ns: i64,
        /// Its standard deviation.
        deviation_ns: i64,
    },
    /// A radio link that sends on a grid and sends again what failed: up to one step of the grid, and another delay
    /// for every failure.
    Retransmit {
        /// A step of the grid.
        grid_ns: i64,
        /// Probability that one sending fails.
        fail: f64,
        /// What each sending again takes.
        again_ns: i64,
    },
}

/// Loss in bursts (Gilbert and Elliott): a good and a bad state, changed between at each packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Probability of going from good to bad.
    pub enter: f64,
    /// Probability of going from bad to good: a bad state lasts 1 / `leave` packets in the mean.
    pub leave: f64,
    /// Probability of loss in the good state.
    pub loss_good: f64,
    /// Probability of loss in the bad state.
    pub loss_bad: f64,
}

impl Burst {
    /// The share of packets that are lost in the long run.
    pub fn mean_loss(&self) -> f64 {
        let bad = self.enter / (self.enter + self.leave).max(f64::MIN_POSITIVE);
        bad * self.loss_bad + (1.0 - bad) * self.loss_good
    }
}

/// Times in which the link serves nobody: what is sent in one waits for its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stalls {
    /// Mean time from the end of one to the begin of the next, in ns.
    pub every_ns: i64,
    /// The least time between two, in ns.
    pub least_ns: i64,
    /// The shortest, in ns.
    pub shortest_ns: i64,
    /// The longest, in ns.
    pub longest_ns: i64,
    /// Probability that a packet sent in one is lost.
    pub drop: f64,
}

/// A time in which everything is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it begins, in ns from the first packet.
    pub from_ns: i64,
    /// How long it lasts, in ns.
    pub length_ns: i64,
}

/// A queue that others fill, as a saw tooth: it rises until it overflows, then drains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Congestion {
    /// The delay of the full queue, in ns.
    pub peak_ns: i64,
    /// The shortest and the longest time in which it fills, in ns.
    pub rise_ns: (i64, i64),
    /// Shares of the peak between which it drains to.
    pub floor: (f64, f64),
    /// How fast it drains: ns of delay a ns.
    pub drain: f64,
    /// The share of the peak above which packets are dropped.
    pub drop_above: f64,
    /// Probability that a packet is dropped there.
    pub drop: f64,
}

/// Sudden delays that fade.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spikes {
    /// Mean time between two, in ns.
    pub every_ns: i64,
    /// The delay at once, in ns.
    pub height_ns: i64,
    /// The time in which it fades to nothing, in ns.
    pub fade_ns: i64,
}

/// The bottleneck: a rate, and a queue before it that drops what does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Bits a second, more than 0.
    pub bits_per_second: u64,
    /// What the queue holds, as the time that it takes to send it, in ns.
    pub queue_ns: i64,
}

/// Packets that are overtaken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// Probability of it.
    pub share: f64,
    /// How much later such a packet comes, in ns.
    pub by_ns: i64,
}
