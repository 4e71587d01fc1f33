//! The certificate that TLS listeners show: from PEM files, or self-signed and made when the endpoint starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::StartError;

/// A chain, its key, and where they are from.
pub(crate) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(crate) self_signed: bool,
}

impl Identity {
    /// Reads a chain and its key from PEM files; both may be the same file.
    pub(crate) fn load(chain: &Path, key: &Path) -> Result<Self, StartError> {
        let certificates = read_certificates(chain)?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| fault(key, pem_fault(&error, "private key")))?;
        // Whether they belong together is found out here, where the file's name is known.
        let provider = default_provider();
        let signing = provider
            .key_provider
            .load_private_key(private.clone_key())
            .map_err(|error| fault(key, format!("the key cannot be used: {error}")))?;
        tokio_rustls::rustls::sign::CertifiedKey::new(certificates.clone(), signing)
            .keys_match()
            .map_err(|_| {
                fault(
                    key,
                    format!(
                        "the key does not belong to the certificate in {}",
                        chain.display()
                    ),
                )
            })?;
        Ok(Self {
            chain: certificates,
            key: private,
            self_signed: false,
        })
    }

    /// Makes one for this machine and these addresses, good for a year.
    pub(crate) fn self_signed(addresses: &[IpAddr]) -> Result<Self, StartError> {
        let bad = |error: rcgen::Error| StartError::Certificate {
            file: PathBuf::from("(self-signed)"),
            why: error.to_string(),
        };
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(bad)?;
        let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for address in own.iter().chain(addresses) {
            let name = SanType::IpAddress(*address);
            if !address.is_unspecified() && !params.subject_alt_names.contains(&name) {
                params.subject_alt_names.push(name);
            }
        }
        let today = jiff::Zoned::now().date();
        let day = |date: jiff::civil::Date| {
            let month = u8::try_from(date.month()).unwrap_or(1);
            // The 28th is in every month, so that no date is out of range.
            let day = u8::try_from(date.day()).unwrap_or(1).min(28);
            rcgen::date_time_ymd(i32::from(date.year()), month, day)
        };
        params.not_before = day(today.yesterday().unwrap_or(today));
        params.not_after = day(today.saturating_add(jiff::Span::new().years(1)));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "callbot, self-signed");
        let key = KeyPair::generate().map_err(bad)?;
        let certificate = params.self_signed(&key).map_err(bad)?;
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            self_signed: true,
        })
    }

    /// The SHA-256 of the certificate, as browsers and `openssl x509 -fingerprint` show it.
    pub(crate) fn fingerprint(&self) -> String {
        let der = self
            .chain
            .first()
            .map_or(&[][..], |certificate| certificate.as_ref());
        let provider = default_provider();
        // Every provider's first suite of TLS 1.3 may hash with SHA-384: ask for the one that does with SHA-256.
        let hash = provider
            .cipher_suites
            .iter()
            .filter_map(|suite| suite.tls13())
            .map(|suite| suite.common.hash_provider)
            .find(|hash| hash.output_len() == 32);
        let digest = hash.map(|hash| hash.hash(der));
        let bytes = digest.as_ref().map_or(&[][..], |digest| digest.as_ref());
        let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

/// All certificates of a PEM file; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let wrong = |error: &PemError| fault(path, pem_fault(error, "certificate"));
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(&error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&error))?;
    if certificates.is_empty() {
        return Err(fault(
            path,
            pem_fault(&PemError::NoItemsFound, "certificate"),
        ));
    }
    Ok(certificates)
}

fn fault(file: &Path, why: String) -> StartError {
    StartError::Certificate {
        file: file.to_owned(),
        why,
    }
}

fn pem_fault(error: &PemError, what: &str) -> String {
    match error {
        PemError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "there is no such file".to_owned()
        }
        PemError::Io(error) => error.to_string(),
        PemError::NoItemsFound => format!(
            "there is no {what} in it: give a PEM file with a block -----BEGIN {}-----",
            what.to_uppercase()
        ),
        _ => format!("it is no PEM file: {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_one_has_a_fingerprint_of_32_bytes() {
        let identity = Identity::self_signed(&["192.0.2.7".parse().unwrap()]).unwrap();
        assert_eq!(identity.fingerprint().len(), 32 * 3 - 1);
        assert!(identity.self_signed);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_one_line() {
        let folder = std::env::temp_dir().join(format!("callbot-pem-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pem = |key: &KeyPair| {
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.self_signed(key).unwrap().pem()
        };
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let chain = file("chain.pem", &pem(&one));
        let key = file("key.pem", &one.serialize_pem());
        let wrong = file("wrong.pem", &other.serialize_pem());
        let empty = file("empty.pem", "not a PEM file\n");
        let missing = folder.join("missing.pem");
        assert!(Identity::load(&chain, &key).is_ok());
        for (chain, key, why) in [
            (&chain, &wrong, "does not belong"),
            (&empty, &key, "no certificate"),
            (&chain, &empty, "no private key"),
            (&missing, &key, "no such file"),
            (&chain, &missing, "no such file"),
        ] {
            let error = Identity::load(chain, key)
                .err()
                .map(|error| error.to_string());
            let text = error.unwrap_or_default();
            assert!(
                text.contains(why) && !text.contains('\n'),
                "{text:?} has no {why:?}"
            );
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
