//! Rooms as pure state: who is in them, who hears whom, the signalling, and the forwarding of packets.
//!
//! A [`Hall`] is the whole server without its sockets: it is handed connections, lines and packets with the time, and
//! gives lines to send ([`Hall::poll_output`]) and packets to forward. [`Command`] is what a client may say, one line
//! each; [`Listener`] is the other end: it turns what a room sends into records of the pipe contract. The protocol is
//! specified in `docs/room-protocol.md`.
//!
//! Nothing here touches a socket or a clock; the same input gives the same output.

mod command;
mod desk;
mod facts;
mod floor;
mod hall;
mod lateness;
mod limits;
mod listener;
mod munge;
mod name;
mod notice;
mod one_voice;
mod p2p;
mod pacer;
mod plain;
mod seal;
mod wire;

pub use command::{
    Carrier, Command, Dialect, Direction, GRAMMAR, Hello, MAX_LINE, Misunderstood, Muted, Party, Recording,
    StreamFacts, TalkAction, Telling, Voice,
};
pub use desk::{DeskOrder, Hearers, MixWish, Records};
pub use hall::{Admin, Ban, Change, Config, ConnId, Hall, HallStats, KeptRoom, MemberView, Output, Path, RoomView};
pub use limits::Limits;
pub use listener::{LEVEL_EXTENSION, Listener};
pub use name::{MAX_NICK, MAX_ROOM, Nick, RoomName};
pub use notice::{Notice, VoiceKeys};
pub use p2p::{P2pReader, P2pReply, P2pRequest};
pub use plain::{Arrival, PlainPeer, PlainTerms};
pub use seal::{KEY_BYTES, SUITE};
pub use wire::{FRAME_MARK, Message, Splitter, Unreadable, frame_header};
