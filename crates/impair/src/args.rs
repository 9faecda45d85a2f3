//! The arguments of `vox-impair`.

use std::path::{Path, PathBuf};

use clap::Parser;
use vox_cli::Failure;
use vox_cli::value::Millis;
use vox_link::{Config, Jitter, Outage, RateLimit, Reorder, Spikes, Stalls, Trace, profile};

use crate::relay::Route;
use crate::values::{BitsPerSecond, JitterArg, LossArg, OutageArg, Ppm, ReorderArg, Share, SpikeArg, StallArg};

/// A simulated network in the pipe: delays, loses, reorders, the same for the same seed.
///
/// Without a clock (the default for streams that are not live) it moves the time at which each packet `arrived`, for
/// `vox-jitter --virtual` to follow; a live stream is really delayed. Every stream goes through a link of its own.
/// With --udp it is a relay between any two programs instead, and leaves stdin and stdout alone.
#[derive(Debug, Parser)]
#[command(name = "vox-impair", version, after_help = notes(), allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A network by its name (see below); options add to it or take the place of its parts [default: perfect].
    #[arg(value_name = "PROFILE", value_parser = parse_profile)]
    profile: Option<Profile>,

    /// What all random numbers come from: the same seed does the same to the same packets.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The delay of every packet, in ms.
    #[arg(long, value_name = "MS")]
    delay: Option<Millis>,

    /// Delay drawn for each packet on top, in ms: a mean (exponential), or `uniform:40ms`, `normal:20ms,5ms` (mean,
    /// deviation), `gamma:1.5,2ms` (shape, mean), `retransmit:8ms,10%,8ms` (grid, failures, each again).
    #[arg(long, value_name = "MS|KIND:…")]
    jitter: Option<JitterArg>,

    /// Loss by chance (`5%`, `0.05`), or in bursts: `ge:ENTER,LEAVE[,BAD[,GOOD]]`, the chances of the change to the bad
    /// state, back from it, and of loss in the bad (all) and the good one (none).
    #[arg(long, value_name = "SHARE|ge:…")]
    loss: Option<LossArg>,

    /// Chance of a packet to come twice.
    #[arg(long, value_name = "SHARE")]
    duplicate: Option<Share>,

    /// Chance of a packet to be overtaken, and by how much it is held back (60 ms): `1%`, `1%,100ms`.
    #[arg(long, value_name = "SHARE[,TIME]")]
    reorder: Option<ReorderArg>,

    /// Let jitter reorder: by itself it does not, as packets wait in one queue.
    #[arg(long)]
    any_order: bool,

    /// The bottleneck, in bits a second, with 40 bytes of headers a packet: `64k`, `2M`.
    #[arg(long, value_name = "BITS")]
    rate: Option<BitsPerSecond>,

    /// With --rate: what waits before the bottleneck, in ms; what comes beyond is dropped.
    #[arg(long, value_name = "MS", default_value = "200", requires = "rate")]
    queue: Millis,

    /// How much faster (or, negative, slower) the sender's clock runs, in parts per million.
    #[arg(long, value_name = "PPM")]
    drift: Option<Ppm>,

    /// Lose everything for a while, counted from the first packet: `10s+400ms`; may be given several times.
    #[arg(long, value_name = "FROM+LENGTH")]
    outage: Vec<OutageArg>,

    /// Hold everything back at random times: mean time between, shortest and longest (`5s,60ms..250ms`); may be given
    /// several times.
    #[arg(long, value_name = "EVERY,LEAST..MOST")]
    stall: Vec<StallArg>,

    /// Sudden delays that fade: mean time between, height and fading time (`10s,300ms,1s`).
    #[arg(long, value_name = "EVERY,HEIGHT,FADE")]
    spike: Option<SpikeArg>,

    /// Delays and losses of a recorded network: a line a packet, its delay in ms or `lost`; or columns `at_ms`,
    /// `delay_ms`, `lost` under a line of names. It begins anew at its end.
    #[arg(long, value_name = "FILE.csv")]
    trace: Option<PathBuf>,

    /// Really delay. A stream that nobody paces is paced by media time and live from here on.
    #[arg(long, conflicts_with = "virtual")]
    pub(crate) live: bool,

    /// Only move the time of arrival [default: for streams that are not live, or older than 10 s].
    #[arg(long)]
    pub(crate) r#virtual: bool,

    /// Relay UDP instead: what comes to LISTEN goes on to DEST, and the answers back, each way through a link of its
    /// own; `:PORT` is this host only. May be given several times (`--udp :5004=host:5004 --udp :5005=host:5005`).
    #[arg(long, value_name = "LISTEN=DEST", conflicts_with_all = ["live", "virtual"])]
    pub(crate) udp: Vec<Route>,

    /// Write counters as JSON lines to FILE: a line a stream that ends, and a summary as the last (`-` is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Clone)]
struct Profile(Config);

impl Args {
    /// The link that the arguments describe.
    ///
    /// # Errors
    /// Where the trace cannot be read (1) or is none (3).
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut config = self.profile.as_ref().map_or(Config::PERFECT, |profile| profile.0.clone());
        if let Some(delay) = self.delay {
            config.base_ns = delay.ns();
        }
        if let Some(JitterArg(jitter)) = self.jitter {
            config.jitter = jitter;
        }
        match self.loss {
            Some(LossArg::Chance(Share(share))) => config.loss = share,
            Some(LossArg::Burst(burst)) => config.burst = Some(burst),
            None => {}
        }
        config.duplicate = self.duplicate.map_or(config.duplicate, |Share(share)| share);
        if let Some(ReorderArg { share, by }) = self.reorder {
            config.reorder = Some(Reorder { share: share.0, by_ns: by.ns() });
        }
        config.in_order &= !self.any_order;
        if let Some(BitsPerSecond(bits_per_second)) = self.rate {
            config.rate = Some(RateLimit { bits_per_second, queue_ns: self.queue.ns() });
        }
        config.ppm = self.drift.map_or(config.ppm, |Ppm(ppm)| ppm);
        config
            .outages
            .extend(self.outage.iter().map(|outage| Outage { from_ns: outage.from_ns, length_ns: outage.length_ns }));
        config.stalls.extend(self.stall.iter().map(|stall| Stalls {
            every_ns: stall.every_ns,
            least_ns: 0,
            shortest_ns: stall.shortest_ns,
            longest_ns: stall.longest_ns,
            drop: 0.0,
        }));
        if let Some(SpikeArg { every_ns, height_ns, fade_ns }) = self.spike {
            config.spikes = Some(Spikes { every_ns, height_ns, fade_ns });
        }
        if let Some(path) = &self.trace {
            config.trace = Some(read_trace(path)?);
            config.jitter = Jitter::None;
        }
        Ok(config)
    }
}

fn read_trace(path: &Path) -> Result<Trace, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(format_args!("cannot read the trace {}: {error}", path.display())))?;
    Trace::parse(&text).map_err(|error| Failure::input(format_args!("{} is no trace: {error}", path.display())))
}

fn parse_profile(name: &str) -> Result<Profile, String> {
    profile::named(name).map(Profile).ok_or_else(|| "no network of that name (--help lists them)".to_owned())
}

const EXAMPLES: &str = "\
Examples:
  vox-capture talk.wav | vox-encode opus --fec | vox-impair wifi-bad --seed 7 >received.vox
  vox-jitter --virtual <received.vox | vox-play heard.wav
  vox-impair lte --udp 127.0.0.1:5004=127.0.0.1:5006      a relay between any two programs";

/// What `--help` ends with.
fn notes() -> String {
    let lines = profile::PROFILES.iter().map(|(name, what)| format!("  {name:<14} {what}\n"));
    format!("Networks (their sources are in docs/impair.md):\n{}\n{EXAMPLES}", lines.collect::<String>())
}
