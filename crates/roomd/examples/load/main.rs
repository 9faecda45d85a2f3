//! A load for a room server: many participants in many rooms, some of them talking, all of them listening.
//!
//!     load room ADDR:PORT --rooms 100 --members 10 --talkers 3 --seconds 10 [--srtp] [--crowd N] [--pid SERVER]
//!     load bare ADDR:PORT …        the same against the fan-out below
//!     load fanout ADDR:PORT        recvfrom and sendto, nothing else: what a server is compared with
//!
//! Each talker has a clock of its own, which began at a time of its own. The generator knows when it sent each packet,
//! and the kernel says when the copies arrived: how long the generator lets them lie is no part of the latency. The last
//! line is JSON.

mod figures;
mod people;
mod tls;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vox_sys::batch::Batch;
use vox_sys::{monotonic_ns, pipe};

use figures::Process;
use people::{Crowd, Participant};

/// The time between two packets of a talker, in ns.
const PERIOD_NS: i64 = 20_000_000;

/// Ticks of 20 ms at 48 kHz.
const FRAME: u32 = 960;

/// How often what has arrived at a participant is taken, in ns: seldom, so that the generator costs little. The kernel
/// has noted when it came.
const FETCH_NS: i64 = 100_000_000;

/// How long nothing has to come at the end, in ns.
const QUIET_NS: i64 = 400_000_000;

#[derive(Parser)]
struct Args {
    mode: Mode,
    server: SocketAddr,
    #[arg(long, default_value_t = 10)]
    rooms: usize,
    #[arg(long, default_value_t = 10)]
    members: usize,
    #[arg(long, default_value_t = 3)]
    talkers: usize,
    #[arg(long, default_value_t = 5)]
    seconds: i64,
    /// Signalling by TLS, voice by SRTP.
    #[arg(long)]
    srtp: bool,
    /// That many connections beside, which begin to say something and never end.
    #[arg(long, default_value_t = 0)]
    crowd: usize,
    /// Whose CPU time and memory are told.
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Room,
    Bare,
    Fanout,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    match args.mode {
        Mode::Fanout => fan_out(args.server),
        Mode::Room | Mode::Bare => load(&args),
    }
}

/// The least that a server can do: each datagram to everybody else in the sender's room.
fn fan_out(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind(address)?;
    let (mut rooms, mut of) = (BTreeMap::<Vec<u8>, Vec<SocketAddr>>::new(), BTreeMap::<SocketAddr, Vec<u8>>::new());
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        if let Some(room) = buffer[..length].strip_prefix(b"JOIN ") {
            rooms.entry(room.to_vec()).or_default().push(from);
            of.insert(from, room.to_vec());
            socket.send_to(b"OK", from)?;
        } else if let Some(members) = of.get(&from).and_then(|room| rooms.get(room)) {
            for to in members.iter().filter(|to| **to != from) {
                // A full buffer loses the packet, as it would in any server.
                let _lost = socket.send_to(&buffer[..length], to);
            }
        }
    }
}

fn load(args: &Args) -> Result<(), Box<dyn Error>> {
    let server = args.pid.map(Process);
    let before = server.and_then(Process::resident_kb);
    let mut people = Vec::new();
    let mut talkers = Vec::new();
    for room in 0..args.rooms {
        for member in 0..args.members {
            let ssrc = (member < args.talkers).then(|| talkers.len() as u32 + 1);
            talkers.extend(ssrc.map(|_| people.len()));
            people.push(Participant::enter(args, room, member, ssrc)?);
        }
    }
    let after = server.and_then(Process::resident_kb);
    let mut crowd = Crowd::open(args.server, args.crowd)?;
    let crowded = server.and_then(Process::resident_kb);
    let cpu = server.and_then(Process::cpu_ns);
    let (latencies, sent) = talk(args, &mut people, &talkers)?;
    let cpu = server.and_then(Process::cpu_ns).zip(cpu).map(|(after, before)| after - before);
    let expected = sent * (args.members as i64 - 1);
    let line = serde_json::json!({
        "participants": people.len(),
        "packetsIn": sent,
        "packetsOut": latencies.len(),
        "lost": expected - latencies.len() as i64,
        "latencyMsP50": latencies.at(0.5),
        "latencyMsP99": latencies.at(0.99),
        "latencyMsMax": latencies.at(1.0),
        "cpuPercent": cpu.map(|ns| ns as f64 / 1e7 / args.seconds as f64),
        "cpuUsPerPacketOut": cpu.map(|ns| ns as f64 / 1e3 / latencies.len().max(1) as f64),
        "residentKb": after,
        "kbPerParticipant": after.zip(before).map(|(after, before)| (after - before) as f64 / people.len() as f64),
        "crowd": crowd.len(),
        "crowdResidentKb": crowded,
        "crowdClosed": crowd.closed(),
    });
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// What everybody said was heard that long after it was said, and how much was said.
fn talk(
    args: &Args,
    people: &mut [Participant],
    talkers: &[usize],
) -> Result<(figures::Latencies, i64), Box<dyn Error>> {
    let frames = args.seconds * 1_000_000_000 / PERIOD_NS;
    let began = monotonic_ns();
    // When each talker's next packet is due: each began at a time of its own.
    let mut due: BTreeMap<(i64, usize), i64> =
        (0..talkers.len()).map(|at| ((began + figures::phase(at) % PERIOD_NS, at), 0)).collect();
    let mut said = vec![Vec::with_capacity(frames as usize); talkers.len()];
    let mut latencies = figures::Latencies::default();
    let mut batch = Batch::new(32);
    let (mut sent, mut fetched, mut last) = (0, 0, began);
    loop {
        let now = monotonic_ns();
        while let Some((&(at, who), &frame)) = due.first_key_value()
            && at <= now
        {
            due.pop_first();
            said[who].push(monotonic_ns());
            people[talkers[who]].speak(frame as u32)?;
            sent += 1;
            if frame + 1 < frames {
                due.insert((at + PERIOD_NS, who), frame + 1);
            }
        }
        // As many as it takes to come round in time.
        let owed = (monotonic_ns() - began) * people.len() as i64 / FETCH_NS;
        while fetched < owed {
            let came = people[(fetched % people.len() as i64) as usize].fetch(&mut batch, &said, &mut latencies)?;
            last = if came { monotonic_ns() } else { last };
            fetched += 1;
        }
        let next = due.first_key_value().map(|((at, _), _)| *at);
        if next.is_none() && monotonic_ns() - last > QUIET_NS {
            return Ok((latencies, sent));
        }
        let soon = monotonic_ns() + (FETCH_NS / people.len() as i64).max(1_000_000);
        pipe::wait(&[], None, Some(next.map_or(soon, |next| next.min(soon))))?;
    }
}
