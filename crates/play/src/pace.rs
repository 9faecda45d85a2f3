//! Keeps the loudspeaker, which counts samples, and the clock of the streams together.
//!
//! The ring before the device is filled to a constant level. What is pushed at a time is what was due a constant time
//! ago; where the device's clock has drifted away from that, samples are dropped or silence is inserted. (To fit
//! frames into the time that they have, without a step, is what the decoder's slots are for.)

use vox_frame::Rate;

/// How far from its place the timeline may be before it is moved at once, in ns.
const FAR_NS: i64 = 100_000_000;

/// How far from its place the timeline may be on average, in ns.
const NEAR_NS: i64 = 4_000_000;

/// How late a record that is due may come through the pipe, in ns, and still be played whole.
const SLACK_NS: i64 = 5_000_000;

/// A step that is looked at weighs one part in that many in the average.
const AVERAGE: f64 = 100.0;

/// How much higher the ring is filled after an underrun, in ns.
const GROWTH_NS: i64 = 5_000_000;

/// How high the ring may be filled because of underruns, in ns.
const MAX_BUFFER_NS: i64 = 100_000_000;

/// The largest request of a device that is believed, in ns.
const MAX_REQUEST_NS: i64 = 200_000_000;

/// What to push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Only silence, the timeline stays where it is.
    Silence(usize),
    /// The timeline from frame `from` on, behind so many frames of silence.
    Play {
        /// Where the timeline goes on; at or behind its head.
        from: i64,
        /// Frames of silence first.
        silence: usize,
    },
}

/// The state of the pace.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    buffer: usize,
    /// The largest number of frames that the device takes at once.
    request: usize,
    /// Underruns that have been seen.
    underruns: u64,
    /// Frames by which the ring is filled higher from now on.
    grown: usize,
    /// Average of how far the timeline is ahead, in frames.
    ahead: f64,
}

impl Pace {
    /// A pace for a device at `rate`, before which `buffer_ns` of audio wait.
    pub(crate) fn new(rate: Rate, buffer_ns: i64) -> Self {
        Self { rate, buffer: rate.ticks(buffer_ns) as usize, request: 0, underruns: 0, grown: 0, ahead: 0.0 }
    }

    /// Learns how many frames the device takes at once, and how often it has found too little: then the ring is
    /// filled higher from now on, because devices that call in bursts go on doing so.
    pub(crate) fn observe(&mut self, request: usize, underruns: u64) {
        self.request = request.min(self.rate.ticks(MAX_REQUEST_NS) as usize);
        if underruns > self.underruns && self.buffer < self.rate.ticks(MAX_BUFFER_NS) as usize {
            self.grown += self.rate.ticks(GROWTH_NS) as usize;
            self.buffer += self.rate.ticks(GROWTH_NS) as usize;
        }
        self.underruns = underruns;
    }

    /// Frames that the ring is filled to: never less than the device takes at once, and what it takes until the next
    /// look.
    pub(crate) fn target(&self) -> usize {
        self.buffer.max(self.request + self.rate.ticks(SLACK_NS) as usize)
    }

    /// What to push, `wanted` frames in all: `elapsed` is the time since frame 0 of the timeline in ns, none where no
    /// clock is followed; `head` is where the timeline stands. Before the device has `started`, only silence.
    pub(crate) fn step(&mut self, elapsed: Option<i64>, started: bool, head: i64, wanted: usize) -> Step {
        if !started {
            return Step::Silence(wanted);
        }
        let grown = std::mem::take(&mut self.grown).min(wanted);
        if grown > 0 {
            return Step::Play { from: head, silence: grown };
        }
        let Some(elapsed) = elapsed else { return Step::Play { from: head, silence: 0 } };
        let slack = SLACK_NS + self.rate.ns(self.request as u64);
        let place = self.rate.ticks(elapsed - slack).cast_signed();
        let ahead = head + wanted as i64 - place;
        if ahead.unsigned_abs() > self.rate.ticks(FAR_NS) {
            self.ahead = 0.0;
            return match usize::try_from(ahead) {
                Ok(_) => Step::Silence(wanted),
                Err(_) => Step::Play { from: head - ahead, silence: 0 },
            };
        }
        self.ahead += (ahead as f64 - self.ahead) / AVERAGE;
        if self.ahead.abs() <= self.rate.ticks(NEAR_NS) as f64 {
            return Step::Play { from: head, silence: 0 };
        }
        let correction = self.ahead.round() as i64;
        self.ahead = 0.0;
        match usize::try_from(correction) {
            Ok(silence) => Step::Play { from: head, silence: silence.min(wanted) },
            Err(_) => Step::Play { from: head - correction, silence: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Lets a device whose clock runs by `ppm` fast play for `seconds`; gives the delays in ms, and the steps.
    fn play(ppm: i64, seconds: i64, stall: Option<(i64, i64)>) -> (Vec<f64>, usize) {
        let mut pace = Pace::new(Rate::HZ_48000, 20 * MS);
        let (mut head, mut waiting, mut consumed, mut steps) = (0_i64, 0_usize, 0_i64, 0);
        let mut delays = Vec::new();
        for tick in 0..seconds * 200 {
            let now = tick * 5 * MS;
            // The device takes 320 frames at a time.
            let frames = (now / 1_000 * 48 * (1_000_000 + ppm) / 1_000_000 / 1_000) / 320 * 320;
            waiting = waiting.saturating_sub((frames - consumed) as usize);
            consumed = frames;
            if stall.is_some_and(|(from, to)| (from * 1_000 * MS..to * 1_000 * MS).contains(&now)) {
                continue;
            }
            pace.observe(320, 0);
            let wanted = pace.target() - waiting;
            match pace.step(Some(now), consumed > 0, head, wanted) {
                Step::Silence(_) => {}
                Step::Play { from, silence } => {
                    steps += usize::from(from != head || silence > 0);
                    head = from + (wanted - silence) as i64;
                }
            }
            waiting = pace.target();
            delays.push((now / MS) as f64 - head as f64 / 48.0);
        }
        (delays, steps)
    }

    #[test]
    fn the_delay_is_constant_within_a_callback_of_the_device() {
        let (delays, steps) = play(0, 60, None);
        let settled = &delays[200..];
        let (least, most) = settled.iter().fold((f64::MAX, f64::MIN), |(l, m), &d| (l.min(d), m.max(d)));
        assert!(most - least < 12.0, "{least} to {most}");
        assert!(least > 0.0 && most < 20.0, "{least} to {most}");
        assert!(steps <= 3, "{steps} steps");
    }

    #[test]
    fn a_clock_that_drifts_is_followed_in_small_steps() {
        for ppm in [-200, 200] {
            let (delays, steps) = play(ppm, 120, None);
            let last = delays[delays.len() - 100..].iter().sum::<f64>() / 100.0;
            assert!((0.0..20.0).contains(&last), "{last} ms at {ppm} ppm");
            // 24 ms in two minutes, 4 ms at a time.
            assert!((3..=10).contains(&steps), "{steps} steps at {ppm} ppm");
        }
    }

    #[test]
    fn after_a_stall_the_delay_is_what_it_was() {
        let (delays, _) = play(0, 20, Some((10, 13)));
        let before = delays[1_000..2_000].iter().sum::<f64>() / 1_000.0;
        let after = delays[2_050..3_050].iter().sum::<f64>() / 1_000.0;
        assert!((before - after).abs() < 4.0, "{before} ms, then {after} ms");
    }
}
