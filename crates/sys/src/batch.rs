//! Many datagrams in one call: for relays, where the calls cost more than the work between them.

use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::net::{Datagram, address, kernel_age};

/// The largest datagram there is, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// Words for the control part of a message: a time of arrival, and room to spare.
const CONTROL_WORDS: usize = 16;

/// The most packets of a train (the kernel's own limit is 64, in 65,535 bytes).
pub const MAX_TRAIN: usize = 32;

/// The most bytes of a train.
pub const MAX_TRAIN_BYTES: usize = 60_000;

/// Room for several datagrams. Memory is used as far as datagrams fill it.
pub struct Batch {
    buffers: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    messages: Vec<libc::mmsghdr>,
    parts: Vec<libc::iovec>,
    count: usize,
    next: usize,
    /// So many messages from the first on have to be set anew before a call.
    stale: usize,
}

// SAFETY: the pointers among its parts point into its own vectors, which nobody else has and which never grow.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for `most` datagrams of any size.
    pub fn new(most: usize) -> Self {
        // SAFETY: zeros are a valid value of each of these plain structures.
        let (name, message, part) = unsafe {
            (
                MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init(),
                MaybeUninit::<libc::mmsghdr>::zeroed().assume_init(),
                MaybeUninit::<libc::iovec>::zeroed().assume_init(),
            )
        };
        Self {
            buffers: vec![0; most * MAX_DATAGRAM],
            names: vec![name; most],
            controls: vec![[0; CONTROL_WORDS]; most],
            messages: vec![message; most],
            parts: vec![part; most],
            count: 0,
            next: 0,
            stale: most,
        }
    }

    /// Receives what is there, as far as there is room; what was not taken of the last time is lost.
    ///
    /// # Errors
    /// As the system says.
    pub fn fill(&mut self, socket: &UdpSocket) -> io::Result<()> {
        (self.count, self.next) = (0, 0);
        // Those that were not used the last time are as they were: a call that finds one datagram touches little.
        for (index, buffer) in self.buffers.chunks_exact_mut(MAX_DATAGRAM).enumerate().take(self.stale) {
            self.parts[index] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut self.messages[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.parts[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].as_mut_ptr().cast();
            header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
        }
        let (list, length) = (self.messages.as_mut_ptr(), self.messages.len() as libc::c_uint);
        // SAFETY: every pointer of every message is good for the length that stands beside it, for the whole call.
        let received =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), list, length, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        match usize::try_from(received) {
            // One more than were received may have been begun.
            Ok(received) => (self.count, self.stale) = (received, received + 1),
            Err(_) => {
                self.stale = 1;
                let error = io::Error::last_os_error();
                let nothing = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::ConnectionRefused];
                if !nothing.contains(&error.kind()) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether everything received was taken.
    pub const fn is_empty(&self) -> bool {
        self.next >= self.count
    }

    /// The next datagram received, with where it came from and how old it is by now.
    pub fn pop(&mut self) -> Option<(Datagram, &mut [u8])> {
        if self.next >= self.count {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let message = &self.messages[index];
        let length = message.msg_len as usize;
        let from = address(&self.names[index]);
        let datagram = Datagram { length, from, age: kernel_age(&message.msg_hdr) };
        let start = index * MAX_DATAGRAM;
        Some((datagram, &mut self.buffers[start..start + length]))
    }
}

/// Sends `bytes` as packets of `size` bytes each, the last of which may be shorter, in one call (UDP GSO). At most
/// [`MAX_TRAIN`] packets and [`MAX_TRAIN_BYTES`] bytes.
///
/// # Errors
/// As the system says; where the kernel or the way to the destination cannot, nothing was sent.
pub fn send_train(socket: &UdpSocket, bytes: &[u8], size: u16) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 4];
    // SAFETY: a zeroed msghdr is a valid one.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the control part is large enough for one message of two bytes, so
    // that its first header and the two bytes behind it lie within.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_UDP;
        (*header).cmsg_type = libc::UDP_SEGMENT;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as usize;
        std::ptr::write_unaligned(libc::CMSG_DATA(header).cast::<u16>(), size);
    }
    // SAFETY: every pointer of the message is good for the length that stands beside it, for the whole call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{SendOptions, receiver, sender};
    use std::net::SocketAddr;

    #[test]
    fn a_train_arrives_as_packets_with_their_sender_and_age() {
        let receiver = receiver(SocketAddr::from(([127, 0, 0, 1], 0)), None, None).expect("a socket");
        let to = receiver.local_addr().expect("an address");
        let sender = sender(to, &SendOptions::default()).expect("a socket");
        send_train(&sender, b"aaabbbc", 3).expect("loopback takes it");
        let mut batch = Batch::new(8);
        batch.fill(&receiver).expect("no error");
        let mut got = Vec::new();
        while let Some((datagram, bytes)) = batch.pop() {
            assert_eq!(datagram.from, sender.local_addr().expect("an address"));
            assert!((0..1_000_000_000).contains(&datagram.age));
            got.push(bytes.to_vec());
        }
        assert_eq!(got, [b"aaa".to_vec(), b"bbb".to_vec(), b"c".to_vec()]);
        batch.fill(&receiver).expect("no error");
        assert!(batch.pop().is_none());
    }
}
