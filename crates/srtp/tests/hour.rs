//! An hour of a bad network in a moment, encrypted: from a sender to the records that leave the jitter buffer, across
//! the wraps of numbers, timestamps and roll-over counters.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use vox_frame::{Audio, Rate, Record, Stamp};
use vox_playout::{Config, Insert, Meta, Output, Playout};
use vox_rtp::{Header, Receiver, ReceiverConfig, write_packet};
use vox_srtp::{MasterKey, Protector, Suite, Unprotector};

const MS: i64 = 1_000_000;
const FRAME: i64 = 20 * MS;
/// Packets of 20 ms in an hour: the roll-over counter counts three times.
const PACKETS: u64 = 180_000;
/// Number and timestamp of the first packet: both wrap soon.
const FIRST_SEQUENCE: u16 = u16::MAX - 100;
const FIRST_TIMESTAMP: u32 = u32::MAX - 8_000 * 60;
const DELAY: i64 = 100 * MS;
/// How much later than sent a packet may come: four may be in another order.
const JITTER: u64 = 80;

/// Random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

fn key(suite: Suite) -> MasterKey {
    let bytes: Vec<u8> = (0..suite.key_bytes() + suite.salt_bytes()).map(|at| at as u8).collect();
    MasterKey::from_bytes(suite, &bytes).expect("a key")
}

fn packet(n: u64) -> Vec<u8> {
    let header = Header {
        ssrc: 7,
        sequence: FIRST_SEQUENCE.wrapping_add(n as u16),
        timestamp: FIRST_TIMESTAMP.wrapping_add((n * 160) as u32),
        payload_type: 0,
        marker: n.is_multiple_of(1000),
    };
    let mut payload = [0x55; 160];
    payload[..8].copy_from_slice(&n.to_be_bytes());
    let mut bytes = Vec::new();
    write_packet(header, &[], &payload, &mut bytes);
    bytes
}

/// What a network makes of the hour: one in ten lost, others late by up to 80 ms, some twice; by time of arrival.
fn arrivals(suite: Suite) -> BTreeMap<(i64, u64), Vec<u8>> {
    let (mut protector, mut random) = (Protector::new(&key(suite)), Random(0x9e37_79b9_7f4a_7c15));
    let mut arrivals = BTreeMap::new();
    for n in 0..PACKETS {
        let mut secured = Vec::new();
        protector.protect_rtp(&packet(n), &mut secured).expect("protected");
        let sent = 1_000 * FRAME + n as i64 * FRAME;
        // The first come as sent, so that all that follows is heard.
        let (lost, late) = (random.below(10) == 0, random.below(JITTER) as i64 * MS);
        let (lost, late) = if n < 5 { (false, 0) } else { (lost, late) };
        if random.below(50) == 0 && n >= 5 {
            arrivals.insert((sent + 90 * MS, n), secured.clone());
        }
        if !lost {
            arrivals.insert((sent + late, n), secured);
        }
    }
    arrivals
}

/// Receiver and jitter buffer of one listener.
struct Ear {
    unprotector: Unprotector,
    receiver: Receiver,
    playout: Playout<u64>,
    /// Which packet was played, its media time, and when it was due.
    played: Vec<(u64, u64, i64)>,
    /// Ticks that were missing.
    missing: u64,
}

impl Ear {
    fn new(suite: Suite) -> Self {
        Self {
            unprotector: Unprotector::new(key(suite), 4),
            receiver: Receiver::new(ReceiverConfig::default()),
            playout: Playout::new(Config::fixed(DELAY), Rate::HZ_8000),
            played: Vec::new(),
            missing: 0,
        }
    }

    /// Takes a packet that arrives `now`; says whether it was genuine and new.
    fn hear(&mut self, now: Stamp, secured: &[u8]) -> bool {
        let mut opened = Vec::new();
        if self.unprotector.handle_rtp(now, secured, &mut opened).is_err() {
            return false;
        }
        let from: SocketAddr = "192.0.2.1:5004".parse().expect("an address");
        let mut records = Vec::new();
        let Ok(()) = self.receiver.handle_datagram(now, 0, from, now, &opened, &mut |record| {
            if let Record::Audio(audio) = record {
                records.push((meta(&audio), number(audio.payload)));
            }
            Ok::<(), Infallible>(())
        });
        for (meta, n) in records {
            self.run(now);
            assert_eq!(self.playout.handle_packet(now, meta, n), Insert::Accepted, "packet {n}");
        }
        self.run(now);
        true
    }

    /// Plays what is due until `now`, each at its time.
    fn run(&mut self, now: Stamp) {
        while let Some(deadline) = self.playout.next_deadline().filter(|deadline| *deadline < now) {
            self.poll(deadline);
        }
        self.poll(now);
    }

    fn poll(&mut self, now: Stamp) {
        loop {
            match self.playout.poll(now) {
                Output::Audio(played) => {
                    self.played.push((played.payload, played.meta.timestamp.0, played.due.ns()));
                    assert_eq!(played.slot, FRAME as u64);
                }
                Output::Gap(gap) => self.missing += gap.duration,
                Output::Wait(_) | Output::Idle | Output::Ended => return,
            }
        }
    }
}

fn meta(audio: &Audio<'_>) -> Meta {
    Meta {
        sequence: audio.sequence,
        timestamp: audio.timestamp,
        duration: audio.duration,
        marker: audio.marker,
        recovered: false,
        padding: false,
        redundant: false,
        reach: 0,
        silent: false,
        quiet: false,
        arrived: audio.times.arrived.expect("a receiver stamps"),
        bytes: audio.payload.len(),
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[..8].try_into().expect("eight bytes"))
}

#[test]
fn every_packet_of_an_encrypted_hour_is_played_once_in_order_at_its_time() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let mut ear = Ear::new(suite);
        let (mut arrived, mut doubles) = (std::collections::BTreeSet::new(), 0);
        for ((at, n), secured) in arrivals(suite) {
            let is_new = ear.hear(Stamp::from_ns(at), &secured);
            assert_eq!(is_new, arrived.insert(n), "{suite}: packet {n} is taken once");
            doubles += u64::from(!is_new);
        }
        ear.playout.finish(Stamp::from_ns(1_010 * FRAME + PACKETS as i64 * FRAME), None);
        ear.run(Stamp::from_ns(1_100 * FRAME + PACKETS as i64 * FRAME));
        assert!((PACKETS * 89 / 100..PACKETS * 93 / 100).contains(&(arrived.len() as u64)), "{}", arrived.len());
        assert!(doubles > 1_000, "{doubles}");
        let (_, first, due) = ear.played[0];
        let expected: Vec<_> = arrived.iter().map(|&n| (n, first + n * 160, due + n as i64 * FRAME)).collect();
        let wrong = ear.played.iter().zip(&expected).find(|(played, expected)| played != expected);
        assert_eq!((wrong, ear.played.len()), (None, expected.len()), "{suite}");
        let span = ear.played.last().expect("some").1 + 160 - first;
        assert_eq!(ear.missing + ear.played.len() as u64 * 160, span, "what is missing is a gap of its length");
        let (stats, reports) = (*ear.unprotector.stats(), ear.receiver.reports(Stamp::ZERO));
        assert_eq!((stats.replayed, stats.forged, stats.late_joins), (doubles, 0, 0), "{suite}");
        assert_eq!(ear.receiver.stats().restarts, 0);
        assert_eq!(i64::from(reports[0].1.lost), (span / 160) as i64 - arrived.len() as i64, "{suite}");
    }
}
