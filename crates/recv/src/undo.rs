//! What was done to packets for their journey, undone: encryption, redundant audio, parity.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;
use vox_cli::{Failure, warn};
use vox_frame::{Codec, Stamp};
use vox_repair::{Origin, RequestConfig, Requester, Restorer};
use vox_rtp::{Description, Header, Packet};
use vox_srtp::{CryptoLine, MasterKey, Protector, Unprotector, read_key};

use crate::args::Args;

/// The payload types of redundant audio and parity packets where nothing else is said: those of `vox-send`.
const RED: u8 = 63;
const PARITY: u8 = 127;

/// How long a packet may be late before it is asked for, in ns.
const PATIENCE_NS: i64 = 5_000_000;

/// How long a source that says nothing is remembered when there are too many, in ns.
const FORGET_NS: i64 = 10_000_000_000;

pub(crate) struct Undo {
    secure: Option<Secure>,
    restorer: Restorer<SocketAddr>,
    asking: Option<Asking>,
    opened: Vec<u8>,
}

/// Asks for what is missing, by source.
struct Asking {
    config: RequestConfig,
    max_sources: usize,
    sources: BTreeMap<(SocketAddr, u32), (Requester, Stamp)>,
}

struct Secure {
    unprotector: Unprotector,
    /// For reports: they go by the same key, with our own SSRC.
    protector: Protector,
    told: bool,
}

impl Undo {
    /// As the arguments and the description of the session say. Payload types of repair leave the map: what they carry
    /// comes out as what it was.
    pub(crate) fn new(session: &mut Description, args: &Args) -> Result<Self, Failure> {
        let mut restorer = Restorer::new(args.max_sources);
        let named = |name: &str| -> Vec<u8> {
            let is_named = |codec: &Codec| matches!(codec, Codec::Other(other) if other == name);
            session.map.iter().filter(|(_, format)| is_named(&format.codec)).map(|(number, _)| number).collect()
        };
        let (red, parity) = (named("red"), named("ulpfec"));
        for &number in &red {
            session.map.remove(number);
            restorer.expect_red(number);
        }
        for &number in &parity {
            session.map.remove(number);
            restorer.expect_parity(number);
        }
        if red.is_empty() && session.map.get(RED).is_none() {
            restorer.expect_red(RED);
        }
        if parity.is_empty() && session.map.get(PARITY).is_none() {
            restorer.expect_parity(PARITY);
        }
        let secure = key(session, args)?.map(|key| Secure {
            protector: Protector::new(&key),
            unprotector: Unprotector::new(key, args.max_sources),
            told: false,
        });
        let asking = args.nack.map(|useful| Asking {
            config: RequestConfig { patience_ns: PATIENCE_NS, useful_ns: useful.ns() },
            max_sources: args.max_sources,
            sources: BTreeMap::new(),
        });
        Ok(Self { secure, restorer, asking, opened: Vec::new() })
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
        let asked = match (&mut self.asking, Packet::parse(packet)) {
            (Some(asking), Ok(packet)) => asking.take(now, from, packet.header),
            _ => false,
        };
        let mut outcome = Ok(());
        self.restorer.handle_packet(from, packet, |bytes, origin| {
            if outcome.is_ok() {
                outcome = out(bytes, if asked { Origin::Recovered } else { origin });
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
        self.asking.as_ref()?.sources.values().filter_map(|(requester, _)| requester.next_deadline()).min()
    }

    /// The packets to ask for now: of whom, which source, which numbers.
    pub(crate) fn poll_requests(&mut self, now: Stamp, round_trip_ns: Option<i64>) -> Vec<(SocketAddr, u32, Vec<u16>)> {
        let Some(asking) = &mut self.asking else { return Vec::new() };
        let mut requests = Vec::new();
        for (&(from, ssrc), (requester, _)) in &mut asking.sources {
            if let Some(round_trip) = round_trip_ns {
                requester.set_round_trip(round_trip);
            }
            let numbers = requester.poll(now);
            if !numbers.is_empty() {
                requests.push((from, ssrc, numbers));
            }
        }
        requests
    }

    pub(crate) fn add_to(&self, summary: &mut serde_json::Value) {
        let repaired = self.restorer.stats();
        summary["packetsRecoveredByRed"] = json!(repaired.recovered_red);
        summary["packetsRecoveredByFec"] = json!(repaired.recovered_parity);
        summary["fecPacketsReceived"] = json!(repaired.parity_packets);
        summary["repairMalformed"] = json!(repaired.malformed);
        if let Some(asking) = &self.asking {
            let (asked, repaired) = asking.sources.values().fold((0, 0), |(asked, repaired), (requester, _)| {
                let (more_asked, more_repaired) = requester.stats();
                (asked + more_asked, repaired + more_repaired)
            });
            summary["packetsAskedFor"] = json!(asked);
            summary["packetsRetransmitted"] = json!(repaired);
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

impl Asking {
    /// A packet has come; says whether it was asked for.
    fn take(&mut self, now: Stamp, from: SocketAddr, header: Header) -> bool {
        let key = (from, header.ssrc);
        if !self.sources.contains_key(&key) && self.sources.len() >= self.max_sources {
            // Those who have fallen silent make room; where there are none, strangers are asked for nothing.
            self.sources.retain(|_, (_, heard)| now.since(*heard) < FORGET_NS);
            if self.sources.len() >= self.max_sources {
                return false;
            }
        }
        let config = self.config;
        let (requester, heard) = self.sources.entry(key).or_insert_with(|| (Requester::new(config), now));
        *heard = now;
        requester.handle_packet(now, header.sequence)
    }
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
