//! Plays packet traces through the jitter buffer and says what a listener would have got, without decoding anything.
//!
//! `simulate [--fixed MS | --price MS | --no-stretch] FILE.trace…`: a line a trace. A trace is a list of records `f64
//! arrival_ms, u16 sequence, u32 timestamp, u32 length, payload`, little endian, in order of arrival, of Opus packets
//! of 20 ms; packet n left the sender at 20 n ms, by a clock that is as many ppm off as the file's name says.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a tool for people, not part of the crate")]

use std::path::Path;

use vox_frame::{Codec, MediaTime, Rate, SequenceNumber, Stamp, TimestampUnwrapper, Unwrapper};
use vox_playout::{Adaptive, Config, Meta, Output, Playout, carries_copy, falls_silent, is_quiet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut adaptive = Adaptive::default();
    let mut fixed = None;
    let mut arguments = std::env::args().skip(1);
    println!(
        "{:28} {:>8} {:>8} {:>7} {:>7} {:>7} {:>8} {:>8}",
        "trace", "excess", "p95", "conc%", "late%", "fec%", "stretch%", "ppm"
    );
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().unwrap_or_default().parse::<f64>();
        match argument.as_str() {
            "--fixed" => fixed = Some((number()? * 1e6) as i64),
            "--price" => adaptive.price_ns = (number()? * 1e6) as i64,
            "--no-stretch" => adaptive.stretch = false,
            _ => {
                let config = fixed.map_or_else(|| Config::adaptive(adaptive), Config::fixed);
                let config = Config { max_behind_ns: i64::MAX, ..config };
                report(&argument, &std::fs::read(&argument)?, config);
            }
        }
    }
    Ok(())
}

struct Packet {
    meta: Meta,
    /// When it left the sender, in ns.
    sent: f64,
}

fn report(path: &str, bytes: &[u8], config: Config) {
    let name = Path::new(path).file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let ppm = name.split("drift").nth(1).and_then(|rest| rest.split("ppm").next()?.parse::<f64>().ok());
    let tick = 1e9 / 48_000.0 * (1.0 - ppm.unwrap_or(0.0) * 1e-6);
    let packets = read(bytes, tick);
    let base = packets.iter().map(|packet| packet.meta.arrived.ns() as f64 - packet.sent).fold(f64::MAX, f64::min);
    let mut run = Run { tick, base, ..Run::default() };
    let mut playout = Playout::new(config, Rate::HZ_48000);
    for packet in &packets {
        run.release(&mut playout, Some(packet.meta.arrived));
        playout.handle_packet(packet.meta.arrived, packet.meta, ());
    }
    playout.finish(run.now, None);
    run.release(&mut playout, None);
    run.excess.sort_by(f64::total_cmp);
    let stats = playout.stats();
    let mean = run.excess.iter().sum::<f64>() / run.excess.len().max(1) as f64;
    let p95 = run.excess.get(run.excess.len() * 95 / 100).copied().unwrap_or(0.0);
    let share = |ticks: u64| 100.0 * ticks as f64 / 48_000.0 / (run.played / 1e9);
    println!(
        "{name:28} {mean:8.1} {p95:8.1} {:7.3} {:7.3} {:7.3} {:8.2} {:8.1}",
        share(stats.concealed_ticks),
        100.0 * stats.packets_late as f64 / packets.len() as f64,
        share(stats.repaired_ticks),
        share(stats.inserted_ticks + stats.removed_ticks),
        playout.drift_ppb() as f64 / 1e3,
    );
}

fn read(bytes: &[u8], tick: f64) -> Vec<Packet> {
    let (mut sequences, mut timestamps) = (Unwrapper::default(), TimestampUnwrapper::default());
    let mut packets = Vec::new();
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk::<18>() {
        let arrived = f64::from_le_bytes(head[..8].try_into().unwrap_or_default());
        let sequence = u16::from_le_bytes([head[8], head[9]]);
        let timestamp = u32::from_le_bytes(head[10..14].try_into().unwrap_or_default());
        let length = u32::from_le_bytes(head[14..].try_into().unwrap_or_default()) as usize;
        let (payload, after) = after.split_at(length.min(after.len()));
        rest = after;
        let sequence: SequenceNumber = sequences.extend(sequence);
        let timestamp: MediaTime = timestamps.extend(timestamp);
        let meta = Meta {
            sequence,
            timestamp,
            duration: 960,
            marker: false,
            recovered: false,
            padding: false,
            redundant: carries_copy(&Codec::Opus, payload),
            reach: 0,
            silent: falls_silent(&Codec::Opus, payload),
            quiet: is_quiet(&Codec::Opus, payload),
            arrived: Stamp::from_ns((arrived * 1e6) as i64),
            bytes: length,
        };
        packets.push(Packet { meta, sent: (timestamp.0 - (1 << 32)) as f64 * tick });
    }
    packets
}

#[derive(Default)]
struct Run {
    tick: f64,
    base: f64,
    now: Stamp,
    excess: Vec<f64>,
    played: f64,
}

impl Run {
    /// Takes out what is due before `until`.
    fn release(&mut self, playout: &mut Playout<()>, until: Option<Stamp>) {
        while let Some(deadline) = playout.next_deadline().filter(|at| until.is_none_or(|until| *at < until)) {
            self.now = self.now.max(deadline);
            match playout.poll(deadline) {
                Output::Audio(audio) => {
                    let sent = (audio.meta.timestamp.0 - (1 << 32)) as f64 * self.tick;
                    self.excess.push((audio.due.ns() as f64 - sent - self.base) / 1e6);
                    self.played += audio.slot as f64;
                }
                Output::Gap(gap) => self.played += gap.slot as f64,
                Output::Wait(_) | Output::Idle | Output::Ended => break,
            }
        }
    }
}
