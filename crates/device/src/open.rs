//! Opens a device in the first way that it takes.

use cpal::{ErrorKind, FromSample, Sample, SampleFormat, SizedSample};

use crate::health::Upset;
use crate::select::{Direction, FORMATS, Selected};
use crate::{Error, Wanted};

/// How often the callback that is asked for is doubled where a device refuses it as too small.
const DOUBLINGS: u32 = 4;

#[cfg(target_os = "linux")]
use alsa::pcm::IoFormat as Known;

/// Elsewhere every kind is known.
#[cfg(not(target_os = "linux"))]
pub(crate) trait Known {}
#[cfg(not(target_os = "linux"))]
impl<T> Known for T {}

/// A kind of sample that devices take.
pub(crate) trait Number: SizedSample + FromSample<f32> + Known + Send + 'static {
    fn to_f32(self) -> f32;
}

impl Number for f32 {
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for i16 {
    fn to_f32(self) -> f32 {
        f32::from_sample(self)
    }
}

impl Number for i32 {
    fn to_f32(self) -> f32 {
        f32::from_sample(self)
    }
}

/// A stream of one direction that runs until it is dropped.
pub(crate) type Running = Box<dyn Stream>;

/// What can be said to a stream that runs.
pub(crate) trait Stream: Send {
    /// There is something new for it, or it is time for its turn.
    fn wake(&mut self) {}

    /// By when it wants to be woken at the latest, in ns of CLOCK_MONOTONIC; none where it looks after itself.
    fn wants_turn_by(&self) -> Option<i64> {
        None
    }

    /// It had better move so many frames at a time: says whether it begins anew for that.
    fn ask_for(&mut self, _period: u32) -> bool {
        false
    }
}

impl Stream for cpal::Stream {}

/// What opens one.
pub(crate) trait Opener: Sized {
    /// Opens and starts it with samples of type `T`.
    fn build<T: Number>(wanted: &Wanted, selected: &Selected) -> Result<Self, Refusal>;
}

/// Why a device does not open.
#[derive(Debug)]
pub(crate) struct Refusal {
    text: String,
    /// Whether it may take another kind of sample, or larger periods.
    choosy: bool,
}

impl Refusal {
    pub(crate) const fn new(text: String) -> Self {
        Self { text, choosy: false }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<cpal::Error> for Refusal {
    fn from(error: cpal::Error) -> Self {
        Self { choosy: error.kind() == ErrorKind::UnsupportedConfig, text: error.to_string() }
    }
}

#[cfg(target_os = "linux")]
impl From<alsa::Error> for Refusal {
    fn from(error: alsa::Error) -> Self {
        Self {
            choosy: rustix::io::Errno::from_raw_os_error(error.errno().abs()) == rustix::io::Errno::INVAL,
            text: error.to_string(),
        }
    }
}

impl From<cpal::Error> for Upset {
    fn from(error: cpal::Error) -> Self {
        match error.kind() {
            ErrorKind::Xrun => Self::Xrun,
            ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable | ErrorKind::StreamInvalidated => {
                Self::Gone(error.to_string())
            }
            _ => Self::Stumbles(error.to_string()),
        }
    }
}

/// Tries the formats of samples, and larger callbacks where those that are wanted are refused.
pub(crate) fn open<O: Opener>(wanted: &Wanted, direction: Direction) -> Result<O, Error> {
    let mut selected = Selected::find(wanted, direction)?;
    let mut problem = None;
    for doubling in 0..=DOUBLINGS {
        selected.ask_for(wanted.period.saturating_mul(1 << doubling));
        for format in FORMATS {
            let opened = match format {
                SampleFormat::I16 => O::build::<i16>(wanted, &selected),
                SampleFormat::I32 => O::build::<i32>(wanted, &selected),
                _ => O::build::<f32>(wanted, &selected),
            };
            match opened {
                Ok(opened) => return Ok(opened),
                Err(refusal) => {
                    let final_word = !refusal.choosy;
                    problem.get_or_insert(refusal.text);
                    if final_word {
                        return Err(refused(&selected, problem));
                    }
                }
            }
        }
    }
    Err(refused(&selected, problem))
}

fn refused(selected: &Selected, problem: Option<String>) -> Error {
    Error::new(format!("{} cannot be opened: {}", selected.name, problem.unwrap_or_default()))
}
