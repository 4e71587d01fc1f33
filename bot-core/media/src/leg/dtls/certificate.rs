//! Our certificate: made once an endpoint, or read from PEM files.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rtc_dtls::crypto::Certificate as RtcCertificate;
use rtc_dtls::crypto_provider::{SignatureScheme, default_provider};

use super::{Fingerprint, FingerprintHash};

/// Why a certificate could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The key or the certificate could not be made.
    #[error("no certificate could be made: {reason}")]
    Generate {
        /// What the library says.
        reason: String,
    },
    /// There is no certificate in the PEM text.
    #[error("there is no -----BEGIN CERTIFICATE----- in the certificate's PEM text")]
    NoCertificate,
    /// The key cannot be used.
    #[error(
        "the private key cannot be used: give an unencrypted ECDSA P-256 or RSA key as PEM ({reason})"
    )]
    Key {
        /// What the library says.
        reason: String,
    },
}

/// What the key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Ecdsa,
    Rsa,
}

/// A certificate with its private key. Cheap to clone; `Debug` shows the fingerprint only.
#[derive(Clone)]
pub struct Certificate {
    inner: Arc<Inner>,
}

struct Inner {
    der: Vec<u8>,
    pkcs8: Vec<u8>,
    kind: KeyKind,
    fingerprint: Fingerprint,
    rtc: RtcCertificate,
}

impl Certificate {
    /// Makes an ECDSA P-256 key and a certificate for it that it signs itself. The name is seen by the peer and means nothing:
    /// peers compare the fingerprint. Takes well under a millisecond; the key is the cryptographic library's random.
    ///
    /// # Errors
    /// [`CertificateError::Generate`] if the library fails.
    pub fn generate(common_name: &str) -> Result<Self, CertificateError> {
        let failed = |error: rcgen::Error| CertificateError::Generate {
            reason: error.to_string(),
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, common_name);
        // Peers do not look at the dates, since the fingerprint is what they trust; and nobody here asks for the time.
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2049, 12, 31);
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        Self::new(certificate.der().to_vec(), &key)
    }

    /// Reads the first certificate and its private key (PKCS#8, SEC 1 or PKCS#1) from PEM text.
    ///
    /// # Errors
    /// [`CertificateError::NoCertificate`] or [`CertificateError::Key`] if there is none that can be used.
    pub fn from_pem(certificate: &str, private_key: &str) -> Result<Self, CertificateError> {
        let der = pem_block(certificate, "CERTIFICATE").ok_or(CertificateError::NoCertificate)?;
        let pkcs8 = pkcs8_of(private_key)?;
        let key = KeyPair::try_from(pkcs8).map_err(key_error)?;
        // The public key stands in the certificate as it is.
        let public = key.public_key_raw();
        if !der.windows(public.len()).any(|part| part == public) {
            return Err(key_error("it is not that of the certificate"));
        }
        Self::new(der, &key)
    }

    fn new(der: Vec<u8>, key: &KeyPair) -> Result<Self, CertificateError> {
        let failed = |reason: String| CertificateError::Key { reason };
        let (kind, scheme) = if key.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            (KeyKind::Ecdsa, SignatureScheme::EcdsaP256Sha256)
        } else if key.is_compatible(&rcgen::PKCS_RSA_SHA256) {
            (KeyKind::Rsa, SignatureScheme::RsaPkcs1Sha256)
        } else {
            return Err(failed("it is of another kind".to_owned()));
        };
        let pkcs8 = key.serialize_der();
        let provider = default_provider().map_err(|error| failed(error.to_string()))?;
        let signing = provider
            .crypto()
            .import_signing_key(scheme, &pkcs8)
            .map_err(|error| failed(error.to_string()))?;
        let rtc = RtcCertificate::from_signing_key(vec![der.clone().into()], signing);
        let fingerprint = Fingerprint::of(FingerprintHash::Sha256, &der);
        Ok(Self {
            inner: Arc::new(Inner {
                der,
                pkcs8,
                kind,
                fingerprint,
                rtc,
            }),
        })
    }

    /// Its fingerprint with SHA-256, to be written into the SDP.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.inner.fingerprint
    }

    /// The certificate in DER form.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.inner.der
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.inner.pkcs8
    }

    pub(super) fn kind(&self) -> KeyKind {
        self.inner.kind
    }

    pub(super) fn rtc(&self) -> &RtcCertificate {
        &self.inner.rtc
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.inner.fingerprint)
    }
}

fn key_error(error: impl fmt::Display) -> CertificateError {
    let reason = error.to_string();
    CertificateError::Key { reason }
}

/// The private key as PKCS#8, which all engines read; the older forms are rewritten.
fn pkcs8_of(text: &str) -> Result<Vec<u8>, CertificateError> {
    if let Some(der) = pem_block(text, "PRIVATE KEY") {
        return Ok(der);
    }
    if let Some(der) = pem_block(text, "EC PRIVATE KEY") {
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &der);
        let pkcs8 = key.map_err(key_error)?.to_pkcs8v1().map_err(key_error)?;
        return Ok(pkcs8.as_ref().to_vec());
    }
    if let Some(der) = pem_block(text, "RSA PRIVATE KEY") {
        let key = rsa::KeyPair::from_der(&der).map_err(key_error)?;
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(key_error)?;
        return Ok(pkcs8.as_ref().to_vec());
    }
    Err(key_error("there is none in the key's PEM text"))
}

/// The bytes of the first PEM block with this label (RFC 7468).
fn pem_block(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for letter in body.bytes().filter(|letter| !letter.is_ascii_whitespace()) {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
