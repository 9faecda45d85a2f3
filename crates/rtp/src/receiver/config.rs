//! What a receiver is told once, and what it counts.

use crate::extension::ExtensionMap;
use crate::payload::PayloadMap;

/// What a [`Receiver`] is told once.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// What payload types mean.
    pub map: PayloadMap,
    /// What the ids of header extensions mean.
    pub extensions: ExtensionMap,
    /// Sources heard at once, those on probation included.
    pub max_sources: usize,
    /// A source that was quiet for so long is at its end, in nanoseconds.
    pub source_timeout_ns: i64,
    /// Packets older than this when they are read become a gap, in nanoseconds; none to pass on everything.
    pub max_age_ns: Option<i64>,
    /// Whether a source may move to another address (a NAT that changed its mind) when its own has fallen silent.
    pub follow: bool,
    /// Whether the first address that sends a valid stream is the only one heard.
    pub latch: bool,
    /// Where the ids of streams are drawn from.
    pub seed: u64,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            map: PayloadMap::standard(),
            extensions: ExtensionMap::default(),
            max_sources: 64,
            source_timeout_ns: 30_000_000_000,
            max_age_ns: None,
            follow: false,
            latch: false,
            seed: 0,
        }
    }
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiverStats {
    /// RTP packets of valid sources.
    pub packets_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// Packets read too late and reported as gaps.
    pub packets_discarded: u64,
    /// Packets behind the highest sequence number.
    pub packets_misordered: u64,
    /// Packets of sources that never became valid, or stray ones.
    pub packets_stray: u64,
    /// Packets that were lost and then repaired.
    pub packets_recovered: u64,
    /// Datagrams that are no RTP, or whose payload is not of its codec.
    pub packets_malformed: u64,
    /// RTCP packets.
    pub packets_rtcp: u64,
    /// Facts from RTCP by somebody who does not speak for the source.
    pub rtcp_refused: u64,
    /// Packets with a payload type that the map does not have.
    pub packets_unknown: u64,
    /// Packets of new sources when there were too many already.
    pub packets_refused: u64,
    /// Packets with the SSRC of a source from an address that is not its own.
    pub packets_foreign: u64,
    /// Our own packets that came back.
    pub packets_reflected: u64,
    /// Goodbyes of sources that went on.
    pub byes_ignored: u64,
    /// Sources that moved to another address.
    pub moves: u64,
    /// Streams begun.
    pub streams: u64,
    /// Sources that began anew: their numbers or timestamps jumped.
    pub restarts: u64,
}
