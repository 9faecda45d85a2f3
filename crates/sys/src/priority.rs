//! To be run soon after being woken, where the system gives that.

use std::collections::BTreeSet;

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
