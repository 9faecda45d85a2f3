//! A branch: a thread that writes what waits for it, as fast as its reader takes it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use vox_cli::{Failure, warn};
use vox_frame::{EndReason, MAX_WRITE, Opening};
use vox_sys::pipe;

use crate::args::Destination;
use crate::queue::{Entry, Queue};

/// Bytes of a write where nobody waits for a single record.
const FILE_WRITE: usize = 65_536;

/// One copy of the stream.
pub(crate) struct Branch {
    name: String,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when there is more to write, and when the branch has got on.
    changed: Condvar,
}

struct State {
    queue: Queue,
    /// How the stream ended.
    ended: Option<EndReason>,
    /// The writer is waiting for more.
    idle: bool,
    /// How the branch ended.
    done: Option<Done>,
    /// Bytes that were taken.
    bytes: u64,
    readers: u64,
}

/// How a branch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Complete,
    /// Its reader went away.
    Left,
    Failed,
}

impl Branch {
    /// Starts a branch. Files and commands that cannot be had are known at once; a FIFO waits for its reader.
    pub(crate) fn start(destination: &Destination, opening: Opening, hold_ns: i64) -> Result<Self, Failure> {
        let name = destination.to_string();
        let target = Target::open(destination)?;
        let queue = Queue::new(hold_ns);
        let state = State { queue, ended: None, idle: false, done: None, bytes: 0, readers: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (own, told) = (Arc::clone(&shared), name.clone());
        thread::Builder::new()
            .name("branch".to_owned())
            .spawn(move || {
                let done = serve(target, &opening, &own).unwrap_or_else(|error| {
                    warn(format_args!("{told}: {error}; this branch has ended"));
                    Done::Failed
                });
                own.lock().done = Some(done);
                own.changed.notify_all();
            })
            .map_err(|error| Failure::failed(format_args!("cannot start a branch: {error}")))?;
        Ok(Self { name, shared })
    }

    /// Hands in a record; never waits.
    pub(crate) fn push(&self, entry: &Arc<Entry>) {
        let mut state = self.shared.lock();
        if state.done.is_some() {
            return;
        }
        state.queue.push(entry);
        if std::mem::take(&mut state.idle) {
            self.shared.changed.notify_all();
        }
    }

    /// Says that no more will come.
    pub(crate) fn end(&self, reason: EndReason) {
        self.shared.lock().ended = Some(reason);
        self.shared.changed.notify_all();
    }

    /// Waits until the branch has taken everything, or has taken nothing for `linger`. Gives its counters and whether
    /// it failed.
    pub(crate) fn finish(&self, linger: Duration) -> (Value, bool) {
        let mut state = self.shared.lock();
        let (mut seen, mut since) = (state.bytes, Instant::now());
        while state.done.is_none() && since.elapsed() < linger {
            let left = linger.saturating_sub(since.elapsed());
            state = self.shared.changed.wait_timeout(state, left).expect("no branch panics").0;
            if state.bytes != seen {
                (seen, since) = (state.bytes, Instant::now());
            }
        }
        if state.done.is_none() {
            warn(format_args!("{} has not taken all of it", self.name));
        }
        let line = json!({
            "type": "branch",
            "name": self.name,
            "bytesSent": state.bytes,
            "readers": state.readers,
            "recordsMissed": state.queue.missed,
            "complete": state.done == Some(Done::Complete),
        });
        (line, state.done == Some(Done::Failed))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no branch panics")
    }
}

/// Writes what waits until there is no more. A reader that went away is good order.
fn serve(mut target: Target, opening: &Opening, shared: &Shared) -> std::io::Result<Done> {
    let mut buffer = Vec::new();
    loop {
        let mut sink = target.connect()?;
        buffer.clear();
        opening.write(&mut buffer);
        {
            let mut state = shared.lock();
            state.queue.introduce(&mut buffer);
            state.readers += 1;
        }
        let limit = if pipe::is_regular_file(sink.as_fd()) { FILE_WRITE } else { MAX_WRITE };
        let outcome = loop {
            // What is left in a FIFO would be read by the next reader, from the middle of a record on.
            if target.is_fifo() && has_no_reader(sink.as_fd()) {
                break Err(ErrorKind::BrokenPipe.into());
            }
            if let Err(error) = sink.write_all(&buffer) {
                break Err(error);
            }
            if !take(shared, limit, &mut buffer) {
                break Ok(());
            }
        };
        match outcome {
            Ok(()) => return sink.close().map(|()| Done::Complete),
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            // Another reader may come to a FIFO.
            Err(_) if target.is_fifo() && shared.lock().ended.is_none() => {}
            // A command may have read what it wanted, or be one that does not exist.
            Err(_) => return sink.close().map(|()| Done::Left),
        }
    }
}

/// Waits for the records behind those in `buffer`, which have been taken; false where there are no more.
fn take(shared: &Shared, limit: usize, buffer: &mut Vec<u8>) -> bool {
    let mut state = shared.lock();
    state.bytes += buffer.len() as u64;
    buffer.clear();
    shared.changed.notify_all();
    loop {
        if !state.queue.is_empty() {
            state.queue.take(limit, buffer);
            return true;
        }
        if let Some(reason) = state.ended.clone() {
            state.queue.end_open(&reason, buffer);
            return !buffer.is_empty();
        }
        state.idle = true;
        state = shared.changed.wait(state).expect("no branch panics");
    }
}

/// Where a copy goes, before anybody reads it.
enum Target {
    File(Option<File>),
    Fifo(std::path::PathBuf),
    Command(Option<Child>),
}

/// What a copy is written to.
enum Sink {
    File(File),
    Command(ChildStdin, Child),
}

impl Target {
    fn open(destination: &Destination) -> Result<Self, Failure> {
        match destination {
            Destination::Path(path) if is_fifo(path) => Ok(Self::Fifo(path.clone())),
            Destination::Path(path) => {
                let file = File::create(path)
                    .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", path.display())))?;
                Ok(Self::File(Some(file)))
            }
            Destination::Command(command) => {
                let child = Command::new("sh")
                    .args(["-c", command])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .map_err(|error| Failure::failed(format_args!("cannot run {command}: {error}")))?;
                Ok(Self::Command(Some(child)))
            }
        }
    }

    const fn is_fifo(&self) -> bool {
        matches!(self, Self::Fifo(_))
    }

    /// What to write to; waits for the reader of a FIFO.
    fn connect(&mut self) -> std::io::Result<Sink> {
        let gone = || std::io::Error::from(ErrorKind::BrokenPipe);
        match self {
            Self::File(file) => file.take().map(Sink::File).ok_or_else(gone),
            Self::Fifo(path) => OpenOptions::new().write(true).open(path).map(Sink::File),
            Self::Command(child) => {
                let mut child = child.take().ok_or_else(gone)?;
                let stdin = child.stdin.take().ok_or_else(gone)?;
                Ok(Sink::Command(stdin, child))
            }
        }
    }
}

impl Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Command(stdin, _) => stdin.as_fd(),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Command(stdin, _) => stdin.write_all(bytes),
        }
    }

    /// Ends it; a command is waited for.
    fn close(self) -> std::io::Result<()> {
        let Self::Command(stdin, mut child) = self else { return Ok(()) };
        drop(stdin);
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("the command ended with {status}"))) }
    }
}

fn has_no_reader(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()))
}
