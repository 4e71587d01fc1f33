//! TLS below SIP and WebSockets: our certificate as a server, the peer's as a client (RFC 3261 26.2, RFC 5922).
//!
//! Responsibility: handshakes, and saying in words why one failed. A server's certificate must come from an
//! authority of the machine's store or of `--ca`, be in force, and name the host of the URI that was dialled
//! (RFC 5922 7.3), whatever address DNS gave for it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::certificate::{Identity, read_certificates};
use crate::error::StartError;

/// Time for a TLS handshake, and for a WebSocket's.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// Whom a client believes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// PEM files with authorities beside those of the machine.
    pub(crate) authorities: Vec<PathBuf>,
    /// Any certificate will do: for laboratories only.
    pub(crate) anyone: bool,
}

/// Both sides of TLS for one endpoint.
pub(crate) struct Tls {
    acceptor: Option<TlsAcceptor>,
    fingerprint: Option<String>,
    authorities: Vec<CertificateDer<'static>>,
    anyone: bool,
    /// Made when it is first needed: reading the machine's store takes milliseconds.
    connector: OnceLock<Result<TlsConnector, String>>,
}

impl Tls {
    /// With a certificate to show, when there are listeners that need one.
    pub(crate) fn new(identity: Option<Identity>, trust: &Trust) -> Result<Self, StartError> {
        let mut authorities = Vec::new();
        for file in &trust.authorities {
            authorities.extend(read_certificates(file)?);
        }
        let fingerprint = identity.as_ref().map(Identity::fingerprint);
        let acceptor = identity.map(acceptor).transpose()?;
        if trust.anyone {
            tracing::warn!(
                "TLS CERTIFICATES ARE NOT CHECKED: anybody on the way can listen in and pretend to be the peer"
            );
        }
        Ok(Self {
            acceptor,
            fingerprint,
            authorities,
            anyone: trust.anyone,
            connector: OnceLock::new(),
        })
    }

    /// The SHA-256 of our own certificate.
    pub(crate) fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// The server's side of a handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let acceptor = self.acceptor.as_ref().ok_or("no certificate to show")?;
        let accepted = acceptor.accept(stream).await;
        accepted
            .map(TlsStream::Server)
            .map_err(|error| explain(&error, ""))
    }

    /// The client's side: the peer must prove to be `host`.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate could have"))?;
        let connector = self
            .connector
            .get_or_init(|| connector(&self.authorities, self.anyone))
            .clone()?;
        let connected = connector.connect(name, stream).await;
        connected
            .map(TlsStream::Client)
            .map_err(|error| explain(&error, host))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn acceptor(identity: Identity) -> Result<TlsAcceptor, StartError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(identity.chain, identity.key)
        })
        .map_err(|error| StartError::Certificate {
            file: PathBuf::from("(certificate)"),
            why: error.to_string(),
        })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(
    authorities: &[CertificateDer<'static>],
    anyone: bool,
) -> Result<TlsConnector, String> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = if anyone {
        Arc::new(Anyone(provider.clone()))
    } else {
        let extra = authorities.iter().cloned();
        Arc::new(
            Verifier::new_with_extra_roots(extra, provider.clone()).map_err(|error| {
                format!("no certificate can be checked here: {error}; name a CA with --ca")
            })?,
        )
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Believes every certificate, but still wants the peer to hold its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a handshake failed, and the cure where there is one.
fn explain(error: &std::io::Error, host: &str) -> String {
    let Some(cause) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                "the peer closed the connection during the TLS handshake".to_owned()
            }
            _ => format!("the TLS handshake failed: {error}"),
        };
    };
    match cause {
        rustls::Error::InvalidCertificate(why) => explain_certificate(why, host),
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        rustls::Error::InvalidMessage(_) => "the peer does not speak TLS on this port".to_owned(),
        other => format!("the TLS handshake failed: {other}"),
    }
}

fn explain_certificate(why: &CertificateError, host: &str) -> String {
    match why {
        CertificateError::Expired => format!("the certificate of {host} has expired"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!(
                "the certificate of {host} has expired on {}",
                date(*not_after)
            )
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {host} is not valid yet: check the clocks")
        }
        CertificateError::UnknownIssuer => format!(
            "the certificate of {host} is from an unknown issuer: name its authority with --ca"
        ),
        CertificateError::NotValidForName => {
            format!("the certificate is for another name than {host}")
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the certificate is for another name than {host}: it is for {}",
            if presented.is_empty() {
                "none".to_owned()
            } else {
                presented.join(", ")
            }
        ),
        CertificateError::Revoked => format!("the certificate of {host} is revoked"),
        other => format!("the certificate of {host} is no good: {other}"),
    }
}

fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired => {
            format!("the peer does not believe our certificate ({alert:?})")
        }
        AlertDescription::CertificateRequired => {
            "the peer wants a certificate of ours, and there is none".to_owned()
        }
        other => format!("the peer broke the TLS handshake off ({other:?})"),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map(|at| at.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default()
}

/// The certificate of an endpoint whose listeners need one.
pub(crate) fn identity(
    files: Option<(&Path, &Path)>,
    addresses: &[IpAddr],
) -> Result<Identity, StartError> {
    match files {
        Some((chain, key)) => Identity::load(chain, key),
        None => Identity::self_signed(addresses),
    }
}
