//! What a person may ask for.

use std::path::PathBuf;

use clap::Parser;
use vox_cli::value::Millis;

/// Compares what was heard with what was said.
///
/// Aligns the two, again and again along their way, and says how late it is, how steady that is, how the clocks differ,
/// what is missing, what was put in or repeated, how loud it is, and how much else is in it. Ends with 6 where a limit
/// that was asked for does not hold.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-score",
    after_help = "\
Examples:
  vox-score said.wav heard.wav
  vox-score said.wav heard.opus --max-gap 40ms --min-snr 10 && echo fine"
)]
pub(crate) struct Args {
    /// What was said: WAV, Ogg Opus or a vox stream.
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: PathBuf,

    /// What was heard.
    #[arg(value_name = "GOT")]
    pub(crate) got: PathBuf,

    /// One line of JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,

    /// Also judge as people would: PESQ for wideband speech (ITU-T P.862.2), 1 to 4.64, of each ten seconds. For speech
    /// only, and it takes its time.
    #[arg(long)]
    pub(crate) mos: bool,

    /// The longest span that may be missing, in ms.
    #[arg(long, value_name = "TIME")]
    pub(crate) max_gap: Option<Millis>,

    /// How much may be missing in all, in ms.
    #[arg(long, value_name = "TIME")]
    pub(crate) max_missing: Option<Millis>,

    /// The latest it may be, in ms.
    #[arg(long, value_name = "TIME")]
    pub(crate) max_delay: Option<Millis>,

    /// How much the delay may change, in ms.
    #[arg(long, value_name = "TIME")]
    pub(crate) max_spread: Option<Millis>,

    /// How much the clocks may differ, in parts a million.
    #[arg(long, value_name = "PPM")]
    pub(crate) max_ppm: Option<f64>,

    /// The least segmental signal-to-noise ratio, in dB.
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    pub(crate) min_snr: Option<f64>,

    /// The least mean of --mos, which this asks for.
    #[arg(long, value_name = "MOS")]
    pub(crate) min_mos: Option<f64>,

    /// How much louder or quieter it may be, in dB.
    #[arg(long, value_name = "DB")]
    pub(crate) max_level: Option<f64>,
}
