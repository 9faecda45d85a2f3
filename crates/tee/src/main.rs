//! Copies a stream into files, FIFOs and commands, and passes it on: a branch can never stall the main line.

mod args;
mod branch;
mod queue;

use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use args::Args;
use branch::Branch;
use queue::Entry;
use serde_json::json;
use vox_cli::{Ended, Exit, Failure, Input, Next, Output, StatsFile, Streams};
use vox_frame::{EndReason, Raw};
use vox_sys::monotonic_ns;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| tee(&args))
}

fn tee(args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let opening = input.open()?;
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let start = |destination| Branch::start(destination, opening, args.hold.ns());
    let branches = args.destinations.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let mut output = Output::stdout(opening, false)?;
    let outcome = copy(&mut input, &branches, &mut output, args.strict);
    let reason = match &outcome {
        Ok(reason) => reason.clone(),
        Err(failure) if failure.exit == Exit::Done => EndReason::Stopped,
        Err(_) => EndReason::Interrupted,
    };
    close_stdout();
    let all_well = finish(&branches, &reason, args, stats);
    outcome?;
    if all_well { Ok(()) } else { Err(Failure::quiet(Exit::Failed)) }
}

/// Passes records on and hands a copy to every branch.
fn copy(input: &mut Input, branches: &[Branch], output: &mut Output, strict: bool) -> Result<EndReason, Failure> {
    let mut streams = Streams::new();
    let (ended, failure) = loop {
        let taken = match input.next(None, output)? {
            Next::Record(raw) => output.raw(raw).and_then(|()| hand_over(raw, &mut streams, branches)),
            Next::Deadline => Ok(()),
            Next::End(ended) => break (ended, None),
        };
        match taken {
            Err(failure) if failure.exit == Exit::Input => break (Ended::Broken, Some(failure)),
            other => other?,
        }
    };
    output.end_open(&ended.reason())?;
    failure.map_or_else(|| input.verdict(ended, strict), Err).map(|()| ended.reason())
}

fn hand_over(raw: Raw<'_>, streams: &mut Streams, branches: &[Branch]) -> Result<(), Failure> {
    let record = raw.parse()?;
    streams.handle(&record)?;
    let entry = Arc::new(Entry::new(raw, &record, monotonic_ns()));
    branches.iter().for_each(|branch| branch.push(&entry));
    Ok(())
}

/// Lets go of the main line: what the branches still have to do must not keep its reader waiting.
fn close_stdout() {
    if let Ok(null) = File::open("/dev/null") {
        let _open = rustix::stdio::dup2_stdout(null);
    }
}

/// Waits for the branches; whether all of them took what they could get.
fn finish(branches: &[Branch], reason: &EndReason, args: &Args, stats: Option<StatsFile>) -> bool {
    branches.iter().for_each(|branch| branch.end(reason.clone()));
    let linger = Duration::from_nanos(args.linger.ns().unsigned_abs());
    let outcomes: Vec<_> = branches.iter().map(|branch| branch.finish(linger)).collect();
    if let Some(mut file) = stats {
        let missed: u64 = outcomes.iter().filter_map(|(line, _)| line["recordsMissed"].as_u64()).sum();
        outcomes.iter().for_each(|(line, _)| file.line(line));
        file.line(&json!({ "type": "summary", "branches": outcomes.len(), "recordsMissed": missed }));
    }
    outcomes.iter().all(|(_, failed)| !failed)
}
