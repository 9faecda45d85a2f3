//! The arguments of `vox-gain`.

use clap::{Parser, ValueEnum};
use vox_cli::value::{Decibels, Millis};
use vox_cli::{Failure, MuteArgs, Voice};
use vox_filter::FilterArgs;

/// Makes the PCM streams of a pipe louder and softer: by hand, by itself, at the beginning and at the end.
///
/// Samples alone change: records keep their cut and their times. Put `vox-decode` before where the stream is coded.
#[derive(Debug, Parser)]
#[command(
    name = "vox-gain",
    version,
    allow_negative_numbers = true,
    after_help = "\
Examples:
  vox-capture talk.wav | vox-gain -6 | vox-play                      half as loud
  vox-capture | vox-gain --agc | vox-encode opus | vox-send host:5004    near or far from the microphone
  vox-capture music.flac | vox-gain --fade-in 2s --fade-out 3s | vox-play
  vox-recv :5004 | vox-jitter | vox-decode | vox-gain --control knob | vox-play    echo gain -6 >knob"
)]
pub(crate) struct Args {
    /// How much louder, in dB: -120 to 60, negative is softer. A line `gain DB` to --control changes it.
    #[arg(value_name = "DB", default_value = "0")]
    gain: Decibels,

    /// Make the level of speech even: soft and loud speakers come out alike.
    #[arg(long)]
    pub(crate) agc: bool,

    /// With --agc: the most that is added, in dB, 0 to 50.
    #[arg(long, value_name = "DB", default_value = "30", requires = "agc", value_parser = parse_most)]
    pub(crate) agc_max: f32,

    /// Turn peaks down that would exceed full scale, 2 ms ahead of them (a live stream is a record later then); else
    /// they are cut off [default: on where DB is above 0].
    #[arg(long, value_name = "on|off")]
    limit: Option<Switch>,

    /// Begin in silence and rise for so long.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_fade)]
    pub(crate) fade_in: Millis,

    /// Fall for so long and end in silence: holds that much of the stream back, to know its end.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_fade)]
    pub(crate) fade_out: Millis,

    #[command(flatten)]
    mute: MuteArgs,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Args {
    /// Begins to listen to who controls the stage.
    pub(crate) fn open(&self) -> Result<Voice, Failure> {
        self.mute.open_with_gain(self.gain)
    }

    /// Whether peaks are turned down.
    pub(crate) fn limits(&self) -> bool {
        self.limit.map_or(self.gain.0 > 0.0, |limit| limit == Switch::On)
    }
}

fn parse_most(text: &str) -> Result<f32, String> {
    let gain: Decibels = text.parse()?;
    if (0.0..=50.0).contains(&gain.0) { Ok(gain.0 as f32) } else { Err("0 to 50 dB".to_owned()) }
}

/// What is faded out is held in memory.
fn parse_fade(text: &str) -> Result<Millis, String> {
    let fade: Millis = text.parse()?;
    if fade.ns() <= 60_000_000_000 { Ok(fade) } else { Err("at most a minute".to_owned()) }
}
