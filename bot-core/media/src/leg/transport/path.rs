//! The path that ICE finds, as a transport uses it.
//!
//! Invariants:
//! - an agent that is restarted leaves the former path in use until it found a new one;
//! - nothing is sent on a path whose peer has not answered a check for [`CONSENT_LASTS`] (RFC 7675);
//! - sources are known only by authentic STUN packets, and bounded in number. Between two sides that are lite there are no
//!   checks, and the addresses of the descriptions are believed (RFC 8445, section 8.2).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Channel, HandshakePacket};
use crate::leg::ice::{CONSENT_LASTS, IceAgent, IceCandidate, IceConfig, IceRemote, IceState};
use crate::sdp::NegotiatedIce;

/// How long a path may take to be found.
const SEARCH: Duration = Duration::from_secs(10);

/// Addresses of the peer that are remembered.
const SOURCES: usize = 16;

/// What happened to the path.
#[derive(Debug)]
pub(super) enum PathEvent {
    State(IceState),
    Failed(String),
}

pub(super) struct IcePath {
    agreed: NegotiatedIce,
    agent: IceAgent,
    state: IceState,
    /// The path in use.
    selected: Option<(SocketAddr, SocketAddr)>,
    /// Until when the peer consents to that.
    consent: Option<Instant>,
    /// Where authentic STUN came from, newest last.
    sources: Vec<SocketAddr>,
    deadline: Option<Instant>,
    events: VecDeque<PathEvent>,
}

impl IcePath {
    pub(super) fn new(now: Instant, agreed: &NegotiatedIce) -> Self {
        let mut path = Self {
            agreed: agreed.clone(),
            agent: agent(now, agreed),
            state: IceState::New,
            selected: None,
            consent: None,
            sources: Vec::with_capacity(SOURCES),
            deadline: Some(now + SEARCH),
            events: VecDeque::new(),
        };
        path.meet_lite();
        path.note(now);
        path
    }

    /// Takes the best pair of addresses where neither side would check any.
    fn meet_lite(&mut self) {
        if !(self.agreed.local.lite && self.agreed.remote.lite) {
            return;
        }
        let pair = best(&self.agreed.remote.candidates)
            .into_iter()
            .find_map(|remote| Some((self.own_address(remote)?, remote)));
        if let Some((_, remote)) = pair {
            self.sources = vec![remote];
        }
        self.selected = pair;
    }

    /// Gives the search as long again.
    pub(super) fn search_again(&mut self, now: Instant) {
        if self.selected.is_none() {
            self.deadline = Some(now + SEARCH);
        }
    }

    /// Takes in a newer exchange: a restart, or further candidates.
    pub(super) fn apply(&mut self, now: Instant, agreed: &NegotiatedIce) {
        if agreed.is_restart_of(&self.agreed) {
            self.agent = agent(now, agreed);
            self.deadline = Some(now + SEARCH);
        } else if agreed.remote != self.agreed.remote {
            self.agent.set_remote(remote(agreed));
        }
        self.agreed = agreed.clone();
        self.meet_lite();
        self.note(now);
    }

    /// Takes in a STUN packet; whether it was authentic.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        let Some(local) = local.or_else(|| self.own_address(source)) else {
            return false;
        };
        let authentic = self.agent.handle_packet(now, local, source, packet);
        if authentic && !self.sources.contains(&source) {
            if self.sources.len() == SOURCES {
                self.sources.remove(0);
            }
            self.sources.push(source);
        }
        // What was heard is acted on at once: a check in return, the nomination.
        self.agent.handle_timeout(now);
        self.note(now);
        authentic
    }

    /// The base of our first candidate of the source's family: the channel's own address.
    fn own_address(&self, source: SocketAddr) -> Option<SocketAddr> {
        self.agreed
            .local
            .candidates
            .iter()
            .filter_map(|candidate| candidate.related.or(candidate.address()))
            .find(|address| address.is_ipv4() == source.is_ipv4())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            if self.selected.is_none() {
                let count = self.agreed.remote.candidates.len();
                let seconds = SEARCH.as_secs();
                self.events.push_back(PathEvent::Failed(format!(
                    "no path to the peer was found by ICE within {seconds} s: it gave {count} candidates, and {}",
                    if self.sources.is_empty() {
                        "nothing authentic came from any address"
                    } else {
                        "its checks came, but none of ours was answered"
                    }
                )));
            }
        }
        if self.consent.is_some_and(|until| now >= until) {
            self.consent = None;
            self.selected = None;
            self.events.push_back(PathEvent::Failed(format!(
                "the peer has not answered the checks of ICE for {} s, so it must not be sent media any more (RFC 7675): it is gone, or the path to it is",
                CONSENT_LASTS.as_secs()
            )));
        }
        self.note(now);
    }

    /// Sees what became of the agent.
    fn note(&mut self, now: Instant) {
        let until = self.agent.consent_until();
        if let Some(selected) = self.agent.selected()
            && until.is_none_or(|until| now < until)
        {
            self.selected = Some(selected);
            self.consent = until;
        }
        if self.selected.is_some() {
            self.deadline = None;
        }
        let both_lite = self.agreed.local.lite && self.agreed.remote.lite;
        let state = match self.selected {
            Some(_) if both_lite => IceState::Connected,
            _ => self.agent.state(),
        };
        if state != self.state {
            self.state = state;
            self.events.push_back(PathEvent::State(state));
        }
    }

    pub(super) fn timeout(&mut self) -> Option<Instant> {
        let agent = self.agent.timeout();
        agent
            .into_iter()
            .chain(self.deadline)
            .chain(self.consent)
            .min()
    }

    pub(super) fn poll_event(&mut self) -> Option<PathEvent> {
        self.events.pop_front()
    }

    pub(super) fn poll_packet(&mut self) -> Option<HandshakePacket> {
        let transmit = self.agent.poll_transmit()?;
        Some(HandshakePacket {
            channel: Channel::Rtp,
            local: Some(transmit.local),
            destination: transmit.destination,
            payload: transmit.payload,
        })
    }

    /// The address of ours and the peer's that media uses.
    pub(super) const fn selected(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.selected
    }

    /// Whether the peer proved that it is at this address.
    pub(super) fn knows(&self, source: SocketAddr) -> bool {
        self.sources.contains(&source)
    }
}

/// The addresses of these candidates that can be used, best first.
fn best(candidates: &[IceCandidate]) -> Vec<SocketAddr> {
    let mut usable: Vec<_> = candidates.iter().filter(|it| it.is_usable()).collect();
    usable.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
    usable.iter().filter_map(|it| it.address()).collect()
}

fn agent(now: Instant, agreed: &NegotiatedIce) -> IceAgent {
    let mut agent = IceAgent::new(
        now,
        IceConfig {
            controlling: agreed.controlling,
            lite: agreed.local.lite,
            ufrag: agreed.local.ufrag.clone(),
            pwd: agreed.local.pwd.clone(),
        },
    );
    for candidate in &agreed.local.candidates {
        agent.add_local(candidate);
    }
    agent.set_remote(remote(agreed));
    agent.handle_timeout(now);
    agent
}

fn remote(agreed: &NegotiatedIce) -> IceRemote {
    IceRemote {
        ufrag: agreed.remote.ufrag.clone(),
        pwd: agreed.remote.pwd.clone(),
        lite: agreed.remote.lite,
        candidates: agreed.remote.candidates.clone(),
    }
}
