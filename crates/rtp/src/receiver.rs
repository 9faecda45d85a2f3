//! Datagrams in, records out: every source that is heard becomes a stream.

mod admit;
mod config;
mod control;
mod deliver;
mod early;

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use vox_frame::{EndReason, Record, Stamp};

pub use self::config::{ReceiverConfig, ReceiverStats};
use self::early::Early;
use crate::extension::HeaderFacts;
use crate::heard::Heard;
use crate::packet::{Packet, PacketError};
use crate::payload::{Content, PayloadFormat};
use crate::stream::Delivery;

/// How long after a goodbye a stream ends, in nanoseconds, unless packets go on to come: then it was not the source's.
const LEAVE_NS: i64 = 500_000_000;

/// A source by the socket that hears it and its SSRC.
type Key = (u32, u32);

/// Turns datagrams into streams of records, in order of arrival. Sources are keyed by socket and SSRC and bound to the
/// address that passed probation; see [`Source`](crate::Source) for which packets belong to one.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    sources: BTreeMap<Key, Heard>,
    /// Sources on probation, by address too: nobody's packets spoil another's probation.
    candidates: BTreeMap<(Key, SocketAddr), Heard>,
    /// Reports of sources that are not known yet.
    early: Early,
    /// The only address heard, once there is one.
    latched: Option<SocketAddr>,
    /// Our own SSRCs.
    own: BTreeSet<u32>,
    stats: ReceiverStats,
    unknown: BTreeMap<u8, u64>,
    random: u64,
    /// No source times out or leaves before this.
    wake: Option<Stamp>,
}

impl Receiver {
    /// A receiver that has heard nothing.
    pub fn new(config: ReceiverConfig) -> Self {
        let random = config.seed;
        Self {
            config,
            sources: BTreeMap::new(),
            candidates: BTreeMap::new(),
            early: Early::default(),
            latched: None,
            own: BTreeSet::new(),
            stats: ReceiverStats::default(),
            unknown: BTreeMap::new(),
            random,
            wake: None,
        }
    }

    /// Counters since the start.
    pub const fn stats(&self) -> &ReceiverStats {
        &self.stats
    }

    /// Payload types met that the map does not have, with how many packets of each.
    pub const fn unknown_payload_types(&self) -> &BTreeMap<u8, u64> {
        &self.unknown
    }

    /// How many sources are known, those on probation included.
    pub fn sources(&self) -> usize {
        self.sources.len() + self.candidates.len()
    }

    /// Whether a source of that SSRC is heard on that socket, from whatever address.
    pub fn has_heard(&self, socket: u32, ssrc: u32) -> bool {
        self.sources.contains_key(&(socket, ssrc))
    }

    /// Says that an SSRC is our own: its packets are reflections.
    pub fn add_own(&mut self, ssrc: u32) {
        self.own.insert(ssrc);
    }

    /// An SSRC is no longer our own.
    pub fn remove_own(&mut self, ssrc: u32) {
        self.own.remove(&ssrc);
    }

    /// The only address heard, where the first one is and has come.
    pub const fn latched(&self) -> Option<SocketAddr> {
        self.latched
    }

    /// Takes a datagram that `socket` received from `from` at `arrived` and that is read at `now`; hands the records
    /// that follow from it to `out`.
    ///
    /// # Errors
    /// Only those of `out`. Bad datagrams are counted.
    pub fn handle_datagram<E>(
        &mut self,
        now: Stamp,
        socket: u32,
        from: SocketAddr,
        arrived: Stamp,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(PacketError::Rtcp) => {
                self.stats.packets_rtcp += 1;
                return Ok(());
            }
            Err(PacketError::Malformed) => {
                self.stats.packets_malformed += 1;
                return Ok(());
            }
        };
        if self.own.contains(&packet.header.ssrc) {
            self.stats.packets_reflected += 1;
            return Ok(());
        }
        if self.latched.is_some_and(|latched| latched != from) {
            self.stats.packets_foreign += 1;
            return Ok(());
        }
        let key = (socket, packet.header.ssrc);
        let delivery = Delivery { arrived, now, recovered: false };
        let bound = self.sources.get(&key).map(|heard| heard.from);
        // Padding begins no stream, and yet its number counts where one is beginning: parity packets come as padding.
        let begins = packet.payload.is_empty() && self.candidates.contains_key(&(key, from));
        if !self.is_wanted(&packet, bound == Some(from) || begins) {
            return Ok(());
        }
        match bound {
            Some(bound) if bound == from => self.admit(key, &packet, delivery, datagram, out),
            Some(_) if !self.config.follow => {
                self.stats.packets_foreign += 1;
                Ok(())
            }
            _ => self.probe(key, from, &packet, delivery, datagram, out),
        }
    }

    /// Takes a packet that was lost and is repaired `now`, of what came from `from`. The network did not deliver it, so
    /// no report counts it; a source that is not known yet has lost nothing.
    ///
    /// # Errors
    /// Only those of `out`. Bad packets are counted.
    pub fn handle_recovered<E>(
        &mut self,
        now: Stamp,
        socket: u32,
        from: SocketAddr,
        packet: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Ok(packet) = Packet::parse(packet) else {
            self.stats.packets_malformed += 1;
            return Ok(());
        };
        let heard = self.sources.get_mut(&(socket, packet.header.ssrc)).filter(|heard| heard.from == from);
        let Some(stream) = heard.and_then(|heard| heard.stream.as_mut()) else { return Ok(()) };
        let format = self.config.map.get(packet.header.payload_type);
        if format != Some(&stream.payload) || stream.payload.measure(packet.payload).is_none() {
            return Ok(());
        }
        self.stats.packets_recovered += 1;
        let delivery = Delivery { arrived: now, now, recovered: true };
        stream.write(&packet, Some(Content::Audio), delivery, HeaderFacts::default(), out)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next, at the earliest.
    pub const fn next_deadline(&self) -> Option<Stamp> {
        self.wake
    }

    /// Ends the streams of sources that have been quiet for too long or have left.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn handle_timeout<E>(
        &mut self,
        now: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.wake.is_none_or(|wake| now < wake) {
            return Ok(());
        }
        let timeout = self.config.source_timeout_ns;
        let stats = &mut self.stats;
        self.candidates.retain(|_, heard| {
            let stays = now.since(heard.last_heard) < timeout;
            stats.packets_stray += if stays { 0 } else { heard.drop_held() };
            stays
        });
        let leaves = |heard: &Heard| heard.leaving.is_some_and(|left| now.since(left) >= LEAVE_NS);
        let gone: Vec<(Key, EndReason)> = self
            .sources
            .iter()
            .filter_map(|(&key, heard)| match heard {
                heard if leaves(heard) => Some((key, EndReason::Bye)),
                heard if now.since(heard.last_heard) >= timeout => Some((key, EndReason::Timeout)),
                _ => None,
            })
            .collect();
        for (key, reason) in gone {
            self.forget(key, reason, out)?;
        }
        self.wake = self.earliest();
        Ok(())
    }

    /// Says what a payload type means from now on.
    pub fn map(&mut self, payload_type: u8, format: PayloadFormat) {
        self.config.map.insert(payload_type, format);
    }

    /// Nothing more comes by that socket (a connection that has ended): ends its streams.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn handle_closed<E>(
        &mut self,
        socket: u32,
        reason: &EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.candidates.retain(|((by, _), _), _| *by != socket);
        while let Some((&key, _)) = self.sources.range((socket, 0)..=(socket, u32::MAX)).next() {
            self.forget(key, reason.clone(), out)?;
        }
        Ok(())
    }

    /// Ends every stream.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn finish<E>(
        &mut self,
        reason: &EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.candidates.clear();
        while let Some((&key, _)) = self.sources.first_key_value() {
            self.forget(key, reason.clone(), out)?;
        }
        Ok(())
    }

    fn earliest(&self) -> Option<Stamp> {
        let timeout = self.config.source_timeout_ns;
        let heard = self.sources.values().chain(self.candidates.values());
        heard
            .map(|heard| {
                let quiet = heard.last_heard.plus(timeout);
                heard.leaving.map_or(quiet, |left| quiet.min(left.plus(LEAVE_NS)))
            })
            .min()
    }
}
