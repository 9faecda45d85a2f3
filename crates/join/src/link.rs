//! The way to the server, shared by who reads from it and who writes to it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vox_room::frame_header;
use vox_srtp::Protector;

use crate::tls::Stream;

/// Bytes that may wait for a slow connection before packets are dropped: voice that late is of no use.
const MAX_VOICE_WAITING: usize = 32 * 1024;

/// Bytes of lines that may wait; a connection that is slower is lost.
const MAX_WAITING: usize = 256 * 1024;

/// The connection as it is now; none while it is lost.
#[derive(Default)]
struct Way {
    stream: Option<Stream>,
    /// None where packets go within the connection.
    udp: Option<Datagrams>,
    waiting: Vec<u8>,
    /// The lines that announce the streams that are being sent, told again after a loss.
    announced: BTreeMap<u32, String>,
    packets: u64,
    bytes: u64,
    dropped: u64,
}

/// Voice by datagrams, sealed where there is a seal.
pub(crate) struct Datagrams {
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) seal: Option<Arc<Mutex<Protector>>>,
}

/// A handle on the way to the server.
#[derive(Clone, Default)]
pub(crate) struct Link {
    way: Arc<Mutex<Way>>,
    over: Arc<AtomicBool>,
    muted: Arc<AtomicBool>,
    /// A call was taken: what is said is heard.
    answered: Arc<AtomicBool>,
    /// Nobody reads what is heard.
    unread: Arc<AtomicBool>,
    /// There is nothing more to say.
    said_all: Arc<AtomicBool>,
}

/// What went out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
}

impl Link {
    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is there: what is being sent is announced on it.
    pub(crate) fn up(&self, stream: Stream, udp: Option<Datagrams>) {
        let mut way = self.way();
        way.stream = Some(stream);
        way.udp = udp;
        way.waiting.clear();
        let lines: Vec<String> = way.announced.values().cloned().collect();
        for line in lines {
            way.line(&line);
        }
    }

    /// The connection is lost.
    pub(crate) fn down(&self) {
        let mut way = self.way();
        way.stream = None;
        way.udp = None;
        way.waiting.clear();
    }

    /// Says that there will be no connection any more.
    pub(crate) fn give_up(&self) {
        self.down();
        self.over.store(true, Ordering::Release);
    }

    /// Says that nobody listens any more, though the connection is there.
    pub(crate) fn give_up_speaking(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn set_answered(&self) {
        self.answered.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn set_unread(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::SeqCst)
    }

    pub(crate) fn set_said_all(&self) {
        self.said_all.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_said_all(&self) -> bool {
        self.said_all.load(Ordering::SeqCst)
    }

    pub(crate) fn set_muted(&self, muted: bool) {
        self.muted.store(muted, Ordering::Release);
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    pub(crate) fn line(&self, line: &str) {
        self.way().line(line);
    }

    /// Announces a stream, now and after every loss of the connection.
    pub(crate) fn announce(&self, ssrc: u32, line: String) {
        let mut way = self.way();
        way.line(&line);
        way.announced.insert(ssrc, line);
    }

    /// A stream has ended.
    pub(crate) fn farewell(&self, ssrc: u32, line: &str) {
        let mut way = self.way();
        way.announced.remove(&ssrc);
        way.line(line);
    }

    /// Sends a packet; one that cannot go now is lost.
    pub(crate) fn packet(&self, packet: &[u8]) {
        let mut way = self.way();
        if way.packet(packet) {
            way.packets += 1;
            way.bytes += packet.len() as u64;
        } else {
            way.dropped += 1;
        }
    }

    /// Writes what waits; true where something still does.
    pub(crate) fn flush(&self) -> bool {
        let mut way = self.way();
        way.flush();
        !way.waiting.is_empty()
    }

    pub(crate) fn sent(&self) -> Sent {
        let way = self.way();
        Sent { packets: way.packets, bytes: way.bytes, dropped: way.dropped }
    }
}

impl Way {
    fn line(&mut self, line: &str) {
        if self.stream.is_none() || self.waiting.len() > MAX_WAITING {
            return;
        }
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.extend_from_slice(b"\r\n");
        self.flush();
    }

    fn packet(&mut self, packet: &[u8]) -> bool {
        if let Some(Datagrams { socket: udp, seal }) = &self.udp {
            let mut sealed = Vec::new();
            let packet = match seal {
                None => packet,
                Some(seal) => {
                    let mut seal = seal.lock().unwrap_or_else(PoisonError::into_inner);
                    if seal.protect_rtp(packet, &mut sealed).is_err() {
                        return false;
                    }
                    &sealed
                }
            };
            let refused = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
            let outcome = udp.send(packet);
            // The kernel reports that an earlier packet was refused in place of sending this one.
            let outcome = if outcome.as_ref().is_err_and(refused) { udp.send(packet) } else { outcome };
            return outcome.is_ok();
        }
        let Some(header) = frame_header(packet.len()) else { return false };
        if self.stream.is_none() || self.waiting.len() > MAX_VOICE_WAITING {
            return false;
        }
        self.waiting.extend_from_slice(&header);
        self.waiting.extend_from_slice(packet);
        self.flush();
        true
    }

    /// Writes what the kernel takes. That a connection is broken is seen by who reads from it.
    fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut done = 0;
        while done < self.waiting.len() {
            match stream.write(&self.waiting[done..]) {
                Ok(0) => break,
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // What TLS keeps for itself goes with it.
        let _later = stream.flush();
        self.waiting.drain(..done);
    }
}
