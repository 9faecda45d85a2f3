//! What is done to voices, over well-kept libraries: noise suppression, automatic gain and echo cancellation (sonora, a
//! port of WebRTC's audio processing), voice activity (earshot).
//!
//! Samples are `f32`, full scale ±1.0, channels interleaved; a *frame* is one sample of every channel.

mod processor;

pub use processor::{Automatic, Effects, Processor, Strength, Unsupported};
