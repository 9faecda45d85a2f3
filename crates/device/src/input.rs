//! A microphone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cpal::traits::StreamTrait;
use cpal::{ErrorKind, FromSample, InputCallbackInfo, SizedSample, Stream};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use vox_frame::Rate;
use vox_sys::monotonic_ns;

use crate::health::Health;
use crate::open::{Opener, open};
use crate::rest::Rest;
use crate::select::{Direction, Selected};
use crate::{Error, Wanted};

/// What the ring holds while nobody reads, in ms: enough to see how much was lost, no more than a second of memory.
const RING_MS: usize = 1_000;

/// Callbacks that may wait; devices call up to 2000 times a second.
const BLOCKS: usize = 4_096;

/// A running microphone.
pub struct Input {
    stream: Option<Stream>,
    name: String,
    channels: usize,
    samples: Consumer<f32>,
    blocks: Consumer<Block>,
    wake: Arc<OwnedFd>,
    trouble: Arc<Trouble>,
}

/// What one callback of the device gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// When the callback came, in ns of CLOCK_MONOTONIC.
    pub at: i64,
    /// How old its first sample was then, in ns, as the device reports.
    pub age: i64,
    /// Frames that it had.
    pub frames: usize,
    /// Whether its samples found no room in the ring.
    pub lost: bool,
    /// Whether the device lost samples before it.
    pub broken: bool,
}

#[derive(Default)]
struct Trouble {
    overrun: AtomicBool,
    health: Health,
}

impl Input {
    /// Opens and starts a microphone.
    ///
    /// # Errors
    /// When there is no such device, or it does not do what is wanted.
    pub fn open(wanted: &Wanted) -> Result<Self, Error> {
        open(wanted, Direction::Input)
    }

    /// The next callback's samples: replaces `samples` by them; none when there is none yet. The samples of a block
    /// that was lost are not there.
    ///
    /// # Errors
    /// When the device is gone and everything that it gave was read.
    pub fn read(&mut self, samples: &mut Vec<f32>) -> Result<Option<Block>, Error> {
        samples.clear();
        let Ok(block) = self.blocks.pop() else {
            let gone = self.trouble.health.gone();
            return gone.map_or(Ok(None), |why| Err(Error::new(format!("{} is gone: {why}", self.name))));
        };
        if !block.lost {
            let wanted = (block.frames * self.channels).min(self.samples.slots());
            if let Ok(chunk) = self.samples.read_chunk(wanted) {
                let (first, second) = chunk.as_slices();
                samples.extend_from_slice(first);
                samples.extend_from_slice(second);
                chunk.commit_all();
            }
        }
        Ok(Some(block))
    }

    /// Becomes readable when there may be something to read; [`drain_wake`](Self::drain_wake) before reading.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes [`wake`](Self::wake) unreadable until the next callback.
    pub fn drain_wake(&self) {
        // Nothing to drain is as good as drained.
        let _empty = rustix::io::read(&*self.wake, &mut [0; 8]);
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // To end the stream of a device that is gone may take for ever.
        if self.trouble.health.gone().is_some() {
            std::mem::forget(self.stream.take());
        }
    }
}

impl Opener for Input {
    fn build<T>(wanted: &Wanted, selected: &Selected) -> Result<Self, cpal::Error>
    where
        T: SizedSample + FromSample<f32>,
        f32: FromSample<T>,
    {
        let channels = wanted.channels.count();
        let (sample_in, samples) = RingBuffer::new(wanted.rate.hz() as usize * channels * RING_MS / 1_000);
        let (block_in, blocks) = RingBuffer::new(BLOCKS);
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let wake = Arc::new(wake.map_err(|error| cpal::Error::with_message(ErrorKind::Other, error.to_string()))?);
        let trouble = Arc::new(Trouble::default());
        let mut feed = Feed {
            channels,
            samples: sample_in,
            blocks: block_in,
            wake: Arc::clone(&wake),
            trouble: Arc::clone(&trouble),
            last: 0,
            rate: wanted.rate,
            rest: Rest::default(),
        };
        let (noted, woken) = (Arc::clone(&trouble), Arc::clone(&wake));
        let stream = selected.input(
            move |samples: &[T], info: &InputCallbackInfo| feed.take(samples, info),
            move |error| noted.note(&error, &woken),
        )?;
        stream.play()?;
        let name = selected.name.clone();
        Ok(Self { stream: Some(stream), name, channels, samples, blocks, wake, trouble })
    }
}

/// The callback's side.
struct Feed {
    channels: usize,
    samples: Producer<f32>,
    blocks: Producer<Block>,
    wake: Arc<OwnedFd>,
    trouble: Arc<Trouble>,
    /// Frames of blocks that found no place in the list of blocks.
    last: usize,
    rate: Rate,
    rest: Rest,
}

impl Feed {
    fn take<T>(&mut self, samples: &[T], info: &InputCallbackInfo)
    where
        T: SizedSample,
        f32: FromSample<T>,
    {
        let now = monotonic_ns();
        self.trouble.health.alive(now);
        let stamps = info.timestamp();
        let age = stamps.callback.saturating_duration_since(stamps.capture);
        let age = i64::try_from(age.as_nanos()).unwrap_or(0);
        let frames = samples.len() / self.channels;
        let broken = self.trouble.overrun.swap(false, Ordering::Relaxed) || self.last > 0;
        let room = self.samples.slots() >= samples.len() && self.blocks.slots() > 0;
        if room && let Ok(chunk) = self.samples.write_chunk_uninit(samples.len()) {
            chunk.fill_from_iter(samples.iter().map(|&sample| sample.to_sample::<f32>()));
        }
        let block = Block { at: now, age, frames, lost: !room, broken };
        self.last = if self.blocks.push(block).is_ok() { 0 } else { self.last + frames };
        // A full counter is readable as well.
        let _full = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        let period = self.rate.ns(frames as u64);
        self.rest.take(now, period, age - period);
    }
}

impl Trouble {
    fn note(&self, error: &cpal::Error, wake: &OwnedFd) {
        match error.kind() {
            ErrorKind::Xrun => self.overrun.store(true, Ordering::Relaxed),
            _ => {
                self.health.note(error);
                let _full = rustix::io::write(wake, &1_u64.to_ne_bytes());
            }
        }
    }
}
