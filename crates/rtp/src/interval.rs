//! When RTCP is sent: the timer of RFC 3550, section 6.3 and appendix A.7, with its variables under their names.

use vox_frame::Stamp;

/// Share of the session's bandwidth that RTCP may take (RFC 3550, section 6.2).
const RTCP_FRACTION: f64 = 0.05;
/// Share of that for senders, where they are at most that share of the members.
const SENDER_FRACTION: f64 = 0.25;
/// e - 3/2: makes up for timer reconsideration settling below the bandwidth meant (section 6.3.1).
const COMPENSATION: f64 = 1.218_28;
/// The size expected of the first packets, lower layers included, in bytes.
const FIRST_SIZE: f64 = 128.0;
/// IPv4 and UDP headers, in bytes: packets count as the network layer sees them (section 6.2).
const OVERHEAD: f64 = 28.0;

/// The timer of one member.
#[derive(Debug, Clone)]
pub(crate) struct Timer {
    /// Last time that a packet was sent.
    tp: Stamp,
    /// Next time that one is.
    tn: Stamp,
    pmembers: usize,
    pub(crate) members: usize,
    pub(crate) senders: usize,
    pub(crate) we_sent: bool,
    avg_rtcp_size: f64,
    initial: bool,
    /// Bytes a second of RTCP.
    rtcp_bw: f64,
    /// The shortest interval, in ns.
    min_ns: i64,
    random: u64,
}

impl Timer {
    /// A timer that starts now. `bandwidth` is the session's, in bits a second.
    pub(crate) fn new(now: Stamp, bandwidth: u32, min_ns: i64, seed: u64) -> Self {
        let mut timer = Self {
            tp: now,
            tn: now,
            pmembers: 1,
            members: 1,
            senders: 0,
            we_sent: false,
            avg_rtcp_size: FIRST_SIZE,
            initial: true,
            rtcp_bw: f64::from(bandwidth) * RTCP_FRACTION / 8.0,
            min_ns,
            random: seed,
        };
        timer.tn = now.plus(timer.interval());
        timer
    }

    /// When [`expires`](Self::expires) is to be asked.
    pub(crate) const fn deadline(&self) -> Stamp {
        self.tn
    }

    /// Whether a packet is to be sent now; where the group has grown, later (timer reconsideration, section 6.3.3).
    pub(crate) fn expires(&mut self, now: Stamp) -> bool {
        if now < self.tn {
            return false;
        }
        self.tn = self.tp.plus(self.interval());
        self.pmembers = self.members;
        if self.tn > now {
            return false;
        }
        self.tp = now;
        self.initial = false;
        self.tn = now.plus(self.interval());
        true
    }

    /// A packet of that many bytes was sent or has come.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.avg_rtcp_size += (bytes as f64 + OVERHEAD - self.avg_rtcp_size) / 16.0;
    }

    /// Members have left: what is left of the interval shrinks with them (reverse reconsideration, section 6.3.4).
    pub(crate) fn shrink(&mut self, now: Stamp) {
        if self.members >= self.pmembers {
            return;
        }
        let share = self.members as f64 / self.pmembers as f64;
        self.tn = now.plus((share * self.tn.since(now) as f64) as i64);
        self.tp = now.plus(-((share * now.since(self.tp) as f64) as i64));
        self.pmembers = self.members;
    }

    /// The interval of section 6.3.1, drawn from 0.5 to 1.5 times the calculated one.
    fn interval(&mut self) -> i64 {
        let calculated = self.calculated();
        (calculated * (self.draw() + 0.5) / COMPENSATION) as i64
    }

    /// The deterministic calculated interval, in ns.
    fn calculated(&self) -> f64 {
        let min = if self.initial { self.min_ns / 2 } else { self.min_ns } as f64;
        let (members, senders) = (self.members.max(1) as f64, self.senders as f64);
        let (count, bandwidth) = match senders <= members * SENDER_FRACTION && senders > 0.0 {
            true if self.we_sent => (senders, self.rtcp_bw * SENDER_FRACTION),
            true => (members - senders, self.rtcp_bw * (1.0 - SENDER_FRACTION)),
            false => (members, self.rtcp_bw),
        };
        (self.avg_rtcp_size * count / bandwidth * 1e9).max(min)
    }

    /// From 0 to 1 (splitmix64).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const MINUTE: i64 = 60 * SECOND;

    /// The times at which a member sends in `length` ns, where `change` may alter the group.
    fn sent(mut timer: Timer, length: i64, mut change: impl FnMut(&mut Timer, Stamp)) -> Vec<i64> {
        let mut times = Vec::new();
        while timer.deadline().ns() < length {
            let now = timer.deadline();
            change(&mut timer, now);
            if timer.expires(now) {
                timer.count(100);
                times.push(now.ns());
            }
        }
        times
    }

    #[test]
    fn two_members_report_every_few_seconds() {
        for seed in 0..50 {
            let mut timer = Timer::new(Stamp::ZERO, 64_000, 5 * SECOND, seed);
            timer.members = 2;
            let times = sent(timer, 100 * MINUTE, |_, _| {});
            // Reconsideration draws the interval twice, so that its mean is 5 s.
            let mean = times.last().expect("it sends") / times.len() as i64;
            assert!((4 * SECOND..6 * SECOND).contains(&mean), "{mean}");
            assert!(times[0] < 4 * SECOND, "the first one comes early");
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 75 * SECOND / 10));
        }
    }

    #[test]
    fn a_thousand_members_take_no_more_than_their_share() {
        let mut timer = Timer::new(Stamp::ZERO, 64_000, 5 * SECOND, 3);
        timer.members = 1000;
        timer.senders = 1;
        let times = sent(timer, 6_000 * MINUTE, |_, _| {});
        let rate = 1000.0 * times.len() as f64 * 128.0 / (6_000.0 * 60.0);
        // Receivers take three quarters of 5 % of 8000 bytes a second.
        assert!((240.0..330.0).contains(&rate), "{rate} bytes a second of 300");
    }

    #[test]
    fn a_group_that_grows_puts_the_next_packet_off() {
        let timer = Timer::new(Stamp::ZERO, 64_000, 5 * SECOND, 3);
        let times = sent(timer, 30 * SECOND, |timer, _| timer.members = 5000);
        assert_eq!(times, [0; 0]);
    }

    #[test]
    fn a_group_that_shrinks_does_not_wait_for_those_who_left() {
        let mut timer = Timer::new(Stamp::ZERO, 64_000, 5 * SECOND, 3);
        timer.members = 5000;
        let now = timer.deadline();
        assert!(!timer.expires(now));
        timer.members = 2;
        timer.shrink(now);
        assert!(timer.deadline().since(now) < SECOND, "{:?}", timer.deadline().since(now));
    }
}
