//! Ports.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::time::Duration;

use crate::await_until;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// An even UDP port that is free, as is the next one (RTCP, which ffmpeg binds): below the kernel's range for sockets
/// that do not ask, and not given out before.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().expect("no test panics in here");
    let start = (std::process::id() % 5000) as u16 * 2;
    let port = (0..5000u16)
        .map(|step| 20_000 + (start + step * 2) % 10_000)
        .find(|port| !taken.contains(port) && is_free(*port) && is_free(port + 1))
        .expect("a free port");
    taken.insert(port);
    port
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("::", port)).is_ok()
}

/// Waits until somebody has bound the UDP port.
///
/// # Panics
/// When nobody does within 30 s.
#[track_caller]
pub fn await_udp(port: u16) {
    assert!(await_until(Duration::from_secs(30), || udp_is_bound(port)), "nobody binds UDP port {port}");
}

/// Whether somebody has bound the UDP port.
pub fn udp_is_bound(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["/proc/net/udp", "/proc/net/udp6"].iter().any(|table| {
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().skip(1).any(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&wanted)))
    })
}
