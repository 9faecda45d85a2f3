//! From packets to SRTP.

use core::fmt;

use rtc_rtp::Header;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::{RTCCryptoProvider as _, providers::RingProvider};

use crate::MasterKey;

/// Bytes of the shortest RTP header, and of what every RTCP packet begins with.
const MIN_RTP: usize = 12;
pub(crate) const MIN_RTCP: usize = 8;

/// Protects what is sent: any number of sources, one key. The caller bounds how many sources it sends.
///
/// A key and salt must protect one run of a sender only: the same SSRC and numbers under the same key again would be
/// enciphered with the same key stream (RFC 3711, section 9.1).
pub struct Protector {
    context: Context,
    overhead: usize,
}

/// Why a packet could not be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtectError {
    /// It is no packet.
    #[error("not a packet that can be protected")]
    Malformed,
    /// 2^48 packets are the most for one key (RFC 3711, section 9.2).
    #[error("the key has protected as many packets as it may")]
    Exhausted,
}

impl Protector {
    /// A sender's side of a session.
    pub fn new(key: &MasterKey) -> Self {
        Self { context: context(key), overhead: key.suite().overhead() }
    }

    /// Bytes by which an RTP packet grows.
    pub const fn overhead(&self) -> usize {
        self.overhead
    }

    /// Protects an RTP packet into `out`, replacing what was there.
    ///
    /// # Errors
    /// Where it is none, or the key is used up.
    pub fn protect_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), ProtectError> {
        let header = header(packet).ok_or(ProtectError::Malformed)?;
        let protected = self.context.encrypt_rtp_with_header(packet, &header).map_err(|_| ProtectError::Exhausted)?;
        out.clear();
        out.extend_from_slice(&protected);
        Ok(())
    }

    /// Protects a compound RTCP packet into `out`, replacing what was there.
    ///
    /// # Errors
    /// Where it is none.
    pub fn protect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), ProtectError> {
        if packet.len() < MIN_RTCP {
            return Err(ProtectError::Malformed);
        }
        let protected = self.context.encrypt_rtcp(packet).map_err(|_| ProtectError::Malformed)?;
        out.clear();
        out.extend_from_slice(&protected);
        Ok(())
    }
}

impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protector(…)")
    }
}

/// The cipher state for a key. Replays are looked for in this crate: rtc-srtp's own window starts from packets that
/// nobody has authenticated.
pub(crate) fn context(key: &MasterKey) -> Context {
    let crypto = RingProvider::new();
    Context::new(key.key(), key.salt(), key.suite().profile(), None, None, crypto.crypto())
        .expect("key and salt have the lengths of the suite, and every suite is one of the provider's")
}

/// What the ciphers need to know of an RTP packet: its source, its number, and how long its header is. None where it
/// is no RTP packet or its header lies about its length.
///
/// The header is not parsed by rtc-rtp: its idea of how long a header is differs from the packet's where a header
/// extension has elements that it does not know, and a payload enciphered from another byte on is noise. A list of
/// contributing sources of the same length stands for whatever there is.
pub(crate) fn header(packet: &[u8]) -> Option<Header> {
    let (&[first, _, s0, s1, _, _, _, _, r0, r1, r2, r3], rest) = packet.split_first_chunk::<MIN_RTP>()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut words = usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let length = rest.get(4 * words + 2..4 * words + 4)?;
        words += 1 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
    if rest.len() < 4 * words {
        return None;
    }
    Some(Header {
        version: 2,
        ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
        sequence_number: u16::from_be_bytes([s0, s1]),
        csrc: vec![0; words],
        ..Header::default()
    })
}
