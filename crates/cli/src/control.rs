//! Lines that change a stage while it runs: `--control FIFO`, or `--control unix:SOCKET`, which answers.

use core::str::FromStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use vox_sys::pipe;

use crate::{Failure, warn};

/// The longest line, in bytes; what is longer is none.
const MAX_LINE: u64 = 256;

/// The most that talk to a socket at a time.
const MAX_CLIENTS: usize = 8;

/// How many lines of a FIFO are complained about: a writer gone wild is not to fill the screen.
const MAX_WARNINGS: usize = 10;

/// How long a client may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(1);

/// Where lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlSource {
    /// A FIFO that is there.
    Fifo(PathBuf),
    /// A socket that is made.
    Socket(PathBuf),
}

impl FromStr for ControlSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: and the socket to make, such as unix:/run/user/1000/talk".to_owned()),
            Some(path) => Ok(Self::Socket(path.into())),
            None if text.is_empty() => Err("a FIFO, or unix:SOCKET".to_owned()),
            None => Ok(Self::Fifo(text.into())),
        }
    }
}

/// Who says lines: whoever writes into the FIFO, or one of those at the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker(pub u32);

impl Speaker {
    const FIFO: Self = Self(1);
    /// The number of the first at a socket.
    const FIRST: u32 = 2;
}

/// What a stage does with lines.
pub trait Commands: Send + Sync + 'static {
    /// Does what a line of `speaker` says; gives the state that it leads to.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn command(&self, line: &str, speaker: Speaker) -> Result<Value, String>;

    /// Somebody at a socket went away.
    fn left(&self, _speaker: Speaker) {}
}

/// Lines are read as long as this lives.
#[derive(Debug)]
#[must_use = "the socket is removed when this is dropped"]
pub struct Listening {
    socket: Option<PathBuf>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(path) = &self.socket {
            let _gone = fs::remove_file(path);
        }
    }
}

impl ControlSource {
    /// Begins to read lines, in a thread of its own: who writes them may come and go.
    ///
    /// # Errors
    /// When there is no such FIFO, or the socket cannot be made (1).
    pub fn listen(&self, commands: Arc<impl Commands>) -> Result<Listening, Failure> {
        match self {
            Self::Fifo(path) => {
                let lines = open_fifo(path)?;
                spawn(move || read_fifo(lines, &*commands))?;
                Ok(Listening { socket: None })
            }
            Self::Socket(path) => {
                let listener = bind(path)?;
                // From here on it is ours to remove.
                let listening = Listening { socket: Some(path.clone()) };
                spawn(move || serve(&listener, &commands))?;
                Ok(listening)
            }
        }
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(body);
    thread.map(drop).map_err(|error| Failure::failed(format_args!("cannot start a thread: {error}")))
}

fn open_fifo(path: &Path) -> Result<impl BufRead + Send + use<>, Failure> {
    let shown = path.display();
    let advice = format!("make it with `mkfifo {shown}`, or let unix:{shown} be made");
    // Open for writing too, so that it has no end when a writer leaves.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| Failure::failed(format_args!("cannot read {shown}: {error} ({advice})")))?;
    if !pipe::is_pipe(&file) {
        return Err(Failure::failed(format_args!("{shown} is no FIFO: {advice}")));
    }
    Ok(BufReader::new(file))
}

fn read_fifo(lines: impl BufRead, commands: &impl Commands) {
    let mut warnings = 0;
    each_line(lines, |line| {
        if let Err(problem) = commands.command(line, Speaker::FIFO)
            && warnings < MAX_WARNINGS
        {
            warnings += 1;
            warn(format_args!("{line:?}: {problem}"));
        }
        true
    });
}

/// Makes the socket, for this user only; one that a dead process left behind gives way.
fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format_args!("cannot listen at {}: {error}", path.display()));
    vox_sys::remove_abandoned_socket(path).map_err(failed)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

fn serve(listener: &UnixListener, commands: &Arc<impl Commands>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for (number, client) in (Speaker::FIRST..).zip(listener.incoming()) {
        let Ok(client) = client else {
            // Out of descriptors, say: it would fail at once again.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if clients.fetch_add(1, Ordering::AcqRel) >= MAX_CLIENTS {
            clients.fetch_sub(1, Ordering::AcqRel);
            let _gone = answer(&client, &json!({ "error": format!("{MAX_CLIENTS} are here already") }));
            continue;
        }
        let (commands, here) = (Arc::clone(commands), Arc::clone(&clients));
        let spawned = spawn(move || {
            talk_with(&client, Speaker(number), &*commands);
            commands.left(Speaker(number));
            here.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            clients.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn talk_with(client: &UnixStream, speaker: Speaker, commands: &impl Commands) {
    if client.set_write_timeout(Some(UNREAD)).is_err() {
        return;
    }
    each_line(BufReader::new(client), |line| {
        let state = commands.command(line, speaker).unwrap_or_else(|problem| json!({ "error": problem }));
        answer(client, &state).is_ok()
    });
}

fn answer(mut client: &UnixStream, state: &Value) -> std::io::Result<()> {
    client.write_all(format!("{state}\n").as_bytes())
}

/// Hands over each line, without the blanks around it; an endless one as an empty one. Ends where `take` says false.
fn each_line(mut lines: impl BufRead, mut take: impl FnMut(&str) -> bool) {
    let mut line = Vec::new();
    while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            line.clear();
            if lines.skip_until(b'\n').is_err() {
                return;
            }
        }
        if !take(String::from_utf8_lossy(&line).trim()) {
            return;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        each_line(bytes, |line| {
            lines.push(line.to_owned());
            true
        });
        lines
    }

    #[test]
    fn a_fifo_and_a_socket_are_told_apart() {
        assert_eq!("talk".parse(), Ok(ControlSource::Fifo("talk".into())));
        assert_eq!("unix:talk".parse(), Ok(ControlSource::Socket("talk".into())));
        assert!("unix:".parse::<ControlSource>().is_err() && "".parse::<ControlSource>().is_err());
    }

    #[test]
    fn the_end_of_an_endless_line_is_no_line() {
        let mut bytes = b"mute\n".to_vec();
        bytes.extend([b'x'; 100_000]);
        bytes.extend(b" unmute\n toggle \r\ngain -3");
        assert_eq!(lines_of(&bytes), ["mute", "", "toggle", "gain -3"]);
        assert_eq!(lines_of(&[b'x'; 100_000]), [""]);
    }

    #[test]
    fn what_is_no_text_does_no_harm() {
        assert_eq!(lines_of(&[0xff, 0, b'\n', b'a', b'\n']), ["\u{fffd}\0", "a"]);
    }
}
