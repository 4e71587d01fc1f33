//! DTLS 1.2 with RSA and ECDSA peers, by rtc-dtls.
//!
//! Its connection is reached only through its table of connections by address, so there is a table with one place.
//!
//! Its retransmission has gaps, which are closed here: it stops a side's timer when any handshake record comes, also a
//! repeated one that does not get the handshake on, and it answers a repeated flight with nothing until it is done. Two such
//! ends can wait for each other for ever. So the last flight is kept, and its datagrams are sent again as they were: who had
//! them takes them for replays, who had not gets on.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::config::{
    ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, VerifyPeerCertificateFn,
};
use rtc_dtls::crypto_provider::default_provider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use super::handshake::{DtlsRole, Progress, check_certificate};
use super::keys::EXPORTER_LABEL;
use super::record::is_first_hello;
use super::{Certificate, DtlsError, Fingerprint, SrtpKeys};
use crate::leg::srtp::Profile;

/// Where the one connection stands in the engine's table; no packet ever goes there.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));

/// In our order of preference. As a server we take the client's order.
const PROFILES: [SrtpProtectionProfile; 4] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
];

/// How long the engine waits before it sends a flight anew, with new record numbers: always the same, and seven times. The
/// eighth time it gives up, which must not be before the handshake's own end.
const ENGINE_INTERVAL: Duration = Duration::from_millis(1300);

/// How long it takes until the last flight is sent again as it was; then twice as long each time, so many times.
const FIRST_REPETITION: Duration = Duration::from_millis(250);
const REPETITIONS: u32 = 6;

/// Datagrams of a flight that are kept; the longest has a handful.
const FLIGHT_MAX: usize = 16;

pub(super) struct RtcEngine {
    endpoint: Endpoint,
    transmits: VecDeque<Bytes>,
    flight: Vec<Bytes>,
    /// When the flight is to be repeated, and how often it was.
    repeat_at: Option<Instant>,
    repeated: u32,
    role: DtlsRole,
    expected: Vec<Fingerprint>,
    /// What the check of the certificate said, which the engine only passes on as an error of its own.
    refused: Arc<OnceLock<DtlsError>>,
    done: bool,
}

impl RtcEngine {
    pub(super) fn new(
        now: Instant,
        role: DtlsRole,
        certificate: &Certificate,
        expected: Vec<Fingerprint>,
    ) -> Result<Self, DtlsError> {
        let refused = Arc::new(OnceLock::new());
        let provider = default_provider().map_err(failed)?;
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate.rtc().clone()])
            .with_srtp_protection_profiles(PROFILES.to_vec())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_extended_master_secret(ExtendedMasterSecretType::Request)
            .with_flight_interval(ENGINE_INTERVAL)
            // There is no authority to ask: the fingerprint is what counts.
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(verifier(expected.clone(), Arc::clone(&refused))))
            .build(role == DtlsRole::Client, Some(PEER))
            .map_err(failed)?;
        let config = Arc::new(config);
        let server = (role == DtlsRole::Server).then(|| Arc::clone(&config));
        let mut endpoint = Endpoint::new(PEER, Default::default(), server);
        if role == DtlsRole::Client {
            endpoint.connect(now, PEER, config, None).map_err(failed)?;
        }
        let mut engine = Self {
            endpoint,
            transmits: VecDeque::new(),
            flight: Vec::new(),
            repeat_at: None,
            repeated: 0,
            role,
            expected,
            refused,
            done: false,
        };
        engine.collect(now);
        Ok(engine)
    }

    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        packet: &[u8],
    ) -> Result<Progress, DtlsError> {
        // A client that does not wait as long as our answer takes says hello again. For each the engine would draw
        // another cookie, and then refuse the client that comes with the one before.
        if self.role == DtlsRole::Server && !self.flight.is_empty() && is_first_hello(packet) {
            self.transmits.extend(self.flight.iter().cloned());
            return Ok(Progress::None);
        }
        let events = self.endpoint.read(now, PEER, None, BytesMut::from(packet));
        self.collect(now);
        let events = match events {
            Ok(events) => events,
            // What an engine refuses after the handshake cannot be from the peer: it knows the keys.
            Err(_) if self.done => return Ok(Progress::None),
            Err(error) => return Err(self.cause(error)),
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    self.done = true;
                    // From here on the engine answers repeated flights itself.
                    self.flight.clear();
                    self.repeat_at = None;
                    return self.keys().map(Progress::Done);
                }
                EndpointEvent::PeerClosed => return Ok(Progress::Closed),
                _ => {}
            }
        }
        Ok(Progress::None)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<Progress, DtlsError> {
        if self
            .endpoint
            .poll_timeout(&PEER)
            .is_some_and(|timeout| timeout <= now)
        {
            let result = self.endpoint.handle_timeout(PEER, now);
            self.collect(now);
            if !self.done {
                result.map_err(|error| self.cause(error))?;
            }
        }
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.transmits.extend(self.flight.iter().cloned());
            self.repeated += 1;
            let wait = FIRST_REPETITION * (1 << self.repeated.min(REPETITIONS));
            self.repeat_at = (self.repeated < REPETITIONS).then(|| now + wait);
        }
        Ok(Progress::None)
    }

    /// Takes over what the engine wants to send: while the handshake goes on, that is a flight to be kept.
    fn collect(&mut self, now: Instant) {
        let fresh: Vec<Bytes> = std::iter::from_fn(|| self.endpoint.poll_transmit())
            .map(|transmit| transmit.message.freeze())
            .collect();
        if fresh.is_empty() {
            return;
        }
        self.transmits.extend(fresh.iter().cloned());
        if !self.done {
            self.flight = fresh;
            self.flight.truncate(FLIGHT_MAX);
            self.repeated = 0;
            self.repeat_at = Some(now + FIRST_REPETITION);
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        // It cannot fail: it only writes a packet, and forgets the connection.
        drop(self.endpoint.close(now));
        self.repeat_at = None;
        self.done = true;
        self.collect(now);
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        [self.endpoint.poll_timeout(&PEER), self.repeat_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn keys(&self) -> Result<SrtpKeys, DtlsError> {
        let state = self
            .endpoint
            .get_connection_state(PEER)
            .ok_or(DtlsError::PeerClosed)?;
        let certificate = state
            .peer_certificates
            .first()
            .ok_or(DtlsError::NoCertificate)?;
        check_certificate(&self.expected, certificate)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmSha1_80,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32 => Profile::Aes128CmSha1_32,
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Profile::AeadAes256Gcm,
            _ => return Err(DtlsError::NoCommonProfile),
        };
        let exported = state
            .export_keying_material(EXPORTER_LABEL, &[], SrtpKeys::length(profile))
            .map_err(failed)?;
        SrtpKeys::from_exported(profile, self.role, exported.as_ref())
    }

    /// The cause behind an error of the engine.
    fn cause(&self, error: impl std::fmt::Display) -> DtlsError {
        if let Some(refused) = self.refused.get() {
            return refused.clone();
        }
        let text = error.to_string();
        // The engine's errors are one enumeration of a crate that is not ours to name, so they are told by their text; a
        // test holds the two together.
        if text.to_ascii_lowercase().contains("srtp") {
            return DtlsError::NoCommonProfile;
        }
        DtlsError::Handshake { reason: text }
    }
}

fn verifier(
    expected: Vec<Fingerprint>,
    refused: Arc<OnceLock<DtlsError>>,
) -> VerifyPeerCertificateFn {
    Arc::new(move |certificates, _chains| {
        let result = match certificates.first() {
            Some(certificate) => check_certificate(&expected, certificate),
            None => Err(DtlsError::NoCertificate),
        };
        result.map_err(|error| {
            let text = error.to_string();
            // The first cause stays.
            let _ = refused.set(error);
            std::io::Error::other(text).into()
        })
    })
}

fn failed(error: impl std::fmt::Display) -> DtlsError {
    DtlsError::Handshake {
        reason: error.to_string(),
    }
}
