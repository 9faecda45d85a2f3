//! The arguments of `vox-join`.

use core::str::FromStr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use vox_cli::SecretSource;
use vox_cli::value::{MaxAge, Seconds};
use vox_room::{MixWish, Nick, RoomName};

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 10_000;

/// Enters a room: stdin goes out, stdout carries what is said there, a stream for each speaker.
///
/// Where stdin is a terminal or ends before it begins (`</dev/null`), it only listens; where stdout is a terminal,
/// nothing is written. At the end of stdin it leaves where nobody reads its stdout, and stays where somebody does.
#[derive(Debug, Parser)]
#[command(
    name = "vox-join",
    version,
    after_help = "\
Examples:
  vox-capture talk.wav | vox-encode opus | vox-join localhost/lobby --name lecturer
  vox-join localhost/lobby --name tape </dev/null | vox-record takes/
  vox-capture | vox-encode opus | vox-join localhost/lobby --name ana | vox-jitter | vox-play"
)]
pub(crate) struct Args {
    /// Which room: `HOST/ROOM` or `HOST:PORT/ROOM` [default port: 10000, default room: lobby].
    #[arg(value_name = "HOST[:PORT]/ROOM")]
    pub(crate) room: RoomUrl,

    /// Under which name.
    #[arg(long, value_name = "NICKNAME", value_parser = parse_nick)]
    pub(crate) name: Nick,

    /// A name for people, spaces and all.
    #[arg(long, value_name = "TEXT", default_value = "vox-join")]
    pub(crate) real_name: String,

    /// Where the password of the room is.
    #[arg(long, value_name = "FILE|env:NAME")]
    pub(crate) password_file: Option<SecretSource>,

    /// Where the password of a registered nickname is.
    #[arg(long, value_name = "FILE|env:NAME")]
    pub(crate) nick_password: Option<SecretSource>,

    /// Encrypt the signalling (TLS), also on loopback. Beyond it that is so anyway.
    #[arg(long, conflicts_with = "plain")]
    pub(crate) tls: bool,

    /// Encrypt nothing, in a network that you trust.
    #[arg(long)]
    pub(crate) plain: bool,

    /// Servers and their keys: who is new is added, who has another key than before is refused
    /// [default: $XDG_CONFIG_HOME/voxpipe/known_hosts].
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Option<PathBuf>,

    /// How packets travel: `udp`, `tcp` within the signalling, or `auto`: UDP where it gets through.
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) carrier: Carrying,

    /// Read nothing from stdin.
    #[arg(long)]
    pub(crate) listen_only: bool,

    /// Write nothing to stdout.
    #[arg(long, conflicts_with = "listen_only")]
    pub(crate) send_only: bool,

    /// Hear everybody else as one stream that the server mixes, instead of a stream for each: `opus` (at 48 kHz), `pcmu`,
    /// `pcma`, `l16`, or a format such as `L16/16000`.
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "opus")]
    pub(crate) mix: Option<Mixing>,

    /// Begin muted; `/unmute` on --chat ends it.
    #[arg(long)]
    pub(crate) mute: bool,

    /// Come back when the connection is lost, under the same name, for that long; what was missed is a gap.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1h")]
    pub(crate) reconnect: Option<Seconds>,

    /// Leave at the end of stdin, even where stdout is being read.
    #[arg(long)]
    pub(crate) leave_at_end: bool,

    /// Lines of FILE (a FIFO, /dev/fd/N) are said to the room; `/LINE` is a line of the protocol, such as `/mute`.
    #[arg(long, value_name = "FILE")]
    pub(crate) chat: Option<PathBuf>,

    /// Tell what happens in the room (who comes, goes, talks, how loud, what is written) on descriptor FD: a JSON object
    /// a line, as in `vox-join … --events 3 3>events.jsonl`.
    #[arg(long, value_name = "FD")]
    pub(crate) events: Option<u16>,

    /// Call somebody through the server and talk to him alone: ends with 0 when the call is over, 10 where it is denied,
    /// 11 where he is busy, 12 where he does not answer.
    #[arg(long, value_name = "NICKNAME", value_parser = parse_nick)]
    pub(crate) call: Option<Nick>,

    /// What becomes of calls from others: `all` are taken, `none`, or `ask:COMMAND`, which is run with the caller's name
    /// and takes the call where it ends with 0.
    #[arg(long, value_name = "WHOM", default_value = "none")]
    pub(crate) accept: Accepting,

    /// Tell everybody that this participant records.
    #[arg(long)]
    pub(crate) recording: bool,

    /// The most bytes of payload in a packet; PCM is cut to it at a sample's boundary.
    #[arg(long, value_name = "BYTES", default_value_t = 1200, value_parser = parse_mtu)]
    pub(crate) mtu: usize,

    /// The oldest that a record of a live stream may be; older ones are left out. `off` sends everything.
    #[arg(long, value_name = "TIME", default_value_t = MaxAge::DEFAULT)]
    pub(crate) max_age: MaxAge,

    /// Write counters as JSON lines to FILE (`-` is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// How a mix is to be written, as a server is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mixing(pub(crate) String);

impl FromStr for Mixing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        MixWish::parse(&format!("mix={text}"))
            .map(|wish| Self(wish.to_string()))
            .ok_or_else(|| "opus, pcmu, pcma, l16, or a format such as L16/16000".to_owned())
    }
}

/// Whose calls are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Accepting {
    All,
    None,
    Ask(PathBuf),
}

impl FromStr for Accepting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("ask:")) {
            ("all", _) => Ok(Self::All),
            ("none", _) => Ok(Self::None),
            (_, Some(command)) if !command.is_empty() => Ok(Self::Ask(command.into())),
            _ => Err("all, none or ask:COMMAND".to_owned()),
        }
    }
}

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrying {
    /// UDP where it gets through, else within the signalling.
    Auto,
    /// UDP only.
    Udp,
    /// Within the signalling only.
    Tcp,
}

/// A room somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomUrl {
    /// `HOST:PORT`.
    pub(crate) server: String,
    pub(crate) room: RoomName,
}

impl FromStr for RoomUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("vox://").unwrap_or(text);
        let (server, room) = text.split_once('/').unwrap_or((text, "lobby"));
        let room = if room.is_empty() { "lobby" } else { room };
        let room = RoomName::parse(room).ok_or_else(|| format!("{room:?} is no name of a room"))?;
        if server.is_empty() {
            return Err("no host, as in localhost/lobby".to_owned());
        }
        let after_brackets = server.rsplit_once(']').map_or(server, |(_, after)| after);
        let has_port = after_brackets.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let server = if has_port { server.to_owned() } else { format!("{server}:{DEFAULT_PORT}") };
        Ok(Self { server, room })
    }
}

fn parse_nick(text: &str) -> Result<Nick, String> {
    Nick::parse(text).ok_or_else(|| "1 to 32 bytes, without spaces, quotes, colons or commas".to_owned())
}

fn parse_mtu(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 16..=60_000) => Ok(bytes),
        _ => Err("a number of bytes from 16 to 60000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_a_host_and_a_name() {
        for (text, server, room) in [
            ("localhost/lobby", "localhost:10000", "#lobby"),
            ("vox://host:7/#Talk", "host:7", "#talk"),
            ("[::1]/x", "[::1]:10000", "#x"),
            ("[::1]:9/x", "[::1]:9", "#x"),
            ("host", "host:10000", "#lobby"),
        ] {
            let url: RoomUrl = text.parse().unwrap();
            assert_eq!((url.server.as_str(), url.room.as_str()), (server, room));
        }
        assert!("".parse::<RoomUrl>().is_err());
        assert!("host/a b".parse::<RoomUrl>().is_err());
    }
}
