//! The arguments of `vox-recv`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgGroup, Parser, ValueEnum};
use vox_announce::Way;
use vox_cli::SecretSource;
use vox_cli::value::{MaxAge, Millis, Seconds};
use vox_frame::Rate;
use vox_rtp::{Description, ExtensionMap, HeaderExtension, PayloadFormat, PayloadMap};
use vox_srtp::Suite;

/// Receives RTP over UDP or TCP: every source (SSRC) that it hears becomes a stream.
///
/// `:PORT` hears this host only; `0.0.0.0:PORT`, `[::]:PORT` or a multicast GROUP:PORT is asking for more.
#[derive(Debug, Parser)]
#[command(
    name = "vox-recv",
    version,
    after_help = "\
Examples:
  vox-recv :5004 | vox-jitter | vox-play                        from this host
  vox-recv 239.10.0.1:5004 | vox-jitter | vox-play              a multicast group
  vox-recv --sdp talk.sdp | vox-jitter | vox-record talk.wav    as a session description says
  vox-recv 0.0.0.0:5004 | vox-send a:5004 b:5004                a relay
  vox-recv --discover --timeout 15                              what is announced
  vox-recv --join \"morning show\" | vox-jitter | vox-play        … and one of them",
    group = ArgGroup::new("announced").args(["discover", "join"])
)]
pub(crate) struct Args {
    /// Where to listen: `:5004`, `0.0.0.0:5004`, `[::1]:5004`, `239.1.2.3:5004`; `tcp://0.0.0.0:5004` for RTP over TCP
    /// (RFC 4571), by as many connections as there may be sources.
    #[arg(value_name = "ADDR:PORT", value_parser = parse_address, required_unless_present_any = ["sdp", "discover", "join"])]
    pub(crate) address: Option<Address>,

    /// Connect to tcp://HOST:PORT, and hear what comes.
    #[arg(long, conflicts_with = "sdp")]
    pub(crate) connect: bool,

    /// Make a TCP connection that cannot be made or breaks anew, after 0.25 s, then 0.5 s, up to 8 s.
    #[arg(long, requires = "connect")]
    pub(crate) reconnect: bool,

    /// Speak another program's dialect at tcp://: `tcpstreamer` (mu-law, its own framing and greeting).
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["sdp", "srtp"])]
    pub(crate) compat: Option<Compat>,

    /// With --compat: the rate that clients are told to send, 5000 to 44100 Hz; a server tells its own.
    #[arg(long, value_name = "HZ", default_value = "8000", value_parser = parse_rate, requires = "compat")]
    pub(crate) rate: Rate,

    /// Take address, payload types and source from a session description.
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    pub(crate) sdp: Option<PathBuf>,

    /// List the sessions that are announced, as they come (+), change (~) and go (-), and receive none of them.
    #[arg(long, conflicts_with_all = ["address", "sdp"])]
    pub(crate) discover: bool,

    /// Wait until a session of that name is announced, and receive it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["address", "sdp", "discover"])]
    pub(crate) join: Option<String>,

    /// Heed announcements by `sap` (RFC 2974) or `mdns` (DNS-SD, `_rtp._udp`) only.
    #[arg(long, value_name = "WAY", requires = "announced")]
    via: Option<Way>,

    /// With --discover: list for so long [default: until a signal]. With --join: look for the session no longer.
    #[arg(long, value_name = "SECONDS", requires = "announced")]
    pub(crate) timeout: Option<Seconds>,

    /// With --discover: a JSON line for each change, with the whole session description.
    #[arg(long, requires = "discover")]
    pub(crate) json: bool,

    /// Heed announcements by SAP of that host only: anybody may announce anything.
    #[arg(long, value_name = "ADDR", requires = "announced")]
    pub(crate) announcer: Option<IpAddr>,

    /// Hear SAP on one more group.
    #[arg(long, value_name = "GROUP", value_parser = parse_group, requires = "announced")]
    pub(crate) sap_group: Option<IpAddr>,

    /// What a payload type means, such as `97=opus/48000/2` or `0=opus/8000`; may be given several times.
    /// Known without: 0 PCMU, 8 PCMA, 10 and 11 L16, 96 Opus, 63 red (RFC 2198), 127 ulpfec (RFC 5109),
    /// 62 rtx (RFC 4588).
    #[arg(long, value_name = "PT=FORMAT", value_parser = parse_map)]
    map: Vec<(u8, PayloadFormat)>,

    /// What the id of a header extension means: `1=audio-level`, `2=capture-time`; may be given several times.
    #[arg(long, value_name = "ID=NAME", value_parser = ExtensionMap::parse_assignment)]
    extmap: Vec<(u8, HeaderExtension)>,

    /// Hear SRTP only, made with the key in FILE or in the environment variable NAME: base64 or hexadecimal, master key
    /// and salt together, or an `a=crypto` line. A session description may bring its own.
    #[arg(long, value_name = "FILE|env:NAME")]
    pub(crate) srtp: Option<SecretSource>,

    /// What the key is for: AES_CM_128_HMAC_SHA1_80 or _32, AEAD_AES_128_GCM, AEAD_AES_256_GCM.
    #[arg(long, value_name = "SUITE", default_value_t, requires = "srtp")]
    pub(crate) srtp_suite: Suite,

    /// Ask for packets that are missing (RFC 4585), where they can come again within that time: the delay that the jitter
    /// buffer behind this stage has. `vox-send --resend` and `--rtx` answer. A session description that wants to be asked
    /// (`a=rtcp-fb:* nack`) is, with 200 ms.
    #[arg(long, value_name = "TIME", conflicts_with = "no_rtcp")]
    pub(crate) nack: Option<Millis>,

    /// The interface to hear a group on, by name or IPv4 address.
    #[arg(long, value_name = "NAME|ADDR")]
    pub(crate) interface: Option<String>,

    /// The only sender of a group (source-specific multicast).
    #[arg(long, value_name = "ADDR")]
    source: Option<IpAddr>,

    /// The most sources that are heard at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = parse_sources)]
    pub(crate) max_sources: usize,

    /// Let a source move to another address when its own has fallen silent for 0.5 s: a NAT may have changed its mind.
    /// Otherwise an SSRC belongs to the address that it was first heard from.
    #[arg(long)]
    pub(crate) follow: bool,

    /// Hear only the first address that sends a valid stream.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) latch: bool,

    /// RTCP comes to the port of RTP (RFC 5761), not to the next one.
    #[arg(long)]
    rtcp_mux: bool,

    /// Send reports to that address. Otherwise they go to the group, or back to where a source's own reports come from.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) rtcp_to: Option<SocketAddr>,

    /// The mean time between reports, at least.
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    pub(crate) rtcp_interval: Seconds,

    /// The bandwidth of the session in bits a second: reports take at most 5 % of it.
    #[arg(long, value_name = "BITS", default_value_t = 64_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub(crate) bandwidth: u32,

    /// Neither hear nor send reports.
    #[arg(long, conflicts_with_all = ["rtcp_mux", "rtcp_to"])]
    pub(crate) no_rtcp: bool,

    /// End after so long without a packet: 0 where audio was heard before, else 5 [default: never].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle_timeout: Option<Seconds>,

    /// With --idle-timeout: how long the first packet may take [default: as long].
    #[arg(long, value_name = "SECONDS", requires = "idle_timeout")]
    pub(crate) wait: Option<Seconds>,

    /// End after so long.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) duration: Option<Seconds>,

    /// The oldest that a packet may be when it is written; an older one becomes a gap. `off` keeps everything.
    #[arg(long, value_name = "TIME", default_value_t = MaxAge::DEFAULT)]
    pub(crate) max_age: MaxAge,

    /// Write counters as JSON lines to FILE (`-` is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
}

/// Where packets come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Udp(SocketAddr),
    /// HOST:PORT of a TCP listener.
    Tcp(String),
}

/// Another program whose dialect is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compat {
    /// The TCP Audio Streamer and Player.
    Tcpstreamer,
}

impl Args {
    /// When there was no packet for too long, in ns of the clock of `began`; never where nobody said how long.
    pub(crate) fn idle_at(&self, began: i64, last_heard: Option<i64>) -> Option<i64> {
        let idle = self.idle_timeout?;
        Some(match last_heard {
            Some(heard) => heard.saturating_add(idle.ns()),
            None => began.saturating_add(self.wait.unwrap_or(idle).ns()),
        })
    }

    /// How announcements are heard.
    pub(crate) fn ways(&self) -> Vec<Way> {
        match (self.via, self.announcer) {
            (Some(way), _) => vec![way],
            // Whose announcement it is cannot be told by mDNS.
            (None, Some(_)) => vec![Way::Sap],
            (None, None) => vec![Way::Sap, Way::Mdns],
        }
    }

    /// What was said on the command line, on top of what the session is known by.
    pub(crate) fn add_to(&self, session: &mut Description) {
        for (number, format) in &self.map {
            session.map.insert(*number, format.clone());
        }
        for (id, extension) in &self.extmap {
            session.extensions.insert(*id, *extension);
        }
        session.rtcp_mux |= self.rtcp_mux;
        session.source = self.source.or(session.source);
    }

    /// Whether the command line names the only sender.
    pub(crate) const fn names_source(&self) -> bool {
        self.source.is_some()
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    let wrong = || format!("{text:?} is not ADDR:PORT, such as :5004, 0.0.0.0:5004 or tcp://0.0.0.0:5004");
    if let Some(target) = text.strip_prefix("tcp://") {
        let port = target.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        return port.map(|_| Address::Tcp(target.to_owned())).ok_or_else(wrong);
    }
    let address = match text.strip_prefix(':') {
        Some(port) => port.parse().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(|_| wrong()),
        None => text.parse().map_err(|_| wrong()),
    };
    address.map(Address::Udp)
}

fn parse_group(text: &str) -> Result<IpAddr, String> {
    let group = text.parse().ok().filter(IpAddr::is_multicast);
    group.ok_or_else(|| "a multicast group, such as 239.255.255.255".to_owned())
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let rate = text.parse().ok().filter(|hz| (5_000..=44_100).contains(hz)).and_then(Rate::new);
    rate.ok_or_else(|| "a rate from 5000 to 44100".to_owned())
}

fn parse_map(text: &str) -> Result<(u8, PayloadFormat), String> {
    PayloadMap::parse_assignment(text).map_err(|error| error.to_string())
}

fn parse_sources(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(sources @ 1..=1024) => Ok(sources),
        _ => Err("a number from 1 to 1024".to_owned()),
    }
}
