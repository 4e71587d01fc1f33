//! An address on a TURN server (RFC 8656): asked for, kept, used and given back.
//!
//! Purpose: turn-client-proto's client, with what it leaves to its user: permissions for whomever packets go to, channels
//! for those that media goes to, the words of a refusal, and the padding that streams need (section 12.5), which the library
//! neither writes nor reads; `frames` takes care of the reading.
//!
//! Invariants: told the time, and touches no socket; whatever the server sends, the number of peers and of packets that wait
//! for a permission is bounded; nothing of its own allocates for a packet to a peer that has a channel.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use stun_proto::types::attribute::ErrorCode;
use stun_proto::types::message::{Message, MessageClass, TransactionId};
use turn_client_proto::api::{Transmit, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::client::TurnClient;
use turn_client_proto::prelude::{DelayedTransmitBuild, TurnClientApi};
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{
    AddressFamily, Instant as TurnInstant, TransportType, TurnCredentials,
};
use turn_client_proto::udp::TurnClientUdp;

use super::binding::refusal;

/// Packets that wait for a permission; they are ICE's checks, which come again.
const WAITING: usize = 16;

/// Hosts that are remembered as refused by the server.
const REFUSED: usize = 32;

/// Peers that have a channel. A call sends media to one, and to a few in its life.
const CHANNELS: usize = 8;

/// Retransmissions over UDP: quick at first, since a call waits; the last one 8 s after the first.
const FIRST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(2);
const REQUESTS: u32 = 7;

/// The connection to a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) local: SocketAddr,
    pub(super) server: SocketAddr,
    /// TCP or TLS, where packets need frames.
    pub(super) is_stream: bool,
}

/// How far an allocation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The server was asked, or is about to be.
    Asking,
    /// This address is ours.
    Ready(SocketAddr),
    /// It is over, or never was; why.
    Gone(String),
}

/// An allocation.
pub(super) struct Allocation {
    client: TurnClient,
    line: Line,
    epoch: Instant,
    state: State,
    closing: bool,
    /// The request that was answered by asking for user and password.
    challenge: Option<TransactionId>,
    /// What the server's newest refusal said.
    cause: Option<String>,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    refused: Vec<IpAddr>,
    channels: Vec<SocketAddr>,
    timeout: Instant,
}

impl Allocation {
    /// Asks for an address of the family that `line.local` has.
    pub(super) fn new(now: Instant, line: Line, (user, password): (&str, &str), v6: bool) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new(user, password));
        if v6 {
            config.set_address_family(AddressFamily::IPV6);
        }
        config.set_request_retransmits(FIRST, SLOWEST, REQUESTS, SLOWEST);
        let Line { local, server, .. } = line;
        let client = if line.is_stream {
            TurnClientTcp::allocate(local, server, config).into()
        } else {
            TurnClientUdp::allocate(local, server, config).into()
        };
        Self {
            client,
            line,
            epoch: now,
            state: State::Asking,
            closing: false,
            challenge: None,
            cause: None,
            waiting: VecDeque::new(),
            refused: Vec::new(),
            channels: Vec::new(),
            timeout: now,
        }
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Takes in one message of the server; a peer's datagram in it goes to `deliver`.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        message: &[u8],
        deliver: impl FnOnce(SocketAddr, &[u8]),
    ) {
        // Two bits tell STUN, which may hold a refusal, from media in a channel.
        if message.first().is_some_and(|first| first & 0xc0 == 0)
            && let Ok(message) = Message::from_bytes(message)
            && message.class() == MessageClass::Error
        {
            self.cause = Some(refusal(&message));
            let code = message.attribute::<ErrorCode>().map(|error| error.code());
            if self.state == State::Asking && code.is_ok_and(|code| code == ErrorCode::UNAUTHORIZED)
            {
                // The first of them asks for user and password; the library takes no notice of a second, which
                // refuses them.
                let id = *self.challenge.get_or_insert(message.transaction_id());
                if id != message.transaction_id() {
                    self.fail("wrong user or password");
                    return;
                }
            }
        }
        let transport = self.transport();
        let Line { local, server, .. } = self.line;
        let at = self.at(now);
        let transmit = Transmit::new(message, transport, server, local);
        if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, at) {
            deliver(data.peer, data.data());
        }
        self.note();
        self.timeout = now;
    }

    /// Writes to `out` what carries a datagram to a peer; `false` when it has to wait for the server's permission, or will
    /// never get it.
    pub(super) fn send(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        if !matches!(self.state, State::Ready(_)) || self.closing {
            return false;
        }
        if !self.client.have_permission(TransportType::Udp, peer.ip()) {
            self.wait_for_permission(now, peer, payload);
            return false;
        }
        // Checks go to many; what else there is goes where the call does.
        let is_stun = payload.first().is_none_or(|first| *first < 20);
        let at = self.at(now);
        if !is_stun && self.channels.len() < CHANNELS && !self.channels.contains(&peer) {
            // Without a channel packets have 36 bytes more, and go all the same.
            let _ = self.client.bind_channel(TransportType::Udp, peer, at);
            self.channels.push(peer);
            self.timeout = now;
        }
        let Ok(Some(built)) = self.client.send_to(TransportType::Udp, peer, payload, at) else {
            return false;
        };
        let length = built.data.len();
        out.resize(length, 0);
        built.data.write_into(out);
        if self.line.is_stream {
            out.resize(length.next_multiple_of(4), 0);
        }
        true
    }

    fn wait_for_permission(&mut self, now: Instant, peer: SocketAddr, payload: &[u8]) {
        if self.refused.contains(&peer.ip()) {
            return;
        }
        let asked = self
            .waiting
            .iter()
            .any(|(other, _)| other.ip() == peer.ip());
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((peer, payload.to_vec()));
        if !asked {
            let at = self.at(now);
            // It fails where one is on its way already.
            let _ = self
                .client
                .create_permission(TransportType::Udp, peer.ip(), at);
            self.timeout = now;
        }
    }

    /// Writes the next message to the server to `out`, if there is one.
    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let ready = self
            .waiting
            .iter()
            .position(|(peer, _)| self.client.have_permission(TransportType::Udp, peer.ip()));
        if let Some((peer, payload)) = ready.and_then(|index| self.waiting.remove(index))
            && self.send(now, peer, &payload, out)
        {
            return true;
        }
        let at = self.at(now);
        match self.client.poll(at) {
            TurnPollRet::WaitUntil(until) => {
                self.timeout = self.epoch + until.saturating_duration_since(TurnInstant::ZERO);
            }
            TurnPollRet::Closed => {
                self.note();
                self.fail("the server took the address back");
            }
            TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => {
                self.timeout = now;
            }
        }
        self.note();
        let Some(transmit) = self.client.poll_transmit(at) else {
            return false;
        };
        out.clear();
        out.extend_from_slice(&transmit.data);
        true
    }

    /// When [`Allocation::poll_transmit`] has something to do.
    pub(super) const fn timeout(&self) -> Instant {
        self.timeout
    }

    /// Gives the address back; the message that says so is still to be polled, and the state tells when it was answered.
    pub(super) fn close(&mut self, now: Instant) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        let at = self.at(now);
        if self.client.delete(at).is_err() {
            self.fail("there is no address to give back");
        }
        self.timeout = now;
    }

    /// Sees what became of requests.
    fn note(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                TurnEvent::AllocationCreated(_, address) => self.state = State::Ready(address),
                TurnEvent::AllocationCreateFailed(_) => {
                    self.fail("it does not answer, or not as a TURN server does");
                }
                TurnEvent::PermissionCreateFailed(_, host) => {
                    self.waiting.retain(|(peer, _)| peer.ip() != host);
                    if self.refused.len() < REFUSED && !self.refused.contains(&host) {
                        self.refused.push(host);
                    }
                    let cause = self.cause.as_deref().unwrap_or("no answer");
                    tracing::debug!(%host, cause, "the TURN server does not relay to this host");
                }
                _ => {}
            }
        }
    }

    fn fail(&mut self, otherwise: &str) {
        if !matches!(self.state, State::Gone(_)) {
            let cause = self.cause.take();
            self.state = State::Gone(cause.unwrap_or_else(|| otherwise.to_owned()));
        }
    }

    const fn transport(&self) -> TransportType {
        if self.line.is_stream {
            TransportType::Tcp
        } else {
            TransportType::Udp
        }
    }

    /// The library counts from a beginning of its own.
    fn at(&self, now: Instant) -> TurnInstant {
        TurnInstant::ZERO + now.saturating_duration_since(self.epoch)
    }
}

#[cfg(test)]
#[path = "allocation_tests.rs"]
mod tests;
