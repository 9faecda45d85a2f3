//! A server of rooms: people enter, talk and hear each other.

mod args;
mod client;
mod clients;
mod passwords;
mod server;

use std::process::ExitCode;

use args::Args;
use server::Server;
use vox_cli::Failure;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| serve(&args))
}

fn serve(args: &Args) -> Result<(), Failure> {
    let mut server = Server::open(args)?;
    server.run()
}
