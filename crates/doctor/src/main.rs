//! Looks at what this host gives to audio, and tells what works, what does not, and what to do.

mod args;
mod devices;
mod finding;
mod multicast;
mod pipes;
mod ports;
mod timing;

use std::process::ExitCode;

use args::Args;
use finding::Report;
use vox_cli::{Exit, Failure, note, print};

fn main() -> ExitCode {
    vox_cli::run(|args: Args| {
        let mut report = Report::default();
        report.extend(devices::look(args.measure.ns()));
        report.extend(ports::look());
        report.extend(multicast::look());
        report.extend(pipes::look());
        report.extend(timing::look());
        print(&if args.json { report.json() } else { report.text() })?;
        let failing = report.failing(&args.need);
        if failing.is_empty() {
            return Ok(());
        }
        note(format_args!("does not work: {}", failing.join(", ")));
        Err(Failure::quiet(Exit::Condition))
    })
}
