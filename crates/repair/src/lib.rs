//! Loss repair for RTP audio, as pure state: redundant audio (RFC 2198), parity packets (RFC 5109).

mod parity;
mod protect;
mod red;
mod restore;

pub use parity::{MAX_SPAN, Parity, ReceivedParity};
pub use protect::{Guard, ParityShape, Protection};
pub use red::{MAX_BLOCKS, MAX_GENERATIONS, RedBlock, RedBlocks, RedEncoder, RedError, read_red};
pub use restore::{Origin, RestoreStats, Restorer};
