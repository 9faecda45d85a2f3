//! Hears of sessions that others announce.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use vox_cli::Failure;
use vox_frame::Stamp;
use vox_rtp::{Change, Directory, SAP_GROUPS, SAP_PORT};
use vox_sys::Clock;
use vox_sys::net;

use crate::Way;
use crate::dnssd::{Browser, News};

/// Datagrams that are read of a socket before the others have their turn.
const BURST: usize = 32;

/// The largest datagram there is, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// What is listened to.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// The ways that sessions are announced by.
    pub ways: Vec<Way>,
    /// One more group of SAP.
    pub group: Option<IpAddr>,
    /// The interface, by name or address.
    pub interface: Option<String>,
    /// The only host whose announcements of SAP count.
    pub from: Option<IpAddr>,
}

/// The sessions that are announced, for as long as this lives.
pub struct Watch {
    sockets: Vec<UdpSocket>,
    browser: Option<Browser>,
    directory: Directory,
    from: Option<IpAddr>,
    clock: Clock,
    buffer: Vec<u8>,
    /// Announcements that could not be used.
    refused: u64,
}

impl Watch {
    /// Begins to listen.
    ///
    /// # Errors
    /// Where no group can be joined (5).
    pub fn open(options: &WatchOptions) -> Result<Self, Failure> {
        let interface = options.interface.as_deref();
        let sockets = if options.ways.contains(&Way::Sap) { listen(options.group, interface)? } else { Vec::new() };
        let browser = options.ways.contains(&Way::Mdns).then(|| Browser::open(interface)).transpose()?;
        Ok(Self {
            sockets,
            browser,
            directory: Directory::default(),
            from: options.from,
            clock: Clock::own(),
            buffer: vec![0; MAX_DATAGRAM],
            refused: 0,
        })
    }

    /// What to wait for.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets.iter().map(UdpSocket::as_fd).chain(self.browser.as_ref().map(Browser::descriptor)).collect()
    }

    /// When something is to be done without anything having come, in ns of CLOCK_MONOTONIC.
    pub fn next_deadline(&self) -> Option<i64> {
        self.directory.next_deadline().map(|deadline| self.clock.mono_ns(deadline))
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// Where a socket fails (5).
    pub fn handle_ready(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        for socket in &self.sockets {
            for _ in 0..BURST {
                let received = net::receive(socket, &mut self.buffer);
                let received = received.map_err(|error| Failure::network(format_args!("cannot receive: {error}")))?;
                let Some(datagram) = received else { break };
                let from = datagram.from.ip();
                if self.from.is_none_or(|only| only == from) {
                    let outcome = self.directory.handle_sap(now, from, &self.buffer[..datagram.length]);
                    self.refused += u64::from(outcome.is_err());
                }
            }
        }
        let news = self.browser.as_ref().map(Browser::read).unwrap_or_default();
        news.into_iter().for_each(|news| self.take(now, news));
        self.directory.handle_timeout(now);
        Ok(())
    }

    /// What has changed: to be asked until there is none.
    pub fn poll(&mut self) -> Option<Change> {
        self.directory.poll()
    }

    /// Announcements that could not be used.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    fn take(&mut self, now: Stamp, news: News) {
        match news {
            News::Here(name, sdp) => {
                self.refused += u64::from(self.directory.handle_service(now, &name, &sdp).is_err());
            }
            News::Gone(name) => self.directory.handle_service_gone(&name),
        }
    }
}

/// A socket for each group; those of a network that this host has no part in are left out.
fn listen(more: Option<IpAddr>, interface: Option<&str>) -> Result<Vec<UdpSocket>, Failure> {
    let (mut sockets, mut first_error) = (Vec::new(), None);
    for group in more.into_iter().chain(SAP_GROUPS) {
        match net::receiver(SocketAddr::new(group, SAP_PORT), interface, None) {
            Ok(socket) => sockets.push(socket),
            Err(error) => first_error = first_error.or(Some((group, error))),
        }
    }
    match first_error {
        Some((group, error)) if sockets.is_empty() => {
            Err(Failure::network(format_args!("cannot hear announcements on {group}: {error}")))
        }
        _ => Ok(sockets),
    }
}
