//! Sinks that take the whole timeline as it comes: a WAV file, stdout, nothing.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::stdio::stdout;
use vox_cli::{Exit, Failure, stop_requested};
use vox_dsp::{Late, Timeline};
use vox_sys::{monotonic_ns, pipe};
use vox_wav::{Sample, Spec};

use crate::args::{Args, Sink};
use crate::volume::Volume;
use crate::wav::WavFile;

/// How often the header of a file is brought up to date, in ns.
const FLUSH_NS: i64 = 1_000_000_000;

/// How long after the first signal a reader that does not read is waited for, in ns.
const STUCK_NS: i64 = 1_000_000_000;

/// Where the timeline goes.
pub(crate) struct Tape {
    kind: Kind,
    sample: Sample,
    volume: Volume,
    bytes: Vec<u8>,
    block: Vec<f32>,
}

enum Kind {
    Null,
    Stdout { header: bool },
    Created { path: PathBuf, file: Option<File> },
    File { path: PathBuf, wav: WavFile, flushed: i64 },
}

impl Tape {
    /// Opens the sink that the arguments name; a device is none of them.
    ///
    /// # Errors
    /// When it cannot be opened (1), or samples would go to a terminal (2).
    pub(crate) fn open(sink: &Sink, args: &Args) -> Result<Self, Failure> {
        let kind = match sink {
            Sink::Device(_) | Sink::Null => Kind::Null,
            Sink::Stdout if pipe::is_terminal(stdout()) => {
                return Err(Failure::usage("stdout is a terminal: `-` writes samples, as in `vox-play - | aplay`"));
            }
            Sink::Stdout => Kind::Stdout { header: args.raw.is_none() },
            Sink::File(path) => {
                let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
                Kind::Created { path: path.clone(), file: Some(file.map_err(|error| unwritable(path, &error))?) }
            }
        };
        let volume = Volume::new(args.voice.open()?);
        Ok(Self { kind, sample: args.sample(), volume, bytes: Vec::new(), block: Vec::new() })
    }

    /// Writes the timeline up to `frame`.
    ///
    /// # Errors
    /// When the sink cannot take it (1), or its reader went away (a quiet 0).
    pub(crate) fn advance(&mut self, timeline: &mut Timeline, frame: i64) -> Result<(), Failure> {
        /// Frames that are written at once, so that an hour of silence takes no memory.
        const BLOCK: i64 = 48_000;
        while timeline.head() < frame {
            self.block.clear();
            timeline.take(frame.min(timeline.head() + BLOCK), &mut self.block);
            self.volume.apply(&mut self.block, timeline.rate(), timeline.channels());
            self.write(timeline)?;
        }
        Ok(())
    }

    /// Mixes samples into what is written, where the sink can; gives the number of frames that it could not.
    ///
    /// # Errors
    /// When the sink cannot take them (1).
    pub(crate) fn mix(&mut self, late: Late<'_>) -> Result<u64, Failure> {
        match (&mut self.kind, u64::try_from(late.frame)) {
            (Kind::File { path, wav, .. }, Ok(frame)) => {
                let gain = self.volume.gain();
                let samples: Vec<f32> = late.samples.iter().map(|sample| sample * gain).collect();
                wav.mix(frame, &samples).map_err(|error| unwritable(path, &error))?;
                Ok(0)
            }
            _ => Ok(late.frames),
        }
    }

    /// Brings a file up to date where it is time for it. Gives the next time, in ns of CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// When the file cannot be written (1).
    pub(crate) fn tick(&mut self) -> Result<Option<i64>, Failure> {
        let Kind::File { path, wav, flushed } = &mut self.kind else { return Ok(None) };
        let now = monotonic_ns();
        if now >= *flushed + FLUSH_NS {
            wav.flush().map_err(|error| unwritable(path, &error))?;
            *flushed = now;
        }
        Ok(Some(*flushed + FLUSH_NS))
    }

    /// Writes what is left of the header and of the samples.
    ///
    /// # Errors
    /// When the sink cannot be written (1).
    pub(crate) fn finish(&mut self, timeline: &mut Timeline) -> Result<(), Failure> {
        self.block.clear();
        self.write(timeline)?;
        match &mut self.kind {
            Kind::File { path, wav, .. } => wav.flush().map_err(|error| unwritable(path, &error)),
            Kind::Null | Kind::Stdout { .. } | Kind::Created { .. } => Ok(()),
        }
    }

    fn write(&mut self, timeline: &Timeline) -> Result<(), Failure> {
        let spec = Spec { sample: self.sample, rate: timeline.rate(), channels: timeline.channels() };
        if let Kind::Created { path, file } = &mut self.kind
            && let Some(file) = file.take()
        {
            let wav = WavFile::create(file, spec).map_err(|error| unwritable(path, &error))?;
            self.kind = Kind::File { path: std::mem::take(path), wav, flushed: monotonic_ns() };
        }
        match &mut self.kind {
            Kind::Null | Kind::Created { .. } => Ok(()),
            Kind::Stdout { header } => {
                self.bytes.clear();
                if std::mem::take(header) {
                    self.bytes = spec.endless_header();
                }
                self.sample.write(&self.block, &mut self.bytes);
                write_stdout(&self.bytes)
            }
            Kind::File { path, wav, .. } => wav.append(&self.block).map_err(|error| {
                // What is there stays a valid file; a second failure says nothing new.
                let _same = wav.flush();
                unwritable(path, &error)
            }),
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format_args!("cannot write {}: {error}", path.display()))
}

fn write_stdout(mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        wait_for_reader()?;
        let piece = bytes.len().min(65_536);
        match pipe::write(stdout(), &bytes[..piece]) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Failure::quiet(Exit::Done)),
            Err(error) => return Err(Failure::failed(format_args!("cannot write stdout: {error}"))),
        }
    }
    Ok(())
}

/// Waits until stdout takes bytes; after a signal not longer than a reader may be stuck.
fn wait_for_reader() -> Result<(), Failure> {
    let mut stuck_since = None;
    loop {
        let now = monotonic_ns();
        let ready = pipe::wait(&[], Some(stdout()), Some(now + STUCK_NS / 4))
            .map_err(|error| Failure::failed(format_args!("cannot wait for stdout: {error}")))?;
        if ready.is_some() {
            return Ok(());
        }
        if stop_requested() && now - *stuck_since.get_or_insert(now) > STUCK_NS {
            return Err(Failure::quiet(Exit::Done));
        }
    }
}
