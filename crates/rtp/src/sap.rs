//! Announcements of sessions (SAP, RFC 2974): packets that carry a session description to whoever listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vox_frame::Stamp;

/// The port of announcements.
pub const SAP_PORT: u16 = 9875;

/// The largest description that is announced or taken, in bytes. RFC 2974, section 6, asks for packets below 1 KB.
pub const MAX_DESCRIPTION: usize = 8192;

/// Version 1 in the first three bits.
const VERSION: u8 = 0x20;
const VERSION_MASK: u8 = 0xe0;
const IPV6: u8 = 0x10;
const DELETION: u8 = 0x04;
const ENCRYPTED: u8 = 0x02;
const COMPRESSED: u8 = 0x01;

/// What the payload is, ended by a zero; packets may leave it out before a description (RFC 2974, section 6).
const SDP_TYPE: &[u8] = b"application/sdp";

/// A packet of SAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SapPacket<'a> {
    /// Whether the session is withdrawn.
    pub deletion: bool,
    /// Changes with the description; 0 says nothing.
    pub hash: u16,
    /// Who first said it; anybody can write anything here.
    pub origin: IpAddr,
    /// The description; of a deletion at least its `o=` line.
    pub description: &'a [u8],
}

/// Why a datagram announces nothing of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SapError {
    /// Its header is no SAP of version 1.
    #[error("not SAP, version 1")]
    Version,
    /// It ends within its header.
    #[error("it ends within its header")]
    Short,
    /// It is encrypted or compressed: neither is in use, and what nobody checked would have to be unpacked.
    #[error("it is encrypted or compressed")]
    Packed,
    /// It carries something else, or too much.
    #[error("it carries no session description")]
    Payload,
}

impl<'a> SapPacket<'a> {
    /// Reads a datagram. Its authentication, where it has some, is passed over.
    ///
    /// # Errors
    /// Where it announces nothing of use.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SapError> {
        let (&[flags, authentication, high, low], rest) = bytes.split_first_chunk::<4>().ok_or(SapError::Short)?;
        if flags & VERSION_MASK != VERSION {
            return Err(SapError::Version);
        }
        if flags & (ENCRYPTED | COMPRESSED) != 0 {
            return Err(SapError::Packed);
        }
        let (origin, rest) = if flags & IPV6 == 0 {
            let (octets, rest) = rest.split_first_chunk::<4>().ok_or(SapError::Short)?;
            (IpAddr::from(Ipv4Addr::from(*octets)), rest)
        } else {
            let (octets, rest) = rest.split_first_chunk::<16>().ok_or(SapError::Short)?;
            (IpAddr::from(Ipv6Addr::from(*octets)), rest)
        };
        let payload = rest.get(usize::from(authentication) * 4..).ok_or(SapError::Short)?;
        let description = description_of(payload).filter(|text| text.len() <= MAX_DESCRIPTION);
        Ok(Self {
            deletion: flags & DELETION != 0,
            hash: u16::from_be_bytes([high, low]),
            origin,
            description: description.ok_or(SapError::Payload)?,
        })
    }

    /// The packet as a datagram.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24 + SDP_TYPE.len() + self.description.len());
        let family = if self.origin.is_ipv4() { 0 } else { IPV6 };
        bytes.extend_from_slice(&[VERSION | family | if self.deletion { DELETION } else { 0 }, 0]);
        bytes.extend_from_slice(&self.hash.to_be_bytes());
        match self.origin {
            IpAddr::V4(origin) => bytes.extend_from_slice(&origin.octets()),
            IpAddr::V6(origin) => bytes.extend_from_slice(&origin.octets()),
        }
        bytes.extend_from_slice(SDP_TYPE);
        bytes.push(0);
        bytes.extend_from_slice(self.description);
        bytes
    }
}

fn description_of(payload: &[u8]) -> Option<&[u8]> {
    if payload.starts_with(b"v=0") || payload.starts_with(b"o=") {
        return Some(payload);
    }
    let end = payload.iter().position(|byte| *byte == 0)?;
    (payload[..end].eq_ignore_ascii_case(SDP_TYPE)).then(|| &payload[end + 1..])
}

/// The groups that announcements are heard on: global, organisation-local and site-local ones of IPv4, and the same
/// address in the scopes of IPv6 from link to global (RFC 2974, section 3; RFC 2365, section 6).
pub const SAP_GROUPS: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(224, 2, 127, 254)),
    IpAddr::V4(Ipv4Addr::new(239, 195, 255, 255)),
    IpAddr::V4(Ipv4Addr::new(239, 255, 255, 255)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 2, 0x7ffe)),
    IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 2, 0x7ffe)),
    IpAddr::V6(Ipv6Addr::new(0xff08, 0, 0, 0, 0, 0, 2, 0x7ffe)),
    IpAddr::V6(Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 2, 0x7ffe)),
];

/// The group on which a session with media at `address` is announced: the highest address of the scope that it lies
/// in. Media for one host are announced to its link or site only.
pub const fn sap_group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => match address.octets() {
            // 239.192.0.0/14 is the organisation's (RFC 2365, section 6.2).
            [239, 192..=195, ..] => SAP_GROUPS[1],
            [224..=238, ..] => SAP_GROUPS[0],
            _ => SAP_GROUPS[2],
        },
        IpAddr::V6(address) if address.is_multicast() => {
            let scope = 0xff00 | address.segments()[0] & 0xf;
            IpAddr::V6(Ipv6Addr::new(scope, 0, 0, 0, 0, 0, 2, 0x7ffe))
        }
        IpAddr::V6(_) => SAP_GROUPS[3],
    }
}

/// Announces one session, again and again, until it is withdrawn.
#[derive(Debug, Clone)]
pub struct SapAnnouncer {
    origin: IpAddr,
    interval_ns: i64,
    random: u64,
    announced: Option<Announced>,
}

#[derive(Debug, Clone)]
struct Announced {
    description: String,
    hash: u16,
    due: Stamp,
}

impl SapAnnouncer {
    /// An announcer at `origin` that has nothing to say yet. `seed` decides about the hashes and when exactly it speaks.
    pub const fn new(origin: IpAddr, interval_ns: i64, seed: u64) -> Self {
        Self { origin, interval_ns, random: seed | 1, announced: None }
    }

    /// The session is described so from now on.
    pub fn describe(&mut self, now: Stamp, description: String) {
        // RFC 2974, section 5: another description, another hash; 0 would say nothing.
        let hash = (self.draw() as u16).max(1);
        self.announced = Some(Announced { description, hash, due: now });
    }

    /// When [`poll`](Self::poll) has something to send.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.announced.as_ref().map(|announced| announced.due)
    }

    /// The announcement that is due. The next comes a third of the interval earlier or later at most, so that many
    /// announcers do not fall into step (RFC 2974, section 3.1).
    pub fn poll(&mut self, now: Stamp) -> Option<Vec<u8>> {
        let share = self.draw() % 1024;
        let third = self.interval_ns / 3;
        let next = self.interval_ns - third + (2 * third / 1024) * share as i64;
        let announced = self.announced.as_mut().filter(|announced| announced.due <= now)?;
        announced.due = now.plus(next);
        let Announced { hash, .. } = *announced;
        let description = announced.description.as_bytes();
        Some(SapPacket { deletion: false, hash, origin: self.origin, description }.to_bytes())
    }

    /// Withdraws what was announced, where something was.
    pub fn withdraw(&mut self) -> Option<Vec<u8>> {
        let Announced { description, hash, .. } = self.announced.take()?;
        let description = description.as_bytes();
        Some(SapPacket { deletion: true, hash, origin: self.origin, description }.to_bytes())
    }

    /// SplitMix64.
    const fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n";

    fn packet(deletion: bool) -> SapPacket<'static> {
        SapPacket { deletion, hash: 0x1234, origin: [192, 0, 2, 1].into(), description: SDP }
    }

    #[test]
    fn a_packet_stands_as_in_rfc_2974() {
        let bytes = packet(false).to_bytes();
        assert_eq!(bytes[..8], [0x20, 0, 0x12, 0x34, 192, 0, 2, 1]);
        assert_eq!(&bytes[8..24], b"application/sdp\0");
        assert_eq!(packet(true).to_bytes()[0], 0x24);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for origin in ["192.0.2.1", "2001:db8::1"] {
            for deletion in [false, true] {
                let packet = SapPacket { origin: origin.parse().expect("an address"), ..packet(deletion) };
                assert_eq!(SapPacket::parse(&packet.to_bytes()), Ok(packet));
            }
        }
    }

    #[test]
    fn the_type_may_be_left_out_and_authentication_is_passed_over() {
        let bytes = [&[0x20, 2, 0, 9, 10, 0, 0, 1][..], &[0xaa; 8], SDP].concat();
        let packet = SapPacket::parse(&bytes).expect("an announcement");
        assert_eq!((packet.hash, packet.description), (9, SDP));
    }

    #[test]
    fn what_announces_nothing_is_refused() {
        let good = packet(false).to_bytes();
        for length in 0..good.len() - SDP.len() {
            assert!(SapPacket::parse(&good[..length]).is_err(), "{length} bytes");
        }
        let with = |at: usize, byte: u8| [&good[..at], &[byte], &good[at + 1..]].concat();
        assert_eq!(SapPacket::parse(&with(0, 0x40)), Err(SapError::Version));
        assert_eq!(SapPacket::parse(&with(0, 0x21)), Err(SapError::Packed));
        assert_eq!(SapPacket::parse(&with(1, 255)), Err(SapError::Short));
        assert_eq!(SapPacket::parse(&with(8, b'x')), Err(SapError::Payload));
        let huge = [&good[..], &[b' '; MAX_DESCRIPTION]].concat();
        assert_eq!(SapPacket::parse(&huge), Err(SapError::Payload));
    }

    #[test]
    fn the_group_is_that_of_the_scope() {
        for (media, group) in [
            ("224.2.128.1", "224.2.127.254"),
            ("232.1.2.3", "224.2.127.254"),
            ("239.193.2.3", "239.195.255.255"),
            ("239.255.2.3", "239.255.255.255"),
            ("239.69.2.3", "239.255.255.255"),
            ("192.0.2.7", "239.255.255.255"),
            ("ff15::42", "ff05::2:7ffe"),
            ("2001:db8::1", "ff02::2:7ffe"),
        ] {
            let group_of = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(sap_group(group_of(media)), group_of(group), "{media}");
        }
    }

    #[test]
    fn it_speaks_at_once_then_at_uneven_intervals_and_takes_back_what_it_said() {
        let (second, now) = (1_000_000_000, Stamp::ZERO);
        let mut announcer = SapAnnouncer::new([192, 0, 2, 1].into(), 9 * second, 7);
        assert_eq!((announcer.poll(now), announcer.withdraw()), (None, None));
        announcer.describe(now, String::from_utf8_lossy(SDP).into_owned());
        let mut gaps = Vec::new();
        let mut last = now;
        for _ in 0..20 {
            let due = announcer.next_deadline().expect("something is announced");
            assert_eq!(announcer.poll(due.plus(-1)), None);
            assert!(announcer.poll(due).is_some());
            gaps.push(due.since(last) / second);
            last = due;
        }
        assert_eq!(gaps[0], 0);
        assert!(gaps[1..].iter().all(|gap| (6..=12).contains(gap)) && gaps[1..].iter().any(|gap| *gap != gaps[1]));
        let withdrawn = announcer.withdraw().expect("something was announced");
        assert!(SapPacket::parse(&withdrawn).is_ok_and(|packet| packet.deletion && packet.description == SDP));
        assert_eq!(announcer.next_deadline(), None);
    }

    #[test]
    fn another_description_has_another_hash_and_goes_out_at_once() {
        let mut announcer = SapAnnouncer::new([192, 0, 2, 1].into(), 1_000, 7);
        let mut hashes = Vec::new();
        for version in 0..3 {
            announcer.describe(Stamp::ZERO, format!("v=0\r\no=- 1 {version} IN IP4 192.0.2.1\r\n"));
            let bytes = announcer.poll(Stamp::ZERO).expect("it is due");
            hashes.push(SapPacket::parse(&bytes).expect("an announcement").hash);
        }
        hashes.dedup();
        assert!(hashes.len() == 3 && !hashes.contains(&0), "{hashes:?}");
    }
}
