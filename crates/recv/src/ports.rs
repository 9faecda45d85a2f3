//! The sockets of a session: one for RTP, one beside it for RTCP. What stands between datagram and packet, such as
//! encryption, belongs here: everything that comes in passes [`Ports::receive`], everything that leaves [`Ports::send`].

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use vox_cli::Failure;
use vox_frame::Stamp;
use vox_rtp::{Description, Outgoing, Protocol, Route};
use vox_sys::Clock;
use vox_sys::batch::Batch;
use vox_sys::net::{self, SendOptions};

use crate::args::Args;

/// The largest datagram there is, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// Datagrams that are read at once.
const BATCH: usize = 32;

/// Hops of reports to a group, where nothing is known of its size.
const REPORT_TTL: u32 = 16;

pub(crate) struct Ports {
    rtp: UdpSocket,
    /// None where RTCP comes to the port of RTP, or its own is taken.
    rtcp: Option<UdpSocket>,
    /// Where all reports go: the group, or an address that was given.
    everybody: Option<Everybody>,
    /// What came to the socket of RTP, and whether it had its turn.
    batch: Batch,
    filled: bool,
    buffer: Vec<u8>,
}

enum Everybody {
    Group(UdpSocket),
    Address(SocketAddr),
}

/// A datagram.
pub(crate) struct Received<'a> {
    pub(crate) route: Route,
    pub(crate) arrived: Stamp,
    pub(crate) protocol: Protocol,
    pub(crate) bytes: &'a [u8],
}

impl Ports {
    pub(crate) fn open(session: &Description, args: &Args) -> Result<Self, Failure> {
        let address = SocketAddr::new(session.address, session.port);
        let interface = args.interface.as_deref();
        let rtp = net::receiver(address, interface, session.source)
            .map_err(|error| Failure::network(format_args!("cannot listen on {address}: {error}")))?;
        let beside =
            SocketAddr::new(session.address, session.rtcp_port.unwrap_or_else(|| session.port.saturating_add(1)));
        let group = address.ip().is_multicast();
        let mux = session.rtcp_mux || args.no_rtcp || beside.port() == address.port();
        // Somebody may have that port. Then RTCP is heard where it comes to the port of RTP.
        let rtcp = if mux { None } else { net::receiver(beside, interface, session.source).ok() };
        let everybody = match args.rtcp_to {
            Some(to) => Some(Everybody::Address(to)),
            None if group && !args.no_rtcp => Some(Everybody::Group(group_sender(beside, args)?)),
            None => None,
        };
        Ok(Self { rtp, rtcp, everybody, batch: Batch::new(BATCH), filled: false, buffer: vec![0; MAX_DATAGRAM] })
    }

    /// Whether reports go to one place, not back to each source.
    pub(crate) const fn has_everybody(&self) -> bool {
        self.everybody.is_some()
    }

    /// Whether reports go to an address that was given.
    pub(crate) const fn has_address(&self) -> bool {
        matches!(self.everybody, Some(Everybody::Address(_)))
    }

    /// What to wait for.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        core::iter::once(&self.rtp).chain(&self.rtcp).map(UdpSocket::as_fd).collect()
    }

    /// The next datagram that is there; none once both sockets had their turn, so that neither starves the other.
    pub(crate) fn receive(&mut self, clock: &Clock) -> Result<Option<Received<'_>>, Failure> {
        let failed = |error| Failure::network(format_args!("cannot receive: {error}"));
        if self.batch.is_empty() && !std::mem::replace(&mut self.filled, true) {
            self.batch.fill(&self.rtp).map_err(failed)?;
        }
        let mux = !self.batch.is_empty();
        let received = if mux {
            self.batch.pop()
        } else if let Some(rtcp) = &self.rtcp {
            let received = net::receive(rtcp, &mut self.buffer).map_err(failed)?;
            received.map(|datagram| (datagram, &mut self.buffer[..datagram.length]))
        } else {
            None
        };
        let Some((datagram, bytes)) = received else {
            self.filled = false;
            return Ok(None);
        };
        Ok(Some(Received {
            route: Route { mux, to: datagram.from },
            arrived: clock.now().plus(-datagram.age),
            // Nothing but RTCP is looked for on its own port.
            protocol: if mux { Protocol::of(bytes) } else { Protocol::Rtcp },
            bytes,
        }))
    }

    /// Sends RTCP. What cannot be sent now is sent again with the next report.
    pub(crate) fn send(&self, outgoing: &Outgoing) {
        let own = self.rtcp.as_ref().unwrap_or(&self.rtp);
        let _lost = match (outgoing.to, &self.everybody) {
            (Some(Route { mux: true, to }), _) => self.rtp.send_to(&outgoing.packet, to),
            (Some(Route { mux: false, to }), _) => own.send_to(&outgoing.packet, to),
            (None, Some(Everybody::Group(socket))) => socket.send(&outgoing.packet),
            (None, Some(Everybody::Address(to))) => own.send_to(&outgoing.packet, to),
            (None, None) => Ok(0),
        };
    }
}

fn group_sender(beside: SocketAddr, args: &Args) -> Result<UdpSocket, Failure> {
    let options = SendOptions {
        ttl: REPORT_TTL,
        interface: args.interface.clone(),
        multicast_loop: true,
        ..SendOptions::default()
    };
    net::sender(beside, &options)
        .map_err(|error| Failure::network(format_args!("cannot send reports to {beside}: {error}")))
}
