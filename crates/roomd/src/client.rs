//! One connection: bytes in, bytes out, never more held than a little.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::ServerConnection;
use vox_room::{Splitter, frame_header};

use crate::tls::{self, HANDSHAKE, Identity};
use crate::websocket::{Opening, WebSocket};

/// Bytes of lines that wait for a slow reader; one that is slower is dropped.
const MAX_WAITING: usize = 512 * 1024;

/// Bytes that may wait before packets are dropped instead of waiting too: voice that late is of no use.
const MAX_VOICE_WAITING: usize = 32 * 1024;

/// Bytes that are read in one turn, so that nobody keeps the others waiting.
const TURN: usize = 64 * 1024;

/// How a connection is encrypted, which its first byte tells.
enum Speech {
    Unknown,
    Plain,
    Tls(Box<ServerConnection>),
}

/// What is spoken within, which the first bytes tell.
enum Layer {
    /// What has come so far.
    Unknown(Vec<u8>),
    Lines,
    WebSocket(Box<WebSocket>),
}

/// What the server lets its clients do.
pub(crate) struct Terms {
    pub(crate) identity: Option<Identity>,
    /// Clients from elsewhere may do without encryption.
    pub(crate) allow_plain: bool,
    /// Web pages that may speak to it.
    pub(crate) origins: Vec<String>,
}

impl Terms {
    /// Whether a client from there may do without encryption.
    pub(crate) fn may_be_plain(&self, peer: SocketAddr) -> bool {
        self.allow_plain || peer.ip().to_canonical().is_loopback()
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    speech: Speech,
    layer: Layer,
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
            speech: Speech::Unknown,
            layer: Layer::Unknown(Vec::new()),
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

    /// Listens to the first byte: TLS begins with one that no line begins with. False where it has not come yet.
    fn understands(&mut self, terms: &Terms) -> io::Result<bool> {
        let mut first = [0];
        match self.stream.peek(&mut first) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.speech = match terms.identity.as_ref().and_then(Identity::connection) {
            Some(tls) if first[0] == HANDSHAKE => Speech::Tls(tls),
            _ if terms.may_be_plain(self.peer) => Speech::Plain,
            _ => {
                self.speech = Speech::Plain;
                self.line("NOTACCEPTED: this server is spoken to by TLS (openssl s_client -quiet -connect HOST:PORT)");
                self.closing = true;
                return Ok(false);
            }
        };
        Ok(true)
    }

    /// Reads a piece into the splitter.
    pub(crate) fn read(&mut self, buffer: &mut [u8], terms: &Terms) -> Turn {
        if self.closing {
            return Turn::Nothing;
        }
        if matches!(self.speech, Speech::Unknown) {
            match self.understands(terms) {
                Ok(true) => {}
                Ok(false) => return Turn::Nothing,
                Err(_) => return Turn::Ended,
            }
        }
        let most = buffer.len().min(TURN);
        let read = match &mut self.speech {
            Speech::Tls(tls) => tls::read(tls, &self.stream, &mut buffer[..most]),
            _ => self.stream.read(&mut buffer[..most]),
        };
        match read {
            Ok(0) => Turn::Ended,
            Ok(length) => self.take(&buffer[..length], terms),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Turn::Nothing,
            Err(_) => Turn::Ended,
        }
    }

    /// Takes bytes as they came.
    fn take(&mut self, bytes: &[u8], terms: &Terms) -> Turn {
        if let Layer::Unknown(begun) = &mut self.layer {
            begun.extend_from_slice(bytes);
            let begun = std::mem::take(begun);
            return self.begin(begun, terms);
        }
        if let Layer::WebSocket(socket) = &mut self.layer {
            let open = socket.take(bytes, &mut self.splitter, &mut self.waiting).is_ok();
            // Whoever asks and never listens to the answers is not kept.
            self.closing |= !open || self.waiting.len() > MAX_WAITING;
        } else {
            self.splitter.push(bytes);
        }
        Turn::Read
    }

    /// Finds out what is spoken, by all bytes that have come so far.
    fn begin(&mut self, bytes: Vec<u8>, terms: &Terms) -> Turn {
        match Opening::of(&bytes, &terms.origins) {
            Opening::Unclear => {
                self.layer = Layer::Unknown(bytes);
                Turn::Nothing
            }
            Opening::Lines => {
                self.layer = Layer::Lines;
                self.take(&bytes, terms)
            }
            Opening::WebSocket(answer, length) => {
                self.waiting.extend_from_slice(answer.as_bytes());
                self.layer = Layer::WebSocket(Box::new(WebSocket::new()));
                self.take(&bytes[length..], terms)
            }
            Opening::Refused(answer) => {
                self.waiting.extend_from_slice(answer.as_bytes());
                self.closing = true;
                Turn::Nothing
            }
        }
    }

    /// A line; false where the client reads too slowly to be kept.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Layer::WebSocket(socket) = &mut self.layer {
            socket.line(line, &mut self.waiting);
        } else {
            self.waiting.extend_from_slice(line.as_bytes());
            self.waiting.extend_from_slice(b"\r\n");
        }
        self.waiting.len() <= MAX_WAITING
    }

    /// A packet, unless too much waits already.
    pub(crate) fn packet(&mut self, packet: &[u8]) {
        if self.waiting.len() > MAX_VOICE_WAITING {
            self.voice_dropped += 1;
            return;
        }
        let taken = match (&mut self.layer, frame_header(packet.len())) {
            (_, None) => false,
            (Layer::WebSocket(socket), _) => socket.packet(packet, &mut self.waiting),
            (_, Some(header)) => {
                self.waiting.extend_from_slice(&header);
                self.waiting.extend_from_slice(packet);
                true
            }
        };
        self.voice_dropped += u64::from(!taken);
    }

    /// Writes what the kernel takes; false where the connection is broken.
    pub(crate) fn flush(&mut self) -> bool {
        if let Layer::WebSocket(socket) = &mut self.layer
            && self.closing
        {
            socket.goodbye(&mut self.waiting);
        }
        let mut done = 0;
        let alive = loop {
            if done == self.waiting.len() {
                break true;
            }
            let written = match &mut self.speech {
                // Nothing is said before it is known how: a line in plain would end a handshake.
                Speech::Unknown if !self.closing => break true,
                Speech::Tls(tls) => tls::write(tls, &self.stream, &self.waiting[done..]),
                _ => self.stream.write(&self.waiting[done..]),
            };
            match written {
                Ok(0) => break false,
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        self.waiting.drain(..done);
        let alive = match &mut self.speech {
            Speech::Tls(tls) => alive && tls::send(tls, &self.stream).is_ok(),
            _ => alive,
        };
        if self.waiting.is_empty() && self.waiting.capacity() > 4096 {
            // Who has caught up holds no memory for it any more.
            self.waiting = Vec::new();
        }
        alive
    }

    /// Whether something waits to be written.
    pub(crate) const fn has_to_say(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether something waits for the connection to take it.
    pub(crate) fn is_pending(&self) -> bool {
        match &self.speech {
            Speech::Unknown => false,
            Speech::Plain => !self.waiting.is_empty(),
            Speech::Tls(tls) => tls.wants_write() || (!tls.is_handshaking() && !self.waiting.is_empty()),
        }
    }

    /// Whether nobody in between can read what is said.
    pub(crate) const fn is_encrypted(&self) -> bool {
        matches!(self.speech, Speech::Tls(_))
    }
}
