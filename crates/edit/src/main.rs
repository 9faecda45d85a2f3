//! Applies a list of edits to streams in a pipe or to a file.

mod args;
mod editor;
mod lane;
mod list;
mod out;
mod pace;
mod plan;
mod recording;

use std::process::ExitCode;

use vox_cli::{Failure, Input, Next, Output};
use vox_frame::EndReason;
use vox_sys::Clock;

use crate::args::Args;
use crate::editor::Editor;
use crate::list::List;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| edit(&args))
}

fn edit(args: &Args) -> Result<(), Failure> {
    let mut editor = Editor::new(list(args)?);
    if let Some(path) = args.recording()? {
        let mut output = Output::stdout(Clock::own().opening(), args.batch)?;
        let done = recording::edit(path, &mut editor, &mut output);
        editor.finish(&EndReason::Interrupted, &mut output)?;
        return output.end_open(&EndReason::Interrupted).and(done);
    }
    let mut input = Input::stdin()?;
    let opening = input.open()?;
    let mut output = Output::stdout(opening, args.batch)?;
    let ended = loop {
        let raw = match input.next(None, &mut output)? {
            Next::Record(raw) => raw,
            Next::Deadline => continue,
            Next::End(ended) => break ended,
        };
        match raw.parse() {
            Ok(record) => editor.handle(&record, Some(raw), &mut output)?,
            Err(error) => break input.parse_failed(error),
        }
    };
    editor.finish(&ended.reason(), &mut output)?;
    output.end_open(&ended.reason())?;
    input.verdict(ended, args.strict)
}

/// The edits of the list and of the command line.
fn list(args: &Args) -> Result<List, Failure> {
    let mut list = List::default();
    if let Some(path) = args.list() {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::input(format_args!("cannot read {}: {error}", path.display())))?;
        list.add(&text).map_err(|what| Failure::usage(format_args!("{}: {what}", path.display())))?;
    }
    for edit in &args.edit {
        list.add(edit).map_err(Failure::usage)?;
    }
    Ok(list)
}
