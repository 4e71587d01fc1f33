//! One handshake, whatever the engine.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::certificate::{Certificate, KeyKind};
use super::dimpl_engine::DimplEngine;
use super::error::{Received, alert_name};
use super::record::{inspect, offers_dtls13, plain_alert};
use super::rtc_engine::RtcEngine;
use super::{DtlsError, Fingerprint, FingerprintHash, SrtpKeys};

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Records that a handshake may take: more than ten times what the longest needs with every flight lost twice.
const RECORDS_MAX: usize = 512;

/// Which side of the handshake we are: `a=setup:active` is the client, `a=setup:passive` the server (RFC 5763, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// We send the first packet.
    Client,
    /// We wait for it.
    Server,
}

/// Which implementation runs the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Engine {
    /// DTLS 1.2 with RSA and ECDSA certificates: for SIP peers, whose certificate may be anything.
    #[default]
    Dtls12,
    /// DTLS 1.3, and 1.2 where the peer knows no better: for browsers. As a server it takes every certificate, since a client
    /// that does not offer DTLS 1.3 is given to the other implementation. As a client it offers ECDSA only, so that a
    /// server with an RSA certificate refuses: take [`Engine::Dtls12`] towards peers that may have one.
    Auto13,
}

/// What an engine says of itself after it was fed.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing new.
    None,
    /// The handshake is done; the keys are those of a peer whose certificate was checked.
    Done(SrtpKeys),
    /// The peer closed the connection.
    Closed,
}

enum Machine {
    Rtc(Box<RtcEngine>),
    Dimpl(Box<DimplEngine>),
}

impl Machine {
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Result<Progress, DtlsError> {
        match self {
            Self::Rtc(engine) => engine.handle_packet(now, packet),
            Self::Dimpl(engine) => engine.handle_packet(now, packet),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<Progress, DtlsError> {
        match self {
            Self::Rtc(engine) => engine.handle_timeout(now),
            Self::Dimpl(engine) => engine.handle_timeout(now),
        }
    }

    fn close(&mut self, now: Instant) {
        match self {
            Self::Rtc(engine) => engine.close(now),
            Self::Dimpl(engine) => engine.close(now),
        }
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        match self {
            Self::Rtc(engine) => engine.poll_transmit(),
            Self::Dimpl(engine) => engine.poll_transmit(),
        }
    }

    fn timeout(&self) -> Option<Instant> {
        match self {
            Self::Rtc(engine) => engine.timeout(),
            Self::Dimpl(engine) => engine.timeout(),
        }
    }
}

/// A handshake with one peer, and afterwards the connection that it left: late retransmissions and closing go through it.
///
/// It is fed by [`handle_packet`](Self::handle_packet) and [`handle_timeout`](Self::handle_timeout); after each, packets are
/// taken out by [`poll_transmit`](Self::poll_transmit) until there are none.
pub struct DtlsHandshake {
    machine: Option<Machine>,
    /// A server that lets the client's first packet decide on the engine.
    waiting: Option<(Certificate, Vec<Fingerprint>)>,
    deadline: Instant,
    outcome: Option<Result<SrtpKeys, DtlsError>>,
    datagrams: usize,
    records: usize,
    last: Vec<Bytes>,
    closed: bool,
}

impl DtlsHandshake {
    /// Begins a handshake with a peer whose certificate must have one of these fingerprints. A client's first packet is there
    /// at once. What cannot begin, since there is no fingerprint to compare with or the engine cannot use our certificate,
    /// has its failure for an outcome from the start.
    #[must_use]
    pub fn new(
        now: Instant,
        role: DtlsRole,
        certificate: &Certificate,
        peer: Vec<Fingerprint>,
        engine: Engine,
    ) -> Self {
        let mut handshake = Self {
            machine: None,
            waiting: None,
            deadline: now + HANDSHAKE_TIMEOUT,
            outcome: None,
            datagrams: 0,
            records: 0,
            last: Vec::new(),
            closed: false,
        };
        if peer.is_empty() {
            handshake.outcome = Some(Err(DtlsError::NoFingerprint));
        } else if (engine, role) == (Engine::Auto13, DtlsRole::Server) {
            handshake.waiting = Some((certificate.clone(), peer));
        } else {
            handshake.begin(now, role, certificate, peer, engine == Engine::Auto13);
        }
        handshake
    }

    fn begin(
        &mut self,
        now: Instant,
        role: DtlsRole,
        certificate: &Certificate,
        peer: Vec<Fingerprint>,
        dtls13: bool,
    ) {
        // An RSA certificate of ours works with DTLS 1.2 only, which every peer has.
        let machine = if dtls13 && certificate.kind() == KeyKind::Ecdsa {
            DimplEngine::new(now, role, certificate, peer)
                .map(|engine| Machine::Dimpl(Box::new(engine)))
        } else {
            RtcEngine::new(now, role, certificate, peer)
                .map(|engine| Machine::Rtc(Box::new(engine)))
        };
        match machine {
            Ok(machine) => self.machine = Some(machine),
            Err(error) => self.outcome = Some(Err(error)),
        }
    }

    /// Takes in a datagram from the peer, whose first byte is 20 to 63 (RFC 7983). What is no DTLS is dropped.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let Some(datagram) = inspect(packet) else {
            return;
        };
        if let Some((certificate, peer)) = self.waiting.take() {
            self.begin(
                now,
                DtlsRole::Server,
                &certificate,
                peer,
                offers_dtls13(packet),
            );
        }
        let Some(machine) = &mut self.machine else {
            return;
        };
        self.datagrams += 1;
        self.records += datagram.records;
        let result = match (&self.outcome, datagram.alert) {
            // An alert that is not encrypted counts only while nothing can be encrypted.
            (Some(_), Some(_)) => return,
            (None, Some(0)) => Err(DtlsError::PeerClosed),
            (None, Some(number)) => Err(DtlsError::Alert {
                number,
                name: alert_name(number),
            }),
            (None, None) if self.records > RECORDS_MAX => Err(DtlsError::Flooded {
                records: self.records,
            }),
            (Some(_), None) if self.records > RECORDS_MAX && packet.first() != Some(&21) => return,
            _ => machine.handle_packet(now, packet),
        };
        self.after(result);
    }

    /// Tells the time. Retransmissions and the end of a handshake that takes too long come from here.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.outcome.is_none() && now >= self.deadline {
            let received = match self.datagrams {
                0 => Received::Nothing,
                datagrams => Received::Datagrams(datagrams),
            };
            self.fail(DtlsError::TimedOut {
                after: HANDSHAKE_TIMEOUT,
                received,
            });
            return;
        }
        if let Some(machine) = &mut self.machine {
            let result = machine.handle_timeout(now);
            self.after(result);
        }
    }

    fn after(&mut self, result: Result<Progress, DtlsError>) {
        match result {
            Ok(Progress::None) => {}
            Ok(Progress::Done(keys)) => self.outcome = Some(Ok(keys)),
            Ok(Progress::Closed) => {
                self.closed = true;
                self.fail(DtlsError::PeerClosed);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Ends the handshake. What the engine still has to say, such as an alert, is kept; the engine itself is not used again.
    /// A connection that stood keeps its outcome: its keys are as good as they were.
    fn fail(&mut self, error: DtlsError) {
        let silent = matches!(self.machine, Some(Machine::Dimpl(_)));
        if let Some(mut machine) = self.machine.take() {
            self.last = std::iter::from_fn(|| machine.poll_transmit())
                .take(8)
                .collect();
            self.last.reverse();
        }
        if self.outcome.is_none() {
            // rtc-dtls says why it leaves, dimpl leaves without a word, and the peer would wait.
            if let (true, Some(number)) = (silent, error.alert()) {
                self.last
                    .insert(0, Bytes::copy_from_slice(&plain_alert(number)));
            }
            self.outcome = Some(Err(error));
        }
    }

    /// Closes the connection: tells the peer so, if there is a way to.
    pub fn close(&mut self, now: Instant) {
        if let Some(mut machine) = self.machine.take() {
            machine.close(now);
            self.last = std::iter::from_fn(|| machine.poll_transmit())
                .take(8)
                .collect();
            self.last.reverse();
        }
        self.closed = true;
        if self.outcome.is_none() {
            self.outcome = Some(Err(DtlsError::PeerClosed));
        }
    }

    /// The next packet to be sent to the peer.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        match &mut self.machine {
            Some(machine) => machine.poll_transmit(),
            None => self.last.pop(),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        let machine = self.machine.as_ref().and_then(Machine::timeout);
        match (&self.outcome, machine) {
            (None, Some(timeout)) => Some(timeout.min(self.deadline)),
            (None, None) => Some(self.deadline),
            (Some(_), timeout) => timeout,
        }
    }

    /// What became of the handshake; nothing while it goes on.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<&SrtpKeys, &DtlsError>> {
        self.outcome.as_ref().map(Result::as_ref)
    }

    /// Whether either side closed the connection. The keys stay what they were, but the peer is about to go.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Checks the peer's certificate against what was signalled; any one of the fingerprints will do.
pub(super) fn check_certificate(
    expected: &[Fingerprint],
    certificate: &[u8],
) -> Result<(), DtlsError> {
    if expected
        .iter()
        .any(|fingerprint| fingerprint.matches(certificate))
    {
        return Ok(());
    }
    let hash = expected
        .first()
        .map_or(FingerprintHash::Sha256, |fingerprint| fingerprint.hash);
    Err(DtlsError::WrongFingerprint {
        expected: expected.to_vec(),
        got: Fingerprint::of(hash, certificate),
    })
}

impl std::fmt::Debug for DtlsHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsHandshake")
            .field("outcome", &self.outcome)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
