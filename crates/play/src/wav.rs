//! A WAV file that is valid at every moment from the first flush on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use vox_frame::{Channels, Rate};

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// 16-bit signed little endian.
    S16,
    /// 32-bit float little endian.
    F32,
}

impl Sample {
    /// Bytes of one sample.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::S16 => 2,
            Self::F32 => 4,
        }
    }

    /// Appends samples; what is beyond full scale is clipped in 16 bits.
    pub(crate) fn write(self, samples: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::S16 => out.extend(samples.iter().flat_map(|&sample| quantise(sample).to_le_bytes())),
            Self::F32 => out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
        }
    }

    /// Adds samples onto what is written.
    fn mix(self, written: &mut [u8], samples: &[f32]) {
        match self {
            Self::S16 => {
                for (bytes, sample) in written.as_chunks_mut().0.iter_mut().zip(samples) {
                    *bytes = i16::from_le_bytes(*bytes).saturating_add(quantise(*sample)).to_le_bytes();
                }
            }
            Self::F32 => {
                for (bytes, sample) in written.as_chunks_mut().0.iter_mut().zip(samples) {
                    *bytes = (f32::from_le_bytes(*bytes) + sample).to_le_bytes();
                }
            }
        }
    }
}

fn quantise(sample: f32) -> i16 {
    (sample * 32_768.0).round_ties_even() as i16
}

/// The channel mask of a WAVE_FORMAT_EXTENSIBLE header: the first speakers, in the order of the format.
const fn speakers(channels: usize) -> u32 {
    match channels {
        4 => 0x33,
        5 => 0x37,
        _ => (1 << channels) - 1,
    }
}

/// The header of a file with `data` bytes of samples; `u32::MAX` where nobody knows yet.
pub(crate) fn header(sample: Sample, rate: Rate, channels: Channels, data: u32) -> Vec<u8> {
    let count = channels.count();
    let block = count * sample.bytes();
    let tag: u16 = if sample == Sample::S16 { 1 } else { 3 };
    let extensible = count > 2;
    let mut format = Vec::with_capacity(40);
    format.extend_from_slice(&(if extensible { 0xfffe } else { tag }).to_le_bytes());
    format.extend_from_slice(&(count as u16).to_le_bytes());
    format.extend_from_slice(&rate.hz().to_le_bytes());
    format.extend_from_slice(&(rate.hz() * block as u32).to_le_bytes());
    format.extend_from_slice(&(block as u16).to_le_bytes());
    format.extend_from_slice(&(sample.bytes() as u16 * 8).to_le_bytes());
    if extensible {
        format.extend_from_slice(&22_u16.to_le_bytes());
        format.extend_from_slice(&(sample.bytes() as u16 * 8).to_le_bytes());
        format.extend_from_slice(&speakers(count).to_le_bytes());
        format.extend_from_slice(&tag.to_le_bytes());
        format.extend_from_slice(b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
    }
    let mut header = b"RIFF".to_vec();
    let rest = 4 + 8 + format.len() as u32 + 8;
    header.extend_from_slice(&data.saturating_add(rest).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt ");
    header.extend_from_slice(&(format.len() as u32).to_le_bytes());
    header.extend_from_slice(&format);
    header.extend_from_slice(b"data");
    header.extend_from_slice(&data.to_le_bytes());
    header
}

/// Most bytes of samples in a WAV file, so that its sizes fit 32 bits.
const MAX_DATA: u64 = u32::MAX as u64 - 256;

/// Bytes that are collected before they are written.
const BUFFER: usize = 65_536;

/// A WAV file that grows.
pub(crate) struct WavFile {
    file: File,
    sample: Sample,
    rate: Rate,
    channels: Channels,
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
    pub(crate) fn create(file: File, sample: Sample, rate: Rate, channels: Channels) -> io::Result<Self> {
        let header = header(sample, rate, channels, 0);
        file.write_all_at(&header, 0)?;
        let header = header.len() as u64;
        Ok(Self { file, sample, rate, channels, header, written: 0, buffer: Vec::with_capacity(BUFFER * 2) })
    }

    /// Appends samples.
    ///
    /// # Errors
    /// As the system says; `FileTooLarge` where the sizes of the header cannot say how much there is.
    pub(crate) fn append(&mut self, samples: &[f32]) -> io::Result<()> {
        let more = (samples.len() * self.sample.bytes()) as u64;
        if self.written + self.buffer.len() as u64 + more > MAX_DATA {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a WAV file ends at 4 GiB"));
        }
        self.sample.write(samples, &mut self.buffer);
        if self.buffer.len() >= BUFFER { self.write_buffer() } else { Ok(()) }
    }

    /// Adds samples onto what stands at `frame`, which was written before.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn mix(&mut self, frame: u64, samples: &[f32]) -> io::Result<()> {
        self.write_buffer()?;
        let at = self.header + frame * (self.channels.count() * self.sample.bytes()) as u64;
        let mut bytes = vec![0; samples.len() * self.sample.bytes()];
        self.file.read_exact_at(&mut bytes, at)?;
        self.sample.mix(&mut bytes, samples);
        self.file.write_all_at(&bytes, at)
    }

    /// Writes what was collected, and the sizes in the header.
    ///
    /// # Errors
    /// As the system says. The header then says what is really there.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = self.write_buffer();
        let data = u32::try_from(self.written).unwrap_or(u32::MAX);
        self.file.write_all_at(&header(self.sample, self.rate, self.channels, data), 0)?;
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
        let frame = self.channels.count() * self.sample.bytes();
        self.written += (done / frame * frame) as u64;
        self.buffer.clear();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_mono_is_the_plain_one() {
        let header = header(Sample::S16, Rate::HZ_8000, Channels::MONO, 320);
        assert_eq!(header.len(), 44);
        assert_eq!(header[4..8], (36_u32 + 320).to_le_bytes());
        assert_eq!(header[20..24], [1, 0, 1, 0]);
        assert_eq!(header[28..32], 16_000_u32.to_le_bytes());
        assert_eq!(header[40..44], 320_u32.to_le_bytes());
    }

    #[test]
    fn more_than_two_channels_are_extensible() {
        let header = header(Sample::F32, Rate::HZ_48000, Channels::new(6).unwrap(), u32::MAX);
        assert_eq!(header.len(), 68);
        assert_eq!(header[20..22], [0xfe, 0xff]);
        assert_eq!(header[40..44], 0x3f_u32.to_le_bytes());
        assert_eq!(header[44..46], [3, 0]);
        assert_eq!(header[64..68], u32::MAX.to_le_bytes());
    }

    #[test]
    fn samples_are_added_onto_what_is_written_and_saturate() {
        let mut written = [1_000_i16, 30_000].map(i16::to_le_bytes).concat();
        Sample::S16.mix(&mut written, &[0.5, 0.5]);
        assert_eq!(written, [17_384_i16, 32_767].map(i16::to_le_bytes).concat());
    }
}
