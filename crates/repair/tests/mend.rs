//! Everything that mends loss, together, between a sender and a receiver on a simulated clock.

use proptest::prelude::*;
use vox_frame::Stamp;
use vox_repair::{Guard, MendConfig, Mender, Origin, OwnStream, Protection, RequestConfig, ResendConfig, Resender};
use vox_rtp::{Header, Packet, write_packet};

const MS: i64 = 1_000_000;
const MEDIA: u32 = 7;
const AGAIN: u32 = 8;
const RED: u8 = 63;
const PARITY: u8 = 127;

fn at(ms: i64) -> Stamp {
    Stamp::from_ns(ms * MS)
}

fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
    let header = Header { ssrc, sequence, timestamp: u32::from(sequence) * 160, payload_type: 0, marker: false };
    let mut packet = Vec::new();
    write_packet(header, &[], &[sequence as u8; 40], &mut packet);
    packet
}

fn config() -> MendConfig {
    MendConfig {
        max_sources: 4,
        red: vec![RED],
        parity: vec![PARITY],
        retransmissions: [(62, None), (61, Some(PARITY))].into(),
        request: Some(RequestConfig { patience_ns: 5 * MS, useful_ns: 300 * MS }),
    }
}

/// Hands a packet to a mender that hears one address.
fn mend(mender: &mut Mender<u8>, now: Stamp, bytes: &[u8]) -> Vec<(Vec<u8>, Origin)> {
    let mut given = Vec::new();
    mender.handle_packet(now, 0, bytes, |bytes, origin| given.push((bytes.to_vec(), origin)));
    given
}

/// A retransmission of a packet of `of`, in the stream `by`.
fn again(by: u32, of: u32, sequence: u16) -> Vec<u8> {
    let stream = Some(OwnStream { ssrc: by, types: [(0, 62)].into() });
    let mut resender = Resender::new(ResendConfig { keep_ns: 1_000 * MS, stream }, 500);
    resender.handle_sent(at(0), &packet(of, sequence));
    let mut sent = Vec::new();
    resender.handle_request(at(0), &[sequence], |packet| sent.extend_from_slice(packet));
    sent
}

/// Hears 1, misses 2, hears 3 of that source, and asks for 2.
fn missing_one(mender: &mut Mender<u8>, ssrc: u32) {
    for sequence in [1, 3] {
        mend(mender, at(20 * i64::from(sequence)), &packet(ssrc, sequence));
    }
}

#[test]
fn a_retransmission_becomes_the_packet_that_was_lost() {
    let mut mender = Mender::new(config());
    missing_one(&mut mender, MEDIA);
    assert_eq!(mender.poll_requests(at(65), Some(20 * MS)), [(0, MEDIA, vec![2])]);
    assert_eq!(mend(&mut mender, at(90), &again(AGAIN, MEDIA, 2)), [(packet(MEDIA, 2), Origin::Recovered)]);
    assert_eq!(mend(&mut mender, at(91), &again(AGAIN, MEDIA, 2)), [], "once is enough");
    let stats = mender.stats();
    assert_eq!((stats.asked, stats.retransmitted, stats.unasked), (1, 1, 1));
}

#[test]
fn a_retransmission_that_nobody_asked_for_is_nothing() {
    let mut mender = Mender::new(config());
    for number in 1..10 {
        mend(&mut mender, at(20 * i64::from(number)), &packet(MEDIA, number));
    }
    assert_eq!(mend(&mut mender, at(200), &again(AGAIN, MEDIA, 5)), []);
    assert_eq!(mend(&mut mender, at(200), &again(AGAIN, 99, 12)), []);
    // Padding that probes the network.
    let mut padding = again(AGAIN, MEDIA, 5);
    padding.truncate(12);
    assert_eq!(mend(&mut mender, at(200), &padding), []);
    assert_eq!(mender.stats().unasked, 2);
}

#[test]
fn of_two_sources_that_miss_a_number_neither_is_taken_for_the_other() {
    let mut mender = Mender::new(config());
    missing_one(&mut mender, MEDIA);
    missing_one(&mut mender, 70);
    mender.poll_requests(at(65), Some(20 * MS));
    assert_eq!(mend(&mut mender, at(90), &again(AGAIN, MEDIA, 2)), [], "it could be either's");
    // The first that only one of them can miss tells.
    for ssrc in [MEDIA, 70] {
        mend(&mut mender, at(91), &packet(ssrc, if ssrc == MEDIA { 5 } else { 4 }));
    }
    mender.poll_requests(at(100), Some(20 * MS));
    assert_eq!(mend(&mut mender, at(120), &again(AGAIN, MEDIA, 4)), [(packet(MEDIA, 4), Origin::Recovered)]);
    assert_eq!(mend(&mut mender, at(121), &again(AGAIN, MEDIA, 2)), [(packet(MEDIA, 2), Origin::Recovered)]);
}

#[test]
fn a_stranger_cannot_send_again_what_another_address_owes() {
    let mut mender = Mender::new(config());
    missing_one(&mut mender, MEDIA);
    mender.poll_requests(at(65), Some(20 * MS));
    mender.handle_packet(at(90), 1, &again(AGAIN, MEDIA, 2), |_, _| panic!("it came from elsewhere"));
}

/// A sender that protects and keeps, a link that loses, and a mender; gives the numbers that came out, by media time.
fn through(protection: Protection, lost: &[bool], apart: bool) -> Vec<u32> {
    let mut guard = Guard::new(protection, 1200);
    let stream = OwnStream { ssrc: AGAIN, types: [(RED, 62), (0, 62), (PARITY, 61)].into() };
    let stream =
        if protection.red.is_some() { OwnStream { types: [(RED, 62), (PARITY, 61)].into(), ..stream } } else { stream };
    let mut resender = Resender::new(ResendConfig { keep_ns: 500 * MS, stream: apart.then_some(stream) }, 9);
    let mut mender = Mender::new(config());
    let mut times = Vec::new();
    let mut losses = lost.iter();
    for number in 0..60u16 {
        let now = at(20 * i64::from(number));
        let mut leaving = Vec::new();
        guard.handle_packet(&packet(MEDIA, number), |packet| leaving.push(packet.to_vec()));
        for (_, _, numbers) in mender.poll_requests(now, Some(10 * MS)) {
            resender.handle_request(now, &numbers, |packet| leaving.push(packet.to_vec()));
        }
        for packet in leaving {
            let of_media = Packet::parse(&packet).is_ok_and(|packet| packet.header.ssrc == MEDIA);
            if of_media {
                resender.handle_sent(now, &packet);
            }
            // The first ones and the last come: what comes before the first is not known to be missing.
            if (3..55).contains(&number) && losses.next().copied().unwrap_or_default() {
                continue;
            }
            for (bytes, _) in mend(&mut mender, now, &packet) {
                let media = Packet::parse(&bytes).expect("a packet");
                assert_eq!(media.header.ssrc, MEDIA);
                if !media.payload.is_empty() {
                    assert_eq!(
                        (media.header.payload_type, media.payload),
                        (0, &[(media.header.timestamp / 160) as u8; 40][..])
                    );
                    times.push(media.header.timestamp / 160);
                }
            }
        }
    }
    times
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn every_combination_gives_each_packet_once_at_most(
        lost in prop::collection::vec(prop::bool::weighted(0.2), 200),
        red in any::<bool>(),
        parity in any::<bool>(),
        apart in any::<bool>(),
    ) {
        let protection = Protection {
            red: red.then_some((RED, 2)),
            parity: parity.then(|| (PARITY, "5".parse().expect("a shape"))),
        };
        let mut times = through(protection, &lost, apart);
        let mut once = times.clone();
        times.sort_unstable();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(&once, &times, "none twice");
        // Three losses in a row of each packet and its retransmissions are possible, and rare.
        prop_assert!(times.len() > 50, "{} of 60", times.len());
    }
}
