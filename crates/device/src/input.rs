//! A microphone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use vox_sys::monotonic_ns;

use crate::health::{Health, Upset};
use crate::open::{Number, Opener, Refusal, Running, open};
use crate::select::{Direction, Selected};
use crate::{Error, Wanted};

/// What the ring holds while nobody reads, in ms: enough to see how much was lost, no more than a second of memory.
const RING_MS: usize = 1_000;

/// Callbacks that may wait; devices call up to 2000 times a second.
const BLOCKS: usize = 4_096;

/// A running microphone.
pub struct Input {
    stream: Option<Running>,
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
    fn build<T: Number>(wanted: &Wanted, selected: &Selected) -> Result<Self, Refusal> {
        let channels = wanted.channels.count();
        let (sample_in, samples) = RingBuffer::new(wanted.rate.hz() as usize * channels * RING_MS / 1_000);
        let (block_in, blocks) = RingBuffer::new(BLOCKS);
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let wake = Arc::new(wake.map_err(|error| Refusal::new(error.to_string()))?);
        let trouble = Arc::new(Trouble::default());
        let mut feed = Feed {
            channels,
            samples: sample_in,
            blocks: block_in,
            wake: Arc::clone(&wake),
            trouble: Arc::clone(&trouble),
            last: 0,
        };
        let (noted, woken) = (Arc::clone(&trouble), Arc::clone(&wake));
        let stream = selected
            .input(move |samples: &[T], age| feed.take(samples, age), move |upset| noted.note(upset, &woken))?;
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
}

impl Feed {
    fn take<T: Number>(&mut self, samples: &[T], age: i64) {
        let now = monotonic_ns();
        self.trouble.health.alive(now);
        let frames = samples.len() / self.channels;
        let broken = self.trouble.overrun.swap(false, Ordering::Relaxed) || self.last > 0;
        let room = self.samples.slots() >= samples.len() && self.blocks.slots() > 0;
        if room && let Ok(chunk) = self.samples.write_chunk_uninit(samples.len()) {
            chunk.fill_from_iter(samples.iter().map(|&sample| sample.to_f32()));
        }
        let block = Block { at: now, age, frames, lost: !room, broken };
        self.last = if self.blocks.push(block).is_ok() { 0 } else { self.last + frames };
        // A full counter is readable as well.
        let _full = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Trouble {
    fn note(&self, upset: Upset, wake: &OwnedFd) {
        if upset == Upset::Xrun {
            self.overrun.store(true, Ordering::Relaxed);
        } else {
            self.health.note(upset);
            let _full = rustix::io::write(wake, &1_u64.to_ne_bytes());
        }
    }
}
