//! What a sender adds to its packets.

use core::fmt;
use core::str::FromStr;
use std::collections::VecDeque;

use vox_rtp::{Header, Packet, write_packet};

use crate::parity::{MAX_SPAN, Parity};
use crate::red::RedEncoder;

/// Insertions that are remembered for packets that come out of order.
const MAX_INSERTIONS: usize = 64;

/// Which packets each parity packet protects: `5` is each five in a row; `5x3` is five that lie three apart, so that a
/// burst of three losses can be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParityShape {
    packets: u16,
    apart: u16,
}

impl ParityShape {
    /// One parity packet for `packets` that lie `apart`; none where that is more than a mask covers.
    pub const fn new(packets: u16, apart: u16) -> Option<Self> {
        let fits = packets > 0 && apart > 0 && packets.saturating_mul(apart) < MAX_SPAN;
        if fits { Some(Self { packets, apart }) } else { None }
    }

    /// How many packets later, at most, a packet is restored.
    pub const fn reach(self) -> u16 {
        self.packets * self.apart
    }
}

impl fmt::Display for ParityShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.apart {
            1 => write!(f, "{}", self.packets),
            apart => write!(f, "{}x{apart}", self.packets),
        }
    }
}

impl FromStr for ParityShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (packets, apart) = text.split_once('x').unwrap_or((text, "1"));
        let shape = packets.parse().ok().zip(apart.parse().ok()).and_then(|(packets, apart)| Self::new(packets, apart));
        shape.ok_or_else(|| format!("not N or NxAPART, with N times APART at most {}", MAX_SPAN - 1))
    }
}

/// How a stream is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protection {
    /// Payload type of redundant audio, and how many generations it repeats.
    pub red: Option<(u8, usize)>,
    /// Payload type of parity packets, and what they protect.
    pub parity: Option<(u8, ParityShape)>,
}

/// Adds redundant audio and parity packets to the packets of one stream.
///
/// Parity packets have numbers between those of the media, as GStreamer has it: the packets after them are renumbered.
#[derive(Debug)]
pub struct Guard {
    protection: Protection,
    mtu: usize,
    red: Option<RedEncoder>,
    groups: VecDeque<Parity>,
    /// How many packets went into the groups since they were begun.
    grouped: u16,
    /// The highest number of the media, before renumbering.
    highest: Option<u16>,
    /// How many parity packets were inserted so far.
    inserted: u16,
    /// After which number of the media the latest of them were, oldest first.
    insertions: VecDeque<u16>,
    payload: Vec<u8>,
    packet: Vec<u8>,
}

impl Guard {
    /// A guard of a stream, whose packets should have `mtu` bytes of payload at most.
    pub fn new(protection: Protection, mtu: usize) -> Self {
        Self {
            protection,
            mtu,
            red: protection.red.map(|(_, generations)| RedEncoder::new(generations)),
            groups: VecDeque::new(),
            grouped: 0,
            highest: None,
            inserted: 0,
            insertions: VecDeque::new(),
            payload: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// Takes a media packet; `out` is called with what is to be sent for it, in order.
    pub fn handle_packet(&mut self, packet: &[u8], mut out: impl FnMut(&[u8])) {
        let Ok(media) = Packet::parse(packet) else { return };
        let mut header = media.header;
        header.sequence = self.renumber(header.sequence);
        self.packet.clear();
        self.packet.extend_from_slice(packet);
        self.packet[2..4].copy_from_slice(&header.sequence.to_be_bytes());
        if let (Some(red), Some((payload_type, _))) = (&mut self.red, self.protection.red)
            && !media.payload.is_empty()
        {
            red.encode(header.payload_type, header.timestamp, media.payload, self.mtu, &mut self.payload);
            header.payload_type = payload_type;
            // What stands before the payload stays as it is.
            let begins = 12 + media.csrc.len() + media.extension.map_or(0, |(_, bytes)| 4 + bytes.len());
            self.packet.truncate(begins);
            self.packet[0] &= !0x20;
            self.packet[1] = self.packet[1] & 0x80 | payload_type;
            self.packet.extend_from_slice(&self.payload);
        }
        out(&self.packet);
        if let Some((payload_type, shape)) = self.protection.parity {
            self.protect(header, payload_type, shape, out);
        }
    }

    /// The stream is at its end, for now: what is not protected yet is.
    pub fn finish(&mut self, mut out: impl FnMut(&[u8])) {
        let Some((payload_type, _)) = self.protection.parity else { return };
        let Some((sequence, ssrc, timestamp)) = Packet::parse(&self.packet)
            .ok()
            .map(|last| (last.header.sequence, last.header.ssrc, last.header.timestamp))
        else {
            return;
        };
        let mut header = Header { ssrc, sequence, timestamp, payload_type, marker: false };
        for group in core::mem::take(&mut self.groups).into_iter().filter(|group| group.count() > 0) {
            self.insert(&mut header, &group, &mut out);
        }
        self.grouped = 0;
    }

    /// The number that a packet of the media goes by.
    fn renumber(&mut self, sequence: u16) -> u16 {
        let is_newer = self.highest.is_none_or(|highest| (sequence.wrapping_sub(highest) as i16) > 0);
        if is_newer {
            self.highest = Some(sequence);
            return sequence.wrapping_add(self.inserted);
        }
        let later =
            self.insertions.iter().rev().take_while(|after| (sequence.wrapping_sub(**after) as i16) <= 0).count();
        sequence.wrapping_add(self.inserted).wrapping_sub(later as u16)
    }

    /// Adds the packet that was sent last to its group; sends the group's parity where it is complete.
    fn protect(&mut self, media: Header, payload_type: u8, shape: ParityShape, mut out: impl FnMut(&[u8])) {
        if media.marker {
            // What was before the silence is of no use to anybody by now.
            self.groups.clear();
            self.grouped = 0;
        }
        let column = usize::from(self.grouped % shape.apart);
        let is_first = self.grouped < shape.apart;
        if is_first {
            self.groups.push_back(Parity::new(media.sequence));
        }
        let Some(group) = self.groups.get_mut(column) else { return };
        if !group.add(&self.packet) {
            // Too far from the first of the group, or not the next one: out of order, or a hole in the numbers.
            self.groups.clear();
            self.grouped = 0;
            return;
        }
        self.grouped += 1;
        let complete = group.count() == u32::from(shape.packets);
        if complete {
            let group = group.clone();
            let mut header = Header { payload_type, marker: false, ..media };
            self.insert(&mut header, &group, &mut out);
        }
        if self.grouped == shape.reach() {
            self.groups.clear();
            self.grouped = 0;
        }
    }

    /// Sends a parity packet by the number after that of `header`.
    fn insert(&mut self, header: &mut Header, group: &Parity, out: &mut impl FnMut(&[u8])) {
        let Some(highest) = self.highest else { return };
        self.inserted = self.inserted.wrapping_add(1);
        if self.insertions.len() == MAX_INSERTIONS {
            self.insertions.pop_front();
        }
        self.insertions.push_back(highest);
        header.sequence = highest.wrapping_add(self.inserted);
        group.write(&mut self.payload);
        let mut packet = Vec::new();
        write_packet(*header, &[], &self.payload, &mut packet);
        out(&packet);
    }
}
