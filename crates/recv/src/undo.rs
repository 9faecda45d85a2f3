//! What was done to packets for their journey, undone: encryption, redundant audio, parity, losses.

use std::net::SocketAddr;

use serde_json::json;
use vox_cli::{Failure, warn};
use vox_frame::Stamp;
use vox_repair::{MendConfig, Mender, Origin, PATIENCE_NS, RequestConfig};
use vox_rtp::Description;
use vox_srtp::{CryptoLine, MasterKey, Protector, Unprotector, read_key};

use crate::args::Args;

/// How long a packet is of use where the session wants to be asked and nobody said it, in ns: the default delay of most
/// jitter buffers.
const USEFUL_NS: i64 = 200_000_000;

pub(crate) struct Undo {
    secure: Option<Secure>,
    mender: Mender<SocketAddr>,
    opened: Vec<u8>,
}

struct Secure {
    unprotector: Unprotector,
    /// For reports: they go by the same key, with our own SSRC.
    protector: Protector,
    told: bool,
}

impl Undo {
    /// As the arguments and the description of the session say.
    pub(crate) fn new(session: &mut Description, args: &Args) -> Result<Self, Failure> {
        let secure = key(session, args)?.map(|key| Secure {
            protector: Protector::new(&key),
            unprotector: Unprotector::new(key, args.max_sources),
            told: false,
        });
        Ok(Self { secure, mender: Mender::new(mending(session, args)), opened: Vec::new() })
    }

    /// Takes a packet of media; `out` is called with the packets that it makes.
    pub(crate) fn media(
        &mut self,
        now: Stamp,
        from: SocketAddr,
        packet: &[u8],
        mut out: impl FnMut(&[u8], Origin) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let packet = match &mut self.secure {
            None => packet,
            Some(secure) => {
                if secure.unprotector.handle_rtp(now, packet, &mut self.opened).is_err() {
                    secure.tell();
                    return Ok(());
                }
                &self.opened
            }
        };
        let mut outcome = Ok(());
        self.mender.handle_packet(now, from, packet, |bytes, origin| {
            if outcome.is_ok() {
                outcome = out(bytes, origin);
            }
        });
        outcome
    }

    /// Takes a packet of RTCP; none where it is not genuine.
    pub(crate) fn control<'a>(&'a mut self, now: Stamp, packet: &'a [u8]) -> Option<&'a [u8]> {
        let Some(secure) = &mut self.secure else { return Some(packet) };
        secure.unprotector.handle_rtcp(now, packet, &mut self.opened).ok()?;
        Some(&self.opened)
    }

    /// Protects a packet of RTCP that is to be sent; false where it cannot be.
    pub(crate) fn protect_control(&mut self, packet: &mut Vec<u8>) -> bool {
        let Some(secure) = &mut self.secure else { return true };
        let plain = std::mem::take(packet);
        secure.protector.protect_rtcp(&plain, packet).is_ok()
    }

    /// When [`poll_requests`](Self::poll_requests) has something to ask for.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        self.mender.next_deadline()
    }

    /// The packets to ask for now: of whom, which source, which numbers.
    pub(crate) fn poll_requests(&mut self, now: Stamp, round_trip_ns: Option<i64>) -> Vec<(SocketAddr, u32, Vec<u16>)> {
        self.mender.poll_requests(now, round_trip_ns)
    }

    pub(crate) fn add_to(&self, summary: &mut serde_json::Value) {
        let mended = self.mender.stats();
        summary["packetsRecoveredByRed"] = json!(mended.restored.recovered_red);
        summary["packetsRecoveredByFec"] = json!(mended.restored.recovered_parity);
        summary["fecPacketsReceived"] = json!(mended.restored.parity_packets);
        summary["repairMalformed"] = json!(mended.restored.malformed);
        if self.mender.asks() {
            summary["packetsAskedFor"] = json!(mended.asked);
            summary["packetsRetransmitted"] = json!(mended.retransmitted);
            summary["packetsUnasked"] = json!(mended.unasked);
        }
        if let Some(secure) = &self.secure {
            let stats = secure.unprotector.stats();
            summary["srtpOpened"] = json!(stats.opened);
            summary["srtpForged"] = json!(stats.forged);
            summary["srtpReplayed"] = json!(stats.replayed);
            summary["srtpMalformed"] = json!(stats.malformed);
            summary["srtpLateJoins"] = json!(stats.late_joins);
        }
    }
}

fn mending(session: &mut Description, args: &Args) -> MendConfig {
    let told = session.retransmission.as_ref();
    let keeps = told.map(|told| told.keep_ms.map_or(USEFUL_NS, |ms| USEFUL_NS.min(i64::from(ms) * 1_000_000)));
    // Who is described as to be asked is asked.
    let useful = args.nack.map(|useful| useful.ns()).or(keeps).filter(|_| !args.no_rtcp);
    let request = useful.map(|useful_ns| RequestConfig { patience_ns: PATIENCE_NS, useful_ns });
    MendConfig { request, ..MendConfig::of_session(&mut session.map, told, args.max_sources) }
}

impl Secure {
    /// Says once that nothing can be opened: the key may be wrong.
    fn tell(&mut self) {
        let stats = self.unprotector.stats();
        if stats.opened == 0 && stats.forged >= 10 && !std::mem::replace(&mut self.told, true) {
            warn("no packet can be opened so far: the key or the suite is another, or what comes is not SRTP");
        }
    }
}

/// The key that was given, or that the session brings.
fn key(session: &Description, args: &Args) -> Result<Option<MasterKey>, Failure> {
    if let Some(source) = &args.srtp {
        let text = source.read()?;
        let key = read_key(&text, args.srtp_suite);
        return key.map(Some).map_err(|error| Failure::usage(format_args!("the key in {source}: {error}")));
    }
    if !session.secure {
        return Ok(None);
    }
    let lines: Vec<_> = session.crypto.iter().map(|line| CryptoLine::parse(line.expose())).collect();
    match lines.into_iter().reduce(Result::or) {
        Some(Ok(line)) => Ok(Some(line.key)),
        Some(Err(error)) => Err(Failure::input(format_args!("no key of the description can be used: {error}"))),
        None => Err(Failure::usage("the session is secured (RTP/SAVP) and has no key: give it with --srtp FILE")),
    }
}
