//! Voice that only its two ends can read.

mod house;

use house::{House, packet};
use vox_frame::Stamp;
use vox_room::{ConnId, Notice, VoiceKeys};
use vox_srtp::{Protector, Unprotector};

/// Says VOICE for sealed voice and binds the address.
fn sealed(house: &mut House, conn: ConnId, address: &str) -> VoiceKeys {
    house.says(conn, "VOICE #lobby: srtp");
    let lines = house.heard(conn);
    let told = lines.iter().find_map(|line| match Notice::parse(line) {
        Notice::VoiceSrtp(_, token, keys) => Some((token, keys)),
        _ => None,
    });
    let (token, keys) = told.unwrap_or_else(|| panic!("{lines:?}"));
    house.datagram(address, format!("TALKSESSION: {token}").as_bytes());
    keys
}

fn private(house: &mut House, nick: &str) -> ConnId {
    let conn = house.arrive(nick);
    house.hall.handle_privacy(conn, true, false);
    conn
}

#[test]
fn what_one_says_sealed_another_hears_under_his_own_key_or_in_plain() {
    let mut house = House::new();
    let ana = private(&mut house, "Ana");
    let bob = private(&mut house, "Bob");
    let (ana_keys, bob_keys) = (sealed(&mut house, ana, "192.0.2.1:4000"), sealed(&mut house, bob, "192.0.2.2:4000"));
    house.speaker("Eve", "#lobby", "192.0.2.3:4000");
    house.says(ana, "STREAM 5: pt=0 format=PCMU/8000");
    let (mut mouth, mut ear) = (Protector::new(&ana_keys.own), Unprotector::new(bob_keys.heard, 4));
    let (plain, mut wire) = (packet(5, 1, 160), Vec::new());
    mouth.protect_rtp(&plain, &mut wire).expect("a packet");
    let out = house.datagram("192.0.2.1:4000", &wire);
    let to = |address: &str| out.iter().find(|(to, _)| to == address).expect("it is sent there").1.clone();
    let mut opened = Vec::new();
    assert!(!to("192.0.2.2:4000").windows(16).any(|window| plain.windows(16).any(|own| own == window)));
    ear.handle_rtp(Stamp::from_ns(1), &to("192.0.2.2:4000"), &mut opened).expect("his own key");
    assert_eq!(opened, to("192.0.2.3:4000"), "who is on this host gets it as it was said");
    assert_eq!(out.len(), 2, "and nobody else");
}

#[test]
fn a_packet_that_is_forged_or_comes_again_goes_nowhere_and_is_counted() {
    let mut house = House::new();
    let ana = private(&mut house, "Ana");
    let keys = sealed(&mut house, ana, "192.0.2.1:4000");
    house.speaker("Bob", "#lobby", "192.0.2.2:4000");
    house.says(ana, "STREAM 5: pt=0 format=PCMU/8000");
    let mut wire = Vec::new();
    Protector::new(&keys.own).protect_rtp(&packet(5, 1, 160), &mut wire).expect("a packet");
    let mut forged = wire.clone();
    *forged.last_mut().expect("a byte") ^= 1;
    let sent: Vec<usize> = [packet(5, 1, 160), forged, wire.clone(), wire]
        .iter()
        .map(|bytes| house.datagram("192.0.2.1:4000", bytes).len())
        .collect();
    assert_eq!(sent, [0, 0, 1, 0]);
    assert_eq!(house.hall.stats().packets_unauthentic, 3);
}

#[test]
fn keys_are_told_to_nobody_who_can_be_overheard_and_voice_is_not_plain_beyond_this_host() {
    let mut house = House::new();
    let (plain, far) = (house.arrive("Plain"), private(&mut house, "Far"));
    house.clear();
    house.says(plain, "VOICE #lobby: srtp");
    assert!(house.heard(plain)[0].starts_with("ERROR VOICE: forbidden"));
    house.says(far, "VOICE #lobby: udp");
    assert!(house.heard(far)[0].starts_with("ERROR VOICE: forbidden"));
    house.says(far, "VOICE #lobby: tcp");
    assert_eq!(house.heard(far)[0], "VOICE #lobby: tcp");
}

#[test]
fn a_listeners_key_never_protects_two_packets_of_one_number() {
    let mut house = House::new();
    let bob = private(&mut house, "Bob");
    sealed(&mut house, bob, "192.0.2.2:4000");
    let eve = house.speaker("Eve", "#lobby", "192.0.2.3:4000");
    let mut used = std::collections::BTreeSet::new();
    for round in 0..3 {
        house.says(eve, "STREAM 5: pt=0 format=PCMU/8000");
        for sequence in [10_u16, 10, 11, 5_000, 10, 11, 40_000, 12] {
            for (to, bytes) in house.datagram("192.0.2.3:4000", &packet(5, sequence, round)) {
                assert_eq!(to, "192.0.2.2:4000");
                assert!(used.insert(bytes[2..4].iter().chain(&bytes[8..12]).copied().collect::<Vec<u8>>()));
            }
        }
        house.says(eve, "STREAMEND 5");
    }
    assert!(used.len() >= 12, "{} were heard", used.len());
}
