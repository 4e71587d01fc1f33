//! The agent.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgentEvent, IceConnectionState, IceCreds, Protocol};

use super::{CANDIDATES_MAX, CandidateKind, IceCandidate};

/// A peer that answers no more is noticed within this time.
pub const LOST_AFTER: Duration = Duration::from_secs(10);

/// How long a path may be silent. The peer's checks and its answers to ours both break the silence; the first come at least
/// every 6 s (RFC 7675, section 5.1), the second every 2 s. The library itself waits for 15 s after the peer's last check,
/// whatever it is told.
const SILENT_FOR: Duration = Duration::from_secs(9);

/// How long the peer's newest answer to a check of ours lets us send to it (RFC 7675, section 5.1).
pub const CONSENT_LASTS: Duration = Duration::from_secs(30);

/// Retransmissions of checks: at first after 250 ms, then ever more slowly up to 2 s, which is also how often a path in use
/// is checked. Six unanswered ones end a path that the peer does not check either.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
const SLOWEST_RETRANSMISSION: Duration = Duration::from_secs(2);
const RETRANSMISSIONS: usize = 6;

/// Pairs of candidates that are checked.
const PAIRS_MAX: usize = 100;

/// Addresses that authentic requests may come from. Each costs the library memory, and a peer behind a NAT has a few.
const SOURCES_MAX: usize = 64;

/// The longest STUN packet that is read.
const PACKET_MAX: usize = 1500;

/// How the answer to a check begins: the type of a Binding success response (RFC 8489, section 5).
const SUCCESS_RESPONSE: [u8; 2] = [0x01, 0x01];

/// How an agent is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceConfig {
    /// Whether it chooses the path. Who makes the first offer does, unless the peer is lite: then the other one.
    pub controlling: bool,
    /// Whether it only answers checks (RFC 8445, section 2.5): for hosts with a public address. It must not be controlling
    /// then, unless the peer is lite too.
    pub lite: bool,
    /// Our user name fragment; see [`credentials`](super::credentials).
    pub ufrag: String,
    /// Our password.
    pub pwd: String,
}

/// What the peer's description says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IceRemote {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// Whether there is `a=ice-lite`.
    pub lite: bool,
    /// The lines `a=candidate`. Those that cannot be used are ignored, and so are those beyond [`CANDIDATES_MAX`].
    pub candidates: Vec<IceCandidate>,
}

/// How far an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceState {
    /// It waits for the peer's description, or for a first check.
    New,
    /// It looks for a path.
    Checking,
    /// There is a path: see [`IceAgent::selected`].
    Connected,
    /// There was a path, and the peer does not answer on it any more, or no candidate ever answered. A packet from the peer
    /// may still bring it back.
    Disconnected,
}

/// A STUN packet to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceTransmit {
    /// The local candidate that it is sent from: a socket's own address, or an address on a TURN server.
    pub local: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The packet.
    pub payload: Bytes,
}

/// One side of ICE.
pub struct IceAgent {
    inner: is::IceAgent,
    selected: Option<(SocketAddr, SocketAddr)>,
    state: IceState,
    /// We only answer checks.
    lite: bool,
    /// When the peer was last heard on the path.
    heard: Instant,
    /// When it last answered a check of ours on it.
    consented: Instant,
    silent: bool,
    sources: Vec<SocketAddr>,
    refused: u64,
}

impl IceAgent {
    /// An agent without candidates.
    #[must_use]
    pub fn new(now: Instant, config: IceConfig) -> Self {
        let tie_breaker = tie_breaker(&config);
        let IceConfig {
            controlling,
            lite,
            ufrag,
            pwd,
        } = config;
        let mut inner = is::IceAgent::new(IceCreds { ufrag, pass: pwd });
        inner.set_control_tie_breaker(tie_breaker);
        inner.set_max_candidate_pairs(PAIRS_MAX);
        inner.set_ice_lite(lite);
        inner.set_controlling(controlling);
        inner.set_initial_stun_rto(FIRST_RETRANSMISSION);
        inner.set_max_stun_rto(SLOWEST_RETRANSMISSION);
        inner.set_max_stun_retransmits(RETRANSMISSIONS);
        inner.handle_timeout(now);
        Self {
            inner,
            selected: None,
            state: IceState::New,
            lite,
            heard: now,
            consented: now,
            silent: false,
            sources: Vec::new(),
            refused: 0,
        }
    }

    /// Adds a candidate of ours; gives whether it is a new one that can be used. Candidates that are not of kind host need
    /// their base.
    pub fn add_local(&mut self, candidate: &IceCandidate) -> bool {
        let Some(address) = candidate.address().filter(|_| candidate.is_usable()) else {
            return false;
        };
        if self.inner.local_candidates().count() >= CANDIDATES_MAX {
            return false;
        }
        let made = match (candidate.kind, candidate.related) {
            (CandidateKind::Host, _) => Candidate::host(address, Protocol::Udp),
            (CandidateKind::ServerReflexive, Some(base)) => {
                Candidate::server_reflexive(address, base, Protocol::Udp)
            }
            (CandidateKind::Relayed, Some(base)) => {
                Candidate::relayed(address, base, Protocol::Udp)
            }
            _ => return false,
        };
        made.is_ok_and(|candidate| self.inner.add_local_candidate(candidate).is_some())
    }

    /// Takes in the peer's description. It may come again with more candidates; with other credentials it needs a new agent.
    /// If the peer is lite and we are not, we choose the path.
    pub fn set_remote(&mut self, remote: IceRemote) {
        let IceRemote {
            ufrag,
            pwd,
            lite,
            candidates,
        } = remote;
        if lite && !self.inner.ice_lite() {
            self.inner.set_controlling(true);
        }
        let credentials = IceCreds { ufrag, pass: pwd };
        if self.inner.remote_credentials() != Some(&credentials) {
            self.inner.set_remote_credentials(credentials);
        }
        let room = CANDIDATES_MAX.saturating_sub(self.inner.remote_candidates().count());
        for candidate in candidates
            .into_iter()
            .filter(IceCandidate::is_usable)
            .take(room)
        {
            let Some(address) = candidate.address() else {
                continue;
            };
            let kind = match candidate.kind {
                CandidateKind::Host => is::CandidateKind::Host,
                CandidateKind::ServerReflexive => is::CandidateKind::ServerReflexive,
                CandidateKind::PeerReflexive => is::CandidateKind::PeerReflexive,
                CandidateKind::Relayed => is::CandidateKind::Relayed,
            };
            let IceCandidate {
                foundation,
                component,
                priority,
                related,
                ufrag,
                ..
            } = candidate;
            self.inner.add_remote_candidate(Candidate::from_parts(
                foundation,
                component,
                Protocol::Udp,
                priority,
                address,
                kind,
                related,
                None,
                ufrag,
            ));
        }
    }

    /// Takes in a STUN packet, whose first byte is 0 to 3, that came to a local candidate (a socket's own address, or one on
    /// a TURN server). Gives whether it was for this agent and authentic.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        local: SocketAddr,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        let accepted = self.accept(now, local, source, packet);
        if accepted {
            if self.selected.is_some_and(|(_, remote)| remote == source) {
                self.hear(now);
                if packet.starts_with(&SUCCESS_RESPONSE) {
                    self.consented = now;
                }
            }
            self.drain_events(now);
        } else {
            self.refused += 1;
        }
        accepted
    }

    fn accept(
        &mut self,
        now: Instant,
        local: SocketAddr,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        if packet.len() > PACKET_MAX || !is_signed_to_its_end(packet) {
            return false;
        }
        let Ok(message) = StunMessage::parse(packet) else {
            return false;
        };
        if !self.inner.accepts_message(&message) {
            return false;
        }
        if !self.sources.contains(&source) {
            if self.sources.len() >= SOURCES_MAX {
                return false;
            }
            self.sources.push(source);
        }
        self.inner.handle_packet(
            now,
            StunPacket {
                proto: Protocol::Udp,
                source,
                destination: local,
                message,
            },
        )
    }

    /// Tells the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
        self.drain_events(now);
        if self.is_watching() && now >= self.heard + SILENT_FOR {
            self.silent = true;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest. Ask anew after each call.
    pub fn timeout(&mut self) -> Option<Instant> {
        let silence = self.is_watching().then(|| self.heard + SILENT_FOR);
        [self.inner.poll_timeout(), silence]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether silence on the path is still to be noticed.
    fn is_watching(&self) -> bool {
        self.state == IceState::Connected && !self.silent
    }

    /// Until when the peer consents to what we send on the path, unless it answers again (RFC 7675); `None` without a path,
    /// and for an agent that is lite, which has no checks that could be answered: peers need not check a path that stands
    /// (RFC 8445, section 11), so their silence alone must not end it.
    #[must_use]
    pub fn consent_until(&self) -> Option<Instant> {
        (self.selected.is_some() && !self.lite).then(|| self.consented + CONSENT_LASTS)
    }

    /// The next packet to be sent.
    pub fn poll_transmit(&mut self) -> Option<IceTransmit> {
        let transmit = self.inner.poll_transmit()?;
        let payload = Bytes::from(Vec::from(transmit.contents));
        Some(IceTransmit {
            local: transmit.source,
            destination: transmit.destination,
            payload,
        })
    }

    /// The path: the local candidate to send from (a socket's own address, or one on a TURN server) and the peer's address.
    /// It may change at any time.
    #[must_use]
    pub const fn selected(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.selected
    }

    /// How far the agent is.
    #[must_use]
    pub const fn state(&self) -> IceState {
        match self.state {
            IceState::Connected if self.silent => IceState::Disconnected,
            state => state,
        }
    }

    /// Whether we choose the path. It changes when both sides want to.
    #[must_use]
    pub fn is_controlling(&self) -> bool {
        self.inner.controlling()
    }

    /// Packets that were refused: not STUN, not for this agent, or with the wrong password.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    const fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.silent = false;
    }

    fn drain_events(&mut self, now: Instant) {
        while let Some(event) = self.inner.poll_event() {
            match event {
                IceAgentEvent::IceConnectionStateChange(state) => self.state = state_of(state),
                IceAgentEvent::NominatedSend {
                    source,
                    destination,
                    ..
                } => {
                    self.selected = Some((source, destination));
                    self.consented = now;
                    self.hear(now);
                }
                _ => {}
            }
        }
    }
}

/// Whether nothing but a fingerprint follows the attribute MESSAGE-INTEGRITY. What does is not signed and must be ignored
/// (RFC 8489, section 14.5), but the library would read it.
fn is_signed_to_its_end(packet: &[u8]) -> bool {
    const MESSAGE_INTEGRITY: u16 = 0x0008;
    const FINGERPRINT: u16 = 0x8028;
    let mut rest = packet.get(20..).unwrap_or_default();
    let mut signed = false;
    while let [kind, kind_low, length, length_low, after @ ..] = rest {
        let kind = u16::from_be_bytes([*kind, *kind_low]);
        let length = usize::from(u16::from_be_bytes([*length, *length_low]));
        if signed && kind != FINGERPRINT {
            return false;
        }
        signed |= kind == MESSAGE_INTEGRITY;
        match after.get(length.next_multiple_of(4)..) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    signed && rest.is_empty()
}

const fn state_of(state: IceConnectionState) -> IceState {
    match state {
        IceConnectionState::New => IceState::New,
        IceConnectionState::Checking => IceState::Checking,
        IceConnectionState::Connected | IceConnectionState::Completed => IceState::Connected,
        IceConnectionState::Disconnected => IceState::Disconnected,
    }
}

/// Who yields when both sides want to choose, or neither does. The credentials are random already, so this is too. A lite agent
/// must not choose, so it never yields (RFC 8445, section 6.1.1).
fn tie_breaker(config: &IceConfig) -> u64 {
    if config.lite {
        return u64::MAX;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in config.ufrag.bytes().chain(config.pwd.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

impl fmt::Debug for IceAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceAgent")
            .field("state", &self.state)
            .field("selected", &self.selected)
            .finish_non_exhaustive()
    }
}
