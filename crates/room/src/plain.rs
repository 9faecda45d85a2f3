//! A participant that speaks plain RTP and nothing else: whose packets are its own, and the one stream that it is sent.

mod reports;

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use vox_frame::Stamp;
use vox_rtp::{
    AnnouncedStream, Announcement, Content, ExtensionMap, Outgoing, Packet, PayloadFormat, PayloadMap, Protocol,
    RemoteReport,
};

use crate::StreamFacts;
use crate::one_voice::OneVoice;
use crate::pacer::Pacer;
use reports::Reports;

/// After what silence a source has ended and another may come, in ns. Until then nobody takes its place.
const SOURCE_END_NS: i64 = 5_000_000_000;

/// How long a packet lasts by the description: what nearly everybody in a room sends.
const PACKET_MS: f64 = 20.0;

/// What is agreed with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTerms {
    /// What its packets may be.
    pub accepts: PayloadMap,
    /// What it is sent: the payload type and what that means.
    pub sends: (u8, PayloadFormat),
    /// Where its packets may come from; from this host alone where nothing is said.
    pub from: Option<IpAddr>,
    /// Where what it hears is sent to; to where its packets come from where nothing is said.
    pub to: Option<SocketAddr>,
    /// Where it takes reports (RTCP), by its description: `to` where it takes them by the port of its voice (RFC 5761). Who
    /// did not say so gets none: it might take them for voice.
    pub reports_to: Option<SocketAddr>,
}

/// What a datagram is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// The first packet of a stream, to be announced and passed on.
    Begins(u32, StreamFacts),
    /// The next one: to be passed on.
    Goes,
    /// One that came ahead of its time: [`PlainPeer::poll_packet`] gives it when it is due.
    Held,
    /// A report (RTCP): it was read, where reports were agreed.
    Report,
    /// From somebody else, of another source than the one that is heard, or of a payload type that was not agreed.
    Foreign,
    /// No RTP.
    Malformed,
}

/// The source that is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    address: SocketAddr,
    ssrc: u32,
    last: i64,
}

/// A participant by plain RTP.
#[derive(Debug)]
pub struct PlainPeer {
    terms: PlainTerms,
    source: Option<Source>,
    /// How its packets are passed on.
    pacer: Option<Pacer>,
    voice: OneVoice,
    /// Streams of the room, by what they are.
    heard: BTreeMap<u32, StreamFacts>,
    reports: Option<Reports>,
    foreign: u64,
    unsuited: u64,
}

impl PlainPeer {
    /// A peer that has not said anything. What it is sent begins with these numbers, which should be random
    /// (RFC 3550, section 5.1).
    pub fn new(terms: PlainTerms, ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        let (payload_type, format) = &terms.sends;
        let voice = OneVoice::new(*payload_type, format, ssrc, sequence, timestamp);
        Self { terms, source: None, pacer: None, voice, heard: BTreeMap::new(), reports: None, foreign: 0, unsuited: 0 }
    }

    /// Sends reports from now on, where that was agreed. `seed` is where random numbers are drawn from.
    #[must_use]
    pub fn with_reports(self, now: Stamp, seed: u64) -> Self {
        let ssrc = self.voice.ssrc();
        let reports = self.terms.reports_to.map(|to| Reports::new(now, &self.terms, to, ssrc, seed));
        Self { reports, ..self }
    }

    /// What was agreed.
    pub const fn terms(&self) -> &PlainTerms {
        &self.terms
    }

    /// Datagrams that were not its own.
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Packets of the room that it cannot take: they are coded otherwise.
    pub const fn unsuited(&self) -> u64 {
        self.unsuited
    }

    /// Where what it hears is sent to, once that is known.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.terms.to.or_else(|| self.source.map(|source| source.address))
    }

    /// Whose packets are heard now.
    pub fn source(&self) -> Option<SocketAddr> {
        self.source.map(|source| source.address)
    }

    /// Takes a datagram. The first packet that fits fixes address, port and SSRC; as long as its stream goes on nobody
    /// takes its place.
    pub fn handle_datagram(&mut self, now: Stamp, from: SocketAddr, bytes: &[u8]) -> Arrival {
        let arrival = self.judge(now, from, bytes);
        if let Some(reports) = &mut self.reports
            && !matches!(arrival, Arrival::Foreign | Arrival::Malformed)
        {
            reports.handle_datagram(now, from, bytes);
        }
        self.foreign += u64::from(arrival == Arrival::Foreign);
        arrival
    }

    fn judge(&mut self, now: Stamp, from: SocketAddr, bytes: &[u8]) -> Arrival {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let may = self.terms.from.map_or_else(|| from.ip().is_loopback(), |ip| ip.to_canonical() == from.ip());
        if !may {
            return Arrival::Foreign;
        }
        if Protocol::of(bytes) == Protocol::Rtcp {
            return Arrival::Report;
        }
        let Ok(packet) = Packet::parse(bytes) else { return Arrival::Malformed };
        let header = packet.header;
        let Some(format) = self.terms.accepts.get(header.payload_type) else { return Arrival::Foreign };
        if let Some(source) = &mut self.source {
            if source.address != from || source.ssrc != header.ssrc {
                return Arrival::Foreign;
            }
            source.last = now.ns();
            let goes = self.pacer.as_mut().is_none_or(|pacer| pacer.handle(now, header.timestamp, bytes));
            return if goes { Arrival::Goes } else { Arrival::Held };
        }
        // A key of a telephone is no audio that a stream could begin with.
        if format.content() != Content::Audio {
            return Arrival::Foreign;
        }
        self.source = Some(Source { address: from, ssrc: header.ssrc, last: now.ns() });
        let mut pacer = Pacer::new(format.clock);
        // The first of all: nothing is known that it could be ahead of.
        let _goes = pacer.handle(now, header.timestamp, bytes);
        self.pacer = Some(pacer);
        let stereo = self.terms.accepts.is_stereo_expected(header.payload_type);
        let opus_channels = if stereo { 2 } else { 1 };
        let is_opus = format.codec == vox_frame::Codec::Opus;
        let frame = format.measure(packet.payload).map_or(0, |(ticks, _)| ticks);
        let facts = StreamFacts {
            payload_type: header.payload_type,
            format: format.clone(),
            channels: if is_opus { opus_channels } else { format.channels.count() as u8 },
            frame,
            pre_skip: 0,
            label: None,
        };
        Arrival::Begins(header.ssrc, facts)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn next_deadline(&self) -> Option<Stamp> {
        let end = self.source.map(|source| Stamp::from_ns(source.last.saturating_add(SOURCE_END_NS)));
        let packet = self.pacer.as_ref().and_then(Pacer::next_deadline);
        let reports = self.reports.as_ref().map(Reports::next_deadline);
        end.into_iter().chain(packet).chain(reports).min()
    }

    /// The reports that are due, and where they go.
    pub fn poll_reports(&mut self, now: Stamp) -> Option<(SocketAddr, Vec<Outgoing>)> {
        self.reports.as_mut().map(|reports| reports.poll(now))
    }

    /// The goodbye: nothing more is sent.
    pub fn finish(&mut self, now: Stamp) -> Option<(SocketAddr, Vec<Outgoing>)> {
        self.reports.take().map(|mut reports| reports.finish(now))
    }

    /// What it said last of what it hears.
    pub fn report(&self) -> Option<&RemoteReport> {
        self.reports.as_ref().and_then(Reports::last)
    }

    /// A packet that was held, once it is due.
    pub fn poll_packet(&mut self, now: Stamp) -> Option<Vec<u8>> {
        self.pacer.as_mut()?.poll(now)
    }

    /// The number of the stream that has ended, because nothing has come of it for long.
    pub fn handle_timeout(&mut self, now: Stamp) -> Option<u32> {
        let over = self.source.take_if(|source| now.ns() >= source.last.saturating_add(SOURCE_END_NS))?;
        Some(over.ssrc)
    }

    /// A stream of the room is announced.
    pub fn handle_stream(&mut self, ssrc: u32, facts: StreamFacts) {
        self.heard.insert(ssrc, facts);
    }

    /// It has ended.
    pub fn handle_stream_end(&mut self, ssrc: u32) {
        self.heard.remove(&ssrc);
        self.voice.handle_end(ssrc);
    }

    /// Takes a packet of the room and makes it one of the stream that the peer is sent; gives where it goes, or
    /// nothing where the peer does not hear it: somebody else talks, or it is coded otherwise.
    pub fn handle_packet(&mut self, now: Stamp, bytes: &mut [u8]) -> Option<SocketAddr> {
        let to = self.destination()?;
        let ssrc = Packet::parse(bytes).ok()?.header.ssrc;
        let (_, sends) = &self.terms.sends;
        if self.heard.get(&ssrc).is_none_or(|facts| facts.format != *sends) {
            self.unsuited += 1;
            return None;
        }
        if !self.voice.handle_packet(now, bytes) {
            return None;
        }
        if let Some(reports) = &mut self.reports {
            reports.handle_sent(now, bytes);
        }
        Some(to)
    }

    /// The description of what the peer is sent, for the program that plays it.
    pub fn description(&self, name: &str) -> Option<String> {
        let to = self.destination()?;
        Some(describe(name, to, std::slice::from_ref(&self.terms.sends), self.voice.ssrc(), self.multiplexes()))
    }

    /// Whether reports and voice share a port, as far as is known (RFC 5761, section 5.1.1: only where it was offered).
    fn multiplexes(&self) -> bool {
        self.terms.reports_to.is_none() || self.terms.reports_to == self.terms.to
    }

    /// The answer to a peer's description: where its own packets go, and what they may be.
    pub fn answer(&self, name: &str, listens: SocketAddr) -> String {
        let (first, sends) = &self.terms.sends;
        let mut types = vec![(*first, sends.clone())];
        types.extend(self.terms.accepts.iter().filter(|(number, _)| number != first).map(|(n, f)| (n, f.clone())));
        describe(name, listens, &types, self.voice.ssrc(), self.multiplexes()).replace("a=recvonly", "a=sendrecv")
    }
}

fn describe(name: &str, to: SocketAddr, types: &[(u8, PayloadFormat)], ssrc: u32, rtcp_mux: bool) -> String {
    let stream = |(payload_type, format): &(u8, PayloadFormat)| AnnouncedStream {
        ssrc,
        payload_type: *payload_type,
        format: format.clone(),
        stereo: false,
        packet_ms: PACKET_MS,
        events: None,
        again: None,
        cname: None,
    };
    let announcement = Announcement {
        name: name.to_owned(),
        address: to.ip(),
        port: to.port(),
        ttl: 1,
        source: None,
        session: u64::from(ssrc),
        version: 1,
        extensions: ExtensionMap::default(),
        rtcp_mux,
        crypto: None,
        secure: false,
        red: None,
        parity: None,
        retransmission: None,
        streams: types.iter().map(stream).collect(),
    };
    announcement.to_sdp()
}
