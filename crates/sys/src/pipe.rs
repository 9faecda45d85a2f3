//! Pipes and waiting: sizes, whole writes, and sleeping until something can be read or a deadline comes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use smallvec::SmallVec;

use crate::monotonic_ns;

/// The pipe size of a live stream, in bytes: one page, the smallest there is (a few tens of ms of PCM).
pub const LIVE_PIPE: usize = 4096;

/// The pipe size of a batch, in bytes: fewer switches between reader and writer.
pub const BATCH_PIPE: usize = 1 << 20;

/// Asks for a pipe of `bytes`; does nothing where `fd` is no pipe or the system refuses.
pub fn set_size(fd: impl AsFd, bytes: usize) {
    // Best effort: a pipe of another size only costs latency or speed, never correctness.
    let _refused = rustix::pipe::fcntl_setpipe_size(fd, bytes);
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// Whether `fd` is a regular file.
pub fn is_regular_file(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile)
}

/// Whether `fd` is a pipe.
pub fn is_pipe(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo)
}

/// Reads what is there into `space`; 0 at the end of the input.
///
/// # Errors
/// As the system says; `ErrorKind::Interrupted` when a signal came.
pub fn read(fd: impl AsFd, space: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, space)?)
}

/// Writes once; may write less than all.
///
/// # Errors
/// As the system says.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, bytes)?)
}

/// Reads what is there into `space`, and never waits; 0 at the end of the input.
///
/// # Errors
/// `ErrorKind::WouldBlock` when nothing is there; `ErrorKind::Unsupported` where the system cannot tell without waiting
/// (Linux for pipes before 6.4); else as [`read`].
pub fn read_at_once(fd: impl AsFd, space: &mut [u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        let (mut parts, flags) = ([io::IoSliceMut::new(space)], rustix::io::ReadWriteFlags::NOWAIT);
        match rustix::io::preadv2(fd, &mut parts, HERE, flags) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Err(io::ErrorKind::Unsupported.into()),
            read => Ok(read?),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _nowhere = (fd, space);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Writes once, as much as there is room for, and never waits.
///
/// # Errors
/// `ErrorKind::WouldBlock` where there is no room; `ErrorKind::Unsupported` where the system cannot tell without waiting
/// (Linux for pipes before 6.4); else as [`write`].
pub fn write_at_once(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        match rustix::io::pwritev2(fd, &[io::IoSlice::new(bytes)], HERE, flags) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Err(io::ErrorKind::Unsupported.into()),
            written => Ok(written?),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _nowhere = (fd, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The place in a file where it stands: that is -1 to the system.
#[cfg(target_os = "linux")]
const HERE: u64 = u64::MAX;

/// A pipe by which one thread wakes another that waits for descriptors: reader and writer. Neither end ever blocks.
///
/// # Errors
/// As the system says.
pub fn waker() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?)
}

/// Sleeps until the deadline (ns of CLOCK_MONOTONIC), or a signal that comes meanwhile; one that comes just before it begins
/// does not wake.
///
/// # Errors
/// As the system says.
pub fn doze(deadline: i64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let until = Timespec { tv_sec: deadline / 1_000_000_000, tv_nsec: deadline % 1_000_000_000 };
        match rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &until) {
            Ok(()) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    wait(&[], None, Some(deadline)).map(|_| ())
}

/// Descriptors that are waited for without asking for memory.
pub const FEW: usize = 4;

/// Waits until one of `readable` can be read, or `writable` written, or the deadline (ns of CLOCK_MONOTONIC) has
/// come. Says which of `readable` is ready, `Some(readable.len())` for `writable`, none for the deadline.
///
/// # Errors
/// As `poll` says; a signal alone is not an error but looks like a deadline that came early.
pub fn wait(
    readable: &[BorrowedFd<'_>],
    writable: Option<BorrowedFd<'_>>,
    deadline: Option<i64>,
) -> io::Result<Option<usize>> {
    let mut fds: SmallVec<[PollFd<'_>; FEW]> =
        readable.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    fds.extend(writable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
    let timeout = deadline.map(|deadline| {
        let left = deadline.saturating_sub(monotonic_ns()).max(0);
        Timespec { tv_sec: left / 1_000_000_000, tv_nsec: left % 1_000_000_000 }
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(None),
        Ok(_) => Ok(fds.iter().position(|fd| !fd.revents().is_empty())),
        Err(error) => Err(error.into()),
    }
}

/// Lets deadlines of this thread be met exactly: the kernel otherwise joins wake-ups within 50 us.
pub fn sharpen_timers() {
    let slack = core::num::NonZeroU64::MIN;
    let _refused = rustix::thread::set_current_timer_slack(Some(slack));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_at_once_gives_what_is_there_and_never_waits_for_more() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let mut space = [0; 16];
        let read = |space: &mut [u8]| read_at_once(&reader, space).map_err(|error| error.kind());
        if read(&mut space) == Err(io::ErrorKind::Unsupported) {
            return;
        }
        assert_eq!(read(&mut space), Err(io::ErrorKind::WouldBlock));
        assert_eq!(write(&writer, b"abc").expect("room"), 3);
        assert_eq!((read(&mut space), &space[..3]), (Ok(3), &b"abc"[..]));
        drop(writer);
        assert_eq!(read(&mut space), Ok(0), "the end");
    }

    #[test]
    fn writing_at_once_writes_whole_what_there_is_room_for_and_never_waits_for_more() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        set_size(&writer, LIVE_PIPE);
        let write = |bytes: &[u8]| write_at_once(&writer, bytes).map_err(|error| error.kind());
        if write(&[1; 3_000]) == Err(io::ErrorKind::Unsupported) {
            return;
        }
        assert_eq!(write(&[2; 3_000]), Err(io::ErrorKind::WouldBlock));
        let mut space = [0; LIVE_PIPE];
        assert_eq!((read(&reader, &mut space).expect("bytes"), space[2_999]), (3_000, 1));
        assert_eq!(write(&[2; 3_000]), Ok(3_000));
    }
}
