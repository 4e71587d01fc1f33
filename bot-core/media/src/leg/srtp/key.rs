//! Master keys, and the session keys that are derived from them (RFC 3711, section 4.3).

use std::fmt;
use std::hint::black_box;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};

use super::{Profile, SrtpError};

/// Bytes of the longest master key with its salt.
pub const MASTER_KEY_MAX: usize = 32 + 14;

/// A master key and its salt. `Debug` tells the lengths only, and the bytes are overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    bytes: [u8; MASTER_KEY_MAX],
    key: usize,
    salt: usize,
}

impl MasterKey {
    /// A master key of these bytes, which are copied.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] if they have not the lengths that the profile asks for.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        let expected = profile.key_length() + profile.salt_length();
        if key.len() != profile.key_length() || salt.len() != profile.salt_length() {
            return Err(SrtpError::KeyLength {
                profile,
                expected,
                got: key.len() + salt.len(),
            });
        }
        let mut bytes = [0; MASTER_KEY_MAX];
        bytes[..key.len()].copy_from_slice(key);
        bytes[key.len()..expected].copy_from_slice(salt);
        Ok(Self {
            bytes,
            key: key.len(),
            salt: salt.len(),
        })
    }

    /// A master key from key and salt in one piece, as they stand in an `a=crypto` line after Base64 is taken off.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] if there are more or fewer bytes than the profile asks for.
    pub fn from_bytes(profile: Profile, key_and_salt: &[u8]) -> Result<Self, SrtpError> {
        match key_and_salt.split_at_checked(profile.key_length()) {
            Some((key, salt)) => Self::new(profile, key, salt),
            None => Self::new(profile, key_and_salt, &[]),
        }
    }

    /// Key and salt in one piece, as they are written into an `a=crypto` line.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.key + self.salt).unwrap_or_default()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.bytes.get(..self.key).unwrap_or_default()
    }

    /// The salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        self.bytes
            .get(self.key..self.key + self.salt)
            .unwrap_or_default()
    }

    /// Whether the lengths are those of the profile.
    pub(super) fn check(&self, profile: Profile) -> Result<(), SrtpError> {
        if self.key == profile.key_length() && self.salt == profile.salt_length() {
            return Ok(());
        }
        let expected = profile.key_length() + profile.salt_length();
        Err(SrtpError::KeyLength {
            profile,
            expected,
            got: self.key + self.salt,
        })
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({} + {} bytes)", self.key, self.salt)
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        // `black_box` keeps the compiler from leaving out a write that nobody reads.
        self.bytes.fill(0);
        black_box(&self.bytes);
    }
}

/// What a derived key is for: the labels of RFC 3711, section 4.3.2.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Bytes of an HMAC-SHA1 session key.
pub(super) const AUTHENTICATION_KEY: usize = 20;

/// A cipher in counter mode over this key, of 16 or 32 bytes.
pub(super) fn counter_mode(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| SrtpError::Cipher)?;
    EncryptingKey::ctr(key).map_err(|_| SrtpError::Cipher)
}

/// Fills `derived` with the session key for a label: AES in counter mode over the master key, started at label and salt. The
/// derivation rate is 0 (each key is derived once), as everywhere in SDES and DTLS-SRTP.
pub(super) fn derive(
    master: &MasterKey,
    label: Label,
    derived: &mut [u8],
) -> Result<(), SrtpError> {
    // A salt of 96 bits is used as if zeros followed it (RFC 7714, section 11).
    let mut block = [0u8; 16];
    for (to, from) in block.iter_mut().zip(master.salt()) {
        *to = *from;
    }
    block[7] ^= label as u8;
    derived.fill(0);
    let cipher = counter_mode(master.key())?;
    cipher
        .less_safe_encrypt(derived, EncryptionContext::Iv128((&block).into()))
        .map_err(|_| SrtpError::Cipher)?;
    Ok(())
}
