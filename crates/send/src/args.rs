//! The arguments of `vox-send`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use vox_announce::Way;
use vox_cli::value::{MaxAge, Millis, Seconds};
use vox_cli::{MuteArgs, SecretSource};
use vox_repair::{PARITY_TYPE, ParityShape, Protection, RED_TYPE};
use vox_rtp::{ExtensionMap, Framing, HeaderExtension, PayloadFormat, PayloadMap};
use vox_srtp::Suite;
use vox_sys::net::SendOptions;

use crate::tcp::Carriage;

/// Another program whose dialect is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compat {
    /// The TCP Audio Streamer and Player.
    Tcpstreamer,
}

/// Sends the streams of a pipe as RTP over UDP or TCP, to one destination or several.
///
/// Live streams go out as they come; others are paced in real time. Streams that came from RTP keep SSRC, sequence
/// numbers, timestamps and markers.
#[derive(Debug, Parser)]
#[command(
    name = "vox-send",
    version,
    after_help = "\
Examples:
  vox-capture talk.wav | vox-encode opus | vox-send host:5004 --sdp talk.sdp
  vox-capture | vox-encode opus | vox-send 239.10.0.1:5004                a multicast group
  vox-recv 0.0.0.0:5004 | vox-send a:5004 b:5004                          a relay
  vox-capture | vox-encode opus | vox-send --duplex host:5004 | vox-jitter | vox-play    a call
  vox-capture | vox-encode pcmu | vox-send tcp://0.0.0.0:5004 --listen    whoever connects"
)]
pub(crate) struct Args {
    /// Where to: `host:5004`, `[::1]:5004`, `239.1.2.3:5004`; `tcp://host:5004` for RTP over TCP (RFC 4571).
    #[arg(value_name = "HOST:PORT", required = true, value_parser = parse_destination)]
    pub(crate) destinations: Vec<String>,

    /// Write a session description of all streams to FILE, for players at the first destination.
    #[arg(long, value_name = "FILE")]
    pub(crate) sdp: Option<PathBuf>,

    /// Announce the session to whoever listens, until the end: `sap` (RFC 2974), `mdns` (DNS-SD), or `sap,mdns`. A key is
    /// never announced.
    #[arg(long, value_name = "WAY", value_delimiter = ',', requires = "name")]
    pub(crate) announce: Vec<Way>,

    /// The name of the session, in its announcements and in --sdp: up to 63 bytes.
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) name: Option<String>,

    /// The mean time between announcements by SAP.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_interval, requires = "announce")]
    pub(crate) announce_interval: Seconds,

    /// Announce by SAP to that group [default: by RFC 2974 that of the destination's scope, such as 239.255.255.255].
    #[arg(long, value_name = "GROUP", value_parser = parse_group, requires = "announce")]
    pub(crate) sap_group: Option<IpAddr>,

    /// Send SRTP, made with the key in FILE or in the environment variable NAME: base64 or hexadecimal, master key and
    /// salt together, or an `a=crypto` line. --sdp then writes the key too. A new key for each run, please.
    #[arg(long, value_name = "FILE|env:NAME", conflicts_with = "compat")]
    pub(crate) srtp: Option<SecretSource>,

    /// What the key is for: AES_CM_128_HMAC_SHA1_80 or _32, AEAD_AES_128_GCM, AEAD_AES_256_GCM.
    #[arg(long, value_name = "SUITE", default_value_t, requires = "srtp")]
    pub(crate) srtp_suite: Suite,

    /// The key of the other side, where it has one of its own, as telephones do (`a=crypto` in an answer): for its reports,
    /// and with --duplex for its audio. Otherwise both sides have the one key.
    #[arg(long, value_name = "FILE|env:NAME", requires = "srtp")]
    pub(crate) srtp_theirs: Option<SecretSource>,

    /// Repeat each packet in the N packets after it (RFC 2198, payload type 63): repairs N losses in a row.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16), conflicts_with = "compat")]
    red: Option<u8>,

    /// Send a parity packet (RFC 5109, payload type 127) for each N packets: repairs one loss among them. NxM takes
    /// packets that lie M apart: repairs M losses in a row. Packets are renumbered to make room.
    #[arg(long, value_name = "N[xM]", conflicts_with = "compat")]
    fec: Option<ParityShape>,

    /// Send packets again that a receiver asks for (RFC 4585), for half a second: `vox-recv --nack` asks.
    #[arg(long, conflicts_with = "no_rtcp")]
    resend: bool,

    /// As --resend, but in a stream beside the first (RFC 4588, payload types from 62 down), which --sdp describes.
    #[arg(long, conflicts_with = "no_rtcp")]
    rtx: bool,

    /// Wait for clients at the tcp:// addresses, and send to all of them.
    #[arg(long)]
    pub(crate) listen: bool,

    /// Make a TCP connection that cannot be made or breaks anew, after 0.25 s, then 0.5 s, up to 8 s.
    #[arg(long, conflicts_with = "listen")]
    pub(crate) reconnect: bool,

    /// Speak another program's dialect at the tcp:// addresses: `tcpstreamer` (mu-law, its own framing and greeting).
    #[arg(long, value_name = "PROGRAM", conflicts_with = "duplex")]
    pub(crate) compat: Option<Compat>,

    /// Payload type [default: 0, 8, 10, 11 where RFC 3551 has one, 96 for Opus, else 97].
    #[arg(long, value_name = "0..127", value_parser = clap::value_parser!(u8).range(0..=127))]
    pub(crate) payload_type: Option<u8>,

    /// What a payload type means to the other side, where that is not standard: `0=opus/8000`.
    #[arg(long, value_name = "PT=FORMAT", value_parser = parse_map)]
    pub(crate) map: Vec<(u8, PayloadFormat)>,

    /// Send a header extension under that id: `1=audio-level` (where records have one), `2=capture-time`.
    #[arg(long, value_name = "ID=NAME", value_parser = ExtensionMap::parse_assignment)]
    extmap: Vec<(u8, HeaderExtension)>,

    /// Synchronisation source of the first stream [default: random, or what the stream came with].
    #[arg(long, value_name = "NUMBER", value_parser = parse_ssrc)]
    pub(crate) ssrc: Option<u32>,

    /// Differentiated services code point: a number from 0 to 63, or `ef`.
    #[arg(long, value_name = "DSCP", value_parser = parse_dscp)]
    dscp: Option<u8>,

    /// Hops of multicast packets.
    #[arg(long, value_name = "HOPS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=255))]
    pub(crate) ttl: u32,

    /// The interface of multicast packets, by name or IPv4 address.
    #[arg(long, value_name = "NAME|ADDR")]
    pub(crate) interface: Option<String>,

    /// Keep multicast packets from this host's own listeners.
    #[arg(long)]
    pub(crate) no_loop: bool,

    /// Send from this address and port.
    #[arg(long, value_name = "ADDR:PORT")]
    local: Option<SocketAddr>,

    /// Hear what comes back on the same socket (symmetric RTP, RFC 4961), and write it to stdout as a vox stream.
    /// When stdin has ended, the other side is heard until it says nothing for --linger.
    #[arg(long)]
    pub(crate) duplex: bool,

    /// With --duplex: how long the other side may be silent after stdin has ended.
    #[arg(long, value_name = "SECONDS", default_value = "2", requires = "duplex")]
    pub(crate) linger: Seconds,

    /// With --duplex: send to the first address that sends a valid stream, and hear no other: the other side may be behind
    /// a NAT, and the address that was given another than its own.
    #[arg(long, requires = "duplex", conflicts_with = "follow")]
    pub(crate) latch: bool,

    /// With --duplex: follow the other side to another address when it has fallen silent at its own for 0.5 s: a NAT may
    /// have changed its mind.
    #[arg(long, requires = "duplex")]
    pub(crate) follow: bool,

    /// With --duplex: the most sources that are heard at a time.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "duplex", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_sources: u16,

    /// With --duplex: ask for packets that are missing (RFC 4585), where they can come again within that time: the delay
    /// that the jitter buffer behind this stage has.
    #[arg(long, value_name = "TIME", requires = "duplex", conflicts_with = "no_rtcp")]
    pub(crate) nack: Option<Millis>,

    /// With --duplex: what a payload type of the other side means; may be given several times.
    #[arg(long, value_name = "PT=FORMAT", value_parser = parse_map, requires = "duplex")]
    pub(crate) hear: Vec<(u8, PayloadFormat)>,

    /// RTCP goes to the port of RTP (RFC 5761), not to the next one.
    #[arg(long)]
    pub(crate) rtcp_mux: bool,

    /// The mean time between reports, at least.
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    pub(crate) rtcp_interval: Seconds,

    /// The bandwidth of the session in bits a second: reports take at most 5 % of it.
    #[arg(long, value_name = "BITS", default_value_t = 64_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub(crate) bandwidth: u32,

    /// Neither send nor hear reports.
    #[arg(long, conflicts_with_all = ["rtcp_mux", "report", "adapt"])]
    pub(crate) no_rtcp: bool,

    /// Show what the far end reports: loss, jitter, round trip.
    #[arg(long)]
    pub(crate) report: bool,

    /// Tell an encoder the loss that the far end reports: lines like `loss 7` into FIFO, for `vox-encode --control`.
    #[arg(long, value_name = "FIFO")]
    pub(crate) adapt: Option<PathBuf>,

    /// With --adapt: the least that is told where anything is lost, as encoders protect little for less.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, requires = "adapt", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) adapt_floor: u8,

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

    #[command(flatten)]
    pub(crate) voice: MuteArgs,
}

impl Args {
    pub(crate) fn protection(&self) -> Protection {
        Protection {
            red: self.red.map(|generations| (RED_TYPE, usize::from(generations))),
            parity: self.fec.map(|shape| (PARITY_TYPE, shape)),
        }
    }

    /// Whether packets are sent again that are asked for, and if so, whether in streams of their own.
    pub(crate) const fn resends(&self) -> Option<bool> {
        if self.rtx || self.resend { Some(self.rtx) } else { None }
    }

    pub(crate) fn carriage(&self) -> Carriage {
        let framing = if self.compat.is_some() { Framing::TcpStreamer } else { Framing::Rfc4571 };
        Carriage { framing, reconnect: self.reconnect, max_age: self.max_age.ns(), reports: !self.no_rtcp }
    }

    pub(crate) fn extensions(&self) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        for (id, extension) in &self.extmap {
            map.insert(*id, *extension);
        }
        map
    }

    pub(crate) fn options(&self) -> SendOptions {
        SendOptions {
            local: self.local,
            ttl: self.ttl,
            interface: self.interface.clone(),
            multicast_loop: !self.no_loop,
            dscp: self.dscp,
        }
    }
}

fn parse_destination(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("tcp://").unwrap_or(text);
    let port =
        address.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
    match port {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("not HOST:PORT, such as 192.168.1.2:5004".to_owned()),
    }
}

/// A name must fit a label of DNS (RFC 6763, section 4.1.1).
fn parse_name(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len()) && !text.chars().any(char::is_control) && !text.trim().is_empty();
    if fits { Ok(text.to_owned()) } else { Err("a name of 1 to 63 bytes, in one line".to_owned()) }
}

fn parse_interval(text: &str) -> Result<Seconds, String> {
    let interval: Seconds = text.parse()?;
    let limits = 1_000_000_000..=3_600_000_000_000;
    if limits.contains(&interval.ns()) { Ok(interval) } else { Err("from 1 s to 1 h".to_owned()) }
}

fn parse_group(text: &str) -> Result<IpAddr, String> {
    let group = text.parse().ok().filter(IpAddr::is_multicast);
    group.ok_or_else(|| "a multicast group, such as 239.255.255.255".to_owned())
}

fn parse_map(text: &str) -> Result<(u8, PayloadFormat), String> {
    PayloadMap::parse_assignment(text).map_err(|error| error.to_string())
}

fn parse_ssrc(text: &str) -> Result<u32, String> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
    parsed.map_err(|_| "a 32-bit number, such as 305419896 or 0x12345678".to_owned())
}

/// EF is 46 (RFC 3246).
fn parse_dscp(text: &str) -> Result<u8, String> {
    match text {
        "ef" | "EF" => Ok(46),
        number => {
            number.parse().ok().filter(|dscp| *dscp < 64).ok_or_else(|| "a number from 0 to 63, or ef".to_owned())
        }
    }
}

fn parse_mtu(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 16..=65_000) => Ok(bytes),
        _ => Err("a number of bytes from 16 to 65000".to_owned()),
    }
}
