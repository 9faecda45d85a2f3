//! The arguments of `vox-gateway`.

use std::net::SocketAddr;

use clap::{Args as Group, Parser, Subcommand};
use vox_cli::value::RateHz;
use vox_room::RoomName;

/// Lets clients of other programs into the rooms of a `vox-roomd`, each as a participant of its own: they hear one mix
/// of everybody but themselves, and everybody hears them.
///
///     vox-roomd & vox-gateway tcpstreamer localhost:10000/lobby
///     vox-gateway p2p --listen 0.0.0.0:12345 localhost:10000
#[derive(Debug, Parser)]
#[command(name = "vox-gateway", version, verbatim_doc_comment, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) dialect: DialectArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DialectArgs {
    /// The TCP Audio Streamer and Player: mu-law over TCP; all clients are in one room.
    Tcpstreamer(Streaming),
    /// The Peer-to-Peer Communication App: JSON over TCP, with rooms and names.
    P2p(PeerToPeer),
}

#[derive(Debug, Group)]
pub(crate) struct Streaming {
    /// The room: `HOST:PORT/ROOM`.
    #[arg(value_name = "HOST:PORT/ROOM", default_value = "localhost:10000/lobby", value_parser = parse_room)]
    pub(crate) room: (String, RoomName),

    /// Where clients connect to.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5100")]
    pub(crate) listen: SocketAddr,

    /// The rate that clients are told: theirs are 5000, 8000, 22050 and 44100 Hz.
    #[arg(long, value_name = "HZ", default_value = "8000")]
    pub(crate) rate: RateHz,

    /// What the clients are called in the room; a number follows.
    #[arg(long, value_name = "NAME", default_value = "streamer")]
    pub(crate) name: String,

    /// The most clients at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_clients: u16,
}

#[derive(Debug, Group)]
pub(crate) struct PeerToPeer {
    /// The server of the rooms.
    #[arg(value_name = "HOST:PORT", default_value = "localhost:10000")]
    pub(crate) server: String,

    /// Where clients connect to.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:12345")]
    pub(crate) listen: SocketAddr,

    /// The rate that clients are told: theirs is 5000 Hz, 22050 or 44100 for more.
    #[arg(long, value_name = "HZ", default_value = "5000")]
    pub(crate) rate: RateHz,

    /// The most clients at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_clients: u16,
}

fn parse_room(text: &str) -> Result<(String, RoomName), String> {
    let parts = text.split_once('/').and_then(|(server, room)| Some((server.to_owned(), RoomName::parse(room)?)));
    parts.ok_or_else(|| "not HOST:PORT/ROOM, such as localhost:10000/lobby".to_owned())
}
