//! Sessions that others announce: a list of them (`--discover`), or one of them by its name (`--join`).

use serde_json::json;
use vox_announce::{Watch, WatchOptions};
use vox_cli::{Exit, Failure, Wake, note, print, stop_requested, wait_any};
use vox_rtp::{Announcer, Change, Description, Listed};
use vox_sys::monotonic_ns;

use crate::args::Args;

/// Lists what is announced, as it comes and goes, until the time is over or a signal comes.
pub(crate) fn list(args: &Args) -> Result<(), Failure> {
    let mut found = false;
    let ended = watch(args, |change| {
        found = true;
        print(&if args.json { as_json(&change) } else { as_text(&change) })?;
        Ok(None::<Description>)
    })?;
    match ended {
        Ended::TimedOut if !found => Err(Failure::network("nobody announces a session here, so far")),
        _ => Ok(()),
    }
}

/// Waits until a session of that name is announced.
pub(crate) fn find(args: &Args, name: &str) -> Result<Description, Failure> {
    note(format_args!("looking for {name:?}"));
    let ended = watch(args, |change| match change {
        Change::Found(listed) | Change::Changed(listed) if listed.name == name => take(listed).map(Some),
        _ => Ok(None),
    })?;
    match ended {
        Ended::Found(session) => Ok(session),
        Ended::TimedOut => Err(Failure::network(format_args!("nobody announces {name:?} here: --discover lists them"))),
        Ended::Stopped => Err(Failure::quiet(Exit::Done)),
    }
}

/// What an announcement says is not done blindly: it may name a group or an address of this host, no more.
fn take(listed: Listed) -> Result<Description, Failure> {
    let Listed { name, announcer, session, .. } = listed;
    if session.address.is_unspecified() {
        return Err(Failure::network(format_args!("{name:?} would have us listen to everything: its address is none")));
    }
    note(format_args!("{name:?} is at {}:{}, says {}", session.address, session.port, who(&announcer)));
    Ok(session)
}

enum Ended<T> {
    Found(T),
    TimedOut,
    Stopped,
}

/// Hears announcements until `heed` has what it wants.
fn watch<T>(args: &Args, mut heed: impl FnMut(Change) -> Result<Option<T>, Failure>) -> Result<Ended<T>, Failure> {
    let mut watch = Watch::open(&WatchOptions {
        ways: args.ways(),
        group: args.sap_group,
        interface: args.interface.clone(),
        from: args.announcer,
    })?;
    let until = args.timeout.map(|timeout| monotonic_ns().saturating_add(timeout.ns()));
    loop {
        let deadline = [until, watch.next_deadline()].into_iter().flatten().min();
        let wake = if stop_requested() { Wake::Signal } else { wait_any(&watch.descriptors(), deadline)? };
        if wake == Wake::Signal || stop_requested() {
            return Ok(Ended::Stopped);
        }
        watch.handle_ready()?;
        while let Some(change) = watch.poll() {
            if let Some(found) = heed(change)? {
                return Ok(Ended::Found(found));
            }
        }
        if until.is_some_and(|until| monotonic_ns() >= until) {
            return Ok(Ended::TimedOut);
        }
    }
}

fn parts(change: &Change) -> (&'static str, char, &Listed) {
    match change {
        Change::Found(listed) => ("found", '+', listed),
        Change::Changed(listed) => ("changed", '~', listed),
        Change::Gone(listed) => ("gone", '-', listed),
    }
}

/// `+ talk  239.1.2.3:5004  opus/48000/2  sap 192.0.2.1`
fn as_text(change: &Change) -> String {
    let (_, sign, listed) = parts(change);
    let session = &listed.session;
    let secured = if session.secure { "  secured" } else { "" };
    let formats = formats(session).join(" ");
    format!(
        "{sign} {}  {}:{}  {formats}{secured}  {}\n",
        listed.name,
        session.address,
        session.port,
        who(&listed.announcer)
    )
}

fn as_json(change: &Change) -> String {
    let (event, _, listed) = parts(change);
    let session = &listed.session;
    let (way, from) = match &listed.announcer {
        Announcer::Sap(host) => ("sap", host.to_string()),
        Announcer::Service(name) => ("mdns", name.clone()),
    };
    let line = json!({
        "event": event,
        "name": listed.name,
        "address": session.address.to_string(),
        "port": session.port,
        "formats": formats(session),
        "secure": session.secure,
        "source": session.source.map(|source| source.to_string()),
        "way": way,
        "announcer": from,
        "sdp": listed.sdp,
    });
    format!("{line}\n")
}

fn formats(session: &Description) -> Vec<String> {
    let known = session.payload_types.iter().filter_map(|number| session.map.get(*number));
    known.map(ToString::to_string).collect()
}

fn who(announcer: &Announcer) -> String {
    match announcer {
        Announcer::Sap(host) => format!("sap {host}"),
        // The name of a service may hold what a terminal would take for a command.
        Announcer::Service(name) => format!("mdns {}", name.escape_debug()),
    }
}
