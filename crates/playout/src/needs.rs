//! How much delay packets would have needed, and what delay that makes worth while.

/// Width of a bin of the histogram, in ns.
const BIN_NS: i64 = 500_000;

/// Bins: what needed more than a second is no jitter.
const BINS: usize = 2_000;

/// The time after which what was seen weighs 1/e, in packets.
const MEMORY: f64 = 4_500.0;

/// The weight that the rate of a single event is measured against while less than that has been seen, in packets, and
/// that of several against less in proportion: one stall at the beginning is no habit of the network, several are.
const LEAST: f64 = 3_000.0;

/// By how much of its cost another delay must be better than the one that is aimed at, to be worth a change.
const WORTH: f64 = 0.03;

/// What weighs more than this is scaled down, to stay a number.
const RESCALE: f64 = 1e100;

/// The delay at which more of it costs twice as much as at none, in ns: people do not notice little of it, and talk
/// over each other with much (ITU-T G.107 has a knee too).
const KNEE_NS: f64 = 50e6;

/// A level that rises by less than this many bins has only seen less lucky packets.
const LEAST_SHIFT: usize = 10;

/// The share of packets that may come later than what counts as usual.
const UNUSUAL: f64 = 0.03;

/// What the beginning of a gap is worth, in packets: it is heard more than its length.
const EVENT: f64 = 1.2;

/// A decaying histogram of how long after the level packets could first be played: on their own arrival, or on that
/// of the copy in a later one.
#[derive(Debug)]
pub(crate) struct Needs {
    bins: Vec<f64>,
    /// What the packets needed behind which others were held up, in the same bins.
    events: Vec<f64>,
    /// How sure they make that this is a habit of the network, in the same bins: a stall is one.
    evidence: Vec<f64>,
    total: f64,
    /// What the next packet weighs: grows, so that the past shrinks.
    weight: f64,
    /// How many bins there is something in.
    used: usize,
}

/// What the histogram says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The delay at which more delay costs more than it saves, in ns.
    pub(crate) target_ns: i64,
    /// What nearly all packets stay within, in ns.
    pub(crate) usual_ns: i64,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            bins: vec![0.0; BINS],
            events: vec![0.0; BINS],
            evidence: vec![0.0; BINS],
            total: 0.0,
            weight: 1.0,
            used: 0,
        }
    }
}

impl Needs {
    /// Takes in what a packet needed, in ns; what needed more than the histogram holds is no jitter and is left out.
    pub(crate) fn add(&mut self, need_ns: i64) {
        let index = usize::try_from(need_ns.max(0) / BIN_NS).unwrap_or(usize::MAX);
        let Some(bin) = self.bins.get_mut(index) else { return };
        *bin += self.weight;
        self.used = self.used.max(index + 1);
        self.total += self.weight;
        self.weight *= 1.0 + 1.0 / MEMORY;
        if self.weight > RESCALE {
            self.bins.iter_mut().chain(&mut self.events).chain(&mut self.evidence).for_each(|bin| *bin /= RESCALE);
            self.total /= RESCALE;
            self.weight /= RESCALE;
            self.used = self.bins.iter().rposition(|bin| *bin > 0.0).map_or(0, |last| last + 1);
        }
    }

    /// Notes that the packet that was taken in last, and needed so many ns, begins a gap where it comes too late, and
    /// how many stalls it tells as much as.
    pub(crate) fn add_event(&mut self, need_ns: i64, evidence: f64) {
        let index = usize::try_from(need_ns.max(0) / BIN_NS).unwrap_or(usize::MAX);
        if index < BINS {
            self.events[index] += self.weight;
            self.evidence[index] += evidence * self.weight;
        }
    }

    /// Counts from a level that is `ns` higher from now on.
    pub(crate) fn shift_down(&mut self, ns: i64) {
        let by = usize::try_from(ns / BIN_NS).unwrap_or(0).min(self.used);
        if by < LEAST_SHIFT {
            return;
        }
        for bins in [&mut self.bins, &mut self.events, &mut self.evidence] {
            bins.rotate_left(by);
            let below: f64 = bins.drain(BINS - by..).sum();
            bins.resize(BINS, 0.0);
            bins[0] += below;
        }
        self.used = (self.used - by).max(1);
    }

    /// The delay with the least cost, where all packets that come too late cost `price_ns` of delay: the loss of one
    /// in a hundred is worth a hundredth of it. `bridged` tells what need a delay bridges, of that and what is usual;
    /// more for more. Where `current_ns` costs hardly more than the best, it stays.
    pub(crate) fn advice(&self, price_ns: i64, current_ns: i64, bridged: impl Fn(i64, i64) -> i64) -> Advice {
        let usual = self.usual_ns();
        let sum = |bins: &[f64]| bins.iter().sum::<f64>();
        let (mut late, mut events) = (sum(&self.bins[..self.used]), sum(&self.events[..self.used]));
        let mut evidence = sum(&self.evidence[..self.used]);
        let (mut best, mut current, mut in_time) = ((f64::MAX, BIN_NS), f64::MAX, 0);
        for bin in 0..self.used {
            let delay = (bin as i64 + 1) * BIN_NS;
            let reach = usize::try_from(bridged(delay, usual) / BIN_NS).unwrap_or(0).clamp(in_time, self.used);
            late -= sum(&self.bins[in_time..reach]);
            events -= sum(&self.events[in_time..reach]);
            evidence -= sum(&self.evidence[in_time..reach]);
            in_time = reach;
            let share = (late + EVENT * events).max(0.0) / self.measured(evidence);
            let cost = felt(delay) + price_ns as f64 * share;
            if cost < best.0 {
                best = (cost, delay);
            }
            if delay == current_ns {
                current = cost;
            }
        }
        let target_ns = if current < best.0 * (1.0 + WORTH) { current_ns } else { best.1 };
        Advice { target_ns, usual_ns: usual }
    }

    /// What the rate of something is measured against for which there is so much `evidence`.
    fn measured(&self, evidence: f64) -> f64 {
        self.total.max(LEAST * self.weight / (evidence / self.weight).max(1.0))
    }

    /// What nearly all packets stay within, in ns.
    fn usual_ns(&self) -> i64 {
        let mut late = 0.0;
        let unusual = |count: &f64| {
            late += count;
            late > UNUSUAL * self.total
        };
        let bin = self.bins[..self.used].iter().rposition(unusual).unwrap_or(0);
        (bin as i64 + 1) * BIN_NS
    }
}

/// What a delay costs, in ns of the first millisecond's.
fn felt(delay_ns: i64) -> f64 {
    delay_ns as f64 * (1.0 + delay_ns as f64 / KNEE_NS / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const PRICE: i64 = 17_000 * MS;

    #[test]
    fn an_even_network_needs_next_to_nothing() {
        let mut needs = Needs::default();
        (0..3_000).for_each(|n| needs.add(n % 2 * MS));
        assert_eq!(needs.advice(PRICE, 0, |delay, _| delay).target_ns, 3 * MS / 2);
    }

    #[test]
    fn what_is_late_often_is_waited_for_and_what_is_late_once_is_not() {
        let mut needs = Needs::default();
        for n in 0..3_000 {
            needs.add(if n % 50 == 0 { 80 * MS } else { MS });
        }
        needs.add(400 * MS);
        let advice = needs.advice(PRICE, 0, |delay, _| delay);
        assert_eq!(advice.target_ns, 80 * MS + BIN_NS);
        assert!(advice.usual_ns < 2 * MS, "{advice:?}");
    }

    #[test]
    fn what_comes_together_is_worth_less_than_as_many_events() {
        let apart = |events: bool| {
            let mut needs = Needs::default();
            for n in 0..3_000 {
                let late = n % 80 == 0;
                needs.add(if late { 150 * MS } else { MS });
                if late && events {
                    needs.add_event(150 * MS, 1.0);
                }
            }
            needs.advice(PRICE, 0, |delay, _| delay).target_ns
        };
        assert!(apart(false) < 2 * MS && apart(true) > 150 * MS, "{} {}", apart(false), apart(true));
    }

    #[test]
    fn the_past_fades() {
        let mut needs = Needs::default();
        (0..3_000).for_each(|_| needs.add(100 * MS));
        (0..30_000).for_each(|_| needs.add(MS));
        assert!(needs.advice(PRICE, 0, |delay, _| delay).target_ns < 2 * MS);
    }

    #[test]
    fn a_year_of_packets_stays_a_number() {
        let mut needs = Needs { weight: RESCALE / 2.0, ..Needs::default() };
        (0..10_000).for_each(|_| needs.add(5 * MS));
        assert!(needs.weight < RESCALE && needs.total.is_finite());
        assert_eq!(needs.advice(PRICE, 0, |delay, _| delay).target_ns, 5 * MS + BIN_NS);
    }
}
