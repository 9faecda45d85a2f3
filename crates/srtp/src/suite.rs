//! Which ciphers there are.

use core::fmt;
use core::str::FromStr;

use rtc_srtp::protection_profile::ProtectionProfile;

/// A crypto suite, by its name in session descriptions (RFC 4568, section 6.2; RFC 7714, section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suite {
    /// AES in counter mode with an authentication tag of 80 bits: what everybody speaks.
    #[default]
    AesCm128HmacSha1_80,
    /// The same with a tag of 32 bits on RTP: six bytes less a packet, and one forgery in 2^32 goes through.
    AesCm128HmacSha1_32,
    /// AES-128 in Galois counter mode, with a tag of 128 bits.
    AeadAes128Gcm,
    /// AES-256 in Galois counter mode, with a tag of 128 bits.
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 4] =
        [Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32, Self::AeadAes128Gcm, Self::AeadAes256Gcm];

    /// Its name in session descriptions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Bytes of the master key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes by which an RTP packet grows.
    pub const fn overhead(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes that follow the index of an RTCP packet: the tag, which Galois counter mode has in front of it.
    pub(crate) const fn rtcp_index_from_end(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 0,
        }
    }

    pub(crate) const fn profile(self) -> ProtectionProfile {
        match self {
            Self::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = String;

    /// Reads the name of a suite, in any case; ffmpeg's names (`SRTP_AES128_CM_HMAC_SHA1_80`) are known too.
    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_ascii_uppercase();
        let name = match upper.as_str() {
            "SRTP_AES128_CM_HMAC_SHA1_80" => "AES_CM_128_HMAC_SHA1_80",
            "SRTP_AES128_CM_HMAC_SHA1_32" => "AES_CM_128_HMAC_SHA1_32",
            name => name,
        };
        Self::ALL.into_iter().find(|suite| suite.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("not a suite that is known here: {}", names.join(", "))
        })
    }
}
