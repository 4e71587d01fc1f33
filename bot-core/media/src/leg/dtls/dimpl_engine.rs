//! DTLS 1.2 and 1.3 with ECDSA peers, by dimpl.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Config, Dtls, DtlsCertificate, Error, Output, SrtpProfile, UnexpectedMessageError};

use super::handshake::{DtlsRole, HANDSHAKE_TIMEOUT, Progress, check_certificate};
use super::{Certificate, DtlsError, Fingerprint, SrtpKeys};
use crate::leg::srtp::Profile;

/// The first retransmission comes after this long, the next after twice as long each time. A handshake is on the path of the
/// caller's "hello", so it is shorter than the second of RFC 6347.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);

/// Bytes of the longest packet that the engine makes, and of the longest that is taken from it.
const PACKET: usize = 2048;
const PACKET_MAX: usize = 1 << 16;

pub(super) struct DimplEngine {
    dtls: Dtls,
    role: DtlsRole,
    expected: Vec<Fingerprint>,
    transmits: VecDeque<Bytes>,
    timeout: Option<Instant>,
    buffer: Vec<u8>,
    checked: bool,
    keys: Option<SrtpKeys>,
    connected: bool,
}

impl DimplEngine {
    pub(super) fn new(
        now: Instant,
        role: DtlsRole,
        certificate: &Certificate,
        expected: Vec<Fingerprint>,
    ) -> Result<Self, DtlsError> {
        let config = config()?;
        let certificate = DtlsCertificate {
            certificate: certificate.der().to_vec(),
            private_key: certificate.pkcs8().to_vec(),
        };
        let mut dtls = Dtls::new_auto(config, certificate, now);
        if role == DtlsRole::Client {
            dtls.set_active(true);
        }
        let mut engine = Self {
            dtls,
            role,
            expected,
            transmits: VecDeque::new(),
            timeout: None,
            buffer: vec![0; PACKET],
            checked: false,
            keys: None,
            connected: false,
        };
        engine.handle_timeout(now)?;
        Ok(engine)
    }

    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        packet: &[u8],
    ) -> Result<Progress, DtlsError> {
        // The engine takes the time from here only.
        self.dtls.handle_timeout(now).map_err(failed)?;
        match self.dtls.handle_packet(packet) {
            Ok(()) => {}
            // The peer's second packet before its first: it will come again.
            Err(Error::UnexpectedMessage(
                UnexpectedMessageError::UnrecognizedAutoServerResponse,
            )) => {}
            Err(error) => return Err(failed(error)),
        }
        self.drain()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<Progress, DtlsError> {
        self.dtls.handle_timeout(now).map_err(failed)?;
        self.drain()
    }

    pub(super) fn close(&mut self, _now: Instant) {
        if self.dtls.close().is_ok() {
            // What it says besides the packet is of no use any more.
            let _ = self.drain();
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    pub(super) const fn timeout(&self) -> Option<Instant> {
        self.timeout
    }

    fn drain(&mut self) -> Result<Progress, DtlsError> {
        let mut progress = Progress::None;
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(packet) => self.transmits.push_back(Bytes::copy_from_slice(packet)),
                Output::BufferTooSmall { needed } if needed <= PACKET_MAX => {
                    self.buffer.resize(needed, 0)
                }
                Output::BufferTooSmall { .. } => {
                    return Err(DtlsError::Handshake {
                        reason: "the engine made a packet of over 64 KB".to_owned(),
                    });
                }
                Output::Timeout(at) => {
                    self.timeout = Some(at);
                    return self.finish(progress);
                }
                Output::PeerCert(certificate) => {
                    check_certificate(&self.expected, certificate)?;
                    self.checked = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
                        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        _ => return Err(DtlsError::NoCommonProfile),
                    };
                    self.keys = Some(SrtpKeys::from_exported(profile, self.role, &material)?);
                }
                Output::Connected => self.connected = true,
                Output::CloseNotify => progress = Progress::Closed,
                _ => {}
            }
        }
    }

    /// Whether the handshake is done, with all that belongs to it. The engine says so once.
    fn finish(&mut self, progress: Progress) -> Result<Progress, DtlsError> {
        if !std::mem::take(&mut self.connected) {
            return Ok(progress);
        }
        if !self.checked {
            return Err(DtlsError::NoCertificate);
        }
        self.keys
            .take()
            .map(Progress::Done)
            .ok_or(DtlsError::NoCommonProfile)
    }
}

/// The configuration, which is the same for all. The library tries its ciphers out each time that one is built, which costs
/// more than a handshake.
fn config() -> Result<Arc<Config>, DtlsError> {
    static CONFIG: LazyLock<Result<Arc<Config>, DtlsError>> = LazyLock::new(|| {
        Config::builder()
            .require_client_certificate(true)
            // The peer's address was signalled and confirmed before, so a cookie would only cost a round trip.
            .use_server_cookie(false)
            .flight_start_rto(FIRST_RETRANSMISSION)
            .flight_retries(6)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .build()
            .map(Arc::new)
            .map_err(failed)
    });
    CONFIG.clone()
}

fn failed(error: Error) -> DtlsError {
    match error {
        Error::CertificateError(
            dimpl::CertificateError::NoServerCertificateReceived
            | dimpl::CertificateError::NoClientCertificateReceived,
        ) => DtlsError::NoCertificate,
        Error::ConnectionClosed => DtlsError::PeerClosed,
        error => DtlsError::Handshake {
            reason: error.to_string(),
        },
    }
}
