//! A relay for UDP between any two programs, with a link in each direction.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::str::FromStr;

use serde_json::json;
use vox_cli::{Failure, StatsFile, note, stop_requested, wait_any, warn};
use vox_frame::Stamp;
use vox_link::{Config, Fate, Link};
use vox_sys::{monotonic_ns, net, pipe};

use crate::args::Args;
use crate::lanes::tally;

/// Bytes of IPv4 and UDP headers that a datagram has on the wire beside what it carries.
const HEADERS: usize = 28;

/// The most datagrams on their way, and their bytes. What comes beyond is lost.
const MAX_HELD: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;

/// The most programs that send to one route; the one silent for longest gives way.
const MAX_PEERS: usize = 64;

/// Datagrams taken from one socket before the others have their turn.
const AT_ONCE: usize = 32;

/// `LISTEN=DEST`: where datagrams come in, and where they go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    listen: SocketAddr,
    destination: String,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (listen, destination) = text.split_once('=').ok_or("not LISTEN=DEST, such as :5004=127.0.0.1:6004")?;
        let listen = match listen.strip_prefix(':') {
            Some(port) => {
                port.parse().map(|port| (Ipv4Addr::LOCALHOST, port).into()).map_err(|_| "not a port".to_owned())
            }
            None => listen.parse().map_err(|_| "LISTEN is :PORT or ADDRESS:PORT".to_owned()),
        }?;
        let (host, _) = destination.rsplit_once(':').ok_or("DEST is HOST:PORT")?;
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let port = destination.rsplit_once(':').map_or("", |(_, port)| port);
        Ok(Self { listen, destination: format!("{host}:{port}") })
    }
}

/// Relays until a signal.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut relay = Relay::open(args)?;
    pipe::sharpen_timers();
    while !stop_requested() {
        let mut fds = Vec::new();
        for path in &relay.paths {
            fds.push(path.listener.as_fd());
            fds.extend(path.peers.values().map(|peer| peer.socket.as_fd()));
        }
        wait_any(&fds, relay.held.keys().next().map(|(at, _)| at.ns()))?;
        relay.receive();
        relay.deliver();
    }
    relay.summarise(args)
}

struct Relay {
    paths: Vec<Path>,
    /// Datagrams on their way, by when they arrive, in ns of CLOCK_MONOTONIC.
    held: BTreeMap<(Stamp, u64), Datagram>,
    count: u64,
    bytes: usize,
    overflowed: u64,
    unsent: u64,
}

struct Path {
    listener: UdpSocket,
    destination: SocketAddr,
    there: Link,
    back: Link,
    peers: BTreeMap<SocketAddr, Peer>,
}

/// A program that sends to a route: it has a socket of its own to the destination, so that answers find their way.
struct Peer {
    socket: UdpSocket,
    heard: Stamp,
}

struct Datagram {
    path: usize,
    peer: SocketAddr,
    back: bool,
    bytes: Vec<u8>,
}

impl Relay {
    fn open(args: &Args) -> Result<Self, Failure> {
        let config = args.config()?;
        let paths = args.udp.iter().enumerate().map(|(index, route)| Path::open(route, &config, args.seed, index));
        let paths = paths.collect::<Result<_, _>>()?;
        Ok(Self { paths, held: BTreeMap::new(), count: 0, bytes: 0, overflowed: 0, unsent: 0 })
    }

    /// Takes in what is there.
    fn receive(&mut self) {
        let mut buffer = [0; 65_536];
        for index in 0..self.paths.len() {
            for _ in 0..AT_ONCE {
                let Ok((length, from)) = self.paths[index].listener.recv_from(&mut buffer) else { break };
                let now = Stamp::from_ns(monotonic_ns());
                if self.paths[index].admit(from, now) {
                    self.send(index, from, false, now, &buffer[..length]);
                }
            }
            for peer in self.paths[index].peers.keys().copied().collect::<Vec<_>>() {
                for _ in 0..AT_ONCE {
                    let Some(from) = self.paths[index].peers.get(&peer) else { break };
                    let Ok(length) = from.socket.recv(&mut buffer) else { break };
                    self.send(index, peer, true, Stamp::from_ns(monotonic_ns()), &buffer[..length]);
                }
            }
        }
    }

    /// Puts a datagram on its way.
    fn send(&mut self, path: usize, peer: SocketAddr, back: bool, now: Stamp, bytes: &[u8]) {
        let link = if back { &mut self.paths[path].back } else { &mut self.paths[path].there };
        let passage = link.handle_packet(now, bytes.len() + HEADERS);
        let Fate::Arrives(at) = passage.fate else { return };
        for at in [Some(at), passage.copy].into_iter().flatten() {
            if self.held.len() >= MAX_HELD || self.bytes >= MAX_BYTES {
                self.overflowed += 1;
                if self.overflowed == 1 {
                    warn(format_args!("more than {MAX_HELD} datagrams are on their way: further ones are lost"));
                }
                continue;
            }
            self.bytes += bytes.len();
            self.held.insert((at, self.count), Datagram { path, peer, back, bytes: bytes.to_vec() });
            self.count += 1;
        }
    }

    /// Hands over what has arrived.
    fn deliver(&mut self) {
        let now = Stamp::from_ns(monotonic_ns());
        while let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= now) {
            let datagram = entry.remove();
            self.bytes -= datagram.bytes.len();
            let path = &self.paths[datagram.path];
            let sent = match (datagram.back, path.peers.get(&datagram.peer)) {
                (true, _) => path.listener.send_to(&datagram.bytes, datagram.peer).is_ok(),
                (false, Some(peer)) => peer.send(&datagram.bytes),
                (false, None) => false,
            };
            self.unsent += u64::from(!sent);
        }
    }

    fn summarise(&self, args: &Args) -> Result<(), Failure> {
        let Some(mut file) = args.stats.as_deref().map(StatsFile::create).transpose()? else { return Ok(()) };
        let mut summary =
            json!({ "type": "summary", "packetsOverflowed": self.overflowed, "packetsUnsent": self.unsent });
        for (index, path) in self.paths.iter().enumerate() {
            for (way, link) in [("there", &path.there), ("back", &path.back)] {
                let mut line = tally("route", link.tally());
                line["way"] = json!(way);
                line["destination"] = json!(path.destination.to_string());
                file.line(&line);
                summary[format!("{way}{}", if index == 0 { String::new() } else { index.to_string() })] = line;
            }
        }
        file.line(&summary);
        Ok(())
    }
}

impl Path {
    fn open(route: &Route, config: &Config, seed: u64, index: usize) -> Result<Self, Failure> {
        let destination = net::resolve(&route.destination)
            .map_err(|error| Failure::network(format_args!("cannot resolve {}: {error}", route.destination)))?;
        let listener = UdpSocket::bind(route.listen)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(|error| Failure::network(format_args!("cannot listen on {}: {error}", route.listen)))?;
        let local = listener.local_addr().unwrap_or(route.listen);
        note(format_args!("from {local} to {destination}"));
        let link = |way: u64| Link::new(config.clone(), seed.wrapping_add(2 * index as u64 + way));
        Ok(Self { listener, destination, there: link(0), back: link(1), peers: BTreeMap::new() })
    }

    /// Makes a program known; false where that fails.
    fn admit(&mut self, from: SocketAddr, now: Stamp) -> bool {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.heard = now;
            return true;
        }
        if self.peers.len() >= MAX_PEERS
            && let Some(silent) = self.peers.iter().min_by_key(|(_, peer)| peer.heard).map(|(peer, _)| *peer)
        {
            self.peers.remove(&silent);
        }
        match net::sender(self.destination, &net::SendOptions::default())
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        {
            Ok(socket) => {
                self.peers.insert(from, Peer { socket, heard: now });
                true
            }
            Err(error) => {
                warn(format_args!("cannot send to {}: {error}", self.destination));
                false
            }
        }
    }
}

impl Peer {
    /// Sends; where the kernel tells of an earlier datagram that was refused instead, once more.
    fn send(&self, bytes: &[u8]) -> bool {
        self.socket.send(bytes).is_ok() || self.socket.send(bytes).is_ok()
    }
}
