//! The calls, shared by the thread that hears and the one that speaks.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vox_cli::Failure;
use vox_frame::StreamId;
use vox_sys::{Clock, monotonic_ns, pipe};

use crate::connection::Connection;

/// Streams of calls that are over and are still known: what comes of them is for nobody else.
const MAX_PAST: usize = 4096;

/// The calls by number, and what ends them all.
pub(crate) struct Hub {
    /// The clock that all calls are on.
    pub(crate) clock: Clock,
    calls: Mutex<Calls>,
    /// Wakes the thread that hears.
    reader: OwnedFd,
    writer: OwnedFd,
    stop: AtomicBool,
    over: AtomicBool,
    /// When the last was said, in ns of CLOCK_MONOTONIC; 0 before.
    said_all: AtomicI64,
}

#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) open: BTreeMap<u64, Connection>,
    past: VecDeque<StreamId>,
}

/// Whom a stream of the pipe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    All,
    One(u64),
    /// Its call is over.
    Nobody,
}

impl Hub {
    pub(crate) fn new() -> Result<Self, Failure> {
        let (reader, writer) = pipe::waker().map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
        Ok(Self {
            clock: Clock::own(),
            calls: Mutex::default(),
            reader,
            writer,
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            said_all: AtomicI64::new(0),
        })
    }

    pub(crate) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when there is something to look after.
    pub(crate) fn waker(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Wakes the thread that hears.
    pub(crate) fn wake(&self) {
        // Where the pipe is full it is awake already.
        let _full = pipe::write(&self.writer, &[0]);
    }

    /// Takes note of what woke it.
    pub(crate) fn awake(&self) {
        let mut space = [0; 64];
        while pipe::read(&self.reader, &mut space).is_ok_and(|read| read == space.len()) {}
    }

    /// Asks the thread that hears to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Nothing more will be said.
    pub(crate) fn set_said_all(&self) {
        self.said_all.store(monotonic_ns(), Ordering::Release);
        self.wake();
    }

    /// When the last was said, in ns of CLOCK_MONOTONIC.
    pub(crate) fn said_all(&self) -> Option<i64> {
        Some(self.said_all.load(Ordering::Acquire)).filter(|at| *at != 0)
    }

    /// There are no calls any more, and none will come.
    pub(crate) fn set_over(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whether there is somebody to speak to.
    pub(crate) fn has_listener(&self) -> bool {
        self.calls().open.values().any(|call| call.session.is_open())
    }
}

impl Calls {
    /// Whom a stream of the pipe with that id is for.
    pub(crate) fn route(&self, id: StreamId) -> Route {
        match self.open.iter().find(|(_, call)| call.session.hears(id)) {
            Some((key, _)) => Route::One(*key),
            None if self.past.contains(&id) => Route::Nobody,
            None => Route::All,
        }
    }

    /// The calls that are meant.
    pub(crate) fn of(&mut self, route: Route) -> impl Iterator<Item = &mut Connection> {
        self.open
            .iter_mut()
            .filter(move |(key, _)| match route {
                Route::All => true,
                Route::One(one) => one == **key,
                Route::Nobody => false,
            })
            .map(|(_, call)| call)
    }

    /// Forgets a call, and remembers whose its streams were.
    pub(crate) fn remove(&mut self, key: u64, ids: [StreamId; 2]) -> Option<Connection> {
        self.past.extend(ids);
        while self.past.len() > MAX_PAST {
            self.past.pop_front();
        }
        self.open.remove(&key)
    }
}
