//! What a codec cannot do.

/// Why a stream cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A codec that is not known here.
    #[error("codec {0} is not known here")]
    Unknown(String),
    /// More channels than the codec takes.
    #[error("{codec} takes at most {most} channels, the stream has {found}")]
    Channels {
        /// The codec.
        codec: &'static str,
        /// What it takes.
        most: usize,
        /// What the stream has.
        found: usize,
    },
    /// The library refused a setting.
    #[error("libopus: {0}")]
    Opus(String),
}
