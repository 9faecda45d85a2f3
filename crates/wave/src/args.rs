//! What a person may ask for.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

/// Draws what a recording looks like: on the terminal, as PNG or SVG, or as a page that plays and edits it.
///
/// Gaps are red, talk spurts have a green line above them (by the stream's events, else by loudness). Two files are
/// drawn above each other, the second moved to where it fits the first best; by how much is said.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-wave",
    after_help = "\
Examples:
  vox-wave talk.wav                          on the terminal
  vox-wave session.vox -o session.png        every stream of a kept session
  vox-wave said.wav heard.wav -o both.svg    how late, and what is missing
  vox-wave talk.wav -o talk.html             a page that plays and writes a list for vox-edit
  vox-capture talk.mp3 | vox-wave -          what is read here: WAV, Ogg Opus, vox"
)]
pub(crate) struct Args {
    /// WAV, Ogg Opus or a vox stream; `-` is stdin.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A second file, to compare.
    #[arg(value_name = "FILE2")]
    pub(crate) other: Option<PathBuf>,

    /// Where to: .png, .svg or .html by its name; the terminal without it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Frequencies instead of the wave (PNG, SVG).
    #[arg(long)]
    pub(crate) spectrogram: bool,

    /// Pixels of the picture, or letters on the terminal, from left to right.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(40..=20_000))]
    pub(crate) width: Option<u32>,

    /// Pixels of each track, or lines on the terminal.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=5_000))]
    pub(crate) height: Option<u32>,

    /// Colours on the terminal.
    #[arg(long, value_name = "auto|always|never", default_value = "auto")]
    pub(crate) color: Color,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pixels.
    Png,
    /// Paths.
    Svg,
    /// A page.
    Html,
}

impl Kind {
    /// By a file's name.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "svg" => Some(Self::Svg),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}
