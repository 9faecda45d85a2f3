//! Recordings: the records of a pipe, or of a room, as files on one time line.
//!
//! [`Session`] is what `vox-record` is made of; a server that records its rooms feeds it the same records. Everything
//! that it writes is whole several times a second, so that a crash costs less than a second.

mod aim;
mod args;
mod clock;
mod file;
mod flac;
mod item;
mod mend;
mod mix;
mod name;
mod packets;
mod pcm;
mod session;
mod slew;
mod store;
mod tape;
mod track;

pub use args::Args;
pub use mend::mend;
pub use name::sane;
pub use session::Session;

/// How often [`Session::tick`] is to be called, in ns: with the time that records wait, less than a second is ever
/// missing.
pub const FLUSH_NS: i64 = 150_000_000;
