//! The sockets that packets leave by.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::json;
use vox_cli::{Failure, warn};
use vox_sys::net;

use crate::args::Args;

pub(crate) struct Outlet {
    sockets: Vec<(SocketAddr, UdpSocket)>,
    packets: u64,
    bytes: u64,
    errors: u64,
}

impl Outlet {
    /// A socket for each destination.
    pub(crate) fn open(args: &Args) -> Result<Self, Failure> {
        let options = args.options();
        let mut sockets = Vec::new();
        for destination in &args.destinations {
            let address = net::resolve(destination)
                .map_err(|error| Failure::network(format_args!("cannot resolve {destination}: {error}")))?;
            let socket = net::sender(address, &options)
                .map_err(|error| Failure::network(format_args!("cannot send to {destination}: {error}")))?;
            sockets.push((address, socket));
        }
        Ok(Self { sockets, packets: 0, bytes: 0, errors: 0 })
    }

    /// The first destination, and the address from which packets go there.
    pub(crate) fn first_path(&self) -> (SocketAddr, Option<IpAddr>) {
        let (address, socket) = &self.sockets[0];
        (*address, socket.local_addr().ok().map(|local| local.ip()))
    }

    /// Sends a packet to every destination. One that cannot be reached now may be there later: that is counted.
    pub(crate) fn send(&mut self, packet: &[u8]) {
        for (address, socket) in &self.sockets {
            let mut outcome = socket.send(packet);
            // The kernel reports that an earlier packet was refused in place of sending this one.
            if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                self.errors += 1;
                outcome = socket.send(packet);
            }
            match outcome {
                Ok(_) => {
                    self.packets += 1;
                    self.bytes += packet.len() as u64;
                }
                Err(error) => {
                    self.errors += 1;
                    if self.errors == 1 {
                        warn(format_args!("cannot send to {address}: {error}; going on"));
                    }
                }
            }
        }
    }

    pub(crate) fn summary(&self) -> serde_json::Value {
        json!({
            "summary": true,
            "packetsSent": self.packets,
            "bytesSent": self.bytes,
            "sendErrors": self.errors,
        })
    }
}
