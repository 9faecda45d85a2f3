//! The server's sockets, and what is said at the door.

use std::io::{Error, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use socket2::SockRef;
use vox_cli::note;
use vox_sys::net;

/// Connections that wait to be accepted. The system refuses more by letting them try again after a second and longer:
/// too long for all who come back at once after a restart. (It may have a lower limit of its own: 4096 as a rule.)
const BACKLOG: i32 = 4096;

/// Says why somebody is sent away at once.
pub(crate) fn refuse(mut stream: &TcpStream, why: &str) {
    // A fresh connection takes a line; who cannot be told is not waited for.
    let _untold = stream.set_nonblocking(true).and_then(|()| write!(stream, "NOTACCEPTED: {why}\r\n"));
}

/// As many descriptors as the system lets us have: each connection takes one.
pub(crate) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it stays as it was, fewer connections are taken, and that is said.
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The two sockets: UDP on the port after TCP's, as clients of the protocol expect it.
pub(crate) fn listen(address: SocketAddr, no_udp: bool) -> std::io::Result<(TcpListener, Option<UdpSocket>)> {
    let mut left = if address.port() == 0 { 32 } else { 1 };
    loop {
        left -= 1;
        let listener = TcpListener::bind(address)?;
        SockRef::from(&listener).listen(BACKLOG)?;
        if no_udp {
            return Ok((listener, None));
        }
        let Some(port) = listener.local_addr()?.port().checked_add(1) else { continue };
        match net::receiver(SocketAddr::new(address.ip(), port), None, None) {
            Ok(udp) => return Ok((listener, Some(udp))),
            Err(error) if left == 0 => {
                return Err(Error::new(error.kind(), format!("port {port} for voice (UDP): {error}")));
            }
            // Somebody has the port after the one that was free.
            Err(_) => {}
        }
    }
}

pub(crate) fn voice_of(port: u16) -> String {
    if port == 0 { ", voice within it".to_owned() } else { format!(", voice on port {port} (UDP)") }
}

/// `I/VERB : address port : line`.
pub(crate) fn log(direction: char, peer: SocketAddr, line: &str) {
    let end = line.find([':', ' ']).unwrap_or(line.len());
    // What opens a door is nobody's to read.
    let secret = ["JOIN", "CREATE", "LOCK", "CONNECT", "SESSION", "VOICE"]
        .iter()
        .any(|verb| line.get(..end).is_some_and(|own| own.eq_ignore_ascii_case(verb)));
    let line = if secret { line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ") } else { line.to_owned() };
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let verb: String = line.chars().take(end).collect();
    note(format_args!("{direction}/{verb:<12} : {} {} : {line}", peer.ip(), peer.port()));
}
