//! UDP and TCP on this host.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::SockRef;
use vox_sys::net;

use crate::args::Topic;
use crate::finding::Finding;

/// The ports that examples and defaults use: RTP, its RTCP, and a room server's two.
const UDP: [u16; 3] = [5004, 5005, 10_001];
const TCP: u16 = 10_000;

/// What a tenth of a second of a thousand streams takes: receivers ask for it.
const BUFFER: usize = 4 << 20;

/// How long a datagram may take on loopback.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn look() -> Vec<Finding> {
    let mut findings = vec![loopback(), buffer()];
    findings.extend(UDP.map(|port| free(&format!("UDP {port}"), UdpSocket::bind(any(port)).err(), port)));
    findings.push(free(&format!("TCP {TCP}"), TcpListener::bind(any(TCP)).err(), TCP));
    findings
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

fn free(what: &str, error: Option<std::io::Error>, port: u16) -> Finding {
    match error {
        None => Finding::works(Topic::Ports, what, "free"),
        Some(error) => Finding::limited(Topic::Ports, what, format!("cannot be bound: {error}"))
            .advise(format!("any other will do; who has it: ss -lunpt sport = :{port}")),
    }
}

/// A datagram from one socket to another, with the kernel's time of arrival.
fn loopback() -> Finding {
    let what = "UDP over loopback";
    let trial = || -> std::io::Result<bool> {
        let receiver = net::receiver((Ipv4Addr::LOCALHOST, 0).into(), None, None)?;
        let sender = net::sender(receiver.local_addr()?, &net::SendOptions::default())?;
        sender.send(b"vox-doctor")?;
        receiver.set_read_timeout(Some(PATIENCE))?;
        Ok(receiver.recv(&mut [0; 64]).is_ok())
    };
    match trial() {
        Ok(true) => Finding::works(Topic::Ports, what, "a datagram came through"),
        Ok(false) => Finding::fails(Topic::Ports, what, "a datagram did not come through")
            .advise("a firewall on lo, or lo is down: ip link set lo up"),
        Err(error) => Finding::fails(Topic::Ports, what, error.to_string()).advise("is lo up? ip link set lo up"),
    }
}

/// How much the kernel holds for a receiver that stands still.
fn buffer() -> Finding {
    let what = "receive buffer";
    let granted = net::receiver((Ipv4Addr::LOCALHOST, 0).into(), None, None);
    // Linux tells twice of what was asked for, as it counts its own book-keeping (socket(7)).
    let granted = granted.and_then(|socket| Ok(SockRef::from(&socket).recv_buffer_size()? / 2));
    match granted {
        Ok(bytes) if bytes >= BUFFER => Finding::works(Topic::Ports, what, format!("{} KiB", bytes >> 10)),
        Ok(bytes) => Finding::limited(
            Topic::Ports,
            what,
            format!("{} KiB of {} KiB: enough for a few streams, little for hundreds", bytes >> 10, BUFFER >> 10),
        )
        .advise(format!("sysctl -w net.core.rmem_max={BUFFER}")),
        Err(error) => Finding::fails(Topic::Ports, what, error.to_string()),
    }
}
