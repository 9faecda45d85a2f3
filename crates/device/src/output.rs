//! A loudspeaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{ErrorKind, FromSample, OutputCallbackInfo, SampleFormat, SizedSample, Stream};
use rtrb::{Consumer, Producer, RingBuffer};
use vox_frame::Rate;

use crate::health::Health;
use crate::select::{Direction, FORMATS, Selected};
use crate::{Error, Wanted};

/// The most that the ring can hold, in ms; how much of it is used is its owner's choice.
const RING_MS: usize = 4_000;

/// A running loudspeaker.
pub struct Output {
    _stream: Stream,
    name: String,
    rate: Rate,
    channels: usize,
    capacity: usize,
    samples: Producer<f32>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Frames that the device has asked for.
    asked: AtomicU64,
    /// The largest number of frames that one callback asked for.
    largest: AtomicU64,
    /// Callbacks that found the ring empty.
    underruns: AtomicU64,
    /// Times that the device itself ran empty, because its callback came too late.
    xruns: AtomicU64,
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
        let selected = Selected::find(wanted, Direction::Output)?;
        let channels = wanted.channels.count();
        let capacity = wanted.rate.hz() as usize * channels * RING_MS / 1_000;
        let mut problem = None;
        for format in FORMATS {
            let (samples, ring) = RingBuffer::new(capacity);
            let state = Arc::new(State::default());
            let drain = Drain { ring, channels, state: Arc::clone(&state), begun: false };
            let stream = match format {
                SampleFormat::I16 => drain.build::<i16>(&selected),
                SampleFormat::I32 => drain.build::<i32>(&selected),
                _ => drain.build::<f32>(&selected),
            };
            match stream.and_then(|stream| stream.play().map(|()| stream)) {
                Ok(stream) => {
                    let (name, rate) = (selected.name, wanted.rate);
                    return Ok(Self { _stream: stream, name, rate, channels, capacity, samples, state });
                }
                Err(error) if error.kind() == ErrorKind::UnsupportedConfig => problem = Some(error),
                Err(error) => {
                    problem = Some(error);
                    break;
                }
            }
        }
        let problem = problem.map_or_else(String::new, |error| error.to_string());
        Err(Error::new(format!("{} cannot be opened: {problem}", selected.name)))
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
        room / self.channels
    }

    /// Frames that the device has asked for since it was started.
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::Relaxed)
    }

    /// The largest number of frames that the device has asked for at once.
    pub fn largest_request(&self) -> usize {
        self.state.largest.load(Ordering::Relaxed) as usize
    }

    /// How often the device found too little in the ring after it had begun to play.
    pub fn underruns(&self) -> u64 {
        self.state.underruns.load(Ordering::Relaxed)
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

/// The callback's side.
struct Drain {
    ring: Consumer<f32>,
    channels: usize,
    state: Arc<State>,
    begun: bool,
}

impl Drain {
    fn build<T>(mut self, selected: &Selected) -> Result<Stream, cpal::Error>
    where
        T: SizedSample + FromSample<f32>,
    {
        let state = Arc::clone(&self.state);
        selected.device.build_output_stream(
            selected.config,
            move |samples: &mut [T], info: &OutputCallbackInfo| self.give(samples, info),
            move |error| state.note(&error),
            None,
        )
    }

    fn give<T>(&mut self, samples: &mut [T], info: &OutputCallbackInfo)
    where
        T: SizedSample + FromSample<f32>,
    {
        self.state.health.alive();
        let stamps = info.timestamp();
        let latency = stamps.playback.saturating_duration_since(stamps.callback);
        self.state.latency.store(i64::try_from(latency.as_nanos()).unwrap_or(0), Ordering::Relaxed);
        let frames = (samples.len() / self.channels) as u64;
        self.state.asked.fetch_add(frames, Ordering::Relaxed);
        self.state.largest.fetch_max(frames, Ordering::Relaxed);
        let there = self.ring.slots().min(samples.len());
        let (played, silent) = samples.split_at_mut(there);
        if let Ok(chunk) = self.ring.read_chunk(there) {
            for (to, from) in played.iter_mut().zip(chunk) {
                *to = T::from_sample(from);
            }
        }
        silent.fill(T::EQUILIBRIUM);
        if !silent.is_empty() && self.begun {
            self.state.underruns.fetch_add(1, Ordering::Relaxed);
        }
        self.begun = there > 0 || self.begun && silent.is_empty();
    }
}

impl State {
    fn note(&self, error: &cpal::Error) {
        match error.kind() {
            ErrorKind::Xrun => {
                self.xruns.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.health.note(error),
        }
    }
}
