//! The arguments of `vox-denoise`.

use clap::{Parser, ValueEnum};
use vox_filter::FilterArgs;

/// Takes steady noise (fans, hiss) away from the voices in the PCM streams of a pipe, and rumble below 100 Hz.
///
/// Samples alone change: records keep their cut and their times. A live stream of 48 kHz is a record later.
#[derive(Debug, Parser)]
#[command(
    name = "vox-denoise",
    version,
    after_help = "\
Examples:
  vox-capture | vox-denoise | vox-encode opus | vox-send host:5004
  vox-capture noisy.wav | vox-denoise --strength high | vox-play clean.wav"
)]
pub(crate) struct Args {
    /// How much is taken away.
    #[arg(long, value_enum, default_value = "moderate")]
    pub(crate) strength: Strength,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strength {
    /// 6 dB.
    Low,
    /// 12 dB.
    Moderate,
    /// 18 dB.
    High,
    /// 21 dB: voices suffer.
    Max,
}

impl From<Strength> for vox_voice::Strength {
    fn from(strength: Strength) -> Self {
        match strength {
            Strength::Low => Self::Low,
            Strength::Moderate => Self::Moderate,
            Strength::High => Self::High,
            Strength::Max => Self::VeryHigh,
        }
    }
}
