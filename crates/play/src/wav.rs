//! A WAV file that is valid at every moment from the first flush on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use vox_wav::{Large, Sample, Spec, to_i16};

/// Bytes that are collected before they are written.
const BUFFER: usize = 65_536;

/// A WAV file that grows.
pub(crate) struct WavFile {
    file: File,
    spec: Spec,
    header: u64,
    /// Bytes of samples in the file.
    written: u64,
    buffer: Vec<u8>,
}

impl WavFile {
    /// Begins the file with a header that says that it is empty.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn create(file: File, spec: Spec) -> io::Result<Self> {
        let header = spec.header(0, Large::Rf64);
        file.write_all_at(&header, 0)?;
        let header = header.len() as u64;
        Ok(Self { file, spec, header, written: 0, buffer: Vec::with_capacity(BUFFER * 2) })
    }

    /// Appends samples.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn append(&mut self, samples: &[f32]) -> io::Result<()> {
        self.spec.sample.write(samples, &mut self.buffer);
        if self.buffer.len() >= BUFFER { self.write_buffer() } else { Ok(()) }
    }

    /// Adds samples onto what stands at `frame`, which was written before.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn mix(&mut self, frame: u64, samples: &[f32]) -> io::Result<()> {
        self.write_buffer()?;
        let at = self.header + frame * self.spec.frame_bytes() as u64;
        let mut bytes = vec![0; samples.len() * self.spec.sample.bytes()];
        self.file.read_exact_at(&mut bytes, at)?;
        mix(self.spec.sample, &mut bytes, samples);
        self.file.write_all_at(&bytes, at)
    }

    /// Writes what was collected, and the sizes in the header.
    ///
    /// # Errors
    /// As the system says. The header then says what is really there.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = self.write_buffer();
        self.file.write_all_at(&self.spec.header(self.written, Large::Rf64), 0)?;
        written
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
        let frame = self.spec.frame_bytes();
        self.written += (done / frame * frame) as u64;
        self.buffer.clear();
        outcome
    }
}

/// Adds samples onto what is written, 16-bit or float.
fn mix(sample: Sample, written: &mut [u8], samples: &[f32]) {
    if sample == Sample::S16 {
        for (bytes, sample) in written.as_chunks_mut().0.iter_mut().zip(samples) {
            *bytes = i16::from_le_bytes(*bytes).saturating_add(to_i16(*sample)).to_le_bytes();
        }
    } else {
        for (bytes, sample) in written.as_chunks_mut().0.iter_mut().zip(samples) {
            *bytes = (f32::from_le_bytes(*bytes) + sample).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_added_onto_what_is_written_and_saturate() {
        let mut written = [1_000_i16, 30_000].map(i16::to_le_bytes).concat();
        mix(Sample::S16, &mut written, &[0.5, 0.5]);
        assert_eq!(written, [17_384_i16, 32_767].map(i16::to_le_bytes).concat());
    }
}
