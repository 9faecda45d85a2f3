//! What is known of one source: its address, its numbers, its clock, and packets that may yet turn out to be its own.

use core::net::SocketAddr;
use std::collections::VecDeque;

use vox_frame::{Rate, Stamp};

use crate::ntp::{NtpTime, units_of};
use crate::packet::Packet;
use crate::reception::Reception;
use crate::rtcp::Block;
use crate::source::Source;
use crate::stream::{Delivery, Stream};

/// Packets kept for a source that is not yet known to be one.
const MAX_HELD: usize = 16;

/// Bytes kept for a source that is not yet known to be one.
const MAX_HELD_BYTES: usize = 65_536;

/// How much older than its arrival a time of capture may be that a sender tells, in ns: beyond it the clocks of the two
/// hosts have nothing to do with each other.
const MAX_JOURNEY_NS: i64 = 60_000_000_000;

/// How much younger than its arrival a time of capture may be, in ns: clocks that are kept by NTP differ by less.
const MAX_AHEAD_NS: i64 = 1_000_000_000;

/// A time of capture that a sender tells, where the clocks of the two hosts can be compared.
pub(crate) fn believed(captured: Stamp, arrived: Stamp) -> Option<Stamp> {
    (-MAX_AHEAD_NS..MAX_JOURNEY_NS).contains(&arrived.since(captured)).then_some(captured)
}

/// Where reports on a source are sent: back where its own reports came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Whether by the socket of RTP itself (RFC 5761), not the one beside it.
    pub mux: bool,
    /// To whom.
    pub to: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Heard {
    /// The address that passed probation: nobody else speaks for the source.
    pub(crate) from: SocketAddr,
    pub(crate) sequence: Source,
    held: VecDeque<Held>,
    held_bytes: usize,
    pub(crate) stream: Option<Stream>,
    pub(crate) last_heard: Stamp,
    pub(crate) reception: Option<Reception>,
    /// The share of losses in the last report on it, in 1/256.
    fraction_lost: u8,
    pub(crate) control: Option<Route>,
    /// The last sender report: its time, the same as an RTP timestamp, and when it arrived.
    report: Option<(NtpTime, u32, Stamp)>,
    pub(crate) cname: Option<String>,
    /// When it said goodbye.
    pub(crate) leaving: Option<Stamp>,
    /// Bytes that came from the source, and bytes that went back: never more than came.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) sequence: u16,
    pub(crate) delivery: Delivery,
    pub(crate) datagram: Vec<u8>,
}

impl Heard {
    pub(crate) const fn new(from: SocketAddr, sequence: u16, arrived: Stamp) -> Self {
        Self {
            from,
            sequence: Source::new(sequence),
            held: VecDeque::new(),
            held_bytes: 0,
            stream: None,
            last_heard: arrived,
            reception: None,
            fraction_lost: 0,
            control: None,
            report: None,
            cname: None,
            leaving: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Keeps a packet that may belong to the source; returns how many older ones gave way.
    pub(crate) fn hold(&mut self, packet: &Packet<'_>, delivery: Delivery, datagram: &[u8]) -> u64 {
        // One stray packet is kept of a source that is valid; the one before it was nothing.
        let mut dropped = if self.stream.is_some() { self.drop_held() } else { 0 };
        while self.held.len() >= MAX_HELD || self.held_bytes + datagram.len() > MAX_HELD_BYTES {
            let Some(oldest) = self.held.pop_front() else { break };
            self.held_bytes -= oldest.datagram.len();
            dropped += 1;
        }
        self.held_bytes += datagram.len();
        self.held.push_back(Held { sequence: packet.header.sequence, delivery, datagram: datagram.to_vec() });
        dropped
    }

    /// Drops what is held; returns how many packets that were.
    pub(crate) fn drop_held(&mut self) -> u64 {
        self.held_bytes = 0;
        let dropped = self.held.len() as u64;
        self.held.clear();
        dropped
    }

    /// Gives what is held.
    pub(crate) fn take_held(&mut self) -> VecDeque<Held> {
        self.held_bytes = 0;
        core::mem::take(&mut self.held)
    }

    /// Counts a packet of the source in its statistics.
    pub(crate) fn count(&mut self, packet: &Packet<'_>, clock: Rate, arrived: Stamp) {
        let header = &packet.header;
        let reception = self.reception.get_or_insert_with(|| Reception::new(header.sequence, clock));
        reception.handle(header.sequence, header.timestamp, arrived);
    }

    /// A sender report of this source.
    pub(crate) const fn handle_report(&mut self, ntp: NtpTime, rtp: u32, arrived: Stamp) {
        self.report = Some((ntp, rtp, arrived));
    }

    /// When a sample with that timestamp was captured, as the last sender report tells; none where the clocks of the
    /// two hosts cannot be compared.
    pub(crate) fn captured(&self, timestamp: u32, clock: Rate, arrived: Stamp) -> Option<Stamp> {
        let (ntp, rtp, _) = self.report?;
        let ticks = i64::from(timestamp.wrapping_sub(rtp) as i32);
        let ns = i128::from(ticks) * 1_000_000_000 / i128::from(clock.hz());
        let captured = ntp.stamp(arrived).plus(i64::try_from(ns).ok()?);
        believed(captured, arrived)
    }

    /// The report on the source; none where nothing came since the last.
    pub(crate) fn block(&mut self, ssrc: u32, now: Stamp) -> Option<Block> {
        let (last_sr, delay) = self.last_report(now);
        let reception = self.reception.as_mut().filter(|reception| reception.has_news())?;
        let block = reception.report(ssrc, last_sr, delay);
        self.fraction_lost = block.fraction_lost;
        Some(block)
    }

    /// The report on the source, between two of those that count: its share of losses is that of the last.
    pub(crate) fn echo(&self, ssrc: u32, now: Stamp) -> Option<Block> {
        let (last_sr, delay) = self.last_report(now);
        let block = self.reception?.report(ssrc, last_sr, delay);
        Some(Block { fraction_lost: self.fraction_lost, ..block })
    }

    /// Which sender report came last, and how long ago in 1/65536 s; zeros where none did.
    fn last_report(&self, now: Stamp) -> (u32, u32) {
        self.report.map_or((0, 0), |(ntp, _, arrived)| (ntp.middle(), units_of(now.since(arrived))))
    }

    /// The source begins anew: numbers, clock and statistics are another's.
    pub(crate) const fn restart(&mut self) {
        self.reception = None;
        self.report = None;
    }
}
