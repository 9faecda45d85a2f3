//! From SRTP to packets, or why not.

use core::fmt;
use std::collections::BTreeMap;

use bytes::BytesMut;
use rtc_rtp::Header;
use rtc_srtp::context::Context;
use vox_frame::Stamp;

use crate::MasterKey;
use crate::protect::{MIN_RTCP, context, header};
use crate::replay::{Place, ReplayWindow};

/// Failed trials for which a context is used before a fresh one takes its place: rtc-srtp keeps state for every
/// source that it was asked about.
const MAX_TRIALS: u32 = 64;

/// How many roll-over counters are tried for a source that came late: four days at 50 packets a second.
const MAX_ROLLOVER: u32 = 256;

/// The least time between two searches for a roll-over counter, in ns. A search costs some 0.3 ms: forged packets
/// cannot ask for more than 2 % of a processor.
const SEARCH_PAUSE_NS: i64 = 20_000_000;

/// The bit beside the index of an RTCP packet that says that it is encrypted (RFC 3711, section 3.4).
const ENCRYPTED: u32 = 1 << 31;

/// Opens what is received with one key, from a bounded number of sources.
pub struct Unprotector {
    key: MasterKey,
    max_sources: usize,
    sources: BTreeMap<u32, Secured>,
    /// For sources that are not known yet.
    trial: Context,
    trials: u32,
    last_search: Option<Stamp>,
    stats: UnprotectStats,
}

/// A source that has proved that it has the key.
struct Secured {
    context: Context,
    /// None until an RTP packet was genuine: RTCP alone does not tell the roll-over counter.
    rtp: Option<ReplayWindow>,
    /// Where the indices of its RTCP were (they do not wrap: RFC 3711, section 3.2.1).
    rtcp: Option<ReplayWindow>,
    last_heard: Stamp,
}

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no packet, or too short to be a secured one.
    #[error("not a secured packet")]
    Malformed,
    /// It was seen before, or is too old to tell.
    #[error("seen before, or too old")]
    Replayed,
    /// It was not made with this key, or changed on its way.
    #[error("forged, or made with another key")]
    Forged,
}

/// What became of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnprotectStats {
    /// Packets that were genuine.
    pub opened: u64,
    /// Packets that are none.
    pub malformed: u64,
    /// Packets that were seen before, or too old to tell.
    pub replayed: u64,
    /// Packets that were forged, damaged, or made with another key.
    pub forged: u64,
    /// Sources whose roll-over counter was found by search.
    pub late_joins: u64,
}

impl Unprotector {
    /// A receiver's side of a session. Of more than `max_sources` the one that was silent longest is forgotten.
    pub fn new(key: MasterKey, max_sources: usize) -> Self {
        Self {
            trial: context(&key),
            key,
            max_sources: max_sources.max(1),
            sources: BTreeMap::new(),
            trials: 0,
            last_search: None,
            stats: UnprotectStats::default(),
        }
    }

    /// What became of the packets so far.
    pub const fn stats(&self) -> &UnprotectStats {
        &self.stats
    }

    /// Opens an RTP packet into `out`, replacing what was there; leaves `out` alone where it does not.
    ///
    /// # Errors
    /// Not one: an outcome. The packet is to be dropped.
    pub fn handle_rtp(&mut self, now: Stamp, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        let outcome = self.open_rtp(now, packet);
        self.count(outcome, out)
    }

    /// Opens an RTCP packet into `out`, replacing what was there; leaves `out` alone where it does not.
    ///
    /// # Errors
    /// Not one: an outcome. The packet is to be dropped.
    pub fn handle_rtcp(&mut self, now: Stamp, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        let outcome = self.open_rtcp(now, packet);
        self.count(outcome, out)
    }

    fn count(&mut self, outcome: Result<BytesMut, Refused>, out: &mut Vec<u8>) -> Result<(), Refused> {
        match outcome {
            Ok(opened) => {
                self.stats.opened += 1;
                out.clear();
                out.extend_from_slice(&opened);
                Ok(())
            }
            Err(refused) => {
                match refused {
                    Refused::Malformed => self.stats.malformed += 1,
                    Refused::Replayed => self.stats.replayed += 1,
                    Refused::Forged => self.stats.forged += 1,
                }
                Err(refused)
            }
        }
    }

    fn open_rtp(&mut self, now: Stamp, packet: &[u8]) -> Result<BytesMut, Refused> {
        let header = header(packet).ok_or(Refused::Malformed)?;
        let Some(source) = self.sources.get_mut(&header.ssrc) else {
            return self.open_first_rtp(now, packet, &header);
        };
        let Some(window) = &mut source.rtp else {
            return self.open_first_rtp(now, packet, &header);
        };
        let Place::New(index) = window.place(header.sequence_number) else { return Err(Refused::Replayed) };
        if let Ok(opened) = source.context.decrypt_rtp_with_header(packet, &header) {
            window.accept(index);
            source.last_heard = now;
            return Ok(opened);
        }
        // It may have been away for longer than half a round of the sequence numbers.
        let from = window.rollover().saturating_add(1);
        let (found, opened, rollover) = self.search(now, packet, &header, from).ok_or(Refused::Forged)?;
        let source = self.sources.get_mut(&header.ssrc).expect("found above");
        source.context = found;
        source.rtp = Some(ReplayWindow::new(index_of(rollover, header.sequence_number)));
        source.last_heard = now;
        Ok(opened)
    }

    /// A packet of a source that has not shown yet that it has the key.
    fn open_first_rtp(&mut self, now: Stamp, packet: &[u8], header: &Header) -> Result<BytesMut, Refused> {
        let (context, opened, rollover) = match self.trial().decrypt_rtp_with_header(packet, header) {
            Ok(opened) => (self.take_trial(), opened, 0),
            Err(_) => self.search(now, packet, header, 1).ok_or(Refused::Forged)?,
        };
        let window = ReplayWindow::new(index_of(rollover, header.sequence_number));
        let rtcp = self.sources.remove(&header.ssrc).and_then(|known| known.rtcp);
        self.admit(header.ssrc, Secured { context, rtp: Some(window), rtcp, last_heard: now });
        Ok(opened)
    }

    fn open_rtcp(&mut self, now: Stamp, packet: &[u8]) -> Result<BytesMut, Refused> {
        let (start, _) = packet.split_first_chunk::<MIN_RTCP>().ok_or(Refused::Malformed)?;
        let ssrc = u32::from_be_bytes([start[4], start[5], start[6], start[7]]);
        let index = self.rtcp_index(packet).ok_or(Refused::Malformed)?;
        if let Some(source) = self.sources.get_mut(&ssrc) {
            let is_new = source.rtcp.as_ref().is_none_or(|window| window.is_new(index));
            if !is_new {
                return Err(Refused::Replayed);
            }
            let opened = source.context.decrypt_rtcp(packet).map_err(|_| Refused::Forged)?;
            source.rtcp.get_or_insert_with(|| ReplayWindow::new(index)).accept(index);
            source.last_heard = now;
            return Ok(opened);
        }
        let opened = self.trial().decrypt_rtcp(packet).map_err(|_| Refused::Forged)?;
        let context = self.take_trial();
        self.admit(ssrc, Secured { context, rtp: None, rtcp: Some(ReplayWindow::new(index)), last_heard: now });
        Ok(opened)
    }

    /// The index that an RTCP packet carries in front of its tag (RFC 3711, section 3.4), or at its end (RFC 7714,
    /// section 9.2). None without the bit that says "encrypted": rtc-srtp takes such a packet without a look at its
    /// tag, so that anybody could write it.
    fn rtcp_index(&self, packet: &[u8]) -> Option<u64> {
        let tag = self.key.suite().rtcp_index_from_end();
        let at = packet.len().checked_sub(tag + 4).filter(|at| *at >= MIN_RTCP)?;
        let word = u32::from_be_bytes(*packet[at..].first_chunk::<4>()?);
        (word & ENCRYPTED != 0).then_some(u64::from(word & !ENCRYPTED))
    }

    /// The context that packets of unknown sources are tried on.
    fn trial(&mut self) -> &mut Context {
        self.trials += 1;
        if self.trials > MAX_TRIALS {
            self.take_trial();
            self.trials = 1;
        }
        &mut self.trial
    }

    fn take_trial(&mut self) -> Context {
        self.trials = 0;
        std::mem::replace(&mut self.trial, context(&self.key))
    }

    /// Looks for the roll-over counter of a packet, from `first` on, now and then. rtc-srtp has no way to set it; it
    /// is led there by protecting empty packets, which go nowhere, at a third of a round each.
    fn search(
        &mut self,
        now: Stamp,
        packet: &[u8],
        packet_header: &Header,
        first: u32,
    ) -> Option<(Context, BytesMut, u32)> {
        if self.last_search.is_some_and(|last| now.since(last) < SEARCH_PAUSE_NS) {
            return None;
        }
        self.last_search = Some(now);
        let mut context = context(&self.key);
        let mut lead = Lead::new(packet_header);
        lead.step(&mut context, 0)?;
        for rollover in 1..first.saturating_add(MAX_ROLLOVER) {
            for third in [21_846, 21_845, 21_845] {
                lead.step(&mut context, third)?;
            }
            if rollover >= first
                && let Ok(opened) = context.decrypt_rtp_with_header(packet, packet_header)
            {
                self.stats.late_joins += 1;
                return Some((context, opened, rollover));
            }
        }
        None
    }

    fn admit(&mut self, ssrc: u32, source: Secured) {
        while self.sources.len() >= self.max_sources {
            let oldest = self.sources.iter().min_by_key(|(_, known)| known.last_heard).map(|(&ssrc, _)| ssrc);
            oldest.and_then(|ssrc| self.sources.remove(&ssrc));
        }
        self.sources.insert(ssrc, source);
    }
}

impl fmt::Debug for Unprotector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unprotector({}, {} sources)", self.key.suite(), self.sources.len())
    }
}

const fn index_of(rollover: u32, sequence: u16) -> u64 {
    (rollover as u64) << 16 | sequence as u64
}

/// Leads a context from number to number.
struct Lead {
    header: Header,
    packet: [u8; 12],
}

impl Lead {
    fn new(of: &Header) -> Self {
        let header = Header { csrc: Vec::new(), ..of.clone() };
        Self { header, packet: [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }
    }

    fn step(&mut self, context: &mut Context, by: u16) -> Option<()> {
        self.header.sequence_number = self.header.sequence_number.wrapping_add(by);
        context.encrypt_rtp_with_header(&self.packet, &self.header).ok().map(drop)
    }
}
