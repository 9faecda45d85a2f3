//! RTP packets as bytes (RFC 3550, section 5.1), through rtp-rs, with guards around its traps.

use rtp_rs::{RtpPacketBuilder, RtpReader, Seq};

use crate::extension::PROFILE;

/// The most contributing sources that a header can list (a 4-bit count).
pub const MAX_CSRC: usize = 15;

/// Bytes of the shortest RTP header.
const MIN_HEADER: usize = 12;

/// The fixed fields of an RTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in ticks of the payload type's clock.
    pub timestamp: u32,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// First packet of a talk spurt.
    pub marker: bool,
}

/// A parsed packet: its payload borrows the datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed fields.
    pub header: Header,
    /// Contributing sources as they stand in the packet: 4 bytes each, big endian.
    pub csrc: &'a [u8],
    /// Profile and bytes of the header extension, where there is one.
    pub extension: Option<(u16, &'a [u8])>,
    /// The payload, without padding; empty in a padding-only packet.
    pub payload: &'a [u8],
    /// Whether the padding bit was set.
    pub padded: bool,
}

/// Why a datagram is no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It is RTCP, sent to the same port (RFC 5761).
    #[error("an RTCP packet")]
    Rtcp,
    /// It is no RTP, or lies about its lengths.
    #[error("not an RTP packet, or one whose lengths do not fit")]
    Malformed,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// Where it is not RTP, is RTCP, or lies about the length of its header, extension or padding.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        // The second byte of RTCP is its packet type, 192 to 223 (RFC 5761, section 4).
        if datagram.len() >= 2 && datagram[0] >> 6 == 2 && (192..=223).contains(&datagram[1]) {
            return Err(PacketError::Rtcp);
        }
        let reader = RtpReader::new(datagram).map_err(|_| PacketError::Malformed)?;
        let csrc_end = MIN_HEADER + 4 * usize::from(reader.csrc_count());
        let header = Header {
            ssrc: reader.ssrc(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            payload_type: reader.payload_type(),
            marker: reader.mark(),
        };
        Ok(Self {
            header,
            csrc: datagram.get(MIN_HEADER..csrc_end).ok_or(PacketError::Malformed)?,
            extension: reader.extension(),
            payload: reader.payload(),
            padded: reader.padding().is_some(),
        })
    }
}

/// Writes a packet into `out`, replacing what was there. `csrc` lists contributing sources as they stand in a packet,
/// 4 bytes each; those beyond [`MAX_CSRC`] are left out.
pub fn write_packet(header: Header, csrc: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    write_extended(header, csrc, &[], payload, out);
}

/// As [`write_packet`], with a header extension of one-byte elements (RFC 8285) in whole words; none where it is
/// empty.
pub fn write_extended(header: Header, csrc: &[u8], extension: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    // More than 15 make the builder of rtp-rs panic; padding is never asked of it, as it does not clear the bytes.
    let mut list = [0; MAX_CSRC];
    let count = csrc.len().min(4 * MAX_CSRC) / 4;
    for (slot, bytes) in list.iter_mut().zip(csrc.as_chunks::<4>().0) {
        *slot = u32::from_be_bytes(*bytes);
    }
    let mut builder = RtpPacketBuilder::new()
        .payload_type(header.payload_type & 0x7f)
        .marked(header.marker)
        .set_csrc(&list[..count])
        .sequence(Seq::from(header.sequence))
        .ssrc(header.ssrc)
        .timestamp(header.timestamp)
        .payload(payload);
    if !extension.is_empty() {
        builder = builder.extension(PROFILE, extension);
    }
    out.clear();
    out.resize(builder.target_length(), 0);
    let length = builder.build_into(out).expect("a payload type of 7 bits and a buffer of the length asked for");
    out.truncate(length);
}

/// Writes a packet that has a sequence number and no audio: padding only.
pub fn write_padding(header: Header, csrc: &[u8], out: &mut Vec<u8>) {
    write_packet(header, csrc, &[0, 0, 0, 4], out);
    out[0] |= 0x20;
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { ssrc: 0xdead_beef, sequence: 65_535, timestamp: 0xffff_fff0, payload_type: 96, marker: true };

    fn written(csrc: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; 7];
        write_packet(HEADER, csrc, payload, &mut out);
        out
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let bytes = written(&[0, 0, 0, 1, 0, 0, 0, 2], b"payload");
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.header, HEADER);
        assert_eq!(packet.csrc, [0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(packet.payload, b"payload");
        assert!(!packet.padded);
    }

    #[test]
    fn sixteen_contributing_sources_are_cut_to_fifteen() {
        let bytes = written(&[7; 64], b"x");
        assert_eq!(Packet::parse(&bytes).unwrap().csrc.len(), 60);
    }

    #[test]
    fn a_padding_only_packet_has_an_empty_payload() {
        let mut bytes = written(&[], &[0, 0, 0, 4]);
        bytes[0] |= 0x20;
        let packet = Packet::parse(&bytes).unwrap();
        assert!(packet.padded);
        assert_eq!(packet.payload, b"");
    }

    #[test]
    fn lying_lengths_are_malformed() {
        let mut counts_csrc = written(&[], b"abc");
        counts_csrc[0] |= 15;
        let mut has_extension = written(&[], &[0xbe, 0xde, 0xff, 0xff, 0]);
        has_extension[0] |= 0x10;
        let mut padding = written(&[], &[1, 2, 200]);
        padding[0] |= 0x20;
        let mut zero_padding = written(&[], &[1, 2, 0]);
        zero_padding[0] |= 0x20;
        for bytes in [counts_csrc, has_extension, padding, zero_padding] {
            assert_eq!(Packet::parse(&bytes), Err(PacketError::Malformed));
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp() {
        assert_eq!(Packet::parse(&[0x80, 200, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0]), Err(PacketError::Rtcp));
        assert_eq!(Packet::parse(b""), Err(PacketError::Malformed));
    }
}
