//! Retransmission: the receiver's half. It notices what is missing, and asks for it while that can help (RFC 4585).

use std::collections::BTreeMap;

use vox_frame::{Stamp, Unwrapper};

/// Numbers that are asked for at a time; of more in a row the path is broken, not lossy.
const MAX_MISSING: usize = 128;

/// How long a packet may be late before it is asked for, in ns, where nothing else is known of the network.
pub const PATIENCE_NS: i64 = 5_000_000;

/// How often a packet is asked for, at most.
const MAX_TIMES: u8 = 3;

/// Packet type of transport layer feedback, and its format for a generic NACK (RFC 4585, sections 6.1 and 6.2.1).
const TRANSPORT_FEEDBACK: u8 = 205;
const GENERIC_NACK: u8 = 1;

/// Requests that are read of one packet.
const MAX_REQUESTS: usize = 16;

/// When packets are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestConfig {
    /// How long a packet may be late by the network alone before it is missing, in ns.
    pub patience_ns: i64,
    /// How long after it should have come a packet is of use, in ns.
    pub useful_ns: i64,
}

/// Asks for the missing packets of one stream.
#[derive(Debug)]
pub struct Requester {
    config: RequestConfig,
    numbers: Unwrapper,
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    round_trip_ns: i64,
    asked: u64,
    repaired: u64,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Stamp,
    next: Stamp,
    times: u8,
    /// It is there by now. Asked for more than once, it may come more than once.
    repaired: bool,
}

/// What a packet is to a [`Requester`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Nobody asked for it.
    Unasked,
    /// It was asked for: its time of arrival is no measure of anything.
    Asked,
    /// It was asked for, and has come already or was repaired by other means.
    TooLate,
}

impl Requester {
    /// A requester that has heard nothing. Until it is told otherwise the round trip takes 100 ms.
    pub fn new(config: RequestConfig) -> Self {
        Self {
            config,
            numbers: Unwrapper::default(),
            highest: None,
            missing: BTreeMap::new(),
            round_trip_ns: 100_000_000,
            asked: 0,
            repaired: 0,
        }
    }

    /// The round trip, as RTCP tells it.
    pub fn set_round_trip(&mut self, ns: i64) {
        self.round_trip_ns = ns.clamp(1_000_000, 10_000_000_000);
    }

    /// A packet of that number came.
    pub fn handle_packet(&mut self, now: Stamp, sequence: u16) -> Arrival {
        let number = self.numbers.extend(sequence).0;
        if let Some(missing) = self.missing.get_mut(&number) {
            if missing.times == 0 {
                self.missing.remove(&number);
                return Arrival::Unasked;
            }
            if core::mem::replace(&mut missing.repaired, true) {
                return Arrival::TooLate;
            }
            self.repaired += 1;
            return Arrival::Asked;
        }
        let Some(highest) = self.highest.replace(self.highest.map_or(number, |highest| highest.max(number))) else {
            return Arrival::Unasked;
        };
        let gap = number.saturating_sub(highest + 1);
        if gap as usize > MAX_MISSING {
            self.missing.clear();
            return Arrival::Unasked;
        }
        let first = Missing { since: now, next: now.plus(self.config.patience_ns), times: 0, repaired: false };
        self.missing.extend((highest + 1..number).map(|number| (number, first)));
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
        }
        Arrival::Unasked
    }

    /// The packet of that number was repaired by other means: nobody needs to send it again.
    pub fn handle_repaired(&mut self, sequence: u16) {
        let Some((&number, missing)) = self.missing.iter_mut().find(|(number, _)| **number as u16 == sequence) else {
            return;
        };
        missing.repaired = true;
        if missing.times == 0 {
            self.missing.remove(&number);
        }
    }

    /// Whether the packet of that number was asked for and has not come.
    pub fn has_asked_for(&self, sequence: u16) -> bool {
        self.missing
            .iter()
            .any(|(number, missing)| *number as u16 == sequence && missing.times > 0 && !missing.repaired)
    }

    /// When [`poll`](Self::poll) has something to ask for.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.missing.values().filter(|missing| !missing.repaired).map(|missing| missing.next).min()
    }

    /// The numbers to ask for now, in order; each is asked for again after one and a half round trips. One that could
    /// not come in time is given up.
    pub fn poll(&mut self, now: Stamp) -> Vec<u16> {
        let (round_trip, useful) = (self.round_trip_ns, self.config.useful_ns);
        let mut numbers = Vec::new();
        self.missing.retain(|number, missing| {
            if missing.repaired {
                // What was asked for may still come.
                return now.since(missing.since) < useful;
            }
            if now < missing.next {
                return true;
            }
            let in_time = now.since(missing.since) + round_trip <= useful;
            if !in_time || missing.times >= MAX_TIMES {
                return false;
            }
            missing.times += 1;
            missing.next = now.plus(round_trip + round_trip / 2);
            numbers.push(*number as u16);
            true
        });
        self.asked += numbers.len() as u64;
        numbers
    }

    /// How many requests for a packet were made, and how many packets came of them.
    pub const fn stats(&self) -> (u64, u64) {
        (self.asked, self.repaired)
    }
}

/// Appends a packet of `by` to a compound RTCP packet that asks the source `of` for these numbers again: a generic NACK.
pub fn append_request(by: u32, of: u32, numbers: &[u16], compound: &mut Vec<u8>) {
    let entries = write_nack(numbers);
    compound.extend_from_slice(&[0x80 | GENERIC_NACK, TRANSPORT_FEEDBACK]);
    compound.extend_from_slice(&(2 + entries.len() as u16).to_be_bytes());
    compound.extend_from_slice(&by.to_be_bytes());
    compound.extend_from_slice(&of.to_be_bytes());
    for (first, bits) in entries {
        compound.extend_from_slice(&first.to_be_bytes());
        compound.extend_from_slice(&bits.to_be_bytes());
    }
}

/// What a compound RTCP packet asks for again: a source, and the numbers of its packets.
pub fn read_requests(compound: &[u8]) -> Vec<(u32, Vec<u16>)> {
    let (mut requests, mut rest) = (Vec::new(), compound);
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((packet, after)) = rest.split_at_checked(length) else { break };
        rest = after;
        if (first & 0x1f, kind) != (GENERIC_NACK, TRANSPORT_FEEDBACK) || requests.len() == MAX_REQUESTS {
            continue;
        }
        let Some((_, [a, b, c, d, entries @ ..])) = packet.split_first_chunk::<8>() else { continue };
        let (entries, _) = entries.as_chunks::<4>();
        let entries: Vec<(u16, u16)> =
            entries.iter().map(|[a, b, c, d]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))).collect();
        let numbers = read_nack(&entries).take(MAX_MISSING).collect();
        requests.push((u32::from_be_bytes([*a, *b, *c, *d]), numbers));
    }
    requests
}

/// Numbers as the entries of a generic NACK (RFC 4585, section 6.2.1): one, and a bit for each of the 16 after it.
pub fn write_nack(numbers: &[u16]) -> Vec<(u16, u16)> {
    let mut entries: Vec<(u16, u16)> = Vec::new();
    for &number in numbers {
        match entries.last_mut() {
            Some((first, bits)) if (1..=16).contains(&number.wrapping_sub(*first)) => {
                *bits |= 1 << (number.wrapping_sub(*first) - 1);
            }
            Some((first, _)) if *first == number => {}
            _ => entries.push((number, 0)),
        }
    }
    entries
}

/// The numbers that the entries of a generic NACK name.
pub fn read_nack(entries: &[(u16, u16)]) -> impl Iterator<Item = u16> + '_ {
    entries.iter().flat_map(|&(first, bits)| {
        let more = (0..16u16).filter(move |bit| bits & 1 << bit != 0).map(move |bit| first.wrapping_add(bit + 1));
        core::iter::once(first).chain(more)
    })
}
