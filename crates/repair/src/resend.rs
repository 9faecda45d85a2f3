//! Retransmission: the sender's half. It keeps what it has sent, and sends again what is asked for (RFC 4588).

use std::collections::VecDeque;

use vox_frame::Stamp;
use vox_rtp::{Header, Packet, write_extended};

/// Packets that are kept, whatever their age: ten seconds of 20 ms.
const MAX_PACKETS: usize = 512;

/// How often a packet is sent again, at most.
const MAX_TIMES: u8 = 3;

/// What may be sent again at once, in bytes, and for every byte sent a quarter more: a forged request cannot make
/// this side send more than 1.25 times what it sends anyway.
const BURST: u64 = 8 * 1024;
const SHARE: u64 = 4;

/// How retransmissions are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResendConfig {
    /// How long packets are kept, in ns: no longer than a receiver can still use them.
    pub keep_ns: i64,
    /// Payload type and SSRC of a stream of its own (RFC 4588); none to send the packets once more as they were.
    pub stream: Option<(u8, u32)>,
}

/// Keeps the packets of one stream and sends them again.
#[derive(Debug)]
pub struct Resender {
    config: ResendConfig,
    kept: VecDeque<Kept>,
    sequence: u16,
    allowance: u64,
    refused: u64,
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
        Self { config, kept: VecDeque::new(), sequence: first, allowance: BURST, refused: 0 }
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
            let Some(kept) = found.filter(|kept| now.since(kept.sent) <= keep && kept.times < MAX_TIMES) else {
                self.refused += 1;
                continue;
            };
            if self.allowance < kept.packet.len() as u64 {
                self.refused += 1;
                continue;
            }
            self.allowance -= kept.packet.len() as u64;
            kept.times += 1;
            match self.config.stream {
                None => out(&kept.packet),
                Some((payload_type, ssrc)) => {
                    let Ok(packet) = Packet::parse(&kept.packet) else { continue };
                    let header = Header { payload_type, ssrc, sequence: self.sequence, ..packet.header };
                    // The original number goes before the payload (RFC 4588, section 4).
                    let payload = [&packet.header.sequence.to_be_bytes(), packet.payload].concat();
                    let mut again = Vec::new();
                    write_extended(header, packet.csrc, &[], &payload, &mut again);
                    self.sequence = self.sequence.wrapping_add(1);
                    out(&again);
                }
            }
        }
    }

    /// How many packets were asked for and not sent: too old, too often, too many, or never sent.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

/// Makes the packet again that a retransmission carries, of payload type and SSRC `original`, into `out`. False where
/// it carries none: padding, to probe the network.
pub fn read_resent(packet: &Packet<'_>, original: (u8, u32), out: &mut Vec<u8>) -> bool {
    let Some((sequence, payload)) = packet.payload.split_first_chunk::<2>() else { return false };
    let (payload_type, ssrc) = original;
    let header = Header { payload_type, ssrc, sequence: u16::from_be_bytes(*sequence), ..packet.header };
    write_extended(header, packet.csrc, &[], payload, out);
    true
}
