//! A conference bridge: for each who listens one mix of everybody but himself.
//!
//! A [`Bridge`] is handed the packets of all who talk in one place, and gives every 20 ms one packet to each who listens,
//! in the codec and at the rate that he asked for. Time is an argument, as everywhere:
//!
//! ```text
//!   packets ──> Playout ──> decoder ──> timeline ─┐
//!   packets ──> Playout ──> decoder ──> timeline ─┴─> sum ── minus what each said ──> limiter ──> encoder ──> packets
//! ```
//!
//! - Streams are mixed by time: media time, put on the bridge's clock by a jitter buffer with a fixed delay. None is
//!   stretched or shortened; what is missing is concealed, what was not sent is silence.
//! - The sum is made once, of 64-bit floats, and what must not be heard is taken away from it: that is exact for 16-bit
//!   samples, and costs as much as there are people, not as much as there are pairs of them.
//! - Whoever says nothing hears what all others hear who say nothing: that is encoded once for all of them. When he
//!   begins to talk his encoder begins as a copy of the common one, so that nothing is heard of it.

mod bridge;
mod config;
mod group;
mod speaker;

pub use bridge::{Bridge, Mixed};
pub use config::{Audience, Config, Error, Packet, PersonId, Shape};
pub use vox_codec::Effort;
