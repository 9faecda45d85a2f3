//! Calls a bot.

use std::time::Duration;

use tungstenite::handshake::HandshakeError;
use tungstenite::{Error, WebSocket, client};
use vox_cli::{Exit, Failure, stop_requested, wait_any};
use vox_sys::{monotonic_ns, net, tcp};

use crate::args::{Args, Url};
use crate::carrier::Carrier;
use crate::connection::config;

/// How long a connection may take to stand, in ns, and then its handshake.
const CONNECT_NS: i64 = 5_000_000_000;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How often it is looked whether a connection stands, in ns.
const LOOK_NS: i64 = 2_000_000;

/// A connection to the bot at `url`.
pub(crate) fn connect(url: &Url, args: &Args) -> Result<WebSocket<Carrier>, Failure> {
    let stream = reach(url)?;
    let failed = |error: &dyn std::fmt::Display| Failure::network(format_args!("no call to {}: {error}", url.text));
    // For the handshake alone it may block.
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(HANDSHAKE)))
        .and_then(|()| stream.set_write_timeout(Some(HANDSHAKE)))
        .map_err(|error| failed(&error))?;
    let carrier = if url.is_encrypted {
        Carrier::encrypted(stream, &url.host, args.ca.as_deref())?
    } else {
        Carrier::Plain(stream)
    };
    match client::client_with_config(url.text.as_str(), carrier, Some(config())) {
        Ok((socket, _)) => {
            socket.get_ref().tcp().set_nonblocking(true).map_err(|error| failed(&error))?;
            Ok(socket)
        }
        Err(HandshakeError::Interrupted(_)) => Err(failed(&"it does not answer")),
        Err(HandshakeError::Failure(Error::Http(response))) => {
            Err(failed(&format_args!("it answers {}", response.status())))
        }
        Err(HandshakeError::Failure(error)) => Err(failed(&error)),
    }
}

fn reach(url: &Url) -> Result<std::net::TcpStream, Failure> {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let address = net::resolve(&format!("{host}:{}", url.port))
        .map_err(|error| Failure::network(format_args!("cannot resolve {}: {error}", url.host)))?;
    let failed = |error: std::io::Error| Failure::network(format_args!("no call to {}: {error}", url.text));
    let stream = tcp::connect(address).map_err(failed)?;
    let until = monotonic_ns() + CONNECT_NS;
    while !tcp::is_connected(&stream).map_err(failed)? {
        let now = monotonic_ns();
        if stop_requested() {
            return Err(Failure::quiet(Exit::Done));
        }
        if now >= until {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        wait_any(&[], Some(now + LOOK_NS))?;
    }
    Ok(stream)
}
