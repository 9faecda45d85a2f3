//! Signal processing on PCM: resampling, remixing, placing streams on one timeline.
//!
//! Samples are `f32`, full scale ±1.0, channels interleaved; a *frame* is one sample of every channel.

mod device_clock;
mod drift;
mod fader;
mod filter;
mod fit;
mod level;
mod limiter;
mod remix;
mod resample;
mod reshape;
mod seams;
mod sinc;
mod splice;
mod timeline;
mod varispeed;

pub use device_clock::DeviceClock;
pub use fader::Fader;
pub use fit::{Fit, FitStats};
pub use level::{Levels, mean_power, mean_power_s16le};
pub use limiter::Limiter;
pub use remix::Remix;
pub use resample::Resampler;
pub use reshape::{Reshape, Reshaped};
pub use timeline::{Late, Timeline};
pub use varispeed::Varispeed;
