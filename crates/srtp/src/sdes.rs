//! Keys in session descriptions (RFC 4568): `a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:BASE64`.

use core::fmt;

use zeroize::Zeroizing;

use crate::{KeyError, MasterKey, Suite};

/// Bytes of the longest line that is read.
const MAX_LINE: usize = 1024;

/// One `a=crypto` line: a suite with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct CryptoLine {
    /// Tells the lines of a description apart, 1 and up.
    pub tag: u32,
    /// Suite and key.
    pub key: MasterKey,
}

/// Why an `a=crypto` line is of no use. It never repeats the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdesError {
    /// Not `TAG SUITE inline:KEY`.
    #[error("not of the form TAG SUITE inline:KEY")]
    Syntax,
    /// A suite that is not known.
    #[error("a crypto suite that is not known here")]
    Suite,
    /// Something is wrong with the key.
    #[error("its key is of no use: {0}")]
    Key(#[from] KeyError),
    /// Several keys, or a master key identifier: one key is what is spoken here.
    #[error("it has several keys or a master key identifier")]
    SeveralKeys,
    /// A session parameter that changes how packets are secured, such as UNENCRYPTED_SRTP.
    #[error("it has a session parameter that is not supported")]
    Parameter,
}

impl CryptoLine {
    /// Reads a line: what follows `a=crypto:`, or the whole of it.
    ///
    /// # Errors
    /// Where it is none, or asks for what is not supported here.
    pub fn parse(text: &str) -> Result<Self, SdesError> {
        let text = text.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        let text = text.strip_prefix("crypto:").unwrap_or(text);
        if text.len() > MAX_LINE {
            return Err(SdesError::Syntax);
        }
        let mut words = text.split_ascii_whitespace();
        let tag = words.next().and_then(number).ok_or(SdesError::Syntax)?;
        let suite: Suite = words.next().ok_or(SdesError::Syntax)?.parse().map_err(|_| SdesError::Suite)?;
        let parameters = words.next().ok_or(SdesError::Syntax)?;
        if parameters.contains(';') {
            return Err(SdesError::SeveralKeys);
        }
        let inline = parameters.strip_prefix("inline:").ok_or(SdesError::Syntax)?;
        let mut parts = inline.split('|');
        let key = parts.next().ok_or(SdesError::Syntax)?;
        // What follows is the key's lifetime, `2^31` or a number, and `MKI:LENGTH`.
        for part in parts {
            if part.contains(':') {
                return Err(SdesError::SeveralKeys);
            }
        }
        if !words.all(is_harmless) {
            return Err(SdesError::Parameter);
        }
        Ok(Self { tag, key: MasterKey::parse(suite, key)? })
    }

    /// What stands behind `a=crypto:`.
    pub fn to_attribute(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{} {} inline:{}", self.tag, self.key.suite(), self.key.to_base64().as_str()))
    }
}

impl fmt::Debug for CryptoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CryptoLine({} {} inline:…)", self.tag, self.key.suite())
    }
}

/// Reads a key as a person has it: base64 or hexadecimal for `suite`, or a whole `a=crypto` line, which names its own.
///
/// # Errors
/// Where it is none.
pub fn read_key(text: &str, suite: Suite) -> Result<MasterKey, SdesError> {
    if text.contains("inline:") {
        return CryptoLine::parse(text).map(|line| line.key);
    }
    Ok(MasterKey::parse(suite, text)?)
}

/// A tag: up to nine digits (RFC 4568, section 9.2).
fn number(text: &str) -> Option<u32> {
    (text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Whether packets are secured the same way without the parameter (RFC 4568, sections 6.3 and 6.3.7): a hint at the
/// window's size, or one that the sender says may be ignored.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with("WSH=") || parameter.starts_with('-') || parameter == "KDR=0"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of RFC 4568, section 6.1 and 9.2, put together.
    const LINE: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20";

    #[test]
    fn the_example_of_the_rfc_is_read_and_written() {
        let line = CryptoLine::parse(LINE).unwrap();
        assert_eq!((line.tag, line.key.suite()), (1, Suite::AesCm128HmacSha1_80));
        assert_eq!(line.key.key(), b"wDfvg&T+)xG7@fb5");
        assert_eq!(line.to_attribute().as_str(), LINE.trim_end_matches("|2^20"));
        assert_eq!(CryptoLine::parse(&format!("a=crypto:{LINE} WSH=64 -X\r\n")).unwrap(), line);
    }

    #[test]
    fn what_would_secure_packets_otherwise_is_refused() {
        for (tail, error) in [
            ("|1:4", SdesError::SeveralKeys),
            (";inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj", SdesError::SeveralKeys),
            (" UNENCRYPTED_SRTP", SdesError::Parameter),
            (" KDR=1", SdesError::Parameter),
            (" FEC_ORDER=SRTP_FEC", SdesError::Parameter),
        ] {
            assert_eq!(CryptoLine::parse(&format!("{LINE}{tail}")), Err(error), "{tail}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, error) in [
            ("", SdesError::Syntax),
            ("1", SdesError::Syntax),
            ("x AES_CM_128_HMAC_SHA1_80 inline:AA", SdesError::Syntax),
            ("1234567890 AES_CM_128_HMAC_SHA1_80 inline:AA", SdesError::Syntax),
            ("1 F8_128_HMAC_SHA1_80 inline:AA", SdesError::Suite),
            ("1 AEAD_AES_128_GCM uri:AA", SdesError::Syntax),
            ("1 AEAD_AES_128_GCM inline:!", SdesError::Key(KeyError::Encoding)),
        ] {
            assert_eq!(CryptoLine::parse(text), Err(error), "{text}");
        }
        assert_eq!(CryptoLine::parse(&format!("{LINE} -{}", "x".repeat(1024))), Err(SdesError::Syntax));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _read_or_refused = CryptoLine::parse(&text);
            let _read_or_refused = CryptoLine::parse(&format!("1 AEAD_AES_256_GCM inline:{text}"));
        }

        #[test]
        fn every_key_survives_its_line(suite in 0usize..4, bytes in prop::collection::vec(any::<u8>(), 44)) {
            let suite = Suite::ALL[suite];
            let key = MasterKey::from_bytes(suite, &bytes[..suite.key_bytes() + suite.salt_bytes()]).unwrap();
            let line = CryptoLine { tag: 7, key };
            prop_assert_eq!(CryptoLine::parse(&line.to_attribute()).unwrap(), line);
        }
    }
}
