//! What can be wrong with a stream, and where.

use crate::{MAX_HEAD, MAX_PAYLOAD, VERSION};

/// A stream that breaks the contract. The text names the byte offset, counted from the first byte of the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct Error {
    /// Offset in bytes of the record that is broken.
    pub offset: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The ways in which bytes can fail to be a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The stream does not begin with the magic; holds what it looks like instead.
    #[error("not a vox stream ({0})")]
    Foreign(String),
    /// The opening speaks a major version that this reader does not know.
    #[error("the stream has version {0}.{1} of the format, this program reads up to {max}", max = VERSION.0)]
    Version(u16, u16),
    /// A record's kind is no ASCII letter.
    #[error("no record begins here (kind byte {0:#04x})")]
    Kind(u8),
    /// The head is longer than [`MAX_HEAD`].
    #[error("a head of {0} bytes (the limit is {MAX_HEAD})")]
    HeadLength(usize),
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("a payload of {0} bytes (the limit is {MAX_PAYLOAD})")]
    PayloadLength(usize),
    /// The header's check does not match its bytes.
    #[error("a damaged record header (check {found:#010x}, computed {computed:#010x})")]
    Check {
        /// What the record says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The head is too short for the fields of its kind, or a field holds what it must not.
    #[error("a damaged {0} record: {1}")]
    Field(&'static str, String),
    /// The stream ends inside a record.
    #[error("the stream ends inside a record ({0} bytes are missing)")]
    Truncated(usize),
}
