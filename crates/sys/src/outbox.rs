//! Datagrams to many destinations, sent by one call.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::SockAddr;

/// Datagrams that wait to be sent together. It holds what it was made for and no more, and allocates nothing once it
/// was full for the first time.
pub struct Outbox {
    most: usize,
    /// All payloads, one behind the other.
    bytes: Vec<u8>,
    /// Whom each is for, and its length.
    items: Vec<(SockAddr, usize)>,
    parts: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers among its parts are set anew before each call from its own vectors, which nobody else has.
unsafe impl Send for Outbox {}

impl Outbox {
    /// Room for `most` datagrams.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            bytes: Vec::new(),
            items: Vec::with_capacity(most),
            parts: Vec::with_capacity(most),
            messages: Vec::with_capacity(most),
        }
    }

    /// Puts a datagram in. True where the next one does not fit: [`flush`](Self::flush) it now.
    #[must_use = "a full outbox has to be flushed"]
    pub fn push(&mut self, to: SocketAddr, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        self.items.push((to.into(), bytes.len()));
        self.items.len() >= self.most
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Sends what waits, in order; tells how many the system did not take: those are lost, as datagrams are.
    pub fn flush(&mut self, socket: &UdpSocket) -> u64 {
        self.point();
        let (mut from, mut lost) = (0, 0);
        while from < self.messages.len() {
            let rest = &mut self.messages[from..];
            // SAFETY: every pointer of every message points into `bytes` or `items`, which are not touched before this
            // function has cleared them, and is good for the length that stands beside it.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => from += sent,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    // The first of the rest is what could not be sent.
                    from += 1;
                    lost += 1;
                }
            }
        }
        self.messages.clear();
        self.parts.clear();
        self.items.clear();
        self.bytes.clear();
        lost
    }

    /// Makes the messages point at what waits.
    fn point(&mut self) {
        let mut rest = self.bytes.as_mut_slice();
        for (_, length) in &self.items {
            let (own, behind) = rest.split_at_mut(*length);
            self.parts.push(libc::iovec { iov_base: own.as_mut_ptr().cast(), iov_len: own.len() });
            rest = behind;
        }
        for ((name, _), part) in self.items.iter().zip(&mut self.parts) {
            // SAFETY: zeros are a valid mmsghdr.
            let mut message: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
            message.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
            message.msg_hdr.msg_namelen = name.len();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            self.messages.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{receive, receiver};

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = receiver(SocketAddr::from(([127, 0, 0, 1], 0)), None, None).expect("a socket");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    }

    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut buffer = [0; 64];
        let mut all = Vec::new();
        while let Some(datagram) = receive(socket, &mut buffer).expect("no error") {
            all.push(buffer[..datagram.length].to_vec());
        }
        all
    }

    #[test]
    fn each_gets_his_own_in_order() {
        let ((from, _), (one, to_one), (two, to_two)) = (socket(), socket(), socket());
        let mut outbox = Outbox::new(4);
        for round in 0..3u8 {
            assert!(!outbox.push(to_one, &[round, 1]));
            assert!(!outbox.push(to_two, &[]));
            assert!(!outbox.push(to_one, &[round, 2, 3]));
            assert!(outbox.push(to_two, &[round; 40]), "four are the most");
            assert_eq!(outbox.flush(&from), 0);
            assert!(outbox.is_empty());
            assert_eq!(received(&one), [vec![round, 1], vec![round, 2, 3]]);
            assert_eq!(received(&two), [vec![], vec![round; 40]]);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_keeps_nobody_else_from_getting_his() {
        let ((from, _), (one, to_one)) = (socket(), socket());
        // A socket of IPv4 has no way there.
        let nowhere = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9));
        let mut outbox = Outbox::new(8);
        for (to, bytes) in [(nowhere, b"a"), (to_one, b"b"), (nowhere, b"c"), (nowhere, b"d"), (to_one, b"e")] {
            assert!(!outbox.push(to, bytes));
        }
        assert_eq!(outbox.flush(&from), 3);
        assert_eq!(received(&one), [b"b".to_vec(), b"e".to_vec()]);
    }
}
