//! Participants, and those who only stand in the door.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use vox_room::{Notice, VoiceKeys};
use vox_rtp::{Header, Packet, write_packet};
use vox_srtp::Protector;
use vox_sys::batch::Batch;
use vox_sys::{monotonic_ns, net, pipe};

use crate::figures::Latencies;
use crate::{Args, FRAME, Mode, tls};

/// Bytes of an Opus packet of 20 ms at 32 kbit/s.
const PAYLOAD: [u8; 80] = [0; 80];

/// The connection of the signalling.
trait Signalling: Read + Write {}

impl<T: Read + Write> Signalling for T {}

pub(crate) struct Participant {
    /// Kept open: the seat is gone with it.
    _signalling: Option<Box<dyn Signalling>>,
    socket: UdpSocket,
    /// The number of its stream, where it talks.
    ssrc: Option<u32>,
    seal: Option<Protector>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Participant {
    pub(crate) fn enter(args: &Args, room: usize, member: usize, ssrc: Option<u32>) -> Result<Self, Box<dyn Error>> {
        let socket = net::receiver(SocketAddr::from(([127, 0, 0, 1], 0)), None, None)?;
        let (signalling, to, hello, keys) = match args.mode {
            Mode::Bare => (None, args.server, format!("JOIN {room}"), None),
            _ => {
                let (signalling, to, key, keys) = connect(args, room, member, ssrc)?;
                (Some(signalling), to, format!("TALKSESSION: {key}"), keys)
            }
        };
        socket.connect(to)?;
        let one = Self {
            _signalling: signalling,
            socket,
            ssrc,
            seal: keys.map(|keys| Protector::new(&keys.own)),
            plain: Vec::new(),
            sealed: Vec::new(),
        };
        one.bind(&hello)?;
        Ok(one)
    }

    fn bind(&self, hello: &str) -> Result<(), Box<dyn Error>> {
        let mut buffer = [0; 2048];
        for _ in 0..50 {
            self.socket.send(hello.as_bytes())?;
            pipe::wait(&[self.socket.as_fd()], None, Some(monotonic_ns() + 100_000_000))?;
            if net::receive(&self.socket, &mut buffer)?.is_some() {
                return Ok(());
            }
        }
        Err("no answer by UDP".into())
    }

    /// Says its next packet.
    pub(crate) fn speak(&mut self, frame: u32) -> Result<(), Box<dyn Error>> {
        let header = Header {
            ssrc: self.ssrc.unwrap_or_default(),
            sequence: frame as u16,
            timestamp: frame * FRAME,
            payload_type: 96,
            marker: false,
        };
        self.plain.clear();
        write_packet(header, &[], &PAYLOAD, &mut self.plain);
        let bytes = match &mut self.seal {
            None => &self.plain,
            Some(seal) => {
                seal.protect_rtp(&self.plain, &mut self.sealed)?;
                &self.sealed
            }
        };
        self.socket.send(bytes)?;
        Ok(())
    }

    /// Takes what has arrived; true where there was something. What was said when is in `said`, by stream and frame.
    pub(crate) fn fetch(
        &self,
        batch: &mut Batch,
        said: &[Vec<i64>],
        latencies: &mut Latencies,
    ) -> Result<bool, Box<dyn Error>> {
        let mut came = false;
        loop {
            batch.fill(&self.socket)?;
            if batch.is_empty() {
                return Ok(came);
            }
            came = true;
            let now = monotonic_ns();
            while let Some((datagram, bytes)) = batch.pop() {
                // The header is never enciphered.
                let Ok(packet) = Packet::parse(bytes) else { continue };
                let talker = said.get((packet.header.ssrc as usize).wrapping_sub(1));
                let when = talker.and_then(|times| times.get((packet.header.timestamp / FRAME) as usize));
                if let Some(when) = when {
                    latencies.add(now.max(monotonic_ns()) - datagram.age - when);
                }
            }
        }
    }
}

type Connected = (Box<dyn Signalling>, SocketAddr, String, Option<VoiceKeys>);

/// Takes a seat, and learns where voice goes.
fn connect(args: &Args, room: usize, member: usize, ssrc: Option<u32>) -> Result<Connected, Box<dyn Error>> {
    let tcp = TcpStream::connect(args.server)?;
    tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
    tcp.set_nodelay(true)?;
    let stream = ssrc.map_or_else(String::new, |ssrc| format!("STREAM {ssrc}: pt=96 frame={FRAME}\n"));
    let carrier = if args.srtp { "srtp" } else { "udp" };
    let mut signalling: Box<dyn Signalling> =
        if args.srtp { Box::new(tls::encrypted(tcp.try_clone()?)?) } else { Box::new(tcp.try_clone()?) };
    let lines = format!(
        "CONNECT: \"r{room}m{member}\" \"load\" 1.0.0\nJOIN: #r{room}\nVOICE #r{room}: {carrier}\nEVENTS: off\n{stream}"
    );
    signalling.write_all(lines.as_bytes())?;
    signalling.flush()?;
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        let length = signalling.read(&mut bytes)?;
        if length == 0 {
            return Err(format!("refused: {text}").into());
        }
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        for line in text.split_inclusive("\r\n").filter(|line| line.ends_with('\n')) {
            match Notice::parse(line.trim_end()) {
                Notice::VoiceUdp(to, key) => return Ok((signalling, to, key, None)),
                Notice::VoiceSrtp(to, key, keys) => return Ok((signalling, to, key, Some(keys))),
                _ => {}
            }
        }
    }
}

/// What those say who never come to an end: nothing, half a line, half a TLS greeting, half a request for a WebSocket.
const HALVES: [&[u8]; 4] =
    [b"", b"CONNECT: \"half", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/1.1\r\nUpgrade: webso"];

/// Connections that are half open.
pub(crate) struct Crowd(Vec<TcpStream>);

impl Crowd {
    pub(crate) fn open(server: SocketAddr, number: usize) -> Result<Self, Box<dyn Error>> {
        let mut all = Vec::with_capacity(number);
        for at in 0..number {
            let mut stream = TcpStream::connect(server)?;
            stream.write_all(HALVES[at % HALVES.len()])?;
            stream.set_nonblocking(true)?;
            all.push(stream);
        }
        Ok(Self(all))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many the server has closed by now.
    pub(crate) fn closed(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let mut is_closed = |stream: &mut TcpStream| {
            loop {
                match stream.read(&mut bytes) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => return error.kind() != ErrorKind::WouldBlock,
                }
            }
        };
        self.0.iter_mut().map(|stream| usize::from(is_closed(stream))).sum()
    }
}
