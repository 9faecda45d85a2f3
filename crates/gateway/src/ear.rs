//! What a client hears: the streams of the others, played and mixed by the stages that do so everywhere.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use vox_frame::{Item, Rate, Record, Splitter};
use vox_sys::{Clock, pipe};

/// The most samples that a gap of the mix is filled with.
const MAX_GAP: u64 = 48_000;

/// `vox-jitter | vox-mix`: records in, samples out.
pub(crate) struct Ear {
    children: Vec<Child>,
    /// None once the stages are told to end.
    stdin: Option<PipeWriter>,
    stdout: PipeReader,
    splitter: Splitter,
    record: Vec<u8>,
}

impl Ear {
    /// Begins to listen, at that rate, one channel.
    pub(crate) fn open(rate: Rate, clock: &Clock) -> io::Result<Self> {
        let (jitter_in, stdin) = io::pipe()?;
        let (mix_in, jitter_out) = io::pipe()?;
        let (stdout, mix_out) = io::pipe()?;
        let jitter = stage("vox-jitter").stdin(jitter_in).stdout(jitter_out).stderr(Stdio::null()).spawn()?;
        let mut children = vec![jitter];
        let hz = rate.hz().to_string();
        let arguments = ["--rate", &hz, "--channels", "mono", "--format", "s16", "--frame", "20"];
        let mix = stage("vox-mix").args(arguments).stdin(mix_in).stdout(mix_out).stderr(Stdio::null()).spawn();
        match mix {
            Ok(mix) => children.push(mix),
            Err(error) => {
                end(&mut children);
                return Err(error);
            }
        }
        let mut record = Vec::new();
        clock.opening().write(&mut record);
        let mut ear = Self { children, stdin: Some(stdin), stdout, splitter: Splitter::new(), record };
        ear.hand_over()?;
        Ok(ear)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }

    /// Takes a record of what the others say.
    pub(crate) fn handle(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.record.clear();
        record.write(&mut self.record);
        self.hand_over()
    }

    /// Appends the samples that are there, 16 bit little endian.
    pub(crate) fn read(&mut self, samples: &mut Vec<u8>) -> io::Result<()> {
        let read = pipe::read(&self.stdout, self.splitter.space())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.splitter.commit(read);
        while let Some(item) = self.splitter.poll().map_err(|error| io::Error::other(error.problem.to_string()))? {
            let Item::Record(raw) = item else { continue };
            match raw.parse() {
                Ok(Record::Audio(audio)) => samples.extend_from_slice(audio.payload),
                Ok(Record::Gap(gap)) => {
                    samples.resize(samples.len() + 2 * gap.duration.min(MAX_GAP) as usize, 0);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&self.record))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stdin = None;
        end(&mut self.children);
    }
}

/// Nobody hears them any more.
fn end(children: &mut [Child]) {
    for child in children {
        let _gone = child.kill();
        let _unknown = child.wait();
    }
}

/// A stage beside this program first, so that a build is whole, then in PATH.
fn stage(name: &str) -> Command {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    Command::new(beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name)))
}
