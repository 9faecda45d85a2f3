//! Retransmission: the sender's half. It keeps what it has sent, and sends again what is asked for (RFC 4588).

use std::collections::{BTreeMap, VecDeque};

use vox_frame::Stamp;
use vox_rtp::{Header, Packet};

use crate::restore::write_packet_like;

/// Packets that are kept, whatever their age: ten seconds of 20 ms.
const MAX_PACKETS: usize = 512;

/// How often a packet is sent again, at most.
const MAX_TIMES: u8 = 3;

/// What may be sent again at once, in bytes, and for every byte sent a quarter more: a forged request cannot make
/// this side send more than 1.25 times what it sends anyway.
const BURST: u64 = 8 * 1024;
const SHARE: u64 = 4;

/// How retransmissions are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResendConfig {
    /// How long packets are kept, in ns: no longer than a receiver can still use them.
    pub keep_ns: i64,
    /// A stream of their own (RFC 4588); none to send the packets once more as they were.
    pub stream: Option<OwnStream>,
}

/// A stream of retransmissions beside that of the packets (RFC 4588, "SSRC multiplexing").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnStream {
    /// Its SSRC.
    pub ssrc: u32,
    /// By which payload type packets of each payload type are sent again; those of others are not.
    pub types: BTreeMap<u8, u8>,
}

/// Keeps the packets of one stream and sends them again.
#[derive(Debug)]
pub struct Resender {
    config: ResendConfig,
    kept: VecDeque<Kept>,
    sequence: u16,
    allowance: u64,
    refused: u64,
    again: Vec<u8>,
}

#[derive(Debug)]
struct Kept {
    sequence: u16,
    sent: Stamp,
    times: u8,
    packet: Vec<u8>,
}

impl Resender {
    /// A sender that has sent nothing; `first` is the first number of a stream of its own.
    pub const fn new(config: ResendConfig, first: u16) -> Self {
        Self { config, kept: VecDeque::new(), sequence: first, allowance: BURST, refused: 0, again: Vec::new() }
    }

    /// A packet has been sent.
    pub fn handle_sent(&mut self, now: Stamp, packet: &[u8]) {
        let Ok(parsed) = Packet::parse(packet) else { return };
        self.allowance = (self.allowance + packet.len() as u64 / SHARE).min(BURST);
        let mut bytes = Vec::new();
        while self
            .kept
            .front()
            .is_some_and(|oldest| self.kept.len() >= MAX_PACKETS || now.since(oldest.sent) > self.config.keep_ns)
        {
            bytes = self.kept.pop_front().map(|oldest| oldest.packet).unwrap_or_default();
        }
        bytes.clear();
        bytes.extend_from_slice(packet);
        self.kept.push_back(Kept { sequence: parsed.header.sequence, sent: now, times: 0, packet: bytes });
    }

    /// Packets of these numbers are asked for; `out` is called with what is to be sent.
    pub fn handle_request(&mut self, now: Stamp, numbers: &[u16], mut out: impl FnMut(&[u8])) {
        for number in numbers.iter().take(MAX_PACKETS) {
            let keep = self.config.keep_ns;
            let found = self.kept.iter_mut().rev().find(|kept| kept.sequence == *number);
            let own = self.config.stream.as_ref();
            let may_go = |kept: &&mut Kept| {
                let fits = own.is_none_or(|own| own.types.contains_key(&(kept.packet[1] & 0x7f)));
                fits && now.since(kept.sent) <= keep && kept.times < MAX_TIMES
            };
            let Some(kept) = found.filter(may_go) else {
                self.refused += 1;
                continue;
            };
            if self.allowance < kept.packet.len() as u64 {
                self.refused += 1;
                continue;
            }
            self.allowance -= kept.packet.len() as u64;
            kept.times += 1;
            match own {
                None => out(&kept.packet),
                Some(own) => {
                    let Ok(packet) = Packet::parse(&kept.packet) else { continue };
                    write_again(&packet, own, self.sequence, &mut self.again);
                    self.sequence = self.sequence.wrapping_add(1);
                    out(&self.again);
                }
            }
        }
    }

    /// How many packets were asked for and not sent: too old, too often, too many, or never sent.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

/// Writes a packet of the stream of its own that carries another: the original number goes before the payload (RFC 4588,
/// section 4). What stands before that, and a header extension, is the original's.
fn write_again(packet: &Packet<'_>, own: &OwnStream, sequence: u16, out: &mut Vec<u8>) {
    let original = packet.header;
    let payload_type = own.types.get(&original.payload_type).copied().unwrap_or(original.payload_type);
    let payload = [&original.sequence.to_be_bytes(), packet.payload].concat();
    write_packet_like(packet, Header { payload_type, ssrc: own.ssrc, sequence, ..original }, &payload, out);
}

/// Makes the packet again that a retransmission carries, of payload type and SSRC `original`, into `out`. False where
/// it carries none: padding, to probe the network.
pub fn read_resent(packet: &Packet<'_>, original: (u8, u32), out: &mut Vec<u8>) -> bool {
    let Some((sequence, payload)) = packet.payload.split_first_chunk::<2>() else { return false };
    let (payload_type, ssrc) = original;
    let header = Header { payload_type, ssrc, sequence: u16::from_be_bytes(*sequence), ..packet.header };
    write_packet_like(packet, header, payload, out);
    true
}
