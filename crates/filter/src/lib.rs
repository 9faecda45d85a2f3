//! What stages share that change the samples of PCM streams and nothing else: `vox-gain`, `vox-gate`, `vox-denoise`.
//!
//! A stage is [`run`] with a [`Filter`] for each stream. Records keep their cut, their times and their slots, however late
//! the filter gives their samples; streams of other codecs pass untouched.

mod held;
mod lanes;

use clap::Args;
use vox_cli::{Failure, Input, Next, Output};
use vox_frame::{Format, GapReason};

use crate::held::Held;
use crate::lanes::Lanes;

/// Something that samples pass through.
pub trait Filter {
    /// Frames that come out before the first that went in does; how long it takes until they come does not matter.
    fn delay(&self) -> usize {
        0
    }

    /// Frames behind a record that are to be heard before it is decided upon: that much later it is written.
    fn hold(&self) -> usize {
        0
    }

    /// Takes interleaved samples and appends what comes out.
    fn process(&mut self, samples: &[f32], out: &mut Vec<f32>);

    /// Says what becomes of a record whose samples have come out; may still change them.
    fn decide(&mut self, span: &Span, samples: &mut [f32]) -> Verdict {
        let (_unused, _unchanged) = (span, samples);
        Verdict::default()
    }
}

/// Where a record lies, in frames since the first that the filter was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first frame.
    pub begins: u64,
    /// Its frames.
    pub frames: u64,
    /// Frames from its beginning to the end of the stream, once that has come.
    pub left: Option<u64>,
}

/// What becomes of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It becomes a gap, for this reason.
    pub gap: Option<GapReason>,
    /// Voice activity, and the level in -dBov (RFC 6464), to be noted on it.
    pub level: Option<(bool, u8)>,
    /// A fact that begins with it.
    pub event: Option<&'static str>,
}

/// Arguments that all of these stages have.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    /// Write up to 64 KiB at once: for throughput, not for live streams.
    #[arg(long)]
    pub batch: bool,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub strict: bool,
}

/// Passes stdin on to stdout, each PCM stream through the filter that `open` gives for it.
///
/// # Errors
/// Where `open` refuses a stream, or a pipe fails.
pub fn run<F: Filter>(args: &FilterArgs, open: impl FnMut(&Format) -> Result<F, Failure>) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let opening = input.open()?;
    let mut output = Output::stdout(opening, args.batch)?;
    let mut lanes = Lanes::new(open);
    let ended = loop {
        let raw = match input.next(None, &mut output)? {
            Next::Record(raw) => raw,
            Next::Deadline => continue,
            Next::End(ended) => break ended,
        };
        match raw.parse() {
            Ok(record) => lanes.handle(raw, &record, &mut output)?,
            Err(error) => break input.parse_failed(error),
        }
    };
    lanes.finish(&mut output)?;
    output.end_open(&ended.reason())?;
    input.verdict(ended, args.strict)
}
