//! What a person may ask for.

use std::path::PathBuf;

use clap::Parser;
use vox_cli::Failure;

/// Applies a list of edits to the streams of a pipe, or to a file.
///
/// All times are of the recording as it comes in, whatever else is cut, so the order of edits means nothing. PCM is
/// edited to the sample. The packets of Opus are never coded again: there `cut`, `keep`, `silence` and `insert` (of Ogg
/// Opus) work, to the frame; for the others put vox-decode before it.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-edit",
    after_help = "\
Edits, one a line, `#` begins a comment; times are 3s, 500ms, 1:02.5; FROM.. reaches to the end, ..TO from the beginning:
  cut 3s..10s               takes it out
  keep 1:00..2:00           takes out all that no keep names
  silence 3s..4s            makes it silent
  gain 3s..10s -6dB         louder or quieter
  fade 0s..500ms in         from silence; `out`: to silence
  speed 10s..20s 1.5        faster at the same pitch, 0.25 to 4
  pitch 10s..20s +3         higher at the same speed, in semitones, -24 to 24
  insert FILE at 5s         what is there moves
  overlay FILE at 5s -10dB  over what is there

Examples:
  vox-capture talk.wav | vox-edit talk.edit | vox-play edited.wav
  vox-edit talk.edit talk.opus | vox-record edited.opus                  no packet is coded again
  vox-recv :5004 | vox-jitter | vox-decode | vox-edit -e 'gain 0.. 6dB' | vox-play"
)]
pub(crate) struct Args {
    /// A file with a list of edits, such as the page of vox-wave writes (not with -e), and behind it a recording
    /// instead of the pipe on stdin: WAV, Ogg Opus, or a kept vox stream.
    #[arg(value_name = "LIST] [FILE", num_args = 0..=2, required_unless_present = "edit")]
    files: Vec<PathBuf>,

    /// An edit, as it would stand in a list; more than once for more.
    #[arg(short, long, value_name = "EDIT")]
    pub(crate) edit: Vec<String>,

    /// A stream that breaks off without an End is an error (3).
    #[arg(long)]
    pub(crate) strict: bool,

    /// For speed, not for latency: large writes, a large pipe.
    #[arg(long)]
    pub(crate) batch: bool,
}

impl Args {
    /// The list of edits.
    pub(crate) fn list(&self) -> Option<&PathBuf> {
        self.files.first().filter(|_| self.edit.is_empty())
    }

    /// The recording that is no pipe.
    ///
    /// # Errors
    /// Where there are more files than that.
    pub(crate) fn recording(&self) -> Result<Option<&PathBuf>, Failure> {
        let at = usize::from(self.edit.is_empty());
        if self.files.len() > at + 1 {
            return Err(Failure::usage("with -e there is no LIST: only the recording is named"));
        }
        Ok(self.files.get(at))
    }
}
