//! Tells a microphone beside the loudspeaker what it plays, and when it is heard: `vox-capture --cancel-echo`.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use vox_cli::Failure;
use vox_codec::linear;
use vox_frame::{Audio, Channels, Codec, Format, MediaTime, Rate, Record, SequenceNumber, StreamId, Times};
use vox_sys::{Clock, pipe};

/// The size of the FIFO, in bytes: 170 ms at 48 kHz. What a reader leaves there longer is of no use to it.
const PIPE: usize = 16_384;

/// Frames of a record, at most: it fits a write that the kernel keeps whole.
const RECORD: usize = 960;

/// A FIFO that takes what is played. A reader that is slow or not there costs the loudspeaker nothing.
pub(crate) struct Reference {
    fifo: File,
    clock: Clock,
    id: StreamId,
    rate: Rate,
    channels: usize,
    sequence: u64,
    /// The frame before which readers are told again what this is: they may come at any time.
    tell_at: u64,
    mono: Vec<f32>,
    pcm: Vec<u8>,
    bytes: Vec<u8>,
}

impl Reference {
    /// For a loudspeaker that takes frames of that rate and with those channels; stamps are on `clock`.
    ///
    /// # Errors
    /// When there is no such FIFO (1).
    pub(crate) fn open(path: &Path, rate: Rate, channels: Channels, clock: Clock) -> Result<Self, Failure> {
        let shown = path.display();
        // Open for reading too, so that there is somebody there.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let fifo = fifo.map_err(|error| {
            Failure::failed(format_args!("cannot write {shown}: {error} (make it with `mkfifo {shown}`)"))
        })?;
        if !pipe::is_pipe(&fifo) {
            return Err(Failure::failed(format_args!("{shown} is no FIFO: make it with `mkfifo {shown}`")));
        }
        pipe::set_size(&fifo, PIPE);
        Ok(Self {
            fifo,
            clock,
            id: StreamId(RandomState::new().hash_one(0) as u32),
            rate,
            channels: channels.count(),
            sequence: 0,
            tell_at: 0,
            mono: Vec::new(),
            pcm: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Says that interleaved `samples`, from the loudspeaker's frame `frame` on, are heard from `at` on, in ns of
    /// CLOCK_MONOTONIC.
    pub(crate) fn push(&mut self, frame: u64, at: i64, samples: &[f32]) {
        self.mono.clear();
        let share = 1.0 / self.channels as f32;
        self.mono.extend(samples.chunks_exact(self.channels).map(|frame| frame.iter().sum::<f32>() * share));
        if frame >= self.tell_at && self.tell() {
            self.tell_at = frame + u64::from(self.rate.hz());
        }
        let mono = std::mem::take(&mut self.mono);
        for (n, piece) in (0_u64..).zip(mono.chunks(RECORD)) {
            let before = n * RECORD as u64;
            self.record(frame + before, at + self.rate.ns(before), piece);
        }
        self.mono = mono;
    }

    fn tell(&mut self) -> bool {
        let mut format = Format::new(Codec::PcmS16, self.rate, Channels::MONO, 0);
        format.live = true;
        format.label = Some("loudspeaker".to_owned());
        self.bytes.clear();
        self.clock.opening().write(&mut self.bytes);
        Record::Format(self.id, format).write(&mut self.bytes);
        self.write()
    }

    fn record(&mut self, frame: u64, at: i64, samples: &[f32]) {
        self.pcm.clear();
        linear::f32_to_s16le(samples, &mut self.pcm);
        self.bytes.clear();
        let audio = Audio {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(frame),
            duration: samples.len() as u32,
            marker: false,
            recovered: false,
            padding: false,
            times: Times { due: Some(self.clock.from_mono(at)), ..Times::default() },
            slot: None,
            extensions: &[],
            payload: &self.pcm,
        };
        audio.write(&mut self.bytes);
        self.sequence += 1;
        self.write();
    }

    /// Writes what was built, whole or not at all.
    fn write(&self) -> bool {
        pipe::write(&self.fifo, &self.bytes).is_ok()
    }
}
