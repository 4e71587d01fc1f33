//! The path that ICE finds, as a transport uses it.
//!
//! Invariants: an agent that is restarted leaves the former path in use until it found a new one; sources are known only by
//! authentic STUN packets, and bounded in number.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Channel, HandshakePacket};
use crate::leg::ice::{IceAgent, IceConfig, IceRemote, IceState};
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
            sources: Vec::with_capacity(SOURCES),
            deadline: Some(now + SEARCH),
            events: VecDeque::new(),
        };
        path.note();
        path
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
        self.note();
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
        self.note();
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
        self.note();
    }

    /// Sees what became of the agent.
    fn note(&mut self) {
        if let Some(selected) = self.agent.selected() {
            self.selected = Some(selected);
            self.deadline = None;
        }
        let state = self.agent.state();
        if state != self.state {
            self.state = state;
            self.events.push_back(PathEvent::State(state));
        }
    }

    pub(super) fn timeout(&mut self) -> Option<Instant> {
        let agent = self.agent.timeout();
        agent.into_iter().chain(self.deadline).min()
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
