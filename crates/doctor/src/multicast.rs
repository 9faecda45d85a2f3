//! Groups: whether this host hears what it sends to one, on each interface.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vox_sys::net::{self, SendOptions};

use crate::args::Topic;
use crate::finding::Finding;

/// How long a datagram may take to come back.
const PATIENCE: Duration = Duration::from_secs(1);

/// Flags of an interface (`linux/if.h`).
const UP: u32 = 0x1;
const MULTICAST: u32 = 0x1000;

pub(crate) fn look() -> Vec<Finding> {
    let mut findings: Vec<Finding> = interfaces().into_iter().map(|name| on(&name)).collect();
    if findings.is_empty() {
        findings.push(Finding::fails(Topic::Multicast, "interfaces", "none is up"));
    }
    findings
}

/// The interfaces of this network namespace that are up, by name.
fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    names.filter(|name| flags(name).is_none_or(|flags| flags & UP != 0)).collect()
}

fn flags(name: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{name}/flags")).ok()?;
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn on(name: &str) -> Finding {
    match comes_back(name) {
        Ok(true) => Finding::works(Topic::Multicast, name, "what is sent to a group is heard here"),
        Ok(false) => {
            Finding::fails(Topic::Multicast, name, "what is sent to a group is not heard here").advise(advice(name))
        }
        Err(error) => {
            Finding::fails(Topic::Multicast, name, format!("a group cannot be used: {error}")).advise(advice(name))
        }
    }
}

fn advice(name: &str) -> String {
    match flags(name) {
        Some(flags) if flags & MULTICAST == 0 => format!("it is not for multicast: ip link set {name} multicast on"),
        _ => format!("a firewall, or no route: ip route add 239.0.0.0/8 dev {name}"),
    }
}

/// Sends to a group on an interface, and listens to it there.
fn comes_back(name: &str) -> io::Result<bool> {
    let group = group();
    let receiver = net::receiver(SocketAddr::from((group, 0)), Some(name), None)?;
    let port = receiver.local_addr()?.port();
    let options =
        SendOptions { ttl: 1, interface: Some(name.to_owned()), multicast_loop: true, ..SendOptions::default() };
    let sender = net::sender(SocketAddr::from((group, port)), &options)?;
    let word = format!("vox-doctor {}", std::process::id());
    sender.send(word.as_bytes())?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let mut heard = [0; 64];
    Ok(receiver.recv(&mut heard).is_ok_and(|length| heard[..length] == *word.as_bytes()))
}

/// A group for local use (RFC 2365) that nobody else is likely to use now.
fn group() -> Ipv4Addr {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    Ipv4Addr::new(239, 255, (now >> 10) as u8, (now >> 18) as u8 | 1)
}
