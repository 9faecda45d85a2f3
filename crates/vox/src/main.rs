//! The front door of Voxpipe: `vox` lists the stages, `vox STAGE …` runs one.

mod args;
mod completion;
mod stages;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use args::{Args, Stage};
use vox_cli::Failure;

fn main() -> ExitCode {
    if let Some(script) = completion::asked(std::env::args_os()) {
        return match vox_cli::print(&script) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        };
    }
    vox_cli::run(|args: Args| match &args.stage {
        Some(Stage::Named(words)) => enter(words),
        None => list(),
    })
}

fn enter(words: &[OsString]) -> Result<(), Failure> {
    match words {
        [] => list(),
        [help] if help == "help" => list(),
        [help, stage, ..] if help == "help" => run(&stage.to_string_lossy(), &["--help".into()]),
        [stage, arguments @ ..] => run(&stage.to_string_lossy(), arguments),
    }
}

fn run(stage: &str, arguments: &[OsString]) -> Result<(), Failure> {
    let name = stage.strip_prefix("vox-").unwrap_or(stage);
    let Some(program) = stages::find(name) else {
        let hint = stages::nearest(name).map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
        return Err(Failure::usage(format_args!("there is no stage `{name}`{hint} (`vox` lists them)")));
    };
    // Replaces this process, so that the stage keeps the pipes, the signals and the exit code to itself.
    let error = Command::new(&program).args(arguments).exec();
    Err(Failure::failed(format_args!("cannot run {}: {error}", program.display())))
}

fn list() -> Result<(), Failure> {
    let mut text = String::from("Live audio as Unix pipes. The stages (`vox STAGE --help` tells more):\n\n");
    for (name, line) in stages::STAGES {
        let missing = if stages::find(name).is_some() { "" } else { "  (not installed)" };
        text.push_str(&format!("  vox-{name:<8}  {line}{missing}\n"));
    }
    text.push_str("\n  vox-capture talk.wav | vox-encode opus | vox-send host:5004\n  vox-recv 0.0.0.0:5004 | vox-jitter | vox-play\n");
    vox_cli::print(&text)
}
