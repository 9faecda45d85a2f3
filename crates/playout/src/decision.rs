//! How a record is fitted into the playout timeline: a pure function of what is known when it leaves.

/// A delay this much above the target is right, in ns: nothing is stretched for it.
const ABOVE_NS: i64 = 3_000_000;

/// And what is added to that for the square of the target, in ns per ms².
const ABOVE_NS_PER_MS2: i64 = 700;

/// A delay this much below the target is right, in ns, and the share of the target that is too.
const BELOW_NS: i64 = 1_000_000;
const BELOW_SHARE: i64 = 16;

/// Where stretching stops once it has begun, in ns.
const DONE_NS: i64 = 500_000;

/// How long a change of the delay waits for a moment in which nobody speaks, in ns.
const PATIENCE_NS: i64 = 3_000_000_000;

/// A delay this much above the target waits for nothing, in ns.
const URGENT_NS: i64 = 60_000_000;

/// What half of such an error is corrected by, in parts per million: 0.03 % is no change of pitch that anybody hears.
const GLIDE_PPM: i64 = 300;

/// How much longer a record may be played, in percent.
const STRETCH_PERCENT: i64 = 25;

/// How much longer it may be where nobody speaks, in percent.
const QUIET_STRETCH_PERCENT: i64 = 50;

/// How much longer it may be while what is behind it is held up, in percent: the alternative is concealment.
pub(crate) const HELD_UP_PERCENT: i64 = 100;

/// How much shorter a record may be played, in percent.
const COMPRESS_PERCENT: i64 = 20;

/// How much shorter it may be where nobody speaks, in percent.
const QUIET_COMPRESS_PERCENT: i64 = 40;

/// An error up to this is corrected at half speed, in ns.
const GENTLE_NS: i64 = 20_000_000;

/// Behind concealment, a delay above the target by this is cut at once, in ns: the thread is lost anyway, and what is
/// played faster afterwards is heard for longer.
const CUT_NS: i64 = 20_000_000;

/// A delay above the target by this is not made longer because packets are held up, in ns: it bridges as much already.
const LONG_NS: i64 = 30_000_000;

/// Beyond this a delay is cut wherever it is, in ns: nobody talks to the past.
const HOPELESS_NS: i64 = 1_000_000_000;

/// Behind concealment, a delay below what is usually needed by this is restored at once, in ns.
const RESTORE_NS: i64 = 10_000_000;

/// What is known when a packet is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its duration here: media time, and the drift of the clocks. In ns.
    pub(crate) span_ns: i64,
    /// How much later it is due than it should be, in ns; negative: it is early.
    pub(crate) error_ns: i64,
    /// The delay that is aimed at, in ns.
    pub(crate) target_ns: i64,
    /// How much of that is there for what comes seldom, in ns.
    pub(crate) spare_ns: i64,
    /// Whether the packets behind it are held up.
    pub(crate) held_up: bool,
    /// Whether nothing, or something concealed, was played before it.
    pub(crate) concealed: bool,
    /// Whether nobody speaks in it.
    pub(crate) quiet: bool,
    /// For how long the delay has not been right, in ns.
    pub(crate) wrong_ns: i64,
    /// Whether it is the first of its stream.
    pub(crate) begins: bool,
    /// Whether delay is being changed already.
    pub(crate) adjusting: bool,
    /// Whether it may be stretched at all.
    pub(crate) stretch: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is played for that many ns.
    Play { slot_ns: i64, adjusting: bool },
    /// It is left out: what comes next is already due.
    Skip,
    /// That many ns pass before it.
    Insert { ns: i64 },
}

impl Status {
    /// Whether the delay is near enough to what it should be.
    pub(crate) fn is_right(&self) -> bool {
        self.right().contains(&self.error_ns)
    }

    /// How much more than the target is right: of a long delay nobody hears the last part, but its changes.
    fn above(&self) -> i64 {
        let target_ms = self.target_ns / 1_000_000;
        ABOVE_NS + target_ms * target_ms * ABOVE_NS_PER_MS2
    }

    fn right(&self) -> core::ops::RangeInclusive<i64> {
        let below = BELOW_NS + self.target_ns / BELOW_SHARE;
        if self.adjusting { -DONE_NS..=DONE_NS } else { -below..=self.above() }
    }
}

/// Decides on a packet that is there.
pub(crate) fn decide(status: &Status) -> Decision {
    let Status { span_ns, error_ns, .. } = *status;
    let cut = if status.begins { 0 } else { CUT_NS };
    if error_ns > HOPELESS_NS || status.concealed && error_ns > cut && error_ns > span_ns {
        return Decision::Skip;
    }
    if status.concealed && error_ns + status.spare_ns.max(0) < -RESTORE_NS {
        return Decision::Insert { ns: -error_ns };
    }
    if !status.stretch {
        return Decision::Play { slot_ns: span_ns, adjusting: false };
    }
    if status.held_up && error_ns < LONG_NS {
        return Decision::Play { slot_ns: span_ns + span_ns * HELD_UP_PERCENT / 100, adjusting: true };
    }
    let (change, adjusting) = fit(status);
    Decision::Play { slot_ns: span_ns + change, adjusting }
}

/// By how much a span is played longer, in ns, and whether delay is changed by that.
pub(crate) fn fit(status: &Status) -> (i64, bool) {
    let Status { span_ns, error_ns, .. } = *status;
    let below = BELOW_NS + status.target_ns / BELOW_SHARE;
    if status.is_right() {
        if (-below / 2..=status.above() / 2).contains(&error_ns) {
            return (0, false);
        }
        let most = span_ns / 1_000 * GLIDE_PPM / 1_000;
        return (if error_ns > 0 { -most } else { most }, false);
    }
    // Where nobody speaks nobody hears it; what is not urgent waits for that.
    let urgent = error_ns > URGENT_NS || error_ns + status.spare_ns.max(0) < -below;
    if !status.quiet && !urgent && status.wrong_ns < PATIENCE_NS {
        return (0, false);
    }
    let gentle = if error_ns.abs() <= GENTLE_NS { 2 } else { 1 };
    let (stretch, compress) = if status.quiet {
        (QUIET_STRETCH_PERCENT, QUIET_COMPRESS_PERCENT)
    } else {
        (STRETCH_PERCENT, COMPRESS_PERCENT)
    };
    let longest = span_ns * stretch / 100 / gentle;
    let shortest = span_ns * compress / 100 / gentle;
    ((-error_ns).clamp(-shortest, longest), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    const CALM: Status = Status {
        span_ns: 20 * MS,
        error_ns: 0,
        target_ns: 16 * MS,
        spare_ns: 0,
        quiet: true,
        wrong_ns: 0,
        begins: false,
        held_up: false,
        concealed: false,
        adjusting: false,
        stretch: true,
    };

    fn slot(status: Status) -> i64 {
        match decide(&status) {
            Decision::Play { slot_ns, .. } => slot_ns,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_right_delay_is_left_alone() {
        assert_eq!(decide(&CALM), Decision::Play { slot_ns: 20 * MS, adjusting: false });
        let glide = slot(Status { error_ns: ABOVE_NS, ..CALM });
        assert!((19_994_000..20 * MS).contains(&glide), "{glide}");
    }

    #[test]
    fn a_long_delay_is_shortened_within_what_speech_bears() {
        for (quiet, shortest, longest) in [(false, 16 * MS, 25 * MS), (true, 12 * MS, 30 * MS)] {
            assert_eq!(slot(Status { error_ns: 100 * MS, quiet, ..CALM }), shortest);
            assert_eq!(slot(Status { error_ns: -100 * MS, quiet, ..CALM }), longest);
        }
        assert_eq!(slot(Status { error_ns: MS, adjusting: true, ..CALM }), 19 * MS);
    }

    #[test]
    fn what_holds_packets_up_slows_playing_down_before_it_runs_dry() {
        assert_eq!(slot(Status { held_up: true, ..CALM }), 40 * MS);
    }

    #[test]
    fn behind_concealment_delay_changes_at_once() {
        let behind = Status { concealed: true, ..CALM };
        assert_eq!(decide(&Status { error_ns: 200 * MS, ..behind }), Decision::Skip);
        assert_eq!(decide(&Status { error_ns: -50 * MS, ..behind }), Decision::Insert { ns: 50 * MS });
    }

    #[test]
    fn without_stretching_only_concealment_changes_the_delay() {
        let plain = Status { stretch: false, error_ns: 200 * MS, ..CALM };
        assert_eq!(slot(plain), 20 * MS);
        assert_eq!(decide(&Status { concealed: true, ..plain }), Decision::Skip);
    }
}
