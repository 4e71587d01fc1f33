//! Protection profiles: which cipher, which tag, and how SDES and DTLS-SRTP call them.

use std::fmt;

/// A protection profile. Names as in RFC 5764, RFC 7714 and the IANA registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// AES-128 in counter mode, HMAC-SHA1 cut to 80 bits (RFC 3711): what every peer has.
    Aes128CmSha1_80,
    /// The same with tags of 32 bits on RTP; RTCP keeps 80 (RFC 4568, section 6.2.2).
    Aes128CmSha1_32,
    /// AES-256 in counter mode, HMAC-SHA1 cut to 80 bits (RFC 6188).
    Aes256CmSha1_80,
    /// The same with tags of 32 bits on RTP; RTCP keeps 80.
    Aes256CmSha1_32,
    /// AES-128 in GCM, tags of 128 bits (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in GCM, tags of 128 bits (RFC 7714).
    AeadAes256Gcm,
}

impl Profile {
    /// All profiles, strongest first.
    pub const ALL: [Self; 6] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes256CmSha1_80,
        Self::Aes256CmSha1_32,
        Self::Aes128CmSha1_80,
        Self::Aes128CmSha1_32,
    ];

    /// Bytes of the master key.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 | Self::AeadAes128Gcm => 16,
            Self::Aes256CmSha1_80 | Self::Aes256CmSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    #[must_use]
    pub const fn salt_length(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Bytes of the tag on an RTP packet.
    #[must_use]
    pub const fn rtp_tag_length(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes256CmSha1_80 => 10,
            Self::Aes128CmSha1_32 | Self::Aes256CmSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes of the tag on an RTCP packet: never fewer than 10 (RFC 3711, section 5.2).
    #[must_use]
    pub const fn rtcp_tag_length(self) -> usize {
        if self.is_aead() { 16 } else { 10 }
    }

    /// Bytes by which protecting makes an RTP packet longer.
    #[must_use]
    pub const fn rtp_overhead(self) -> usize {
        self.rtp_tag_length()
    }

    /// Bytes by which protecting makes an RTCP packet longer: the tag and the index.
    #[must_use]
    pub const fn rtcp_overhead(self) -> usize {
        self.rtcp_tag_length() + 4
    }

    /// The name of the suite in `a=crypto` lines (RFC 4568, RFC 6188 and RFC 7714, section 14.2).
    #[must_use]
    pub const fn sdes_name(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes256CmSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The profile of an SDES suite, case ignored. `AES_CM_256_..` is what old peers call RFC 6188's suites.
    #[must_use]
    pub fn from_sdes_name(name: &str) -> Option<Self> {
        let named = Self::ALL
            .into_iter()
            .find(|profile| profile.sdes_name().eq_ignore_ascii_case(name));
        named.or_else(|| match name.to_ascii_uppercase().as_str() {
            "AES_CM_256_HMAC_SHA1_80" => Some(Self::Aes256CmSha1_80),
            "AES_CM_256_HMAC_SHA1_32" => Some(Self::Aes256CmSha1_32),
            _ => None,
        })
    }

    /// The number in the `use_srtp` extension (RFC 5764, section 4.1.2). RFC 6188's suites have none.
    #[must_use]
    pub const fn dtls_number(self) -> Option<u16> {
        match self {
            Self::Aes128CmSha1_80 => Some(0x0001),
            Self::Aes128CmSha1_32 => Some(0x0002),
            Self::Aes256CmSha1_80 | Self::Aes256CmSha1_32 => None,
            Self::AeadAes128Gcm => Some(0x0007),
            Self::AeadAes256Gcm => Some(0x0008),
        }
    }

    /// The profile of a number in the `use_srtp` extension.
    #[must_use]
    pub fn from_dtls_number(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.dtls_number() == Some(number))
    }

    /// Whether cipher and tag are one (RFC 7714).
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sdes_name())
    }
}
