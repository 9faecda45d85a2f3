//! What a plain peer is told of its own stream and of the one that it hears (RTCP; RFC 3550, section 6).

use core::convert::Infallible;
use core::net::SocketAddr;

use vox_frame::{Record, Stamp};
use vox_rtp::{ControlConfig, Outgoing, Packet, ReceiverConfig, RemoteReport, Route, Session};

use super::PlainTerms;

/// Bandwidth of the session in bits a second, of which reports take a twentieth: one voice each way, and headers.
const BANDWIDTH: u32 = 128_000;

/// The shortest mean interval between reports, in ns (RFC 3550, section 6.2).
const INTERVAL_NS: i64 = 5_000_000_000;

/// Sources that are counted at a time: the one that is heard, and one after it.
const MAX_SOURCES: usize = 2;

/// One member of the session of two that a peer and its room are.
#[derive(Debug)]
pub(super) struct Reports {
    session: Session,
    ssrc: u32,
    to: SocketAddr,
    last: Option<RemoteReport>,
}

impl Reports {
    pub(super) fn new(now: Stamp, terms: &PlainTerms, to: SocketAddr, ssrc: u32, seed: u64) -> Self {
        let clock = terms.sends.1.clock;
        let receiver =
            ReceiverConfig { map: terms.accepts.clone(), max_sources: MAX_SOURCES, seed, ..ReceiverConfig::default() };
        // RFC 7022, section 4.2: a name of this session only, which tells nothing of anybody.
        let cname = format!("{seed:016x}");
        let config =
            ControlConfig { ssrc, cname, bandwidth: BANDWIDTH, interval_ns: INTERVAL_NS, answers: false, seed };
        let mut session = Session::new(now, receiver, config);
        session.control.add_stream(now, ssrc, clock, None);
        Self { session, ssrc, to, last: None }
    }

    /// A packet of the peer's, or a report of its.
    pub(super) fn handle_datagram(&mut self, now: Stamp, from: SocketAddr, bytes: &[u8]) {
        let route = Route { mux: true, to: from };
        let Ok(()) = self.session.handle_datagram(now, 0, route, now, bytes, &mut nothing);
        while let Some(report) = self.session.control.poll_report() {
            self.last = Some(report);
        }
    }

    /// A packet that the peer was sent.
    pub(super) fn handle_sent(&mut self, now: Stamp, bytes: &[u8]) {
        if let Ok(packet) = Packet::parse(bytes) {
            let (timestamp, payload) = (packet.header.timestamp, packet.payload.len());
            self.session.control.handle_sent(now, self.ssrc, timestamp, now, payload);
        }
    }

    /// What the peer said last of what it hears.
    pub(super) const fn last(&self) -> Option<&RemoteReport> {
        self.last.as_ref()
    }

    pub(super) fn next_deadline(&self) -> Stamp {
        self.session.next_deadline()
    }

    /// The reports that are due, and where they go.
    pub(super) fn poll(&mut self, now: Stamp) -> (SocketAddr, Vec<Outgoing>) {
        let Ok(()) = self.session.handle_timeout(now, &mut nothing);
        (self.to, self.session.poll(now))
    }

    /// The goodbye.
    pub(super) fn finish(&mut self, now: Stamp) -> (SocketAddr, Vec<Outgoing>) {
        let Self { session, .. } = self;
        (self.to, session.control.finish(now, &mut session.receiver))
    }
}

/// What is heard is passed on elsewhere.
fn nothing(_record: Record<'_>) -> Result<(), Infallible> {
    Ok(())
}
