//! Fingerprints of certificates, as they stand in `a=fingerprint` (RFC 8122, section 5).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};

/// The hash functions that are known. MD2 and MD5 must not be used (RFC 8122, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FingerprintHash {
    /// `sha-1`, which old peers still send.
    Sha1,
    /// `sha-256`, what nearly everybody sends.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

impl FingerprintHash {
    const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in `a=fingerprint`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Bytes of a fingerprint.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }
}

/// Why the value of an `a=fingerprint` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// The hash function is none that we know; another `a=fingerprint` of the description may do.
    #[error("the fingerprint uses a hash that is not known: use sha-256")]
    UnknownHash,
    /// It is not a hash's name and pairs of hexadecimal digits, of the hash's length, with colons between.
    #[error("the fingerprint is not of the form `sha-256 AB:CD:..` with {expected} bytes")]
    Form {
        /// Bytes that the hash has.
        expected: usize,
    },
}

/// The fingerprint of a certificate: a hash over its DER form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The hash function.
    pub hash: FingerprintHash,
    /// Its value.
    pub bytes: Vec<u8>,
}

impl Fingerprint {
    /// The fingerprint of a certificate in DER form.
    #[must_use]
    pub fn of(hash: FingerprintHash, certificate: &[u8]) -> Self {
        Self {
            hash,
            bytes: digest(hash.algorithm(), certificate).as_ref().to_vec(),
        }
    }

    /// Whether this is the fingerprint of that certificate, given in DER form.
    #[must_use]
    pub fn matches(&self, certificate: &[u8]) -> bool {
        *self == Self::of(self.hash, certificate)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (at, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads the value of an `a=fingerprint`; case does not matter.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let mut words = value.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let hash = FingerprintHash::ALL
            .into_iter()
            .find(|hash| hash.name().eq_ignore_ascii_case(name));
        let hash = hash.ok_or(FingerprintError::UnknownHash)?;
        let form = FingerprintError::Form {
            expected: hash.length(),
        };
        let (Some(digits), None) = (words.next(), words.next()) else {
            return Err(form);
        };
        if digits.len() != 3 * hash.length() - 1 {
            return Err(form);
        }
        let bytes = digits
            .split(':')
            .map(byte)
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| form.clone())?;
        if bytes.len() != hash.length() {
            return Err(form);
        }
        Ok(Self { hash, bytes })
    }
}

fn byte(pair: &str) -> Option<u8> {
    if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(pair, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, FingerprintError, FingerprintHash};

    #[test]
    fn values_are_written_as_they_are_read() {
        for hash in FingerprintHash::ALL {
            let fingerprint = Fingerprint::of(hash, b"certificate");
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            assert_eq!(
                fingerprint.to_string().to_lowercase().parse(),
                Ok(fingerprint.clone())
            );
            assert!(fingerprint.matches(b"certificate"));
            assert!(!fingerprint.matches(b"another"));
        }
        // The example of RFC 8122, section 5.
        let example = "SHA-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";
        let read: Fingerprint = example.parse().unwrap();
        assert_eq!(read.to_string(), example.replace("SHA", "sha"));
    }

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        assert_eq!(
            "md5 4A:AD".parse::<Fingerprint>(),
            Err(FingerprintError::UnknownHash)
        );
        assert_eq!(
            "".parse::<Fingerprint>(),
            Err(FingerprintError::UnknownHash)
        );
        let good = Fingerprint::of(FingerprintHash::Sha1, b"x").to_string();
        for bad in [
            good[..good.len() - 3].to_owned(),
            good.replace(':', "-"),
            good.replacen(':', "", 1),
            format!("{good}:AB"),
            format!("{good} {good}"),
            format!("{}+1", &good[..good.len() - 2]),
            good.replace("sha-1", "sha-256"),
            "sha-1".to_owned(),
        ] {
            assert!(
                matches!(
                    bad.parse::<Fingerprint>(),
                    Err(FingerprintError::Form { .. })
                ),
                "{bad}"
            );
        }
    }
}
