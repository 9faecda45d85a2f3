//! Records the streams of a pipe to files on one time line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vox_cli::{Failure, Input, Next, note};
use vox_record::{Args, FLUSH_NS, Session, mend};

fn main() -> ExitCode {
    vox_cli::run(|args: Args| match &args.to {
        Some(to) => record(&args, to),
        None => repair(&args.repair),
    })
}

/// Mends each file, and tells of each that it cannot mend; the exit code is that of the first.
fn repair(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut first = None;
    for failure in paths.iter().filter_map(|path| mend(path).err()) {
        note(&failure.message);
        first.get_or_insert(failure.exit);
    }
    first.map_or(Ok(()), |exit| Err(Failure::quiet(exit)))
}

fn record(args: &Args, to: &Path) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let mut session = Session::new(args, to)?;
    input.open()?;
    let clock = input.clock();
    let mut flush = clock.now().plus(FLUSH_NS);
    let mut failed = None;
    let ended = loop {
        let (now, handled) = match input.next_for_sink(Some(flush))? {
            Next::Record(raw) => match raw.parse() {
                Ok(record) => {
                    let now = clock.now();
                    (now, session.handle(&record, now))
                }
                Err(error) => break input.parse_failed(error),
            },
            Next::Deadline => (clock.now(), Ok(())),
            Next::End(ended) => break ended,
        };
        let mut outcome = handled;
        if now >= flush {
            flush = now.plus(FLUSH_NS);
            outcome = outcome.and_then(|()| session.tick(now));
        }
        if let Err(failure) = outcome {
            failed = Some(failure);
            break vox_cli::Ended::Broken;
        }
    };
    let finished = session.finish(ended.reason().name());
    match failed {
        Some(failure) => Err(failure),
        None => finished.and_then(|()| input.verdict(ended, args.strict)),
    }
}
