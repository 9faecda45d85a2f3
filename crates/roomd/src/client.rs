//! One connection: bytes in, bytes out, never more held than a little.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use vox_room::{Splitter, frame_header};

/// Bytes of lines that wait for a slow reader; one that is slower is dropped.
const MAX_WAITING: usize = 512 * 1024;

/// Bytes that may wait before packets are dropped instead of waiting too: voice that late is of no use.
const MAX_VOICE_WAITING: usize = 32 * 1024;

/// Bytes that are read in one turn, so that nobody keeps the others waiting.
const TURN: usize = 64 * 1024;

pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) splitter: Splitter,
    waiting: Vec<u8>,
    /// Whether the poller waits for it to be writable.
    pub(crate) wants_write: bool,
    /// It is to be closed once everything is out.
    pub(crate) closing: bool,
    pub(crate) voice_dropped: u64,
}

/// How reading went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is something new.
    Read,
    /// There was nothing.
    Nothing,
    /// The other side has closed, or the connection is broken.
    Ended,
}

impl Client {
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            peer,
            splitter: Splitter::new(),
            waiting: Vec::new(),
            wants_write: false,
            closing: false,
            voice_dropped: 0,
        })
    }

    pub(crate) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads a piece into the splitter.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Turn {
        let most = buffer.len().min(TURN);
        match self.stream.read(&mut buffer[..most]) {
            Ok(0) => Turn::Ended,
            Ok(length) => {
                self.splitter.push(&buffer[..length]);
                Turn::Read
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Turn::Nothing,
            Err(_) => Turn::Ended,
        }
    }

    /// A line; false where the client reads too slowly to be kept.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.extend_from_slice(b"\r\n");
        self.waiting.len() <= MAX_WAITING
    }

    /// A packet, unless too much waits already.
    pub(crate) fn packet(&mut self, packet: &[u8]) {
        match frame_header(packet.len()) {
            Some(header) if self.waiting.len() <= MAX_VOICE_WAITING => {
                self.waiting.extend_from_slice(&header);
                self.waiting.extend_from_slice(packet);
            }
            _ => self.voice_dropped += 1,
        }
    }

    /// Writes what the kernel takes; false where the connection is broken.
    pub(crate) fn flush(&mut self) -> bool {
        let mut done = 0;
        let alive = loop {
            if done == self.waiting.len() {
                break true;
            }
            match self.stream.write(&self.waiting[done..]) {
                Ok(0) => break false,
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        self.waiting.drain(..done);
        if self.waiting.is_empty() && self.waiting.capacity() > 4096 {
            // Who has caught up holds no memory for it any more.
            self.waiting = Vec::new();
        }
        alive
    }

    pub(crate) const fn is_pending(&self) -> bool {
        !self.waiting.is_empty()
    }
}
