//! DTLS-SRTP: agreeing on SRTP keys with a peer that is known by the fingerprint of its certificate (RFC 5763, RFC 5764).
//!
//! Purpose: run the handshake over datagrams that somebody else carries, compare the certificate with the fingerprint from the
//! signalling, and hand out the two master keys. Two engines stand behind one [`DtlsHandshake`]: rtc-dtls, which knows DTLS
//! 1.2 with RSA and ECDSA peers, and dimpl, which knows DTLS 1.2 and 1.3 with ECDSA peers such as browsers.
//!
//! Invariants:
//! - no key is handed out before the peer's certificate was found to have a fingerprint that was signalled;
//! - a handshake ends: with keys, with a cause, or after [`HANDSHAKE_TIMEOUT`];
//! - what a stranger sends costs bounded memory and work: records are read and counted here before an engine sees them;
//! - no engine is called again after it failed.

mod certificate;
mod dimpl_engine;
mod error;
mod fingerprint;
mod handshake;
mod keys;
mod record;
mod rtc_engine;

pub use certificate::{Certificate, CertificateError};
pub use error::{DtlsError, Received};
pub use fingerprint::{Fingerprint, FingerprintError, FingerprintHash};
pub use handshake::{DtlsHandshake, DtlsRole, Engine, HANDSHAKE_TIMEOUT};
pub use keys::SrtpKeys;
pub(crate) use record::{begins_handshake, is_dtls};
