//! The arguments of `vox-ws`.

use core::str::FromStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use vox_cli::value::{MaxAge, Millis, Seconds};

/// Speaks the media-stream protocol of voice bots over WebSocket: what comes on stdin goes out, what is heard comes out
/// of stdout, mono mu-law at 8000 Hz both ways.
///
/// With --listen it is the bot, which telephone networks connect to: each call is a stream of its own, a stream of stdin
/// that has the id of a call goes to that call alone, any other to all. With a URL it is the telephone: it calls a bot,
/// plays what it is told in its time, and answers marks.
#[derive(Debug, Parser)]
#[command(
    name = "vox-ws",
    version,
    after_help = "\
Examples:
  mkfifo back
  vox-ws --listen 127.0.0.1:8080 <back | vox-jitter >back         an echo: everybody hears himself
  vox-capture talk.wav | vox-decode --rate 8000 --channels 1 | vox-encode pcmu | vox-ws ws://127.0.0.1:8080/ >heard.vox
  vox-ws wss://bot.example/media </dev/null | vox-jitter | vox-play"
)]
pub(crate) struct Args {
    /// The bot to call: `ws://HOST[:PORT]/PATH`, or `wss://` for TLS.
    #[arg(value_name = "URL", required_unless_present = "listen", conflicts_with = "listen")]
    pub(crate) url: Option<Url>,

    /// Be the bot: wait for calls at that address; `:8080` is loopback. Beyond it put a server before that speaks TLS.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(crate) listen: Option<SocketAddr>,

    /// With --listen: the only path that is answered, such as `/media`; a long one that nobody can guess keeps strangers
    /// out.
    #[arg(long, value_name = "PATH", requires = "listen", value_parser = parse_path)]
    pub(crate) path: Option<String>,

    /// With --listen: let web pages from there connect, such as `https://app.example`; others are refused.
    #[arg(long, value_name = "ORIGIN", requires = "listen")]
    pub(crate) origin: Vec<String>,

    /// With --listen: the most calls at a time.
    #[arg(long, value_name = "N", requires = "listen", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_calls: u16,

    /// With --listen: end when the first call has ended.
    #[arg(long, requires = "listen")]
    pub(crate) once: bool,

    /// With a URL: a text that the bot is told of the call (`name=Ana`), any number of them.
    #[arg(long, value_name = "NAME=TEXT", value_parser = parse_parameter, requires = "url")]
    pub(crate) parameter: Vec<(String, String)>,

    /// With wss://: trust the certificates of this PEM file instead of the system's.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) ca: Option<PathBuf>,

    /// With a URL: how long what begins after a silence is held back, so that what follows may come late.
    #[arg(long, value_name = "TIME", default_value = "60ms", requires = "url")]
    pub(crate) delay: Millis,

    /// With a URL: how long after the end of stdin, and after the last that was heard, to hang up.
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "url")]
    pub(crate) linger: Seconds,

    /// The oldest that a record of a live stream, or what waits for a slow peer, may be; older ones are left out. `off`
    /// sends everything.
    #[arg(long, value_name = "TIME", default_value_t = MaxAge::DEFAULT)]
    pub(crate) max_age: MaxAge,

    /// Write counters as JSON lines to FILE: a line a call and a summary as the last (`-` is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Where a bot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) text: String,
    pub(crate) is_encrypted: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not ws://HOST[:PORT]/PATH or wss://HOST[:PORT]/PATH".to_owned();
        let (is_encrypted, rest) = match (text.strip_prefix("ws://"), text.strip_prefix("wss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return Err(wrong());
        }
        let default = if is_encrypted { 443 } else { 80 };
        let after_brackets = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
        let (host, port) = match after_brackets.rsplit_once(':') {
            Some((_, port)) => {
                let host = &authority[..authority.len() - port.len() - 1];
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            None => (authority, default),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        let slash = if path.is_empty() { "/" } else { "" };
        Ok(Self { text: format!("{text}{slash}"), is_encrypted, host, port })
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| "not ADDR:PORT, such as 127.0.0.1:8080 or :8080".to_owned())
}

fn parse_path(text: &str) -> Result<String, String> {
    let good = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| text.to_owned()).ok_or_else(|| "a path, such as /media".to_owned())
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    parts.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "not NAME=TEXT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bot_is_a_host_a_port_and_a_path() {
        for (text, encrypted, host, port) in [
            ("ws://localhost:8080/media", false, "localhost", 8080),
            ("ws://127.0.0.1", false, "127.0.0.1", 80),
            ("wss://bot.example/a?b=c", true, "bot.example", 443),
            ("wss://[::1]:9/", true, "::1", 9),
            ("ws://[::1]/", false, "::1", 80),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.is_encrypted, url.host.as_str(), url.port), (encrypted, host, port), "{text}");
            assert!(url.text.starts_with(text) && url.text.matches('/').count() >= 3);
        }
        for text in ["http://x/", "ws:///x", "ws://", "ws://a:b/", "ws://a:0/", "ws://me:secret@host/", "ws://a b/"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bot_listens_on_loopback_unless_asked() {
        assert_eq!(parse_listen(":8080").unwrap(), "127.0.0.1:8080".parse().unwrap());
        assert!(parse_listen("0.0.0.0:1").is_ok() && parse_listen("8080").is_err());
    }
}
