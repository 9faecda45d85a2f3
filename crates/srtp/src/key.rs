//! Keys: read from text, never shown, wiped when they are dropped.

use core::fmt;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::Suite;

/// The master key and salt of a session. It has no form that a log could show, and is overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: Suite,
    /// Key, then salt.
    bytes: Zeroizing<Vec<u8>>,
}

/// Why a text is no key. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither base64 nor hexadecimal.
    #[error("neither base64 nor hexadecimal")]
    Encoding,
    /// The number of bytes does not fit the suite.
    #[error("{have} bytes where {suite} takes {} (key, then salt)", suite.key_bytes() + suite.salt_bytes())]
    Length {
        /// How many there are.
        have: usize,
        /// What they are meant for.
        suite: Suite,
    },
}

impl MasterKey {
    /// A key of raw bytes: master key, then salt.
    ///
    /// # Errors
    /// Where their number does not fit the suite.
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() == suite.key_bytes() + suite.salt_bytes() {
            Ok(Self { suite, bytes: Zeroizing::new(bytes.to_vec()) })
        } else {
            Err(KeyError::Length { have: bytes.len(), suite })
        }
    }

    /// A key of text: key and salt together, as base64 (what session descriptions and ffmpeg write) or hexadecimal
    /// (what GStreamer takes).
    ///
    /// # Errors
    /// Where it is neither, or the length does not fit the suite.
    pub fn parse(suite: Suite, text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let wanted = suite.key_bytes() + suite.salt_bytes();
        if text.len() == 2 * wanted && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Self::from_bytes(suite, &from_hex(text));
        }
        let padded = Zeroizing::new(format!("{text}{}", "=".repeat(text.len().wrapping_neg() % 4)));
        let bytes = Zeroizing::new(Base64::decode_vec(&padded).map_err(|_| KeyError::Encoding)?);
        Self::from_bytes(suite, &bytes)
    }

    /// The suite that it is for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and salt as base64, for a session description.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(&self.bytes))
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.suite.key_bytes()]
    }

    pub(crate) fn salt(&self) -> &[u8] {
        &self.bytes[self.suite.key_bytes()..]
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, …)", self.suite)
    }
}

/// The bytes of an even number of hexadecimal digits.
fn from_hex(text: &str) -> Zeroizing<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    Zeroizing::new(pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_hexadecimal_are_the_same_key() {
        let suite = Suite::AesCm128HmacSha1_80;
        let raw: Vec<u8> = (0..30).collect();
        let key = MasterKey::from_bytes(suite, &raw).unwrap();
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(MasterKey::parse(suite, &key.to_base64()).unwrap(), key);
        assert_eq!(MasterKey::parse(suite, &format!("{}\n", hex.to_uppercase())).unwrap(), key);
        assert_eq!((key.key(), key.salt()), (&raw[..16], &raw[16..]));
    }

    #[test]
    fn base64_may_lack_its_padding() {
        let key = MasterKey::from_bytes(Suite::AeadAes128Gcm, &[7; 28]).unwrap();
        let text = key.to_base64();
        assert!(text.ends_with('='));
        assert_eq!(MasterKey::parse(Suite::AeadAes128Gcm, text.trim_end_matches('=')).unwrap(), key);
    }

    #[test]
    fn no_error_and_no_debug_text_shows_a_key() {
        let suite = Suite::AesCm128HmacSha1_80;
        let secret = "c2VjcmV0c2VjcmV0c2VjcmV0";
        for text in [secret, "c2VjcmV0!!", "", "c"] {
            let error = MasterKey::parse(suite, text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("c2V"), "{error}");
        }
        let key = MasterKey::from_bytes(suite, &[0x41; 30]).unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains("65") && !shown.contains("41") && !shown.contains("AAAA"), "{shown}");
    }
}
