//! The ways that packets leave by, one for each destination. What stands between packet and datagram, such as
//! encryption or another transport, belongs here: RTP passes [`Lanes::send_rtp`], RTCP [`Lanes::send_rtcp`].

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use vox_cli::{Failure, warn};
use vox_frame::{Rate, Stamp};
use vox_rtp::{Outgoing, Protocol, Route};
use vox_sys::Clock;
use vox_sys::net;

use crate::again::{Again, Resent};
use crate::args::Args;
use crate::cover::{Cover, cover};
use crate::ear::{SharedControl, lock};
use crate::lane::{Lane, Received, Stranger};
use crate::tcp::TcpOutlet;
use crate::train::Train;

/// The lanes are shared by the thread that sends media and the one that sends reports and listens.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Packets that leave together.
    train: Mutex<Train>,
    tcp: Mutex<Vec<TcpOutlet>>,
    cover: Option<Cover>,
    /// What was sent lately, where it may be asked for again.
    again: Option<Again>,
    /// Whether reports are sent and heard.
    reports: bool,
    packets: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    resent: AtomicU64,
    told: AtomicBool,
}

impl Lanes {
    /// A lane for each destination.
    pub(crate) fn open(args: &Args) -> Result<Self, Failure> {
        let (mut lanes, mut tcp) = (Vec::new(), Vec::new());
        for destination in &args.destinations {
            if let Some(destination) = destination.strip_prefix("tcp://") {
                tcp.push(TcpOutlet::open(destination, args.listen, args.carriage())?);
                continue;
            }
            let local = args.options().local;
            let address = local
                .map_or_else(|| net::resolve(destination), |local| net::resolve_from(destination, local))
                .map_err(|error| Failure::network(format_args!("cannot resolve {destination}: {error}")))?;
            let from = local.map_or_else(String::new, |local| format!(" from {local}"));
            let lane = Lane::open(address, args)
                .map_err(|error| Failure::network(format_args!("cannot send{from} to {destination}: {error}")))?;
            lanes.push(lane);
        }
        if tcp.is_empty() && (args.listen || args.reconnect || args.compat.is_some()) {
            return Err(Failure::usage("--listen, --reconnect and --compat are for tcp://HOST:PORT"));
        }
        let zero = AtomicU64::default;
        Ok(Self {
            lanes,
            train: Mutex::default(),
            tcp: Mutex::new(tcp),
            cover: cover(args)?,
            again: args.resends().map(Again::new),
            reports: !args.no_rtcp,
            packets: zero(),
            bytes: zero(),
            errors: zero(),
            resent: zero(),
            told: AtomicBool::default(),
        })
    }

    /// The first destination, and the address from which packets go there.
    pub(crate) fn first_path(&self) -> Option<(SocketAddr, Option<IpAddr>)> {
        let lane = self.lanes.first()?;
        let local = lane.local_addr().ok().map(|local| local.ip());
        Some((lane.address(), local.filter(|local| !local.is_unspecified())))
    }

    /// Sends a packet to every destination. One that cannot be reached now may be there later: that is counted.
    ///
    /// # Errors
    /// Where a TCP connection broke that is not to be made anew.
    pub(crate) fn send_rtp(&self, packet: &[u8]) -> Result<(), Failure> {
        let kept = self.again.as_ref().map(|again| (again, again.is_apart()));
        if let Some((again, true)) = kept {
            again.keep(packet);
        }
        let protected = self.cover.as_ref().map(|cover| cover.protect(Protocol::Rtp, packet));
        let packet = match &protected {
            None => packet,
            Some(Some(protected)) => protected,
            Some(None) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        };
        self.tcp().iter_mut().try_for_each(|outlet| outlet.send(packet))?;
        if let Some((again, false)) = kept {
            // Once more as it was: enciphered anew it would be another packet by the same number.
            again.keep(packet);
        }
        if self.lanes.is_empty() {
            return Ok(());
        }
        let mut train = self.train();
        if !train.takes(packet) {
            self.depart(&mut train);
        }
        train.push(packet);
        Ok(())
    }

    /// Sends what waits to be sent together.
    pub(crate) fn depart_now(&self) {
        self.depart(&mut self.train());
    }

    /// Whether anything waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.train().is_empty()
    }

    fn train(&self) -> MutexGuard<'_, Train> {
        self.train.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn depart(&self, train: &mut Train) {
        let packets = train.len() as u64;
        for lane in self.lanes.iter().filter(|_| packets > 0) {
            match lane.send_all(train) {
                Ok(refused) => {
                    self.packets.fetch_add(packets, Ordering::Relaxed);
                    self.bytes.fetch_add(train.bytes().len() as u64, Ordering::Relaxed);
                    self.errors.fetch_add(u64::from(refused), Ordering::Relaxed);
                }
                Err(error) => {
                    self.errors.fetch_add(packets, Ordering::Relaxed);
                    if !self.told.swap(true, Ordering::Relaxed) {
                        warn(format_args!("cannot send to {}: {error}; going on", lane.address()));
                    }
                }
            }
        }
        train.clear();
    }

    /// Sends RTCP, to every destination or to one. What cannot be sent now is said again with the next report.
    pub(crate) fn send_rtcp(&self, outgoing: &Outgoing) {
        let protected = self.cover.as_ref().map(|cover| cover.protect(Protocol::Rtcp, &outgoing.packet));
        let packet = match &protected {
            None => &outgoing.packet,
            Some(Some(protected)) => protected,
            Some(None) => return,
        };
        for lane in self.lanes.iter().filter(|_| self.reports) {
            if outgoing.to.is_none_or(|route| lane.is_peer(route.to, Protocol::Rtcp)) {
                lane.send_control(packet, outgoing.to);
            }
        }
        if self.reports {
            self.tcp().iter_mut().for_each(|outlet| outlet.send_control(packet, outgoing.to.map(|route| route.to)));
        }
    }

    /// The TCP connections on which something may come back.
    pub(crate) fn tcp_streams(&self) -> Vec<Arc<TcpStream>> {
        self.tcp().iter_mut().flat_map(TcpOutlet::streams).collect()
    }

    /// The RTCP packets that came back over TCP, opened.
    pub(crate) fn take_reports(&self, clock: &Clock) -> Vec<(Received, Vec<u8>)> {
        let heard: Vec<_> = self.tcp().iter_mut().flat_map(TcpOutlet::take_heard).collect();
        let open = |(from, at, mut packet): (SocketAddr, i64, Vec<u8>)| {
            let length = match &self.cover {
                None => packet.len(),
                Some(cover) => {
                    let length = packet.len();
                    cover.open(clock.now(), Protocol::Rtcp, &mut packet, length)?
                }
            };
            let route = Route { mux: true, to: from };
            let arrived = clock.from_mono(at);
            Some((Received { route, arrived, protocol: Protocol::Rtcp, length, lane: 0, from_peer: true }, packet))
        };
        heard.into_iter().filter_map(open).collect()
    }

    /// What was sent lately, where it may be asked for again.
    pub(crate) const fn again(&self) -> Option<&Again> {
        self.again.as_ref()
    }

    /// Sends again what RTCP from `route` asks for, to whom asks.
    pub(crate) fn handle_requests(&self, route: Route, compound: &[u8], control: &SharedControl, now: Stamp) {
        let Some(again) = &self.again else { return };
        again.handle_requests(compound, |resent| {
            let protected = match (&resent, &self.cover) {
                (Resent::Apart(_, _, packet), Some(cover)) => cover.protect(Protocol::Rtp, packet),
                (Resent::AsItWas(packet) | Resent::Apart(_, _, packet), _) => Some(packet.to_vec()),
            };
            let Some(packet) = protected else { return };
            for lane in self.lanes.iter().filter(|lane| lane.is_peer(route.to, Protocol::Rtcp)) {
                self.resent.fetch_add(u64::from(lane.send(&packet).is_ok()), Ordering::Relaxed);
            }
            if let Resent::Apart(header, payload, _) = resent {
                lock(control).handle_sent(now, header.ssrc, header.timestamp, now, payload);
            }
        });
    }

    /// What to wait for: the sockets on which something may come back.
    pub(crate) fn descriptors(&self, hears_media: bool) -> Vec<BorrowedFd<'_>> {
        self.lanes
            .iter()
            .flat_map(|lane| lane.sockets(hears_media, self.reports))
            .map(|(socket, _)| socket.as_fd())
            .collect()
    }

    /// The next datagram that is there on socket `index` of [`descriptors`](Self::descriptors); a stranger's where it comes
    /// from somebody who was not sent to, or is not genuine.
    pub(crate) fn receive(
        &self,
        index: usize,
        hears_media: bool,
        clock: &Clock,
        buffer: &mut [u8],
    ) -> io::Result<Option<Result<Received, Stranger>>> {
        let lanes = self.lanes.iter().enumerate();
        let mut sockets = lanes
            .flat_map(|(number, lane)| lane.sockets(hears_media, self.reports).map(move |found| (number, lane, found)));
        let Some((number, lane, (socket, mux))) = sockets.nth(index) else { return Ok(None) };
        let Some(datagram) = net::receive(socket, buffer)? else { return Ok(None) };
        let protocol = if mux { Protocol::of(&buffer[..datagram.length]) } else { Protocol::Rtcp };
        let from_peer = lane.is_peer(datagram.from, protocol);
        if !from_peer && !lane.may_move() {
            return Ok(Some(Err(Stranger)));
        }
        let length = match &self.cover {
            None => Some(datagram.length),
            Some(cover) => cover.open(clock.now(), protocol, buffer, datagram.length),
        };
        let Some(length) = length else { return Ok(Some(Err(Stranger))) };
        Ok(Some(Ok(Received {
            route: Route { mux, to: datagram.from },
            arrived: clock.now().plus(-datagram.age),
            protocol,
            length,
            lane: number,
            from_peer,
        })))
    }

    /// The peer of a lane is at another address than it was thought to be: what is said goes there from now on.
    pub(crate) fn set_peer(&self, lane: usize, peer: SocketAddr) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.set_peer(peer);
        }
    }

    /// Whether reports are sent and heard.
    pub(crate) const fn has_reports(&self) -> bool {
        self.reports
    }

    /// The rate of the stream, which the TCP streamer's peers are told.
    pub(crate) fn set_rate(&self, rate: Rate) {
        self.tcp().iter_mut().for_each(|outlet| outlet.set_rate(rate));
    }

    /// Gives the last packets over TCP some time to be written.
    ///
    /// # Errors
    /// Where a connection broke that is not to be made anew.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        self.tcp().iter_mut().try_for_each(TcpOutlet::finish)
    }

    fn tcp(&self) -> MutexGuard<'_, Vec<TcpOutlet>> {
        self.tcp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn summary(&self) -> serde_json::Value {
        json!({
            "summary": true,
            "tcp": self.tcp().iter().map(TcpOutlet::summary).collect::<Vec<_>>(),
            "packetsSent": self.packets.load(Ordering::Relaxed),
            "bytesSent": self.bytes.load(Ordering::Relaxed),
            "retransmittedPacketsSent": self.resent.load(Ordering::Relaxed),
            "sendErrors": self.errors.load(Ordering::Relaxed),
        })
    }
}
