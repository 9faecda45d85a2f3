//! What a person may ask for.

use core::str::FromStr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use vox_cli::value::{RateHz, Seconds};
use vox_container::wav::{Large, Sample};
use vox_frame::Rate;

/// Records streams, a file each, all on one time line.
///
/// All files begin at the same moment and are equally long: a stream that came later begins with silence, and what is
/// missing is silence of exactly its length. At any moment, also after `kill -9` or on a full disk, the files are whole
/// up to the last second.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-record",
    after_help = "\
Examples:
  vox-recv 0.0.0.0:5004 | vox-jitter | vox-record takes/             a file for each sender
  vox-recv 0.0.0.0:5004 | vox-record takes/ --format opus            the very packets, not decoded
  vox-recv 0.0.0.0:5004 | vox-jitter | vox-record --mix meeting.flac all in one
  vox-record --repair broken.wav                                     mends what another program left"
)]
pub struct Args {
    /// A folder (with a file for each stream), or a file (for the first stream; more get a number). A file that is
    /// there is never written over: the new one gets a number.
    #[arg(value_name = "DIR|FILE", required_unless_present = "repair")]
    pub to: Option<PathBuf>,

    /// What is written. In a folder WAV unless told otherwise; for a file what its name says. Only Opus streams become
    /// Opus, others then WAV; so do those that FLAC does not take, above 96 kHz or of more than 8 channels.
    #[arg(long, value_name = "wav|opus|flac")]
    pub(crate) format: Option<Kind>,

    /// Samples of WAV (16, 24, float) and FLAC (16, 24); 16, and float where a stream is.
    #[arg(long, value_name = "16|24|float")]
    pub(crate) bits: Option<Bits>,

    /// Write one file of all streams too; with FILE nothing else.
    #[arg(long)]
    pub(crate) mix: bool,

    /// Rate of the mix in Hz; that of the first stream.
    #[arg(long, value_name = "HZ")]
    pub(crate) rate: Option<RateHz>,

    /// Conceal what is missing; otherwise it is silence.
    #[arg(long)]
    pub(crate) conceal: bool,

    /// `common`: each stream is fitted to the clock that all share, so that they stay together for hours; `media`: no
    /// sample is touched, and clocks that differ drift apart.
    #[arg(long, value_name = "common|media", default_value = "common")]
    pub(crate) timeline: TimelineKind,

    /// Names of files in a folder, of {label}, {ssrc}, {start} (20261121T100115Z) and {time} (2026-11-21_10-01-15); what a
    /// label says never leads out of the folder.
    #[arg(long, value_name = "TEMPLATE", default_value = "{start}-{label}")]
    pub(crate) name: String,

    /// The name of the mix in a folder, and of what is written about the recording [default: as --name, with the label
    /// `mix`, and {start}].
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) mix_name: Option<String>,

    /// Begin a new file for each talk spurt, or after that time. Talk ends where a gap is silent or muted: senders that
    /// are silent make such gaps, and of anything else `vox-gate` does: `… | vox-decode | vox-gate | vox-record takes/
    /// --split talkspurt`.
    #[arg(long, value_name = "talkspurt|DURATION")]
    pub(crate) split: Option<Split>,

    /// What a WAV file becomes that grows past 4 GiB.
    #[arg(long, value_name = "rf64|bw64", default_value = "rf64")]
    pub(crate) large: LargeKind,

    /// Leave out the file of JSON lines with formats, gaps, events and times.
    #[arg(long)]
    pub(crate) no_sidecar: bool,

    /// A stream that breaks off without an End is an error (3).
    #[arg(long)]
    pub strict: bool,

    /// Mend WAV and Ogg Opus files that a crash, a full disk or a pipe left broken, and do nothing else: sizes, ends, and
    /// silence where pages of Ogg are missing.
    #[arg(long, value_name = "FILE", num_args = 1.., exclusive = true)]
    pub repair: Vec<PathBuf>,
}

impl Args {
    /// What a server asks for that records a room into a folder: each stream and the mix at `rate`, the mix named
    /// `name` and each stream `name_label`.
    pub fn for_room(name: &str, rate: Rate) -> Self {
        Self {
            to: None,
            format: None,
            bits: None,
            mix: true,
            rate: Some(RateHz(rate)),
            conceal: false,
            timeline: TimelineKind::Common,
            name: format!("{name}_{{label}}"),
            mix_name: Some(name.to_owned()),
            split: None,
            large: LargeKind::Rf64,
            no_sidecar: false,
            strict: false,
            repair: Vec::new(),
        }
    }
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// WAV, RF64 or BW64 past 4 GiB.
    Wav,
    /// Ogg Opus, the packets as they are.
    Opus,
    /// FLAC.
    Flac,
}

impl Kind {
    /// What a file of that name is.
    pub(crate) fn of_extension(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "wav" | "wave" | "rf64" | "bw64" => Some(Self::Wav),
            "opus" | "ogg" | "oga" => Some(Self::Opus),
            "flac" => Some(Self::Flac),
            _ => None,
        }
    }

    /// The end of such a file's name.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Opus => "opus",
            Self::Flac => "flac",
        }
    }
}

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bits {
    /// 16 bits.
    #[value(name = "16")]
    Sixteen,
    /// 24 bits.
    #[value(name = "24")]
    TwentyFour,
    /// 32-bit float.
    Float,
}

impl Bits {
    /// The samples of a file.
    pub(crate) const fn sample(self) -> Sample {
        match self {
            Self::Sixteen => Sample::S16,
            Self::TwentyFour => Sample::S24,
            Self::Float => Sample::F32,
        }
    }
}

/// Whose clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimelineKind {
    /// The clock that all streams share.
    Common,
    /// Each stream's own.
    Media,
}

/// The 64-bit form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LargeKind {
    /// RF64 (EBU).
    Rf64,
    /// BW64 (ITU).
    Bw64,
}

impl LargeKind {
    /// As the container names it.
    pub(crate) const fn form(self) -> Large {
        match self {
            Self::Rf64 => Large::Rf64,
            Self::Bw64 => Large::Bw64,
        }
    }
}

/// When a new file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// With each talk spurt.
    Talkspurt,
    /// After that many ns of the common time line.
    Every(i64),
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "talkspurt" {
            return Ok(Self::Talkspurt);
        }
        let ns = text.parse::<Seconds>()?.ns();
        if ns < 1_000_000_000 { Err("a file lasts at least 1 s".to_owned()) } else { Ok(Self::Every(ns)) }
    }
}
