//! How other programs speak to a room.
//!
//! A [`Dialect`] stands between a client of another program and a room: what the client says becomes lines and packets
//! of the room's protocol, and what the room says becomes what the client understands. The client hears one stream, a
//! mix that the room makes for it at the client's own rate. Nothing here touches a socket or a clock.

mod p2p;
mod speaker;
mod streamer;

pub use p2p::{Board, PeerToPeer};
pub use streamer::Streamer;

use vox_frame::Stamp;

/// What is said to the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToRoom {
    /// A line, without its end.
    Line(String),
    /// A packet.
    Packet(Vec<u8>),
}

/// What is said to the client, as it goes over its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToClient {
    /// What it must hear of.
    Message(Vec<u8>),
    /// Audio: a client that is too slow for it does without.
    Voice(Vec<u8>),
}

/// What came of something, in the order in which it is to be said.
#[derive(Debug, Default)]
pub struct Said {
    /// To the room.
    pub room: Vec<ToRoom>,
    /// To the client.
    pub client: Vec<ToClient>,
}

impl Said {
    fn line(&mut self, line: impl Into<String>) {
        // A line is one line, whatever a client has put into it.
        let line: String = line.into().chars().filter(|c| !c.is_control()).collect();
        self.room.push(ToRoom::Line(line));
    }

    fn tell(&mut self, message: Vec<u8>) {
        self.client.push(ToClient::Message(message));
    }
}

/// A client is sent away, or has gone by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Goodbye(pub String);

/// How another program speaks.
pub trait Dialect: Send {
    /// The client is here.
    fn begin(&mut self, now: Stamp, said: &mut Said);

    /// It has said something.
    ///
    /// # Errors
    /// Where it is to be sent away.
    fn handle_bytes(&mut self, now: Stamp, bytes: &[u8], said: &mut Said) -> Result<(), Goodbye>;

    /// The room says a line.
    ///
    /// # Errors
    /// Where the client has no place there.
    fn handle_line(&mut self, now: Stamp, line: &str, said: &mut Said) -> Result<(), Goodbye>;

    /// The room says a packet of the mix.
    fn handle_packet(&mut self, now: Stamp, packet: &[u8], said: &mut Said);

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    fn next_deadline(&self) -> Option<Stamp>;

    /// Time has passed.
    fn handle_timeout(&mut self, now: Stamp, said: &mut Said);
}

/// How a room is asked for a mix: in that format, by packets within the connection.
fn voice_line(room: &str, format: &str) -> String {
    format!("VOICE {room}: tcp mix={format}")
}
