//! Which of many descriptors are ready: work is proportional to what is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Descriptors that are looked at in one turn.
const BATCH: usize = 256;

/// Waits on many descriptors, each known by a number.
pub struct Readiness {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The number that it was added with.
    pub key: u64,
    /// It can be read, or is at its end, or broken.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
}

impl Readiness {
    /// Waits on nothing yet.
    ///
    /// # Errors
    /// As the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    /// Waits for `fd` to be readable.
    ///
    /// # Errors
    /// As the system says.
    pub fn add(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(key), EventFlags::IN)?)
    }

    /// Waits for `fd` to be readable and, where `writable` is set, writable.
    ///
    /// # Errors
    /// As the system says.
    pub fn change(&self, fd: impl AsFd, key: u64, writable: bool) -> io::Result<()> {
        let flags = if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(key), flags)?)
    }

    /// Waits for `fd` no longer. One that is closed is forgotten by itself.
    ///
    /// # Errors
    /// As the system says.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// What is ready now, without waiting. Wait on [`AsFd`] for something to be.
    ///
    /// # Errors
    /// As the system says.
    pub fn ready(&mut self, out: &mut Vec<Ready>) -> io::Result<()> {
        out.clear();
        self.events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&at_once)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        out.extend(self.events.iter().map(|event| {
            // Copied out, as the system packs the struct.
            let (flags, data) = (event.flags, event.data);
            Ready {
                key: data.u64(),
                readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP),
                writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

impl core::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Readiness({:?})", self.epoll)
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_what_is_ready_is_told() {
        let mut readiness = Readiness::new().expect("the system waits");
        let (a, mut b) = UnixStream::pair().expect("a pair");
        let (c, _d) = UnixStream::pair().expect("a pair");
        readiness.add(&a, 7).expect("added");
        readiness.add(&c, 8).expect("added");
        let mut ready = Vec::new();
        readiness.ready(&mut ready).expect("no error");
        assert_eq!(ready, []);
        b.write_all(b"x").expect("there is space");
        readiness.ready(&mut ready).expect("no error");
        assert_eq!(ready, [Ready { key: 7, readable: true, writable: false }]);
        readiness.change(&c, 8, true).expect("changed");
        readiness.remove(&a).expect("removed");
        readiness.ready(&mut ready).expect("no error");
        assert_eq!(ready, [Ready { key: 8, readable: false, writable: true }]);
    }
}
