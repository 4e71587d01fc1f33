//! One DTLS association: with whom, and what becomes of it.
//!
//! Without ICE nobody vouches for a source before its handshake is done. The address of the SDP is believed; another one is
//! listened to while nothing comes from there, as behind a NAT nothing ever will.
//!
//! Invariants:
//! - a stranger is listened to only after a hello: alerts and anything else from elsewhere change nothing;
//! - what a stranger does cannot fail the call: his handshake is dropped, he is listened to no more, and the peer may still
//!   come. One exception: who finished a handshake under another certificate than the SDP's was most likely meant to be the
//!   peer, so then it has [`SECOND_CHANCE`] to show up;
//! - once [`BANNED`] strangers have failed, no further one is listened to: only the address in the SDP;
//! - a failure of the address in the SDP, or of the path that ICE found, is final.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Channel, HandshakePacket};
use crate::leg::dtls::{
    Certificate, DtlsError, DtlsHandshake, DtlsRole, Engine, Fingerprint, HANDSHAKE_TIMEOUT,
    Received, SrtpKeys, begins_handshake, is_dtls,
};

/// How long the peer may take to show up after somebody else failed in its place.
const SECOND_CHANCE: Duration = Duration::from_millis(1500);

/// Strangers who are remembered.
const BANNED: usize = 8;

/// What an association comes to.
pub(super) enum Step {
    None,
    Keys(SrtpKeys),
    Failed(Failure),
}

/// Why there is no association.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) text: String,
    wrong_fingerprint: bool,
}

impl Failure {
    fn of(error: &DtlsError) -> Self {
        Self {
            text: error.to_string(),
            wrong_fingerprint: matches!(error, DtlsError::WrongFingerprint { .. }),
        }
    }

    /// Whether somebody else than the peer sits there.
    pub(super) const fn is_hostile(&self) -> bool {
        self.wrong_fingerprint
    }
}

pub(super) struct Lane {
    channel: Channel,
    role: DtlsRole,
    engine: Engine,
    certificate: Certificate,
    fingerprints: Vec<Fingerprint>,
    /// Made when there is something for it to do: a client's when it is known where the peer is, a server's with the first
    /// packet that comes.
    handshake: Option<DtlsHandshake>,
    /// Until when a server waits for that packet.
    deadline: Option<Instant>,
    /// When the time of a server that hears nobody is over, whatever strangers do meanwhile.
    patience: Option<Instant>,
    /// The address in the SDP; `None` with ICE.
    signalled: Option<SocketAddr>,
    /// The address of ours, where it is not the channel's own, and the peer's.
    peer: Option<(Option<SocketAddr>, SocketAddr)>,
    /// Something came from the peer.
    heard: bool,
    banned: Vec<SocketAddr>,
    /// Why a stranger failed, and until when the peer may show up.
    second_chance: Option<(Instant, Failure)>,
    /// Told already what became of it.
    done: bool,
}

impl Lane {
    pub(super) fn new(
        now: Instant,
        channel: Channel,
        role: DtlsRole,
        engine: Engine,
        certificate: &Certificate,
        fingerprints: &[Fingerprint],
        signalled: Option<SocketAddr>,
    ) -> Self {
        let mut lane = Self {
            channel,
            role,
            engine,
            certificate: certificate.clone(),
            fingerprints: fingerprints.to_vec(),
            handshake: None,
            deadline: None,
            patience: None,
            signalled,
            peer: usable(signalled).map(|address| (None, address)),
            heard: false,
            banned: Vec::new(),
            second_chance: None,
            done: false,
        };
        if signalled.is_some() {
            // Also without an address: the time runs, and a peer behind a NAT may come.
            lane.wait(now);
        }
        lane
    }

    /// Begins what can begin now.
    fn wait(&mut self, now: Instant) {
        match self.role {
            DtlsRole::Client => self.begin(now),
            DtlsRole::Server => {
                self.handshake = None;
                let patience = *self.patience.get_or_insert(now + HANDSHAKE_TIMEOUT);
                self.deadline = Some(patience.max(now + SECOND_CHANCE));
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        self.deadline = None;
        self.handshake = Some(DtlsHandshake::new(
            now,
            self.role,
            &self.certificate,
            self.fingerprints.clone(),
            self.engine,
        ));
    }

    pub(super) const fn role(&self) -> DtlsRole {
        self.role
    }

    /// A newer SDP names this address.
    pub(super) fn signal(&mut self, signalled: SocketAddr) {
        if self.signalled.is_none() || self.signalled == Some(signalled) {
            return;
        }
        self.signalled = Some(signalled);
        if let Some(address) = usable(self.signalled) {
            self.peer = Some((None, address));
            self.heard = false;
        }
    }

    /// ICE found this path.
    pub(super) fn go(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) {
        self.peer = Some((Some(local), remote));
        if self.handshake.is_none() && self.deadline.is_none() {
            self.wait(now);
        }
    }

    /// Takes in a packet; whether its source was believed.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        if !self.believes(now, local, source, packet) {
            return false;
        }
        if self.handshake.is_none() {
            self.begin(now);
        }
        if let Some(handshake) = &mut self.handshake {
            handshake.handle_packet(now, packet);
        }
        true
    }

    fn believes(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        if !is_dtls(packet) {
            return false;
        }
        let Some(signalled) = self.signalled else {
            // ICE vouches for the source; before it chose, answers go where packets come from.
            if self.peer.is_none() {
                self.peer = Some((local, source));
            }
            return true;
        };
        let current = self.peer.map(|(_, address)| address);
        if current == Some(source) {
            self.heard = true;
            return true;
        }
        if self.done || self.banned.contains(&source) || (self.heard && source != signalled) {
            return false;
        }
        let is_stranger = source.ip() != signalled.ip();
        if (is_stranger && self.banned.len() >= BANNED) || !begins_handshake(packet, self.role) {
            return false;
        }
        // Whoever was in its place before leaves nothing behind.
        if self.heard {
            self.wait(now);
        }
        self.heard = true;
        self.peer = Some((None, source));
        true
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(handshake) = &mut self.handshake
            && handshake.timeout().is_some_and(|timeout| now >= timeout)
        {
            handshake.handle_timeout(now);
        }
    }

    /// Sees what became of the handshake.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if self.done {
            return Step::None;
        }
        let outcome = self.handshake.as_ref().and_then(DtlsHandshake::outcome);
        let late = self.deadline.is_some_and(|deadline| now >= deadline);
        let failure = match outcome {
            Some(Ok(keys)) => {
                let keys = keys.clone();
                self.done = true;
                return Step::Keys(keys);
            }
            Some(Err(error)) => Failure::of(error),
            None if late => {
                self.done = true;
                return Step::Failed(Failure::of(&DtlsError::TimedOut {
                    after: HANDSHAKE_TIMEOUT,
                    received: Received::Nothing,
                }));
            }
            None => {
                let over = self
                    .second_chance
                    .take_if(|(until, _)| now >= *until && !self.heard);
                match over {
                    Some((_, failure)) => {
                        self.done = true;
                        return Step::Failed(failure);
                    }
                    None => return Step::None,
                }
            }
        };
        let stranger = match (self.signalled, self.peer) {
            (Some(signalled), Some((_, peer))) if self.heard && peer.ip() != signalled.ip() => {
                Some(peer)
            }
            _ => None,
        };
        if let Some(stranger) = stranger {
            self.banned.push(stranger);
            self.heard = false;
            self.peer = usable(self.signalled).map(|address| (None, address));
            self.wait(now);
            if failure.wrong_fingerprint {
                self.second_chance
                    .get_or_insert((now + SECOND_CHANCE, failure));
            }
            return Step::None;
        }
        self.done = true;
        Step::Failed(failure)
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        let handshake = self.handshake.as_ref().and_then(DtlsHandshake::timeout);
        let chance = self
            .second_chance
            .as_ref()
            .filter(|_| !self.done && !self.heard)
            .map(|(until, _)| *until);
        let deadline = self.deadline.filter(|_| !self.done);
        handshake.into_iter().chain(chance).chain(deadline).min()
    }

    pub(super) fn poll_packet(&mut self) -> Option<HandshakePacket> {
        let (local, destination) = self.peer?;
        Some(HandshakePacket {
            channel: self.channel,
            local,
            destination,
            payload: self.handshake.as_mut()?.poll_transmit()?,
        })
    }
}

/// An address that packets can be sent to.
fn usable(address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.filter(|address| !address.ip().is_unspecified() && address.port() != 0)
}
