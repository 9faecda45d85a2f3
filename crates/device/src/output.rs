//! A loudspeaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use vox_frame::Rate;
use vox_sys::monotonic_ns;

use crate::declick::Declick;
use crate::health::{Health, Upset};
use crate::open::{Number, Opener, Refusal, Running, open};
use crate::select::{Direction, Selected};
use crate::{Error, Wanted};

/// The most that the ring can hold, in ms; how much of it is used is its owner's choice.
const RING_MS: usize = 4_000;

/// Callbacks that are remembered until somebody looks; devices call up to 2000 times a second.
const PULLS: usize = 4_096;

/// How much of a callback's latency moves the mean: one part in that many.
const SMOOTHING: i64 = 16;

/// A running loudspeaker.
pub struct Output {
    stream: Option<Running>,
    name: String,
    rate: Rate,
    channels: usize,
    capacity: usize,
    samples: Producer<f32>,
    pulls: Consumer<Pull>,
    pushed: u64,
    state: Arc<State>,
}

/// One callback of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// When it came, in ns of CLOCK_MONOTONIC.
    pub at: i64,
    /// Frames that the device had taken before it.
    pub frame: u64,
    /// Frames that it took.
    pub frames: u32,
    /// How many of them were not there and were silence instead.
    pub missed: u32,
    /// The device itself had run empty before it.
    pub stumbled: bool,
}

#[derive(Default)]
struct State {
    /// Frames of silence that the device got because nothing else was there.
    missed: AtomicU64,
    /// Times that the device itself ran empty, because its callback came too late.
    xruns: AtomicU64,
    /// Whether it has done so since the last callback.
    stumbled: AtomicBool,
    /// The device's own delay behind the ring, in ns.
    latency: AtomicI64,
    health: Health,
}

impl Output {
    /// Opens and starts a loudspeaker; it plays silence as long as nothing is pushed.
    ///
    /// # Errors
    /// When there is no such device, or it does not do what is wanted.
    pub fn open(wanted: &Wanted) -> Result<Self, Error> {
        open(wanted, Direction::Output)
    }

    /// The rate that it plays at.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Frames that wait in the ring.
    pub fn waiting(&self) -> usize {
        (self.capacity - self.samples.slots()) / self.channels
    }

    /// Appends whole frames; gives the number of frames that found room.
    pub fn push(&mut self, samples: &[f32]) -> usize {
        let room = self.samples.slots().min(samples.len()) / self.channels * self.channels;
        if let Ok(chunk) = self.samples.write_chunk_uninit(room) {
            chunk.fill_from_iter(samples[..room].iter().copied());
        }
        self.pushed += (room / self.channels) as u64;
        room / self.channels
    }

    /// The number that the next frame pushed will have among those that the device takes, silence included.
    pub fn next_frame(&self) -> u64 {
        self.pushed + self.state.missed.load(Ordering::Acquire)
    }

    /// The next callback that was not looked at yet.
    pub fn pull(&mut self) -> Option<Pull> {
        self.pulls.pop().ok()
    }

    /// How often the device itself ran empty because its callback came too late.
    pub fn xruns(&self) -> u64 {
        self.state.xruns.load(Ordering::Relaxed)
    }

    /// How long the device itself takes, behind the ring, in ns, as it reports.
    pub fn latency_ns(&self) -> i64 {
        self.state.latency.load(Ordering::Relaxed)
    }

    /// Fails when the device is gone.
    ///
    /// # Errors
    /// Says why.
    pub fn check(&self) -> Result<(), Error> {
        self.state.health.gone().map_or(Ok(()), |why| Err(Error::new(format!("{} is gone: {why}", self.name))))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // To end the stream of a device that is gone may take for ever.
        if self.state.health.gone().is_some() {
            std::mem::forget(self.stream.take());
        }
    }
}

impl Opener for Output {
    fn build<T: Number>(wanted: &Wanted, selected: &Selected) -> Result<Self, Refusal> {
        let channels = wanted.channels.count();
        let capacity = wanted.rate.hz() as usize * channels * RING_MS / 1_000;
        let (samples, ring) = RingBuffer::new(capacity);
        let (pulled, pulls) = RingBuffer::new(PULLS);
        let state = Arc::new(State::default());
        let mut drain = Drain {
            ring,
            pulled,
            channels,
            frame: 0,
            declick: Declick::new(wanted.rate, channels),
            state: Arc::clone(&state),
        };
        let noted = Arc::clone(&state);
        let stream = selected
            .output(move |samples: &mut [T], delay| drain.give(samples, delay), move |upset| noted.note(upset))?;
        let (name, rate) = (selected.name.clone(), wanted.rate);
        Ok(Self { stream: Some(stream), name, rate, channels, capacity, samples, pulls, pushed: 0, state })
    }
}

/// The callback's side.
struct Drain {
    ring: Consumer<f32>,
    pulled: Producer<Pull>,
    channels: usize,
    frame: u64,
    declick: Declick,
    state: Arc<State>,
}

impl Drain {
    fn give<T: Number>(&mut self, samples: &mut [T], delay: i64) {
        let at = monotonic_ns();
        self.state.health.alive(at);
        self.note_latency(delay);
        let there = self.ring.slots().min(samples.len()) / self.channels * self.channels;
        let (played, silent) = samples.split_at_mut(there);
        if let Ok(chunk) = self.ring.read_chunk(there) {
            self.declick.play(played, chunk.into_iter());
        }
        self.declick.fall_silent(silent);
        let missed = (silent.len() / self.channels) as u64;
        self.state.missed.fetch_add(missed, Ordering::Release);
        let frames = (samples.len() / self.channels) as u32;
        let stumbled = self.state.stumbled.swap(false, Ordering::Relaxed);
        let pull = Pull { at, frame: self.frame, frames, missed: missed as u32, stumbled };
        self.frame += u64::from(frames);
        // Where nobody looks for seconds, the oldest ones tell enough.
        let _full = self.pulled.push(pull);
    }

    fn note_latency(&self, now: i64) {
        // The first callbacks fill an empty device.
        let mean = self.state.latency.load(Ordering::Relaxed);
        let mean = if self.frame < u64::from(u16::MAX) / 8 { now } else { mean + (now - mean) / SMOOTHING };
        self.state.latency.store(mean, Ordering::Relaxed);
    }
}

impl State {
    fn note(&self, upset: Upset) {
        if upset == Upset::Xrun {
            self.xruns.fetch_add(1, Ordering::Relaxed);
            self.stumbled.store(true, Ordering::Relaxed);
        } else {
            self.health.note(upset);
        }
    }
}
