//! What a receiver makes of protected packets.

use std::collections::{BTreeMap, VecDeque};

use vox_frame::Unwrapper;
use vox_rtp::{Header, Packet, write_packet};

use crate::parity::ReceivedParity;
use crate::red::read_red;

/// Packets of a source that are remembered: more than two masks of parity packets.
const MAX_SEEN: usize = 128;

/// Parity packets of a source that still may restore something.
const MAX_PARITY: usize = 24;

/// The longest packet that is kept to restore others of, in bytes.
const MAX_KEPT: usize = 2048;

/// Bytes that a parity packet has before what it restores with.
const MAX_PARITY_HEADER: usize = 18;

/// How far from where its timestamp puts it the number of a repaired packet may lie.
const MAX_ASIDE: u64 = 48;

/// A jump of the numbers by more than this is a new beginning.
const MAX_JUMP: u64 = 3000;

/// How packets come out of a [`Restorer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was sent like that, or carried in what was.
    Received,
    /// It was lost, and repaired.
    Recovered,
}

/// What a [`Restorer`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreStats {
    /// Packets that redundant audio gave back.
    pub recovered_red: u64,
    /// Packets that parity gave back.
    pub recovered_parity: u64,
    /// Parity packets received.
    pub parity_packets: u64,
    /// Packets of redundant audio, or of parity, that could not be read.
    pub malformed: u64,
}

/// Undoes redundant audio and parity packets of a bounded number of sources, each by the path `P` on which its packets
/// come (an address, a connection) and its SSRC.
#[derive(Debug)]
pub struct Restorer<P> {
    red: u128,
    parity: u128,
    max_sources: usize,
    sources: BTreeMap<(P, u32), Source>,
    /// Counts packets, to know which source was silent longest.
    turn: u64,
    stats: RestoreStats,
}

#[derive(Debug, Default)]
struct Source {
    numbers: Unwrapper,
    /// The packets that were seen or recovered, by their numbers.
    seen: BTreeMap<u64, Seen>,
    /// Up to where what was seen has been forgotten.
    floor: u64,
    parity: VecDeque<ReceivedParity>,
    /// Payload type of the media, to give a parity packet's number away by.
    media: Option<u8>,
    last_turn: u64,
    scratch: Vec<u8>,
}

#[derive(Debug, Default)]
struct Seen {
    timestamp: u32,
    /// The packet as it was sent; empty where it is not known, or too long.
    bytes: Vec<u8>,
    /// Whether it is a parity packet, whose timestamp is that of another.
    parity: bool,
}

impl<P: Copy + Ord> Restorer<P> {
    /// A restorer of at most `max_sources` sources.
    pub fn new(max_sources: usize) -> Self {
        Self {
            red: 0,
            parity: 0,
            max_sources: max_sources.max(1),
            sources: BTreeMap::new(),
            turn: 0,
            stats: RestoreStats::default(),
        }
    }

    /// Packets of that payload type are redundant audio.
    pub const fn expect_red(&mut self, payload_type: u8) {
        self.red |= 1 << (payload_type & 0x7f);
    }

    /// Packets of that payload type are parity packets.
    pub const fn expect_parity(&mut self, payload_type: u8) {
        self.parity |= 1 << (payload_type & 0x7f);
    }

    /// What was done so far.
    pub const fn stats(&self) -> &RestoreStats {
        &self.stats
    }

    /// Whether anything is known of that source.
    pub fn knows(&self, path: P, ssrc: u32) -> bool {
        self.sources.contains_key(&(path, ssrc))
    }

    /// Whether redundant audio gave the packet of that timestamp back. It may go by another number than it was sent by:
    /// numbers are not in redundant audio.
    pub fn has_recovered(&self, path: P, ssrc: u32, timestamp: u32) -> bool {
        let source = self.sources.get(&(path, ssrc));
        source.is_some_and(|source| {
            source.seen.values().any(|seen| seen.bytes.is_empty() && !seen.parity && seen.timestamp == timestamp)
        })
    }

    /// Takes a packet that came by `path`; `out` is called with the packets that it makes,
    /// what was recovered first. What is no RTP packet, or none of a source that protects its packets, is passed on.
    pub fn handle_packet(&mut self, path: P, bytes: &[u8], mut out: impl FnMut(&[u8], Origin)) {
        let Ok(packet) = Packet::parse(bytes) else { return out(bytes, Origin::Received) };
        let key = (path, packet.header.ssrc);
        let bit = 1u128 << packet.header.payload_type;
        let (is_red, is_parity) = (self.red & bit != 0, self.parity & bit != 0);
        // Whoever protects nothing costs nothing: a flood of sources leaves no state.
        if !is_red && !is_parity && !self.sources.contains_key(&key) {
            return out(bytes, Origin::Received);
        }
        self.turn += 1;
        self.make_room(key);
        let source = self.sources.entry(key).or_default();
        source.last_turn = self.turn;
        let number = source.number(packet.header.sequence);
        if is_parity {
            source.take_parity(&packet, number, &mut self.stats, self.red, &mut out);
            return;
        }
        source.remember(number, packet.header.timestamp, bytes);
        source.restore_around(&mut self.stats, self.red, packet.header.ssrc, &mut out);
        if is_red {
            let unreadable = source.unpack(number, &packet, Origin::Received, &mut self.stats, &mut out).is_none();
            self.stats.malformed += u64::from(unreadable);
        } else {
            source.media = Some(packet.header.payload_type);
            out(bytes, Origin::Received);
        }
    }

    fn make_room(&mut self, key: (P, u32)) {
        if self.sources.contains_key(&key) || self.sources.len() < self.max_sources {
            return;
        }
        let oldest = self.sources.iter().min_by_key(|(_, source)| source.last_turn).map(|(key, _)| *key);
        oldest.and_then(|key| self.sources.remove(&key));
    }
}

impl Source {
    /// The extended number of a packet. A sender that began anew is another one.
    fn number(&mut self, sequence: u16) -> u64 {
        let number = self.numbers.extend(sequence).0;
        let newest = self.seen.last_key_value().map_or(number, |(newest, _)| *newest);
        if number.abs_diff(newest) > MAX_JUMP {
            *self = Self { last_turn: self.last_turn, ..Self::default() };
            return self.number(sequence);
        }
        if self.seen.is_empty() {
            // What was before the first that is known may have come.
            self.floor = self.floor.max(number - 1);
        }
        number
    }

    fn remember(&mut self, number: u64, timestamp: u32, bytes: &[u8]) {
        let mut kept = Vec::new();
        while self.seen.len() >= MAX_SEEN {
            if let Some((oldest, freed)) = self.seen.pop_first() {
                self.floor = oldest;
                kept = freed.bytes;
            }
        }
        kept.clear();
        if bytes.len() <= MAX_KEPT {
            kept.extend_from_slice(bytes);
        }
        if number > self.floor {
            self.seen.insert(number, Seen { timestamp, bytes: kept, parity: false });
        }
    }

    /// Gives the blocks of a packet of redundant audio: those that were lost, then its own. None where it is none.
    fn unpack(
        &mut self,
        number: u64,
        packet: &Packet<'_>,
        origin: Origin,
        stats: &mut RestoreStats,
        out: &mut impl FnMut(&[u8], Origin),
    ) -> Option<()> {
        let blocks = read_red(packet.payload).ok()?;
        let mut back = blocks.clone().count() as u64;
        for block in blocks {
            back -= 1;
            let mut header = Header { payload_type: block.payload_type, ..packet.header };
            if back == 0 {
                self.media = Some(block.payload_type);
                // Contributing sources and header extension belong to this block.
                write_packet_like(packet, header, block.payload, &mut self.scratch);
                out(&self.scratch, origin);
                break;
            }
            let timestamp = packet.header.timestamp.wrapping_sub(block.offset);
            if block.payload.is_empty() || block.offset == 0 {
                continue;
            }
            let Some(lost) = self.place(number, packet.header.timestamp, timestamp, back) else { continue };
            header.sequence = lost as u16;
            header.timestamp = timestamp;
            header.marker = false;
            self.seen.insert(lost, Seen { timestamp, ..Seen::default() });
            stats.recovered_red += 1;
            write_packet(header, &[], block.payload, &mut self.scratch);
            out(&self.scratch, Origin::Recovered);
        }
        Some(())
    }

    /// The number of the lost packet of that timestamp, which a packet `back` packets later carries; none where it was
    /// not lost. Numbers are not in the blocks: it lies between those of its neighbours, as far as its timestamp does.
    fn place(&self, carrier: u64, carried_at: u32, timestamp: u32, back: u64) -> Option<u64> {
        let mut above = (carrier, carried_at);
        let mut below = None;
        for (&number, seen) in self.seen.range(..carrier).rev().filter(|(_, seen)| !seen.parity) {
            match timestamp.wrapping_sub(seen.timestamp) as i32 {
                0 => return None,
                1.. => {
                    below = Some((number, seen.timestamp));
                    break;
                }
                _ => above = (number, seen.timestamp),
            }
        }
        let (low, likely) = match below {
            None => (self.floor, carrier.checked_sub(back)?),
            Some((low, low_at)) => {
                let (steps, span) = (above.0 - low, u64::from(above.1.wrapping_sub(low_at)).max(1));
                let into = u64::from(timestamp.wrapping_sub(low_at));
                (low, low + (into * steps + span / 2) / span)
            }
        };
        let is_free = |number: &u64| *number > low && *number < above.0 && !self.seen.contains_key(number);
        (0..=MAX_ASIDE).flat_map(|aside| [likely.saturating_sub(aside), likely + aside]).find(is_free)
    }

    fn take_parity(
        &mut self,
        packet: &Packet<'_>,
        number: u64,
        stats: &mut RestoreStats,
        red: u128,
        out: &mut impl FnMut(&[u8], Origin),
    ) {
        stats.parity_packets += 1;
        self.seen.insert(number, Seen { parity: true, ..Seen::default() });
        match ReceivedParity::read(packet.payload).filter(|_| packet.payload.len() <= MAX_KEPT + MAX_PARITY_HEADER) {
            Some(parity) => {
                if self.parity.len() == MAX_PARITY {
                    self.parity.pop_front();
                }
                self.parity.push_back(parity);
                self.restore_around(stats, red, packet.header.ssrc, out);
            }
            None => stats.malformed += 1,
        }
        // Its number is used, and no audio is missing there.
        if let Some(payload_type) = self.media {
            write_packet(Header { payload_type, ..packet.header }, &[], &[], &mut self.scratch);
            out(&self.scratch, Origin::Received);
        }
    }

    /// Restores what parity packets can, until there is no more.
    fn restore_around(&mut self, stats: &mut RestoreStats, red: u128, ssrc: u32, out: &mut impl FnMut(&[u8], Origin)) {
        let mut at = 0;
        while at < self.parity.len() {
            match self.try_restore(&self.parity[at], ssrc) {
                Attempt::Later => at += 1,
                Attempt::Useless => drop(self.parity.remove(at)),
                Attempt::Restored(number, bytes) => {
                    self.parity.remove(at);
                    // What is restored may complete another group.
                    at = 0;
                    stats.recovered_parity += 1;
                    let Ok(packet) = Packet::parse(&bytes) else { continue };
                    self.remember(number, packet.header.timestamp, &bytes);
                    if red & 1 << packet.header.payload_type == 0 {
                        out(&bytes, Origin::Recovered);
                    } else if self.unpack(number, &packet, Origin::Recovered, stats, out).is_none() {
                        stats.malformed += 1;
                    }
                }
            }
        }
    }

    fn try_restore(&self, parity: &ReceivedParity, ssrc: u32) -> Attempt {
        let Some((&newest, _)) = self.seen.last_key_value() else { return Attempt::Later };
        let nearest =
            |sequence: u16| newest.saturating_add_signed(i64::from(sequence.wrapping_sub(newest as u16) as i16));
        let (mut missing, mut restorable) = (None, true);
        for number in parity.protects().map(nearest) {
            if number <= self.floor {
                return Attempt::Useless;
            }
            if !self.seen.contains_key(&number) {
                if missing.is_some() {
                    return Attempt::Later;
                }
                missing = Some(number);
            }
            // What redundant audio gave back is not the packet as it was sent.
            restorable &= Some(number) == missing || self.seen.get(&number).is_some_and(|seen| !seen.bytes.is_empty());
        }
        let Some(missing) = missing else { return Attempt::Useless };
        if !restorable {
            return Attempt::Later;
        }
        let mut bytes = Vec::new();
        let find = |sequence| self.seen.get(&nearest(sequence)).map(|seen| seen.bytes.as_slice());
        if parity.restore(ssrc, missing as u16, find, &mut bytes) && Packet::parse(&bytes).is_ok() {
            Attempt::Restored(missing, bytes)
        } else {
            Attempt::Useless
        }
    }
}

/// What came of a parity packet.
enum Attempt {
    /// More than one of its packets is missing yet.
    Later,
    /// None is missing, or they are too old, or it does not fit them.
    Useless,
    /// The packet of that number.
    Restored(u64, Vec<u8>),
}

/// Writes a packet with another header and payload, and with the contributing sources and the header extension of `packet`.
pub(crate) fn write_packet_like(packet: &Packet<'_>, header: Header, payload: &[u8], out: &mut Vec<u8>) {
    write_packet(header, packet.csrc, payload, out);
    let Some((profile, bytes)) = packet.extension.filter(|(_, bytes)| bytes.len() % 4 == 0) else { return };
    let at = 12 + packet.csrc.len();
    let mut extension = Vec::with_capacity(4 + bytes.len());
    extension.extend_from_slice(&profile.to_be_bytes());
    extension.extend_from_slice(&((bytes.len() / 4) as u16).to_be_bytes());
    extension.extend_from_slice(bytes);
    out.splice(at..at, extension);
    out[0] |= 0x10;
}
