//! The room server, as one client sees it: lines, and packets between them.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use vox_cli::{Wake, stop_requested, wait};
use vox_room::{Message, Nick, Notice, Splitter, frame_header};
use vox_sys::{monotonic_ns, net};

/// How long the server may take to answer, in ns.
const ANSWER_NS: i64 = 5_000_000_000;

/// Bytes that may wait for the server before packets are dropped, and before the connection is lost.
const MAX_VOICE_WAITING: usize = 64 * 1024;
const MAX_WAITING: usize = 512 * 1024;

/// The most that is read before others have their turn.
const READ: usize = 64 * 1024;

/// Why somebody is not let in.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The nickname is taken.
    Taken,
    /// Something else.
    Other(String),
}

/// What the server says.
pub(crate) enum Said {
    Notice(Notice),
    Packet(Vec<u8>),
}

/// A connection to the server, under a name.
pub(crate) struct House {
    tcp: TcpStream,
    splitter: Splitter,
    waiting: Vec<u8>,
    said: VecDeque<Said>,
}

impl House {
    /// Connects as `nick`.
    pub(crate) fn enter(server: &str, nick: &Nick) -> Result<Self, Refusal> {
        let other = |error: std::io::Error| Refusal::Other(format!("cannot reach the rooms at {server}: {error}"));
        let address = net::resolve(server).map_err(other)?;
        if !address.ip().is_loopback() {
            // What is said here is not encrypted.
            let text = format!("{server} is another host: run the gateway beside the rooms, or through a tunnel");
            return Err(Refusal::Other(text));
        }
        let tcp = TcpStream::connect_timeout(&address, Duration::from_nanos(ANSWER_NS as u64)).map_err(other)?;
        tcp.set_nodelay(true).and_then(|()| tcp.set_nonblocking(true)).map_err(other)?;
        let mut house = Self { tcp, splitter: Splitter::new(), waiting: Vec::new(), said: VecDeque::new() };
        house.line(&format!("CONNECT: \"{nick}\" \"vox-gateway\" 1.0.0"));
        let deadline = monotonic_ns() + ANSWER_NS;
        loop {
            house.read().map_err(other)?;
            while let Some(said) = house.said.pop_front() {
                match said {
                    Said::Notice(Notice::Accepted(_)) => return Ok(house),
                    Said::Notice(Notice::NickInUse(_)) => return Err(Refusal::Taken),
                    Said::Notice(Notice::NotAccepted(text) | Notice::Refused { text, .. }) => {
                        return Err(Refusal::Other(text));
                    }
                    Said::Notice(_) | Said::Packet(_) => {}
                }
            }
            let woken = wait(Some(house.tcp.as_fd()), Some(deadline)).map_err(|error| Refusal::Other(error.message))?;
            if woken == Wake::Deadline && monotonic_ns() >= deadline || stop_requested() {
                return Err(Refusal::Other(format!("the rooms at {server} do not answer")));
            }
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }

    /// Says a line.
    pub(crate) fn line(&mut self, line: &str) {
        if self.waiting.len() < MAX_WAITING {
            // A line is one line, whatever a client has put into it.
            self.waiting.extend(line.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
            self.waiting.extend_from_slice(b"\r\n");
        }
        self.flush();
    }

    /// Sends a packet; one that cannot go now is lost.
    pub(crate) fn packet(&mut self, packet: &[u8]) {
        let Some(header) = frame_header(packet.len()).filter(|_| self.waiting.len() < MAX_VOICE_WAITING) else {
            return;
        };
        self.waiting.extend_from_slice(&header);
        self.waiting.extend_from_slice(packet);
        self.flush();
    }

    /// Writes what the kernel takes. That the connection is broken is seen by reading.
    pub(crate) fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match self.tcp.write(&self.waiting) {
                Ok(written @ 1..) => drop(self.waiting.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// Where the connection is over.
    pub(crate) fn read(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; READ];
        match self.tcp.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.splitter.push(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut pings = Vec::new();
        while let Some(message) = self.splitter.next_message().map_err(std::io::Error::other)? {
            match message {
                Message::Line(line) => match Notice::parse(&String::from_utf8_lossy(line)) {
                    Notice::Ping(number) => pings.push(number),
                    notice => self.said.push_back(Said::Notice(notice)),
                },
                Message::Packet(packet) => self.said.push_back(Said::Packet(packet.to_vec())),
                Message::TooLong(_) => {}
            }
        }
        pings.into_iter().for_each(|number| self.line(&format!("PONG: {number}")));
        Ok(())
    }

    /// What was said, one after the other.
    pub(crate) fn next_said(&mut self) -> Option<Said> {
        self.said.pop_front()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.line("DISCONNECT");
    }
}
