//! Takes noise away from voices.

mod args;

use std::process::ExitCode;

use vox_cli::Failure;
use vox_filter::Filter;
use vox_voice::{Effects, Processor};

use crate::args::Args;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| {
        let effects = Effects { noise: Some(args.strength.into()), ..Effects::default() };
        vox_filter::run(&args.filter, |format| {
            Processor::new(format.rate, format.channels, effects).map(Denoise).map_err(Failure::input)
        })
    })
}

/// One stream.
struct Denoise(Processor);

impl Filter for Denoise {
    fn delay(&self) -> usize {
        self.0.delay()
    }

    fn process(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.0.process(samples, out);
    }
}
