//! Who hears whom, and with which numbers.

mod house;

use house::{House, packet};
use vox_rtp::Packet;

/// Who got a packet of A's, and with which sequence number.
fn numbers(out: &[(String, Vec<u8>)]) -> Vec<(String, u16)> {
    out.iter().map(|(to, bytes)| (to.clone(), Packet::parse(bytes).expect("RTP").header.sequence)).collect()
}

const A: &str = "10.0.0.1:4000";
const B: &str = "10.0.0.2:4000";
const C: &str = "10.0.0.3:4000";

fn three() -> (House, [vox_room::ConnId; 3]) {
    let mut house = House::new();
    let ids = [house.speaker("Ana", "#talk", A), house.speaker("Bob", "#talk", B), house.speaker("Cy", "#talk", C)];
    house.says(ids[0], "STREAM 7: pt=0 format=PCMU/8000 frame=160");
    house.clear();
    (house, ids)
}

#[test]
fn everybody_in_the_room_hears_and_nobody_hears_himself() {
    let (mut house, _) = three();
    assert_eq!(numbers(&house.datagram(A, &packet(7, 10, 0))), [(B.to_owned(), 10), (C.to_owned(), 10)]);
    // What was lost on the way here stays lost.
    assert_eq!(numbers(&house.datagram(A, &packet(7, 12, 320))), [(B.to_owned(), 12), (C.to_owned(), 12)]);
    assert_eq!(numbers(&house.datagram(A, &packet(7, 11, 160))), [(B.to_owned(), 11), (C.to_owned(), 11)]);
}

#[test]
fn payload_and_timestamp_are_untouched() {
    let (mut house, _) = three();
    let sent = packet(7, 10, 12_345);
    assert_eq!(house.datagram(A, &sent)[0].1, sent);
}

#[test]
fn streams_are_announced_to_all_and_to_who_comes_later() {
    let (mut house, [ana, bob, _]) = three();
    house.says(ana, "STREAM 9: pt=97 format=L16/48000/2 label=the other mic");
    let expected = "STREAM Ana 9: pt=97 format=L16/48000/2 channels=2 frame=0 preskip=0 label=the other mic";
    assert_eq!(house.heard(bob), [expected]);
    assert_eq!(house.heard(ana), ["STREAMING 9: 9"]);
    let dan = house.arrive("Dan");
    house.says(dan, "JOIN: #talk");
    house.heard(dan);
    let lines = house.voice(dan, "#talk", "10.0.0.4:4000");
    assert_eq!(lines[1..], ["STREAM Ana 7: pt=0 format=PCMU/8000 channels=1 frame=160 preskip=0", expected]);
    house.clear();
    house.datagram(A, &packet(7, 10, 1000));
    house.says(ana, "STREAMEND 7: reason=complete");
    assert_eq!(house.heard(bob)[1..], ["STREAMEND Ana 7: rtp=1160 reason=complete", "EVENT #talk: talk-stop Ana"]);
}

#[test]
fn packets_that_are_faster_than_their_announcement_wait_for_it() {
    let (mut house, [_, bob, _]) = three();
    assert_eq!(house.datagram(B, &packet(8, 1, 0)), []);
    house.says(bob, "STREAM 8: pt=0 frame=160");
    assert_eq!(numbers(&house.released), [(A.to_owned(), 1), (C.to_owned(), 1)]);
    assert_eq!(house.datagram(B, &packet(8, 2, 0)).len(), 2);
}

#[test]
fn two_who_chose_the_same_number_are_told_apart() {
    let (mut house, [_, bob, cy]) = three();
    house.says(bob, "STREAM 7: pt=0");
    let line = house.heard(bob).remove(0);
    let other: u32 = line.strip_prefix("STREAMING 7: ").expect("an answer").parse().expect("a number");
    assert_ne!(other, 7);
    assert!(house.heard(cy)[0].starts_with(&format!("STREAM Bob {other}: ")));
    let out = house.datagram(B, &packet(7, 1, 0));
    assert_eq!(Packet::parse(&out[0].1).expect("RTP").header.ssrc, other);
}

#[test]
fn what_a_static_payload_type_tells_needs_no_announcement() {
    let (mut house, [_, bob, cy]) = three();
    for sequence in 1..=3 {
        assert_eq!(house.datagram(B, &packet(99, sequence, 0)), [], "an announcement may be under way");
    }
    assert_eq!(house.datagram(B, &packet(99, 4, 0)).len(), 4 * 2);
    assert!(house.heard(cy)[0].starts_with("STREAM Bob 99: pt=0 format=PCMU/8000"));
    let mut unknown = packet(98, 1, 0);
    unknown[1] = 100;
    for _ in 0..100 {
        assert_eq!(house.datagram(B, &unknown), []);
    }
    for _ in 0..30 {
        house.advance_s(1);
    }
    house.clear();
    house.says(bob, "STREAMEND 99: reason=x");
    assert!(house.heard(bob)[0].starts_with("ERROR STREAMEND: no-such-stream"), "it has ended by itself");
}

#[test]
fn who_is_muted_is_not_heard_and_leaves_no_hole() {
    let (mut house, [ana, bob, _]) = three();
    house.datagram(A, &packet(7, 10, 0));
    house.says(ana, "MUTE");
    assert!(house.heard(bob).contains(&"EVENT #talk: muted Ana in".to_owned()));
    assert_eq!(house.datagram(A, &packet(7, 11, 160)), []);
    house.says(ana, "UNMUTE");
    let out = house.datagram(A, &packet(7, 12, 320));
    assert_eq!(numbers(&out), [(B.to_owned(), 11), (C.to_owned(), 11)]);
    let header = Packet::parse(&out[0].1).expect("RTP").header;
    assert_eq!((header.timestamp, header.marker), (320, true));
}

#[test]
fn an_operator_mutes_others_and_the_room() {
    let (mut house, [ana, bob, cy]) = three();
    house.says(bob, "MUTE Ana");
    assert!(house.heard(bob)[0].starts_with("ERROR MUTE: forbidden"));
    house.says(bob, "STREAM 8: pt=0");
    house.clear();
    house.says(ana, "MUTE Bob: in");
    assert_eq!(house.heard(bob), ["MUTED Bob: in by Ana"]);
    assert_eq!(house.datagram(B, &packet(8, 1, 0)), []);
    assert_eq!(house.datagram(A, &packet(7, 1, 0)).len(), 2);
    house.says(ana, "MUTE Cy: out");
    assert_eq!(numbers(&house.datagram(A, &packet(7, 2, 0))), [(B.to_owned(), 2)]);
    house.says(ana, "UNMUTE Cy: both");
    house.says(ana, "UNMUTE Bob");
    house.says(ana, "MUTE #talk");
    assert_eq!(house.datagram(B, &packet(8, 2, 0)), []);
    assert_eq!(house.datagram(A, &packet(7, 3, 0)).len(), 2, "an operator is heard");
    house.says(ana, "UNMUTE #talk");
    house.says(cy, "MUTE Bob: me");
    assert_eq!(numbers(&house.datagram(B, &packet(8, 3, 0))).len(), 1);
    assert_eq!(house.datagram(B, &packet(8, 4, 0))[0].0, A);
}

#[test]
fn a_call_is_heard_by_nobody_else() {
    let (mut house, [ana, bob, cy]) = three();
    house.says(ana, "TALK Bob: Request");
    house.says(bob, "TALK Ana: Accept");
    assert_eq!(numbers(&house.datagram(A, &packet(7, 1, 0))), [(B.to_owned(), 1)]);
    assert_eq!(house.datagram(C, &packet(5, 1, 0)), []);
    assert!(house.heard(cy).contains(&"STREAMEND Ana 7: reason=call".to_owned()));
    house.says(bob, "TALK Ana: End");
    assert_eq!(numbers(&house.datagram(A, &packet(7, 2, 160))).len(), 2);
}

#[test]
fn an_address_is_bound_by_its_key_and_nobody_else_takes_it_over() {
    let (mut house, _) = three();
    let stranger = "10.9.9.9:1";
    assert_eq!(house.datagram(stranger, &packet(7, 5, 0)), []);
    let guess = format!("TALKSESSION: {:032x}", 1);
    assert_eq!(house.datagram(stranger, guess.as_bytes()), [(stranger.to_owned(), b"SESSIONERROR: key".to_vec())]);
    assert_eq!(house.datagram(stranger, b"TALKSESSION:"), [], "no answer is longer than its question");
    assert_eq!(house.datagram(stranger, &packet(7, 6, 0)), []);
    assert_eq!(house.hall.stats().packets_foreign, 4);
}

#[test]
fn an_address_that_moves_takes_its_owner_along() {
    let mut house = House::new();
    let ana = house.speaker("Ana", "#talk", A);
    let _bob = house.speaker("Bob", "#talk", B);
    house.says(ana, "STREAM 7: pt=0");
    house.clear();
    house.says(ana, "VOICE #talk");
    let line = house.heard(ana).remove(0);
    let token = line.rsplit(' ').next().expect("a token").to_owned();
    let moved = "10.0.0.1:5999";
    house.datagram(moved, format!("TALKSESSION: {token}").as_bytes());
    assert_eq!(house.datagram(A, &packet(7, 1, 0)), []);
    assert_eq!(numbers(&house.datagram(moved, &packet(7, 2, 0))), [(B.to_owned(), 2)]);
}

#[test]
fn a_lost_connection_is_taken_up_again_with_its_streams() {
    let (mut house, [ana, bob, _]) = three();
    house.says(ana, "SESSION");
    let token = house.heard(ana)[0].split(' ').nth(1).expect("a token").to_owned();
    house.datagram(A, &packet(7, 1, 0));
    house.clear();
    house.hangs_up(ana);
    assert_eq!(house.heard(bob), ["EVENT #talk: away Ana"]);
    let again = house.dial();
    house.says(again, "CONNECT: \"Ana\" \"x\" 1.0.0");
    assert!(house.heard(again)[0].starts_with("NICKNAMEINUSE"));
    house.says(again, &format!("CONNECT: \"Ana\" \"x\" 1.0.0 resume={token}"));
    assert_eq!(house.heard(again)[0], "ACCEPT: hostname.com");
    house.voice(again, "#talk", A);
    house.says(again, "STREAM 7: pt=0 format=PCMU/8000 frame=160");
    assert_eq!(house.heard(bob), ["EVENT #talk: back Ana"], "the stream is the same one");
    assert_eq!(numbers(&house.datagram(A, &packet(7, 200, 32_000)))[0].1, 200);
}

#[test]
fn a_seat_is_kept_for_a_while_only() {
    let (mut house, [ana, bob, _]) = three();
    house.says(ana, "SESSION");
    house.clear();
    house.hangs_up(ana);
    house.advance_s(16);
    assert!(house.heard(bob).contains(&"USERLEAVE #talk: Ana".to_owned()));
    assert_eq!(house.hall.members(), 2);
    let again = house.arrive("Ana");
    assert!(!house.is_closed(again));
}

#[test]
fn talking_begins_with_a_packet_and_ends_with_silence() {
    let (mut house, [_, bob, _]) = three();
    for sequence in 0..50 {
        house.datagram(A, &packet(7, sequence, 160 * u32::from(sequence)));
        house.advance_ns(20_000_000);
    }
    house.advance_s(2);
    assert_eq!(house.heard(bob), ["EVENT #talk: talk-start Ana", "EVENT #talk: talk-stop Ana"]);
}

#[test]
fn a_flood_of_packets_is_cut_to_the_rate() {
    let (mut house, _) = three();
    let sent: usize = (0..5000).map(|n| house.datagram(A, &packet(7, n, 0)).len()).sum();
    assert_eq!(sent, 2 * 2000);
}
