//! How the media of a call is secured: what we ask for, what a peer's m-line offers, and what comes of both.
//!
//! Responsibility: the policy. Our own offers are plain, or carry keys (SDES, RFC 4568) or a fingerprint (DTLS-SRTP,
//! RFC 5763), as [`MediaSecurity::offer`] says; a peer's offer is answered by what it says itself:
//!
//! | the peer's m-line | taken as |
//! |---|---|
//! | `UDP/TLS/RTP/SAVP(F)` | DTLS-SRTP; without a usable fingerprint it is refused |
//! | `RTP/SAVP(F)` | SDES if a line of `a=crypto` is usable, else DTLS-SRTP if it has a fingerprint (older browsers), else refused |
//! | `RTP/AVP(F)` with `a=crypto`, or fingerprint and setup | the same, in RTP/AVP (opportunistic, RFC 8643) |
//! | `RTP/AVP(F)` | plain, unless SRTP is required |
//!
//! We do not offer the opportunistic form ourselves: peers that know only RFC 3264 drop the attributes, and many older ones
//! refuse them. An offer that must be understood everywhere is plain; one that must be secure says so in its profile.
//!
//! Invariant: what was agreed is at least what was offered; an answer never makes a secure offer plain.

use aws_lc_rs::hmac;

use super::SdpError;
use super::crypto::Crypto;
use super::description::{Media, Section};
use super::protocol::Protocol;
use crate::leg::dtls::{DtlsRole, Engine, Fingerprint};
use crate::leg::srtp::{MasterKey, Profile};

/// Fingerprints that are read of one description.
const MAX_FINGERPRINTS: usize = 8;

/// Whether media is secured (SRTP, RFC 3711).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SrtpPolicy {
    /// Never: secure offers are refused.
    Off,
    /// As the peer wants: secure and plain offers are both taken.
    #[default]
    Optional,
    /// Always: plain offers and answers are refused.
    Required,
}

/// Where the keys of a secured stream come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keying {
    /// Keys in the session description, `a=crypto` (RFC 4568).
    Sdes,
    /// A DTLS handshake in the media path (RFC 5763, RFC 5764).
    Dtls,
}

impl Keying {
    /// `SDES` or `DTLS`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Keying::Sdes => "SDES",
            Keying::Dtls => "DTLS",
        }
    }
}

/// What this side can do, and asks for, to secure its media.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaSecurity {
    /// Whether media is secured.
    pub policy: SrtpPolicy,
    /// The suites of SDES, best first. Offers name them in this order; an answer follows the order of its offer.
    pub suites: Vec<Profile>,
    /// What our SDES keys are derived from. It must be secret, and another one for each call.
    pub seed: [u8; 32],
    /// The fingerprint of our certificate; `None`: no DTLS.
    pub fingerprint: Option<Fingerprint>,
    /// How our own offers are secured; `None`: they are plain, unless the policy requires otherwise.
    pub offer: Option<Keying>,
}

impl MediaSecurity {
    /// Plain media only.
    #[must_use]
    pub fn off() -> Self {
        Self {
            policy: SrtpPolicy::Off,
            suites: Vec::new(),
            seed: [0; 32],
            fingerprint: None,
            offer: None,
        }
    }

    /// Everything as the peer wants it; our own offers are plain. `seed` must be secret, and another one for each call.
    #[must_use]
    pub fn new(seed: [u8; 32], fingerprint: Option<Fingerprint>) -> Self {
        Self {
            policy: SrtpPolicy::Optional,
            // What every peer has comes first; 32-bit tags, which protect less, come after all others of their kind.
            suites: vec![
                Profile::Aes128CmSha1_80,
                Profile::AeadAes128Gcm,
                Profile::Aes256CmSha1_80,
                Profile::AeadAes256Gcm,
                Profile::Aes128CmSha1_32,
                Profile::Aes256CmSha1_32,
            ],
            seed,
            fingerprint,
            offer: None,
        }
    }

    /// How our next offer is secured.
    #[must_use]
    pub fn offered(&self) -> Option<Keying> {
        match (self.policy, self.offer) {
            (SrtpPolicy::Off, _) => None,
            (_, Some(Keying::Dtls)) if self.fingerprint.is_some() => Some(Keying::Dtls),
            (SrtpPolicy::Required, _) | (_, Some(_)) => Some(Keying::Sdes),
            (SrtpPolicy::Optional, None) => None,
        }
    }

    /// Our key for a suite: the same whenever this call uses that suite, so that a re-offer changes no keys.
    pub(super) fn key(&self, profile: Profile) -> Option<MasterKey> {
        let secret = hmac::Key::new(hmac::HMAC_SHA512, &self.seed);
        let bytes = hmac::sign(&secret, profile.sdes_name().as_bytes());
        let length = profile.key_length() + profile.salt_length();
        MasterKey::from_bytes(profile, bytes.as_ref().get(..length)?).ok()
    }
}

impl std::fmt::Debug for MediaSecurity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MediaSecurity")
            .field("policy", &self.policy)
            .field("suites", &self.suites)
            .field("fingerprint", &self.fingerprint)
            .field("offer", &self.offer)
            .finish_non_exhaustive()
    }
}

/// How a stream is secured, as both sides agreed on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Security {
    /// Not at all.
    #[default]
    None,
    /// By keys in the bodies.
    Sdes {
        /// Cipher and length of the tag.
        profile: Profile,
        /// What protects our packets.
        local: MasterKey,
        /// What protects the peer's.
        remote: MasterKey,
    },
    /// By a DTLS handshake in the media path.
    Dtls {
        /// Who begins: the client does.
        role: DtlsRole,
        /// Who runs the handshake. Peers that bundle may be browsers, which know DTLS 1.3 and tell so when they begin; the
        /// certificate of others may be anything, and DTLS 1.2 serves all.
        engine: Engine,
        /// The peer's certificate must have one of these.
        fingerprints: Vec<Fingerprint>,
    },
}

impl Security {
    /// Where the keys come from; `None` for plain media.
    #[must_use]
    pub const fn keying(&self) -> Option<Keying> {
        match self {
            Security::None => None,
            Security::Sdes { .. } => Some(Keying::Sdes),
            Security::Dtls { .. } => Some(Keying::Dtls),
        }
    }
}

/// Who begins a connection (RFC 4145).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    Active,
    Passive,
    /// Either; also said for `holdconn`, which DTLS-SRTP has no use for (RFC 5763 section 5).
    Either,
}

/// How a peer's m-line wants to be secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Plain,
    Sdes(Crypto),
    Dtls {
        setup: Option<Setup>,
        fingerprints: Vec<Fingerprint>,
    },
}

impl Wish {
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self, Wish::Plain)
    }
}

/// What an m-line's attributes say of keys, whatever its profile.
struct Attributes {
    crypto: Result<Crypto, String>,
    fingerprints: Vec<Fingerprint>,
    fingerprint_error: Option<String>,
    setup: Option<Setup>,
}

/// Reads how an m-line wants to be secured, as far as we can do that.
///
/// # Errors
/// When it wants what we cannot or may not do.
pub(super) fn wish(
    session: &Section<'_>,
    media: &Media<'_>,
    security: &MediaSecurity,
) -> Result<Wish, SdpError> {
    let word: String = media.protocol.chars().take(32).collect();
    let refuse = |why: String| Err(SdpError::Refused(why));
    let Some(protocol) = Protocol::parse(media.protocol) else {
        let ours = match security.policy {
            SrtpPolicy::Off => "this side speaks plain RTP, so offer RTP/AVP",
            SrtpPolicy::Optional => "offer RTP/AVP, RTP/SAVP or UDP/TLS/RTP/SAVP",
            SrtpPolicy::Required => "offer RTP/SAVP or UDP/TLS/RTP/SAVP",
        };
        return refuse(format!("the peer wants {word}; {ours}"));
    };
    if security.policy == SrtpPolicy::Off {
        return match protocol {
            Protocol::Plain => Ok(Wish::Plain),
            _ => refuse(format!(
                "the peer wants {word}; this side speaks plain RTP, so offer RTP/AVP"
            )),
        };
    }
    let said = attributes(session, media, security);
    let has_crypto = media.section.attribute("crypto").is_some();
    let dtls = !said.fingerprints.is_empty() && security.fingerprint.is_some();
    let (setup, fingerprints) = (said.setup, said.fingerprints);
    let by_dtls = Wish::Dtls {
        setup,
        fingerprints,
    };
    let no_fingerprint = match said.fingerprint_error {
        Some(why) => format!("offers no usable a=fingerprint: {why}"),
        None => "offers no a=fingerprint".to_owned(),
    };
    match (protocol, said.crypto) {
        (Protocol::Dtls, _) if dtls => Ok(by_dtls),
        (Protocol::Dtls, _) if security.fingerprint.is_none() => refuse(format!(
            "the peer wants {word}; this side has no certificate for DTLS, so offer RTP/SAVP with a=crypto"
        )),
        (Protocol::Dtls, _) => refuse(format!("the peer wants {word} but {no_fingerprint}")),
        (Protocol::Secure | Protocol::Plain, Ok(crypto)) => Ok(Wish::Sdes(crypto)),
        (Protocol::Secure, Err(_)) if dtls => Ok(by_dtls),
        (Protocol::Secure, Err(why)) => refuse(format!(
            "the peer wants {word} but offers no usable a=crypto: {why}"
        )),
        (Protocol::Plain, Err(_)) if dtls && setup.is_some() => Ok(by_dtls),
        (Protocol::Plain, Err(_)) if security.policy == SrtpPolicy::Optional => Ok(Wish::Plain),
        (Protocol::Plain, Err(why)) => {
            let why = if has_crypto {
                format!(" without a usable a=crypto ({why})")
            } else {
                String::new()
            };
            refuse(format!(
                "the peer offers plain {word}{why}; this side requires SRTP, so offer RTP/SAVP or UDP/TLS/RTP/SAVP"
            ))
        }
    }
}

fn attributes(session: &Section<'_>, media: &Media<'_>, security: &MediaSecurity) -> Attributes {
    let mut first_error = None;
    let crypto = media
        .section
        .all("crypto")
        .find_map(|value| match Crypto::parse(value) {
            Ok(crypto) if security.suites.contains(&crypto.profile) => Some(crypto),
            Ok(crypto) => {
                first_error.get_or_insert_with(|| {
                    format!("the suite {} is not allowed here", crypto.profile)
                });
                None
            }
            Err(why) => {
                first_error.get_or_insert(why);
                None
            }
        });
    // A fingerprint of the m-line is about this m-line; one of the session is about those without (RFC 8122 section 5).
    let section = if media.section.attribute("fingerprint").is_some() {
        &media.section
    } else {
        session
    };
    let (mut fingerprints, mut fingerprint_error) = (Vec::new(), None);
    for value in section.all("fingerprint").take(MAX_FINGERPRINTS) {
        match value.parse::<Fingerprint>() {
            Ok(fingerprint) => fingerprints.push(fingerprint),
            Err(error) => {
                fingerprint_error.get_or_insert(error.to_string());
            }
        }
    }
    let setup = media
        .section
        .attribute("setup")
        .or(session.attribute("setup"))
        .and_then(|value| match value.to_ascii_lowercase().as_str() {
            "active" => Some(Setup::Active),
            "passive" => Some(Setup::Passive),
            "actpass" | "holdconn" => Some(Setup::Either),
            _ => None,
        });
    Attributes {
        crypto: crypto
            .ok_or_else(|| first_error.unwrap_or_else(|| "there is no such line".to_owned())),
        fingerprints,
        fingerprint_error,
        setup,
    }
}
