//! Lines that are typed: said to the room, or commands.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::thread;

use vox_cli::{Failure, warn};

use crate::link::Link;

/// Says the lines of `path` to `room`, as they come.
pub(crate) fn start(path: &Path, room: &str, link: Link) -> Result<(), Failure> {
    let (path, room) = (path.to_owned(), room.to_owned());
    let talk = move || match File::open(&path) {
        Ok(file) => say(file, &room, &link),
        Err(error) => warn(format_args!("cannot read {}: {error}", path.display())),
    };
    // Opening a FIFO waits for who writes to it, so this thread is nobody's to wait for.
    let started = thread::Builder::new().name("chat".to_owned()).spawn(talk);
    started.map(drop).map_err(|error| Failure::failed(format_args!("cannot start a thread: {error}")))
}

fn say(file: File, room: &str, link: &Link) {
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        match line.strip_prefix('/') {
            None if line.trim().is_empty() => {}
            None => link.line(&format!("MSG {room}: {line}")),
            Some(command) => {
                match command.trim().to_ascii_lowercase().as_str() {
                    "mute" => link.set_muted(true),
                    "unmute" => link.set_muted(false),
                    _ => {}
                }
                link.line(command);
            }
        }
    }
}
