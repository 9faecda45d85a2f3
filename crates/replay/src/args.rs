//! The arguments of `vox-replay`.

use std::path::PathBuf;

use clap::Parser;
use vox_cli::value::Seconds;

/// Plays a kept stream again, each record at the time at which it came.
///
/// Records are paced by `due`, else `arrived`, else `captured`, else by media time. In real time all stamps move to now
/// and streams are live; with --virtual nothing is paced or changed, for `vox-jitter --virtual` behind it.
#[derive(Debug, Parser)]
#[command(
    name = "vox-replay",
    version,
    after_help = "\
Examples:
  vox-replay session.vox | vox-jitter | vox-play                                     as it was
  vox-replay session.vox --from 60 --duration 10 | vox-jitter | vox-play             ten seconds of it
  vox-replay session.vox --virtual | vox-jitter --virtual | vox-play again.wav       in a moment"
)]
pub(crate) struct Args {
    /// The stream, as kept by `tee -i session.vox` or `> session.vox`; `-` is stdin.
    #[arg(value_name = "FILE.vox")]
    pub(crate) file: PathBuf,

    /// How many times as fast as it was: stamps come closer, media time stays.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_speed, conflicts_with = "virtual")]
    pub(crate) speed: f64,

    /// As fast as the reader takes it, stamps as they were kept.
    #[arg(long)]
    pub(crate) r#virtual: bool,

    /// Begin so long after the first record, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) from: Option<Seconds>,

    /// End after so long of the kept time, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) duration: Option<Seconds>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.trim_end_matches('x').parse().map_err(|_| "not a factor, such as 2 or 0.5".to_owned())?;
    if (0.01..=1000.0).contains(&speed) { Ok(speed) } else { Err("a factor lies between 0.01 and 1000".to_owned()) }
}
