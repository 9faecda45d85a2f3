//! Sound devices behind a lock-free ring.
//!
//! The device's callback does nothing but move samples between the device and a ring; whoever owns the other end of
//! the ring runs on its own thread and may be late. Samples are `f32`, channels interleaved.

#[cfg(target_os = "linux")]
mod allowance;
#[cfg(target_os = "linux")]
mod alsa;
mod declick;
mod health;
mod input;
mod open;
mod output;
#[cfg(target_os = "linux")]
mod pulse;
mod quiet;
#[cfg(target_os = "linux")]
mod reserve;
mod select;

pub use input::{Block, Input};
pub use output::{Output, Pull};
pub use select::{Direction, Listed, Wanted, hosts, list};

/// Why a device cannot be used: one line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
