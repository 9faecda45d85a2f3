//! Calls somebody through a room server: a private call between two.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use vox_cli::Failure;

/// Calls somebody through a room server and talks to him alone: stdin goes out, stdout carries what he says.
///
/// It is `vox-join HOST --call NICK` under another name. Ends with 0 when the call is over, 10 where it is denied, 11
/// where he is busy, 12 where he does not answer or is not there.
#[derive(Debug, Parser)]
#[command(
    name = "vox-call",
    version,
    after_help = "\
Examples:
  vox-capture | vox-encode opus | vox-call bob@host --name ana | vox-jitter | vox-play
and on the other side:
  vox-capture | vox-encode opus | vox-join host --name bob --accept all | vox-jitter | vox-play"
)]
struct Args {
    /// Whom: `NICKNAME@HOST` or `NICKNAME@HOST:PORT` [default port: 10000].
    #[arg(value_name = "NICKNAME@HOST", value_parser = parse_callee)]
    callee: (String, String),

    /// Under which name, and any other option of vox-join.
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

fn main() -> ExitCode {
    vox_cli::run(|args: Args| call(&args))
}

fn call(args: &Args) -> Result<(), Failure> {
    let (nick, server) = &args.callee;
    let is_name =
        |option: &OsString| option.to_str().is_some_and(|text| text == "--name" || text.starts_with("--name="));
    if !args.options.iter().any(is_name) {
        return Err(Failure::usage(format_args!("under which name? vox-call {nick}@{server} --name NICKNAME")));
    }
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(std::path::Path::parent).map(|folder| folder.join("vox-join"));
    let program = beside.filter(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("vox-join"));
    // What happens from here on is that program's to say, under this name.
    let error = Command::new(&program)
        .arg0("vox-call")
        .arg(server)
        .args(["--call", nick, "--leave-at-end"])
        .args(&args.options)
        .exec();
    Err(Failure::failed(format_args!("cannot run {}: {error}", program.display())))
}

fn parse_callee(text: &str) -> Result<(String, String), String> {
    match text.split_once('@') {
        Some((nick, server)) if !nick.is_empty() && !server.is_empty() && !server.starts_with('-') => {
            Ok((nick.to_owned(), server.to_owned()))
        }
        _ => Err("not NICKNAME@HOST, such as bob@example.org".to_owned()),
    }
}
