//! Datagrams in, records out: every source that is heard becomes a stream.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use vox_frame::{Channels, Codec, EndReason, Format, Record, RtpOrigin, Stamp, StreamId};

use crate::extension::{ExtensionMap, HeaderFacts};
use crate::heard::{Heard, Route};
use crate::packet::{Packet, PacketError};
use crate::payload::{Content, PayloadFormat, PayloadMap};
use crate::reception::Reception;
use crate::rtcp::{Block, Fact};
use crate::source::{Admission, MAX_MISORDER};
use crate::stream::{Delivery, Jump, Stream};

/// A source that was quiet for so long gives way to a new one when there are too many, in nanoseconds.
const EVICTABLE_NS: i64 = 5_000_000_000;

/// How long the address that a source was bound to must have been quiet before another may follow it, in nanoseconds.
const FOLLOW_QUIET_NS: i64 = 500_000_000;

/// How long after a goodbye packets are still those that were under way, in nanoseconds.
const UNDER_WAY_NS: i64 = 100_000_000;

/// How long after a goodbye a stream ends, in nanoseconds, unless packets go on to come: then it was not the source's.
const LEAVE_NS: i64 = 500_000_000;

/// Payload types that are counted one by one when nobody knows what they mean.
const MAX_UNKNOWN: usize = 128;

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

    /// Takes what RTCP says of sources, from `from` by `route`.
    ///
    /// # Errors
    /// Only those of `out`. What nobody may say is counted.
    pub fn handle_control(
        &mut self,
        now: Stamp,
        socket: u32,
        route: Route,
        arrived: Stamp,
        bytes: usize,
        facts: &[Fact],
    ) {
        self.stats.packets_rtcp += 1;
        let mut counted = false;
        for fact in facts {
            let ssrc = match fact {
                Fact::Sent { ssrc, .. } | Fact::Name { ssrc, .. } | Fact::Bye(ssrc) | Fact::Present(ssrc) => *ssrc,
                _ => continue,
            };
            if self.own.contains(&ssrc) {
                self.stats.packets_reflected += 1;
                continue;
            }
            let follow = self.config.follow;
            let Some(heard) = self.sources.get_mut(&(socket, ssrc)) else { continue };
            // The first port that speaks for the source is the one that does, on the address of its packets.
            let known = heard.control.is_none_or(|known| known == route || follow);
            if heard.from.ip() != route.to.ip() || !known {
                self.stats.rtcp_refused += 1;
                continue;
            }
            heard.control = Some(route);
            heard.last_heard = heard.last_heard.max(arrived);
            if !core::mem::replace(&mut counted, true) {
                heard.bytes_in += bytes as u64;
            }
            match fact {
                Fact::Sent { ntp, rtp, .. } => heard.handle_report(*ntp, *rtp, arrived),
                Fact::Name { cname, .. } => heard.cname = Some(cname.clone()),
                Fact::Bye(_) => {
                    heard.leaving.get_or_insert(now);
                    self.wake = Some(self.wake.map_or_else(|| now.plus(LEAVE_NS), |wake| wake.min(now.plus(LEAVE_NS))));
                }
                _ => {}
            }
        }
    }

    /// The reports on every source that something came of since the last, with the way that they go back where the
    /// source has said one.
    pub fn reports(&mut self, now: Stamp) -> Vec<(Option<Route>, Block)> {
        let mut reports = Vec::new();
        for (&(_, ssrc), heard) in &mut self.sources {
            if let Some(block) = heard.block(ssrc, now) {
                reports.push((heard.control, block));
            }
        }
        reports
    }

    /// Whether `bytes` may go back by that way: never more than came from there, so that nobody uses us to flood
    /// another.
    pub fn may_answer(&mut self, route: Route, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let mut sources = self.sources.values_mut().filter(|heard| heard.control == Some(route));
        let Some(heard) = sources.find(|heard| heard.bytes_out + bytes <= heard.bytes_in) else { return false };
        heard.bytes_out += bytes;
        true
    }

    /// How each source is received, with its SSRC and address.
    pub fn receptions(&self) -> impl Iterator<Item = (u32, SocketAddr, &Reception)> {
        let sources = self.sources.iter();
        sources.filter_map(|(&(_, ssrc), heard)| Some((ssrc, heard.from, heard.reception.as_ref()?)))
    }

    /// Counts a datagram that is neither RTP nor RTCP.
    pub const fn count_malformed(&mut self) {
        self.stats.packets_malformed += 1;
    }

    /// The ways by which sources have spoken.
    pub fn routes(&self) -> Vec<Route> {
        let routes: BTreeSet<Route> = self.sources.values().filter_map(|heard| heard.control).collect();
        routes.into_iter().collect()
    }

    /// The lasting names of sources that have told one.
    pub fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.sources.iter().filter_map(|(&(_, ssrc), heard)| Some((ssrc, heard.cname.as_deref()?)))
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

    /// Whether the packet can be of use: a payload type that is known, or a source that is (its number counts).
    fn is_wanted(&mut self, packet: &Packet<'_>, bound: bool) -> bool {
        let Some(format) = self.config.map.get(packet.header.payload_type) else {
            self.stats.packets_unknown += 1;
            if self.unknown.len() < MAX_UNKNOWN {
                *self.unknown.entry(packet.header.payload_type).or_default() += 1;
            }
            return bound;
        };
        if packet.payload.is_empty() {
            // Padding can tell nothing about a codec, so it begins no stream.
            return bound;
        }
        let good = format.measure(packet.payload).is_some();
        if !good {
            self.stats.packets_malformed += 1;
        }
        good
    }

    /// A packet of an address that does not speak for the source, or of a source that nobody speaks for yet.
    fn probe<E>(
        &mut self,
        key: Key,
        from: SocketAddr,
        packet: &Packet<'_>,
        delivery: Delivery,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.make_room(delivery.now, (key, from), out)? {
            return Ok(());
        }
        let new = || Heard::new(from, packet.header.sequence, delivery.arrived);
        let candidate = self.candidates.entry((key, from)).or_insert_with(new);
        candidate.last_heard = candidate.last_heard.max(delivery.arrived);
        candidate.bytes_in += datagram.len() as u64;
        if candidate.sequence.handle(packet.header.sequence) != Admission::Confirmed {
            self.stats.packets_stray += candidate.hold(packet, delivery, datagram);
            let timeout = delivery.arrived.plus(self.config.source_timeout_ns);
            self.wake = Some(self.wake.map_or(timeout, |wake| wake.min(timeout)));
            return Ok(());
        }
        let Some(mut candidate) = self.candidates.remove(&(key, from)) else { return Ok(()) };
        if let Some(heard) = self.sources.get_mut(&key) {
            if delivery.now.since(heard.last_heard) < FOLLOW_QUIET_NS {
                self.stats.packets_foreign += 1 + candidate.drop_held();
                return Ok(());
            }
            self.stats.moves += 1;
            (heard.from, heard.control) = (from, None);
            (heard.bytes_in, heard.bytes_out) = (candidate.bytes_in, 0);
            for held in candidate.take_held() {
                if let Ok(packet) = Packet::parse(&held.datagram) {
                    self.admit(key, &packet, held.delivery, &held.datagram, out)?;
                }
            }
            return self.admit(key, packet, delivery, datagram, out);
        }
        if self.config.latch {
            self.latched = Some(from);
        }
        self.drop_rivals(key);
        self.sources.insert(key, candidate);
        self.release_held(key, packet.header.sequence, out)?;
        self.pass_on(key, packet, delivery, out)
    }

    /// Others that claimed to be the source are not; where only one address is heard, no other is anything.
    fn drop_rivals(&mut self, key: Key) {
        let (latched, stats) = (self.latched, &mut self.stats);
        self.candidates.retain(|(theirs, from), heard| {
            let stays = *theirs != key && latched.is_none_or(|latched| latched == *from);
            stats.packets_foreign += if stays { 0 } else { heard.drop_held() };
            stays
        });
    }

    /// A packet of a source from its own address.
    fn admit<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        delivery: Delivery,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        heard.last_heard = heard.last_heard.max(delivery.arrived);
        heard.bytes_in += datagram.len() as u64;
        if heard.leaving.is_some_and(|left| delivery.arrived.since(left) > UNDER_WAY_NS) {
            heard.leaving = None;
            self.stats.byes_ignored += 1;
        }
        match heard.sequence.handle(packet.header.sequence) {
            Admission::Held => {
                self.stats.packets_stray += heard.hold(packet, delivery, datagram);
                Ok(())
            }
            Admission::InOrder | Admission::Confirmed => self.pass_on_in_order(key, packet, delivery, datagram, out),
            Admission::Misordered => {
                self.stats.packets_misordered += 1;
                self.pass_on(key, packet, delivery, out)
            }
            Admission::Restarted => {
                self.restart(key, out)?;
                self.release_held(key, packet.header.sequence, out)?;
                self.pass_on(key, packet, delivery, out)
            }
        }
    }

    /// Makes sure that the candidate may be known; false where there are too many.
    fn make_room<E>(
        &mut self,
        now: Stamp,
        candidate: (Key, SocketAddr),
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.candidates.contains_key(&candidate) || self.sources() < self.config.max_sources {
            return Ok(true);
        }
        let oldest = self.candidates.iter().min_by_key(|(_, heard)| heard.last_heard).map(|(&key, _)| key);
        if let Some(oldest) = oldest {
            let dropped = self.candidates.remove(&oldest).map_or(0, |mut heard| heard.drop_held());
            self.stats.packets_stray += dropped;
            return Ok(true);
        }
        let quiet = self.sources.iter().filter(|(_, heard)| now.since(heard.last_heard) > EVICTABLE_NS);
        let Some(victim) = quiet.min_by_key(|(_, heard)| heard.last_heard).map(|(&key, _)| key) else {
            self.stats.packets_refused += 1;
            return Ok(false);
        };
        self.forget(victim, EndReason::Timeout, out)?;
        Ok(true)
    }

    /// Passes on the packets held so far that are near `sequence`.
    fn release_held<E>(
        &mut self,
        key: Key,
        sequence: u16,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        for held in heard.take_held() {
            match Packet::parse(&held.datagram) {
                Ok(packet) if sequence.wrapping_sub(held.sequence) <= MAX_MISORDER => {
                    self.pass_on(key, &packet, held.delivery, out)?;
                }
                _ => self.stats.packets_stray += 1,
            }
        }
        Ok(())
    }

    /// A packet whose number is in order: its timestamp may still have jumped.
    fn pass_on_in_order<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        delivery: Delivery,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        let timestamp = packet.header.timestamp;
        match heard.stream.as_mut().map_or(Jump::None, |stream| stream.jump(timestamp, delivery.arrived)) {
            Jump::None => self.stats.packets_stray += heard.drop_held(),
            Jump::Suspected => {
                self.stats.packets_stray += heard.hold(packet, delivery, datagram);
                return Ok(());
            }
            Jump::Confirmed => {
                self.restart(key, out)?;
                self.release_held(key, packet.header.sequence, out)?;
            }
        }
        self.pass_on(key, packet, delivery, out)
    }

    /// Ends the source's stream: its next packet begins a new one.
    fn restart<E>(&mut self, key: Key, out: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        self.stats.restarts += 1;
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        heard.restart();
        let stream = heard.stream.take();
        stream.map_or(Ok(()), |stream| stream.end(EndReason::Other("restarted".to_owned()), out))
    }

    fn forget<E>(
        &mut self,
        key: Key,
        reason: EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(mut heard) = self.sources.remove(&key) else { return Ok(()) };
        self.stats.packets_stray += heard.drop_held();
        heard.stream.map_or(Ok(()), |stream| stream.end(reason, out))
    }

    /// Hands on a packet that belongs to the source.
    fn pass_on<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        delivery: Delivery,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let format = self.config.map.get(packet.header.payload_type);
        let content = format.map(PayloadFormat::content);
        let audible = content == Some(Content::Audio) && !packet.payload.is_empty();
        let known = self.sources.get(&key).and_then(|heard| heard.stream.as_ref()).map(|stream| &stream.payload);
        if audible && known != format {
            let changed = known.is_some();
            let Some(format) = format.cloned() else { return Ok(()) };
            if changed {
                // The sender has changed its codec in mid-stream.
                self.restart(key, out)?;
            }
            self.begin(key, packet, &format, delivery, out)?;
        } else if known.is_none() {
            return Ok(());
        }
        self.stats.packets_received += 1;
        self.stats.bytes_received += packet.payload.len() as u64;
        let max_age = self.config.max_age_ns;
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        let Some(clock) = heard.stream.as_ref().map(|stream| stream.payload.clock) else { return Ok(()) };
        heard.count(packet, clock, delivery.arrived);
        let mut facts = packet.extension.map_or_else(HeaderFacts::default, |(profile, bytes)| {
            HeaderFacts::read(&self.config.extensions, profile, bytes)
        });
        if facts.captured.is_none() {
            let captured = heard.captured(packet.header.timestamp, clock, delivery.arrived);
            facts.captured = captured.map(crate::NtpTime::of);
        }
        let Some(stream) = &mut heard.stream else { return Ok(()) };
        if max_age.is_some_and(|max_age| delivery.now.since(delivery.arrived) > max_age) {
            self.stats.packets_discarded += 1;
            stream.discard(packet);
            return Ok(());
        }
        stream.write(packet, content, delivery, facts, out)
    }

    fn begin<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        payload: &PayloadFormat,
        delivery: Delivery,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let id = StreamId(self.draw());
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        let frame = payload.measure(packet.payload).map_or(0, |(ticks, _)| ticks);
        let stereo = self.config.map.is_stereo_expected(packet.header.payload_type);
        let channels = coded_channels(payload, packet.payload, stereo);
        let mut format = Format::new(payload.codec.clone(), payload.rate(), channels, frame);
        format.live = true;
        format.rtp = Some(RtpOrigin {
            ssrc: packet.header.ssrc,
            payload_type: packet.header.payload_type,
            source: Some(heard.from.to_string()),
        });
        self.stats.streams += 1;
        heard.stream = Some(Stream::new(id, payload.clone(), packet.header.timestamp, delivery.arrived));
        out(Record::Format(id, format))
    }

    /// The next random id, never 0 (splitmix64).
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) as u32).max(1)
    }
}

/// Channels as coded: Opus is announced as two channels whatever it holds (RFC 7587), its sender or its first packet
/// says more.
fn coded_channels(payload: &PayloadFormat, first: &[u8], announced: bool) -> Channels {
    let stereo = announced || first.first().is_some_and(|toc| toc & 4 != 0);
    if payload.codec == Codec::Opus && !stereo { Channels::MONO } else { payload.channels }
}
