//! What a person may ask for.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use vox_cli::value::RateHz;
use vox_codec::{DecoderOptions, Plc};
use vox_frame::{Channels, Codec};

use crate::outlet::Wanted;

/// Decodes the streams of a pipe to PCM.
///
/// Every Audio and every Gap becomes as many samples as its slot on the playout timeline takes, or as its media duration
/// says where it has none: what is missing is concealed, from a later packet where the Gap carries one that holds a copy;
/// what is missing beyond 10 s at a time stays a Gap.
/// Streams of a codec that it does not know pass untouched.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-decode",
    after_help = "\
Examples:
  vox-recv 0.0.0.0:5004 | vox-jitter | vox-decode --rate 8000 --channels 1 | vox-encode pcmu | vox-send host:5004
                                                                   a transcoder to what every telephone takes
  vox-decode --f32 <talk.vox | vox-play talk.wav"
)]
pub(crate) struct Args {
    /// Write 32-bit float samples instead of 16-bit ones.
    #[arg(long)]
    pub(crate) f32: bool,

    /// Resample to that rate in Hz, 5000 to 192000. Default: the stream's (Opus: 48000).
    #[arg(long, value_name = "HZ")]
    pub(crate) rate: Option<RateHz>,

    /// Mix to that many channels, 1 to 8. Default: the stream's.
    #[arg(long, value_name = "N", value_parser = parse_channels)]
    pub(crate) channels: Option<Channels>,

    /// What stands in for what is missing. off: nothing, gaps stay gaps; zero: silence; repeat: the last packet, fading;
    /// plain: what the codec has, or the last periods of the sound; deep: Opus by a neural model. The costlier ones
    /// sound better.
    #[arg(long, value_name = "off|zero|repeat|plain|deep", default_value_t = Plc::Deep)]
    pub(crate) plc: Plc,

    /// Use what a later packet carries of a lost one: its coarse copy (Opus in-band FEC), and deep redundancy (DRED).
    #[arg(long, value_name = "on|off", default_value = "on")]
    pub(crate) fec: Switch,

    /// Effort of the Opus decoder, 0 to 10: from 5 on it conceals by a neural model (as --plc deep), from 6 on it enhances
    /// speech too (LACE), from 7 on more (NoLACE): audible without loss, and at low bit rates above all.
    #[arg(long, value_name = "N", alias = "complexity", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=10))]
    pub(crate) quality: u8,

    /// Write what was concealed, recovered, repeated and left out to FILE, as a line of JSON (- is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// A stream that breaks off without an End is an error (3).
    #[arg(long)]
    pub(crate) strict: bool,

    /// For speed, not for latency: large writes, a large pipe.
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) batch: bool,
}

impl Args {
    /// What the samples shall be.
    pub(crate) fn wanted(&self) -> Wanted {
        let codec = if self.f32 { Codec::PcmF32 } else { Codec::PcmS16 };
        Wanted { codec, rate: self.rate.map(|rate| rate.0), channels: self.channels }
    }

    /// How gaps are filled.
    pub(crate) fn options(&self) -> DecoderOptions {
        let fec = matches!(self.fec, Switch::On);
        let options =
            DecoderOptions { fec, complexity: self.quality, hold_due: true, fit: true, ..DecoderOptions::default() };
        options.with_plc(self.plc)
    }
}

fn parse_channels(text: &str) -> Result<Channels, String> {
    let count = text.parse().ok().filter(|count| (1..=8).contains(count));
    count.and_then(Channels::new).ok_or_else(|| "1 to 8 channels".to_owned())
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Do it.
    On,
    /// Leave it.
    Off,
}
