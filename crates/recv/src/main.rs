//! Receives RTP over UDP or TCP as streams of records.

mod args;
mod discover;
mod inlet;
mod ports;
mod stage;
mod tcp;
mod told;
mod undo;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use args::{Address, Args};
use ports::Ports;
use stage::{Crowd, Stage};
use undo::Undo;
use vox_cli::{Failure, Output, StatsFile, warn};
use vox_rtp::{ControlConfig, Description, ReceiverConfig, Session};
use vox_sys::{Clock, monotonic_ns};

/// How long a source may say nothing before its stream ends, in ns.
const SOURCE_TIMEOUT_NS: i64 = 30_000_000_000;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| if args.discover { discover::list(&args) } else { receive(&args) })
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
    let session = Session::new(clock.now(), hearing(session, args), reporting);
    let mut stage =
        Stage { args, session, ports, undo, output, clock, stats, told: BTreeSet::new(), crowd: Crowd::default() };
    let outcome = stage.run();
    stage.summarise();
    outcome
}

/// Where to listen, and what the payload types mean there.
fn description(args: &Args) -> Result<Description, Failure> {
    let mut description = match (&args.join, &args.sdp, &args.address) {
        (Some(name), ..) => discover::find(args, name)?,
        (None, Some(file), _) => {
            let text = std::fs::read(file)
                .map_err(|error| Failure::failed(format_args!("cannot read {}: {error}", file.display())))?;
            Description::parse(&text).map_err(|error| Failure::input(format_args!("{}: {error}", file.display())))?
        }
        (None, None, Some(Address::Udp(address))) => Description::of(*address),
        // Addresses of TCP stay what they are: they may be names.
        (None, None, Some(Address::Tcp(_))) => Description::of((Ipv4Addr::UNSPECIFIED, 0).into()),
        (None, None, None) => {
            return Err(Failure::usage("nothing to listen on: give ADDR:PORT, --sdp FILE or --join NAME"));
        }
    };
    args.add_to(&mut description);
    check_source(args, &description)?;
    Ok(description)
}

/// Only a group can be heard from one sender: who names one where everybody is heard must not believe that he is alone.
fn check_source(args: &Args, session: &Description) -> Result<(), Failure> {
    match session.source.filter(|_| !session.address.is_multicast()) {
        Some(_) if args.names_source() => {
            return Err(Failure::usage("--source names the only sender of a group (multicast), and this is no group"));
        }
        Some(source) => warn(format_args!("only groups have an only sender, as {source} is named: everybody is heard")),
        None => {}
    }
    Ok(())
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

fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| monotonic_ns() as u64)
}
