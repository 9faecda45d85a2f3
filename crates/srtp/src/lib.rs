//! Secure RTP with a key that both sides were given beforehand (RFC 3711, RFC 7714, RFC 4568), as pure state.
//!
//! [`Protector`] makes SRTP and SRTCP of packets, [`Unprotector`] makes packets of them again, or says why not: a
//! packet that was forged, replayed or made with another key is an outcome, never an error that ends anything.
//!
//! The ciphers are those of rtc-srtp. Around it stand the guards that it leaves to its user: no state is kept for a
//! source before one of its packets proved that it has the key; a replay window of [`WINDOW`] packets, which only
//! packets that are genuine move; and a receiver that comes late finds the roll-over counter.

mod key;
mod protect;
mod replay;
mod sdes;
mod suite;
mod unprotect;

pub use key::{KeyError, MasterKey};
pub use protect::{ProtectError, Protector};
pub use replay::WINDOW;
pub use sdes::{CryptoLine, SdesError, read_key};
pub use suite::Suite;
pub use unprotect::{Refused, UnprotectStats, Unprotector};
