//! RTCP packets as bytes (RFC 3550, section 6; RFC 3611), through rtcp-types, with guards around its traps.

use rtcp_types::prelude::*;
use rtcp_types::{
    Bye, Compound, DelaySinceLastReceiverReport, DelaySinceLastReceiverReportBlock, Packet, ReceiverReferenceTime,
    ReceiverReport, ReportBlock, Sdes, SdesChunk, SdesItem, SenderReport, Xr,
};

use crate::ntp::NtpTime;

/// The most report blocks that an SR or RR can hold, and chunks an SDES (a 5-bit count).
pub(crate) const MAX_COUNT: usize = 31;

/// Bytes of the longest item of an SDES (an 8-bit length).
const MAX_NAME: usize = 255;

/// What one receiver says of one source (RFC 3550, section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block {
    /// The source reported on.
    pub ssrc: u32,
    /// Packets lost since the last report, in 1/256 of those expected.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; negative where duplicates came.
    pub lost: i32,
    /// Extended highest sequence number.
    pub highest: u32,
    /// Interarrival jitter, in ticks of the source's clock.
    pub jitter: u32,
    /// The middle of the NTP time of the last SR, 0 where none came.
    pub last_sr: u32,
    /// Since that SR came, in 1/65536 s.
    pub delay: u32,
}

/// A fact from an RTCP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A sender tells its clock and what it has sent.
    Sent {
        /// The sender.
        ssrc: u32,
        /// Wall clock time of the report.
        ntp: NtpTime,
        /// The same point in time as an RTP timestamp.
        rtp: u32,
        /// Packets sent.
        packets: u32,
        /// Bytes of payload sent.
        octets: u32,
    },
    /// A member that sends nothing lives.
    Present(u32),
    /// A member says how a source reaches it.
    Report {
        /// The member.
        by: u32,
        /// What it says.
        block: Block,
    },
    /// The lasting name of a source.
    Name {
        /// The source.
        ssrc: u32,
        /// Its CNAME.
        cname: String,
    },
    /// A source leaves.
    Bye(u32),
    /// A receiver tells its clock, to learn its round trip (RFC 3611, section 4.4).
    ReferenceTime {
        /// The receiver.
        by: u32,
        /// Its time.
        ntp: NtpTime,
    },
    /// The answer to a [`ReferenceTime`](Self::ReferenceTime) (RFC 3611, section 4.5).
    SinceReference {
        /// Who answers.
        by: u32,
        /// To whom.
        ssrc: u32,
        /// The middle of the receiver's time.
        last: u32,
        /// Since it came, in 1/65536 s.
        delay: u32,
    },
}

/// Why a datagram is no RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RTCP packet, or one whose lengths do not fit")]
pub struct Malformed;

/// Reads a compound packet, or one of reduced size (RFC 5506). Packets of kinds that are not used here are skipped.
///
/// # Errors
/// Where lengths do not fit. A packet that is damaged inside ends the list.
pub fn read_control(datagram: &[u8]) -> Result<Vec<Fact>, Malformed> {
    // Checks every length in the packet.
    Compound::parse(datagram).map_err(|_| Malformed)?;
    let mut facts = Vec::new();
    let mut rest = datagram;
    while let [_, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let (packet, after) = rest.split_at_checked(length).ok_or(Malformed)?;
        rest = after;
        if kind == Sdes::PACKET_TYPE {
            read_names(&packet[4..], &mut facts);
            continue;
        }
        match Packet::parse(packet).map_err(|_| Malformed)? {
            Packet::Sr(report) => {
                facts.push(Fact::Sent {
                    ssrc: report.ssrc(),
                    ntp: NtpTime(report.ntp_timestamp()),
                    rtp: report.rtp_timestamp(),
                    packets: report.packet_count(),
                    octets: report.octet_count(),
                });
                let by = report.ssrc();
                facts.extend(report.report_blocks().map(|block| Fact::Report { by, block: block_of(&block) }));
            }
            Packet::Rr(report) => {
                let by = report.ssrc();
                facts.push(Fact::Present(by));
                facts.extend(report.report_blocks().map(|block| Fact::Report { by, block: block_of(&block) }));
            }
            Packet::Bye(bye) => facts.extend(bye.ssrcs().map(Fact::Bye)),
            Packet::Xr(report) => read_extended(&report, &mut facts),
            // App::data panics where its padding lies, so nothing is asked of it.
            _ => {}
        }
    }
    Ok(facts)
}

fn block_of(block: &ReportBlock<'_>) -> Block {
    Block {
        ssrc: block.ssrc(),
        fraction_lost: block.fraction_lost(),
        // 24 bits, signed.
        lost: (block.cumulative_lost() << 8) as i32 >> 8,
        highest: block.extended_sequence_number(),
        jitter: block.interarrival_jitter(),
        last_sr: block.last_sender_report_timestamp(),
        delay: block.delay_since_last_sender_report_timestamp(),
    }
}

/// The names of an SDES: chunks of an SSRC and items, each chunk ended by a zero and padded to whole words. The
/// library's reader takes the zeros of the next SSRC for that padding, and panics on items of kind PRIV that lie.
fn read_names(mut chunks: &[u8], facts: &mut Vec<Fact>) {
    while let Some((ssrc, items)) = chunks.split_first_chunk::<4>() {
        let ssrc = u32::from_be_bytes(*ssrc);
        let mut at = 0;
        while let Some(&[kind @ 1..=u8::MAX, length]) = items.get(at..).and_then(<[u8]>::first_chunk::<2>) {
            let Some(value) = items.get(at + 2..at + 2 + usize::from(length)) else { return };
            if let (SdesItem::CNAME, Ok(cname)) = (kind, core::str::from_utf8(value)) {
                facts.push(Fact::Name { ssrc, cname: cname.to_owned() });
            }
            at += 2 + value.len();
        }
        let Some(next) = items.get((at + 1).next_multiple_of(4)..) else { return };
        chunks = next;
    }
}

fn read_extended(report: &Xr<'_>, facts: &mut Vec<Fact>) {
    let by = report.sender_ssrc();
    for block in report.block_iter() {
        if let Ok(reference) = block.parse_into::<ReceiverReferenceTime<'_>>() {
            facts.push(Fact::ReferenceTime { by, ntp: NtpTime(reference.ntp_timestamp()) });
        } else if let Ok(answers) = block.parse_into::<DelaySinceLastReceiverReport<'_>>() {
            facts.extend(answers.block_iter().map(|answer| Fact::SinceReference {
                by,
                ssrc: answer.ssrc(),
                last: answer.last_receiver_report(),
                delay: answer.delay_since_last_receiver_report_timestamp(),
            }));
        }
    }
}

/// Writes facts as one compound packet: SR or RR first, each with the reports of that member that follow it, then
/// names, extended reports and goodbyes (RFC 3550, section 6.1). Facts that do not fit a count are left out.
pub fn write_control(facts: &[Fact], out: &mut Vec<u8>) {
    let mut compound = Compound::builder();
    for fact in facts {
        match fact {
            Fact::Sent { ssrc, ntp, rtp, packets, octets } => {
                let mut report = SenderReport::builder(*ssrc)
                    .ntp_timestamp(ntp.0)
                    .rtp_timestamp(*rtp)
                    .packet_count(*packets)
                    .octet_count(*octets);
                for block in blocks(facts, *ssrc) {
                    report = report.add_report_block(builder_of(block));
                }
                compound = compound.add_packet(report);
            }
            Fact::Present(by) => {
                let mut report = ReceiverReport::builder(*by);
                for block in blocks(facts, *by) {
                    report = report.add_report_block(builder_of(block));
                }
                compound = compound.add_packet(report);
            }
            _ => {}
        }
    }
    compound = add_names(compound, facts);
    for fact in facts {
        if let Fact::ReferenceTime { by, ntp } = fact {
            let time = ReceiverReferenceTime::builder().ntp_timestamp(ntp.0);
            compound = compound.add_packet(Xr::builder().sender_ssrc(*by).add_block(time));
        }
    }
    compound = add_answers(compound, facts);
    let leaving: Vec<u32> =
        facts.iter().filter_map(|fact| if let Fact::Bye(ssrc) = fact { Some(*ssrc) } else { None }).collect();
    for some in leaving.chunks(MAX_COUNT) {
        let mut bye = Bye::builder();
        for ssrc in some {
            bye = bye.add_source(*ssrc);
        }
        compound = compound.add_packet(bye);
    }
    out.clear();
    out.resize(compound.calculate_size().expect("counts and lengths are within their bounds"), 0);
    compound.write_into(out).expect("a buffer of the length asked for");
}

fn blocks(facts: &[Fact], member: u32) -> impl Iterator<Item = &Block> {
    let of_member = move |fact| match fact {
        &Fact::Report { by, ref block } if by == member => Some(block),
        _ => None,
    };
    facts.iter().filter_map(of_member).take(MAX_COUNT)
}

fn builder_of(block: &Block) -> rtcp_types::ReportBlockBuilder {
    ReportBlock::builder(block.ssrc)
        .fraction_lost(block.fraction_lost)
        .cumulative_lost(block.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff)
        .extended_sequence_number(block.highest)
        .interarrival_jitter(block.jitter)
        .last_sender_report_timestamp(block.last_sr)
        .delay_since_last_sender_report_timestamp(block.delay)
}

fn add_names<'a>(mut compound: rtcp_types::CompoundBuilder<'a>, facts: &'a [Fact]) -> rtcp_types::CompoundBuilder<'a> {
    let names: Vec<(u32, &str)> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Name { ssrc, cname } if cname.len() <= MAX_NAME => Some((*ssrc, cname.as_str())),
            _ => None,
        })
        .collect();
    for some in names.chunks(MAX_COUNT) {
        let mut description = Sdes::builder();
        for (ssrc, cname) in some {
            let item = SdesItem::builder(SdesItem::CNAME, cname);
            description = description.add_chunk(SdesChunk::builder(*ssrc).add_item(item));
        }
        compound = compound.add_packet(description);
    }
    compound
}

fn add_answers<'a>(compound: rtcp_types::CompoundBuilder<'a>, facts: &[Fact]) -> rtcp_types::CompoundBuilder<'a> {
    let mut answers = DelaySinceLastReceiverReport::builder();
    let mut by_whom = None;
    for fact in facts {
        if let Fact::SinceReference { by, ssrc, last, delay } = fact {
            by_whom = Some(*by);
            answers = answers.add_block(
                DelaySinceLastReceiverReportBlock::builder()
                    .ssrc(*ssrc)
                    .last_receiver_report(*last)
                    .delay_since_last_receiver_report_timestamp(*delay),
            );
        }
    }
    match by_whom {
        Some(by) => compound.add_packet(Xr::builder().sender_ssrc(by).add_block(answers)),
        None => compound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(ssrc: u32) -> Block {
        Block { ssrc, fraction_lost: 12, lost: -3, highest: 70_000, jitter: 9, last_sr: 0x1234_5678, delay: 65_536 }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let facts = vec![
            Fact::Sent { ssrc: 1, ntp: NtpTime(7 << 32), rtp: 8, packets: 9, octets: 10 },
            Fact::Report { by: 1, block: block(2) },
            Fact::Name { ssrc: 1, cname: "somebody".to_owned() },
            Fact::ReferenceTime { by: 1, ntp: NtpTime(5) },
            Fact::SinceReference { by: 1, ssrc: 4, last: 5, delay: 6 },
            Fact::Bye(1),
        ];
        let mut bytes = Vec::new();
        write_control(&facts, &mut bytes);
        assert_eq!((bytes[1], bytes.len() % 4), (200, 0));
        assert_eq!(read_control(&bytes), Ok(facts));
    }

    #[test]
    fn names_of_several_sources_are_read_whatever_their_numbers_begin_with() {
        let name = |ssrc, cname: &str| Fact::Name { ssrc, cname: cname.to_owned() };
        let facts: Vec<Fact> = vec![name(1, "a"), name(256, "ab"), name(7 << 24, "abcdefgh"), name(0, "x")];
        let mut bytes = Vec::new();
        write_control(&facts, &mut bytes);
        assert_eq!(read_control(&bytes), Ok(facts));
    }

    #[test]
    fn a_packet_of_reduced_size_is_read() {
        let mut bytes = Vec::new();
        write_control(&[Fact::Bye(3)], &mut bytes);
        assert_eq!(read_control(&bytes), Ok(vec![Fact::Bye(3)]));
    }

    #[test]
    fn packets_that_made_the_library_panic_are_harmless() {
        let padded_app = [0xba, 0xcc, 0, 2, 0x5d, 0x0a, 0x0a, 8, 0x7a, 5, 0x29, 7];
        let lying_private_item = [
            0x82, 0xca, 0, 5, 0x04, 0xdc, 0xe1, 0x72, 0x08, 0x07, 0x08, 0x20, 0xdd, 0x08, 0xa9, 0x06, 0x06, 0x9d, 0x05,
            0x06, 0x01, 0xe6, 0x3e, 0x07,
        ];
        for bytes in [&padded_app[..], &lying_private_item, &[], &[0x80], &[0x80, 200, 0, 0], &[0x80, 203, 0, 0]] {
            let _facts = read_control(bytes);
        }
    }

    #[test]
    fn more_reports_than_a_packet_holds_are_left_out() {
        let mut facts = vec![Fact::Present(1)];
        facts.extend((0..40).map(|ssrc| Fact::Report { by: 1, block: block(ssrc) }));
        let mut bytes = Vec::new();
        write_control(&facts, &mut bytes);
        assert_eq!(read_control(&bytes).expect("sound").len(), 32);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 192u8..224) {
            let _facts = read_control(&bytes);
            if bytes.len() >= 8 {
                bytes[0] = 0x80 | bytes[0] & 0x3f;
                bytes[1] = kind;
                let words = (bytes.len() / 4 - 1) as u16;
                bytes[2..4].copy_from_slice(&words.to_be_bytes());
                bytes.truncate(usize::from(words + 1) * 4);
                let _facts = read_control(&bytes);
            }
        }
    }
}
