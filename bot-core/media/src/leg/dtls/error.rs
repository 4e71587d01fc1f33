//! Why a handshake failed, in words that name the cause.

use std::fmt;
use std::time::Duration;

use super::Fingerprint;

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DtlsError {
    /// The peer's certificate is not the one that was signalled: a man in the middle, or a description that was rewritten.
    #[error("the peer's certificate has the fingerprint {got}, but its SDP says {}: check what stands between the two", Listed(.expected))]
    WrongFingerprint {
        /// What was signalled.
        expected: Vec<Fingerprint>,
        /// What the certificate has.
        got: Fingerprint,
    },
    /// The peer's SDP has no fingerprint of a hash that we know, so that nothing can be compared.
    #[error("the peer's SDP has no a=fingerprint with sha-1, sha-256, sha-384 or sha-512: add one")]
    NoFingerprint,
    /// The peer sent no certificate.
    #[error("the peer sent no certificate: give it one")]
    NoCertificate,
    /// Peer and we have no SRTP protection profile in common, or the peer did not ask for SRTP.
    #[error(
        "the peer has none of our SRTP profiles (AES-GCM or AES_CM_128 with HMAC_SHA1): enable one on its side"
    )]
    NoCommonProfile,
    /// The peer broke the handshake off with an alert (RFC 5246, section 7.2).
    #[error("the peer broke the handshake off with the alert {name} ({number})")]
    Alert {
        /// The alert's number.
        number: u8,
        /// The alert's name.
        name: &'static str,
    },
    /// The peer closed the connection before it stood.
    #[error("the peer closed the connection before the handshake was done")]
    PeerClosed,
    /// The handshake took too long; `received` says whether anything came at all.
    #[error("the handshake was not done within {after:?}: {}", .received.hint())]
    TimedOut {
        /// How long it was waited.
        after: Duration,
        /// How much came from the peer.
        received: Received,
    },
    /// The peer sent far more than a handshake needs.
    #[error("the peer sent {records} records without finishing the handshake: is it a flood?")]
    Flooded {
        /// Records that came.
        records: usize,
    },
    /// The engine refused what the peer sent, or could not be set up.
    #[error("the handshake failed: {reason}")]
    Handshake {
        /// What the engine says.
        reason: String,
    },
}

/// What came from a peer with which the handshake was not done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Nothing at all.
    Nothing,
    /// This many datagrams.
    Datagrams(usize),
}

impl Received {
    const fn hint(self) -> &'static str {
        match self {
            Self::Nothing => {
                "nothing came from the peer, so check addresses, firewalls and a=setup"
            }
            Self::Datagrams(_) => "the peer's packets came, so check whether ours reach it",
        }
    }
}

impl DtlsError {
    /// The alert by which the peer is told, if it has to be.
    pub(super) const fn alert(&self) -> Option<u8> {
        match self {
            Self::WrongFingerprint { .. } => Some(42),
            Self::NoCertificate | Self::NoCommonProfile => Some(40),
            _ => None,
        }
    }
}

struct Listed<'a>(&'a [Fingerprint]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fingerprint) in self.0.iter().enumerate() {
            write!(f, "{}{fingerprint}", if at == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

/// The name of an alert (RFC 5246, section 7.2, and the IANA registry).
pub(super) const fn alert_name(number: u8) -> &'static str {
    match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        116 => "certificate_required",
        _ => "unknown",
    }
}
