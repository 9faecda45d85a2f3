//! The jitter buffer: when each packet is played, and what stands in for those that will not come.
//!
//! [`Playout`] takes the packets of one stream as they arrive and releases them in order, each with the time at which
//! it is due and the slot that it fills, with gaps for what is missing. It touches no sample and knows no codec.
//!
//! **The contract of a run loop:** hand in what has arrived ([`Playout::handle_packet`], [`Playout::handle_gap`]), then
//! call [`Playout::poll`] until it says `Wait`, `Idle` or `Ended`; sleep until [`Playout::next_deadline`] or the next
//! arrival. Time is always an argument, so a simulated clock gives the same answers as a real one.
//!
//! ```text
//!   arrivals ──> PacketBuffer (by media time) ──> cursor ──> Audio | Gap
//!                    │                              │
//!                arrival floor ──> Timeline: media time -> due time (+ delay)
//! ```
//!
//! Two promises hold under any pattern of arrivals: the media durations of what is released add up to the media
//! timeline, and the slots add up to the playout timeline. Both are gapless.

mod adaptive;
mod arrival;
mod buffer;
mod config;
mod decision;
mod deep;
mod drift;
mod floor;
mod needs;
mod playout;
mod record;
mod redundancy;
mod seen;
mod silence;
mod stats;
mod timeline;

pub use config::{Adaptive, Config, Rule, Start};
pub use deep::deep_reach;
pub use playout::Playout;
pub use record::{Insert, Later, Meta, Missing, Output, Played};
pub use redundancy::{carries_copy, falls_silent, is_quiet};
pub use stats::Stats;
