//! What a jitter buffer is asked to do.

/// When a stream starts to play, and how far behind its arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Each packet is due a fixed time after the fastest packet would have brought it.
    Fixed {
        /// Nanoseconds behind the arrival floor.
        delay_ns: i64,
    },
    /// The delay follows what the network does.
    Adaptive(Adaptive),
    /// The rule of the half-full buffer: packets are counted. Playing starts when enough have come; an arrival at a
    /// buffer that holds more than `max` is dropped, and all are refused until no more than `max / 2` are left; a
    /// buffer that runs empty fills up again before it plays on.
    Count {
        /// Packets.
        max: usize,
        /// What starts it, and starts it again after it ran empty.
        start: Start,
    },
}

/// How the delay follows the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adaptive {
    /// The least delay behind the fastest packet, in nanoseconds.
    pub min_ns: i64,
    /// The most delay, in nanoseconds; it wins over `min_ns` where that is larger.
    pub max_ns: i64,
    /// The delay before anything is known of the network, in nanoseconds.
    pub first_ns: i64,
    /// What losing everything would be worth in delay, in nanoseconds: one packet in a hundred is worth a hundredth of
    /// it. More is safer and later.
    pub price_ns: i64,
    /// Whether audio may be played faster and slower to change the delay; otherwise only gaps and silence change it.
    pub stretch: bool,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { min_ns: 0, max_ns: 500_000_000, first_ns: 20_000_000, price_ns: 47_000_000_000, stretch: true }
    }
}

/// How full is full enough to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// That many packets.
    Packets(usize),
    /// That many nanoseconds of audio.
    Span(i64),
}

/// What a [`Playout`](crate::Playout) is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// When packets are due.
    pub rule: Rule,
    /// How far behind its due time a packet may still be released, in nanoseconds, when it was this stage that could
    /// not keep up; what lies further back becomes a gap.
    pub max_behind_ns: i64,
    /// The most packets to hold; a packet beyond it is refused.
    pub max_packets: usize,
    /// The most payload bytes to hold.
    pub max_bytes: usize,
}

impl Config {
    /// A fixed delay of `delay_ns`.
    pub const fn fixed(delay_ns: i64) -> Self {
        Self { rule: Rule::Fixed { delay_ns }, max_behind_ns: 100_000_000, max_packets: 4096, max_bytes: 4 << 20 }
    }

    /// A delay that follows the network.
    pub const fn adaptive(rule: Adaptive) -> Self {
        Self { rule: Rule::Adaptive(rule), ..Self::fixed(0) }
    }

    /// The half-full rule with room for `max` packets; below 2 packets pass as they come.
    pub fn half_full(max: usize) -> Self {
        Self { rule: Rule::Count { max, start: Start::Packets(max / 2) }, ..Self::fixed(0) }
    }
}
