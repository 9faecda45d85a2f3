//! What was sent lately, to be sent again when it is asked for: as it was, or in a stream of its own (RFC 4588).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vox_frame::Stamp;
use vox_repair::{OwnStream, RETRANSMISSION_TYPE, ResendConfig, Resender, read_requests};
use vox_rtp::{Header, Packet};
use vox_sys::monotonic_ns;

use crate::stream::random;

/// How long packets are kept, in ms.
pub(crate) const KEEP_MS: u32 = 500;

/// Streams whose packets are kept.
const MAX_STREAMS: usize = 64;

/// Payload types of retransmissions, from above: those that RFC 3551 leaves to everybody where 96 to 127 are not enough.
const TYPES: std::ops::RangeInclusive<u8> = 35..=RETRANSMISSION_TYPE;

/// Shared by the thread that sends media and the one that hears what is asked for.
pub(crate) struct Again {
    /// Whether what is sent again goes in streams of its own.
    apart: bool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    streams: BTreeMap<u32, Resender>,
    /// By which payload type packets of a payload type are sent again.
    types: BTreeMap<u8, u8>,
}

/// A packet that is to be sent again, as it is or in a stream of its own.
pub(crate) enum Resent<'a> {
    AsItWas(&'a [u8]),
    Apart(Header, usize, &'a [u8]),
}

impl Again {
    pub(crate) fn new(apart: bool) -> Self {
        Self { apart, kept: Mutex::default() }
    }

    /// Whether what is sent again goes in streams of its own.
    pub(crate) const fn is_apart(&self) -> bool {
        self.apart
    }

    /// A stream begins, whose packets will be of these types; gives the SSRC of its retransmissions, where they have one.
    pub(crate) fn open(&self, ssrc: u32, carried: &[u8]) -> Option<u32> {
        let mut kept = self.lock();
        if kept.streams.len() >= MAX_STREAMS && !kept.streams.contains_key(&ssrc) {
            return None;
        }
        let stream = self.apart.then(|| {
            carried.iter().for_each(|number| kept.allot(*number));
            OwnStream { ssrc: random(), types: kept.types.clone() }
        });
        let own = stream.as_ref().map(|stream| stream.ssrc);
        let config = ResendConfig { keep_ns: i64::from(KEEP_MS) * 1_000_000, stream };
        kept.streams.insert(ssrc, Resender::new(config, random() as u16));
        own
    }

    /// A stream has ended, and nobody asks for it any more.
    pub(crate) fn close(&self, ssrc: u32) {
        self.lock().streams.remove(&ssrc);
    }

    /// The payload types of retransmissions so far, each with that of what it carries.
    pub(crate) fn types(&self) -> BTreeMap<u8, Option<u8>> {
        self.lock().types.iter().map(|(carried, again)| (*again, Some(*carried))).collect()
    }

    /// Keeps a packet: as it was sent, or, where it will be sent in another stream, before it was protected.
    pub(crate) fn keep(&self, packet: &[u8]) {
        let Some(Ok(ssrc)) = packet.get(8..12).map(<[u8; 4]>::try_from) else { return };
        if let Some(resender) = self.lock().streams.get_mut(&u32::from_be_bytes(ssrc)) {
            resender.handle_sent(Stamp::from_ns(monotonic_ns()), packet);
        }
    }

    /// What RTCP asks for; `out` is called with what is to be sent.
    pub(crate) fn handle_requests(&self, compound: &[u8], mut out: impl FnMut(Resent<'_>)) {
        let mut kept = self.lock();
        for (ssrc, numbers) in read_requests(compound) {
            let Some(resender) = kept.streams.get_mut(&ssrc) else { continue };
            resender.handle_request(Stamp::from_ns(monotonic_ns()), &numbers, |packet| match Packet::parse(packet) {
                Ok(parsed) if self.apart => out(Resent::Apart(parsed.header, parsed.payload.len(), packet)),
                _ => out(Resent::AsItWas(packet)),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Finds a payload type for retransmissions of another; where all are taken, such packets are not sent again.
    fn allot(&mut self, carried: u8) {
        if self.types.contains_key(&carried) {
            return;
        }
        let is_free = |number: &u8| !self.types.contains_key(number) && self.types.values().all(|used| used != number);
        if let Some(number) = TYPES.rev().find(is_free) {
            self.types.insert(carried, number);
        }
    }
}
