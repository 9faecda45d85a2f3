//! A FLAC file that grows, frame by frame.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flacenc::bitsink::MemSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config::Encoder;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Context, Fill, FrameBuf};
use vox_container::wav::{Sample, Spec, to_i16, to_i24};
use vox_frame::{Channels, Rate};

/// Bytes of the marker, the header of the one block of metadata, and the block (RFC 9639, section 8.2).
const HEADER: u64 = 4 + 4 + 34;

/// Whether the encoder takes such a stream: it does up to 96 kHz and 8 channels.
pub(crate) fn takes(rate: Rate, channels: Channels) -> bool {
    StreamInfo::new(rate.hz() as usize, channels.count(), 24).is_ok()
}

/// A FLAC file that grows.
pub(crate) struct FlacFile {
    file: Arc<File>,
    path: PathBuf,
    spec: Spec,
    bits: usize,
    config: Verified<Encoder>,
    info: StreamInfo,
    context: Context,
    /// Frames of audio in a frame of FLAC.
    block: usize,
    /// Frames of FLAC so far.
    count: usize,
    /// Interleaved samples of the frame that is not full.
    waiting: Vec<i32>,
    /// Length of the file up to the last whole frame.
    length: u64,
}

impl FlacFile {
    /// Begins the file.
    ///
    /// # Errors
    /// As the system says; where FLAC does not take such a rate or so many channels.
    pub(crate) fn create(file: File, path: PathBuf, spec: Spec) -> io::Result<Self> {
        let bits = if spec.sample == Sample::S16 { 16 } else { 24 };
        let (hz, channels) = (spec.rate.hz() as usize, spec.channels.count());
        let info = StreamInfo::new(hz, channels, bits).map_err(refused)?;
        let config = Encoder::default().into_verified().map_err(|(_, error)| refused(error))?;
        // A frame of FLAC is lost with a crash: about a tenth of a second.
        let block = if hz >= 32_000 { 4096 } else { 1024 };
        let (file, context) = (Arc::new(file), Context::new(bits, channels));
        let (count, waiting, length) = (0, Vec::new(), HEADER);
        let flac = Self { file, path, spec, bits, config, info, context, block, count, waiting, length };
        flac.write_header()?;
        Ok(flac)
    }

    pub(crate) fn append(&mut self, samples: &[f32]) -> io::Result<()> {
        match self.bits {
            16 => self.waiting.extend(samples.iter().map(|&sample| i32::from(to_i16(sample)))),
            _ => self.waiting.extend(samples.iter().map(|&sample| to_i24(sample))),
        }
        let block = self.block * self.spec.channels.count();
        while self.waiting.len() >= block {
            self.write_frame(block)?;
        }
        Ok(())
    }

    pub(crate) fn silence(&mut self, mut frames: u64) -> io::Result<()> {
        let silence = vec![0.0; self.block * self.spec.channels.count()];
        while frames > 0 {
            let some = frames.min(self.block as u64);
            self.append(&silence[..some as usize * self.spec.channels.count()])?;
            frames -= some;
        }
        Ok(())
    }

    /// Says in the header how much there is; what does not fill a frame waits.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.write_header()
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let rest = self.waiting.len();
        let outcome = if rest > 0 { self.write_frame(rest) } else { Ok(()) };
        self.write_header()?;
        outcome
    }

    pub(crate) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the first samples that wait as one frame; where it does not fit the disk, the file ends before it.
    fn write_frame(&mut self, samples: usize) -> io::Result<()> {
        let channels = self.spec.channels.count();
        let mut buffer = FrameBuf::with_size(channels, (samples / channels).max(64)).map_err(refused)?;
        buffer.fill_interleaved(&self.waiting[..samples]).map_err(refused)?;
        let frame = flacenc::encode_fixed_size_frame(&self.config, &buffer, self.count, &self.info).map_err(refused)?;
        let mut sink = MemSink::<u8>::new();
        frame.write(&mut sink).map_err(refused)?;
        let bytes = sink.into_inner();
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            self.waiting.clear();
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.context.fill_interleaved(&self.waiting[..samples]).map_err(refused)?;
        self.waiting.drain(..samples);
        self.length += bytes.len() as u64;
        self.count += 1;
        Ok(())
    }

    fn write_header(&self) -> io::Result<()> {
        let mut out = b"fLaC\x80\0\0\x22".to_vec();
        for _ in 0..2 {
            out.extend_from_slice(&(self.block as u16).to_be_bytes());
        }
        // The sizes of frames are not known.
        out.extend_from_slice(&[0; 6]);
        let total = self.context.total_samples() as u64;
        let fields = u64::from(self.spec.rate.hz()) << 44
            | (self.spec.channels.count() as u64 - 1) << 41
            | (self.bits as u64 - 1) << 36
            | total & 0xf_ffff_ffff;
        out.extend_from_slice(&fields.to_be_bytes());
        // No digest says less than one of nothing.
        let digest = if total > 0 { self.context.md5_digest() } else { [0; 16] };
        out.extend_from_slice(&digest);
        self.file.write_all_at(&out, 0)
    }
}

fn refused(error: impl core::fmt::Debug) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("FLAC does not take it: {error:?}"))
}
