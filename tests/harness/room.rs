//! A server of rooms, and a person who types to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::shell::{Running, Scratch, await_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// `vox-roomd` on that port of this host, once it listens; it tells the protocol on stderr.
///
/// # Panics
/// When it does not listen within 30 s.
#[track_caller]
pub fn room_server(scratch: &Scratch, port: u16, options: &str) -> Running {
    let running = scratch.spawn(&format!("exec vox-roomd --listen 127.0.0.1:{port} -l {options}"));
    assert!(await_until(PATIENCE, || running.stderr().contains("listening on")), "{}", running.stderr());
    running
}

/// A conversation in the protocol, as a person with `nc` has it.
#[derive(Debug)]
pub struct Person(pub BufReader<TcpStream>);

impl Person {
    /// Somebody who has connected and said nothing.
    ///
    /// # Panics
    /// When nobody listens.
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self(BufReader::new(stream))
    }

    /// Somebody who has entered the lobby; `more` follows the version.
    ///
    /// # Panics
    /// When he is not let in.
    #[track_caller]
    pub fn hello(port: u16, nick: &str, more: &str) -> Self {
        let mut person = Self::connect(port);
        person.says(&format!("CONNECT: \"{nick}\" \"x\" 1.0.0{more}")).hears("JOINED: #lobby");
        person
    }

    /// Types a line.
    ///
    /// # Panics
    /// When the server is gone.
    pub fn says(&mut self, line: &str) -> &mut Self {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("it takes a line");
        self
    }

    /// Reads until a line begins so.
    ///
    /// # Panics
    /// When none does.
    #[track_caller]
    pub fn hears(&mut self, beginning: &str) -> &mut Self {
        let mut heard = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line);
            assert!(read.is_ok_and(|read| read > 0), "no {beginning:?} in {heard:?}");
            if line.starts_with(beginning) {
                return self;
            }
            heard.push(line);
        }
    }
}
