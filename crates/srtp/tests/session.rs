//! Whole sessions: roll-overs, late joins, replays, forgeries, floods.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vox_frame::Stamp;
use vox_srtp::{MasterKey, Protector, Refused, Suite, Unprotector, WINDOW};

const SSRC: u32 = 0xcafe_babe;

fn key(suite: Suite, seed: u8) -> MasterKey {
    let bytes: Vec<u8> =
        (0..suite.key_bytes() + suite.salt_bytes()).map(|i| (i as u8).wrapping_mul(7) ^ seed).collect();
    MasterKey::from_bytes(suite, &bytes).expect("a key")
}

fn packet(ssrc: u32, index: u64) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&(index as u16).to_be_bytes());
    packet.extend_from_slice(&(index as u32).wrapping_mul(960).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(format!("payload {index}").as_bytes());
    packet
}

fn at(index: u64) -> Stamp {
    Stamp::from_ns(index as i64 * 20_000_000)
}

/// What a sender gives for the packets from `first` to `last`, of which those from `keep` on are kept.
fn sent(suite: Suite, first: u64, keep: u64, last: u64) -> Vec<Vec<u8>> {
    let mut protector = Protector::new(&key(suite, 0));
    let mut kept = Vec::new();
    for index in first..=last {
        let mut out = Vec::new();
        protector.protect_rtp(&packet(SSRC, index), &mut out).expect("protected");
        if index >= keep {
            kept.push(out);
        }
    }
    kept
}

#[test]
fn an_hour_of_packets_with_loss_and_reordering_is_opened_across_the_wraps() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let (mut protector, mut unprotector) = (Protector::new(&key(suite, 0)), Unprotector::new(key(suite, 0), 4));
        let (mut secured, mut opened, mut late) = (Vec::new(), Vec::new(), None);
        let (mut given, mut seed) = (0u64, 1u64);
        for index in 30_000..30_000 + 180_000 {
            protector.protect_rtp(&packet(SSRC, index), &mut secured).unwrap();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match seed >> 60 {
                0 => continue,
                1 if late.is_none() => {
                    late = Some((index, secured.clone()));
                    continue;
                }
                _ => {}
            }
            for (index, secured) in
                [Some((index, secured.clone())), late.take_if(|(held, _)| *held + 30 < index)].into_iter().flatten()
            {
                unprotector.handle_rtp(at(index), &secured, &mut opened).unwrap();
                assert_eq!(opened, packet(SSRC, index), "{suite} {index}");
                given += 1;
            }
        }
        assert_eq!(unprotector.stats().opened, given);
        assert_eq!(unprotector.stats().late_joins, 0);
    }
}

#[test]
fn who_comes_late_finds_the_rollover_counter() {
    for suite in Suite::ALL {
        let first = 3 * 65_536 + 65_500;
        let stream = sent(suite, 10, first, first + 100);
        let mut unprotector = Unprotector::new(key(suite, 0), 4);
        let mut opened = Vec::new();
        for (index, secured) in (first..).zip(&stream) {
            unprotector.handle_rtp(at(index), secured, &mut opened).unwrap();
            assert_eq!(opened, packet(SSRC, index));
        }
        assert_eq!(unprotector.stats().late_joins, 1);
    }
}

#[test]
fn who_was_away_for_more_than_half_a_round_finds_back() {
    let suite = Suite::AeadAes128Gcm;
    let stream = sent(suite, 0, 0, 2 * 65_536 + 140);
    let mut unprotector = Unprotector::new(key(suite, 0), 4);
    let mut opened = Vec::new();
    for index in (0..50).chain(2 * 65_536 + 50..2 * 65_536 + 140) {
        unprotector.handle_rtp(at(index), &stream[index as usize], &mut opened).unwrap();
        assert_eq!(opened, packet(SSRC, index));
    }
    // What was recorded before is no use to anybody now.
    for index in 0..50 {
        let later = at(3 * 65_536 + index);
        assert!(unprotector.handle_rtp(later, &stream[index as usize], &mut opened).is_err(), "{index}");
    }
}

#[test]
fn a_replayed_packet_is_refused_and_counted() {
    for suite in Suite::ALL {
        let stream = sent(suite, 0, 0, WINDOW + 200);
        let mut unprotector = Unprotector::new(key(suite, 0), 4);
        let mut opened = Vec::new();
        for secured in &stream {
            unprotector.handle_rtp(Stamp::ZERO, secured, &mut opened).unwrap();
        }
        for secured in &stream {
            assert_eq!(unprotector.handle_rtp(Stamp::ZERO, secured, &mut opened), Err(Refused::Replayed));
        }
        assert_eq!(unprotector.stats().replayed, stream.len() as u64);
    }
}

#[test]
fn another_key_opens_nothing() {
    for suite in Suite::ALL {
        let mut unprotector = Unprotector::new(key(suite, 1), 4);
        let mut opened = b"untouched".to_vec();
        for (index, secured) in (0..).zip(&sent(suite, 0, 0, 20)) {
            assert_eq!(unprotector.handle_rtp(at(index), secured, &mut opened), Err(Refused::Forged));
        }
        assert_eq!((opened.as_slice(), unprotector.stats().forged), (b"untouched".as_slice(), 21));
    }
}

#[test]
fn a_forged_packet_moves_no_window_and_no_rollover_counter() {
    let suite = Suite::AesCm128HmacSha1_80;
    let stream = sent(suite, 65_000, 65_000, 67_000);
    let mut unprotector = Unprotector::new(key(suite, 0), 4);
    let mut opened = Vec::new();
    // The forger is there first, and goes on with numbers far ahead.
    for (index, secured) in (65_000..).zip(&stream) {
        let mut forged = packet(SSRC, index + 20_000);
        forged.extend_from_slice(&[0; 10]);
        assert_eq!(unprotector.handle_rtp(at(index), &forged, &mut opened), Err(Refused::Forged));
        unprotector.handle_rtp(at(index), secured, &mut opened).unwrap();
    }
}

#[test]
fn a_flood_of_strangers_leaves_no_state_behind() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut unprotector = Unprotector::new(key(suite, 0), 2);
    let stream = sent(suite, 0, 0, 40);
    let mut opened = Vec::new();
    for (index, secured) in (0..).zip(&stream) {
        for stranger in 0..500 {
            let mut forged = packet(index as u32 * 500 + stranger, index);
            forged.extend_from_slice(&[0; 10]);
            assert_eq!(unprotector.handle_rtp(at(index), &forged, &mut opened), Err(Refused::Forged));
        }
        unprotector.handle_rtp(at(index), secured, &mut opened).unwrap();
    }
    assert_eq!(format!("{unprotector:?}"), "Unprotector(AES_CM_128_HMAC_SHA1_80, 1 sources)");
}

#[test]
fn the_source_silent_longest_makes_room() {
    let suite = Suite::AeadAes256Gcm;
    let (mut protector, mut unprotector) = (Protector::new(&key(suite, 0)), Unprotector::new(key(suite, 0), 3));
    let (mut secured, mut opened) = (Vec::new(), Vec::new());
    for ssrc in 0..40 {
        protector.protect_rtp(&packet(ssrc, 7), &mut secured).unwrap();
        unprotector.handle_rtp(at(u64::from(ssrc)), &secured, &mut opened).unwrap();
    }
    assert!(format!("{unprotector:?}").ends_with("3 sources)"));
}

#[test]
fn a_header_extension_of_any_form_is_left_in_the_clear_and_the_rest_is_right() {
    // An element of the reserved id 15, elements of two bytes, padding between, a profile that nobody knows.
    for extension in
        ["bede0002 f0aabb00 00000000", "10000001 01010700", "bede0002 10aa0000 20bb0000", "abcd0001 ffffffff"]
    {
        for suite in Suite::ALL {
            let mut plain = packet(SSRC, 9);
            let bytes: Vec<u8> =
                extension.split(' ').flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_be_bytes()).collect();
            plain[0] |= 0x11;
            plain.splice(12..12, [1, 2, 3, 4].into_iter().chain(bytes.iter().copied()));
            let (mut secured, mut opened) = (Vec::new(), Vec::new());
            Protector::new(&key(suite, 0)).protect_rtp(&plain, &mut secured).unwrap();
            assert_eq!(secured[..16 + bytes.len()], plain[..16 + bytes.len()]);
            assert_ne!(secured[16 + bytes.len()..plain.len()], plain[16 + bytes.len()..]);
            Unprotector::new(key(suite, 0), 1).handle_rtp(Stamp::ZERO, &secured, &mut opened).unwrap();
            assert_eq!(opened, plain);
        }
    }
}

#[test]
fn rtcp_is_opened_once_and_tells_nothing_of_the_rollover_counter() {
    for suite in Suite::ALL {
        let (mut protector, mut unprotector) = (Protector::new(&key(suite, 0)), Unprotector::new(key(suite, 0), 2));
        let report = [&[0x80, 201, 0, 1][..], &SSRC.to_be_bytes()].concat();
        let (mut secured, mut opened) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            protector.protect_rtcp(&report, &mut secured).unwrap();
            unprotector.handle_rtcp(Stamp::ZERO, &secured, &mut opened).unwrap();
            assert_eq!(opened, report);
            assert_eq!(unprotector.handle_rtcp(Stamp::ZERO, &secured, &mut opened), Err(Refused::Replayed));
        }
        let stream = sent(suite, 0, 140_000, 140_001);
        unprotector.handle_rtp(Stamp::ZERO, &stream[0], &mut opened).unwrap();
        unprotector.handle_rtp(Stamp::ZERO, &stream[1], &mut opened).unwrap();
        assert_eq!(unprotector.handle_rtcp(Stamp::ZERO, &secured, &mut opened), Err(Refused::Replayed));
    }
}

#[test]
fn rtcp_that_says_it_is_not_encrypted_is_refused() {
    // Only 80 bits of the tag of the suites in counter mode stand behind the index.
    let mut unprotector = Unprotector::new(key(Suite::AesCm128HmacSha1_80, 0), 2);
    let bye = [&[0x81, 203, 0, 1][..], &SSRC.to_be_bytes(), &[0; 14]].concat();
    assert!(unprotector.handle_rtcp(Stamp::ZERO, &bye, &mut Vec::new()).is_err());
    let mut bye = [&[0x81, 203, 0, 1][..], &SSRC.to_be_bytes()].concat();
    bye.resize(24, 0);
    let mut unprotector = Unprotector::new(key(Suite::AeadAes128Gcm, 0), 2);
    assert!(unprotector.handle_rtcp(Stamp::ZERO, &[bye, vec![0; 4]].concat(), &mut Vec::new()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_refused(suite in 0usize..4, bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0x80u8..0xc0) {
        let mut unprotector = Unprotector::new(key(Suite::ALL[suite], 0), 2);
        let mut bytes = bytes;
        for _ in 0..2 {
            prop_assert!(unprotector.handle_rtp(Stamp::ZERO, &bytes, &mut Vec::new()).is_err());
            prop_assert!(unprotector.handle_rtcp(Stamp::ZERO, &bytes, &mut Vec::new()).is_err());
            let _refused_or_not = Protector::new(&key(Suite::ALL[suite], 0)).protect_rtp(&bytes, &mut Vec::new());
            let _refused_or_not = Protector::new(&key(Suite::ALL[suite], 0)).protect_rtcp(&bytes, &mut Vec::new());
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
        }
    }

    #[test]
    fn a_packet_with_a_flipped_bit_or_a_cut_tail_is_refused(suite in 0usize..4, bit in 0usize..8 * 20, cut in 1usize..20) {
        let suite = Suite::ALL[suite];
        let stream = sent(suite, 5, 5, 5);
        let mut flipped = stream[0].clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut unprotector = Unprotector::new(key(suite, 0), 2);
        prop_assert!(unprotector.handle_rtp(Stamp::ZERO, &flipped, &mut Vec::new()).is_err());
        let cut = &stream[0][..stream[0].len() - cut];
        prop_assert!(unprotector.handle_rtp(Stamp::ZERO, cut, &mut Vec::new()).is_err());
    }

    #[test]
    fn each_packet_is_opened_once_in_any_order(order in Just((0..60usize).chain(0..60).collect::<Vec<_>>()).prop_shuffle()) {
        let suite = Suite::AeadAes128Gcm;
        let stream = sent(suite, 32_000, 32_000, 32_059);
        let mut unprotector = Unprotector::new(key(suite, 0), 2);
        let mut taken = BTreeSet::new();
        for index in order {
            let opened = unprotector.handle_rtp(Stamp::ZERO, &stream[index], &mut Vec::new()).is_ok();
            prop_assert_eq!(opened, taken.insert(index));
        }
    }
}
