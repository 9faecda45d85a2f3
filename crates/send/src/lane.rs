//! The way to one destination over UDP, and back.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use vox_frame::Stamp;
use vox_rtp::{Protocol, Route};
use vox_sys::batch;
use vox_sys::net::{self, SendOptions};

use crate::args::Args;
use crate::train::Train;

pub(crate) struct Lane {
    /// The destination that was asked for.
    address: SocketAddr,
    /// Where the peer is, where that may be another address than it was said to be; none for a connected socket.
    peer: Option<Mutex<SocketAddr>>,
    rtp: UdpSocket,
    /// The socket of RTCP; none for that of RTP.
    control: Option<UdpSocket>,
    /// Whether packets go one by one: the way there has refused several in one call, or the peer may move.
    one_by_one: AtomicBool,
}

/// A datagram that came back.
pub(crate) struct Received {
    pub(crate) route: Route,
    pub(crate) arrived: Stamp,
    pub(crate) protocol: Protocol,
    pub(crate) length: usize,
    /// Which lane it came by.
    pub(crate) lane: usize,
    /// Whether it came from where is sent to.
    pub(crate) from_peer: bool,
}

/// A datagram from an address that nothing is sent to, or one that is not genuine.
pub(crate) struct Stranger;

impl Lane {
    pub(crate) fn open(address: SocketAddr, args: &Args) -> io::Result<Self> {
        let options = args.options();
        let moves = args.follow || args.latch;
        let rtp = if moves { net::talker(address, &options)? } else { net::sender(address, &options)? };
        let mux = args.rtcp_mux || args.no_rtcp || address.port() == u16::MAX;
        if !moves && (args.duplex || mux) {
            net::hear_back(&rtp)?;
        }
        let control = if mux { None } else { Some(control(address, &rtp, options)?) };
        let peer = moves.then(|| Mutex::new(address));
        Ok(Self { address, peer, rtp, control, one_by_one: AtomicBool::new(moves) })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.rtp.local_addr()
    }

    /// Whether the peer may turn out to be at another address.
    pub(crate) const fn may_move(&self) -> bool {
        self.peer.is_some()
    }

    pub(crate) fn set_peer(&self, address: SocketAddr) {
        if let Some(peer) = &self.peer {
            *peer.lock().unwrap_or_else(PoisonError::into_inner) = address;
        }
    }

    fn peer(&self) -> SocketAddr {
        self.peer.as_ref().map_or(self.address, |peer| *peer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a packet comes from, or goes to, whom this lane leads to. RTCP may have a port of its own, and members of
    /// a group are anywhere.
    pub(crate) fn is_peer(&self, address: SocketAddr, protocol: Protocol) -> bool {
        let peer = self.peer();
        let same_port = peer.port() == address.port() || protocol == Protocol::Rtcp || !self.may_move();
        peer.ip().is_multicast() || (peer.ip() == address.ip() && same_port)
    }

    /// Sends packets that leave together, in one call where the kernel and the way there allow it; says whether an
    /// earlier one was refused.
    pub(crate) fn send_all(&self, train: &Train) -> io::Result<bool> {
        if train.len() > 1 && !self.one_by_one.load(Ordering::Relaxed) {
            let send = || batch::send_train(&self.rtp, train.bytes(), train.size());
            match send() {
                Ok(()) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return send().map(|()| true),
                // An interface without checksums in hardware, a tunnel with a smaller MTU: nothing was sent.
                Err(_) => self.one_by_one.store(true, Ordering::Relaxed),
            }
        }
        let mut refused = false;
        for packet in train.packets() {
            refused |= self.send(packet)?;
        }
        Ok(refused)
    }

    /// Sends; says whether an earlier packet was refused, which the kernel reports in place of sending this one.
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<bool> {
        let send = || match &self.peer {
            None => self.rtp.send(packet),
            Some(_) => self.rtp.send_to(packet, self.peer()),
        };
        match send() {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => send().map(|_| true),
            sent => sent.map(|_| false),
        }
    }

    /// Sends RTCP, by the way that the peer's own has shown where that is known. What is lost is said again.
    pub(crate) fn send_control(&self, packet: &[u8], route: Option<Route>) {
        let peer = self.peer();
        let _lost = match (&self.control, route) {
            (Some(socket), Some(Route { mux: false, to })) => socket.send_to(packet, to).is_ok(),
            (Some(socket), _) => socket.send_to(packet, beside(peer)).is_ok(),
            (None, _) => self.send(packet).is_ok(),
        };
    }

    /// The sockets on which something may come back, with whether RTP and RTCP share it.
    pub(crate) fn sockets(&self, hears_media: bool, reports: bool) -> impl Iterator<Item = (&UdpSocket, bool)> {
        let shared = reports && self.control.is_none();
        let rtp = (hears_media || shared).then_some((&self.rtp, true));
        rtp.into_iter().chain(self.control.iter().map(|socket| (socket, false)))
    }
}

/// Where RTCP goes that has a port of its own.
const fn beside(address: SocketAddr) -> SocketAddr {
    let mut beside = address;
    beside.set_port(address.port().saturating_add(1));
    beside
}

/// The socket of RTCP. It leaves from the port beside the one of RTP where that is free (RFC 3550, section 11).
fn control(address: SocketAddr, rtp: &UdpSocket, options: SendOptions) -> io::Result<UdpSocket> {
    let local = rtp.local_addr()?;
    let next = SocketAddr::new(unspecified_or(options.local, local.ip()), local.port().saturating_add(1));
    let symmetric = net::reporter(beside(address), &SendOptions { local: Some(next), ..options.clone() });
    symmetric.or_else(|_| net::reporter(beside(address), &SendOptions { local: None, ..options }))
}

/// The address that was asked for, else any of the family.
fn unspecified_or(asked: Option<SocketAddr>, family: IpAddr) -> IpAddr {
    match (asked, family) {
        (Some(asked), _) => asked.ip(),
        (None, IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (None, IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
