//! A call on virtual time: a sender, a link that jitters and loses in bursts, a receiver with its jitter buffer, and
//! RTCP both ways over links that lose it too.

use std::convert::Infallible;
use std::net::SocketAddr;

use vox_frame::{EndReason, Rate, Record, SequenceNumber, Stamp};
use vox_link::{Burst, Config as LinkConfig, Jitter};
use vox_playout::{Adaptive, Config, Insert, Meta, Output, Playout};
use vox_rtp::{
    Control, ControlConfig, Header, Outgoing, Receiver, ReceiverConfig, RemoteReport, Route, read_control, write_packet,
};
use vox_testkit::{DriftingClock, Events, PacketSource, Wire, watch_log};

const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;
const SENDER: &str = "192.0.2.1:5004";
const SSRC: u32 = 7;
/// The first number: they wrap within the call.
const FIRST: u16 = u16::MAX - 1_000;
/// Delay of the link each way, and what jitter adds at most.
const BASE: i64 = 25 * MS;
const JITTER: i64 = 12 * MS;

/// What is under way on one socket (RFC 5761).
#[derive(Clone)]
enum Mail {
    Rtp(u64, Vec<u8>),
    Rtcp(Vec<u8>),
}

/// A place on the time line of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    timestamp: u64,
    duration: u64,
    due: Stamp,
    slot: i64,
    /// Which packet was played there; none where one was missing.
    packet: Option<u64>,
}

struct Call {
    source: PacketSource,
    sender: Control,
    nobody: Receiver,
    there: Wire<Mail>,
    back: Wire<Vec<u8>>,
    receiver: Receiver,
    control: Control,
    playout: Playout<u64>,
    /// Packets that the link delivered, by number, and how many were sent.
    delivered: Vec<u64>,
    sent: u64,
    left: Vec<Left>,
    reports: Vec<RemoteReport>,
    ended: Option<(Stamp, EndReason)>,
}

fn address() -> SocketAddr {
    SENDER.parse().expect("an address")
}

fn control(ssrc: u32, answers: bool) -> Control {
    let config = ControlConfig {
        ssrc,
        cname: format!("name{ssrc}"),
        bandwidth: 64_000,
        interval_ns: 5 * S,
        answers,
        seed: u64::from(ssrc),
    };
    Control::new(Stamp::ZERO, config)
}

impl Call {
    /// Five per cent are lost, in bursts of three in the mean.
    fn new(seed: u64) -> Self {
        let burst = Burst { enter: 0.0175, leave: 1.0 / 3.0, loss_good: 0.0, loss_bad: 1.0 };
        let link = LinkConfig {
            base_ns: BASE,
            jitter: Jitter::Uniform { width_ns: JITTER },
            burst: Some(burst),
            ..LinkConfig::default()
        };
        let mut sender = control(SSRC, false);
        sender.add_stream(Stamp::ZERO, SSRC, Rate::HZ_8000, None);
        let rule = Adaptive { stretch: false, ..Adaptive::default() };
        Self {
            source: PacketSource::telephone(20).on(DriftingClock::new(40.0, 0)),
            sender,
            nobody: Receiver::new(ReceiverConfig::default()),
            there: Wire::new(link.clone(), seed),
            back: Wire::new(link, seed + 100),
            receiver: Receiver::new(ReceiverConfig::default()),
            control: control(8, true),
            playout: Playout::new(Config { max_behind_ns: i64::MAX, ..Config::adaptive(rule) }, Rate::HZ_8000),
            delivered: Vec::new(),
            sent: 0,
            left: Vec::new(),
            reports: Vec::new(),
            ended: None,
        }
    }

    /// Packets of 20 ms of mu-law until `stops`, and what follows until `end`.
    fn run(&mut self, stops: Stamp, end: Stamp) {
        let mut events = Events::new();
        let _log = watch_log(events.clock());
        loop {
            // What arrives at the very moment at which something is to be played has arrived.
            let deadlines = [
                self.source.next_deadline().filter(|at| *at < stops),
                self.there.next_deadline(),
                self.back.next_deadline(),
                Some(self.sender.next_deadline()).filter(|at| *at < stops),
                Some(self.control.next_deadline()),
                self.receiver.next_deadline(),
                self.playout.next_deadline(),
            ];
            let Some((now, who)) = events.next(end, &deadlines) else { break };
            match who {
                0 => self.send(now),
                1 => self.arrive(now),
                2 => self.learn(now),
                3 => {
                    for Outgoing { packet, .. } in self.sender.poll(now, &mut self.nobody) {
                        self.there.send(now, packet.len(), Mail::Rtcp(packet));
                    }
                }
                4 => {
                    for Outgoing { to, packet } in self.control.poll(now, &mut self.receiver) {
                        assert!(to.is_none_or(|route| route.to == address()), "{to:?}");
                        self.back.send(now, packet.len(), packet);
                    }
                }
                5 => {
                    let ended = &mut self.ended;
                    let Ok(()) = self.receiver.handle_timeout(now, &mut |record| {
                        if let Record::End(end) = record {
                            *ended = Some((now, end.reason));
                        }
                        Ok::<(), Infallible>(())
                    });
                }
                _ => self.play(now),
            }
        }
    }

    fn send(&mut self, now: Stamp) {
        let packet = self.source.poll(now).expect("it is due");
        let number = packet.sequence.0;
        let header = Header {
            ssrc: SSRC,
            sequence: FIRST.wrapping_add(number as u16),
            timestamp: (u32::MAX - 80_000).wrapping_add(packet.timestamp.0 as u32),
            payload_type: 0,
            marker: packet.marker,
        };
        let mut payload = [0xd5; 160];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let mut bytes = Vec::new();
        write_packet(header, &[], &payload, &mut bytes);
        self.sender.handle_sent(now, SSRC, header.timestamp, now, payload.len());
        self.there.send(now, bytes.len(), Mail::Rtp(number, bytes));
        self.sent += 1;
    }

    fn arrive(&mut self, now: Stamp) {
        match self.there.poll(now).expect("it is due") {
            Mail::Rtp(number, bytes) => {
                self.delivered.push(number);
                let playout = &mut self.playout;
                let Ok(()) = self.receiver.handle_datagram(now, 0, address(), now, &bytes, &mut |record| {
                    if let Record::Audio(audio) = record {
                        let number = u64::from_be_bytes(audio.payload[..8].try_into().expect("eight bytes"));
                        let meta = meta(audio.sequence, audio.timestamp, audio.duration, now);
                        assert!(!matches!(playout.handle_packet(now, meta, number), Insert::Restart(_)));
                    }
                    Ok::<(), Infallible>(())
                });
            }
            Mail::Rtcp(bytes) => {
                let facts = read_control(&bytes).expect("sound");
                let route = Route { mux: true, to: address() };
                self.receiver.handle_control(now, 0, route, now, bytes.len(), &facts);
                self.control.handle_facts(now, now, bytes.len(), &facts);
            }
        }
    }

    fn learn(&mut self, now: Stamp) {
        let bytes = self.back.poll(now).expect("it is due");
        self.sender.handle_facts(now, now, bytes.len(), &read_control(&bytes).expect("sound"));
        self.reports.extend(std::iter::from_fn(|| self.sender.poll_report()));
    }

    fn play(&mut self, now: Stamp) {
        let left = match self.playout.poll(now) {
            Output::Audio(audio) => Left {
                timestamp: audio.meta.timestamp.0,
                duration: u64::from(audio.meta.duration),
                due: audio.due,
                slot: audio.slot as i64,
                packet: Some(audio.payload),
            },
            Output::Gap(gap) => Left {
                timestamp: gap.timestamp.0,
                duration: gap.duration,
                due: gap.due,
                slot: gap.slot as i64,
                packet: None,
            },
            Output::Wait(_) | Output::Idle | Output::Ended => return,
        };
        self.left.push(left);
    }
}

fn meta(sequence: SequenceNumber, timestamp: vox_frame::MediaTime, duration: u32, arrived: Stamp) -> Meta {
    Meta {
        sequence,
        timestamp,
        duration,
        marker: false,
        recovered: false,
        padding: false,
        redundant: false,
        reach: 0,
        silent: false,
        quiet: false,
        arrived,
        bytes: 160,
    }
}

/// Five minutes, and what follows until everybody has noticed the end.
fn called(seed: u64) -> Call {
    let mut call = Call::new(seed);
    call.run(Stamp::from_ns(300 * S), Stamp::from_ns(345 * S));
    call
}

#[test]
fn what_the_link_delivers_is_heard_once_in_order_and_without_a_hole_in_time() {
    for seed in 1..=3 {
        let call = called(seed);
        let lost = call.sent - call.delivered.len() as u64;
        assert!((300..1_500).contains(&lost), "{lost} of {} lost", call.sent);
        let played: Vec<u64> = call.left.iter().filter_map(|left| left.packet).collect();
        assert!(played.is_sorted_by(|one, next| one < next), "out of order, or twice");
        // The buffer may find a packet too late, and says so of each.
        let stats = call.playout.stats();
        let taken = call.delivered.len() as u64 - stats.packets_discarded;
        assert_eq!(played.len() as u64, taken);
        assert!(stats.packets_discarded * 200 < call.sent, "{} came too late", stats.packets_discarded);
        for pair in call.left.windows(2) {
            assert_eq!(pair[0].timestamp + pair[0].duration, pair[1].timestamp, "media time has a hole: {pair:?}");
            assert_eq!(pair[0].due.plus(pair[0].slot), pair[1].due, "playout time has a hole: {pair:?}");
        }
    }
}

#[test]
fn the_sender_is_told_exactly_what_the_link_lost() {
    for seed in 1..=3 {
        let call = called(seed);
        let (first, last) = (call.delivered[0], *call.delivered.last().expect("packets came"));
        let lost = last + 1 - first - call.delivered.len() as u64;
        let report = call.reports.last().expect("a report");
        assert_eq!(report.packets_lost as u64, lost, "{report:?}");
        assert!(call.reports.len() > 20, "{} reports in five minutes", call.reports.len());
        let worst = call.reports.iter().filter_map(|report| report.round_trip_ns).max().expect("a round trip");
        let least = call.reports.iter().filter_map(|report| report.round_trip_ns).min().expect("a round trip");
        assert!(least >= 2 * BASE - MS && worst <= 2 * (BASE + JITTER) + MS, "from {least} to {worst} ns");
        assert!((MS..JITTER).contains(&report.jitter_ns), "{report:?}");
    }
}

#[test]
fn a_sender_that_falls_silent_for_good_ends_when_its_time_is_up() {
    let call = called(4);
    let (at, reason) = call.ended.expect("the stream ended");
    assert_eq!(reason, EndReason::Timeout);
    let due = 300 * S + ReceiverConfig::default().source_timeout_ns;
    assert!((due - 6 * S..due + 6 * S).contains(&at.ns()), "{at:?}");
}
