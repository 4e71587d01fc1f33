//! The ciphers: one direction's session keys for RTP or for RTCP, and what they do to a packet.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, Tag};

use super::key::{AUTHENTICATION_KEY, Label, MasterKey, counter_mode, derive};
use super::wire::{ENCRYPTED, RTCP_CLEAR};
use super::{Profile, SrtpError};

/// Which half of a session the keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Rtp,
    Rtcp,
}

impl Stream {
    const fn labels(self) -> [Label; 3] {
        match self {
            Self::Rtp => [
                Label::RtpEncryption,
                Label::RtpAuthentication,
                Label::RtpSalt,
            ],
            Self::Rtcp => [
                Label::RtcpEncryption,
                Label::RtcpAuthentication,
                Label::RtcpSalt,
            ],
        }
    }
}

/// Session keys, set up for use.
pub(super) enum Transform {
    CounterMode {
        cipher: Box<EncryptingKey>,
        authentication: Box<Key>,
        salt: [u8; 14],
        tag: usize,
    },
    Gcm {
        cipher: LessSafeKey,
        salt: [u8; NONCE_LEN],
    },
}

impl Transform {
    /// Derives the session keys of one stream.
    pub(super) fn derive(
        profile: Profile,
        master: &MasterKey,
        stream: Stream,
    ) -> Result<Self, SrtpError> {
        master.check(profile)?;
        let [encryption_label, authentication_label, salt_label] = stream.labels();
        let mut keys = [0; 32];
        let key = keys
            .get_mut(..profile.key_length())
            .ok_or(SrtpError::Cipher)?;
        derive(master, encryption_label, key)?;
        let mut authentication = [0; AUTHENTICATION_KEY];
        derive(master, authentication_label, &mut authentication)?;
        let mut salts = [0; 14];
        let salt = salts
            .get_mut(..profile.salt_length())
            .ok_or(SrtpError::Cipher)?;
        derive(master, salt_label, salt)?;
        Self::from_session_keys(profile, stream, key, salt, &authentication)
    }

    /// Sets up session keys as they are.
    pub(super) fn from_session_keys(
        profile: Profile,
        stream: Stream,
        key: &[u8],
        salt: &[u8],
        authentication: &[u8],
    ) -> Result<Self, SrtpError> {
        if profile.is_aead() {
            let algorithm = if profile.key_length() == 32 {
                &AES_256_GCM
            } else {
                &AES_128_GCM
            };
            let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Cipher)?;
            let salt = salt.try_into().map_err(|_| SrtpError::Cipher)?;
            return Ok(Self::Gcm {
                cipher: LessSafeKey::new(key),
                salt,
            });
        }
        Ok(Self::CounterMode {
            cipher: Box::new(counter_mode(key)?),
            authentication: Box::new(Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication)),
            salt: salt.try_into().map_err(|_| SrtpError::Cipher)?,
            tag: match stream {
                Stream::Rtp => profile.rtp_tag_length(),
                Stream::Rtcp => profile.rtcp_tag_length(),
            },
        })
    }

    /// Protects an RTP packet whose header has `header` bytes.
    pub(super) fn protect_rtp(
        &self,
        packet: &mut Vec<u8>,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::CounterMode {
                cipher,
                authentication,
                salt,
                tag,
            } => {
                let payload = packet.get_mut(header..).ok_or(SrtpError::Malformed)?;
                apply(cipher, counter_block(salt, ssrc, index), payload)?;
                let computed = sign(authentication, packet, &rollover(index));
                packet.extend_from_slice(computed.as_ref().get(..*tag).ok_or(SrtpError::Cipher)?);
            }
            Self::Gcm { cipher, salt } => {
                let (clear, payload) = packet
                    .split_at_mut_checked(header)
                    .ok_or(SrtpError::Malformed)?;
                let nonce = rtp_nonce(salt, ssrc, index);
                let tag = cipher
                    .seal_in_place_separate_tag(nonce, Aad::from(&*clear), payload)
                    .map_err(|_| SrtpError::Cipher)?;
                packet.extend_from_slice(tag.as_ref());
            }
        }
        Ok(())
    }

    /// Verifies and opens an RTP packet; gives its length without the tag. If it is refused in counter mode, the packet is as
    /// it was; in GCM its payload is spoiled.
    pub(super) fn unprotect_rtp(
        &self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::CounterMode {
                cipher,
                authentication,
                salt,
                tag,
            } => {
                let length = payload_end(packet, header, *tag)?;
                let (body, tag) = packet
                    .split_at_mut_checked(length)
                    .ok_or(SrtpError::Malformed)?;
                verify(authentication, body, &rollover(index), tag)?;
                let payload = body.get_mut(header..).ok_or(SrtpError::Malformed)?;
                apply(cipher, counter_block(salt, ssrc, index), payload)?;
                Ok(length)
            }
            Self::Gcm { cipher, salt } => {
                let length = payload_end(packet, header, cipher.algorithm().tag_len())?;
                let (clear, sealed) = packet
                    .split_at_mut_checked(header)
                    .ok_or(SrtpError::Malformed)?;
                let nonce = rtp_nonce(salt, ssrc, index);
                cipher
                    .open_in_place(nonce, Aad::from(&*clear), sealed)
                    .map_err(|_| SrtpError::Unauthentic)?;
                Ok(length)
            }
        }
    }

    /// Protects a compound RTCP packet.
    pub(super) fn protect_rtcp(
        &self,
        packet: &mut Vec<u8>,
        ssrc: u32,
        index: u32,
    ) -> Result<(), SrtpError> {
        let word = (index | ENCRYPTED).to_be_bytes();
        match self {
            Self::CounterMode {
                cipher,
                authentication,
                salt,
                tag,
            } => {
                let body = packet.get_mut(RTCP_CLEAR..).ok_or(SrtpError::Malformed)?;
                apply(cipher, counter_block(salt, ssrc, index.into()), body)?;
                let computed = sign(authentication, packet, &word);
                packet.extend_from_slice(&word);
                packet.extend_from_slice(computed.as_ref().get(..*tag).ok_or(SrtpError::Cipher)?);
            }
            Self::Gcm { cipher, salt } => {
                let (clear, body) = packet
                    .split_at_mut_checked(RTCP_CLEAR)
                    .ok_or(SrtpError::Malformed)?;
                let mut aad = [0; RTCP_CLEAR + 4];
                aad[..RTCP_CLEAR].copy_from_slice(clear);
                aad[RTCP_CLEAR..].copy_from_slice(&word);
                let nonce = rtcp_nonce(salt, ssrc, index);
                let tag = cipher
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
                    .map_err(|_| SrtpError::Cipher)?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&word);
            }
        }
        Ok(())
    }

    /// Where the word with E and the index stands in a protected RTCP packet of this length.
    pub(super) fn rtcp_word_at(&self, length: usize) -> Result<usize, SrtpError> {
        let (after, tag) = match self {
            Self::CounterMode { tag, .. } => (4 + tag, 0),
            Self::Gcm { cipher, .. } => (4, cipher.algorithm().tag_len()),
        };
        match length.checked_sub(after) {
            Some(at) if at >= RTCP_CLEAR + tag => Ok(at),
            _ => Err(SrtpError::Malformed),
        }
    }

    /// Verifies and opens an RTCP packet whose word with E and the index is `word`; gives its length without what was added.
    pub(super) fn unprotect_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        word: u32,
    ) -> Result<usize, SrtpError> {
        let at = self.rtcp_word_at(packet.len())?;
        let encrypted = word & ENCRYPTED != 0;
        let index = word & !ENCRYPTED;
        match self {
            Self::CounterMode {
                cipher,
                authentication,
                salt,
                ..
            } => {
                let (body, rest) = packet
                    .split_at_mut_checked(at)
                    .ok_or(SrtpError::Malformed)?;
                let (word, tag) = rest.split_at_checked(4).ok_or(SrtpError::Malformed)?;
                verify(authentication, body, word, tag)?;
                if encrypted {
                    let body = body.get_mut(RTCP_CLEAR..).ok_or(SrtpError::Malformed)?;
                    apply(cipher, counter_block(salt, ssrc, index.into()), body)?;
                }
                Ok(at)
            }
            Self::Gcm { cipher, salt } => {
                let length = at - cipher.algorithm().tag_len();
                let nonce = rtcp_nonce(salt, ssrc, index);
                if encrypted {
                    let (clear, rest) = packet
                        .split_at_mut_checked(RTCP_CLEAR)
                        .ok_or(SrtpError::Malformed)?;
                    let mut aad = [0; RTCP_CLEAR + 4];
                    aad[..RTCP_CLEAR].copy_from_slice(clear);
                    aad[RTCP_CLEAR..].copy_from_slice(&word.to_be_bytes());
                    let sealed = rest
                        .get_mut(..at - RTCP_CLEAR)
                        .ok_or(SrtpError::Malformed)?;
                    cipher
                        .open_in_place(nonce, Aad::from(aad), sealed)
                        .map_err(|_| SrtpError::Unauthentic)?;
                    return Ok(length);
                }
                // In the clear (RFC 7714, section 9.3) the tag stands between the packet and the word, but both are signed.
                // Moving the word in front of the tag makes one piece of them.
                let tail = packet.get_mut(length..).ok_or(SrtpError::Malformed)?;
                tail.rotate_right(4);
                let (signed, tag) = packet
                    .split_at_mut_checked(length + 4)
                    .ok_or(SrtpError::Malformed)?;
                cipher
                    .open_in_place(nonce, Aad::from(&*signed), tag)
                    .map_err(|_| SrtpError::Unauthentic)?;
                Ok(length)
            }
        }
    }
}

#[cfg(test)]
impl Transform {
    /// Signs an RTCP packet without encrypting it, which we only ever receive.
    pub(super) fn sign_rtcp(&self, packet: &mut Vec<u8>, ssrc: u32, index: u32) {
        let word = index.to_be_bytes();
        match self {
            Self::CounterMode {
                authentication,
                tag,
                ..
            } => {
                let computed = sign(authentication, packet, &word);
                packet.extend_from_slice(&word);
                packet.extend_from_slice(&computed.as_ref()[..*tag]);
            }
            Self::Gcm { cipher, salt } => {
                let aad: Vec<u8> = packet.iter().copied().chain(word).collect();
                let tag = cipher.seal_in_place_separate_tag(
                    rtcp_nonce(salt, ssrc, index),
                    Aad::from(aad),
                    &mut [],
                );
                packet.extend_from_slice(tag.unwrap().as_ref());
                packet.extend_from_slice(&word);
            }
        }
    }
}

/// Where the payload ends, if there is room for header and tag.
fn payload_end(packet: &[u8], header: usize, tag: usize) -> Result<usize, SrtpError> {
    packet
        .len()
        .checked_sub(tag)
        .filter(|end| *end >= header)
        .ok_or(SrtpError::Malformed)
}

fn apply(cipher: &EncryptingKey, block: [u8; 16], bytes: &mut [u8]) -> Result<(), SrtpError> {
    cipher
        .less_safe_encrypt(bytes, EncryptionContext::Iv128((&block).into()))
        .map_err(|_| SrtpError::Cipher)?;
    Ok(())
}

/// The rollover counter of an index, as it is signed.
const fn rollover(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn sign(key: &Key, packet: &[u8], suffix: &[u8]) -> Tag {
    let mut context = Context::with_key(key);
    context.update(packet);
    context.update(suffix);
    context.sign()
}

fn verify(key: &Key, packet: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
    let computed = sign(key, packet, suffix);
    let computed = computed
        .as_ref()
        .get(..tag.len())
        .ok_or(SrtpError::Malformed)?;
    verify_slices_are_equal(computed, tag).map_err(|_| SrtpError::Unauthentic)
}

/// The first block of the keystream: salt, SSRC and index over each other (RFC 3711, section 4.1.1).
fn counter_block(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut block = [0; 16];
    block[..14].copy_from_slice(salt);
    mix(&mut block[4..8], &ssrc.to_be_bytes());
    mix(&mut block[6..14], &index.to_be_bytes());
    block
}

/// RFC 7714, section 8.1.
fn rtp_nonce(salt: &[u8; NONCE_LEN], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = *salt;
    mix(&mut nonce[2..6], &ssrc.to_be_bytes());
    // The two highest bytes of the index are 0.
    mix(&mut nonce[4..12], &index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714, section 9.1.
fn rtcp_nonce(salt: &[u8; NONCE_LEN], ssrc: u32, index: u32) -> Nonce {
    let mut nonce = *salt;
    mix(&mut nonce[2..6], &ssrc.to_be_bytes());
    mix(&mut nonce[8..12], &index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn mix(bytes: &mut [u8], with: &[u8]) {
    for (byte, with) in bytes.iter_mut().zip(with) {
        *byte ^= with;
    }
}
