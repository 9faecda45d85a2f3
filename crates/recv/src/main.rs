//! Receives RTP over UDP or TCP as streams of records.

mod args;
mod inlet;
mod ports;
mod tcp;
mod undo;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use args::{Address, Args};
use ports::Ports;
use serde_json::json;
use undo::Undo;
use vox_cli::{Failure, Output, StatsFile, Wake, stop_requested, wait_any, warn};
use vox_frame::{EndReason, Record};
use vox_repair::{Origin, write_request};
use vox_rtp::{ControlConfig, Description, Outgoing, Protocol, ReceiverConfig, ReceiverStats, Session};
use vox_sys::{Clock, go_before_others, monotonic_ns};

/// Datagrams that are read before what they gave is written: bounds what a flood can hold back.
const BURST: usize = 64;

/// How long a source may say nothing before its stream ends, in ns.
const SOURCE_TIMEOUT_NS: i64 = 30_000_000_000;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| receive(&args))
}

fn receive(args: &Args) -> Result<(), Failure> {
    let mut session = description(args)?;
    if let Some(Address::Tcp(target)) = &args.address {
        return tcp::receive(target, session, args);
    }
    if args.connect || args.compat.is_some() {
        return Err(Failure::usage("--connect and --compat are for tcp://HOST:PORT"));
    }
    let undo = Undo::new(&mut session, args)?;
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let clock = Clock::own();
    let output = Output::stdout(clock.opening(), false)?;
    let ports = Ports::open(&session, args)?;
    let answers = !ports.has_everybody();
    let reporting = reporting(args, answers);
    let ssrc = reporting.ssrc;
    let session = Session::new(clock.now(), hearing(session, args), reporting);
    let mut stage = Stage { args, ssrc, session, ports, undo, output, clock, stats, told: BTreeSet::new() };
    let outcome = stage.run();
    stage.summarise();
    outcome
}

/// Where to listen, and what the payload types mean there.
fn description(args: &Args) -> Result<Description, Failure> {
    let mut description = match (&args.sdp, &args.address) {
        (Some(file), _) => {
            let text = std::fs::read(file)
                .map_err(|error| Failure::failed(format_args!("cannot read {}: {error}", file.display())))?;
            Description::parse(&text).map_err(|error| Failure::input(format_args!("{}: {error}", file.display())))?
        }
        (None, Some(Address::Udp(address))) => Description::of(*address),
        // Addresses of TCP stay what they are: they may be names.
        (None, Some(Address::Tcp(_))) => Description::of((Ipv4Addr::UNSPECIFIED, 0).into()),
        (None, None) => return Err(Failure::usage("nothing to listen on: give ADDR:PORT or --sdp FILE")),
    };
    args.add_to(&mut description);
    Ok(description)
}

fn hearing(session: Description, args: &Args) -> ReceiverConfig {
    ReceiverConfig {
        map: session.map,
        extensions: session.extensions,
        max_sources: args.max_sources,
        source_timeout_ns: SOURCE_TIMEOUT_NS,
        max_age_ns: args.max_age.ns(),
        follow: args.follow,
        latch: args.latch,
        seed: random(),
    }
}

fn reporting(args: &Args, answers: bool) -> ControlConfig {
    ControlConfig {
        ssrc: random() as u32,
        // RFC 7022: a name of this run only, which tells nothing of the person.
        cname: format!("{:016x}", random()),
        bandwidth: args.bandwidth,
        interval_ns: args.rtcp_interval.ns(),
        answers,
        seed: random(),
    }
}

struct Stage<'a> {
    args: &'a Args,
    /// Our own, for what we say.
    ssrc: u32,
    session: Session,
    ports: Ports,
    undo: Undo,
    output: Output,
    clock: Clock,
    stats: Option<StatsFile>,
    /// Payload types that a warning was given for.
    told: BTreeSet<u8>,
}

impl Stage<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        // Best effort: without it a busy machine makes packets late.
        let _allowed = go_before_others();
        let began = monotonic_ns();
        let until = self.args.duration.map(|duration| began.saturating_add(duration.ns()));
        let mut last_heard = began;
        loop {
            self.output.flush()?;
            let idle = self.args.idle_timeout.map(|timeout| last_heard.saturating_add(timeout.ns()));
            let session = self.clock.mono_ns(self.session.next_deadline());
            let asking = self.undo.next_deadline().map(|stamp| self.clock.mono_ns(stamp));
            let deadline = [until, idle, Some(session), asking].into_iter().flatten().min();
            // A signal may have come during the flush, where it was noticed already: then no wait is cut short by it.
            let wake = if stop_requested() { Wake::Signal } else { wait_any(&self.ports.descriptors(), deadline)? };
            if stop_requested() {
                return self.finish(&EndReason::Stopped);
            }
            let now = monotonic_ns();
            if let Wake::Readable(_) = wake {
                let before = self.session.receiver.stats().packets_received;
                self.read()?;
                if self.session.receiver.stats().packets_received > before {
                    last_heard = now;
                }
            } else if idle.is_some_and(|idle| now >= idle) {
                return self.end_idle();
            }
            if until.is_some_and(|until| now >= until) {
                return self.finish(&EndReason::Complete);
            }
            if now >= session {
                self.report()?;
            }
            self.ask();
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        for _ in 0..BURST {
            let Some(datagram) = self.ports.receive(&self.clock)? else { break };
            let (now, output) = (self.clock.now(), &mut self.output);
            let (route, arrived) = (datagram.route, datagram.arrived);
            let session = &mut self.session;
            match datagram.protocol {
                Protocol::Rtcp if self.args.no_rtcp => {}
                Protocol::Rtcp => {
                    if let Some(bytes) = self.undo.control(now, datagram.bytes) {
                        session.handle_control(now, route, arrived, bytes);
                    }
                }
                _ => self.undo.media(now, route.to, datagram.bytes, |bytes, origin| {
                    let mut out = |record: Record<'_>| output.write(&record);
                    match origin {
                        Origin::Received => session.handle_datagram(now, route, arrived, bytes, &mut out),
                        Origin::Recovered => session.receiver.handle_recovered(now, 0, route.to, bytes, &mut out),
                    }
                })?,
            }
        }
        self.warn_of_unknown();
        Ok(())
    }

    /// What is due without a datagram: sources that are gone, and reports.
    fn report(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        let output = &mut self.output;
        self.session.handle_timeout(now, &mut |record| output.write(&record))?;
        let packets = self.session.poll(now);
        if self.args.no_rtcp || packets.is_empty() {
            return Ok(());
        }
        self.send(packets);
        if let Some(stats) = &mut self.stats {
            for line in sources(&self.session) {
                stats.line(&line);
            }
        }
        Ok(())
    }

    /// Asks for packets that are missing, by the way that a source's own reports have shown.
    fn ask(&mut self) {
        let requests = self.undo.poll_requests(self.clock.now(), self.session.control.round_trip_ns());
        for (from, ssrc, numbers) in requests {
            let route = self.session.receiver.routes().into_iter().find(|route| route.to.ip() == from.ip());
            let Some(route) = route else { continue };
            let mut packet = Vec::new();
            write_request(self.ssrc, ssrc, &numbers, &mut packet);
            if self.session.receiver.may_answer(route, packet.len()) {
                self.send(vec![Outgoing { to: Some(route), packet }]);
            }
        }
    }

    fn send(&mut self, packets: Vec<Outgoing>) {
        for mut outgoing in packets {
            if self.undo.protect_control(&mut outgoing.packet) {
                self.ports.send(&outgoing);
            }
        }
    }

    /// Says once what a stranger may say a thousand times.
    fn warn_of_unknown(&mut self) {
        let unknown = self.session.receiver.unknown_payload_types();
        if unknown.len() == self.told.len() {
            return;
        }
        for number in unknown.keys() {
            if self.told.insert(*number) {
                warn(format_args!(
                    "packets of payload type {number} are dropped: say what it means, as in --map {number}=opus/48000/2"
                ));
            }
        }
    }

    fn end_idle(&mut self) -> Result<(), Failure> {
        let heard = self.session.receiver.stats().packets_received > 0;
        self.finish(&EndReason::Timeout)?;
        if heard { Ok(()) } else { Err(Failure::network("nothing was heard before the time-out")) }
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        if let Some(stats) = &mut self.stats {
            for line in sources(&self.session) {
                stats.line(&line);
            }
        }
        let output = &mut self.output;
        let goodbyes = self.session.finish(self.clock.now(), reason, &mut |record| output.write(&record))?;
        if !self.args.no_rtcp {
            self.send(goodbyes);
        }
        self.output.flush()
    }

    fn summarise(&mut self) {
        let Some(file) = &mut self.stats else { return };
        let mut summary = told(self.session.receiver.stats());
        self.undo.add_to(&mut summary);
        file.line(&summary);
    }
}

/// What was received, for the last line of the statistics.
fn told(stats: &ReceiverStats) -> serde_json::Value {
    json!({
        "summary": true,
        "packetsReceived": stats.packets_received,
        "bytesReceived": stats.bytes_received,
        "packetsDiscarded": stats.packets_discarded,
        "packetsMisordered": stats.packets_misordered,
        "packetsStray": stats.packets_stray,
        "packetsMalformed": stats.packets_malformed,
        "packetsUnknown": stats.packets_unknown,
        "packetsRefused": stats.packets_refused,
        "packetsForeign": stats.packets_foreign,
        "packetsReflected": stats.packets_reflected,
        "rtcpPackets": stats.packets_rtcp,
        "rtcpRefused": stats.rtcp_refused,
        "byesIgnored": stats.byes_ignored,
        "moves": stats.moves,
        "streams": stats.streams,
        "restarts": stats.restarts,
        "packetsRecovered": stats.packets_recovered,
    })
}

/// What is known of each source.
fn sources(session: &Session) -> Vec<serde_json::Value> {
    let round_trip = session.control.round_trip_ns().map(|ns| ns as f64 / 1e9);
    let line = |(ssrc, from, reception): (u32, _, &vox_rtp::Reception)| {
        json!({
            "type": "inbound-rtp",
            "ssrc": ssrc,
            "source": format!("{from}"),
            "packetsReceived": reception.received(),
            "packetsLost": reception.lost(),
            "jitter": f64::from(reception.jitter()) / f64::from(reception.clock().hz()),
            "roundTripTime": round_trip,
        })
    };
    let receptions = session.receiver.receptions();
    receptions.map(|(ssrc, from, reception): (u32, std::net::SocketAddr, _)| line((ssrc, from, reception))).collect()
}

fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| monotonic_ns() as u64)
}
