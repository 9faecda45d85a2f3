//! When each frame is to be played: a constant time after it is due, on a device that has a clock of its own.
//!
//! A loop on the times of the device's callbacks says when the frame that is pushed next will be played. Where that is
//! not its time, it is played a little faster or slower; where it is far from it, there is a cut. How full a buffer is
//! plays no part.

use vox_device::Pull;
use vox_dsp::DeviceClock;
use vox_frame::Rate;

/// How much later everything is played from an underrun on, in ns: by what was missing, within these bounds. What made one
/// often makes another.
const GROWTH_NS: (i64, i64) = (1_000_000, 5_000_000);

/// How late underruns can make everything, in ns.
const MAX_BUFFER_NS: i64 = 100_000_000;

/// What is missing in so short a time after something begins is no sign of what comes, in ns: whoever sends it has just
/// started too.
const BEGINS_NS: i64 = 1_000_000_000;

/// For how long an underrun is explained by what came late, in ns.
const EXCUSED_NS: i64 = 200_000_000;

/// How long there must be no underrun before one step of that is taken back, in ns.
const CALM_NS: i64 = 30_000_000_000;

/// Within what time an error is made good, in ns: 1 ms of it changes the speed by 0.05 %.
const CATCH_UP_NS: f64 = 2e9;

/// The most that the speed is changed for it: a twelfth of a semitone.
const MAX_CHANGE: f64 = 0.005;

/// From this lateness on, silence is left out, in ns: that costs nothing.
const HASTE_NS: i64 = 8_000_000;

/// Farther than this from its time nothing is made good slowly, in ns: there is a cut.
const FAR_NS: i64 = 100_000_000;

/// Earlier than this nothing is made good slowly either, in ns.
const EARLY_NS: i64 = 30_000_000;

/// How to bring the frame that is pushed next to its time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// Play on at that speed; 1 is as recorded.
    Play {
        /// The speed of the stream, with the device's drift taken out.
        speed: f64,
        /// Whether silence is better left out.
        haste: bool,
    },
    /// Far too late: leave out so many ns.
    Skip(i64),
    /// Far too early: wait so many ns.
    Wait(i64),
}

/// The state of the pace.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    clock: DeviceClock,
    /// How late a record may come and still be played whole, as asked for and as grown, in ns.
    asked: i64,
    buffer: i64,
    /// How long before its time a frame has to be there for the device, in ns.
    ahead: i64,
    /// Whether it was asked to begin anew, and has not yet.
    renews: bool,
    /// Since when something plays, in ns.
    began: Option<i64>,
    /// When something came late that was late already when it arrived at this machine, in ns.
    excused: Option<i64>,
    /// When the last underrun was, or a step was taken back.
    calm_since: i64,
    /// Frames that were missing since there was something last: an underrun where something comes again.
    dry: u64,
    underruns: u64,
    missed: u64,
}

impl Pace {
    /// A pace for a device at `rate`: what comes up to `buffer_ns` after it is due is played whole.
    pub(crate) fn new(rate: Rate, buffer_ns: i64) -> Self {
        Self {
            rate,
            clock: DeviceClock::new(rate),
            asked: buffer_ns,
            buffer: buffer_ns,
            ahead: 0,
            renews: false,
            began: None,
            excused: None,
            calm_since: 0,
            dry: 0,
            underruns: 0,
            missed: 0,
        }
    }

    /// Learns of a callback; `playing` says whether something should have been there for it.
    pub(crate) fn pull(&mut self, pull: &Pull, playing: bool) {
        if pull.anew {
            self.clock.stumble();
            self.renews = false;
        }
        if self.renews {
            return;
        }
        self.clock.observe(pull.at, pull.frame);
        self.ahead = pull.ahead;
        self.began = if playing { self.began.or(Some(pull.at)) } else { None };
        if playing && pull.missed > 0 {
            self.dry += u64::from(pull.missed);
        } else if playing && self.dry > 0 {
            self.underrun(pull.at);
        } else if pull.at - self.calm_since > CALM_NS {
            self.buffer = (self.buffer - GROWTH_NS.1).max(self.asked);
            self.calm_since = pull.at;
        }
    }

    /// The device was asked to begin anew: until it has, nothing is known of its times.
    pub(crate) fn renew(&mut self) {
        self.clock.stumble();
        self.renews = true;
    }

    /// What plays goes on behind a hole. (Where nothing comes any more, a stream has just ended.)
    fn underrun(&mut self, now: i64) {
        self.underruns += 1;
        let dry = std::mem::take(&mut self.dry);
        self.missed += dry;
        let excused = self.excused.is_some_and(|late| (now - late).abs() < EXCUSED_NS);
        if excused || self.began.is_none_or(|began| now - began < BEGINS_NS) {
            return;
        }
        let (least, most) = GROWTH_NS;
        let growth = self.rate.ns(dry).clamp(least, most);
        self.buffer = (self.buffer + growth).min(MAX_BUFFER_NS.max(self.asked));
        self.calm_since = now;
    }

    /// What came at `now`, in ns, was late already when it arrived: the jitter buffer sees to that, and a larger buffer here
    /// would come on top.
    pub(crate) const fn excuse(&mut self, now: i64) {
        self.excused = Some(now);
    }

    /// Every stream has ended: what is missing now is missed by nobody.
    pub(crate) const fn rest(&mut self) {
        self.dry = 0;
    }

    /// How long after it is due the time of a frame is, in ns: what a record may be late, and how long before that it
    /// has to be there.
    pub(crate) const fn lead(&self) -> i64 {
        self.buffer + self.ahead
    }

    /// How late a record may come and still be played whole, in ns.
    pub(crate) const fn buffer(&self) -> i64 {
        self.buffer
    }

    /// Which time what is pushed next, as the device's frame `frame`, should have been due at, in ns of
    /// CLOCK_MONOTONIC; none before the device has called.
    pub(crate) fn place(&self, frame: u64) -> Option<i64> {
        Some(self.clock.time_of(frame)? - self.lead())
    }

    /// By how much what is due at `due` comes too late when it is pushed now, as the device's frame `frame`, in ns.
    pub(crate) fn lateness(&self, frame: u64, due: i64) -> i64 {
        self.place(frame).map_or(0, |place| place - due)
    }

    /// What to do with a frame that comes that much too late.
    pub(crate) fn step(&self, lateness: i64) -> Step {
        if lateness > FAR_NS {
            return Step::Skip(lateness);
        }
        if lateness < -EARLY_NS {
            return Step::Wait(-lateness);
        }
        let change = (lateness as f64 / CATCH_UP_NS).clamp(-MAX_CHANGE, MAX_CHANGE);
        Step::Play { speed: (1.0 + change) / self.clock.speed(), haste: lateness > HASTE_NS }
    }

    /// Whether what is that late is not waited for any longer, as nothing comes.
    pub(crate) const fn is_over(lateness: i64) -> bool {
        lateness > FAR_NS
    }

    /// How often the device found too little while something was playing.
    pub(crate) const fn underruns(&self) -> u64 {
        self.underruns
    }

    /// Frames of silence that it got then.
    pub(crate) const fn missed(&self) -> u64 {
        self.missed
    }

    /// How often the device's clock has jumped.
    pub(crate) const fn jumps(&self) -> u64 {
        self.clock.jumps()
    }

    /// How fast the device's clock runs, in ppm; none as long as it is not known.
    pub(crate) fn drift_ppm(&self) -> Option<f64> {
        self.clock.is_settled().then(|| (self.clock.speed() - 1.0) * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const FRAMES: u32 = 320;
    /// A record, in frames and in ns.
    const RECORD: u64 = 960;

    /// A player of records of 20 ms, one clock, before a device with another, which takes 320 frames at a time.
    struct Rig {
        pace: Pace,
        ppm: f64,
        /// Frames that the device took, that were pushed, that it did not get.
        taken: u64,
        pushed: f64,
        missed: u64,
        /// The due time of what is pushed next, in ns.
        due: f64,
        skipped: u64,
    }

    impl Rig {
        fn new(ppm: f64) -> Self {
            let pace = Pace::new(Rate::HZ_48000, 5 * MS);
            Self { pace, ppm, taken: 0, pushed: 0.0, missed: 0, due: 0.0, skipped: 0 }
        }

        fn calls_at(&self) -> i64 {
            (self.taken as f64 * 1e9 / 48_000.0 / (1.0 + self.ppm * 1e-6)) as i64
        }

        /// Lets the device call until `now`.
        fn device(&mut self, now: i64, playing: bool) {
            while self.calls_at() <= now {
                let there = self.pushed + self.missed as f64 - self.taken as f64;
                let missed = (f64::from(FRAMES) - there).clamp(0.0, f64::from(FRAMES)) as u32;
                let ahead = Rate::HZ_48000.ns(u64::from(FRAMES));
                let pull = Pull { at: self.calls_at(), frame: self.taken, ahead, missed, anew: false };
                self.pace.pull(&pull, playing);
                self.taken += u64::from(FRAMES);
                self.missed += u64::from(missed);
            }
        }

        fn lateness(&self) -> i64 {
            self.pace.lateness(self.pushed as u64 + self.missed, self.due as i64)
        }

        /// Pushes a record; gives the speed.
        fn record(&mut self) -> f64 {
            if let Step::Skip(ns) = self.pace.step(self.lateness()) {
                self.due += ns as f64;
                self.skipped += 1;
            }
            let Step::Play { speed, .. } = self.pace.step(self.lateness()) else { panic!("too early") };
            self.pushed += RECORD as f64 / speed;
            self.due += RECORD as f64 * 1e9 / 48_000.0;
            speed
        }

        /// Lets so many seconds pass, record by record, each `late` ns after it is due; gives the extremes of lateness
        /// in ms and of speed, both after `settled` seconds.
        fn run(&mut self, seconds: u64, settled: u64, late: impl Fn(u64) -> i64) -> [f64; 4] {
            let mut seen = [f64::MAX, f64::MIN, f64::MAX, f64::MIN];
            for record in 0..seconds * 50 {
                let now = self.due as i64 + late(record);
                self.device(now, record > 0);
                if record == 0 {
                    self.due = self.pace.place(self.taken).unwrap() as f64;
                    self.missed = self.taken;
                    continue;
                }
                let speed = self.record();
                if record > settled * 50 {
                    let ms = self.lateness() as f64 / 1e6;
                    seen = [seen[0].min(ms), seen[1].max(ms), seen[2].min(speed), seen[3].max(speed)];
                }
            }
            seen
        }
    }

    #[test]
    fn a_day_of_two_clocks_that_drift_apart_changes_no_delay() {
        for ppm in [-300.0, 300.0] {
            let mut rig = Rig::new(ppm);
            let [least, most, slowest, fastest] = rig.run(24 * 3600, 20, |_| 0);
            assert!(least > -0.5 && most < 0.5, "{least} to {most} ms at {ppm} ppm");
            let speed = 1.0 / (1.0 + ppm * 1e-6);
            assert!(slowest > speed - 1e-4 && fastest < speed + 1e-4, "{slowest} to {fastest} at {ppm} ppm");
            assert_eq!((rig.pace.underruns(), rig.skipped, rig.pace.jumps()), (0, 0, 0), "at {ppm} ppm");
        }
    }

    #[test]
    fn records_that_come_late_by_less_than_the_buffer_cause_no_underrun() {
        let mut rig = Rig::new(0.0);
        rig.run(60, 0, |record| (record as i64 * 7_919) % (4 * MS));
        assert_eq!((rig.pace.underruns(), rig.skipped), (0, 0));
    }

    #[test]
    fn an_underrun_costs_its_own_duration_and_is_made_good_without_a_cut() {
        let mut rig = Rig::new(0.0);
        // One record is 40 ms late, those behind it are on time again.
        rig.run(20, 0, |record| if record == 500 { 40 * MS } else { 0 });
        assert_eq!((rig.pace.underruns(), rig.skipped), (1, 0));
        let missed = rig.pace.missed() as f64 / 48.0;
        assert!((28.0..40.0).contains(&missed), "{missed} ms of silence");
        let late = rig.lateness();
        assert!(late < 5 * MS, "{late} ns too late afterwards");
    }

    #[test]
    fn an_underrun_makes_the_buffer_larger_but_not_where_the_network_was_late_or_something_begins() {
        let grown = |late: u64, excused: bool| {
            let mut rig = Rig::new(0.0);
            if excused {
                rig.pace.excuse(late as i64 * 20 * MS);
            }
            rig.run(10, 0, |record| if record == late { 25 * MS } else { 0 });
            (rig.pace.underruns(), rig.pace.buffer() / MS)
        };
        assert_eq!(grown(250, false), (1, 10));
        assert_eq!(grown(250, true), (1, 5));
        assert_eq!(grown(20, false), (1, 5));
    }

    #[test]
    fn a_stream_that_ends_is_no_underrun() {
        let mut rig = Rig::new(0.0);
        rig.run(5, 0, |_| 0);
        rig.device(rig.due as i64 + 300 * MS, true);
        assert_eq!((rig.pace.underruns(), rig.pace.missed()), (0, 0));
    }

    #[test]
    fn after_a_stall_of_seconds_it_is_current_at_once() {
        let mut rig = Rig::new(0.0);
        rig.run(20, 0, |record| if record == 500 { 3_000 * MS } else { 0 });
        assert_eq!(rig.skipped, 1);
        assert!(rig.lateness().abs() < 5 * MS);
    }

    #[test]
    fn what_underruns_have_added_is_taken_back_in_calm() {
        let mut rig = Rig::new(0.0);
        rig.run(10, 0, |record| if record % 100 == 99 { 30 * MS } else { 0 });
        assert!(rig.pace.buffer() > 10 * MS, "{}", rig.pace.buffer());
        rig.run(400, 0, |_| 0);
        assert_eq!(rig.pace.buffer(), 5 * MS);
    }

    #[test]
    fn what_is_far_from_its_time_is_cut() {
        let pace = Pace::new(Rate::HZ_48000, 5 * MS);
        assert_eq!(pace.step(300 * MS), Step::Skip(300 * MS));
        assert_eq!(pace.step(-300 * MS), Step::Wait(300 * MS));
        assert_eq!(pace.step(0), Step::Play { speed: 1.0, haste: false });
        assert!(matches!(pace.step(50 * MS), Step::Play { speed, haste: true } if (speed - 1.005).abs() < 1e-9));
    }
}
