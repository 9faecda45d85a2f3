//! The arguments of `vox-encode`.

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use vox_cli::ControlSource;
use vox_cli::value::{Bitrate, FrameMs, MaxAge, RateHz};
use vox_codec::{Application, OpusSettings};
use vox_frame::Channels;

/// Encodes the PCM streams of a pipe; passes on everything else untouched.
#[derive(Debug, Parser)]
#[command(
    name = "vox-encode",
    version,
    subcommand_value_name = "CODEC",
    subcommand_help_heading = "Codecs",
    disable_help_subcommand = true,
    after_help = "\
`vox-encode CODEC --help` tells what each can do.

Examples:
  vox-capture | vox-encode opus | vox-send host:5004
  vox-capture talk.wav | vox-encode opus --bitrate 32k --fec --loss 10 >talk.vox
  vox-recv :5004 | vox-jitter | vox-decode | vox-encode pcmu --rate 8000 | vox-send telephone:5004"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) codec: Codec,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Codec {
    /// Opus (RFC 6716), mono or stereo, over libopus 1.6.
    Opus(Opus),
    /// G.711 mu-law, at any rate.
    Pcmu(Pcm),
    /// G.711 A-law, at any rate.
    Pcma(Pcm),
    /// 16-bit big endian, as RTP carries PCM (RFC 3551), at any rate.
    L16(Pcm),
}

#[derive(Debug, Group)]
pub(crate) struct Common {
    /// The oldest that a record of a live stream may be; an older one becomes a gap. `off` keeps everything.
    #[arg(long, value_name = "TIME", default_value_t = MaxAge::DEFAULT)]
    pub(crate) max_age: MaxAge,

    /// Write up to 64 KiB at once: for throughput, not for live streams.
    #[arg(long)]
    pub(crate) batch: bool,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Pcm {
    /// Resample to that rate in Hz, 5000 to 192000: telephones take 8000. Default: the stream's.
    #[arg(long, value_name = "HZ")]
    pub(crate) rate: Option<RateHz>,

    /// Mix to that many channels, 1 to 8. Default: the stream's.
    #[arg(long, value_name = "N", value_parser = parse_channels)]
    pub(crate) channels: Option<Channels>,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Group)]
pub(crate) struct Opus {
    /// Resample to that rate in Hz before encoding: 8000, 12000, 16000, 24000 or 48000. Default: the stream's, or
    /// 48000 where Opus does not take that.
    #[arg(long, value_name = "HZ", value_parser = parse_opus_rate)]
    rate: Option<RateHz>,

    /// Mix to 1 or 2 channels. Default: the stream's, at most 2.
    #[arg(long, value_name = "N", value_parser = parse_opus_channels)]
    channels: Option<Channels>,

    /// Bits a second, 6k to 510k [default: 24k mono, 48k stereo].
    #[arg(long, value_name = "BITS")]
    bitrate: Option<Bitrate>,

    /// How hard to try, 0 to 10: less CPU for less quality.
    #[arg(long, value_name = "0..10", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=10))]
    complexity: u8,

    /// Put a coarse copy of each packet into the next, for receivers that lose packets; give --loss too.
    #[arg(long)]
    fec: bool,

    /// Expected loss in percent: more of it puts more bits into --fec or --dred [default: 10 with them,
    /// else 0].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    loss: Option<u8>,

    /// Follow lines like `loss 7` from FIFO, or from who connects to SOCKET, which is made: they stand for --loss while it
    /// runs. `vox-send --adapt FIFO` writes them.
    #[arg(long, value_name = "FIFO|unix:SOCKET")]
    pub(crate) control: Option<ControlSource>,

    /// Deep redundancy: every packet describes that much of the past, 0 to 1000 ms, coarsely, for receivers that lose
    /// several packets in a row. Not with --fec, which would get all the bits.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000), conflicts_with = "fec")]
    dred: u16,

    /// Send nothing in silence.
    #[arg(long)]
    dtx: bool,

    /// What to tune for.
    #[arg(long, value_enum, default_value = "voip")]
    application: Tuning,

    /// Every packet of the same size.
    #[arg(long)]
    cbr: bool,

    /// Duration of a packet in ms: 2.5, 5, 10, 20, 40 or 60.
    #[arg(long, value_name = "MS", default_value_t = FrameMs::DEFAULT, value_parser = parse_frame)]
    pub(crate) frame: FrameMs,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tuning {
    /// Speech.
    Voip,
    /// Music and everything else.
    Audio,
    /// The least delay, without the speech mode.
    Lowdelay,
}

impl Opus {
    /// What the arguments ask of the encoder of a stream with that many channels.
    pub(crate) fn settings(&self, channels: Channels) -> OpusSettings {
        let default = if self.channels.unwrap_or(channels) == Channels::MONO { 24_000 } else { 48_000 };
        OpusSettings {
            rate: self.rate.map(|rate| rate.0),
            channels: self.channels,
            bitrate: Some(self.bitrate.map_or(default, |bitrate| bitrate.0)),
            complexity: self.complexity,
            fec: self.fec,
            loss: self.loss.unwrap_or(if self.fec || self.dred > 0 { 10 } else { 0 }),
            dred_ms: self.dred,
            dtx: self.dtx,
            cbr: self.cbr,
            application: match self.application {
                Tuning::Voip => Application::Voip,
                Tuning::Audio => Application::Audio,
                Tuning::Lowdelay => Application::LowDelay,
            },
        }
    }
}

fn parse_channels(text: &str) -> Result<Channels, String> {
    let count = text.parse().ok().filter(|count| (1..=8).contains(count));
    count.and_then(Channels::new).ok_or_else(|| "1 to 8 channels".to_owned())
}

fn parse_opus_channels(text: &str) -> Result<Channels, String> {
    parse_channels(text).ok().filter(|channels| channels.count() <= 2).ok_or_else(|| "1 or 2 channels".to_owned())
}

/// The sampling rates of Opus (RFC 6716, section 2.1.3).
fn parse_opus_rate(text: &str) -> Result<RateHz, String> {
    let rate: RateHz = text.parse()?;
    if [8_000, 12_000, 16_000, 24_000, 48_000].contains(&rate.0.hz()) {
        Ok(rate)
    } else {
        Err("Opus takes 8000, 12000, 16000, 24000 or 48000 Hz".to_owned())
    }
}

/// The frame durations of Opus (RFC 6716, section 2.1.4).
fn parse_frame(text: &str) -> Result<FrameMs, String> {
    let frame: FrameMs = text.parse()?;
    let known = [2_500_000, 5_000_000, 10_000_000, 20_000_000, 40_000_000, 60_000_000];
    if known.contains(&frame.ns()) {
        Ok(frame)
    } else {
        Err("Opus packets last 2.5, 5, 10, 20, 40 or 60 ms".to_owned())
    }
}
