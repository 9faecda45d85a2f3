//! A guard and a restorer with a lossy link between them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vox_repair::{Guard, Origin, ParityShape, Protection, Restorer};
use vox_rtp::{Header, Packet, write_packet};

const RED: u8 = 63;
const PARITY: u8 = 127;

fn media(index: u16, timestamp: u32, marker: bool) -> Vec<u8> {
    let header = Header { ssrc: 7, sequence: index, timestamp, payload_type: 96, marker };
    let payload: Vec<u8> = (0..20 + index % 50).map(|i| (i ^ index) as u8).collect();
    let mut packet = Vec::new();
    write_packet(header, &[], &payload, &mut packet);
    packet
}

fn protection(red: usize, parity: &str) -> Protection {
    Protection {
        red: (red > 0).then_some((RED, red)),
        parity: (parity != "0").then(|| (PARITY, parity.parse().expect("a shape"))),
    }
}

fn restorer() -> Restorer<u8> {
    let mut restorer = Restorer::new(4);
    restorer.expect_red(RED);
    restorer.expect_parity(PARITY);
    restorer
}

/// What goes over the link for `count` packets from number `first` on, with a silence before every one of `spurts`.
fn sent(protection: Protection, first: u16, count: u16, spurts: &[u16]) -> Vec<Vec<u8>> {
    let (mut guard, mut sent, mut timestamp) = (Guard::new(protection, 1200), Vec::new(), 4_294_960_000u32);
    for index in 0..count {
        let marker = spurts.contains(&index);
        timestamp = timestamp.wrapping_add(if marker { 9600 } else { 960 });
        guard.handle_packet(&media(first.wrapping_add(index), timestamp, marker), |packet| sent.push(packet.to_vec()));
    }
    guard.finish(|packet| sent.push(packet.to_vec()));
    sent
}

type Audio = BTreeMap<u16, (u32, Vec<u8>)>;

/// What packets that come out must be: audio by its number; and whether numbers must be the right ones too.
type Expected<'a> = Option<(&'a Audio, bool)>;

/// The audio that comes out, and how many packets of it were recovered. Nothing may differ from `expected`.
fn received<'a>(packets: impl IntoIterator<Item = &'a Vec<u8>>, expected: Expected<'_>) -> (Audio, usize) {
    let (mut restorer, mut audio, mut recovered) = (restorer(), Audio::new(), 0);
    for packet in packets {
        restorer.handle_packet(1, packet, |bytes, origin| {
            let packet = Packet::parse(bytes).expect("a packet");
            assert_eq!((packet.header.payload_type, packet.header.ssrc), (96, 7));
            if packet.payload.is_empty() {
                return;
            }
            let got = (packet.header.timestamp, packet.payload.to_vec());
            if let Some((expected, strictly)) = expected {
                let number = packet.header.sequence;
                assert!(!strictly || expected.get(&number) == Some(&got), "{number}");
                assert!(expected.values().any(|audio| *audio == got), "{number}");
            }
            let is_new = audio.insert(packet.header.sequence, got).is_none();
            recovered += usize::from(is_new && origin == Origin::Recovered);
        });
    }
    (audio, recovered)
}

#[test]
fn without_loss_everything_comes_out_as_it_went_in() {
    for (red, parity) in [(0, "0"), (1, "0"), (3, "0"), (0, "4"), (0, "5x4"), (2, "6x2")] {
        let (audio, recovered) = received(&sent(protection(red, parity), 65_500, 300, &[40, 200]), None);
        assert_eq!((audio.len(), recovered), (300, 0), "{red} {parity}");
        let payloads: Vec<_> =
            (0..300u16).map(|index| media(65_500u16.wrapping_add(index), 0, false)[12..].to_vec()).collect();
        let mut in_order: Vec<_> = audio.values().cloned().collect();
        in_order.sort_by_key(|(timestamp, _)| timestamp.wrapping_sub(4_294_960_000));
        assert_eq!(in_order.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>(), payloads);
    }
}

#[test]
fn as_many_losses_in_a_row_as_there_are_generations_are_repaired() {
    let packets = sent(protection(3, "0"), 10, 100, &[]);
    let (expected, _) = received(&packets, None);
    let kept = packets.iter().enumerate().filter(|(index, _)| index % 4 == 0).map(|(_, packet)| packet);
    let (audio, recovered) = received(kept, Some((&expected, true)));
    assert_eq!((audio.len(), recovered), (97, 72));
}

#[test]
fn one_loss_in_each_group_is_repaired_by_parity() {
    let packets = sent(protection(0, "4"), 10, 100, &[]);
    assert_eq!(packets.len(), 125);
    let (expected, _) = received(&packets, None);
    // The first group tells that there is parity at all.
    let kept = packets.iter().enumerate().filter(|(index, _)| *index < 5 || index % 5 != 2).map(|(_, packet)| packet);
    let (audio, recovered) = received(kept, Some((&expected, true)));
    assert_eq!((audio.len(), recovered), (100, 24));
}

#[test]
fn a_burst_is_repaired_by_packets_apart() {
    let packets = sent(protection(0, "5x4"), 10, 200, &[]);
    let (expected, _) = received(&packets, None);
    let kept = packets.iter().enumerate().filter(|(index, _)| !(50..54).contains(index)).map(|(_, packet)| packet);
    let (audio, recovered) = received(kept, Some((&expected, true)));
    assert_eq!((audio.len(), recovered), (200, 4));
}

#[test]
fn what_was_not_protected_is_passed_on_and_leaves_no_state() {
    let mut restorer = restorer();
    for ssrc in 0..10_000u32 {
        let mut packet = media(1, 1, false);
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let mut out = Vec::new();
        restorer.handle_packet(1, &packet, |bytes, origin| out.push((bytes.to_vec(), origin)));
        assert_eq!(out, [(packet, Origin::Received)]);
    }
    assert!(format!("{restorer:?}").contains("sources: {}"));
}

#[test]
fn a_sender_that_begins_anew_is_repaired_from_its_beginning() {
    let (before, after) = (sent(protection(1, "0"), 40_000, 200, &[]), sent(protection(1, "0"), 20_000, 50, &[]));
    let kept = after.iter().enumerate().filter(|(index, _)| index % 2 == 0).map(|(_, packet)| packet);
    let (_, recovered) = received(before.iter().chain(kept), None);
    assert_eq!(recovered, 24);
}

#[test]
fn shapes_are_read_and_written() {
    for text in ["5", "1", "47", "5x3", "10x4"] {
        assert_eq!(text.parse::<ParityShape>().expect("a shape").to_string(), text);
    }
    for text in ["0", "48", "5x0", "10x5", "x", "", "5x", "65535x65535"] {
        assert!(text.parse::<ParityShape>().is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_wrong_comes_out_of_a_link_that_loses_and_reorders(
        red in 0usize..4,
        parity in prop::sample::select(vec!["0", "1", "3", "5", "4x3", "6x4"]),
        first in any::<u16>(),
        spurts in prop::collection::vec(1u16..200, 0..6),
        lost in prop::collection::vec(0u8..100, 400),
        percent in 0u8..50,
        swaps in prop::collection::vec((0usize..300, 1usize..6), 0..20),
    ) {
        let packets = sent(protection(red, parity), first, 200, &spurts);
        let (expected, _) = received(&packets, None);
        let mut kept: Vec<_> = packets.iter().zip(lost.iter().cycle()).filter(|(_, lost)| **lost >= percent).map(|(packet, _)| packet).collect();
        for (at, by) in swaps {
            if at + by < kept.len() {
                kept.swap(at, at + by);
            }
        }
        let direct = kept.iter().filter(|packet| packet[1] & 0x7f != PARITY).count();
        // Where talk spurts change the pace of timestamps, or parity packets that of numbers, the number that a lost
        // packet had can only be guessed.
        let strict = red == 0 || (spurts.is_empty() && parity == "0");
        let (audio, recovered) = received(kept, Some((&expected, strict)));
        prop_assert!(audio.len() <= 200 + usize::from(!strict) * 200);
        prop_assert!(strict || audio.len() >= direct);
        prop_assert!(audio.len() <= direct + recovered);
    }

    #[test]
    fn any_packets_are_taken(
        packets in prop::collection::vec((any::<bool>(), any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..80)), 1..80),
    ) {
        let mut restorer = restorer();
        for (is_red, sequence, timestamp, payload) in packets {
            let header = Header { ssrc: 7, sequence: sequence % 200, timestamp, payload_type: if is_red { RED } else { PARITY }, marker: false };
            let mut packet = Vec::new();
            write_packet(header, &[], &payload, &mut packet);
            let mut given = 0;
            restorer.handle_packet(1, &packet, |_, _| given += 1);
            prop_assert!(given <= 32 * 25);
        }
    }
}
