//! The pipe contract of Voxpipe: the records that every stage reads and writes.
//!
//! A stream is an [`Opening`] and then [`Record`]s: `Format` announces an audio stream, `Audio` carries it, `Gap` says
//! exactly how much of it is missing, `Event` tells small facts, `End` closes it. The bytes are specified in
//! `docs/frame-format.md`, well enough to write a stage in another language; this crate is that document in Rust.
//!
//! Everything here is pure: a [`Splitter`] is handed bytes and gives records, the `write` methods append bytes to a
//! vector. No socket, thread, file or clock is touched.

mod error;
mod format;
mod guess;
mod reader;
mod record;
mod sequence;
mod time;
mod wire;

pub use error::{Error, Problem};
pub use format::{Channels, Codec, Format, RtpOrigin};
pub use guess::describe_foreign;
pub use reader::{Cut, Item, Splitter};
pub use record::{
    Audio, End, EndReason, Event, Extension, Extensions, Gap, GapReason, Kind, LaterPacket, MAX_RTP_PAYLOAD, Raw,
    Record, StreamId, Times,
};
pub use sequence::{MediaTime, SequenceNumber, TimestampUnwrapper, Unwrapper};
pub use time::{Rate, Stamp};
pub use wire::{MAGIC, Opening};

/// The version of the contract that this crate writes. A reader refuses a higher major version.
pub const VERSION: (u16, u16) = (1, 0);

/// Length of the fixed part that every record begins with, in bytes.
pub const FIXED_LEN: usize = 16;

/// The longest head of a record (fields, times, extensions), in bytes.
pub const MAX_HEAD: usize = 1024;

/// The longest payload of a record, in bytes: what fits a UDP datagram fits a record.
pub const MAX_PAYLOAD: usize = 65_535;

/// The longest record, in bytes. No reader needs to hold more than this of a stream.
pub const MAX_RECORD: usize = FIXED_LEN + MAX_HEAD + MAX_PAYLOAD;

/// The longest JSON payload of a `Format`, `Event` or `End`, in bytes, so that the record fits one pipe write.
pub const MAX_JSON: usize = 3072;

/// What one write to a pipe may hold, in bytes: the kernel keeps writes up to this size whole (`PIPE_BUF` on Linux),
/// so that two writers of one pipe never split each other's records.
pub const MAX_WRITE: usize = 4096;

/// The longest head of an `Audio` record without extensions, fixed part included, in bytes.
pub const MAX_AUDIO_HEADER: usize = 64;
