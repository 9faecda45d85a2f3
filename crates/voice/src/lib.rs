//! What is done to voices, over sonora, a well-kept port of WebRTC's audio processing: noise suppression, automatic gain,
//! echo cancellation, voice activity.
//!
//! Samples are `f32`, full scale ±1.0, channels interleaved; a *frame* is one sample of every channel.

mod aec;
mod echo;
mod follow;
mod processor;
mod reference;
mod talk;

pub use echo::EchoCanceller;
pub use processor::{Automatic, Effects, Processor, Strength, Unsupported};
pub use talk::{Criterion, Talk};
