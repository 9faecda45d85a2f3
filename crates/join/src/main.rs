//! Enters a room: stdin goes out, stdout carries what is said there.

mod args;
mod chat;
mod ear;
mod events;
mod link;
mod mouth;
mod session;
mod tls;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;

use args::Args;
use ear::Ear;
use events::Events;
use link::Link;
use mouth::Mouth;
use rustix::stdio::{stdin, stdout};
use serde_json::json;
use session::{Refusal, Secrets, Session, enter};
use vox_cli::{Exit, Failure, Input, Output, StatsFile, stop_requested, wait};
use vox_room::Listener;
use vox_sys::{Clock, monotonic_ns, pipe};

/// How often it is looked whether a call was taken, in ns.
const ANSWER_LOOK_NS: i64 = 20_000_000;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| join(&args))
}

fn join(args: &Args) -> Result<(), Failure> {
    let mut stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let secrets = Secrets::read(args)?;
    let session = enter(args, &secrets, None).map_err(|refusal| match refusal {
        Refusal::Lost(why) => Failure::network(why),
        Refusal::Final(failure) => failure,
    })?;
    let link = Link::default();
    link.set_muted(args.mute);
    if let Some(path) = &args.chat {
        chat::start(path, args.room.room.as_str(), link.clone())?;
    }
    let outcome = speak_and_hear(args, secrets, session, &link, stats.as_mut());
    link.line("DISCONNECT");
    outcome
}

/// One thread hears, this one speaks.
fn speak_and_hear(
    args: &Args,
    secrets: Secrets,
    session: Session,
    link: &Link,
    stats: Option<&mut StatsFile>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format_args!("cannot start: {error}"));
    let clock = Clock::own();
    let speaks = !args.listen_only && !pipe::is_terminal(stdin());
    let is_read = !args.send_only && !pipe::is_terminal(stdout());
    let output = is_read.then(|| Output::stdout(clock.opening(), false)).transpose()?;
    let (leave, stay) = UnixStream::pair().map_err(failed)?;
    leave.set_nonblocking(true).map_err(failed)?;
    let mut ear = Ear {
        args,
        secrets,
        opened: Vec::new(),
        forged: 0,
        link: link.clone(),
        clock,
        listener: Listener::new(),
        output,
        leave,
        packets: 0,
        reconnects: 0,
        is_read,
        events: args.events.map(Events::open).transpose()?,
    };
    ear.attach(&session)?;
    if let Some(callee) = &args.call {
        link.line(&format!("TALK {callee}: Request"));
    }
    pipe::sharpen_timers();
    thread::scope(|scope| {
        let hearing = thread::Builder::new()
            .name("ear".to_owned())
            .spawn_scoped(scope, move || {
                let outcome = ear.run(session);
                // Whatever has ended it, nobody speaks to nobody.
                if outcome.is_err() {
                    ear.link.give_up();
                }
                (outcome, ear.packets, ear.reconnects, ear.forged)
            })
            .map_err(failed)?;
        let spoken = if speaks && is_answered(args, link)? { speak(args, link) } else { Ok(false) };
        link.set_said_all();
        let is_read = is_read && is_heard() && !link.is_unread();
        let stays = matches!(spoken, Ok(has_spoken) if is_read || !has_spoken);
        if !stays || args.leave_at_end || link.is_unread() || stop_requested() {
            drop(stay);
        }
        let (heard, packets, reconnects, forged) =
            hearing.join().unwrap_or_else(|_| (Err(Failure::failed("the listening thread has failed")), 0, 0, 0));
        if let Some(stats) = stats {
            stats.line(&summary(link, packets, reconnects, forged));
        }
        spoken.and(heard)
    })
}

/// The last line of the statistics.
fn summary(link: &Link, packets: u64, reconnects: u32, forged: u64) -> serde_json::Value {
    let sent = link.sent();
    json!({
        "summary": true,
        "packetsSent": sent.packets,
        "bytesSent": sent.bytes,
        "packetsDiscardedOnSend": sent.dropped,
        "packetsReceived": packets,
        "packetsUnauthentic": forged,
        "reconnects": reconnects,
    })
}

/// Calls, where that was asked for, and waits for the answer.
fn is_answered(args: &Args, link: &Link) -> Result<bool, Failure> {
    while args.call.is_some() && !link.is_answered() {
        if link.is_over() || stop_requested() {
            return Ok(false);
        }
        wait(None, Some(monotonic_ns() + ANSWER_LOOK_NS))?;
    }
    Ok(true)
}

/// Whether somebody reads stdout: a pipe or a file, no terminal and no /dev/null.
fn is_heard() -> bool {
    pipe::is_pipe(stdout()) || pipe::is_regular_file(stdout())
}

/// Speaks to the end of stdin; false where there was nothing to say.
fn speak(args: &Args, link: &Link) -> Result<bool, Failure> {
    let mut input = Input::stdin()?;
    let mut mouth = Mouth::new(args, link.clone(), input.clock());
    let ended = mouth.run(&mut input)?;
    match input.verdict(ended, args.strict) {
        // Nothing at all on stdin means that there is nothing to say.
        Err(failure) if failure.exit == Exit::Input && failure.message.ends_with("(it is empty)") => Ok(false),
        outcome => outcome.map(|()| true),
    }
}
