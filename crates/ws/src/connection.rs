//! One call: its WebSocket, its session, and what waits to be sent.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;

use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Error, Message, WebSocket};
use vox_frame::{Record, Stamp, StreamId};
use vox_mediastream::{Outgoing, Session};

use crate::carrier::Carrier;

/// The longest message, in bytes: half a minute of audio at once. A longer one ends its call.
const MAX_MESSAGE: usize = 384 * 1024;

/// What the library may hold of what is written.
const MAX_WRITTEN: usize = 64 * 1024;

/// The most messages that wait for a slow peer, whatever their age.
const MAX_WAITING: usize = 1024;

/// Messages that are read of one call before the others have their turn.
const READS: usize = 64;

/// A peer that says nothing is asked after that long whether it is there, and given up after as long again, in ns.
const ASK_NS: i64 = 20_000_000_000;
const GIVE_UP_NS: i64 = 60_000_000_000;

/// How long a farewell may take, in ns.
const FAREWELL_NS: i64 = 1_000_000_000;

/// What a WebSocket may cost.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITTEN)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

pub(crate) struct Connection {
    pub(crate) from: SocketAddr,
    pub(crate) session: Session,
    /// The stream of the pipe that speaks here.
    pub(crate) speaker: Option<StreamId>,
    socket: WebSocket<Carrier>,
    /// What waits, and since when, in ns of CLOCK_MONOTONIC.
    queue: VecDeque<(i64, Outgoing)>,
    max_age: Option<i64>,
    /// Media messages that a slow peer did not get.
    pub(crate) dropped: u64,
    /// When the peer was heard last, and whether it was asked since.
    heard: i64,
    asked: bool,
    /// When audio was heard last.
    pub(crate) heard_audio: i64,
    /// Until when a farewell is waited for.
    farewell: Option<i64>,
    /// Why there is no connection any more; an empty text where it ended in good order.
    gone: Option<String>,
}

impl Connection {
    pub(crate) fn new(
        from: SocketAddr,
        socket: WebSocket<Carrier>,
        session: Session,
        now: i64,
        max_age: Option<i64>,
    ) -> Self {
        Self {
            from,
            session,
            speaker: None,
            socket,
            queue: VecDeque::new(),
            max_age,
            dropped: 0,
            heard: now,
            asked: false,
            heard_audio: now,
            farewell: None,
            gone: None,
        }
    }

    pub(crate) fn carrier(&self) -> &Carrier {
        self.socket.get_ref()
    }

    /// Why there is no connection any more; an empty text where it ended in good order.
    pub(crate) fn gone(&self) -> Option<&str> {
        self.gone.as_deref()
    }

    /// Whether something waits for the peer to read.
    pub(crate) fn is_waiting(&self) -> bool {
        self.gone.is_none() && !self.queue.is_empty()
    }

    /// Whether the call is over, and what there was to hear is out.
    pub(crate) fn is_over(&self) -> bool {
        self.gone.is_some() && self.session.is_played()
    }

    /// Reads what is there; true where there is more.
    pub(crate) fn read<E>(
        &mut self,
        now: Stamp,
        mono: i64,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        for _ in 0..READS {
            if self.gone.is_some() {
                return Ok(false);
            }
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(error) => {
                    self.note(error);
                    return Ok(false);
                }
            };
            (self.heard, self.asked) = (mono, false);
            match message {
                Message::Text(text) => {
                    let before = self.session.counters().media;
                    self.session.handle_text(now, &text, out)?;
                    if self.session.counters().media > before {
                        self.heard_audio = mono;
                    }
                }
                Message::Binary(_) => self.session.handle_binary(),
                Message::Close(_) => self.session.handle_closed(),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
            self.write(mono);
        }
        Ok(true)
    }

    /// Sends what the session has to say, as far as the peer takes it.
    pub(crate) fn write(&mut self, mono: i64) {
        while let Some(message) = self.session.poll_message() {
            self.queue.push_back((mono, message));
        }
        self.forget(mono);
        while self.gone.is_none() && self.farewell.is_none() {
            // What the library still holds goes first.
            if let Err(error) = self.socket.flush() {
                return self.note(error);
            }
            let Some((_, message)) = self.queue.pop_front() else { break };
            if let Err(error) = self.socket.write(Message::text(message.text)) {
                self.note(error);
            }
        }
    }

    /// Leaves out audio that is too old, and beyond a bound anything.
    fn forget(&mut self, mono: i64) {
        let before = self.queue.len();
        if let Some(max_age) = self.max_age {
            self.queue.retain(|(since, message)| !message.is_audio || mono - since <= max_age);
        }
        while self.queue.len() > MAX_WAITING {
            let oldest = self.queue.iter().position(|(_, message)| message.is_audio).unwrap_or(0);
            self.queue.remove(oldest);
        }
        self.dropped += (before - self.queue.len()) as u64;
    }

    /// Looks after the peer: whether it is there, whether it has taken leave.
    pub(crate) fn tend(&mut self, mono: i64) {
        if self.gone.is_some() {
            return;
        }
        if self.farewell.is_some_and(|until| mono >= until) {
            self.end("");
        } else if mono - self.heard >= GIVE_UP_NS {
            self.end("nothing was heard of it for a minute");
        } else if mono - self.heard >= ASK_NS && !std::mem::replace(&mut self.asked, true) {
            if let Err(error) = self.socket.write(Message::Ping(Bytes::new())) {
                self.note(error);
            }
        } else if self.session.is_over() && self.session.is_played() && self.queue.is_empty() {
            self.close(mono, CloseCode::Normal, "");
        }
    }

    /// When to look after it again, in ns of CLOCK_MONOTONIC.
    pub(crate) fn next_look(&self) -> i64 {
        let quiet = if self.asked { GIVE_UP_NS } else { ASK_NS };
        self.farewell.unwrap_or(i64::MAX).min(self.heard + quiet)
    }

    /// Ends the connection as the protocol wants it.
    pub(crate) fn close(&mut self, mono: i64, code: CloseCode, reason: &'static str) {
        if self.gone.is_some() || self.farewell.is_some() {
            return;
        }
        self.write(mono);
        self.farewell = Some(mono + FAREWELL_NS);
        if let Err(error) = self.socket.close(Some(CloseFrame { code, reason: reason.into() })) {
            self.note(error);
        }
    }

    /// Goes on with what could not be written.
    pub(crate) fn go_on(&mut self, mono: i64) {
        if self.gone.is_some() {
            return;
        }
        match self.socket.flush() {
            Ok(()) => self.write(mono),
            Err(error) => self.note(error),
        }
    }

    fn note(&mut self, error: Error) {
        match error {
            Error::Io(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Error::ConnectionClosed | Error::AlreadyClosed => self.end(""),
            // It is to be dropped all the same, and the reason is known.
            error if self.farewell.is_some() || self.session.is_over() => {
                let _known = error;
                self.end("");
            }
            error => self.end(&error.to_string()),
        }
    }

    fn end(&mut self, why: &str) {
        self.session.handle_closed();
        self.queue.clear();
        self.gone = Some(why.to_owned());
    }
}
