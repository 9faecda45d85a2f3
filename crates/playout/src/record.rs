//! What goes in and what comes out.

use vox_frame::{GapReason, MediaTime, SequenceNumber, Stamp};

/// What the buffer needs to know of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Extended sequence number.
    pub sequence: SequenceNumber,
    /// Media time of the first sample.
    pub timestamp: MediaTime,
    /// Media duration, in ticks.
    pub duration: u32,
    /// First packet of a talk spurt.
    pub marker: bool,
    /// Repaired by redundancy: its arrival says nothing about the network.
    pub recovered: bool,
    /// Uses a sequence number but carries no audio.
    pub padding: bool,
    /// Carries a copy of the packet before it (in-band error correction): a loss of that one can be repaired.
    pub redundant: bool,
    /// How many ticks before its beginning it describes the past coarsely (deep redundancy): what is lost there can be
    /// repaired too.
    pub reach: u32,
    /// The last packet before a silence in which nothing is sent (DTX); padding may say so too (comfort noise).
    pub silent: bool,
    /// Nobody speaks in it: a change of its length is hardly heard. False where that is not known.
    pub quiet: bool,
    /// When it arrived.
    pub arrived: Stamp,
    /// Bytes that it counts against the limit.
    pub bytes: usize,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insert<P> {
    /// It will be released at its time.
    Accepted,
    /// It came after its time: a gap stands for it, or will.
    Late,
    /// It had come before, or its media time is taken.
    Duplicate,
    /// It carries no audio; its sequence number is not lost.
    Padding,
    /// There is no room for it.
    Overflow,
    /// The sender has started anew: media time went back. The packet, given back, is the first of a new stream.
    Restart(P),
}

/// A packet at its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played<P> {
    /// As it came in.
    pub meta: Meta,
    /// As it came in.
    pub payload: P,
    /// When it is to be played.
    pub due: Stamp,
    /// How long it must fill from there, in nanoseconds.
    pub slot: u64,
}

/// A packet from behind a gap.
#[derive(Debug, PartialEq, Eq)]
pub struct Later<'a, P> {
    /// Ticks from the beginning of the gap to the beginning of the packet.
    pub ahead: u64,
    /// Its payload.
    pub payload: &'a P,
}

/// A span of media time that nothing came for, or (of duration 0) inserted time.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing<'a, P> {
    /// Sequence number of the first packet missing.
    pub sequence: SequenceNumber,
    /// Where it begins.
    pub timestamp: MediaTime,
    /// Media duration, in ticks.
    pub duration: u64,
    /// How many packets are missing.
    pub packets: u32,
    /// Why.
    pub reason: GapReason,
    /// When it is to be played.
    pub due: Stamp,
    /// How long it must fill from there, in nanoseconds.
    pub slot: u64,
    /// A later packet that is already there: of the next ones the first that tells of the gap, else the next.
    pub later: Option<Later<'a, P>>,
}

/// What [`Playout::poll`](crate::Playout::poll) gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a, P> {
    /// Play this.
    Audio(Played<P>),
    /// Nothing came for this.
    Gap(Missing<'a, P>),
    /// Nothing until then.
    Wait(Stamp),
    /// Nothing until something arrives.
    Idle,
    /// The stream was ended and all of it is out.
    Ended,
}
