//! The arguments of `vox-mix`.

use std::path::PathBuf;

use clap::Parser;
use vox_cli::value::{FrameMs, Millis, RateHz};
use vox_frame::{Channels, Codec};

use crate::who::{ChannelMap, For, GainDb, Who};

/// Mixes streams to one, aligned by time, not by arrival. Each is decoded; a sum within full scale is exact, one beyond
/// it is turned down by a limiter and never wraps.
///
/// Live streams are mixed in real time; where all are files, as fast as the CPU. A live stream that came over a network
/// belongs behind `vox-jitter`.
#[derive(Debug, Parser)]
#[command(
    name = "vox-mix",
    version,
    allow_negative_numbers = true,
    after_help = "\
Examples:
  vox-mix <(vox-capture a.wav) <(vox-capture b.flac --name b) --gain b=-18 | vox-play both.wav
  vox-recv :5004 | vox-jitter | vox-mix --minus ana | vox-encode opus | vox-send ana.local:5004"
)]
pub(crate) struct Args {
    /// Files and FIFOs to mix, `-` is stdin [default: stdin].
    #[arg(value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Leave a stream out: by its label, `ssrc:NUMBER`, `id:HEX`, or its input; may be given several times.
    #[arg(long, value_name = "WHO")]
    pub(crate) minus: Vec<Who>,

    /// For every stream a mix of all the others, instead of one of all; each has the label of the stream left out.
    #[arg(long, conflicts_with = "minus")]
    pub(crate) minus_each: bool,

    /// Make a stream louder or quieter, in dB: `ana=-6`, `ssrc:1234=3dB`, or without a name all; may be given several
    /// times, the first that fits counts.
    #[arg(long, value_name = "[WHO=]DB")]
    pub(crate) gain: Vec<For<GainDb>>,

    /// Which channels of the output the channels of a stream go to: `ana=FL`, `music=FL,FR`, by the names FL FR FC LFE
    /// BL BR SL SR or numbers from 1, `-` for nowhere; may be given several times.
    #[arg(long, value_name = "[WHO=]CHANNELS")]
    pub(crate) map: Vec<For<ChannelMap>>,

    /// The rate of the output, in Hz [default: that of the first stream].
    #[arg(long, value_name = "HZ")]
    pub(crate) rate: Option<RateHz>,

    /// The channels of the output, in WAV order: mono, stereo, 5.1, 7.1 or a number up to 8 [default: those of the
    /// first stream].
    #[arg(long, value_name = "N", value_parser = parse_channels)]
    pub(crate) channels: Option<Channels>,

    /// How the output is coded: s16 or f32, little endian.
    #[arg(long, value_name = "FORMAT", default_value = "s16", value_parser = parse_codec)]
    pub(crate) format: Codec,

    /// The duration of a record of the output, in ms.
    #[arg(long, value_name = "MS", default_value_t = FrameMs::DEFAULT)]
    pub(crate) frame: FrameMs,

    /// In real time: how long after its time a frame waits for streams that are late, in ms.
    #[arg(long, value_name = "MS", default_value = "40")]
    pub(crate) wait: Millis,

    /// The name of the output.
    #[arg(long, value_name = "TEXT", default_value = "mix")]
    pub(crate) name: String,

    /// The id of the output stream, in hexadecimal [default: random].
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    pub(crate) id: Option<u32>,

    /// Write counters as JSON lines to FILE: a line a stream, and a summary as the last (`-` is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

fn parse_channels(text: &str) -> Result<Channels, String> {
    let count = match text {
        "mono" => 1,
        "stereo" => 2,
        "quad" => 4,
        "5.1" => 6,
        "7.1" => 8,
        other => other.parse::<u8>().map_err(|_| "not mono, stereo, 5.1, 7.1 or a number".to_owned())?,
    };
    Channels::new(count).filter(|_| count <= 8).ok_or_else(|| "1 to 8 channels".to_owned())
}

fn parse_codec(text: &str) -> Result<Codec, String> {
    match text {
        "s16" => Ok(Codec::PcmS16),
        "f32" => Ok(Codec::PcmF32),
        _ => Err("s16 or f32".to_owned()),
    }
}

fn parse_id(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|_| "not eight hexadecimal digits".to_owned())
}
