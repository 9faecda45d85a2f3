//! Sessions announced to whoever listens, and heard of: by SAP (RFC 2974) and by DNS-SD over mDNS (RFC 6763, RFC 6762).
//!
//! A [`Herald`] announces one session until it is dropped, and withdraws it then. A [`Watch`] hears of others. The
//! formats and the list itself are in `vox-rtp`; here are sockets, threads and the library for mDNS.

mod dnssd;
mod herald;
mod watch;

pub use herald::{Herald, HeraldOptions};
pub use watch::{Watch, WatchOptions};

use core::fmt;

use clap::ValueEnum;

/// How sessions are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Session announcement protocol: what ffmpeg, VLC, PulseAudio and AES67 devices speak.
    Sap,
    /// DNS service discovery over multicast DNS (Avahi, Bonjour), as `_rtp._udp`.
    Mdns,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sap => "sap",
            Self::Mdns => "mdns",
        })
    }
}
