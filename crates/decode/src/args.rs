//! What a person may ask for.

use clap::{ArgAction, Parser, ValueEnum};
use vox_cli::value::RateHz;
use vox_codec::DecoderOptions;
use vox_frame::{Channels, Codec};

use crate::lane::Wanted;

/// Decodes the streams of a pipe to PCM.
///
/// Every Audio and every Gap becomes as many samples as its media duration says: what is missing is concealed, from the
/// packet behind it where the Gap carries one that holds a copy; what is missing beyond 10 s at a time stays a Gap.
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

    /// Conceal what is missing; off leaves silence.
    #[arg(long, value_name = "on|off", default_value = "on")]
    pub(crate) plc: Switch,

    /// Use the coarse copy of a lost Opus packet that the packet behind it carries.
    #[arg(long, value_name = "on|off", default_value = "on")]
    pub(crate) fec: Switch,

    /// Effort of the Opus decoder, 0 to 10: from 5 on it conceals by a neural model, from 6 on it enhances speech too.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=10))]
    pub(crate) complexity: u8,

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
    pub(crate) const fn options(&self) -> DecoderOptions {
        DecoderOptions {
            plc: matches!(self.plc, Switch::On),
            fec: matches!(self.fec, Switch::On),
            complexity: self.complexity,
            hold_due: false,
        }
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
