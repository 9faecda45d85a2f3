//! Retransmission between a sender and a receiver, on a simulated clock.

use proptest::prelude::*;
use vox_frame::Stamp;
use vox_repair::{
    OwnStream, RequestConfig, Requester, ResendConfig, Resender, append_request, read_nack, read_requests, read_resent,
    write_nack,
};
use vox_rtp::{Header, Packet, write_packet};

const MS: i64 = 1_000_000;

const REQUEST: RequestConfig = RequestConfig { patience_ns: 5 * MS, useful_ns: 200 * MS };

fn at(ms: i64) -> Stamp {
    Stamp::from_ns(ms * MS)
}

fn packet(sequence: u16) -> Vec<u8> {
    let header = Header { ssrc: 7, sequence, timestamp: u32::from(sequence) * 160, payload_type: 0, marker: false };
    let mut packet = Vec::new();
    write_packet(header, &[], &[sequence as u8; 160], &mut packet);
    packet
}

/// Sends again as it was, or by that payload type and SSRC.
fn resender(stream: Option<(u8, u32)>) -> Resender {
    let stream = stream.map(|(payload_type, ssrc)| OwnStream { ssrc, types: [(0, payload_type)].into() });
    Resender::new(ResendConfig { keep_ns: 300 * MS, stream }, 65_535)
}

#[test]
fn what_is_missing_is_asked_for_after_some_patience_and_again_after_a_round_trip() {
    let mut requester = Requester::new(REQUEST);
    requester.set_round_trip(40 * MS);
    requester.handle_packet(at(0), 65_534);
    requester.handle_packet(at(60), 1);
    assert_eq!((requester.next_deadline(), requester.poll(at(64))), (Some(at(65)), vec![]));
    assert_eq!(requester.poll(at(65)), [65_535, 0]);
    requester.handle_packet(at(100), 0);
    assert!(requester.poll(at(124)).is_empty());
    assert_eq!(requester.poll(at(125)), [65_535]);
    requester.handle_packet(at(170), 65_535);
    assert_eq!((requester.next_deadline(), requester.stats()), (None, (3, 2)));
}

#[test]
fn what_could_not_come_in_time_is_not_asked_for() {
    let mut requester = Requester::new(REQUEST);
    requester.set_round_trip(250 * MS);
    requester.handle_packet(at(0), 1);
    requester.handle_packet(at(20), 3);
    assert_eq!((requester.poll(at(25)), requester.next_deadline()), (vec![], None));
}

#[test]
fn a_packet_that_is_only_late_is_not_asked_for() {
    let mut requester = Requester::new(REQUEST);
    for (ms, number) in [(0, 1), (20, 3), (22, 2), (40, 4)] {
        requester.handle_packet(at(ms), number);
        assert!(requester.poll(at(ms)).is_empty());
    }
    assert_eq!(requester.stats(), (0, 0));
}

#[test]
fn a_hole_as_wide_as_a_restart_is_not_asked_for() {
    let mut requester = Requester::new(REQUEST);
    requester.handle_packet(at(0), 1);
    requester.handle_packet(at(20), 5000);
    assert!(requester.poll(at(100)).is_empty());
}

#[test]
fn a_packet_is_sent_again_as_it_was_or_in_a_stream_of_its_own() {
    let (mut plain, mut apart) = (resender(None), resender(Some((99, 8))));
    for number in 0..20 {
        plain.handle_sent(at(0), &packet(number));
        apart.handle_sent(at(0), &packet(number));
    }
    let mut sent = Vec::new();
    plain.handle_request(at(10), &[3, 700], |packet| sent.push(packet.to_vec()));
    assert_eq!((sent, plain.refused()), (vec![packet(3)], 1));
    let mut sent = Vec::new();
    apart.handle_request(at(10), &[3, 4], |packet| sent.push(packet.to_vec()));
    for (index, bytes) in sent.iter().enumerate() {
        let again = Packet::parse(bytes).unwrap();
        assert_eq!((again.header.ssrc, again.header.payload_type), (8, 99));
        assert_eq!(again.header.sequence, 65_535u16.wrapping_add(index as u16));
        let mut out = Vec::new();
        assert!(read_resent(&again, (0, 7), &mut out));
        assert_eq!(out, packet(3 + index as u16));
    }
}

#[test]
fn requests_cannot_make_a_sender_flood() {
    let mut resender = resender(None);
    let (mut sent, mut again) = (0, 0);
    for number in 0..1000u16 {
        let packet = packet(number);
        sent += packet.len();
        let now = at(i64::from(number) * 20);
        resender.handle_sent(now, &packet);
        for _ in 0..5 {
            let numbers: Vec<u16> = (0..100).map(|back| number.wrapping_sub(back)).collect();
            resender.handle_request(now, &numbers, |packet| again += packet.len());
        }
    }
    assert!(again <= sent / 4 + 8 * 1024, "{again} bytes again of {sent}");
}

#[test]
fn old_packets_are_neither_kept_nor_sent() {
    let mut resender = resender(None);
    resender.handle_sent(at(0), &packet(1));
    resender.handle_request(at(301), &[1], |_| panic!("it is too old"));
}

#[test]
fn a_packet_of_another_payload_type_is_not_sent_in_a_stream_of_its_own() {
    let mut resender = resender(Some((99, 8)));
    let mut other = packet(1);
    other[1] = 13;
    resender.handle_sent(at(0), &other);
    resender.handle_request(at(1), &[1], |_| panic!("nobody would know what it is"));
    assert_eq!(resender.refused(), 1);
}

#[test]
fn what_stands_before_the_payload_survives_a_retransmission() {
    let mut original = Vec::new();
    let header = Header { ssrc: 7, sequence: 3, timestamp: 480, payload_type: 0, marker: true };
    vox_rtp::write_extended(header, &[0, 0, 0, 9], &[0x10, 0x7f, 0, 0], &[1, 2, 3], &mut original);
    let mut resender = resender(Some((99, 8)));
    resender.handle_sent(at(0), &original);
    let mut again = Vec::new();
    resender.handle_request(at(1), &[3], |packet| again.extend_from_slice(packet));
    let mut out = Vec::new();
    assert!(read_resent(&Packet::parse(&again).unwrap(), (0, 7), &mut out));
    assert_eq!(out, original);
}

#[test]
fn a_request_is_a_generic_nack_as_rfc_4585_has_it() {
    let mut out = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
    append_request(1, 2, &[65_535, 0, 16], &mut out);
    assert_eq!(out[8..], [0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0, 1, 0, 16, 0, 0]);
    assert_eq!(read_requests(&out), [(2, vec![65_535, 0, 16])]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_for_requests(bytes in prop::collection::vec(any::<u8>(), 0..100), real in any::<bool>()) {
        let mut bytes = bytes;
        if let (true, Some(start)) = (real, bytes.first_chunk_mut::<4>()) {
            *start = [0x81, 205, 0, start[3] % 24];
        }
        for (_, numbers) in read_requests(&bytes) {
            prop_assert!(numbers.len() <= 128);
        }
    }

    #[test]
    fn numbers_survive_a_nack(first in any::<u16>(), steps in prop::collection::vec(1u16..40, 0..60)) {
        let mut numbers = vec![first];
        for step in steps {
            numbers.push(numbers[numbers.len() - 1].wrapping_add(step));
        }
        prop_assert_eq!(read_nack(&write_nack(&numbers)).collect::<Vec<_>>(), numbers);
    }
}
