//! Shows the levels, losses and delays of what passes through, and passes it on unchanged.

mod account;
mod args;
mod bars;
mod level;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use account::Account;
use args::Args;
use bars::Bars;
use serde_json::Value;
use vox_cli::{Failure, Flush, Input, Next, Output, StatsFile};
use vox_frame::{EndReason, Opening, Raw, Record, Stamp, StreamId};
use vox_sys::pipe;

/// The most streams that are metered at a time; more pass unseen.
const MAX_STREAMS: usize = 1024;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| meter(&args))
}

fn meter(args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let opening = input.open()?;
    let clock = input.clock();
    let mut meter = Meter::new(args, opening)?;
    let ended = loop {
        match input.next(None, &mut meter)? {
            Next::Record(raw) => {
                if let Err(failure) = meter.record(raw, clock.now()) {
                    meter.finish(&EndReason::Interrupted)?;
                    return Err(failure);
                }
            }
            Next::Deadline => {}
            Next::End(ended) => break ended,
        }
    };
    meter.finish(&ended.reason())?;
    input.verdict(ended, args.strict)
}

struct Meter<'a> {
    args: &'a Args,
    /// None where stdout is a terminal.
    output: Option<Output>,
    accounts: BTreeMap<StreamId, Account>,
    bars: Option<Bars>,
    lines: Option<StatsFile>,
}

impl<'a> Meter<'a> {
    fn new(args: &'a Args, opening: Opening) -> Result<Self, Failure> {
        let output = if pipe::is_terminal(std::io::stdout()) { None } else { Some(Output::stdout(opening, false)?) };
        let bars = (pipe::is_terminal(std::io::stderr()) && !args.json).then(Bars::default);
        let lines = match (&args.stats, &bars) {
            (Some(path), _) => Some(StatsFile::create(path)?),
            (None, None) => Some(StatsFile::create(Path::new("-"))?),
            (None, Some(_)) => None,
        };
        Ok(Self { args, output, accounts: BTreeMap::new(), bars, lines })
    }

    /// Passes a record on, then looks at it.
    fn record(&mut self, raw: Raw<'_>, now: Stamp) -> Result<(), Failure> {
        let record = raw.parse()?;
        if let Some(output) = &mut self.output {
            output.raw(raw)?;
        }
        let line = match &record {
            Record::Format(id, format) => {
                let before = self.accounts.remove(id).map(|mut account| account.end(None));
                if self.accounts.len() < MAX_STREAMS {
                    self.accounts.insert(*id, Account::new(*id, format, self.args));
                }
                before
            }
            Record::Audio(audio) => self.accounts.get_mut(&audio.id).and_then(|account| account.audio(audio, now)),
            Record::Gap(gap) => self.accounts.get_mut(&gap.id).and_then(|account| account.gap(gap, now)),
            Record::End(end) => {
                self.draw(true);
                self.accounts.remove(&end.id).map(|mut account| account.end(Some(end)))
            }
            Record::Event(_) | Record::Unknown(_) => None,
        };
        self.tell(line);
        self.draw(false);
        Ok(())
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        if !self.accounts.is_empty() {
            self.draw(true);
        }
        for mut account in std::mem::take(&mut self.accounts).into_values() {
            let line = account.end(None);
            self.tell(Some(line));
        }
        self.output.as_mut().map_or(Ok(()), |output| output.end_open(reason))
    }

    fn tell(&mut self, line: Option<Value>) {
        if let (Some(line), Some(lines)) = (line, &mut self.lines) {
            lines.line(&line);
        }
    }

    fn draw(&mut self, now: bool) {
        let accounts = self.accounts.values();
        match &mut self.bars {
            Some(bars) if now => bars.redraw(accounts),
            Some(bars) => bars.draw(accounts),
            None => {}
        }
    }
}

impl Flush for Meter<'_> {
    fn flush(&mut self) -> Result<(), Failure> {
        self.output.as_mut().map_or(Ok(()), Output::flush)
    }

    fn is_pending(&self) -> bool {
        self.output.as_ref().is_some_and(Flush::is_pending)
    }
}
