//! Records from stdin, or from a file or FIFO by name.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::stdio::stdin;
use vox_frame::{Cut, EndReason, Item, Kind, Opening, Problem, Raw, Record, Splitter, Stamp, StreamId};
use vox_sys::{Clock, monotonic_ns, pipe};

use crate::output::Flush;
use crate::signals::{self, Wake};
use crate::{Exit, Failure, NoOutput, warn};

/// How long a stage with a stdin goes on after the first signal, in ns.
const GRACE_NS: i64 = 1_000_000_000;

/// A stream of records: stdin, or a file or FIFO.
pub struct Input {
    /// None for stdin.
    file: Option<(OwnedFd, String)>,
    opened: bool,
    splitter: Splitter,
    clock: Clock,
    open: BTreeSet<StreamId>,
    ended: Option<Ended>,
    broken: Option<Failure>,
    /// Until then nothing is looked at, on CLOCK_MONOTONIC.
    rest: Option<i64>,
    /// Whether the last read took all that was there.
    drained: bool,
    /// Whether the system reads without waiting, for all that is known.
    at_once: bool,
}

/// What [`Input::next`] gives.
#[derive(Debug)]
pub enum Next<'a> {
    /// A record.
    Record(Raw<'a>),
    /// The deadline came before a record did.
    Deadline,
    /// There will be no more records: finish, then ask [`Input::verdict`].
    End(Ended),
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every stream had its End.
    Complete,
    /// The input ended at a record boundary, but a stream had no End.
    Interrupted,
    /// SIGINT or SIGTERM came; how the input ended after it does not matter.
    Stopped,
    /// The input is damaged or ends inside a record.
    Broken,
}

impl Ended {
    /// What to write into the End of a stream that had none.
    pub const fn reason(self) -> EndReason {
        match self {
            Self::Complete => EndReason::Complete,
            Self::Stopped => EndReason::Stopped,
            Self::Interrupted | Self::Broken => EndReason::Interrupted,
        }
    }
}

impl Input {
    /// Stdin as a stream of records.
    ///
    /// # Errors
    /// When stdin is a terminal (2).
    pub fn stdin() -> Result<Self, Failure> {
        if pipe::is_terminal(stdin()) {
            return Err(Failure::usage(
                "stdin is a terminal: this stage reads a vox stream, as in `vox-capture talk.wav | …` (see --help)",
            ));
        }
        Ok(Self::new(None))
    }

    /// A file or FIFO as a stream of records. A FIFO that nobody writes to yet is waited for when it is read.
    ///
    /// # Errors
    /// When it cannot be opened (3).
    pub fn file(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        // Without NONBLOCK opening a FIFO would wait for its writer, deaf to signals.
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Failure::input(format_args!("cannot open {name}: {error}")))?;
        Ok(Self::new(Some((fd, name))))
    }

    fn new(file: Option<(OwnedFd, String)>) -> Self {
        let (splitter, clock, open) = (Splitter::new(), Clock::own(), BTreeSet::new());
        let (ended, broken, rest) = (None, None, None);
        Self { file, opened: false, splitter, clock, open, ended, broken, rest, drained: false, at_once: true }
    }

    /// What to wait on for more, beside other things ([`wait_any`](crate::wait_any)); records that were read already
    /// come out of [`next`](Self::next) first.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().map_or(stdin(), |(fd, _)| fd.as_fd())
    }

    /// Its name for people.
    pub fn name(&self) -> &str {
        self.file.as_ref().map_or("stdin", |(_, name)| name)
    }

    /// Waits for the opening of the stream.
    ///
    /// # Errors
    /// When stdin is no vox stream (3), or a signal came before it was one (a quiet 0).
    pub fn open(&mut self) -> Result<Opening, Failure> {
        loop {
            let advanced = self.splitter.advance();
            if let Some(cut) = advanced.map_err(|error| self.failure(error))? {
                let Item::Opening(opening) = self.splitter.item(cut) else { continue };
                self.begin(&opening);
                return Ok(opening);
            }
            match self.fill(None)? {
                Fill::Bytes => {}
                Fill::End if signals::stop_requested() => return Err(Failure::quiet(Exit::Done)),
                Fill::End => {
                    let finished = self.splitter.finish();
                    finished.map_err(|error| self.failure(error))?;
                }
                Fill::Deadline | Fill::Grace => return Err(Failure::quiet(Exit::Done)),
            }
        }
    }

    /// The clock that the stream's stamps are on.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The next record, or that `deadline` has come, or that the stream has ended. Flushes `output` before it blocks.
    ///
    /// # Errors
    /// Where stdin cannot be read (1), or what `output` says.
    pub fn next(&mut self, deadline: Option<Stamp>, output: &mut impl Flush) -> Result<Next<'_>, Failure> {
        let cut = match self.next_cut(deadline, output)? {
            Step::Cut(cut) => cut,
            Step::Deadline => return Ok(Next::Deadline),
            Step::End(ended) => return Ok(Next::End(ended)),
        };
        let Item::Record(raw) = self.splitter.item(cut) else { return Ok(Next::Deadline) };
        match raw.kind() {
            Kind::Format => {
                self.open.insert(raw.id());
            }
            Kind::End => {
                self.open.remove(&raw.id());
            }
            Kind::Audio | Kind::Gap | Kind::Event | Kind::Unknown(_) => {}
        }
        Ok(Next::Record(raw))
    }

    /// Lets the next wait for input last until then, whatever comes: it lies in the pipe meanwhile. Signals still wake,
    /// but for one that comes just before it begins: it should be short. For a stage that does nothing with a record before
    /// that, and would be woken for each.
    pub fn rest_until(&mut self, until: Stamp) {
        self.rest = Some(self.clock.mono_ns(until));
    }

    /// Whether there may be more than the record that [`next`](Self::next) gave last: had all been read that had come by
    /// then, there is not.
    pub fn may_have_more(&self) -> bool {
        !self.drained || self.splitter.holds_more()
    }

    /// As [`next`](Self::next), for sinks.
    ///
    /// # Errors
    /// Where stdin cannot be read (1).
    pub fn next_for_sink(&mut self, deadline: Option<Stamp>) -> Result<Next<'_>, Failure> {
        self.next(deadline, &mut NoOutput)
    }

    /// What `raw` holds, or none where it is damaged: the stream then ends as [`Ended::Broken`].
    pub fn parse_failed(&mut self, error: vox_frame::Error) -> Ended {
        self.broken = Some(self.failure(error));
        self.ended = Some(Ended::Broken);
        Ended::Broken
    }

    /// What the end means for the exit code, after all that had arrived was dealt with.
    ///
    /// # Errors
    /// When the input is damaged or truncated, or was interrupted and `strict` is set (3).
    pub fn verdict(&mut self, ended: Ended, strict: bool) -> Result<(), Failure> {
        match ended {
            Ended::Complete | Ended::Stopped => Ok(()),
            Ended::Broken => Err(self.broken.take().unwrap_or_else(|| Failure::quiet(Exit::Input))),
            Ended::Interrupted if strict => Err(Failure::input("the stream broke off without an End")),
            Ended::Interrupted => {
                warn("the stream broke off without an End");
                Ok(())
            }
        }
    }

    fn next_cut(&mut self, deadline: Option<Stamp>, output: &mut impl Flush) -> Result<Step, Failure> {
        if let Some(ended) = self.ended {
            return Ok(Step::End(ended));
        }
        loop {
            match self.splitter.advance() {
                Ok(Some(cut)) => match self.splitter.item_kind(&cut) {
                    // A magic in mid-stream only allows a check of the version, which the splitter has made; the first
                    // one, where nobody has waited for it, tells of the clock.
                    None => {
                        if let Item::Opening(opening) = self.splitter.item(cut)
                            && !self.opened
                        {
                            self.begin(&opening);
                        }
                        continue;
                    }
                    Some(_) => return Ok(Step::Cut(cut)),
                },
                Ok(None) => {}
                Err(error) => return Ok(Step::End(self.end_broken(error))),
            }
            // Whoever rests leaves alone what is ready.
            if output.is_pending() && (self.rest.is_some() || !self.input_is_ready()) {
                output.flush()?;
            }
            match self.fill(deadline.map(|deadline| self.clock.mono_ns(deadline)))? {
                Fill::Bytes => {}
                Fill::Deadline => return Ok(Step::Deadline),
                Fill::Grace => return Ok(Step::End(self.end(Ended::Stopped))),
                Fill::End => {
                    let ended = match self.splitter.finish() {
                        _ if signals::stop_requested() => self.end(Ended::Stopped),
                        Err(error) => self.end_broken(error),
                        Ok(()) if self.open.is_empty() => self.end(Ended::Complete),
                        Ok(()) => self.end(Ended::Interrupted),
                    };
                    return Ok(Step::End(ended));
                }
            }
        }
    }

    fn begin(&mut self, opening: &Opening) {
        self.clock = Clock::for_stream(opening);
        self.opened = true;
    }

    /// What is wrong with the input, under its name.
    fn failure(&self, error: vox_frame::Error) -> Failure {
        match (&self.file, &error.problem) {
            (None, _) => error.into(),
            (Some((_, name)), Problem::Foreign(_)) => Failure::input(format_args!("{name} is {}", error.problem)),
            (Some((_, name)), _) => Failure::input(format_args!("{name} is damaged {error}")),
        }
    }

    fn input_is_ready(&self) -> bool {
        pipe::wait(&[self.as_fd()], None, Some(0)).is_ok_and(|ready| ready.is_some())
    }

    fn end(&mut self, ended: Ended) -> Ended {
        self.ended = Some(ended);
        ended
    }

    fn end_broken(&mut self, error: vox_frame::Error) -> Ended {
        // After Ctrl-C every stage of a pipeline ends at once: what broke off then is no news.
        if signals::stop_requested() && matches!(error.problem, Problem::Truncated(_)) {
            return self.end(Ended::Stopped);
        }
        self.broken = Some(self.failure(error));
        self.end(Ended::Broken)
    }

    fn fill(&mut self, deadline: Option<i64>) -> Result<Fill, Failure> {
        let mut rested = false;
        if let Some(rest) = self.rest.take() {
            pipe::doze(rest).map_err(|error| Failure::failed(format_args!("cannot wait: {error}")))?;
            rested = self.at_once;
        }
        loop {
            let grace = signals::stop_noticed().map(|noticed| noticed + GRACE_NS);
            let until = [deadline, grace].into_iter().flatten().min();
            let Self { file, splitter, .. } = self;
            let fd = file.as_ref().map_or(stdin(), |(fd, _)| fd.as_fd());
            // Behind a rest there is something as a rule, and nobody needs to ask first.
            let wake = if rested { Wake::Readable(0) } else { signals::wait(Some(fd), until)? };
            match wake {
                Wake::Readable(_) => {
                    let space = splitter.space();
                    let room = space.len();
                    let read = if rested { pipe::read_at_once(fd, space) } else { pipe::read(fd, space) };
                    let rested = std::mem::take(&mut rested);
                    match read {
                        Ok(0) => return Ok(Fill::End),
                        Ok(read) => {
                            self.splitter.commit(read);
                            self.drained = read < room;
                            return Ok(Fill::Bytes);
                        }
                        Err(error) if rested && error.kind() == ErrorKind::Unsupported => self.at_once = false,
                        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                        Err(error) => {
                            return Err(Failure::failed(format_args!("cannot read {}: {error}", self.name())));
                        }
                    }
                }
                Wake::Signal => {}
                Wake::Deadline if grace.is_some_and(|grace| monotonic_ns() >= grace) => return Ok(Fill::Grace),
                Wake::Deadline => return Ok(Fill::Deadline),
            }
        }
    }
}

enum Step {
    Cut(Cut),
    Deadline,
    End(Ended),
}

enum Fill {
    Bytes,
    End,
    Deadline,
    Grace,
}

/// Reads a record's fields, or marks the input as broken.
impl Input {
    /// Parses a record on the way through; a damaged one fails with its offset (3).
    ///
    /// # Errors
    /// Where a field holds what it must not.
    pub fn parse(raw: Raw<'_>) -> Result<Record<'_>, Failure> {
        Ok(raw.parse()?)
    }
}
