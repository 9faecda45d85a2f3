//! SRTP: what leaves is protected, what comes back is opened.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vox_cli::{Failure, SecretSource, warn};
use vox_frame::Stamp;
use vox_rtp::{Protocol, Secret};
use vox_srtp::{CryptoLine, MasterKey, Protector, Unprotector, read_key};

use crate::args::Args;

/// Sources that may send back.
const MAX_SOURCES: usize = 64;

/// Shared by the thread that sends media and the one that sends reports and listens.
pub(crate) struct Cover {
    sides: Mutex<Sides>,
}

struct Sides {
    protector: Protector,
    unprotector: Unprotector,
    opened: Vec<u8>,
}

/// The key that the arguments name; none where packets are not to be protected.
pub(crate) fn key(args: &Args) -> Result<Option<MasterKey>, Failure> {
    let Some(source) = &args.srtp else { return Ok(None) };
    let key = read(source, args)?;
    if args.ssrc.is_some() {
        warn("the same --ssrc and key for two runs enciphers both with one key stream: take a new key for each run");
    }
    Ok(Some(key))
}

fn read(source: &SecretSource, args: &Args) -> Result<MasterKey, Failure> {
    let text = source.read()?;
    read_key(&text, args.srtp_suite).map_err(|error| Failure::usage(format_args!("the key in {source}: {error}")))
}

/// The cover that the arguments ask for: our key for what leaves, for what comes the other side's or the same.
pub(crate) fn cover(args: &Args) -> Result<Option<Cover>, Failure> {
    let Some(ours) = key(args)? else { return Ok(None) };
    let theirs = args.srtp_theirs.as_ref().map(|source| read(source, args)).transpose()?;
    let protector = Protector::new(&ours);
    let unprotector = Unprotector::new(theirs.unwrap_or(ours), MAX_SOURCES);
    Ok(Some(Cover { sides: Mutex::new(Sides { protector, unprotector, opened: Vec::new() }) }))
}

/// What a session description says of the key.
pub(crate) fn crypto_line(key: MasterKey) -> Secret {
    Secret::new(CryptoLine { tag: 1, key }.to_attribute())
}

impl Cover {
    /// The protected form of a packet; none where it has none.
    pub(crate) fn protect(&self, protocol: Protocol, packet: &[u8]) -> Option<Vec<u8>> {
        let mut protected = Vec::with_capacity(packet.len() + 32);
        let protector = &mut self.lock().protector;
        let outcome = match protocol {
            Protocol::Rtcp => protector.protect_rtcp(packet, &mut protected),
            _ => protector.protect_rtp(packet, &mut protected),
        };
        outcome.ok().map(|()| protected)
    }

    /// Opens the packet at the beginning of `buffer` in its place; gives its length, none where it is not genuine.
    pub(crate) fn open(&self, now: Stamp, protocol: Protocol, buffer: &mut [u8], length: usize) -> Option<usize> {
        let mut sides = self.lock();
        let Sides { unprotector, opened, .. } = &mut *sides;
        let packet = &buffer[..length];
        match protocol {
            Protocol::Rtcp => unprotector.handle_rtcp(now, packet, opened),
            _ => unprotector.handle_rtp(now, packet, opened),
        }
        .ok()?;
        buffer.get_mut(..opened.len())?.copy_from_slice(opened);
        Some(opened.len())
    }

    fn lock(&self) -> MutexGuard<'_, Sides> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
