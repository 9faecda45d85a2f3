//! All that a receiver does about losses, in its order: what is missing is asked for, retransmissions become packets
//! again, redundant audio and parity are undone.

use std::collections::BTreeMap;

use vox_frame::{Codec, Stamp};
use vox_rtp::{Packet, PacketError, PayloadMap, Retransmission};

use crate::request::{Arrival, RequestConfig, Requester};
use crate::resend::read_resent;
use crate::restore::{Origin, RestoreStats, Restorer};

/// How long a source that says nothing is remembered when there are too many, in ns.
const FORGET_NS: i64 = 10_000_000_000;

/// What a [`Mender`] is told once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MendConfig {
    /// Sources that are known at a time.
    pub max_sources: usize,
    /// Payload types of redundant audio (RFC 2198).
    pub red: Vec<u8>,
    /// Payload types of parity packets (RFC 5109).
    pub parity: Vec<u8>,
    /// Payload types of retransmissions in streams of their own (RFC 4588), each with that of what it carries (`apt`);
    /// none where that is what the source sends anyway.
    pub retransmissions: BTreeMap<u8, Option<u8>>,
    /// When what is missing is asked for; none to ask for nothing.
    pub request: Option<RequestConfig>,
}

/// The payload types of redundant audio, of parity packets and of retransmissions where nothing else is said.
pub const RED_TYPE: u8 = 63;
/// See [`RED_TYPE`].
pub const PARITY_TYPE: u8 = 127;
/// See [`RED_TYPE`]; further payload types of retransmissions are below it.
pub const RETRANSMISSION_TYPE: u8 = 62;

impl MendConfig {
    /// For a session in which payload types mean that. Those of repair leave the map: what they carry comes out as what it
    /// was. `told` is what a session description says of retransmissions. Nothing is asked for.
    pub fn of_session(map: &mut PayloadMap, told: Option<&Retransmission>, max_sources: usize) -> Self {
        let mut take = |name: &str, usual: u8| -> Vec<u8> {
            let is_named = |codec: &Codec| matches!(codec, Codec::Other(other) if other == name);
            let named = map.iter().filter(|(_, format)| is_named(&format.codec)).map(|(number, _)| number);
            let mut numbers: Vec<u8> = named.collect();
            for number in &numbers {
                map.remove(*number);
            }
            if numbers.is_empty() && map.get(usual).is_none() {
                numbers.push(usual);
            }
            numbers
        };
        let (red, parity) = (take("red", RED_TYPE), take("ulpfec", PARITY_TYPE));
        let carried = |number: u8| told.and_then(|told| told.types.get(&number).copied().flatten());
        let retransmissions = take("rtx", RETRANSMISSION_TYPE).into_iter().map(|number| (number, carried(number)));
        Self { max_sources, red, parity, retransmissions: retransmissions.collect(), request: None }
    }
}

/// What a [`Mender`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MendStats {
    /// What redundancy and parity did.
    pub restored: RestoreStats,
    /// Requests for a packet.
    pub asked: u64,
    /// Packets that came of them.
    pub retransmitted: u64,
    /// Packets in streams of retransmissions that nobody had asked for.
    pub unasked: u64,
}

/// Mends the streams of a bounded number of sources, each by the path `P` on which its packets come (an address, a
/// connection) and its SSRC.
#[derive(Debug)]
pub struct Mender<P> {
    config: MendConfig,
    restorer: Restorer<P>,
    sources: BTreeMap<(P, u32), Asked>,
    stats: MendStats,
    scratch: Vec<u8>,
}

/// A source that packets are asked of.
#[derive(Debug)]
struct Asked {
    requester: Requester,
    heard: Stamp,
    /// Payload type of its last packet that is not parity.
    payload_type: u8,
    /// The SSRC of its stream of retransmissions, once it is known.
    again: Option<u32>,
}

impl<P: Copy + Ord> Mender<P> {
    /// A mender that has seen nothing.
    pub fn new(config: MendConfig) -> Self {
        let mut restorer = Restorer::new(config.max_sources);
        config.red.iter().for_each(|number| restorer.expect_red(*number));
        config.parity.iter().for_each(|number| restorer.expect_parity(*number));
        Self { config, restorer, sources: BTreeMap::new(), stats: MendStats::default(), scratch: Vec::new() }
    }

    /// Takes a packet of media; `out` is called with the packets that it makes. What is no RTP is passed on.
    pub fn handle_packet(&mut self, now: Stamp, path: P, bytes: &[u8], mut out: impl FnMut(&[u8], Origin)) {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(PacketError::Rtcp | PacketError::Malformed) => return out(bytes, Origin::Received),
        };
        if let Some(&carried) = self.config.retransmissions.get(&packet.header.payload_type) {
            let mut scratch = core::mem::take(&mut self.scratch);
            let found = self.take_retransmission(now, path, &packet, carried, &mut scratch);
            if let Some(ssrc) = found {
                // It was lost, whatever is in it.
                self.restore((path, ssrc), &scratch, true, &mut out);
            }
            self.scratch = scratch;
            return;
        }
        let arrival = self.take(now, path, &packet);
        if arrival != Arrival::TooLate {
            self.restore((path, packet.header.ssrc), bytes, arrival == Arrival::Asked, &mut out);
        }
    }

    /// Undoes redundancy and parity. What they repair needs no retransmission; what was asked for is recovered, as its
    /// time of arrival is no measure of anything.
    fn restore(&mut self, key: (P, u32), bytes: &[u8], asked: bool, out: &mut impl FnMut(&[u8], Origin)) {
        let is_parity = bytes.get(1).is_some_and(|second| self.config.parity.contains(&(second & 0x7f)));
        if asked && is_parity && !self.restorer.knows(key.0, key.1) {
            // The first of its kind: what it protects was not kept, lost or not.
            return;
        }
        let timestamp = timestamp_of(bytes);
        let repaired = asked && self.restorer.has_recovered(key.0, key.1, timestamp);
        let mut requester = self.sources.get_mut(&key).map(|source| &mut source.requester);
        self.restorer.handle_packet(key.0, bytes, |bytes, origin| {
            if let (Some(requester), Origin::Recovered, Some([high, low])) = (&mut requester, origin, bytes.get(2..4)) {
                requester.handle_repaired(u16::from_be_bytes([*high, *low]));
            }
            if !repaired || timestamp_of(bytes) != timestamp {
                out(bytes, if asked { Origin::Recovered } else { origin });
            }
        });
    }

    /// When [`poll_requests`](Self::poll_requests) has something to ask for.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.sources.values().filter_map(|source| source.requester.next_deadline()).min()
    }

    /// The packets to ask for now: of whom, which source, which numbers. The round trip is as far as it is known.
    pub fn poll_requests(&mut self, now: Stamp, round_trip_ns: Option<i64>) -> Vec<(P, u32, Vec<u16>)> {
        let mut requests = Vec::new();
        for (&(path, ssrc), source) in &mut self.sources {
            if let Some(round_trip) = round_trip_ns {
                source.requester.set_round_trip(round_trip);
            }
            let numbers = source.requester.poll(now);
            if !numbers.is_empty() {
                requests.push((path, ssrc, numbers));
            }
        }
        requests
    }

    /// What was done so far.
    pub fn stats(&self) -> MendStats {
        let mut stats = MendStats { restored: *self.restorer.stats(), ..self.stats };
        for source in self.sources.values() {
            let (asked, repaired) = source.requester.stats();
            stats.asked += asked;
            stats.retransmitted += repaired;
        }
        stats
    }

    /// Whether anything is asked for.
    pub const fn asks(&self) -> bool {
        self.config.request.is_some()
    }

    /// A packet of a source has come.
    fn take(&mut self, now: Stamp, path: P, packet: &Packet<'_>) -> Arrival {
        let Some(config) = self.config.request else { return Arrival::Unasked };
        let key = (path, packet.header.ssrc);
        if !self.sources.contains_key(&key) && self.sources.len() >= self.config.max_sources {
            // Those who have fallen silent make room; where there are none, strangers are asked for nothing.
            let stats = &mut self.stats;
            self.sources.retain(|_, source| {
                let stays = now.since(source.heard) < FORGET_NS;
                let (asked, repaired) = if stays { (0, 0) } else { source.requester.stats() };
                stats.asked += asked;
                stats.retransmitted += repaired;
                stays
            });
            if self.sources.len() >= self.config.max_sources {
                return Arrival::Unasked;
            }
        }
        let payload_type = packet.header.payload_type;
        let new = || Asked { requester: Requester::new(config), heard: now, payload_type, again: None };
        let source = self.sources.entry(key).or_insert_with(new);
        source.heard = now;
        if !self.config.parity.contains(&payload_type) {
            source.payload_type = payload_type;
        }
        source.requester.handle_packet(now, packet.header.sequence)
    }

    /// Makes the packet again that a retransmission carries, and says whose it is; none where nobody waits for it.
    fn take_retransmission(
        &mut self,
        now: Stamp,
        path: P,
        packet: &Packet<'_>,
        carried: Option<u8>,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        // Padding is no packet again: it probes the network.
        let (number, _) = packet.payload.split_first_chunk::<2>()?;
        let number = u16::from_be_bytes(*number);
        let Some(ssrc) = self.source_of(path, packet.header.ssrc, number) else {
            self.stats.unasked += 1;
            return None;
        };
        let source = self.sources.get_mut(&(path, ssrc))?;
        source.again = Some(packet.header.ssrc);
        let payload_type = carried.unwrap_or(source.payload_type);
        let awaited = source.requester.handle_packet(now, number) == Arrival::Asked;
        (awaited && read_resent(packet, (payload_type, ssrc), out)).then_some(ssrc)
    }

    /// Whose packet a retransmission in the stream `again` carries (RFC 4588, section 5.3): that of the source it is known
    /// to belong to, else of the only one on that path that waits for the number. None where nobody does.
    fn source_of(&self, path: P, again: u32, number: u16) -> Option<u32> {
        let on_path = self.sources.range((path, 0)..=(path, u32::MAX));
        let mut waiting = on_path.filter(|(_, source)| source.requester.has_asked_for(number));
        let known = waiting.clone().find(|(_, source)| source.again == Some(again));
        if let Some((&(_, ssrc), _)) = known {
            return Some(ssrc);
        }
        let only = waiting.next().filter(|(_, source)| source.again.is_none())?;
        waiting.next().is_none().then_some(only.0.1)
    }
}

fn timestamp_of(packet: &[u8]) -> u32 {
    packet.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}
