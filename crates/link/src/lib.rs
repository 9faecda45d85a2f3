//! A simulated network link, as a pure function of a seed and of when packets are sent.
//!
//! A [`Link`] is asked about each packet in the order of sending, and says at which time it arrives, or why it never
//! does. What a link can do is in its [`Config`]; [`profile`] has the networks that people know by name. The same
//! configuration, seed and packets give the same fates on every machine: distributions are computed without the
//! system's mathematics library.
//!
//! Delays and losses are drawn from random sequences of their own, so that a change of the one leaves the other as it
//! was.

mod config;
mod draw;
mod gate;
mod link;
mod loss;
pub mod profile;
mod queue;
mod trace;

pub use config::{Burst, Config, Congestion, Jitter, Outage, RateLimit, Reorder, Spikes, Stalls};
pub use link::{Fate, Link, Loss, Passage, Tally};
pub use trace::{Trace, TraceError};
