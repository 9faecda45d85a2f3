//! How much a loudspeaker must hold so that it does not run empty.

/// What is held beyond a period at least, in ns: this program may be woken so much too late.
const LEAST_NS: i64 = 1_000_000;

/// What is added where it ran empty twice, in ns, and taken back in calm.
const STEP_NS: i64 = 5_000_000;

/// The most that is added, in ns.
const MOST_NS: i64 = 50_000_000;

/// Two underruns within that time are not chance, in ns.
const CHANCE_NS: i64 = 10_000_000_000;

/// How long there must be no underrun before a step is taken back, in ns: twice as long each time that this was too soon,
/// up to the second number.
const CALM_NS: (i64, i64) = (30_000_000_000, 1_920_000_000_000);

/// What is held beyond a period: more after two underruns in short order, less again after a quiet time.
#[derive(Debug)]
pub(crate) struct Reserve {
    added: i64,
    /// When the last underrun was that nothing was done about, in ns.
    last: Option<i64>,
    /// Since when there has been nothing to do, in ns.
    calm_since: i64,
    patience: i64,
    /// Whether it has ever run empty.
    tried: bool,
    /// When a step was taken back last.
    relaxed: Option<i64>,
}

impl Default for Reserve {
    fn default() -> Self {
        Self { added: 0, last: None, calm_since: 0, patience: CALM_NS.0, tried: false, relaxed: None }
    }
}

impl Reserve {
    /// The device has run empty at `now`.
    pub(crate) fn ran_empty(&mut self, now: i64) {
        self.calm_since = now;
        self.tried = true;
        let again = self.last.is_some_and(|last| now - last < CHANCE_NS);
        if self.relaxed.take().is_some_and(|relaxed| now - relaxed < self.patience) {
            // What was taken back just now was needed.
            self.patience = (self.patience * 2).min(CALM_NS.1);
        } else if !again {
            self.last = Some(now);
            return;
        }
        self.last = None;
        self.added = (self.added + STEP_NS.max(self.added / 2)).min(MOST_NS);
    }

    /// How much of a period may be used up before silence stands in for what does not come: most devices do not take a
    /// period at once. None of it where that has proved wrong.
    pub(crate) const fn slack(&self, period: i64) -> i64 {
        if self.tried { 0 } else { period / 2 }
    }

    /// What is held beyond a period at `now`, in ns.
    pub(crate) fn more_ns(&mut self, now: i64) -> i64 {
        if self.added > 0 && now - self.calm_since > self.patience {
            self.added = (self.added - STEP_NS).max(0);
            self.calm_since = now;
            self.relaxed = Some(now);
        }
        LEAST_NS + self.added
    }
}

/// For how long the most that was seen counts, in ns.
const WINDOW_NS: i64 = 2_000_000_000;

/// What lies between a device and the air: frames that have left it and are not heard yet.
///
/// A sound server tells now and then what it has taken, and the time at which all of it is heard at any moment: the most
/// by which both differ is the truth.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    began: i64,
    now: Option<i64>,
    before: Option<i64>,
}

impl Beyond {
    /// At `at`, in ns, both differ by so many frames.
    pub(crate) fn note(&mut self, at: i64, frames: i64) {
        if at - self.began > WINDOW_NS {
            self.before = self.now.take();
            self.began = at;
        }
        self.now = self.now.max(Some(frames));
    }

    /// Frames that are beyond it.
    pub(crate) fn get(&self) -> i64 {
        self.now.max(self.before).unwrap_or(0).max(0)
    }
}

/// How much silence is written at a time while something may come any moment, in ns.
const SIP_NS: i64 = 1_500_000;

/// How long after the last sound that is so, in ns.
const EXPECTANT_NS: i64 = 500_000_000;

/// The shortest rest and the longest, in ns.
const REST_NS: (i64, i64) = (300_000, 50_000_000);

/// How a loudspeaker counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    /// Frames a second.
    pub(crate) hz: u32,
    /// Frames that are moved at a time.
    pub(crate) period: i64,
}

impl Measure {
    /// How long so many frames take, in ns.
    pub(crate) fn ns(self, frames: i64) -> i64 {
        frames * 1_000_000_000 / i64::from(self.hz)
    }

    /// How many frames that time takes, rounded up.
    pub(crate) fn frames(self, ns: i64) -> i64 {
        (ns * i64::from(self.hz)).div_euclid(1_000_000_000) + 1
    }
}

/// What a look at a loudspeaker has shown; frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// When, in ns.
    pub(crate) at: i64,
    /// What it has room for.
    pub(crate) room: i64,
    /// What it still holds, as far as is known.
    pub(crate) level: i64,
    /// When what is written now will be heard, in ns, where that is known.
    pub(crate) heard: Option<i64>,
}

/// Decides what a loudspeaker is given, and when: what there is at once, and silence in the last moment.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    reserve: Reserve,
    beyond: Beyond,
    /// When there was something to play last, in ns.
    sounded: i64,
}

impl Stock {
    /// The device has run empty at `now`.
    pub(crate) fn ran_empty(&mut self, now: i64) {
        self.reserve.ran_empty(now);
    }

    /// At `at`, in ns, so many frames were on their way from the device to the air.
    pub(crate) fn note_beyond(&mut self, at: i64, frames: i64) {
        self.beyond.note(at, frames);
    }

    /// Frames on their way from the device to the air.
    pub(crate) fn beyond(&self) -> i64 {
        self.beyond.get()
    }

    /// Frames that the device must hold at `now`.
    pub(crate) fn low(&mut self, measure: Measure, now: i64) -> i64 {
        measure.frames(measure.ns(measure.period) + self.reserve.more_ns(now))
    }

    /// How many frames are written now, where `waiting` wait: those, or silence where the device would run empty.
    pub(crate) fn wanted(&mut self, measure: Measure, look: &Look, low: i64, waiting: usize) -> usize {
        if waiting > 0 {
            self.sounded = look.at;
            return waiting.min(usize::try_from(look.room).unwrap_or(0));
        }
        let expectant = look.at - self.sounded < EXPECTANT_NS;
        // What comes in the last moment is heard at its time: silence would push it back.
        let last = if expectant { self.last(measure, low) } else { low };
        if look.level > last {
            return 0;
        }
        let step = if expectant { measure.frames(SIP_NS) } else { measure.period };
        usize::try_from((last + step - look.level).min(look.room)).unwrap_or(0)
    }

    /// Until when nothing has to be written, in ns, unless something comes.
    pub(crate) fn rests_until(&self, measure: Measure, look: &Look, low: i64) -> i64 {
        let (least, most) = REST_NS;
        look.at + measure.ns(look.level - self.last(measure, low)).clamp(least, most)
    }

    /// How few frames may be left while something may come any moment.
    const fn last(&self, measure: Measure, low: i64) -> i64 {
        low - self.reserve.slack(measure.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_loudspeaker_holds_more_after_two_underruns_in_short_order() {
        let mut reserve = Reserve::default();
        reserve.ran_empty(0);
        reserve.ran_empty(20 * SECOND);
        assert_eq!(reserve.more_ns(20 * SECOND), LEAST_NS, "chance");
        assert_eq!((Reserve::default().slack(480), reserve.slack(480)), (240, 0));
        reserve.ran_empty(21 * SECOND);
        assert_eq!(reserve.more_ns(21 * SECOND), LEAST_NS + STEP_NS);
        (22..200).for_each(|n| reserve.ran_empty(n * SECOND));
        assert_eq!(reserve.more_ns(200 * SECOND), LEAST_NS + MOST_NS);
    }

    #[test]
    fn what_was_added_is_taken_back_in_calm_and_more_slowly_where_that_was_too_soon() {
        let mut reserve = Reserve::default();
        reserve.ran_empty(0);
        reserve.ran_empty(SECOND);
        assert_eq!(reserve.more_ns(30 * SECOND), LEAST_NS + STEP_NS);
        assert_eq!(reserve.more_ns(32 * SECOND), LEAST_NS);
        reserve.ran_empty(33 * SECOND);
        assert_eq!(reserve.more_ns(33 * SECOND), LEAST_NS + STEP_NS, "it was needed");
        assert_eq!(reserve.more_ns(92 * SECOND), LEAST_NS + STEP_NS);
        assert_eq!(reserve.more_ns(94 * SECOND), LEAST_NS);
    }

    #[test]
    fn what_is_beyond_a_device_is_the_most_that_was_seen_lately() {
        let mut beyond = Beyond::default();
        assert_eq!(beyond.get(), 0);
        for (at, frames) in [(1, 100), (2, 120), (3, 90)] {
            beyond.note(at * SECOND / 10, frames);
        }
        assert_eq!(beyond.get(), 120);
        (3..8).for_each(|n| beyond.note(n * SECOND, 50));
        assert_eq!(beyond.get(), 50);
    }
}
