//! Large rooms: the loudest are heard.

mod house;

use house::House;
use vox_room::{Config, LEVEL_EXTENSION};
use vox_rtp::{ExtensionMap, HeaderExtension, HeaderFacts, Packet};

/// A packet that tells its level, in -dBov.
fn packet(ssrc: u32, sequence: u16, level: u8) -> Vec<u8> {
    let header =
        vox_rtp::Header { ssrc, sequence, timestamp: u32::from(sequence) * 160, payload_type: 0, marker: false };
    let mut map = ExtensionMap::default();
    map.insert(LEVEL_EXTENSION, HeaderExtension::AudioLevel);
    let (mut extension, mut out) = (Vec::new(), Vec::new());
    HeaderFacts { level: Some((true, level)), captured: None }.write(&map, &mut extension);
    vox_rtp::write_extended(header, &[], &extension, &[0; 160], &mut out);
    out
}

/// A room of four who may all talk, of whom two are heard; and one who listens.
fn room() -> House {
    let mut house = House::with(Config { loudest: Some(2), ..Config::default() });
    house.speaker("Ear", "#lobby", "192.0.2.9:4000");
    for number in 0..4 {
        let conn = house.speaker(&format!("N{number}"), "#lobby", &format!("192.0.2.{number}:4000"));
        house.says(conn, &format!("STREAM {number}: pt=0 format=PCMU/8000"));
    }
    house
}

/// Sends 20 ms of those levels, one of each number; gives whom the listener heard and the numbers of the packets.
fn frame(house: &mut House, sequence: u16, levels: &[Option<u8>; 4]) -> Vec<(usize, u16)> {
    let mut heard = Vec::new();
    for (number, level) in levels.iter().enumerate() {
        let Some(level) = level else { continue };
        let bytes = packet(number as u32, sequence, *level);
        for (to, bytes) in house.datagram(&format!("192.0.2.{number}:4000"), &bytes) {
            if to == "192.0.2.9:4000" {
                heard.push((number, Packet::parse(&bytes).expect("a packet").header.sequence));
            }
        }
    }
    house.advance_ns(20_000_000);
    heard
}

fn who(heard: &[(usize, u16)]) -> Vec<usize> {
    heard.iter().map(|(number, _)| *number).collect()
}

#[test]
fn who_comes_first_is_heard_until_somebody_is_louder() {
    let mut house = room();
    for sequence in 0..40 {
        let heard = frame(&mut house, sequence, &[Some(40), Some(45), Some(42), None]);
        assert_eq!(who(&heard), [0, 1], "nobody is louder by enough");
    }
    let mut taken = None;
    for sequence in 40..80 {
        let heard = frame(&mut house, sequence, &[Some(40), Some(45), Some(42), Some(20)]);
        taken = taken.or_else(|| who(&heard).contains(&3).then_some(sequence));
        // As it changes hands, the two before it have had their turn already.
        assert!(heard.len() == 2 || sequence == 40, "{heard:?}");
    }
    assert_eq!(taken, Some(40), "who is much louder is heard at once");
}

#[test]
fn a_cough_does_not_cut_a_word_off() {
    let mut house = room();
    for sequence in 0..20 {
        let cough = (sequence == 10).then_some(5);
        let heard = frame(&mut house, sequence, &[Some(30), Some(30), cough, None]);
        assert_eq!(who(&heard), [0, 1]);
    }
}

#[test]
fn who_falls_silent_makes_room_and_what_was_held_back_leaves_no_hole() {
    let mut house = room();
    for sequence in 0..10 {
        frame(&mut house, sequence, &[Some(30), Some(30), Some(35), None]);
    }
    let mut numbers = Vec::new();
    for sequence in 10..60 {
        let heard = frame(&mut house, sequence, &[Some(30), None, Some(35), None]);
        numbers.extend(heard.iter().filter(|(number, _)| *number == 2).map(|(_, sequence)| *sequence));
    }
    assert!(numbers.len() >= 25, "{} packets", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    assert_eq!(house.hall.stats().packets_quiet, 10 + 50 - numbers.len() as u64);
}
