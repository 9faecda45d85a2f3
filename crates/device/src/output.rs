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

/// The largest request of a device that is believed, in ns.
const MAX_REQUEST_NS: i64 = 200_000_000;

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

/// Something that the device took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// The time of its first frame, in ns of CLOCK_MONOTONIC: when it is heard, where the device tells; else when it
    /// was asked for.
    pub at: i64,
    /// The number of that frame: frames that the device had taken before.
    pub frame: u64,
    /// How long before such a time a frame has to be there, in ns: less is too late.
    pub ahead: i64,
    /// How many frames were not there and were silence instead.
    pub missed: u32,
    /// The device had begun anew before it: it had run empty, or somebody had asked for that.
    pub anew: bool,
}

#[derive(Default)]
struct State {
    /// Frames of silence that the device got because nothing else was there.
    missed: AtomicU64,
    /// Times that the device itself ran empty, because its callback came too late.
    xruns: AtomicU64,
    /// Whether it has begun anew since the last callback.
    anew: AtomicBool,
    /// See [`Output::latency_ns`].
    latency: AtomicI64,
    /// When the last frame that the device took is heard, in ns of CLOCK_MONOTONIC.
    until: AtomicI64,
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

    /// How long what was pushed so far goes on to be heard, in ns.
    pub fn unplayed_ns(&self) -> i64 {
        let held = self.state.until.load(Ordering::Relaxed) - monotonic_ns();
        self.rate.ns(self.waiting() as u64) + held.max(0)
    }

    /// Lets the device look at what was pushed: at once, where it waits to be told.
    pub fn wake(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.wake();
        }
    }

    /// By when a device without a thread of its own is to be [woken](Self::wake) at the latest, in ns of CLOCK_MONOTONIC:
    /// it runs empty otherwise. None where it looks after itself.
    pub fn wants_turn_by(&self) -> Option<i64> {
        self.stream.as_ref().and_then(|stream| stream.wants_turn_by())
    }

    /// Asks the device to take so many frames at a time from now on. Says whether it can: it then begins anew.
    pub fn ask_for(&mut self, period: u32) -> bool {
        self.stream.as_mut().is_some_and(|stream| stream.ask_for(period))
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

    /// How long it takes from the time that a [`Pull`] tells until it is heard, in ns, as the device reports.
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
        let drain = Drain {
            ring,
            pulled,
            rate: wanted.rate,
            channels,
            frame: 0,
            request: 0,
            declick: Declick::new(wanted.rate, channels),
            state: Arc::clone(&state),
        };
        let noted = Arc::clone(&state);
        let stream = selected.output::<T>(drain, move |upset| noted.note(upset))?;
        let (name, rate) = (selected.name.clone(), wanted.rate);
        Ok(Self { stream: Some(stream), name, rate, channels, capacity, samples, pulls, pushed: 0, state })
    }
}

/// What a device knows of the first frame that it takes.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    /// When it is heard, in ns of CLOCK_MONOTONIC.
    pub(crate) at: i64,
    /// How long before it is heard a frame has to be there, in ns.
    pub(crate) ahead: i64,
}

/// The device's side of the ring.
pub(crate) struct Drain {
    ring: Consumer<f32>,
    pulled: Producer<Pull>,
    rate: Rate,
    channels: usize,
    frame: u64,
    /// The largest request so far, in ns.
    request: i64,
    declick: Declick,
    state: Arc<State>,
}

impl Drain {
    /// Frames that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.ring.slots() / self.channels
    }

    /// A callback asks for samples: they are heard `delay` ns from now.
    pub(crate) fn answer<T: Number>(&mut self, samples: &mut [T], delay: i64) {
        let at = monotonic_ns();
        self.note_latency(delay);
        let span = self.rate.ns((samples.len() / self.channels) as u64);
        self.request = self.request.max(span.min(MAX_REQUEST_NS));
        self.state.until.store(at + delay + span, Ordering::Relaxed);
        let frame = self.frame;
        let missed = self.fill(samples);
        self.tell(Pull { at, frame, ahead: self.request, missed, anew: false });
    }

    /// The device takes samples, as it has found that it is time; it may not know yet when they are heard.
    #[cfg(target_os = "linux")]
    pub(crate) fn give<T: Number>(&mut self, samples: &mut [T], heard: Option<Heard>) {
        let span = self.rate.ns((samples.len() / self.channels) as u64);
        let frame = self.frame;
        let missed = self.fill(samples);
        if let Some(Heard { at, ahead }) = heard {
            self.state.until.store(at + span, Ordering::Relaxed);
            self.tell(Pull { at, frame, ahead, missed, anew: false });
        }
    }

    /// Fills `samples` with what there is, and the rest with silence: gives how many frames that is.
    fn fill<T: Number>(&mut self, samples: &mut [T]) -> u32 {
        self.state.health.alive(monotonic_ns());
        let there = self.ring.slots().min(samples.len()) / self.channels * self.channels;
        let (played, silent) = samples.split_at_mut(there);
        if let Ok(chunk) = self.ring.read_chunk(there) {
            let (first, second) = chunk.as_slices();
            // The ring holds whole frames, and so does each of its ends.
            let (to_first, to_second) = played.split_at_mut(first.len());
            self.declick.play(to_first, first);
            self.declick.play(to_second, second);
            chunk.commit_all();
        }
        self.declick.fall_silent(silent);
        let missed = silent.len() / self.channels;
        self.state.missed.fetch_add(missed as u64, Ordering::Release);
        self.frame += (samples.len() / self.channels) as u64;
        missed as u32
    }

    fn tell(&mut self, pull: Pull) {
        let anew = self.state.anew.swap(false, Ordering::Relaxed);
        // Where nobody looks for seconds, the oldest ones tell enough.
        let _full = self.pulled.push(Pull { anew, ..pull });
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
        match upset {
            Upset::Xrun => {
                self.xruns.fetch_add(1, Ordering::Relaxed);
                self.anew.store(true, Ordering::Relaxed);
            }
            Upset::Anew => self.anew.store(true, Ordering::Relaxed),
            other => self.health.note(other),
        }
    }
}
