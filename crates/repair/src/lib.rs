//! Loss repair for RTP audio, as pure state: redundant audio (RFC 2198), parity packets (RFC 5109).

mod red;

pub use red::{MAX_BLOCKS, MAX_GENERATIONS, RedBlock, RedBlocks, RedEncoder, RedError, read_red};
