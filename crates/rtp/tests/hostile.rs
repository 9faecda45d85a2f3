//! What strangers send, and what the right stream makes of it: nothing.

use std::convert::Infallible;
use std::net::SocketAddr;

use proptest::prelude::*;
use vox_frame::{Record, Stamp};
use vox_rtp::{
    ControlConfig, ExtensionMap, Fact, Header, HeaderExtension, NtpTime, Receiver, ReceiverConfig, Route, Session,
    write_control, write_packet, write_padding,
};

const SECOND: i64 = 1_000_000_000;
const FRAME: i64 = SECOND / 50;
const ANA: &str = "192.0.2.1:5004";
const EVE: &str = "198.51.100.66:5004";

/// A receiver, its clock and what it gave.
struct Ear {
    receiver: Receiver,
    now: i64,
    audio: Vec<(u64, u64)>,
    ends: Vec<String>,
    streams: usize,
}

impl Ear {
    fn new(config: ReceiverConfig) -> Self {
        Self { receiver: Receiver::new(config), now: SECOND, audio: Vec::new(), ends: Vec::new(), streams: 0 }
    }

    fn datagram(&mut self, from: &str, datagram: &[u8]) {
        let Self { receiver, now, audio, ends, streams } = self;
        let from = from.parse().expect("an address");
        let now = Stamp::from_ns(*now);
        let Ok(()) = receiver.handle_datagram(now, 0, from, now, datagram, &mut |record| {
            take(record, audio, ends, streams);
            Ok::<(), Infallible>(())
        });
    }

    fn pass(&mut self, ns: i64) {
        self.now += ns;
        let Self { receiver, now, audio, ends, streams } = self;
        let Ok(()) = receiver.handle_timeout(Stamp::from_ns(*now), &mut |record| {
            take(record, audio, ends, streams);
            Ok::<(), Infallible>(())
        });
    }

    /// Packets of 20 ms PCMU in real time.
    fn talk(&mut self, from: &str, ssrc: u32, numbers: std::ops::Range<u16>) {
        for number in numbers {
            self.pass(FRAME);
            self.datagram(from, &pcmu(ssrc, number, u32::from(number) * 160));
        }
    }

    fn control(&mut self, from: &str, facts: &[Fact]) {
        let route = Route { mux: false, to: from.parse().expect("an address") };
        let now = Stamp::from_ns(self.now);
        self.receiver.handle_control(now, 0, route, now, 64, facts);
    }

    fn numbers(&self) -> Vec<u64> {
        self.audio.iter().map(|(number, _)| number - 65_536).collect()
    }
}

fn take(record: Record<'_>, audio: &mut Vec<(u64, u64)>, ends: &mut Vec<String>, streams: &mut usize) {
    match record {
        Record::Format(..) => *streams += 1,
        Record::Audio(record) => audio.push((record.sequence.0, record.timestamp.0)),
        Record::End(end) => ends.push(end.reason.name().to_owned()),
        _ => {}
    }
}

fn pcmu(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Header { ssrc, sequence, timestamp, payload_type: 0, marker: false };
    write_packet(header, &[], &[0xd5; 160], &mut bytes);
    bytes
}

#[test]
fn a_stranger_cannot_speak_for_a_source() {
    let mut ear = Ear::new(ReceiverConfig::default());
    for round in 0..10 {
        ear.talk(ANA, 7, round * 10..round * 10 + 10);
        for number in 0..10 {
            ear.datagram(EVE, &pcmu(7, round * 10 + number, 9_999_999));
        }
    }
    assert_eq!(ear.numbers(), (0..100).collect::<Vec<_>>());
    let stats = ear.receiver.stats();
    assert_eq!((stats.packets_foreign, stats.streams, stats.restarts), (100, 1, 0));
}

#[test]
fn a_stranger_cannot_spoil_a_probation() {
    let mut ear = Ear::new(ReceiverConfig::default());
    for number in 0..3 {
        ear.datagram(EVE, &pcmu(7, 500 - number, 0));
        ear.talk(ANA, 7, number..number + 1);
    }
    assert_eq!(ear.numbers(), [0, 1, 2]);
}

#[test]
fn a_source_may_move_where_that_was_asked_for() {
    let mut ear = Ear::new(ReceiverConfig { follow: true, ..ReceiverConfig::default() });
    ear.talk(ANA, 7, 0..10);
    for number in 10..20 {
        ear.datagram(EVE, &pcmu(7, number, u32::from(number) * 160));
    }
    assert_eq!(ear.receiver.stats().moves, 0, "the source still speaks");
    ear.pass(SECOND);
    ear.talk("192.0.2.1:7777", 7, 60..70);
    assert_eq!((ear.receiver.stats().moves, ear.streams), (1, 1));
    assert_eq!(ear.numbers(), (0..10).chain(60..70).collect::<Vec<_>>());
    ear.talk(ANA, 7, 70..75);
    assert_eq!(ear.audio.len(), 20, "the old address is a stranger's now");
}

#[test]
fn a_latched_receiver_hears_one_address() {
    let mut ear = Ear::new(ReceiverConfig { latch: true, ..ReceiverConfig::default() });
    ear.talk(ANA, 7, 0..3);
    ear.talk(EVE, 8, 0..10);
    ear.talk(ANA, 9, 0..3);
    assert_eq!((ear.streams, ear.audio.len()), (2, 6));
    assert_eq!(ear.receiver.stats().packets_foreign, 10);
}

#[test]
fn a_flood_of_sources_takes_bounded_room_and_harms_nobody() {
    let mut ear = Ear::new(ReceiverConfig { max_sources: 16, ..ReceiverConfig::default() });
    ear.talk(ANA, 7, 0..5);
    for ssrc in 1_000..21_000 {
        ear.datagram(EVE, &pcmu(ssrc, 3, 0));
    }
    ear.talk(ANA, 7, 5..10);
    assert_eq!(ear.numbers(), (0..10).collect::<Vec<_>>());
    assert!(ear.receiver.sources() <= 16);
}

#[test]
fn a_goodbye_of_a_stranger_is_not_heard() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..5);
    ear.control(EVE, &[Fact::Bye(7)]);
    ear.pass(SECOND);
    assert_eq!((ear.ends.len(), ear.receiver.stats().rtcp_refused), (0, 1));
}

#[test]
fn a_forged_goodbye_does_not_end_a_stream_that_goes_on() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..5);
    ear.control(ANA, &[Fact::Bye(7)]);
    ear.talk(ANA, 7, 5..60);
    assert_eq!((ear.ends.len(), ear.streams, ear.receiver.stats().byes_ignored), (0, 1, 1));
    assert_eq!(ear.audio.len(), 60);
}

#[test]
fn a_goodbye_ends_a_stream_once_what_was_under_way_is_there() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..5);
    ear.control(ANA, &[Fact::Bye(7)]);
    ear.talk(ANA, 7, 5..7);
    ear.pass(SECOND);
    assert_eq!((ear.ends.as_slice(), ear.audio.len()), (&["bye".to_owned()][..], 7));
}

#[test]
fn our_own_packets_that_come_back_are_no_stream() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.receiver.add_own(7);
    ear.talk(EVE, 7, 0..10);
    ear.control(EVE, &[Fact::Bye(7)]);
    assert_eq!((ear.streams, ear.receiver.stats().packets_reflected), (0, 11));
}

#[test]
fn padding_that_is_missing_or_there_is_neither_audio_nor_loss() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..3);
    let mut padding = Vec::new();
    for sequence in 3..100 {
        let header = Header { ssrc: 7, sequence, timestamp: 480, payload_type: 0, marker: false };
        write_padding(header, &[], &mut padding);
        ear.datagram(ANA, &padding);
    }
    ear.talk(ANA, 7, 100..103);
    assert_eq!(ear.numbers(), (0..103).collect::<Vec<_>>(), "each is a record, those without audio are flagged");
    assert_eq!(ear.receiver.reports(Stamp::from_ns(ear.now))[0].1.lost, 0);
}

#[test]
fn a_timestamp_that_jumps_by_half_its_range_is_held_back() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..5);
    ear.pass(FRAME);
    ear.datagram(ANA, &pcmu(7, 5, 5 * 160 + (1 << 31)));
    ear.talk(ANA, 7, 6..10);
    assert_eq!(ear.numbers(), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!((ear.streams, ear.receiver.stats().packets_stray), (1, 1));
}

#[test]
fn nobody_is_answered_with_more_than_came() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..2);
    ear.control(ANA, &[Fact::Present(7)]);
    let route = Route { mux: false, to: ANA.parse::<SocketAddr>().expect("an address") };
    let came = 2 * (160 + 12) + 64;
    let answered: usize = (0..100).filter(|_| ear.receiver.may_answer(route, 100)).map(|_| 100).sum();
    assert!(answered <= came && answered + 100 > came, "{answered} of {came}");
    let elsewhere = Route { mux: false, to: EVE.parse().expect("an address") };
    assert!(!ear.receiver.may_answer(elsewhere, 1));
}

#[test]
fn the_largest_datagrams_and_the_smallest_are_counted_and_forgotten() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..3);
    let mut largest = pcmu(7, 3, 480);
    largest.resize(65_507, 0xd5);
    for number in 0..200u16 {
        largest[2..4].copy_from_slice(&(number * 7).to_be_bytes());
        ear.datagram(EVE, &largest);
        ear.datagram(EVE, &[]);
        ear.datagram(EVE, &[0x80]);
    }
    ear.talk(ANA, 7, 3..6);
    assert_eq!(ear.numbers(), (0..6).collect::<Vec<_>>());
    let stats = ear.receiver.stats();
    assert_eq!((stats.packets_foreign, stats.packets_malformed), (200, 400));
}

#[test]
fn lengths_that_lie_in_the_source_itself_are_no_packets_of_it() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..3);
    for (first, rest) in [
        (0x90, &[0xbe, 0xde, 0xff, 0xff, 0x10, 1, 2, 3][..]),
        (0x90, &[0xbe, 0xde]),
        (0x8f, &[1; 30]),
        (0xa0, &[0, 0, 200]),
        (0xa0, &[0, 0, 0]),
    ] {
        let mut lie = pcmu(7, 3, 480)[..12].to_vec();
        lie[0] = first;
        lie.extend_from_slice(rest);
        ear.datagram(ANA, &lie);
    }
    ear.talk(ANA, 7, 3..6);
    assert_eq!((ear.numbers(), ear.receiver.stats().packets_malformed), ((0..6).collect(), 5));
}

#[test]
fn a_timestamp_that_jumps_by_half_its_range_and_stays_there_is_a_new_stream() {
    let mut ear = Ear::new(ReceiverConfig::default());
    ear.talk(ANA, 7, 0..5);
    for number in 5..10u16 {
        ear.pass(FRAME);
        ear.datagram(ANA, &pcmu(7, number, u32::from(number) * 160 + (1 << 31)));
    }
    assert_eq!((ear.streams, ear.audio.len(), ear.receiver.stats().restarts), (2, 10, 1));
}

#[test]
fn too_many_sources_are_refused_and_the_silent_ones_give_way() {
    let mut ear = Ear::new(ReceiverConfig { max_sources: 2, ..ReceiverConfig::default() });
    ear.talk(ANA, 8, 0..2);
    ear.talk(ANA, 7, 0..2);
    for number in 2..7 {
        ear.talk(ANA, 7, number..number + 1);
        ear.talk(EVE, 9, number..number + 1);
    }
    assert_eq!((ear.streams, ear.receiver.sources()), (2, 2));
    assert!(ear.receiver.stats().packets_refused >= 3, "{:?}", ear.receiver.stats());
    // The second falls silent.
    ear.talk(ANA, 7, 7..300);
    ear.talk(EVE, 9, 7..10);
    assert_eq!((ear.streams, ear.ends.as_slice()), (3, &["timeout".to_owned()][..]));
}

/// What somebody sends to a session: RTP or RTCP of any kind.
fn anything(kind: u8, ssrc: u32, sequence: u16, own: u32) -> Vec<u8> {
    let ntp = NtpTime::of(Stamp::from_ns(SECOND));
    let fact = match kind {
        0..=2 => return pcmu(ssrc, sequence, u32::from(sequence) * 160),
        3 => Fact::Present(ssrc),
        4 => Fact::Bye(ssrc),
        5 => Fact::ReferenceTime { by: ssrc, ntp },
        6 => Fact::Report { by: ssrc, block: vox_rtp::Block { ssrc: own, last_sr: 1, ..Default::default() } },
        _ => Fact::Sent { ssrc, ntp, rtp: 0, packets: 1, octets: 160 },
    };
    let mut bytes = Vec::new();
    write_control(&[fact], &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_comes_nobody_gets_back_more_than_came_from_there(
        steps in proptest::collection::vec((0..3u8, 0..9u8, 0..3u32, 0..400i64), 1..200),
    ) {
        let config = ControlConfig {
            ssrc: 77,
            cname: "a name of some length".to_owned(),
            bandwidth: 10_000_000,
            interval_ns: 20_000_000,
            answers: true,
            seed: 1,
        };
        let mut session = Session::new(Stamp::from_ns(0), ReceiverConfig::default(), config);
        let (mut balance, mut now) = ([0i64; 3], 0);
        let address = |who: u8| SocketAddr::from(([192, 0, 2, 1 + who], 5004));
        let charge = |packets: Vec<vox_rtp::Outgoing>, balance: &mut [i64; 3]| {
            for packet in packets {
                let to = packet.to.expect("answers go to somebody").to;
                let who = (0..3).find(|who| address(*who) == to).expect("nobody else is sent to");
                balance[usize::from(who)] -= packet.packet.len() as i64;
            }
        };
        for (turn, (who, kind, ssrc, ms)) in steps.into_iter().enumerate() {
            now += ms * 1_000_000;
            let bytes = anything(kind, ssrc, turn as u16, 77);
            let stamp = Stamp::from_ns(now);
            let route = Route { mux: true, to: address(who) };
            let Ok(()) = session.handle_datagram(stamp, 0, route, stamp, &bytes, &mut |_| Ok::<(), Infallible>(()));
            balance[usize::from(who)] += bytes.len() as i64;
            charge(session.poll(stamp), &mut balance);
            prop_assert!(balance.iter().all(|left| *left >= 0), "{balance:?}");
        }
        let Ok(goodbyes) = session.finish(Stamp::from_ns(now), &vox_frame::EndReason::Stopped, &mut |_| Ok::<(), Infallible>(()));
        charge(goodbyes, &mut balance);
        prop_assert!(balance.iter().all(|left| *left >= 0), "{balance:?}");
    }
}

#[test]
fn a_sender_report_dates_what_follows_and_a_clock_that_is_days_off_does_not() {
    for (offset, dated) in [(0, true), (200 * SECOND, false), (-90_000 * SECOND, false)] {
        let mut receiver = Receiver::new(ReceiverConfig::default());
        let from: SocketAddr = ANA.parse().expect("an address");
        let began = 1_763_719_000 * SECOND;
        let mut captured = Vec::new();
        for number in 0..10u16 {
            let arrived = Stamp::from_ns(began + i64::from(number) * FRAME + 30_000_000);
            let Ok(()) = receiver.handle_datagram(
                arrived,
                0,
                from,
                arrived,
                &pcmu(7, number, u32::from(number) * 160),
                &mut |record| {
                    if let Record::Audio(audio) = record {
                        captured.push(audio.times.captured.map(|captured| captured.ns() - began));
                    }
                    Ok::<(), Infallible>(())
                },
            );
            if number == 5 {
                let ntp = NtpTime::of(Stamp::from_ns(began + offset + SECOND));
                let sent = Fact::Sent { ssrc: 7, ntp, rtp: 8_000, packets: 5, octets: 800 };
                receiver.handle_control(arrived, 0, Route { mux: false, to: from }, arrived, 28, &[sent]);
            }
        }
        assert_eq!(captured[..6], [None; 6]);
        let expected: Vec<_> = (6..10).map(|number| dated.then_some(number * FRAME)).collect();
        assert_eq!(captured[6..], expected, "{offset}");
    }
}

#[test]
fn a_sender_report_that_comes_before_its_packets_dates_them_all() {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    let from: SocketAddr = ANA.parse().expect("an address");
    let began = 1_763_719_000 * SECOND;
    let sent = Fact::Sent { ssrc: 7, ntp: NtpTime::of(Stamp::from_ns(began)), rtp: 0, packets: 0, octets: 0 };
    let arrived = Stamp::from_ns(began + 30_000_000);
    receiver.handle_control(arrived, 0, Route { mux: false, to: from }, arrived, 28, &[sent]);
    let mut captured = Vec::new();
    for number in 0..4u16 {
        let arrived = arrived.plus(i64::from(number) * FRAME);
        let packet = pcmu(7, number, u32::from(number) * 160);
        let Ok(()) = receiver.handle_datagram(arrived, 0, from, arrived, &packet, &mut |record| {
            if let Record::Audio(audio) = record {
                captured.push(audio.times.captured.map(|captured| captured.ns() - began));
            }
            Ok::<(), Infallible>(())
        });
    }
    assert_eq!(captured, [Some(0), Some(FRAME), Some(2 * FRAME), Some(3 * FRAME)]);
}

/// Packets that are nearly right: they get past the first checks.
fn nearly_rtp() -> impl Strategy<Value = Vec<u8>> {
    let header = (any::<u8>(), any::<u8>(), any::<u16>(), any::<u32>(), 0u32..4);
    (header, proptest::collection::vec(any::<u8>(), 0..80)).prop_map(
        |((first, second, sequence, timestamp, ssrc), rest)| {
            let mut bytes = vec![0x80 | first & 0x3f, [0, 8, 96, 13, 101][usize::from(second) % 5] | second & 0x80];
            bytes.extend_from_slice(&(sequence % 8).to_be_bytes());
            bytes.extend_from_slice(&timestamp.to_be_bytes());
            bytes.extend_from_slice(&ssrc.to_be_bytes());
            bytes.extend_from_slice(&rest);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_strangers_send_the_right_stream_is_whole(
        garbage in proptest::collection::vec(nearly_rtp(), 1..60),
    ) {
        let mut extensions = ExtensionMap::default();
        extensions.insert(1, HeaderExtension::AudioLevel);
        let mut map = vox_rtp::PayloadMap::standard();
        map.insert(101, "telephone-event/8000".parse().expect("a format"));
        let config = ReceiverConfig { map, extensions, max_sources: 4, ..ReceiverConfig::default() };
        let mut ear = Ear::new(config);
        ear.talk(ANA, 2, 0..3);
        for (number, datagram) in garbage.iter().enumerate() {
            ear.datagram(EVE, datagram);
            let number = 3 + number as u16;
            let before = ear.audio.len();
            ear.talk(ANA, 2, number..number + 1);
            prop_assert_eq!(ear.audio.len(), before + 1);
            prop_assert!(ear.receiver.sources() <= 4);
        }
    }
}
