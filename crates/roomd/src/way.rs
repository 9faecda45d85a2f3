//! The way of packets to their listeners.

use std::net::UdpSocket;

use vox_room::Path;
use vox_sys::Outbox;

use crate::clients::Clients;

/// Where packets go: datagrams together, and those of connections to what waits there.
pub(crate) struct Way<'a> {
    udp: Option<&'a UdpSocket>,
    clients: &'a mut Clients,
    outbox: &'a mut Outbox,
    /// Packets that could not be sent: they are lost, as packets are.
    pub(crate) lost: u64,
}

impl<'a> Way<'a> {
    pub(crate) const fn new(udp: Option<&'a UdpSocket>, clients: &'a mut Clients, outbox: &'a mut Outbox) -> Self {
        Self { udp, clients, outbox, lost: 0 }
    }

    pub(crate) fn deliver(&mut self, path: Path, bytes: &[u8]) {
        match path {
            Path::Udp(to) => {
                if self.udp.is_some() && self.outbox.push(to, bytes) {
                    self.flush();
                }
            }
            Path::Conn(conn) => {
                if let Some(client) = self.clients.touch(conn) {
                    client.packet(bytes);
                } else {
                    self.clients.packet_elsewhere(conn, bytes);
                }
            }
        }
    }

    /// Sends the datagrams that wait.
    pub(crate) fn flush(&mut self) {
        if let Some(udp) = self.udp
            && !self.outbox.is_empty()
        {
            self.lost += self.outbox.flush(udp);
        }
    }
}
