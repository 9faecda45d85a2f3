//! What a person may ask for.

use core::fmt;
use core::str::FromStr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Parser, ValueEnum};
use vox_cli::VoiceArgs;
use vox_cli::value::{FrameMs, Millis, RateHz, Seconds};
use vox_frame::{Channels, Codec};
use vox_wav::Sample;

use crate::encoding::parse_sample;

/// Captures audio as a stream of records on stdout.
///
/// A device is paced by the device and its stream is live. Everything else (files, stdin, tone, silence, noise) is not
/// live: it runs as fast as its reader takes it, and the stage that needs real time paces it.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-capture",
    after_help = "\
Examples:
  vox-capture | vox-encode opus | vox-send 239.10.0.1:5004      the default microphone
  vox-capture talk.wav | vox-play                               a file
  vox-capture tone:440 --duration 5 | vox-play                  five seconds of a tone
  sox in.aiff -t raw -r 48000 -e signed -b 16 -c 1 - | vox-capture - --raw s16le | vox-play"
)]
pub(crate) struct Args {
    /// What to capture: a file (WAV, FLAC, MP3, Ogg Vorbis), `-` (WAV on stdin, or samples with --raw), `tone:HZ` or
    /// `tone:HZ,DB` (dB of full scale, default -12), `silence:`, `noise:` or `noise:SEED`, or a device such as
    /// `alsa:default`; without it the default microphone.
    pub(crate) source: Option<Source>,

    /// The microphone to capture, by its name or id in --list-devices.
    #[arg(long, value_name = "NAME", conflicts_with = "source")]
    pub(crate) device: Option<String>,

    /// The audio system that devices are looked for in: those that this program was built with.
    #[arg(long, value_name = "HOST", ignore_case = true, default_value_t = default_host(), value_parser = PossibleValuesParser::new(vox_device::hosts()))]
    pub(crate) host: String,

    /// List the microphones and end.
    #[arg(long)]
    pub(crate) list_devices: bool,

    /// What the samples on stdin are: s16le, s16be, s24le, s32le, f32le, f64le, u8, mulaw, alaw. --rate and --channels
    /// then say how they come (default 48000, mono).
    #[arg(long, value_name = "ENCODING", value_parser = parse_sample)]
    pub(crate) raw: Option<Sample>,

    /// Sampling rate of the stream in Hz, 5000 to 192000; what has another is resampled. Default: the source's own,
    /// 48000 for devices and generators.
    #[arg(long, value_name = "HZ")]
    pub(crate) rate: Option<RateHz>,

    /// Channels of the stream, 1 to 8; what has another number is remixed. Default: the source's own, 1 for devices
    /// and generators.
    #[arg(long, value_name = "N", value_parser = parse_channels)]
    pub(crate) channels: Option<Channels>,

    /// Samples of the stream. Default: what keeps every bit of the source (16-bit and less: s16).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Pcm>,

    /// Duration of a record in ms, 2.5 to 60; longer ones than 4096 bytes are cut into equal parts.
    #[arg(long, value_name = "MS", default_value_t = FrameMs::DEFAULT)]
    pub(crate) frame: FrameMs,

    /// End after that much audio, in seconds (`10`, `500ms`, `2m`).
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Seconds>,

    /// Begin a file again whenever it ends.
    #[arg(long = "loop")]
    pub(crate) repeat: bool,

    /// A name for the stream that people read.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,

    /// The stream's id, a number; default: random, or derived from --seed.
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) id: Option<u32>,

    /// Makes the id and the noise the same every time.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// How much a device gives at a time, in ms. Lower is less delay, higher survives a busy machine. Default: a record,
    /// or an equal part of one that is longer than 20 ms, which adds no delay.
    #[arg(long, visible_alias = "buffer", value_name = "MS")]
    pub(crate) period: Option<Millis>,

    /// Do not ask to be run before other programs while a device is captured.
    #[arg(long)]
    pub(crate) no_realtime: bool,

    /// Take out of what the microphone hears what a loudspeaker beside it plays: `vox-play --reference FIFO` tells.
    #[arg(long, value_name = "FIFO")]
    pub(crate) cancel_echo: Option<PathBuf>,

    /// For speed, not for latency: large records, large writes, a large pipe.
    #[arg(long)]
    pub(crate) batch: bool,

    #[command(flatten)]
    pub(crate) voice: VoiceArgs,
}

/// The samples of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pcm {
    /// 16-bit signed.
    S16,
    /// 32-bit float.
    F32,
}

impl From<Pcm> for Codec {
    fn from(pcm: Pcm) -> Self {
        match pcm {
            Pcm::S16 => Self::PcmS16,
            Pcm::F32 => Self::PcmF32,
        }
    }
}

/// Where audio comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A device, by its id.
    Device(String),
    /// A file.
    File(PathBuf),
    /// A random signal.
    Noise(Option<u64>),
    /// Digital silence.
    Silence,
    /// WAV or raw samples on stdin.
    Stdin,
    /// A sine.
    Tone(Tone),
}

/// A sine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tone {
    /// Frequency in Hz.
    pub(crate) hz: f64,
    /// Peak in dB of full scale.
    pub(crate) level: f64,
}

/// The peak of generated signals, in dB of full scale, where nothing else is asked for.
pub(crate) const DEFAULT_LEVEL: f64 = -12.0;

/// The audio systems that a device id may begin with.
const HOSTS: [&str; 5] = ["alsa", "jack", "pulseaudio", "pipewire", "coreaudio"];

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Ok(if text == "-" { Self::Stdin } else { Self::File(text.into()) });
        };
        match kind {
            "tone" => rest.parse().map(Self::Tone),
            "silence" if rest.is_empty() => Ok(Self::Silence),
            "noise" if rest.is_empty() => Ok(Self::Noise(None)),
            "noise" => {
                rest.parse().map(|seed| Self::Noise(Some(seed))).map_err(|_| "noise:SEED takes a number".to_owned())
            }
            host if HOSTS.contains(&host) => Ok(Self::Device(text.to_owned())),
            _ => Ok(Self::File(text.into())),
        }
    }
}

impl FromStr for Tone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (hz, level) = text.split_once(',').map_or((text, None), |(hz, level)| (hz, Some(level)));
        let number =
            |text: &str| text.parse::<f64>().map_err(|_| "tone:HZ or tone:HZ,DB, such as tone:440,-6".to_owned());
        let tone = Self { hz: number(hz)?, level: level.map_or(Ok(DEFAULT_LEVEL), number)? };
        if !(0.0..=96_000.0).contains(&tone.hz) || !(-200.0..=0.0).contains(&tone.level) {
            return Err("a tone has 0 to 96000 Hz and -200 to 0 dB".to_owned());
        }
        Ok(tone)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => f.write_str(id),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Noise(_) => f.write_str("noise"),
            Self::Silence => f.write_str("silence"),
            Self::Stdin => f.write_str("stdin"),
            Self::Tone(tone) => write!(f, "tone:{}", tone.hz),
        }
    }
}

fn default_host() -> String {
    vox_device::hosts().first().copied().unwrap_or_default().to_owned()
}

fn parse_channels(text: &str) -> Result<Channels, String> {
    let count = text.parse().ok().filter(|count| (1..=8).contains(count));
    count.and_then(Channels::new).ok_or_else(|| "1 to 8 channels".to_owned())
}

fn parse_id(text: &str) -> Result<u32, String> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
    parsed.map_err(|_| "a number of 32 bits, such as 7 or 0x1f".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_audio_systems_that_are_there_can_be_asked_for() {
        for host in vox_device::hosts() {
            assert_eq!(Args::try_parse_from(["vox-capture", "--host", host]).unwrap().host, host);
        }
        assert!(Args::try_parse_from(["vox-capture", "--host", "gramophone"]).is_err());
        let default = Args::try_parse_from(["vox-capture"]).unwrap().host;
        assert!(vox_device::hosts().contains(&default.as_str()));
    }

    #[test]
    fn sources_are_told_apart() {
        assert_eq!("-".parse(), Ok(Source::Stdin));
        assert_eq!("tone:440".parse(), Ok(Source::Tone(Tone { hz: 440.0, level: DEFAULT_LEVEL })));
        assert_eq!("tone:440,-6".parse(), Ok(Source::Tone(Tone { hz: 440.0, level: -6.0 })));
        assert_eq!("noise:7".parse(), Ok(Source::Noise(Some(7))));
        assert_eq!("alsa:hw:0,0".parse(), Ok(Source::Device("alsa:hw:0,0".to_owned())));
        assert_eq!("a:b.wav".parse(), Ok(Source::File("a:b.wav".into())));
        assert!("tone:high".parse::<Source>().is_err());
        assert!("tone:440,6".parse::<Source>().is_err());
    }
}
