//! A file of PCM that grows, whole after every flush.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vox_container::wav::{Large, Spec};

use crate::flac::FlacFile;

/// Bytes that are collected before they are written, whoever flushes.
const BUFFER: usize = 65_536;

/// A file of PCM.
pub(crate) enum PcmFile {
    /// WAV or its 64-bit form.
    Wav(WavFile),
    /// FLAC.
    Flac(Box<FlacFile>),
}

impl PcmFile {
    /// Appends interleaved samples.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn append(&mut self, samples: &[f32]) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.append(samples),
            Self::Flac(file) => file.append(samples),
        }
    }

    /// Appends frames of silence, in a WAV file without writing them.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn silence(&mut self, frames: u64) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.silence(frames),
            Self::Flac(file) => file.silence(frames),
        }
    }

    /// Makes the file whole as it stands.
    ///
    /// # Errors
    /// As the system says; the file is then whole up to what could be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.flush(),
            Self::Flac(file) => file.flush(),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.finish(),
            Self::Flac(file) => file.finish(),
        }
    }

    /// The file, for whoever forces it to the disk.
    pub(crate) fn handle(&self) -> Arc<File> {
        match self {
            Self::Wav(file) => Arc::clone(&file.file),
            Self::Flac(file) => file.handle(),
        }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Wav(file) => &file.path,
            Self::Flac(file) => file.path(),
        }
    }
}

/// A WAV file that grows.
pub(crate) struct WavFile {
    file: Arc<File>,
    path: PathBuf,
    spec: Spec,
    large: Large,
    header: u64,
    /// Bytes of samples up to the buffer, silence that is a hole in the file too.
    written: u64,
    /// Bytes of samples that are really in the file.
    there: u64,
    buffer: Vec<u8>,
}

impl WavFile {
    /// Begins the file with a header that says that it is empty.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn create(file: File, path: PathBuf, spec: Spec, large: Large) -> io::Result<Self> {
        let header = spec.header(0, large);
        file.write_all_at(&header, 0)?;
        let header = header.len() as u64;
        Ok(Self { file: Arc::new(file), path, spec, large, header, written: 0, there: 0, buffer: Vec::new() })
    }

    fn append(&mut self, samples: &[f32]) -> io::Result<()> {
        self.spec.sample.write(samples, &mut self.buffer);
        if self.buffer.len() >= BUFFER { self.write_buffer() } else { Ok(()) }
    }

    fn silence(&mut self, frames: u64) -> io::Result<()> {
        let bytes = frames * self.spec.frame_bytes() as u64;
        if bytes < BUFFER as u64 {
            self.buffer.resize(self.buffer.len() + bytes as usize, 0);
            return Ok(());
        }
        self.write_buffer()?;
        self.written += bytes;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.write_buffer().and_then(|()| self.fill_hole());
        if outcome.is_err() {
            // What the header counts is then what is there.
            self.written = self.there;
        }
        self.file.write_all_at(&self.spec.header(self.written, self.large), 0)?;
        outcome
    }

    fn finish(&mut self) -> io::Result<()> {
        let outcome = self.flush();
        if self.written % 2 == 1 {
            self.file.set_len(self.header + self.written + 1)?;
        }
        outcome
    }

    /// Lets a hole at the end of the file count.
    fn fill_hole(&mut self) -> io::Result<()> {
        if self.there < self.written {
            self.file.set_len(self.header + self.written)?;
            self.there = self.written;
        }
        Ok(())
    }

    /// Writes what was collected; where only a part can be written, whole frames of it count.
    fn write_buffer(&mut self) -> io::Result<()> {
        let mut done = 0;
        let outcome = loop {
            if done == self.buffer.len() {
                break Ok(());
            }
            match self.file.write_at(&self.buffer[done..], self.header + self.written + done as u64) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if done > 0 {
            self.written += (done / self.spec.frame_bytes() * self.spec.frame_bytes()) as u64;
            self.there = self.written;
        }
        self.buffer.clear();
        outcome
    }
}
