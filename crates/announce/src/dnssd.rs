//! DNS-SD over multicast DNS: a service that is registered, or services that are looked for.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use vox_cli::Failure;
use vox_rtp::{description_from_txt, description_to_txt};
use vox_sys::pipe;

/// The service type of RTP sessions.
const RTP: &str = "_rtp._udp.local.";

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// News that wait to be read.
const WAITING: usize = 64;

/// The most bytes that a description may have: with its names it must fit one packet (RFC 6762, section 17).
const MAX_SDP: usize = 1200;

fn failed(error: impl core::fmt::Display) -> Failure {
    Failure::network(format_args!("mDNS: {error}"))
}

fn daemon(interface: Option<&str>) -> Result<ServiceDaemon, Failure> {
    let daemon = ServiceDaemon::new().map_err(failed)?;
    if let Some(name) = interface {
        let only = name.parse::<IpAddr>().map_or_else(|_| IfKind::Name(name.to_owned()), IfKind::Addr);
        daemon.disable_interface(IfKind::All).and_then(|()| daemon.enable_interface(only)).map_err(failed)?;
    }
    Ok(daemon)
}

/// A session that is registered until this is dropped.
pub(crate) struct Service {
    daemon: ServiceDaemon,
    name: String,
    host: String,
    port: u16,
    registered: Option<String>,
}

impl Service {
    pub(crate) fn open(name: &str, port: u16, interface: Option<&str>, seed: u64) -> Result<Self, Failure> {
        // A host name of this run only: the host's own belongs to whoever answers for it.
        let host = format!("vox-{:08x}.local.", seed as u32);
        Ok(Self { daemon: daemon(interface)?, name: name.to_owned(), host, port, registered: None })
    }

    pub(crate) fn describe(&mut self, sdp: &str) -> Result<(), Failure> {
        if sdp.len() > MAX_SDP {
            return Err(failed("the description of so many streams does not fit a packet: announce them by SAP"));
        }
        let properties = description_to_txt(sdp);
        let info = ServiceInfo::new(RTP, &self.name, &self.host, "", self.port, properties.as_slice());
        let info = info.map_err(failed)?.enable_addr_auto();
        self.registered = Some(info.get_fullname().to_owned());
        self.daemon.register(info).map_err(failed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(Ok(farewell)) = self.registered.take().map(|name| self.daemon.unregister(&name)) {
            let _late = farewell.recv_timeout(FAREWELL);
        }
        if let Ok(end) = self.daemon.shutdown() {
            let _late = end.recv_timeout(FAREWELL);
        }
    }
}

/// What is heard of a service.
pub(crate) enum News {
    /// It is there, and carries that description.
    Here(String, Vec<u8>),
    /// It is gone.
    Gone(String),
}

/// Looks for sessions until this is dropped.
pub(crate) struct Browser {
    daemon: ServiceDaemon,
    news: Receiver<News>,
    /// Becomes readable with news.
    wake: OwnedFd,
}

impl Browser {
    pub(crate) fn open(interface: Option<&str>) -> Result<Self, Failure> {
        let daemon = daemon(interface)?;
        let events = daemon.browse(RTP).map_err(failed)?;
        let (wake, waker) = pipe::waker().map_err(failed)?;
        let (tell, news) = bounded(WAITING);
        let pass_on = move || {
            while let Ok(event) = events.recv() {
                if !pass_on(event, &tell, &waker) {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("mdns-news".to_owned()).spawn(pass_on).map_err(failed)?;
        Ok(Self { daemon, news, wake })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The news that wait.
    pub(crate) fn read(&self) -> VecDeque<News> {
        let mut space = [0; WAITING];
        while pipe::read(&self.wake, &mut space).is_ok_and(|read| read == space.len()) {}
        self.news.try_iter().collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Ok(end) = self.daemon.shutdown() {
            let _late = end.recv_timeout(FAREWELL);
        }
    }
}

/// False where nobody listens any longer.
fn pass_on(event: ServiceEvent, tell: &Sender<News>, waker: &OwnedFd) -> bool {
    let news = match event {
        ServiceEvent::ServiceResolved(service) => {
            let properties = service.get_properties();
            // Services of the same type that say something else cannot be heard without more.
            match description_from_txt(|key| properties.get_property_val(key).flatten()) {
                Some(sdp) => News::Here(service.get_fullname().to_owned(), sdp),
                None => return true,
            }
        }
        ServiceEvent::ServiceRemoved(_, name) => News::Gone(name),
        _ => return true,
    };
    let told = tell.send(news).is_ok();
    // Where the pipe is full, there is enough in it to wake anybody.
    let _full = pipe::write(waker, &[0]);
    told
}
