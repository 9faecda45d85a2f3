//! A load for a room server: many participants in many rooms, some of them talking, all of them listening.
//!
//!     load room ADDR:PORT --rooms 100 --members 10 --talkers 3 --seconds 10 [--pid SERVER]
//!     load bare ADDR:PORT …        the same against the fan-out below
//!     load fanout ADDR:PORT        recvfrom and sendto, nothing else: what a server is compared with
//!
//! Packets carry the time at which they were sent; the kernel says when they arrived. The last line is JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vox_room::Notice;
use vox_sys::{Readiness, monotonic_ns, net, pipe};

/// Bytes of an Opus packet of 20 ms at 32 kbit/s.
const PAYLOAD: usize = 80;

/// The time between two packets of a talker, in ns.
const PERIOD_NS: i64 = 20_000_000;

/// Ticks of 20 ms at 48 kHz.
const FRAME: u32 = 960;

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

struct Participant {
    /// Kept open: the seat is gone with it.
    _signalling: Option<TcpStream>,
    socket: UdpSocket,
    talks: bool,
    ssrc: u32,
    sequence: u16,
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
    let mut people = Vec::new();
    let mut readiness = Readiness::new()?;
    for room in 0..args.rooms {
        for member in 0..args.members {
            let talks = member < args.talkers;
            let participant = enter(args, room, member, talks)?;
            readiness.add(&participant.socket, people.len() as u64)?;
            people.push(participant);
        }
    }
    let memory = args.pid.and_then(resident_kb);
    let cpu = args.pid.and_then(cpu_ms);
    let (began, talkers) = (monotonic_ns(), people.iter().filter(|one| one.talks).count() as i64);
    let (mut sent, mut latencies, mut ready, mut buffer) = (0i64, Vec::new(), Vec::new(), vec![0; 65_536]);
    let total = args.seconds * 1_000_000_000 / PERIOD_NS * talkers;
    let who: Vec<usize> = people.iter().enumerate().filter(|(_, one)| one.talks).map(|(index, _)| index).collect();
    let mut quiet_since = 0;
    loop {
        // Talkers are spread over the period, as they are in life.
        let now = monotonic_ns();
        while sent < total && began + sent * PERIOD_NS / talkers <= now {
            speak(&mut people[who[(sent % talkers) as usize]])?;
            sent += 1;
        }
        let next = if sent < total { began + sent * PERIOD_NS / talkers } else { now + 10_000_000 };
        pipe::wait(&[std::os::fd::AsFd::as_fd(&readiness)], None, Some(next))?;
        readiness.ready(&mut ready)?;
        for event in &ready {
            while let Some(datagram) = net::receive(&people[event.key as usize].socket, &mut buffer)? {
                let stamp = buffer[..datagram.length].get(12..20).and_then(|bytes| bytes.first_chunk::<8>());
                latencies.extend(stamp.map(|stamp| monotonic_ns() - datagram.age - i64::from_le_bytes(*stamp)));
            }
        }
        if !ready.is_empty() || sent < total {
            quiet_since = monotonic_ns();
        } else if monotonic_ns() - quiet_since > 300_000_000 {
            break;
        }
    }
    let cpu = args.pid.and_then(cpu_ms).zip(cpu).map(|(after, before)| after - before);
    report(args, sent, latencies, cpu, memory)
}

fn enter(args: &Args, room: usize, member: usize, talks: bool) -> Result<Participant, Box<dyn Error>> {
    let socket = net::receiver(SocketAddr::from(([127, 0, 0, 1], 0)), None, None)?;
    let ssrc = (room * 100_000 + member + 1) as u32;
    let (signalling, to, hello) = if args.mode == Mode::Bare {
        (None, args.server, format!("JOIN {room}"))
    } else {
        let mut tcp = TcpStream::connect(args.server)?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        let stream = if talks { format!("STREAM {ssrc}: pt=96 frame={FRAME}\n") } else { String::new() };
        write!(
            tcp,
            "CONNECT: \"r{room}m{member}\" \"load\" 1.0.0\nJOIN: #r{room}\nVOICE #r{room}\nEVENTS: off\n{stream}"
        )?;
        let mut text = String::new();
        let mut bytes = [0; 4096];
        let (to, key) = loop {
            let length = tcp.read(&mut bytes)?;
            if length == 0 {
                return Err(format!("refused: {text}").into());
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..length]));
            let voice = text.split_inclusive("\r\n").filter(|line| line.ends_with('\n')).find_map(|line| {
                if let Notice::VoiceUdp(to, key) = Notice::parse(line.trim_end()) { Some((to, key)) } else { None }
            });
            if let Some(found) = voice {
                break found;
            }
        };
        tcp.set_nonblocking(true)?;
        (Some(tcp), to, format!("TALKSESSION: {key}"))
    };
    socket.connect(to)?;
    let mut buffer = [0; 2048];
    for _ in 0..50 {
        socket.send(hello.as_bytes())?;
        pipe::wait(&[std::os::fd::AsFd::as_fd(&socket)], None, Some(monotonic_ns() + 100_000_000))?;
        if net::receive(&socket, &mut buffer)?.is_some() {
            return Ok(Participant { _signalling: signalling, socket, talks, ssrc, sequence: 0 });
        }
    }
    Err("no answer by UDP".into())
}

fn speak(one: &mut Participant) -> std::io::Result<()> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&one.sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(one.sequence) * FRAME).to_be_bytes());
    packet.extend_from_slice(&one.ssrc.to_be_bytes());
    packet.extend_from_slice(&monotonic_ns().to_le_bytes());
    packet.resize(12 + PAYLOAD, 0);
    one.sequence = one.sequence.wrapping_add(1);
    one.socket.send(&packet).map(drop)
}

fn report(
    args: &Args,
    sent: i64,
    mut latencies: Vec<i64>,
    cpu_ms: Option<i64>,
    memory: Option<i64>,
) -> Result<(), Box<dyn Error>> {
    latencies.sort_unstable();
    let at = |part: f64| latencies.get(((latencies.len() as f64 - 1.0) * part) as usize).map(|ns| *ns as f64 / 1e6);
    let expected = sent * (args.members as i64 - 1);
    let line = serde_json::json!({
        "participants": args.rooms * args.members,
        "packetsIn": sent,
        "packetsOut": latencies.len(),
        "lost": expected - latencies.len() as i64,
        "latencyMsP50": at(0.5),
        "latencyMsP99": at(0.99),
        "latencyMsMax": at(1.0),
        "cpuPercent": cpu_ms.map(|ms| ms as f64 / 10.0 / args.seconds as f64),
        "cpuUsPerPacketOut": cpu_ms.map(|ms| ms as f64 * 1e3 / latencies.len().max(1) as f64),
        "residentKb": memory,
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// User and system time of a process, in ms.
fn cpu_ms(pid: u32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: i64 = fields.get(11)?.parse::<i64>().ok()? + fields.get(12)?.parse::<i64>().ok()?;
    Some(ticks * 10)
}

fn resident_kb(pid: u32) -> Option<i64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?.trim().parse().ok()
}
