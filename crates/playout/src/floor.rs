//! When the arrivals say that the line from media time to playout time is wrong.

use vox_frame::Stamp;

/// A packet this much off the line is no jitter: timestamps jumped, or the sender paused without moving them on.
pub(crate) const JUMP_NS: i64 = 1_000_000_000;

/// A packet this much faster than the floor moves the line at once; less waits for silence, where it costs nothing.
const SHIFT_NS: i64 = 10_000_000;

/// How long every packet must have been late until the line moves: longer than a burst takes to catch up.
const LATE_RUN_NS: i64 = 200_000_000;

/// How many packets must have been late in a row.
const LATE_RUN_PACKETS: u32 = 3;

/// The seam for adaptive delay: watches arrivals against the line and says when to move it.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    run: Option<LateRun>,
    /// How much faster than the floor packets have been without moving the line, in ns.
    slack: i64,
}

#[derive(Debug, Clone, Copy)]
struct LateRun {
    since: Stamp,
    packets: u32,
    /// The fastest packet's delay over the floor, in ns.
    fastest: i64,
}

impl Floor {
    /// Looks at a packet that came `over` ns after the floor (negative: it was faster), `delay` being the time
    /// between floor and due; says by how many ns the line is to be moved.
    pub(crate) fn handle(
        &mut self,
        arrived: Stamp,
        over: i64,
        delay: i64,
        playing: bool,
        waiting: bool,
    ) -> Option<i64> {
        if over < 0 {
            self.run = None;
            if !playing || over <= -SHIFT_NS {
                self.slack = 0;
                return Some(over);
            }
            self.slack = self.slack.max(-over);
            return None;
        }
        if over <= delay {
            self.run = None;
            return None;
        }
        if waiting && over > delay.saturating_add(JUMP_NS) {
            self.run = None;
            return Some(over);
        }
        let run = self.run.get_or_insert(LateRun { since: arrived, packets: 0, fastest: over });
        run.packets += 1;
        run.fastest = run.fastest.min(over);
        if run.packets < LATE_RUN_PACKETS || arrived.since(run.since) < LATE_RUN_NS {
            return None;
        }
        let fastest = run.fastest;
        self.run = None;
        Some(fastest)
    }

    /// What the line may be moved by where nobody hears it.
    pub(crate) const fn take_slack(&mut self) -> i64 {
        let slack = self.slack;
        self.slack = 0;
        -slack
    }
}
