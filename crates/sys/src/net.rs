//! UDP sockets: multicast, DSCP, and the kernel's time of arrival.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// What a receiver asks the kernel to hold for it, in bytes, where a small packet counts as about 800: a tenth of a
/// second of a thousand streams, in which this process may stand still.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The oldest arrival that is believed, in ns: beyond it the clocks have been stepped in between.
const MAX_AGE_NS: i64 = 10_000_000_000;

/// How packets leave.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// Where they leave from.
    pub local: Option<SocketAddr>,
    /// Hops of multicast packets.
    pub ttl: u32,
    /// The interface of multicast packets, by name or address.
    pub interface: Option<String>,
    /// Whether this host hears its own multicast packets.
    pub multicast_loop: bool,
    /// Differentiated services code point, 0 to 63.
    pub dscp: Option<u8>,
}

/// The addresses of `HOST:PORT`, at least one, in the order to try them.
///
/// # Errors
/// Where the name cannot be resolved.
pub fn addresses(destination: &str) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = destination.to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    put_in_order(&mut addresses);
    Ok(addresses)
}

/// Where nothing else is said the stages listen at 127.0.0.1, and most systems name `localhost` by ::1 first.
fn put_in_order(addresses: &mut [SocketAddr]) {
    addresses.sort_by_key(|address| address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST));
}

/// The first address of `HOST:PORT`.
///
/// # Errors
/// Where the name cannot be resolved.
pub fn resolve(destination: &str) -> io::Result<SocketAddr> {
    Ok(addresses(destination)?[0])
}

/// The first address of `HOST:PORT` that packets from `local` can go to: one of its family.
///
/// # Errors
/// Where the name cannot be resolved, or has no such address.
pub fn resolve_from(destination: &str, local: SocketAddr) -> io::Result<SocketAddr> {
    let is_of_family = |address: &SocketAddr| address.is_ipv4() == local.is_ipv4();
    addresses(destination)?.into_iter().find(is_of_family).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("the name has no address of the family of {local}"))
    })
}

/// A socket that sends to `destination` only.
///
/// # Errors
/// As the system says.
pub fn sender(destination: SocketAddr, options: &SendOptions) -> io::Result<UdpSocket> {
    let destination = scoped(destination, options.interface.as_deref())?;
    let socket = leaving(destination, options)?;
    socket.connect(&destination.into())?;
    Ok(socket.into())
}

/// A socket that sends as one to `destination` does, and may send to anybody and hear anybody too.
///
/// # Errors
/// As the system says.
pub fn talker(destination: SocketAddr, options: &SendOptions) -> io::Result<UdpSocket> {
    let destination = scoped(destination, options.interface.as_deref())?;
    let socket = leaving(destination, options)?;
    if options.local.is_none() {
        socket.bind(&any(destination).into())?;
    }
    stamp_arrivals(&socket)?;
    Ok(socket.into())
}

fn leaving(destination: SocketAddr, options: &SendOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(destination), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(local) = options.local {
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
    }
    if let Some(dscp) = options.dscp {
        match destination {
            SocketAddr::V4(_) => socket.set_tos_v4(u32::from(dscp) << 2)?,
            SocketAddr::V6(_) => socket.set_tclass_v6(u32::from(dscp) << 2)?,
        }
    }
    if destination.ip().is_multicast() {
        prepare_multicast(&socket, destination, options)?;
    }
    Ok(socket)
}

/// Any address of the same family, and any port.
fn any(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A socket that sends to anybody and hears what comes back: for RTCP. Where `destination` is a group, it joins it.
///
/// # Errors
/// As the system says.
pub fn reporter(destination: SocketAddr, options: &SendOptions) -> io::Result<UdpSocket> {
    let destination = scoped(destination, options.interface.as_deref())?;
    let socket = Socket::new(Domain::for_address(destination), Type::DGRAM, Some(Protocol::UDP))?;
    if destination.ip().is_multicast() {
        socket.set_reuse_address(true)?;
        socket.bind(&destination.into())?;
        join(&socket, destination.ip(), options.interface.as_deref(), None)?;
        prepare_multicast(&socket, destination, options)?;
    } else {
        socket.bind(&options.local.unwrap_or_else(|| any(destination)).into())?;
    }
    stamp_arrivals(&socket)?;
    Ok(socket.into())
}

/// Prepares a socket from [`sender`] to hear what comes back.
///
/// # Errors
/// As the system says.
pub fn hear_back(socket: &UdpSocket) -> io::Result<()> {
    stamp_arrivals(socket)
}

fn prepare_multicast(socket: &Socket, destination: SocketAddr, options: &SendOptions) -> io::Result<()> {
    match destination {
        SocketAddr::V4(_) => {
            socket.set_multicast_ttl_v4(options.ttl)?;
            socket.set_multicast_loop_v4(options.multicast_loop)?;
            match options.interface.as_deref().map(interface).transpose()? {
                Some(Interface::Address(address)) => socket.set_multicast_if_v4(&address),
                // The index is asked for by an address in 0.0.0.0/8 nowhere but in this option's larger form, which
                // socket2 has no call for: binding to the device does the same.
                Some(Interface::Index(_)) => socket.bind_device(options.interface.as_deref().map(str::as_bytes)),
                None => Ok(()),
            }
        }
        SocketAddr::V6(_) => {
            socket.set_multicast_hops_v6(options.ttl)?;
            socket.set_multicast_loop_v6(options.multicast_loop)?;
            match options.interface.as_deref().map(interface).transpose()? {
                Some(Interface::Index(index)) => socket.set_multicast_if_v6(index),
                _ => Ok(()),
            }
        }
    }
}

/// IPv6 addresses that mean something on one link only (RFC 4007) go by the interface that was named.
fn scoped(address: SocketAddr, on: Option<&str>) -> io::Result<SocketAddr> {
    let SocketAddr::V6(mut name) = address else { return Ok(address) };
    let ip = name.ip();
    // Groups of scope 1 (interface-local) and 2 (link-local), RFC 4291, section 2.7.
    let narrow = ip.is_unicast_link_local() || (ip.is_multicast() && matches!(ip.segments()[0] & 0xf, 1 | 2));
    if let (true, 0, Some(on)) = (narrow, name.scope_id(), on)
        && let Interface::Index(index) = interface(on)?
    {
        name.set_scope_id(index);
    }
    Ok(name.into())
}

enum Interface {
    Address(Ipv4Addr),
    Index(u32),
}

/// An interface by its IPv4 address or its name.
fn interface(text: &str) -> io::Result<Interface> {
    if let Ok(address) = text.parse() {
        return Ok(Interface::Address(address));
    }
    // Not from /sys, which may show another network namespace than this process is in.
    let name = CString::new(text).unwrap_or_default();
    // SAFETY: the name is a string that ends with a zero and outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {text}"))),
        index => Ok(Interface::Index(index)),
    }
}

/// A socket that hears `address`: its own host's, or a multicast group, which it joins (from `source` only, where
/// that is given).
///
/// # Errors
/// As the system says.
pub fn receiver(address: SocketAddr, on: Option<&str>, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let address = scoped(address, on)?;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let group = address.ip().is_multicast();
    if group {
        // Several listeners of one host may hear the same group.
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    enlarge(&socket);
    socket.bind(&address.into())?;
    if group {
        join(&socket, address.ip(), on, source)?;
    }
    stamp_arrivals(&socket)?;
    Ok(socket.into())
}

fn join(socket: &Socket, group: IpAddr, on: Option<&str>, source: Option<IpAddr>) -> io::Result<()> {
    let on = on.map(interface).transpose()?;
    match (group, source) {
        (IpAddr::V4(group), None) => {
            let on = match on {
                Some(Interface::Address(address)) => InterfaceIndexOrAddress::Address(address),
                Some(Interface::Index(index)) => InterfaceIndexOrAddress::Index(index),
                None => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
            };
            socket.join_multicast_v4_n(&group, &on)
        }
        (IpAddr::V6(group), None) => {
            let index = match on {
                Some(Interface::Index(index)) => index,
                _ => 0,
            };
            socket.join_multicast_v6(&group, index)
        }
        (group, Some(source)) => match (on, group, source) {
            (Some(Interface::Address(on)), IpAddr::V4(group), IpAddr::V4(source)) => {
                socket.join_ssm_v4(&source, &group, &on)
            }
            (Some(Interface::Index(index)), ..) => join_source(socket, group, source, index),
            _ => join_source(socket, group, source, 0),
        },
    }
}

/// Joins a group for one sender only (RFC 3678); the interface by its index, 0 for the system's choice.
fn join_source(socket: &Socket, group: IpAddr, source: IpAddr, index: u32) -> io::Result<()> {
    if group.is_ipv4() != source.is_ipv4() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the source is of another address family than its group",
        ));
    }
    let request =
        libc::group_source_req { gsr_interface: index, gsr_group: storage(group), gsr_source: storage(source) };
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    // SAFETY: the option takes a group_source_req, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            MCAST_JOIN_SOURCE_GROUP,
            (&raw const request).cast(),
            size_of::<libc::group_source_req>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The option's number on Linux (`linux/in.h`).
const MCAST_JOIN_SOURCE_GROUP: libc::c_int = 46;

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    let name = socket2::SockAddr::from(SocketAddr::new(address, 0));
    // SAFETY: zeros are a valid sockaddr_storage, and the name is never longer than one.
    unsafe {
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init();
        std::ptr::copy_nonoverlapping(name.as_ptr().cast::<u8>(), (&raw mut storage).cast::<u8>(), name.len() as usize);
        storage
    }
}

/// Asks for a large receive buffer: beyond the limit for everybody where the process may, else up to it.
fn enlarge(socket: &Socket) {
    let bytes = RECEIVE_BUFFER as libc::c_int;
    // SAFETY: the option takes an int, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status != 0 {
        // A smaller buffer than asked for loses packets only where this process stands still.
        let _smaller = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

fn stamp_arrivals(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its length, in bytes.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// How long before this call returned the kernel received it, in ns.
    pub age: i64,
}

/// Receives a datagram into `buffer`; none where nothing is there.
///
/// # Errors
/// As the system says.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = [0u64; 16];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a zeroed msghdr is a valid one.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer of the message is good for the length that stands beside it, for the whole call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        };
    };
    // SAFETY: the kernel has filled the name in, and zeros are a valid one otherwise.
    let from = address(unsafe { name.assume_init_ref() });
    Ok(Some(Datagram { length, from, age: kernel_age(&message) }))
}

pub(crate) fn address(name: &libc::sockaddr_storage) -> SocketAddr {
    if libc::c_int::from(name.ss_family) == libc::AF_INET6 {
        // SAFETY: the family says that it is an IPv6 name, and the storage is large enough and aligned for any.
        let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
        let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
        return SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into();
    }
    // SAFETY: as above, for IPv4.
    let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
    SocketAddrV4::new(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)), u16::from_be(name.sin_port)).into()
}

/// How long ago the kernel received the message, by the system clock; 0 where that clock was stepped in between.
pub(crate) fn kernel_age(message: &libc::msghdr) -> i64 {
    // SAFETY: the message was filled in by recvmsg, so its control part is a list of headers within its length.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_FIRSTHDR gives null or a header within the control part.
    let Some(first) = (unsafe { header.as_ref() }) else { return 0 };
    if first.cmsg_level != libc::SOL_SOCKET || first.cmsg_type != libc::SCM_TIMESTAMPNS {
        return 0;
    }
    // SAFETY: a message of this type holds a timespec; it need not be aligned.
    let stamp: libc::timespec = unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let age = (now.tv_sec - stamp.tv_sec) * 1_000_000_000 + (now.tv_nsec - stamp.tv_nsec);
    if (0..MAX_AGE_NS).contains(&age) { age } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_with_its_sender_and_its_age() {
        let receiver = receiver(SocketAddr::from(([127, 0, 0, 1], 0)), None, None).expect("a socket");
        let to = receiver.local_addr().expect("an address");
        let sender = sender(to, &SendOptions::default()).expect("a socket");
        sender.send(b"hello").expect("loopback takes it");
        let mut buffer = [0; 64];
        let got = receive(&receiver, &mut buffer).expect("no error").expect("loopback delivers at once");
        assert_eq!(&buffer[..got.length], b"hello");
        assert_eq!(got.from, sender.local_addr().expect("an address"));
        assert!((0..1_000_000_000).contains(&got.age));
        assert_eq!(receive(&receiver, &mut buffer).expect("no error"), None);
    }

    #[test]
    fn a_name_of_this_host_means_where_the_stages_listen() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut localhost = [address("[::1]:9"), address("127.0.0.1:9")];
        put_in_order(&mut localhost);
        assert_eq!(localhost, [address("127.0.0.1:9"), address("[::1]:9")]);
        let mut elsewhere = [address("[2001:db8::1]:9"), address("192.0.2.1:9")];
        put_in_order(&mut elsewhere);
        assert_eq!(elsewhere[0], address("[2001:db8::1]:9"), "the system's own order");
        assert_eq!(resolve("[::1]:9").expect("a number"), address("[::1]:9"));
    }

    #[test]
    fn who_sends_from_an_address_sends_to_one_of_its_family() {
        let local = SocketAddr::from(([0, 0, 0, 0], 9));
        assert!(resolve_from("127.0.0.1:9", local).is_ok());
        assert!(resolve_from("[::1]:9", local).is_err());
    }

    #[test]
    fn an_interface_name_is_no_path() {
        assert!(interface("../../etc").is_err());
        assert!(matches!(interface("lo"), Ok(Interface::Index(_))));
    }
}
