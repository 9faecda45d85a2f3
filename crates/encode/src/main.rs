//! Encodes the PCM streams of a pipe.

mod args;
mod control;
mod note;
mod opus;
mod samples;
mod shaped;
mod stale;

use std::process::ExitCode;

use args::{Args, Codec, Common};
use opus::OpusStage;
use samples::SampleStage;
use vox_cli::{Ended, Failure, Input, Next, Output};
use vox_frame::Raw;
use vox_sys::Clock;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| match args.codec {
        Codec::Opus(opus) => encode(&opus.common, OpusStage::new(&opus)?),
        Codec::Pcmu(pcm) => encode(&pcm.common, SampleStage::pcmu(&pcm)),
        Codec::Pcma(pcm) => encode(&pcm.common, SampleStage::pcma(&pcm)),
        Codec::L16(pcm) => encode(&pcm.common, SampleStage::l16(&pcm)),
    })
}

/// What each codec does with a record, and at the end of the input.
trait Stage {
    fn record(&mut self, raw: Raw<'_>, clock: Clock, output: &mut Output) -> Result<(), Failure>;
    fn finish(&mut self, output: &mut Output) -> Result<(), Failure>;
}

fn encode(common: &Common, mut stage: impl Stage) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let opening = input.open()?;
    let clock = input.clock();
    let mut output = Output::stdout(opening, common.batch)?;
    let ended = loop {
        match input.next(None, &mut output)? {
            Next::Record(raw) => {
                if let Err(failure) = stage.record(raw, clock, &mut output) {
                    // What had arrived before a damaged record is still heard.
                    stage.finish(&mut output)?;
                    output.end_open(&Ended::Broken.reason())?;
                    return Err(failure);
                }
            }
            Next::Deadline => {}
            Next::End(ended) => break ended,
        }
    };
    stage.finish(&mut output)?;
    output.end_open(&ended.reason())?;
    input.verdict(ended, common.strict)
}
