//! Prints the table of docs/repair.md: what each protection costs, and what it leaves lost on simulated links.
//!
//! An hour of 20 ms packets of 60 bytes (Opus at 24 kbit/s), the same links for every protection.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use vox_frame::Stamp;
use vox_link::{Burst, Config, Fate, Link};
use vox_repair::{
    Guard, Protection, RequestConfig, Requester, ResendConfig, Resender, Restorer, read_nack, write_nack,
};
use vox_rtp::{Header, Packet, write_packet};

const PACKETS: u32 = 180_000;
const PAYLOAD: usize = 60;
/// IP and UDP.
const BELOW: usize = 28;
const FRAME_NS: i64 = 20_000_000;
const ONE_WAY_NS: i64 = 20_000_000;
const USEFUL_NS: i64 = 200_000_000;

fn link(percent: f64, bursty: bool) -> Link {
    let mut config = Config { base_ns: ONE_WAY_NS, ..Config::PERFECT };
    if bursty {
        // Bursts of three packets in the mean.
        let leave = 1.0 / 3.0;
        let enter = leave * percent / (100.0 - percent);
        config.burst = Some(Burst { enter, leave, loss_good: 0.0, loss_bad: 1.0 });
    } else {
        config.loss = percent / 100.0;
    }
    Link::new(config, 7)
}

fn media(index: u32) -> Vec<u8> {
    let header =
        Header { ssrc: 7, sequence: index as u16, timestamp: index.wrapping_mul(960), payload_type: 96, marker: false };
    let mut packet = Vec::new();
    write_packet(header, &[], &[index as u8; PAYLOAD], &mut packet);
    packet
}

fn sent_at(index: u32) -> Stamp {
    Stamp::from_ns(i64::from(index) * FRAME_NS)
}

/// Bytes sent, and packets that never came.
fn protected(protection: Protection, mut link: Link) -> (usize, usize) {
    let (mut guard, mut restorer) = (Guard::new(protection, 1200), Restorer::new(1));
    restorer.expect_red(63);
    restorer.expect_parity(127);
    let (mut bytes, mut came) = (0, BTreeSet::new());
    for index in 0..PACKETS {
        guard.handle_packet(&media(index), |packet| {
            bytes += packet.len() + BELOW;
            if matches!(link.handle_packet(sent_at(index), packet.len()).fate, Fate::Arrives(_)) {
                restorer.handle_packet(0, packet, |packet, _| {
                    let packet = Packet::parse(packet).unwrap();
                    if !packet.payload.is_empty() {
                        came.insert(packet.header.timestamp);
                    }
                });
            }
        });
    }
    (bytes, PACKETS as usize - came.len())
}

/// The same with retransmission, over links that lose requests and answers too.
fn resent(mut there: Link, mut back: Link) -> (usize, usize) {
    let mut resender = Resender::new(ResendConfig { keep_ns: USEFUL_NS, stream: None }, 0);
    let mut requester = Requester::new(RequestConfig { patience_ns: 5_000_000, useful_ns: USEFUL_NS });
    requester.set_round_trip(2 * ONE_WAY_NS);
    let (mut bytes, mut came, mut order) = (0, BTreeSet::new(), 0u64);
    let mut events: BTreeMap<(Stamp, u64), (bool, Vec<u8>)> = BTreeMap::new();
    for index in 0..PACKETS {
        let until = sent_at(index);
        loop {
            let event = events.first_key_value().map(|((at, _), _)| *at).filter(|at| *at < until);
            let poll = requester.next_deadline().filter(|at| *at < until);
            match (event, poll) {
                (None, None) => break,
                (event, Some(poll)) if event.is_none_or(|event| poll < event) => {
                    let entries = write_nack(&requester.poll(poll));
                    if entries.is_empty() {
                        continue;
                    }
                    let nack: Vec<u8> = entries
                        .iter()
                        .flat_map(|(first, bits)| [first.to_be_bytes(), bits.to_be_bytes()].concat())
                        .collect();
                    bytes += 12 + nack.len() + BELOW;
                    if let Fate::Arrives(at) = back.handle_packet(poll, 12 + nack.len()).fate {
                        order += 1;
                        events.insert((at, order), (true, nack));
                    }
                }
                _ => {
                    let Some(((at, _), (is_nack, packet))) = events.pop_first() else { break };
                    if is_nack {
                        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                        let entries: Vec<_> = (0..packet.len() / 4).map(|i| (word(4 * i), word(4 * i + 2))).collect();
                        let numbers: Vec<u16> = read_nack(&entries).collect();
                        resender.handle_request(at, &numbers, |again| {
                            bytes += again.len() + BELOW;
                            if let Fate::Arrives(at) = there.handle_packet(at, again.len()).fate {
                                order += 1;
                                events.insert((at, order), (false, again.to_vec()));
                            }
                        });
                    } else {
                        let header = Packet::parse(&packet).unwrap().header;
                        requester.handle_packet(at, header.sequence);
                        came.insert(header.timestamp);
                    }
                }
            }
        }
        let packet = media(index);
        bytes += packet.len() + BELOW;
        resender.handle_sent(until, &packet);
        if let Fate::Arrives(at) = there.handle_packet(until, packet.len()).fate {
            order += 1;
            events.insert((at, order), (false, packet));
        }
    }
    came.extend(
        events
            .into_values()
            .filter(|(nack, _)| !nack)
            .map(|(_, packet)| Packet::parse(&packet).unwrap().header.timestamp),
    );
    (bytes, PACKETS as usize - came.len())
}

fn main() {
    let plain = PACKETS as usize * (12 + PAYLOAD + BELOW);
    let losses = [5.0, 10.0, 20.0, 30.0];
    let rows: [(&str, usize, &str); 11] = [
        ("nothing", 0, "0"),
        ("`--red 1`", 1, "0"),
        ("`--red 2`", 2, "0"),
        ("`--red 4`", 4, "0"),
        ("`--fec 10`", 0, "10"),
        ("`--fec 5`", 0, "5"),
        ("`--fec 2`", 0, "2"),
        ("`--fec 5x4`", 0, "5x4"),
        ("`--fec 2x4`", 0, "2x4"),
        ("`--red 1 --fec 5`", 1, "5"),
        ("`--red 2 --fec 4x4`", 2, "4x4"),
    ];
    for (name, red, parity) in rows {
        let protection =
            Protection { red: (red > 0).then_some((63, red)), parity: parity.parse().ok().map(|shape| (127, shape)) };
        let results: Vec<(usize, usize)> = [false, true]
            .into_iter()
            .flat_map(|bursty| losses.map(|loss| protected(protection, link(loss, bursty))))
            .collect();
        row(name, plain, &results);
    }
    let results: Vec<(usize, usize)> = [false, true]
        .into_iter()
        .flat_map(|bursty| losses.map(|loss| resent(link(loss, bursty), link(loss, false))))
        .collect();
    row("retransmission", plain, &results);
}

fn row(name: &str, plain: usize, results: &[(usize, usize)]) {
    let cost = |bytes: usize| 100.0 * (bytes as f64 / plain as f64 - 1.0);
    let (least, most) = results
        .iter()
        .fold((f64::MAX, 0.0f64), |(least, most), (bytes, _)| (least.min(cost(*bytes)), most.max(cost(*bytes))));
    let cost = if most - least < 1.0 { format!("{most:.0} %") } else { format!("{least:.0} to {most:.0} %") };
    let left: Vec<String> =
        results.iter().map(|(_, lost)| format!("{:.2}", 100.0 * *lost as f64 / f64::from(PACKETS))).collect();
    println!("| {name} | {cost} | {} |", left.join(" | "));
}
