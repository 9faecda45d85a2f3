//! What a bridge is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use vox_codec::{Application, OpusSettings};
use vox_frame::{Channels, Codec, Rate, Stamp};

/// Somebody who talks or listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonId(pub u64);

/// What somebody can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// PCMU, PCMA, L16 or Opus.
    pub codec: Codec,
    /// Frames a second that are encoded.
    pub rate: Rate,
    /// Channels.
    pub channels: Channels,
}

/// Who hears a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody but its owner.
    All,
    /// Everybody but its owner and these.
    AllBut(Arc<BTreeSet<PersonId>>),
    /// Nobody.
    Nobody,
}

/// A packet of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its number (RTP).
    pub sequence: u16,
    /// Its timestamp (RTP).
    pub timestamp: u32,
    /// Whether a talk spurt begins with it.
    pub marker: bool,
    /// Whether it holds audio of the stream's codec; what else may come uses a number.
    pub audible: bool,
    /// When it came.
    pub arrived: Stamp,
    /// What it holds.
    pub payload: &'a [u8],
}

/// What a bridge is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How far behind the fastest packet of a stream it is mixed, in ns: what comes later is missing.
    pub delay_ns: i64,
    /// After what silence nothing is sent until somebody says something, in ns.
    pub rest_ns: i64,
    /// How Opus is encoded.
    pub opus: OpusSettings,
    /// Streams at a time.
    pub max_streams: usize,
    /// Listeners at a time.
    pub max_listeners: usize,
    /// Different rates and channels at a time: every stream is resampled to each.
    pub max_rates: usize,
}

impl Default for Config {
    fn default() -> Self {
        let opus =
            OpusSettings { complexity: 4, dtx: false, application: Application::Voip, ..OpusSettings::default() };
        Self { delay_ns: 80_000_000, rest_ns: 500_000_000, opus, max_streams: 2048, max_listeners: 2048, max_rates: 8 }
    }
}

/// Why somebody is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bound was reached.
    #[error("{0} {1} are the most")]
    TooMany(usize, &'static str),
    /// The codec is not known, or does not take that rate or those channels.
    #[error(transparent)]
    Codec(#[from] vox_codec::Error),
}
