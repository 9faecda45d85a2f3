//! Speaks the media-stream protocol of voice bots over WebSocket: what comes on stdin goes out, what is heard comes out
//! of stdout.

mod args;
mod carrier;
mod client;
mod connection;
mod door;
mod ear;
mod hub;
mod mouth;

use std::process::ExitCode;
use std::thread;

use args::Args;
use ear::Ear;
use hub::Hub;
use mouth::Mouth;
use rustix::stdio::{stdin, stdout};
use vox_cli::{Exit, Failure, Input, Output, StatsFile};
use vox_sys::pipe;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| ws(&args))
}

/// One thread speaks, this one hears.
fn ws(args: &Args) -> Result<(), Failure> {
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let hub = Hub::new()?;
    let is_read = !pipe::is_terminal(stdout());
    let output = is_read.then(|| Output::stdout(hub.clock.opening(), false)).transpose()?;
    let mut ear = Ear::new(args, &hub, output, stats)?;
    match (&args.url, args.listen) {
        (Some(url), _) => ear.call(client::connect(url, args)?)?,
        (None, Some(address)) => ear.listen(address)?,
        (None, None) => return Err(Failure::usage("a URL to call, or --listen ADDR:PORT")),
    }
    pipe::sharpen_timers();
    thread::scope(|scope| {
        let speaking = thread::Builder::new()
            .name("mouth".to_owned())
            .spawn_scoped(scope, || {
                let outcome = if pipe::is_terminal(stdin()) { Ok(false) } else { speak(args, &hub) };
                match &outcome {
                    Ok(true) => hub.set_said_all(),
                    Ok(false) => {}
                    Err(_) => hub.stop(),
                }
                outcome.map(|_| ())
            })
            .map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
        let heard = ear.run();
        hub.set_over();
        let spoken = speaking.join().unwrap_or_else(|_| Err(Failure::failed("the speaking thread has failed")));
        spoken.and(heard)
    })
}

/// Speaks to the end of stdin; false where there was nothing to say.
fn speak(args: &Args, hub: &Hub) -> Result<bool, Failure> {
    let mut input = Input::stdin()?;
    let mut mouth = Mouth::new(args, hub, input.clock());
    let ended = mouth.run(&mut input)?;
    match input.verdict(ended, args.strict) {
        // Nothing at all on stdin means that there is nothing to say.
        Err(failure) if failure.exit == Exit::Input && failure.message.ends_with("(it is empty)") => Ok(false),
        outcome => outcome.map(|()| true),
    }
}
