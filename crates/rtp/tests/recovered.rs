//! Packets that were lost and then repaired.

use std::convert::Infallible;
use std::net::SocketAddr;

use vox_frame::{Record, Stamp};
use vox_rtp::{Header, Receiver, ReceiverConfig, write_packet};

fn packet(ssrc: u32, sequence: u16, payload_type: u8) -> Vec<u8> {
    let header = Header { ssrc, sequence, timestamp: u32::from(sequence) * 160, payload_type, marker: false };
    let mut bytes = Vec::new();
    write_packet(header, &[], &[0; 160], &mut bytes);
    bytes
}

/// Takes packets by their number, negative where they are repaired ones; gives number and flag of what comes out.
fn heard(packets: &[(i32, u8)], repaired_by: &str) -> (Vec<(u16, bool)>, Receiver) {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    let mut heard = Vec::new();
    for (at, &(number, payload_type)) in packets.iter().enumerate() {
        let now = Stamp::from_ns(at as i64 * 20_000_000);
        let bytes = packet(7, number.unsigned_abs() as u16, payload_type);
        let from: SocketAddr = if number < 0 { repaired_by } else { "127.0.0.1:9" }.parse().expect("an address");
        let mut out = |record: Record<'_>| {
            if let Record::Audio(audio) = record {
                heard.push((audio.sequence.rtp(), audio.recovered));
            }
            Ok::<(), Infallible>(())
        };
        let Ok(()) = if number < 0 {
            receiver.handle_recovered(now, 0, from, &bytes, &mut out)
        } else {
            receiver.handle_datagram(now, 0, from, now, &bytes, &mut out)
        };
    }
    (heard, receiver)
}

#[test]
fn a_repaired_packet_is_flagged_and_not_reported_as_received() {
    let (got, mut receiver) = heard(&[(1, 0), (2, 0), (-3, 0), (4, 0), (-5, 0), (6, 0)], "127.0.0.1:9");
    assert_eq!(got, [(1, false), (2, false), (3, true), (4, false), (5, true), (6, false)]);
    assert_eq!((receiver.stats().packets_received, receiver.stats().packets_recovered), (4, 2));
    let reports = receiver.reports(Stamp::from_ns(1_000_000_000));
    assert_eq!(reports.iter().map(|(_, block)| block.lost).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_repaired_packet_begins_no_stream_and_changes_no_codec() {
    assert_eq!(heard(&[(-1, 0), (-2, 0), (-3, 0)], "127.0.0.1:9").0, []);
    assert_eq!(heard(&[(1, 0), (2, 0), (-3, 8), (-4, 99)], "127.0.0.1:9").0.len(), 2);
    assert_eq!(heard(&[(1, 0), (2, 0), (-3, 0)], "127.0.0.1:10").0.len(), 2);
}

#[test]
fn padding_between_the_packets_of_a_new_source_does_not_hide_it() {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    let mut heard = Vec::new();
    for number in 0..8u16 {
        let now = Stamp::from_ns(i64::from(number) * 10_000_000);
        let mut bytes = packet(7, number, 0);
        bytes.truncate(if number % 2 == 0 { bytes.len() } else { 12 });
        let from = "127.0.0.1:9".parse().expect("an address");
        let Ok(()) = receiver.handle_datagram(now, 0, from, now, &bytes, &mut |record| {
            if let Record::Audio(audio) = record {
                heard.push((audio.sequence.rtp(), audio.padding));
            }
            Ok::<(), Infallible>(())
        });
    }
    let expected: Vec<_> = (0..8).map(|number| (number, number % 2 == 1)).collect();
    assert_eq!(heard, expected);
}
