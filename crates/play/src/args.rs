//! What a person may ask for.

use core::fmt;
use core::str::FromStr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Parser};
use vox_cli::VoiceArgs;
use vox_cli::value::{Millis, RateHz};
use vox_codec::{DecoderOptions, Plc};
use vox_frame::Channels;
use vox_wav::Sample;

/// Plays the streams of a pipe, summed, on a loudspeaker, into a WAV file, or as samples on stdout.
///
/// Streams are placed by the times of their records: at `due` where a jitter buffer set it, else where they arrived
/// or were captured, else one behind the other. A loudspeaker drops what comes too late and what piled up before it
/// started; a file and stdout get the whole timeline, as fast as it comes.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-play",
    after_help = "\
Examples:
  vox-recv 239.10.0.1:5004 | vox-jitter | vox-play              the default loudspeaker
  vox-recv :5004 | vox-jitter | vox-play take.wav               what a loudspeaker would have played
  vox-capture talk.wav | vox-play - --raw | aplay -f S16_LE -r 48000"
)]
pub(crate) struct Args {
    /// Where to: a WAV file (a name that ends in .wav or holds a /), `-` (WAV on stdout, or samples with --raw),
    /// `null` (decode and throw away, as fast as it comes), or a device, by its name or id in --list-devices; without
    /// it the default loudspeaker.
    pub(crate) sink: Option<Sink>,

    /// The loudspeaker, by its name or id in --list-devices.
    #[arg(long, value_name = "NAME", conflicts_with = "sink")]
    pub(crate) device: Option<String>,

    /// The audio system that devices are looked for in: those that this program was built with.
    #[arg(long, value_name = "HOST", ignore_case = true, default_value_t = default_host(), value_parser = PossibleValuesParser::new(vox_device::hosts()))]
    pub(crate) host: String,

    /// List the loudspeakers and end.
    #[arg(long)]
    pub(crate) list_devices: bool,

    /// How late a record may come after it is due and still be played whole, in ms: lower is less delay, higher
    /// survives a busy machine. It grows by 5 ms where the loudspeaker runs empty, up to 100 ms, and shrinks again.
    #[arg(long, value_name = "MS", default_value = "5ms", value_parser = parse_buffer)]
    pub(crate) buffer: Millis,

    /// How much the loudspeaker moves at a time, in ms; about so much it always holds. Lower is less delay and more
    /// work, higher survives a busy machine. Default: half of a record, 2.5 to 10 ms.
    #[arg(long, value_name = "MS", value_parser = parse_buffer)]
    pub(crate) period: Option<Millis>,

    /// Do not ask to be run before other programs while a loudspeaker plays.
    #[arg(long)]
    pub(crate) no_realtime: bool,

    /// Sampling rate of the output in Hz, 5000 to 192000. Default: the first stream's (a device: 48000).
    #[arg(long, value_name = "HZ")]
    pub(crate) rate: Option<RateHz>,

    /// Channels of the output, 1 to 8. Default: the first stream's.
    #[arg(long, value_name = "N", value_parser = parse_channels)]
    pub(crate) channels: Option<Channels>,

    /// What stands in for what is missing. off, zero: silence; repeat: the last packet, fading; plain: what the codec
    /// has, or the last periods of the sound; deep: Opus by a neural model. The costlier
    /// ones sound better.
    #[arg(long, value_name = "off|zero|repeat|plain|deep", default_value_t = Plc::Deep)]
    pub(crate) plc: Plc,

    /// Use what a later packet carries of a lost one: its coarse copy (Opus in-band FEC), and deep redundancy (DRED).
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = parse_switch, action = ArgAction::Set)]
    pub(crate) fec: bool,

    /// Effort of the Opus decoder, 0 to 10: from 5 on it conceals by a neural model (as --plc deep), from 6 on it enhances
    /// speech too (LACE), from 7 on more (NoLACE): audible without loss, and at low bit rates above all.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=10))]
    pub(crate) quality: u8,

    /// Write 32-bit float samples instead of 16-bit ones.
    #[arg(long)]
    pub(crate) float: bool,

    /// With `-`: samples without a WAV header. The encoding (s16le or f32le) may be named.
    #[arg(long, value_name = "ENCODING", num_args = 0..=1, require_equals = true, default_missing_value = "s16le", value_parser = parse_raw)]
    pub(crate) raw: Option<Sample>,

    /// Write what is played when to FILE, as CSV: a row per 10 ms of the first stream, `t_ms,media_ts,concealed`: when it
    /// is due, in ms of the stream's clock; the RTP timestamp there; and how many of its 480 samples (at 48 kHz) came
    /// from no packet. Not for a loudspeaker.
    #[arg(long, value_name = "FILE", requires = "sink")]
    pub(crate) trace: Option<PathBuf>,

    /// Tell a microphone beside the loudspeaker what is played and when it is heard, through FIFO: `vox-capture
    /// --cancel-echo FIFO` takes it out of what it hears.
    #[arg(long, value_name = "FIFO")]
    pub(crate) reference: Option<PathBuf>,

    /// Write statistics as JSON lines to FILE (- is stderr); the last line is the summary.
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// Exit with 3 when the stream breaks off without an End.
    #[arg(long)]
    pub(crate) strict: bool,

    #[command(flatten)]
    pub(crate) voice: VoiceArgs,
}

impl Args {
    /// How streams are decoded.
    pub(crate) fn decoder(&self) -> DecoderOptions {
        let options = DecoderOptions {
            fec: self.fec,
            complexity: self.quality,
            hold_due: true,
            fit: true,
            ..DecoderOptions::default()
        };
        options.with_plc(self.plc)
    }

    /// How samples are written to a file or to stdout.
    pub(crate) fn sample(&self) -> Sample {
        self.raw.unwrap_or(if self.float { Sample::F32 } else { Sample::S16 })
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

/// Where audio goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sink {
    /// A device, by its name or id.
    Device(String),
    /// A WAV file.
    File(PathBuf),
    /// Nowhere.
    Null,
    /// Stdout.
    Stdout,
}

impl FromStr for Sink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_wav = text.to_ascii_lowercase().ends_with(".wav");
        Ok(match text {
            "" => return Err("a file, -, null, or a device".to_owned()),
            "-" => Self::Stdout,
            "null" => Self::Null,
            path if is_wav || path.contains('/') => Self::File(path.into()),
            name => Self::Device(name.to_owned()),
        })
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Null => f.write_str("null"),
            Self::Stdout => f.write_str("stdout"),
        }
    }
}

fn parse_buffer(text: &str) -> Result<Millis, String> {
    let buffer: Millis = text.parse()?;
    if (1_000_000..=2_000_000_000).contains(&buffer.ns()) { Ok(buffer) } else { Err("1 ms to 2 s".to_owned()) }
}

fn default_host() -> String {
    vox_device::hosts().first().copied().unwrap_or_default().to_owned()
}

fn parse_channels(text: &str) -> Result<Channels, String> {
    let count = text.parse().ok().filter(|count| (1..=8).contains(count));
    count.and_then(Channels::new).ok_or_else(|| "1 to 8 channels".to_owned())
}

fn parse_raw(text: &str) -> Result<Sample, String> {
    match text {
        "s16le" => Ok(Sample::S16),
        "f32le" => Ok(Sample::F32),
        _ => Err("s16le or f32le".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_audio_systems_that_are_there_can_be_asked_for() {
        for host in vox_device::hosts() {
            assert_eq!(Args::try_parse_from(["vox-play", "--host", host]).unwrap().host, host);
        }
        assert!(Args::try_parse_from(["vox-play", "--host", "gramophone"]).is_err());
        let default = Args::try_parse_from(["vox-play"]).unwrap().host;
        assert!(vox_device::hosts().contains(&default.as_str()));
    }

    #[test]
    fn sinks_are_told_apart() {
        assert_eq!("-".parse(), Ok(Sink::Stdout));
        assert_eq!("null".parse(), Ok(Sink::Null));
        assert_eq!("out.WAV".parse(), Ok(Sink::File("out.WAV".into())));
        assert_eq!("/dev/null".parse(), Ok(Sink::File("/dev/null".into())));
        assert_eq!("alsa:default".parse(), Ok(Sink::Device("alsa:default".to_owned())));
        assert_eq!("no-such-card".parse(), Ok(Sink::Device("no-such-card".to_owned())));
    }
}
