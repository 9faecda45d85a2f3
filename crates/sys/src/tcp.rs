//! TCP sockets for live audio: they never block, send at once, and keep little in the kernel.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// What the kernel may hold for each direction of a connection, in bytes (it takes twice that for its own use). What
/// lies there is delay: at 64 kbit/s this is two seconds, where the usual 2.5 MB would be five minutes.
const BUFFER: usize = 16 * 1024;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A peer that vanished without a word is noticed after about 15 + 3 * 5 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// A socket that waits for connections.
///
/// # Errors
/// As the system says.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // The buffer of a connection is that of the listener when the window is agreed on.
    socket.set_recv_buffer_size(BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The next connection that waits; none where there is no more.
///
/// # Errors
/// As the system says; a connection that broke before it was accepted is none.
pub fn accept(listener: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    match listener.accept() {
        Ok((stream, from)) => {
            prepare(&stream)?;
            Ok(Some((stream, from)))
        }
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

/// Begins to connect: the socket can be written when it is done, see [`is_connected`].
///
/// # Errors
/// As the system says, where it fails at once.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = socket.into();
    prepare(&stream)?;
    Ok(stream)
}

/// Whether a connection that was begun stands by now.
///
/// # Errors
/// Why it does not and never will.
pub fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads what is there: none where nothing is, 0 at the end.
///
/// # Errors
/// As the system says.
pub fn read(mut stream: &TcpStream, space: &mut [u8]) -> io::Result<Option<usize>> {
    not_yet(stream.read(space))
}

/// Writes what fits: none where nothing does.
///
/// # Errors
/// As the system says.
pub fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<Option<usize>> {
    not_yet(stream.write(bytes))
}

fn not_yet(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(BUFFER)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_carries_bytes_both_ways_and_ends() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let client = connect(listener.local_addr().unwrap()).unwrap();
        while !is_connected(&client).unwrap() {}
        let (server, from) = loop {
            if let Some(accepted) = accept(&listener).unwrap() {
                break accepted;
            }
        };
        assert_eq!(from, client.local_addr().unwrap());
        let mut space = [0; 16];
        assert_eq!(read(&server, &mut space).unwrap(), None);
        assert_eq!(write(&client, b"abc").unwrap(), Some(3));
        let read = |stream: &TcpStream, space: &mut [u8]| loop {
            if let Some(bytes) = read(stream, space).unwrap() {
                break bytes;
            }
        };
        assert_eq!(read(&server, &mut space), 3);
        drop(client);
        assert_eq!(read(&server, &mut space), 0);
    }

    #[test]
    fn a_refused_connection_says_so() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = connect(address).and_then(|stream| {
            loop {
                if is_connected(&stream)? {
                    break Ok(());
                }
            }
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_peer_that_does_not_read_holds_little() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = connect(listener.local_addr().unwrap()).unwrap();
        while !is_connected(&client).unwrap() {}
        let mut held = 0;
        while let Some(bytes) = write(&client, &[0; 1000]).unwrap() {
            held += bytes;
        }
        assert!(held < 400_000, "{held}");
    }
}
