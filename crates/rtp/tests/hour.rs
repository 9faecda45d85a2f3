//! An hour of a bad network in a moment: through a receiver, and through a relay to another.

use std::convert::Infallible;
use std::net::SocketAddr;

use vox_frame::{Record, Stamp};
use vox_rtp::{Header, Packet, PayloadMap, Receiver, ReceiverConfig, Sender, write_packet};

/// Packets of 20 ms in an hour.
const PACKETS: u64 = 180_000;
/// Timestamp and number of the first packet: both wrap soon.
const FIRST_TIMESTAMP: u32 = u32::MAX - 8_000 * 60;
const FIRST_SEQUENCE: u16 = u16::MAX - 100;
const FRAME_NS: i64 = 20_000_000;

/// Which packets arrive: nine in ten, at random (xorshift).
fn arrivals() -> impl Iterator<Item = u64> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    (0..PACKETS).filter(move |_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        !random.is_multiple_of(10)
    })
}

fn packet(n: u64) -> Vec<u8> {
    let header = Header {
        ssrc: 7,
        sequence: FIRST_SEQUENCE.wrapping_add(n as u16),
        timestamp: FIRST_TIMESTAMP.wrapping_add((n * 160) as u32),
        payload_type: 0,
        marker: n.is_multiple_of(1000),
    };
    let mut bytes = Vec::new();
    let mut payload = [0x55; 160];
    payload[..8].copy_from_slice(&n.to_be_bytes());
    write_packet(header, &[], &payload, &mut bytes);
    bytes
}

/// Hands every packet that arrives to a receiver, and its records to `out`.
fn receive(receiver: &mut Receiver, n: u64, bytes: &[u8], mut out: impl FnMut(&Record<'_>)) {
    let from: SocketAddr = "192.0.2.1:5004".parse().expect("an address");
    let now = Stamp::from_ns(1_000 * FRAME_NS + n as i64 * FRAME_NS);
    let Ok(()) = receiver.handle_datagram(now, 0, from, now, bytes, &mut |record| {
        out(&record);
        Ok::<(), Infallible>(())
    });
}

#[test]
fn every_packet_of_an_hour_comes_out_once_in_order_at_its_time() {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    let mut heard = Vec::new();
    for n in arrivals() {
        receive(&mut receiver, n, &packet(n), |record| {
            if let Record::Audio(audio) = record {
                let number = u64::from_be_bytes(audio.payload[..8].try_into().expect("eight bytes"));
                heard.push((number, audio.sequence.0, audio.timestamp.0));
            }
        });
    }
    // Where the first one lies is free; from there on both count on without a wrap.
    let (first, sequence, timestamp) = heard[0];
    let expected: Vec<_> = arrivals()
        .filter(|n| *n >= first)
        .map(|n| (n, sequence + (n - first), timestamp + (n - first) * 160))
        .collect();
    assert!(heard == expected, "{} of {}", heard.len(), expected.len());
    assert!(expected.len() as u64 > PACKETS * 88 / 100);
    let block = receiver.reports(Stamp::from_ns(0))[0].1;
    let lost = PACKETS as i64 - arrivals().count() as i64;
    assert!((i64::from(block.lost) - lost).abs() < 20, "{} of {lost} counted", block.lost);
    assert_eq!(receiver.stats().restarts, 0);
}

#[test]
fn a_relay_sends_an_hour_on_byte_for_byte() {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    let carried = PayloadMap::standard().get(0).expect("a static type").clone();
    let mut sender = None;
    let mut sent = 0;
    for n in arrivals() {
        let bytes = packet(n);
        receive(&mut receiver, n, &bytes, |record| match record {
            Record::Format(_, format) => sender = Some(Sender::new(format, &carried, 0, None, || 0)),
            Record::Audio(audio) => {
                let sender = sender.as_mut().expect("a format came first");
                let number = u64::from_be_bytes(audio.payload[..8].try_into().expect("eight bytes"));
                assert_eq!(sender.cut(audio.payload.len(), 1200), 160);
                assert!(sender.piece(audio, 0, 160).packet == packet(number), "packet {number}");
                sent += 1;
            }
            _ => {}
        });
        debug_assert!(Packet::parse(&bytes).is_ok());
    }
    assert_eq!(sent, receiver.stats().packets_received);
    assert!(sent > PACKETS * 88 / 100);
}
