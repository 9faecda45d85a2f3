//! Records to stdout.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use rustix::stdio::stdout;
use vox_frame::{Audio, End, EndReason, Gap, Kind, MAX_WRITE, MediaTime, Opening, Raw, Record, StreamId, Times};
use vox_sys::{Prompt, pipe};

use crate::signals;
use crate::{Exit, Failure};

/// Bytes of a write where nobody waits for a single record: a file, or `--batch`.
const BATCH_WRITE: usize = 65_536;

/// How long after the first signal a reader that does not read is waited for, in ns.
const STUCK_NS: i64 = 1_500_000_000;

/// Something that [`Input::next`](crate::Input::next) flushes before it blocks.
pub trait Flush {
    /// Hands on what is buffered.
    ///
    /// # Errors
    /// As the writer says.
    fn flush(&mut self) -> Result<(), Failure>;

    /// Whether anything is buffered.
    fn is_pending(&self) -> bool;
}

/// For sinks: there is nothing to flush.
pub struct NoOutput;

impl Flush for NoOutput {
    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn is_pending(&self) -> bool {
        false
    }
}

/// The stream on stdout. Whole records are joined into writes that the kernel keeps whole.
pub struct Output {
    buffer: Vec<u8>,
    limit: usize,
    regular: bool,
    batch: bool,
    live: bool,
    /// Goes first while something live is written; none where nobody wants that.
    prompt: Option<Prompt>,
    ordinary: bool,
    /// Whether the system writes without waiting, for all that is known.
    at_once: bool,
    /// Streams without an End yet, and the media time that each has come to.
    open: BTreeMap<StreamId, MediaTime>,
}

impl Output {
    /// Stdout as a stream of records; writes the opening.
    ///
    /// # Errors
    /// When stdout is a terminal (2).
    pub fn stdout(opening: Opening, batch: bool) -> Result<Self, Failure> {
        if pipe::is_terminal(stdout()) {
            return Err(Failure::usage(
                "stdout is a terminal: this stage writes a vox stream; pipe it into another stage \
                 (`| vox-play`, `| vox-inspect`) or into a file (`> talk.vox`)",
            ));
        }
        let regular = pipe::is_regular_file(stdout());
        if batch {
            pipe::set_size(stdout(), pipe::BATCH_PIPE);
        }
        let limit = if regular || batch { BATCH_WRITE } else { MAX_WRITE };
        let mut output = Self {
            buffer: Vec::with_capacity(limit * 2),
            limit,
            regular,
            batch,
            live: false,
            prompt: None,
            ordinary: regular,
            at_once: !regular && !batch,
            open: BTreeMap::new(),
        };
        opening.write(&mut output.buffer);
        Ok(output)
    }

    /// Never asks to be run before other programs, as a stage otherwise does that writes something live.
    pub const fn stay_ordinary(&mut self) {
        self.ordinary = true;
    }

    /// Writes a record.
    ///
    /// # Errors
    /// When stdout cannot be written (1), or its reader went away (a quiet 0).
    pub fn write(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        self.track(record);
        self.append(|buffer| record.write(buffer))
    }

    /// Writes an `Audio`.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn audio(&mut self, audio: &Audio<'_>) -> Result<(), Failure> {
        self.reached(audio.id, audio.timestamp.plus(u64::from(audio.duration)));
        self.append(|buffer| audio.write(buffer))
    }

    /// Writes a `Gap`.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn gap(&mut self, gap: &Gap<'_>) -> Result<(), Failure> {
        self.reached(gap.id, gap.timestamp.plus(gap.duration));
        self.append(|buffer| gap.write(buffer))
    }

    /// Passes a record on untouched.
    ///
    /// # Errors
    /// As for [`write`](Self::write); where its fields are damaged (3).
    pub fn raw(&mut self, raw: Raw<'_>) -> Result<(), Failure> {
        match raw.kind() {
            Kind::Event | Kind::Unknown(_) => {}
            Kind::Format | Kind::Audio | Kind::Gap | Kind::End => self.track(&raw.parse()?),
        }
        self.append(|buffer| buffer.extend_from_slice(raw.bytes()))
    }

    /// Writes an End for every stream that has none yet, at the media time that it has come to, and flushes.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn end_open(&mut self, reason: &EndReason) -> Result<(), Failure> {
        for (id, timestamp) in std::mem::take(&mut self.open) {
            let end = End { id, timestamp, times: Times::default(), reason: reason.clone() };
            self.append(|buffer| end.write(buffer))?;
        }
        self.flush()
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn flush(&mut self) -> Result<(), Failure> {
        let length = self.buffer.len();
        self.write_out(length)?;
        if let Some(prompt) = &mut self.prompt {
            prompt.check();
        }
        Ok(())
    }

    /// Room to append whole records of one open stream to, for stages that build them in place at high rates; call
    /// [`written`](Self::written) afterwards.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Says that whole records up to `reached` were appended to the [`buffer`](Self::buffer) for stream `id`.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn written(&mut self, id: StreamId, reached: MediaTime) -> Result<(), Failure> {
        self.reached(id, reached);
        if self.buffer.len() >= self.limit { self.flush() } else { Ok(()) }
    }

    /// Bytes that the buffer still takes before it is written out.
    pub const fn room(&self) -> usize {
        self.limit.saturating_sub(self.buffer.len())
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Failure> {
        let before = self.buffer.len();
        write(&mut self.buffer);
        if self.buffer.len() > self.limit && before > 0 {
            self.write_out(before)?;
        }
        if self.buffer.len() >= self.limit { self.flush() } else { Ok(()) }
    }

    fn track(&mut self, record: &Record<'_>) {
        match record {
            Record::Format(id, format) => {
                self.open.insert(*id, MediaTime(0));
                self.set_live(format.live);
            }
            Record::Audio(audio) => self.reached(audio.id, audio.timestamp.plus(u64::from(audio.duration))),
            Record::Gap(gap) => self.reached(gap.id, gap.timestamp.plus(gap.duration)),
            Record::End(end) => {
                self.open.remove(&end.id);
            }
            Record::Event(_) | Record::Unknown(_) => {}
        }
    }

    fn reached(&mut self, id: StreamId, time: MediaTime) {
        if let Some(reached) = self.open.get_mut(&id) {
            *reached = (*reached).max(time);
        }
    }

    /// A live stream gets a small pipe, and its stage a turn before others: what lies in a pipe is delay.
    fn set_live(&mut self, live: bool) {
        if live && !self.live && !self.batch {
            self.live = true;
            pipe::set_size(stdout(), pipe::LIVE_PIPE);
            if !self.ordinary {
                self.prompt = Some(Prompt::begin());
            }
        }
    }

    fn write_out(&mut self, length: usize) -> Result<(), Failure> {
        // What is small has room as a rule, and nobody needs to ask first.
        let (mut done, mut asks) = (0, !self.at_once);
        while done < length {
            let bytes = &self.buffer[done..length];
            let written = if asks {
                if !self.regular {
                    wait_for_reader()?;
                }
                pipe::write(stdout(), bytes)
            } else {
                pipe::write_at_once(stdout(), bytes)
            };
            match written {
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => asks = true,
                Err(error) if !asks && error.kind() == ErrorKind::Unsupported => (self.at_once, asks) = (false, true),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Failure::quiet(Exit::Done)),
                Err(error) => return Err(Failure::failed(format_args!("cannot write stdout: {error}"))),
            }
        }
        self.buffer.drain(..length);
        Ok(())
    }
}

impl Flush for Output {
    fn flush(&mut self) -> Result<(), Failure> {
        Self::flush(self)
    }

    fn is_pending(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Prints text for people on stdout, for the few programs whose answer is not a stream.
///
/// # Errors
/// When stdout cannot be written (1), or its reader went away (a quiet 0).
pub fn print(text: &str) -> Result<(), Failure> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match pipe::write(stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Failure::quiet(Exit::Done)),
            Err(error) => return Err(Failure::failed(format_args!("cannot write stdout: {error}"))),
        }
    }
    Ok(())
}

/// Waits until stdout takes bytes; after a signal not longer than a reader may be stuck.
fn wait_for_reader() -> Result<(), Failure> {
    loop {
        let deadline = signals::stop_noticed().map(|noticed| noticed + STUCK_NS);
        if signals::wait_writable(stdout(), deadline)? {
            return Ok(());
        }
        if deadline.is_some() {
            return Err(Failure::quiet(Exit::Done));
        }
    }
}
