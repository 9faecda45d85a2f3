//! What a person may say beyond Voix's own lines, and what everybody is told of it, line by line.
#![allow(missing_docs, reason = "tests are sentences")]

mod house;

use house::{House, packet};
use vox_room::ConnId;

/// Ana made the room and is its operator, Bob and Carl are in it; all talk and listen there.
fn talk() -> (House, [ConnId; 3]) {
    let mut house = House::new();
    let ana = house.speaker("Ana", "#talk", "192.0.2.7:5000");
    let bob = house.speaker("Bob", "#talk", "192.0.2.8:5000");
    let carl = house.speaker("Carl", "#talk", "192.0.2.9:5000");
    for (conn, ssrc) in [(ana, 1), (bob, 2), (carl, 3)] {
        house.says(conn, &format!("STREAM {ssrc}: pt=0 format=PCMU/8000"));
    }
    house.clear();
    (house, [ana, bob, carl])
}

/// Who hears each of the three, by the last digit of his address.
fn hearing(house: &mut House, sequence: u16) -> [String; 3] {
    [("192.0.2.7:5000", 1), ("192.0.2.8:5000", 2), ("192.0.2.9:5000", 3)].map(|(from, ssrc)| {
        let mut to: Vec<char> = house
            .datagram(from, &packet(ssrc, sequence, u32::from(sequence) * 160))
            .iter()
            .map(|(to, _)| to.chars().nth(8).expect("an address"))
            .collect();
        to.sort_unstable();
        to.into_iter().collect()
    })
}

#[track_caller]
fn told(house: &mut House, conn: ConnId, line: &str) {
    let heard = house.heard(conn);
    assert!(heard.iter().any(|heard| heard == line), "no {line:?} in {heard:?}");
}

#[test]
fn every_way_to_be_silent_silences_whom_it_names_and_all_are_told() {
    // Who says what, who is told what of it, and who then hears Ana, Bob and Carl.
    let cases: [(usize, &str, &str, &str, [&str; 3]); 8] = [
        (1, "MUTE", "MUTED Bob: in", "EVENT #talk: muted Bob in", ["89", "", "78"]),
        (1, "MUTE: out", "MUTED Bob: out", "EVENT #talk: muted Bob out", ["9", "79", "7"]),
        (1, "MUTE: both", "MUTED Bob: both", "EVENT #talk: muted Bob both", ["9", "", "7"]),
        (1, "MUTE Carl: me", "MUTED Carl: me", "", ["89", "79", "7"]),
        (0, "MUTE Bob: in", "MUTED Bob: in", "EVENT #talk: muted Bob in", ["89", "", "78"]),
        (0, "MUTE Bob: out", "MUTED Bob: out", "EVENT #talk: muted Bob out", ["9", "79", "7"]),
        (0, "MUTE Bob: both", "MUTED Bob: both", "EVENT #talk: muted Bob both", ["9", "", "7"]),
        (0, "MUTE #talk", "MUTED #talk", "", ["89", "", ""]),
    ];
    for (who, line, answer, event, heard_by) in cases {
        let (mut house, people) = talk();
        assert_eq!(hearing(&mut house, 1), ["89", "79", "78"], "before {line:?}");
        house.clear();
        house.says(people[who], line);
        let answers = house.heard(people[who]);
        assert!(answers.iter().any(|told| told.starts_with(answer)), "{line:?}: no {answer:?} in {answers:?}");
        if !event.is_empty() {
            told(&mut house, people[2], event);
        }
        assert_eq!(hearing(&mut house, 2), heard_by, "after {line:?}");
        house.says(people[who], &format!("UN{line}"));
        let answers = house.heard(people[who]);
        assert!(answers.iter().any(|told| told.starts_with(&format!("UN{answer}"))), "{line:?}: {answers:?}");
        assert_eq!(hearing(&mut house, 3), ["89", "79", "78"], "after UN{line:?}");
    }
}

#[test]
fn who_is_no_operator_silences_nobody_else() {
    let (mut house, [_, bob, _]) = talk();
    for line in ["MUTE Ana: in", "MUTE Carl", "MUTE #talk", "LOCK #talk: word", "DELETE: #talk", "KICK #talk: Ana"] {
        house.says(bob, line);
        let answer = house.heard(bob).pop().expect("an answer");
        assert!(answer.contains(": forbidden "), "{line:?}: {answer:?}");
    }
    assert_eq!(hearing(&mut house, 1), ["89", "79", "78"]);
}

#[test]
fn rooms_are_listed_made_locked_and_ended() {
    let (mut house, [ana, bob, _]) = talk();
    house.says(ana, "LOCK #talk: word");
    told(&mut house, bob, "LOCKED: #talk");
    house.clear();
    house.says(bob, "LIST");
    assert_eq!(
        house.heard(bob),
        ["ROOM #lobby: users=3 voice=0 open", "ROOM #talk: users=3 voice=3 locked", "LIST: 2"]
    );
    house.says(bob, "CREATE: #mine");
    told(&mut house, bob, "CREATED: #mine");
    house.says(bob, "CREATE: #mine");
    assert!(house.heard(bob)[0].starts_with("ERROR CREATE: exists"));
    house.says(ana, "DELETE: #talk");
    told(&mut house, bob, "DELETED: #talk");
}

#[test]
fn a_recording_is_told_to_all_and_to_who_comes_later() {
    let (mut house, [ana, bob, carl]) = talk();
    house.says(bob, "RECORD #talk: on");
    told(&mut house, ana, "RECORD #talk: on Bob");
    let dora = house.arrive("Dora");
    house.says(dora, "JOIN: #talk");
    assert!(house.heard(dora).iter().any(|line| line.starts_with("RECORD #talk: on")), "who comes later, too");
    house.says(bob, "RECORD #talk: off");
    assert!(house.heard(carl).iter().any(|line| line.starts_with("RECORD #talk: off")));
    house.says(ana, "RECORD #talk: forbid");
    told(&mut house, bob, "RECORD #talk: forbidden");
    house.says(bob, "RECORD #talk: on");
    assert!(house.heard(bob)[0].starts_with("ERROR RECORD: forbidden"));
}

#[test]
fn who_comes_goes_and_talks_is_told_to_who_wants_to_know() {
    let (mut house, [_, bob, carl]) = talk();
    house.datagram("192.0.2.8:5000", &packet(2, 1, 0));
    told(&mut house, carl, "EVENT #talk: talk-start Bob");
    house.advance_s(1);
    told(&mut house, carl, "EVENT #talk: talk-stop Bob");
    house.says(carl, "EVENTS: off");
    house.clear();
    house.says(bob, "LEAVE: #talk");
    assert_eq!(house.heard(carl), ["STREAMEND Bob 2: rtp=160 reason=left", "USERLEAVE #talk: Bob"], "no EVENT");
    house.says(carl, "EVENTS: on");
    house.voice(bob, "#lobby", "192.0.2.8:5000");
    house.says(bob, "JOIN: #talk");
    house.clear();
    house.says(bob, "VOICE #talk: tcp");
    told(&mut house, carl, "EVENT #talk: joined Bob");
}

#[test]
fn somebody_is_described_and_every_verb_is_explained() {
    let (mut house, [ana, ..]) = talk();
    house.says(ana, "WHOIS Bob");
    assert!(house.heard(ana)[0].starts_with("WHOIS Bob: \"Real\""));
    house.says(ana, "WHOIS nobody");
    assert!(house.heard(ana)[0].starts_with("ERROR WHOIS: no-such-user"));
    house.says(ana, "HELP");
    assert_eq!(house.heard(ana).len(), vox_room::GRAMMAR.len());
    for (verb, ..) in vox_room::GRAMMAR {
        // Nothing is passed over in silence, however little of it there is.
        let who = house.arrive("somebody");
        house.says(who, verb);
        assert!(!house.heard(who).is_empty() || house.is_closed(who), "{verb} alone is not answered");
        if !house.is_closed(who) {
            house.hangs_up(who);
        }
    }
}
