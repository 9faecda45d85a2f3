//! A server of rooms: people enter, talk and hear each other.

mod args;
mod client;
mod clients;
mod control;
mod ctl;
mod doors;
mod effort;
mod foreigners;
mod guesses;
mod guests;
mod haste;
mod http;
mod mixers;
mod passwords;
mod recorder;
mod server;
mod store;
mod tls;
mod top;
mod way;
mod websocket;

use std::process::ExitCode;

use args::{Args, Command};
use server::Server;
use vox_cli::Failure;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| match &args.command {
        Some(Command::Ctl(ctl)) => ctl::run(ctl),
        None => serve(&args),
    })
}

fn serve(args: &Args) -> Result<(), Failure> {
    let mut server = Server::open(args)?;
    server.run()
}
