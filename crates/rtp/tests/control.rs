//! RTCP between a sender and a receiver, on a simulated clock and link.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use vox_frame::{Rate, Record, Stamp};
use vox_rtp::{
    Control, ControlConfig, Fact, Header, Outgoing, Receiver, ReceiverConfig, RemoteReport, Route, read_control,
    write_packet,
};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
const BEGAN: i64 = 1_763_719_000 * SECOND;
const SENDER: &str = "192.0.2.1:5005";
const OWN: u32 = 7;

/// What is under way, by time of arrival.
enum Mail {
    Rtp(Vec<u8>),
    ToReceiver(Vec<u8>),
    ToSender(Vec<u8>),
}

/// A sender and a receiver with a link in between.
struct Call {
    sender: Control,
    nobody: Receiver,
    receiver: Receiver,
    control: Control,
    under_way: BTreeMap<(i64, u64), Mail>,
    count: u64,
    reports: Vec<RemoteReport>,
    /// Capture times that the receiver gave, minus the true ones.
    capture_errors: Vec<i64>,
    rtcp: u64,
    reports_sent: u64,
}

impl Call {
    fn new() -> Self {
        let config = |ssrc, answers| ControlConfig {
            ssrc,
            cname: format!("name{ssrc}"),
            bandwidth: 64_000,
            interval_ns: 5 * SECOND,
            answers,
            seed: u64::from(ssrc),
        };
        let now = Stamp::from_ns(BEGAN);
        let mut sender = Control::new(now, config(1, false));
        sender.add_stream(now, OWN, Rate::HZ_8000, None);
        Self {
            sender,
            nobody: Receiver::new(ReceiverConfig::default()),
            receiver: Receiver::new(ReceiverConfig::default()),
            control: Control::new(now, config(2, true)),
            under_way: BTreeMap::new(),
            count: 0,
            reports: Vec::new(),
            capture_errors: Vec::new(),
            rtcp: 0,
            reports_sent: 0,
        }
    }

    fn post(&mut self, at: i64, mail: Mail) {
        self.count += 1;
        self.under_way.insert((at, self.count), mail);
    }

    /// 20 ms PCMU for `seconds`; `way` says how long packet n is under way, none where it is lost; `back` how long
    /// RTCP is, each way.
    fn run(&mut self, seconds: i64, mut way: impl FnMut(i64) -> Option<i64>, back: i64) {
        for n in 0..seconds * 50 {
            let now = BEGAN + n * 20 * MS;
            self.deliver(now);
            let header =
                Header { ssrc: OWN, sequence: n as u16, timestamp: (n * 160) as u32, payload_type: 0, marker: false };
            let mut packet = Vec::new();
            write_packet(header, &[], &[0xd5; 160], &mut packet);
            let stamp = Stamp::from_ns(now);
            self.sender.handle_sent(stamp, OWN, header.timestamp, stamp, 160);
            if let Some(way) = way(n) {
                self.post(now + way, Mail::Rtp(packet));
            }
            for Outgoing { packet, .. } in self.sender.poll(stamp, &mut self.nobody) {
                self.reports_sent += 1;
                self.post(now + back, Mail::ToReceiver(packet));
            }
            for Outgoing { to, packet } in self.control.poll(stamp, &mut self.receiver) {
                assert_eq!(to.map(|route| route.to.to_string()).as_deref(), Some(SENDER));
                self.post(now + back, Mail::ToSender(packet));
            }
        }
    }

    fn deliver(&mut self, now: i64) {
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), mail) = entry.remove_entry();
            let at = Stamp::from_ns(at);
            let from: SocketAddr = SENDER.parse().expect("an address");
            match mail {
                Mail::Rtp(packet) => {
                    let errors = &mut self.capture_errors;
                    let Ok(()) = self.receiver.handle_datagram(at, 0, from, at, &packet, &mut |record| {
                        if let Record::Audio(audio) = record
                            && let Some(captured) = audio.times.captured
                        {
                            let true_time = BEGAN + (audio.timestamp.0 as i64 - (1 << 32)) / 160 * 20 * MS;
                            errors.push(captured.ns() - true_time);
                        }
                        Ok::<(), Infallible>(())
                    });
                }
                Mail::ToReceiver(packet) => {
                    self.rtcp += 1;
                    let facts = read_control(&packet).expect("sound");
                    let route = Route { mux: false, to: from };
                    self.receiver.handle_control(at, 0, route, at, packet.len(), &facts);
                    self.control.handle_facts(at, at, packet.len(), &facts);
                }
                Mail::ToSender(packet) => {
                    let facts = read_control(&packet).expect("sound");
                    self.sender.handle_facts(at, at, packet.len(), &facts);
                    self.reports.extend(std::iter::from_fn(|| self.sender.poll_report()));
                }
            }
        }
    }
}

#[test]
fn the_sender_learns_loss_round_trip_and_jitter_of_the_link() {
    let mut call = Call::new();
    call.run(300, |n| (n % 10 != 3).then_some(if n % 2 == 0 { 30 * MS } else { 34 * MS }), 30 * MS);
    assert!(call.reports.len() > 30, "{} reports in five minutes", call.reports.len());
    let last = call.reports.last().expect("a report");
    assert!((last.fraction_lost - 0.1).abs() < 0.02, "{last:?}");
    assert!((1300..1520).contains(&last.packets_lost), "{last:?}");
    assert!((3 * MS..4 * MS).contains(&last.jitter_ns), "{last:?}");
    let round_trip = last.round_trip_ns.expect("a sender report was answered");
    assert!((round_trip - 60 * MS).abs() < MS, "{last:?}");
    // A receiver that sends nothing learns its round trip as well (RFC 3611).
    assert!((call.control.round_trip_ns().expect("answered") - 60 * MS).abs() < MS);
}

#[test]
fn sender_reports_tell_when_what_follows_was_captured() {
    let mut call = Call::new();
    call.run(60, |_| Some(80 * MS), 5 * MS);
    assert!(call.capture_errors.len() > 2000, "{}", call.capture_errors.len());
    // A tick of the RTP clock is 125 us.
    assert!(call.capture_errors.iter().all(|error| error.abs() <= 125_000), "{:?}", call.capture_errors.iter().max());
}

#[test]
fn reports_come_every_few_seconds() {
    let mut call = Call::new();
    call.run(600, |_| Some(0), MS);
    assert!((90..160).contains(&call.reports_sent), "{} in ten minutes", call.reports_sent);
}

#[test]
fn a_receiver_that_was_sent_no_report_says_nothing() {
    let mut call = Call::new();
    let from: SocketAddr = SENDER.parse().expect("an address");
    for n in 0..1000u16 {
        let header = Header { ssrc: 9, sequence: n, timestamp: u32::from(n) * 160, payload_type: 0, marker: false };
        let mut packet = Vec::new();
        write_packet(header, &[], &[0xd5; 160], &mut packet);
        let now = Stamp::from_ns(BEGAN + i64::from(n) * 20 * MS);
        let Ok(()) = call.receiver.handle_datagram(now, 0, from, now, &packet, &mut |_| Ok::<(), Infallible>(()));
        assert_eq!(call.control.poll(now, &mut call.receiver), []);
    }
}

#[test]
fn an_echo_of_a_report_never_sent_is_refused() {
    let mut call = Call::new();
    call.run(30, |_| Some(MS), MS);
    call.reports.clear();
    let now = Stamp::from_ns(BEGAN + 31 * SECOND);
    let block = vox_rtp::Block { ssrc: OWN, fraction_lost: 255, last_sr: 0x1234_5678, ..Default::default() };
    call.sender.handle_facts(now, now, 32, &[Fact::Present(66), Fact::Report { by: 66, block }]);
    assert_eq!((call.sender.poll_report(), call.sender.refused()), (None, 1));
}

#[test]
fn the_end_is_a_goodbye_in_a_compound_packet() {
    let mut call = Call::new();
    call.run(1, |_| Some(MS), MS);
    let now = Stamp::from_ns(BEGAN + SECOND);
    let packets = call.sender.finish(now, &mut call.nobody);
    let facts = read_control(&packets[0].packet).expect("sound");
    assert!(matches!(facts[0], Fact::Sent { ssrc: OWN, packets: 50, octets: 8000, .. }), "{facts:?}");
    assert!(facts.contains(&Fact::Bye(OWN)) && packets.len() == 1, "{facts:?}");
}

#[test]
fn a_relay_of_hundreds_of_streams_keeps_packets_short() {
    let mut call = Call::new();
    let mut now = Stamp::from_ns(BEGAN);
    for ssrc in 100..500 {
        call.sender.add_stream(now, ssrc, Rate::HZ_8000, None);
    }
    let mut packets = Vec::new();
    while packets.is_empty() {
        now = now.plus(SECOND);
        for ssrc in 100..500 {
            call.sender.handle_sent(now, ssrc, 0, now, 160);
        }
        packets = call.sender.poll(now, &mut call.nobody);
    }
    assert!(packets.iter().all(|outgoing| outgoing.packet.len() <= 1200));
    let told = packets.iter().flat_map(|outgoing| read_control(&outgoing.packet).expect("sound"));
    assert_eq!(told.filter(|fact| matches!(fact, Fact::Sent { .. })).count(), 400);
}
