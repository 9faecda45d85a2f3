//! Whether stages run when they have to: priorities, and how late the system wakes a sleeper.

use std::thread;
use std::time::Duration;

use vox_sys::{go_before_others, go_realtime, monotonic_ns, pipe};

use crate::args::Topic;
use crate::finding::Finding;

/// How often is slept, and how long, in ns: half a second in all.
const SLEEPS: usize = 100;
const SLEEP_NS: i64 = 5_000_000;

/// Beyond it the default period of a loudspeaker is missed now and then.
const LATE_NS: i64 = 5_000_000;

pub(crate) fn look() -> Vec<Finding> {
    vec![before_others(), realtime(), wakes()]
}

/// In a thread of its own, as a priority stays with whoever has got it.
fn tried(what: fn() -> bool) -> bool {
    thread::spawn(what).join().unwrap_or(false)
}

fn before_others() -> Finding {
    let what = "before other programs";
    if tried(go_before_others) {
        return Finding::works(Topic::Priority, what, "niceness -11 is allowed");
    }
    Finding::limited(Topic::Priority, what, "niceness -11 is not allowed: on a busy machine sound may stumble")
        .advise("in /etc/security/limits.d/audio.conf: @audio - nice -11, be in that group, and log in again")
}

fn realtime() -> Finding {
    let what = "real time";
    if tried(go_realtime) {
        return Finding::works(Topic::Priority, what, "real-time priority is allowed");
    }
    Finding::limited(Topic::Priority, what, "real-time priority is not allowed: on a busy machine sound may stumble")
        .advise("in /etc/security/limits.d/audio.conf: @audio - rtprio 10, be in that group, and log in again")
}

/// How late a sleeper is woken, as a stage would be that sleeps until a packet is due.
fn wakes() -> Finding {
    let late = thread::spawn(|| {
        pipe::sharpen_timers();
        let _allowed = go_before_others();
        let mut late: Vec<i64> = (0..SLEEPS).map(|_| late_by()).collect();
        late.sort_unstable();
        late
    });
    let late = late.join().unwrap_or_default();
    let (Some(&half), Some(&worst)) = (late.get(SLEEPS / 2), late.last()) else {
        return Finding::fails(Topic::Timers, "wake-up", "cannot sleep");
    };
    let seen = format!("{:.2} ms late, {:.2} ms at worst, in {SLEEPS} sleeps", ms(half), ms(worst));
    let finding = if worst <= LATE_NS {
        Finding::works(Topic::Timers, "wake-up", seen)
    } else {
        Finding::limited(Topic::Timers, "wake-up", seen)
            .advise("the machine is busy or saves power: give a loudspeaker more (vox-play --buffer 40 --period 20)")
    };
    finding.figure("late_ms", ms(half)).figure("worst_ms", ms(worst))
}

fn late_by() -> i64 {
    let until = monotonic_ns() + SLEEP_NS;
    thread::sleep(Duration::from_nanos(SLEEP_NS.unsigned_abs()));
    monotonic_ns() - until
}

fn ms(ns: i64) -> f64 {
    ns as f64 / 1e6
}
