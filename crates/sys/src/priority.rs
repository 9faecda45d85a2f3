//! To be run soon after being woken, where the system gives that.

use std::collections::BTreeSet;

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

use crate::monotonic_ns;

/// The real-time priority that is asked for: below what the kernel and sound servers use for themselves.
#[cfg(target_os = "linux")]
const PRIORITY: i32 = 4;

/// The niceness that is asked for: as sound servers do.
#[cfg(target_os = "linux")]
const NICE: i32 = -11;

/// Lets the calling thread, and those that it starts from now on, go before others; says whether the system allows it.
///
/// For threads that may be busy for a while, such as those of a sound library: others still have their turn.
pub fn go_before_others() -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: takes plain numbers; process 0 is the calling thread.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

/// Lets the calling thread, but none that it starts, run as soon as it is woken; says whether the system allows it.
///
/// Only for threads that wait nearly all the time: nobody else has a turn while they are busy.
pub fn go_realtime() -> bool {
    make_realtime(0)
}

/// Lets a thread of this process, but none that it starts, run as soon as it is woken, as [`go_realtime`]; the system's
/// number of it, 0 for the calling one.
pub fn make_realtime(thread: i32) -> bool {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: PRIORITY };
        let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
        // SAFETY: a number that is no thread's is refused, and the parameters are a valid structure that is only read.
        unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _nowhere = thread;
        false
    }
}

/// The threads of this process, by the system's numbers; none where it does not tell.
pub fn threads() -> BTreeSet<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// How long a thread that went first is watched at a time, in ns.
const WATCH_NS: i64 = 250_000_000;

/// For so many of these times it must have waited for the most part until it goes first again.
const CALM: u32 = 20;

/// A thread that goes first as long as it waits most of the time.
///
/// Nobody else has a turn while such a thread is busy: where it turns out to be, it steps back for some seconds.
#[derive(Debug)]
pub struct Prompt {
    /// When it was looked at last, and what it had used by then, in ns; none where it may not go first.
    seen: Option<(i64, i64)>,
    /// How often in a row it was not busy since it stepped back; none while it goes first.
    calm: Option<u32>,
    /// Which part of the time it may be busy, in percent.
    share: i64,
}

impl Prompt {
    /// The calling thread goes first from now on, where the system allows it.
    pub fn begin() -> Self {
        Self::begin_with(50)
    }

    /// As [`begin`](Self::begin), for a thread that many wait for: it may be busy for `percent` of the time.
    pub fn begin_with(percent: u8) -> Self {
        let _allowed = go_before_others();
        let seen = go_realtime().then(|| (monotonic_ns(), used_ns()));
        Self { seen, calm: None, share: percent.into() }
    }

    /// To be called by that thread each time before it waits.
    pub fn check(&mut self) {
        let Some((then, before)) = self.seen else { return };
        let now = monotonic_ns();
        if now - then < WATCH_NS {
            return;
        }
        let used = used_ns();
        self.seen = Some((now, used));
        self.calm = match (is_busy(now - then, used - before, self.share), self.calm) {
            (true, None) => {
                step_back();
                Some(0)
            }
            (true, Some(_)) => Some(0),
            (false, Some(calm)) if calm >= CALM => {
                let _allowed_before = go_realtime();
                None
            }
            (false, calm) => calm.map(|calm| calm + 1),
        };
    }
}

/// Whether a thread that used so much of that time, and may use `share` percent, would be missed by others.
const fn is_busy(passed: i64, used: i64, share: i64) -> bool {
    used > passed * share / 100
}

/// What the calling thread has computed so far, in ns.
fn used_ns() -> i64 {
    #[cfg(target_os = "linux")]
    {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        used.tv_sec * 1_000_000_000 + used.tv_nsec
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

/// The calling thread waits for its turn like others again.
fn step_back() {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        // Without privileges, nobody may take it back that threads which it starts are ordinary.
        let policy = libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK;
        // SAFETY: thread 0 is the calling one, and the parameters are a valid structure that is only read.
        let _always_allowed = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_all_the_time_steps_back_until_it_waits_again() {
        let seconds = |prompt: &mut Prompt, used: i64| {
            for _ in 0..=CALM + 1 {
                if let Some(seen) = &mut prompt.seen {
                    // As if so much time had passed since the last look.
                    *seen = (seen.0 - WATCH_NS, seen.1 - used);
                }
                prompt.check();
            }
        };
        std::thread::spawn(move || {
            let mut prompt = Prompt::begin();
            let allowed = prompt.seen.is_some();
            seconds(&mut prompt, 0);
            assert_eq!(prompt.calm, None);
            seconds(&mut prompt, WATCH_NS);
            assert_eq!(prompt.calm, allowed.then_some(0));
            seconds(&mut prompt, 0);
            assert_eq!(prompt.calm, None);
        })
        .join()
        .unwrap();
        assert!(is_busy(100, 51, 50) && !is_busy(100, 50, 50) && !is_busy(100, 51, 75));
    }
}
