//! Announces one session.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use vox_cli::{Failure, warn};
use vox_rtp::{SAP_PORT, SapAnnouncer, sap_group};
use vox_sys::Clock;
use vox_sys::net::{self, SendOptions};

use crate::Way;
use crate::dnssd::Service;

/// Descriptions that wait for the thread that announces.
const WAITING: usize = 4;

/// How announcements leave.
#[derive(Debug, Clone)]
pub struct HeraldOptions {
    /// The ways to announce by.
    pub ways: Vec<Way>,
    /// The name of the session, for people.
    pub name: String,
    /// Where its media go: decides about the group of SAP.
    pub media: SocketAddr,
    /// Another group for SAP.
    pub group: Option<IpAddr>,
    /// The mean time between two announcements by SAP, in ns.
    pub interval_ns: i64,
    /// Hops of SAP's packets: as many as those of the media, so that nobody hears of what he cannot hear.
    pub ttl: u32,
    /// The interface, by name or address.
    pub interface: Option<String>,
    /// Whether this host hears its own announcements of SAP.
    pub multicast_loop: bool,
    /// For hashes and times.
    pub seed: u64,
}

/// A session that is announced until this is dropped.
pub struct Herald {
    sap: Option<SapHerald>,
    service: Option<Service>,
}

impl Herald {
    /// Prepares to announce; nothing is said before there is a description.
    ///
    /// # Errors
    /// Where the network does not allow it (5).
    pub fn open(options: &HeraldOptions) -> Result<Self, Failure> {
        let speaks = |way| options.ways.contains(&way);
        let sap = speaks(Way::Sap).then(|| SapHerald::open(options)).transpose()?;
        let service = speaks(Way::Mdns)
            .then(|| Service::open(&options.name, options.media.port(), options.interface.as_deref(), options.seed));
        Ok(Self { sap, service: service.transpose()? })
    }

    /// The session is described so from now on. No key may be in it: everybody can read it.
    ///
    /// # Errors
    /// Where it cannot be announced.
    pub fn describe(&mut self, sdp: &str) -> Result<(), Failure> {
        if let Some(sap) = &self.sap {
            // The thread may be about to speak; it comes back at once.
            let _ended = sap.descriptions.send(sdp.to_owned());
        }
        self.service.as_mut().map_or(Ok(()), |service| service.describe(sdp))
    }
}

struct SapHerald {
    descriptions: Sender<String>,
    thread: Option<JoinHandle<()>>,
}

impl SapHerald {
    fn open(options: &HeraldOptions) -> Result<Self, Failure> {
        let group = SocketAddr::new(options.group.unwrap_or_else(|| sap_group(options.media.ip())), SAP_PORT);
        let failed =
            |error: io::Error| Failure::network(format_args!("cannot announce by SAP to {}: {error}", group.ip()));
        let leaving = SendOptions {
            ttl: options.ttl,
            interface: options.interface.clone(),
            multicast_loop: options.multicast_loop,
            ..SendOptions::default()
        };
        let socket = net::sender(group, &leaving).map_err(failed)?;
        let origin = socket.local_addr().map_err(failed)?.ip();
        let announcer = SapAnnouncer::new(origin, options.interval_ns, options.seed);
        let (descriptions, waiting) = bounded(WAITING);
        let thread = std::thread::Builder::new().name("sap".to_owned());
        let thread = thread.spawn(move || speak(&socket, announcer, &waiting)).map_err(failed)?;
        Ok(Self { descriptions, thread: Some(thread) })
    }
}

impl Drop for SapHerald {
    fn drop(&mut self) {
        // The thread ends when nobody is left to describe anything.
        self.descriptions = bounded(0).0;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn speak(socket: &UdpSocket, mut announcer: SapAnnouncer, descriptions: &Receiver<String>) {
    let clock = Clock::own();
    let mut told = false;
    let mut send = |packet: Vec<u8>| {
        if let Err(error) = socket.send(&packet)
            && !std::mem::replace(&mut told, true)
        {
            warn(format_args!("an announcement was not sent: {error}"));
        }
    };
    loop {
        let next = match announcer.next_deadline() {
            None => descriptions.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => {
                let pause = u64::try_from(due.since(clock.now())).unwrap_or(0);
                descriptions.recv_timeout(Duration::from_nanos(pause))
            }
        };
        match next {
            Ok(description) => announcer.describe(clock.now(), description),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(packet) = announcer.poll(clock.now()) {
            send(packet);
        }
    }
    if let Some(packet) = announcer.withdraw() {
        send(packet);
    }
}
