//! Loss repair for RTP audio, as pure state: redundant audio (RFC 2198), parity packets (RFC 5109).

mod parity;
mod red;

pub use parity::{MAX_SPAN, Parity, ReceivedParity};
pub use red::{MAX_BLOCKS, MAX_GENERATIONS, RedBlock, RedBlocks, RedEncoder, RedError, read_red};
