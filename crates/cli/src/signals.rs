//! SIGINT and SIGTERM: the first asks for an end in good order, the second ends at once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use smallvec::SmallVec;
use vox_sys::{monotonic_ns, pipe};

use crate::{Exit, Failure};

struct Signals {
    requested: Arc<AtomicBool>,
    /// Becomes readable with the first signal, so that a wait that began just before it ends too.
    wake: OwnedFd,
    /// When that was noticed, in ns of CLOCK_MONOTONIC.
    noticed: AtomicI64,
}

/// No signal was noticed yet.
const NEVER: i64 = i64::MIN;

static SIGNALS: OnceLock<Signals> = OnceLock::new();

/// Handles SIGINT and SIGTERM, even where they were inherited as ignored (a shell's background job).
pub(crate) fn install() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format_args!("cannot handle signals: {error}"));
    let requested = Arc::new(AtomicBool::new(false));
    let (wake, writer) = rustix::pipe::pipe().map_err(|error| failed(error.into()))?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Done as i32, Arc::clone(&requested))
            .map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&requested)).map_err(failed)?;
        let writer = writer.try_clone().map_err(failed)?;
        signal_hook::low_level::pipe::register(signal, writer).map_err(failed)?;
    }
    SIGNALS.get_or_init(|| Signals { requested, wake, noticed: AtomicI64::new(NEVER) });
    Ok(())
}

/// Whether the first SIGINT or SIGTERM has come.
pub fn stop_requested() -> bool {
    SIGNALS.get().is_some_and(|signals| signals.requested.load(Ordering::Acquire))
}

/// When the first signal was noticed, in ns of CLOCK_MONOTONIC; none before it.
pub(crate) fn stop_noticed() -> Option<i64> {
    let signals = SIGNALS.get().filter(|_| stop_requested())?;
    let now = monotonic_ns();
    let before = signals.noticed.compare_exchange(NEVER, now, Ordering::AcqRel, Ordering::Acquire);
    Some(before.err().unwrap_or(now))
}

/// Forgets that a signal came, for a program that asks before it ends: the next signal is the first again.
pub fn forget_stop() {
    let Some(signals) = SIGNALS.get().filter(|_| stop_requested()) else { return };
    // Whoever handles a signal writes what is read here, so this waits for nobody else.
    let _nothing_else_is_in_it = rustix::io::read(&signals.wake, &mut [0; 64]);
    signals.noticed.store(NEVER, Ordering::Release);
    signals.requested.store(false, Ordering::Release);
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The descriptor of that index can be read (or is at its end).
    Readable(usize),
    /// The deadline has come.
    Deadline,
    /// The first signal came during the wait; once it was noticed, further waits are not cut short.
    Signal,
}

/// Waits for `fd`, the deadline (ns of CLOCK_MONOTONIC) or the first signal.
///
/// # Errors
/// Where the system cannot wait on the descriptor.
pub fn wait(fd: Option<BorrowedFd<'_>>, deadline: Option<i64>) -> Result<Wake, Failure> {
    wait_any(fd.as_slice(), deadline)
}

/// Waits for any of `fds`, the deadline (ns of CLOCK_MONOTONIC) or the first signal.
///
/// # Errors
/// Where the system cannot wait on a descriptor.
pub fn wait_any(fds: &[BorrowedFd<'_>], deadline: Option<i64>) -> Result<Wake, Failure> {
    let (ready, own) = wait_with_signals(fds, None, deadline)?;
    Ok(if own { Wake::Signal } else { ready.map_or(Wake::Deadline, Wake::Readable) })
}

/// Waits until `fd` can be written; false when the first signal came first or the deadline.
pub(crate) fn wait_writable(fd: BorrowedFd<'_>, deadline: Option<i64>) -> Result<bool, Failure> {
    Ok(wait_with_signals(&[], Some(fd), deadline)?.0.is_some())
}

/// The index of what is ready (`readable.len()` for `writable`), and whether it was the first signal.
fn wait_with_signals(
    readable: &[BorrowedFd<'_>],
    writable: Option<BorrowedFd<'_>>,
    deadline: Option<i64>,
) -> Result<(Option<usize>, bool), Failure> {
    let signals = SIGNALS.get().filter(|signals| signals.noticed.load(Ordering::Acquire) == NEVER);
    let mut fds: SmallVec<[BorrowedFd<'_>; pipe::FEW]> = readable.iter().copied().collect();
    if let Some(signals) = signals {
        fds.push(signals.wake.as_fd());
    }
    loop {
        let ready = pipe::wait(&fds, writable, deadline)
            .map_err(|error| Failure::failed(format_args!("cannot wait: {error}")))?;
        if signals.is_some() && stop_noticed().is_some() {
            return Ok((None, true));
        }
        match ready {
            Some(index) => return Ok((Some(index), false)),
            None if deadline.is_some_and(|deadline| monotonic_ns() >= deadline) => return Ok((None, false)),
            None => {}
        }
    }
}
