//! Receives RTP over UDP as streams of records.

mod args;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::ExitCode;

use args::Args;
use serde_json::json;
use vox_cli::{Failure, Output, StatsFile, Wake, stop_requested, wait, warn};
use vox_frame::EndReason;
use vox_rtp::{Description, Receiver, ReceiverConfig};
use vox_sys::{Clock, monotonic_ns, net};

/// The largest datagram there is, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// Datagrams that are read before what they gave is written: bounds what a flood can hold back.
const BURST: usize = 64;

/// How long a source may say nothing before its stream ends, in ns.
const SOURCE_TIMEOUT_NS: i64 = 30_000_000_000;

/// How often sources that have fallen silent are looked for, in ns.
const EXPIRY_NS: i64 = 5_000_000_000;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| receive(&args))
}

fn receive(args: &Args) -> Result<(), Failure> {
    let session = session(args)?;
    let address = SocketAddr::new(session.address, session.port);
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let clock = Clock::own();
    let output = Output::stdout(clock.opening(), false)?;
    let socket = net::receiver(address, args.interface.as_deref(), session.source)
        .map_err(|error| Failure::network(format_args!("cannot listen on {address}: {error}")))?;
    let config = ReceiverConfig {
        map: session.map,
        extensions: session.extensions,
        max_sources: args.max_sources,
        source_timeout_ns: SOURCE_TIMEOUT_NS,
        max_age_ns: args.max_age.ns(),
        follow: args.follow,
        latch: args.latch,
        seed: getrandom::u64().unwrap_or_else(|_| monotonic_ns() as u64),
    };
    let mut stage = Stage { receiver: Receiver::new(config), output, clock, told: BTreeSet::new() };
    let outcome = stage.run(args, &socket);
    if let Some(mut stats) = stats {
        stats.line(&stage.summary());
    }
    outcome
}

/// Where to listen, and what the payload types mean there.
fn session(args: &Args) -> Result<Description, Failure> {
    let mut description = match (&args.sdp, args.address) {
        (Some(file), _) => {
            let text = std::fs::read(file)
                .map_err(|error| Failure::failed(format_args!("cannot read {}: {error}", file.display())))?;
            Description::parse(&text).map_err(|error| Failure::input(format_args!("{}: {error}", file.display())))?
        }
        (None, Some(address)) => Description::of(address),
        (None, None) => return Err(Failure::usage("nothing to listen on: give ADDR:PORT or --sdp FILE")),
    };
    args.add_to(&mut description);
    Ok(description)
}

struct Stage {
    receiver: Receiver,
    output: Output,
    clock: Clock,
    /// Payload types that a warning was given for.
    told: BTreeSet<u8>,
}

impl Stage {
    fn run(&mut self, args: &Args, socket: &UdpSocket) -> Result<(), Failure> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let began = monotonic_ns();
        let until = args.duration.map(|duration| began.saturating_add(duration.ns()));
        let mut last_heard = began;
        let mut expiry = began + EXPIRY_NS;
        loop {
            self.output.flush()?;
            let idle = args.idle_timeout.map(|timeout| last_heard.saturating_add(timeout.ns()));
            let deadline = [until, idle, Some(expiry)].into_iter().flatten().min();
            // A signal may have come during the flush, where it was noticed already: then no wait is cut short by it.
            let wake = if stop_requested() { Wake::Signal } else { wait(Some(socket.as_fd()), deadline)? };
            if stop_requested() {
                return self.finish(&EndReason::Stopped);
            }
            let now = monotonic_ns();
            if let Wake::Readable(_) = wake {
                let before = self.receiver.stats().packets_received;
                self.read(socket, &mut buffer)?;
                if self.receiver.stats().packets_received > before {
                    last_heard = now;
                }
            } else if idle.is_some_and(|idle| now >= idle) {
                return self.end_idle();
            }
            if until.is_some_and(|until| now >= until) {
                return self.finish(&EndReason::Complete);
            }
            if now >= expiry {
                expiry = now + EXPIRY_NS;
                let output = &mut self.output;
                self.receiver.handle_timeout(self.clock.now(), &mut |record| output.write(&record))?;
            }
        }
    }

    fn read(&mut self, socket: &UdpSocket, buffer: &mut [u8]) -> Result<(), Failure> {
        for _ in 0..BURST {
            let received = net::receive(socket, buffer)
                .map_err(|error| Failure::network(format_args!("cannot receive: {error}")))?;
            let Some(datagram) = received else { return Ok(()) };
            let now = self.clock.now();
            let arrived = now.plus(-datagram.age);
            let output = &mut self.output;
            let bytes = &buffer[..datagram.length];
            self.receiver
                .handle_datagram(now, 0, datagram.from, arrived, bytes, &mut |record| output.write(&record))?;
            self.warn_of_unknown();
        }
        Ok(())
    }

    /// Says once what a stranger may say a thousand times.
    fn warn_of_unknown(&mut self) {
        if self.receiver.unknown_payload_types().len() == self.told.len() {
            return;
        }
        for number in self.receiver.unknown_payload_types().keys() {
            if self.told.insert(*number) {
                warn(format_args!(
                    "packets of payload type {number} are dropped: say what it means, as in --map {number}=opus/48000/2"
                ));
            }
        }
    }

    fn end_idle(&mut self) -> Result<(), Failure> {
        let heard = self.receiver.stats().packets_received > 0;
        self.finish(&EndReason::Timeout)?;
        if heard { Ok(()) } else { Err(Failure::network("nothing was heard before the time-out")) }
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        let output = &mut self.output;
        self.receiver.finish(reason, &mut |record| output.write(&record))?;
        self.output.flush()
    }

    fn summary(&self) -> serde_json::Value {
        let stats = self.receiver.stats();
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
            "rtcpPackets": stats.packets_rtcp,
            "streams": stats.streams,
            "restarts": stats.restarts,
        })
    }
}
