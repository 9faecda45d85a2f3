//! What a receiver makes of packets, on simulated arrivals.

use std::convert::Infallible;

use vox_frame::{EndReason, Record, Stamp};
use vox_rtp::{Header, PayloadMap, Receiver, ReceiverConfig, write_packet};

const SECOND: i64 = 1_000_000_000;

/// A receiver and what it gave, one line a record; streams are numbered in order of appearance.
struct Ear {
    receiver: Receiver,
    ids: Vec<u32>,
    heard: Vec<String>,
    now: i64,
    /// How long datagrams lie before they are read, in ns.
    age: i64,
}

impl Ear {
    fn new(max_sources: usize) -> Self {
        let config = ReceiverConfig { max_sources, max_age_ns: Some(SECOND / 5), seed: 1, ..ReceiverConfig::default() };
        Self { receiver: Receiver::new(config), ids: Vec::new(), heard: Vec::new(), now: 0, age: 0 }
    }

    fn datagram(&mut self, datagram: &[u8]) {
        self.datagram_from("127.0.0.1:9", datagram);
    }

    fn datagram_from(&mut self, from: &str, datagram: &[u8]) {
        let Self { receiver, ids, heard, now, age } = self;
        *now += SECOND / 50;
        let from = from.parse().expect("an address");
        let arrived = Stamp::from_ns(*now);
        let Ok(()) = receiver.handle_datagram(arrived.plus(*age), 0, from, arrived, datagram, &mut |record| {
            heard.push(line(ids, &record));
            Ok::<(), Infallible>(())
        });
    }

    fn finish(&mut self) {
        let Self { receiver, ids, heard, .. } = self;
        let Ok(()) = receiver.finish(&EndReason::Stopped, &mut |record| {
            heard.push(line(ids, &record));
            Ok::<(), Infallible>(())
        });
    }

    fn packet(&mut self, ssrc: u32, payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        write_packet(Header { ssrc, sequence, timestamp, payload_type, marker: false }, &[], payload, &mut bytes);
        self.datagram(&bytes);
    }

    /// A PCMU packet of 20 ms.
    fn pcmu(&mut self, ssrc: u32, sequence: u16, timestamp: u32) {
        self.packet(ssrc, 0, sequence, timestamp, &[0; 160]);
    }

    fn take(&mut self) -> Vec<String> {
        core::mem::take(&mut self.heard)
    }
}

fn line(ids: &mut Vec<u32>, record: &Record<'_>) -> String {
    let mut number = |id: u32| {
        let known = ids.iter().position(|known| *known == id);
        known.unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        })
    };
    match record {
        Record::Format(id, format) => format!("{} format {format}", number(id.0)),
        Record::Audio(audio) => {
            let padding = if audio.padding { " padding" } else { "" };
            let (sequence, timestamp) = (audio.sequence.0 as i64 - 65_536, audio.timestamp.0 as i64 - (1 << 32));
            format!("{} audio {sequence} {timestamp}+{}{padding}", number(audio.id.0), audio.duration)
        }
        Record::Gap(gap) => {
            let (sequence, timestamp) = (gap.sequence.0 as i64 - 65_536, gap.timestamp.0 as i64 - (1 << 32));
            format!("{} gap {sequence} {timestamp}+{} {}", number(gap.id.0), gap.duration, gap.reason.name())
        }
        Record::End(end) => {
            format!("{} end {} {}", number(end.id.0), end.timestamp.0 as i64 - (1 << 32), end.reason.name())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn the_packet_held_on_probation_is_not_lost() {
    let mut ear = Ear::new(64);
    ear.pcmu(7, 10, 1000);
    assert_eq!(ear.take(), [""; 0]);
    ear.pcmu(7, 11, 1160);
    assert_eq!(ear.take(), ["0 format pcmu 8000 Hz mono", "0 audio 10 1000+160", "0 audio 11 1160+160"]);
}

#[test]
fn sequence_numbers_and_timestamps_continue_across_the_wrap() {
    let mut ear = Ear::new(64);
    ear.pcmu(7, 65_535, u32::MAX - 159);
    ear.pcmu(7, 0, 0);
    assert_eq!(ear.take()[1..], ["0 audio 65535 4294967136+160", "0 audio 65536 4294967296+160"]);
}

#[test]
fn a_sender_that_starts_again_is_a_new_stream() {
    let mut ear = Ear::new(64);
    for n in 0..3 {
        ear.pcmu(7, n, u32::from(n) * 160);
    }
    ear.take();
    ear.pcmu(7, 30_000, 77_000);
    assert_eq!(ear.take(), [""; 0]);
    ear.pcmu(7, 30_001, 77_160);
    let heard =
        ["0 end 480 restarted", "1 format pcmu 8000 Hz mono", "1 audio 30000 77000+160", "1 audio 30001 77160+160"];
    assert_eq!(ear.take(), heard);
    assert_eq!(ear.receiver.stats().restarts, 1);
}

#[test]
fn a_timestamp_jump_needs_a_second_packet() {
    let mut ear = Ear::new(64);
    ear.pcmu(7, 0, 0);
    ear.pcmu(7, 1, 160);
    ear.take();
    ear.pcmu(7, 2, 1_000_000_000);
    ear.pcmu(7, 3, 480);
    assert_eq!(ear.take(), ["0 audio 3 480+160"], "one damaged timestamp changes nothing");
    ear.pcmu(7, 4, 2_000_000_000);
    ear.pcmu(7, 5, 2_000_000_160);
    assert_eq!(ear.take()[0], "0 end 640 restarted");
}

#[test]
fn padding_only_packets_use_a_number_and_carry_nothing() {
    let mut ear = Ear::new(64);
    ear.pcmu(7, 0, 0);
    ear.pcmu(7, 1, 160);
    ear.take();
    let mut bytes = Vec::new();
    let header = Header { ssrc: 7, sequence: 2, timestamp: 160, payload_type: 0, marker: false };
    write_packet(header, &[], &[0, 0, 0, 4], &mut bytes);
    bytes[0] |= 0x20;
    ear.datagram(&bytes);
    assert_eq!(ear.take(), ["0 audio 2 160+0 padding"]);
}

#[test]
fn an_unknown_payload_type_is_told_and_begins_nothing() {
    let mut ear = Ear::new(64);
    for n in 0..4 {
        ear.packet(7, 101, n, 0, &[1; 4]);
    }
    assert_eq!(ear.take(), [""; 0]);
    assert_eq!(ear.receiver.unknown_payload_types().get(&101), Some(&4));
}

#[test]
fn a_flood_of_sources_does_not_push_out_one_that_is_heard() {
    let mut ear = Ear::new(4);
    ear.pcmu(7, 0, 0);
    ear.pcmu(7, 1, 160);
    for ssrc in 100..1000 {
        ear.pcmu(ssrc, 0, 0);
    }
    assert!(ear.receiver.sources() <= 4);
    ear.take();
    ear.pcmu(7, 2, 900 * 160);
    assert_eq!(ear.take(), ["0 audio 2 144000+160"]);
}

#[test]
fn too_many_valid_sources_are_refused() {
    let mut ear = Ear::new(2);
    for ssrc in [1, 2] {
        ear.pcmu(ssrc, 0, 0);
        ear.pcmu(ssrc, 1, 160);
    }
    ear.pcmu(3, 0, 0);
    assert_eq!((ear.receiver.sources(), ear.receiver.stats().packets_refused), (2, 1));
}

#[test]
fn a_quiet_source_ends() {
    let mut ear = Ear::new(2);
    ear.pcmu(7, 0, 0);
    ear.pcmu(7, 1, 160);
    ear.take();
    let last = Stamp::from_ns(ear.now);
    let mut heard = Vec::new();
    while let Some(now) = ear.receiver.next_deadline() {
        let Ok(()) = ear.receiver.handle_timeout(now, &mut |record| {
            heard.push((now, line(&mut Vec::new(), &record)));
            Ok::<(), Infallible>(())
        });
    }
    assert_eq!(heard, [(last.plus(30 * SECOND), "0 end 320 timeout".to_owned())]);
}

#[test]
fn what_is_read_too_late_is_one_gap_of_exact_length() {
    let mut ear = Ear::new(64);
    for n in 0..10 {
        ear.age = if (3..8).contains(&n) { SECOND } else { 0 };
        ear.pcmu(7, n, u32::from(n) * 160);
    }
    ear.finish();
    let heard = ear.take();
    assert_eq!(heard[4..6], ["0 gap 3 480+800 overrun", "0 audio 8 1280+160"]);
    assert_eq!(heard.last().expect("an end"), "0 end 1600 stopped");
}

#[test]
fn a_stream_that_ends_late_ends_with_its_gap() {
    let mut ear = Ear::new(64);
    ear.pcmu(7, 0, 0);
    ear.pcmu(7, 1, 160);
    ear.take();
    ear.age = SECOND;
    ear.pcmu(7, 2, 320);
    ear.finish();
    assert_eq!(ear.take(), ["0 gap 2 320+160 overrun", "0 end 480 stopped"]);
}

#[test]
fn any_datagram_is_survived() {
    let mut ear = Ear::new(8);
    let mut random = 1u64;
    for round in 0..200_000u32 {
        let mut bytes = [0u8; 48];
        for byte in &mut bytes {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (random >> 56) as u8;
        }
        // Mostly version 2 and few sources, so that the states behind the parser are reached.
        if round % 8 != 0 {
            bytes[0] = 0x80 | (bytes[0] & 0x3f);
            bytes[1] &= 0x8b;
            // Numbers near each other, and now and then far away.
            bytes[2] &= 0x80;
            bytes[3] &= 7;
            bytes[8..11].fill(0);
            bytes[11] &= 15;
        }
        ear.datagram(&bytes[..usize::from(bytes[47]) % 49]);
        ear.heard.clear();
        assert!(ear.receiver.sources() <= 8);
    }
    assert!(ear.receiver.stats().packets_received > 0);
}

#[test]
fn comfort_noise_is_silence_and_no_loss() {
    let mut ear = Ear::new(2);
    ear.pcmu(7, 0, 0);
    ear.pcmu(7, 1, 160);
    // RFC 3389: its level and nothing else, then nothing until there is something to hear.
    ear.packet(7, 13, 2, 320, &[70]);
    ear.now += SECOND;
    ear.pcmu(7, 3, 320 + 8_000);
    let heard = ear.take();
    assert_eq!(heard[3..], ["0 audio 2 320+0 padding", "0 audio 3 8320+160"]);
    assert_eq!(ear.receiver.reports(Stamp::from_ns(ear.now))[0].1.lost, 0);
    assert_eq!(ear.receiver.stats().restarts, 0, "it is no change of codec");
}

#[test]
fn a_key_is_one_event_beside_the_audio() {
    let mut map = PayloadMap::standard();
    map.insert(101, "telephone-event/8000".parse().expect("a format"));
    let mut ear = Ear::new(2);
    ear.receiver = Receiver::new(ReceiverConfig { map, seed: 1, ..ReceiverConfig::default() });
    ear.pcmu(7, 0, 0);
    ear.pcmu(7, 1, 160);
    // RFC 4733: key 5, 10 dB below full scale, growing; its end comes three times.
    for (sequence, duration, end) in [(2, 160u16, 0), (3, 320, 0), (4, 480, 0x80), (5, 480, 0x80), (6, 480, 0x80)] {
        let [high, low] = duration.to_be_bytes();
        ear.packet(7, 101, sequence, 320, &[5, end | 10, high, low]);
    }
    ear.pcmu(7, 7, 800);
    let heard = ear.take();
    let events: Vec<&String> = heard.iter().filter(|line| line.contains("telephone-event")).collect();
    assert_eq!(events.len(), 1, "{heard:?}");
    assert!(events[0].contains("\"key\": String(\"5\")") && events[0].contains("Number(60)"), "{events:?}");
    assert_eq!(heard.iter().filter(|line| line.contains("format")).count(), 1, "{heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("0 audio 7 800+160"));
}
