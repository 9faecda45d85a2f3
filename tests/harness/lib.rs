//! What the end-to-end tests share: shell pipelines of the real binaries, speech, ports, and ways to compare audio.
//!
//! The binaries are those beside the test executable (`target/debug` or `target/release`), so build the workspace
//! first; `scripts/test` does. The peers (ffmpeg, GStreamer, …) are what `scripts/setup` installs: a missing one is a
//! failure, not a skip.

mod audio;
mod card;
mod g711;
mod net;
mod records;
mod room;
mod shell;
mod speech;
mod ssh;

pub use audio::{Alignment, Wav, align, heard_in_full, likeness, locate, raw_samples};
pub use card::{Card, Tape};
pub use g711::{alaw, ulaw};
pub use net::{await_udp, free_port, udp_is_bound};
pub use records::{Entry, read_entries, read_so_far, read_vox};
pub use room::{Person, room_server};
pub use shell::{Outcome, Running, Scratch, Shell, await_until, need, signal, unshare};
pub use speech::{Speech, speech};
pub use ssh::Sshd;
