//! The media-stream protocol of voice bots, as telephone networks speak it over WebSocket: JSON messages that carry mono
//! mu-law at 8 kHz in pieces of 20 ms.
//!
//! There are two sides. The *caller* has the telephone: it connects, says `connected` and `start`, sends what is said
//! into the telephone with its time, and plays what it is sent, one piece after the other, as fast as they may come. The
//! *bot* answers: it hears, and sends audio, `mark` (tell me when this was heard) and `clear` (forget what was not).
//!
//! A [`Session`] is one side of one call. It is pure: texts and records with their times go in, records and texts come
//! out. Whoever owns it hands it what comes ([`Session::handle_text`], [`Session::handle_audio`], …), sends what
//! [`Session::poll_message`] gives, and comes back at [`Session::next_deadline`]. What a stranger says is bounded in what
//! it can cost, counted where it is nonsense, and ends nothing but its own call.

mod message;
mod mouth;
mod player;
mod session;
mod timed;

pub use message::{Malformed, Media, Message, Start, Track};
pub use session::{Counters, Outgoing, Session, Side};

use vox_frame::{Channels, Codec, Format, Rate};

/// The rate of all audio of this protocol.
pub const RATE: Rate = Rate::HZ_8000;

/// Ticks, samples and bytes of a piece of audio: 20 ms.
pub const PIECE: usize = 160;

/// Ticks of a millisecond, in which the protocol counts time.
const TICKS_PER_MS: u64 = 8;

/// The format of the streams of this protocol.
pub fn format() -> Format {
    Format::new(Codec::Pcmu, RATE, Channels::MONO, PIECE as u32)
}
