//! The arguments of `vox-roomd`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use vox_cli::value::{Millis, RateHz, Seconds};
use vox_room::{Config, Limits, Records, RoomName};

use crate::ctl::Ctl;

/// A server of rooms: people enter, talk and hear each other.
///
/// Signalling is lines over TCP (docs/room-protocol.md; `nc localhost 10000` and HELP), voice is RTP over UDP on the
/// next port, or within the TCP connection. Each participant gets every speaker as a stream of its own, untouched.
#[derive(Debug, Parser)]
#[command(
    name = "vox-roomd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  vox-roomd                                                               for this host
  vox-roomd --listen 0.0.0.0:10000 --state rooms.db --record takes/       for others, encrypted
  vox-roomd ctl top                                                       who talks, and how loud"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where to listen: the TCP port of the signalling; UDP is the next port. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:10000")]
    pub(crate) listen: SocketAddr,

    /// Where clients are told to send voice to, where another address than the server's own leads to its UDP port: that
    /// of a NAT or a relay before it.
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "no_udp")]
    pub(crate) voice_address: Option<SocketAddr>,

    /// What the server calls itself.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    host: String,

    /// The room that everybody enters first.
    #[arg(long, value_name = "#ROOM", default_value = "#lobby", value_parser = parse_room)]
    lobby: RoomName,

    /// No rooms but the lobby.
    #[arg(long)]
    no_create: bool,

    /// How often a client is asked whether it is there; it is dropped after a third more of silence.
    #[arg(long, value_name = "TIME", default_value = "150")]
    ping: Seconds,

    /// How long the seat of a lost connection is kept for who comes back.
    #[arg(long, value_name = "TIME", default_value = "15")]
    seat: Seconds,

    /// How long a new connection may take to say who it is.
    #[arg(long, value_name = "TIME", default_value = "15")]
    handshake: Seconds,

    /// How long a private call rings.
    #[arg(long, value_name = "TIME", default_value = "30")]
    ring: Seconds,

    /// Connections at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_connections: u32,

    /// Rooms at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_rooms: u32,

    /// Members of a room.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_members: u32,

    /// Connections from one address at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_per_address: u32,

    /// Keep registered nicknames, kept rooms and bans in FILE (SQLite), made where there is none.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,

    /// Anybody may register his nickname with a password (REGISTER). Else `vox-roomd ctl account` does.
    #[arg(long, requires = "state")]
    registration: bool,

    /// Only registered nicknames come in.
    #[arg(long, requires = "state")]
    members_only: bool,

    /// The Unix socket for `vox-roomd ctl`; by default in $XDG_RUNTIME_DIR or the temporary folder, named by the port.
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// Serve /metrics (Prometheus) and /health by HTTP there.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<SocketAddr>,

    /// Clients of the TCP Audio Streamer and Player connect there and are in ROOM. Nothing that they say is encrypted.
    #[arg(long, value_name = "ADDR:PORT=ROOM", value_parser = parse_door)]
    pub(crate) tcpstreamer: Vec<(SocketAddr, RoomName)>,

    /// The rate that they are told: theirs are 5000, 8000, 22050 and 44100 Hz.
    #[arg(long, value_name = "HZ", default_value = "8000")]
    pub(crate) tcpstreamer_rate: RateHz,

    /// Clients of the Peer-to-Peer Communication App connect there. Nothing that they say is encrypted.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) p2p: Vec<SocketAddr>,

    /// The rate that they are told: theirs is 5000 Hz, 22050 or 44100 for more.
    #[arg(long, value_name = "HZ", default_value = "5000")]
    pub(crate) p2p_rate: RateHz,

    /// The server's certificate (PEM), for TLS.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,

    /// The key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,

    /// Where the certificate is kept that is made where none is given [default: beside --state, or
    /// $XDG_STATE_HOME/vox-roomd].
    #[arg(long, value_name = "FOLDER", conflicts_with = "certificate")]
    pub(crate) tls_folder: Option<PathBuf>,

    /// Also take clients from elsewhere that encrypt nothing.
    #[arg(long)]
    pub(crate) allow_plain: bool,

    /// Let pages of that web site enter rooms by WebSocket, such as https://talk.example.org; `*` is any. What is no
    /// browser needs none of this.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,

    /// Let only the loudest NUMBER streams of a room be heard at a time, by the levels that packets tell: for large
    /// rooms. Nothing is decoded for it.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    loudest: Option<u16>,

    /// Record rooms into folders of DIR, one a room: each participant and the mix, all on one time line, as
    /// recording_2026-11-21_10-01-15.wav (UTC) and recording_…_NAME.wav. Everybody is told, and a room can forbid it
    /// (RECORD #room: forbid, `vox-roomd ctl forbid`).
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,

    /// When: `always` while somebody has his voice in a room, or where it is `asked` for by RECORD #room: on.
    #[arg(long, value_name = "always|asked", default_value = "always", requires = "record")]
    record_when: When,

    /// Threads that mix, for those who get one stream of everybody else (`vox-join --mix`); 0 mixes for nobody.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(crate) mixers: u16,

    /// How far behind the fastest packets voices are mixed: what comes later is missing in the mix.
    #[arg(long, value_name = "TIME", default_value = "80ms", value_parser = parse_delay)]
    mix_delay: Millis,

    /// Participants who get a mix at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_mixes: u32,

    /// Voice within the TCP connection only.
    #[arg(long)]
    pub(crate) no_udp: bool,

    /// Do not ask to be run before other programs. Where the system allows it, the loop that carries voice does once packets
    /// had to wait for it, as long as it uses less than three quarters of a processor.
    #[arg(long)]
    pub(crate) no_realtime: bool,

    /// Tell every line that comes and goes on stderr, as `I/VERB : address port : line`.
    #[arg(long, short = 'l')]
    pub(crate) log_protocol: bool,

    /// Write counters as JSON lines to FILE (`-` is stderr), every 10 s and at the end.
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
}

/// When a room is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Always,
    Asked,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look into a running server and put it in order.
    Ctl(Ctl),
}

impl Args {
    /// How far behind the fastest packets is mixed.
    pub(crate) const fn mix_delay(&self) -> Millis {
        self.mix_delay
    }

    /// How it mixes.
    pub(crate) fn bridge(&self) -> vox_bridge::Config {
        let most = self.max_mixes as usize;
        let streams = self.max_members as usize * Limits::default().streams_each;
        vox_bridge::Config {
            delay_ns: self.mix_delay.ns(),
            max_listeners: most,
            max_streams: streams,
            ..vox_bridge::Config::default()
        }
    }

    /// What the server calls itself.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn config(&self) -> Config {
        let ping_ns = self.ping.ns();
        let limits = Limits {
            connections: self.max_connections as usize,
            rooms: self.max_rooms as usize,
            members: self.max_members as usize,
            ping_ns,
            silence_ns: ping_ns + ping_ns / 3,
            seat_ns: self.seat.ns(),
            ring_ns: self.ring.ns(),
            mixes: self.max_mixes as usize,
            handshake_ns: self.handshake.ns(),
            ..Limits::default()
        };
        Config {
            lobby: self.lobby.clone(),
            host: self.host.clone(),
            limits,
            may_create: !self.no_create,
            loudest: self.loudest.map(usize::from),
            keeps: self.state.is_some(),
            may_register: self.registration,
            members_only: self.members_only,
            mixes: self.mixers > 0,
            records: match (&self.record, self.record_when) {
                (None, _) => Records::Never,
                (Some(_), When::Asked) => Records::Asked,
                (Some(_), When::Always) => Records::Always,
            },
        }
    }
}

fn parse_delay(text: &str) -> Result<Millis, String> {
    let delay: Millis = text.parse()?;
    let sane = 40_000_000..=2_000_000_000;
    if sane.contains(&delay.ns()) { Ok(delay) } else { Err("a time from 40ms to 2s".to_owned()) }
}

fn parse_room(text: &str) -> Result<RoomName, String> {
    RoomName::parse(text).ok_or_else(|| "a room's name, such as #lobby".to_owned())
}

fn parse_door(text: &str) -> Result<(SocketAddr, RoomName), String> {
    let door = text.split_once('=').and_then(|(address, room)| Some((address.parse().ok()?, RoomName::parse(room)?)));
    door.ok_or_else(|| "ADDR:PORT=ROOM, such as 127.0.0.1:5100=lobby".to_owned())
}
