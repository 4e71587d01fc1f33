//! Sends what the user agent gives: by a listener's socket, or over a connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use callbot_sip::ua::{FailedTransport, FlowId, PeerHost, Protocol, Source, Transmit};
use tokio::sync::mpsc;

use super::{Locator, ToSip};
use crate::driver::connection::{Connection, Hold, Links};
use crate::driver::stream;

/// The connections of one endpoint, and its listeners' sockets.
pub(crate) struct Transport {
    locator: Locator,
    links: Arc<Links>,
    connections: HashMap<FlowId, Open>,
    by_peer: HashMap<Peer, FlowId>,
    commands: mpsc::WeakSender<ToSip>,
}

/// Whom a connection leads to: what makes it fit for another request (RFC 5923).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    protocol: Protocol,
    remote: SocketAddr,
    /// Whom the peer has proved to be: what is meant for another name must not go to it (RFC 5922 4).
    proved: Option<PeerHost>,
}

impl Peer {
    fn new(protocol: Protocol, remote: SocketAddr, host: &PeerHost) -> Self {
        Self {
            protocol,
            remote,
            proved: protocol.is_secure().then(|| host.clone()),
        }
    }
}

struct Open {
    connection: Connection,
    peer: Peer,
    source: Option<Source>,
}

/// The way that a message went: the peer, and the connection on streams.
pub(crate) type Way = (SocketAddr, Option<FlowId>);

/// What went wrong with a transmission, for the user agent.
pub(crate) type Failure = (FailedTransport, String);

impl Transport {
    pub(crate) fn new(
        locator: Locator,
        links: Arc<Links>,
        commands: mpsc::WeakSender<ToSip>,
    ) -> Self {
        Self {
            locator,
            links,
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            commands,
        }
    }

    pub(crate) fn opened(
        &mut self,
        flow: FlowId,
        protocol: Protocol,
        listener: Option<usize>,
        local: SocketAddr,
        remote: SocketAddr,
        connection: Connection,
    ) {
        let source = self
            .locator
            .stream_source(protocol, listener, local, remote, flow);
        // One that we opened is known already, with the name that it proved.
        let known = self.connections.remove(&flow).map(|open| open.peer);
        let peer = known.unwrap_or(Peer {
            protocol,
            remote,
            // Who connects to us proves nothing.
            proved: None,
        });
        self.by_peer.entry(peer.clone()).or_insert(flow);
        let open = Open {
            connection,
            peer,
            source: Some(source),
        };
        self.connections.insert(flow, open);
    }

    /// Forgets a connection; true when it was known.
    pub(crate) fn closed(&mut self, flow: FlowId) -> bool {
        let Some(open) = self.connections.remove(&flow) else {
            return false;
        };
        if self.by_peer.get(&open.peer) == Some(&flow) {
            self.by_peer.remove(&open.peer);
        }
        true
    }

    /// The far end of a connection wants a sign of life this often (RFC 5626 4.4.1).
    pub(crate) fn keep_alive(&self, flow: FlowId, timer: std::time::Duration) {
        if let Some(open) = self.connections.get(&flow) {
            open.connection.keep_alive(timer);
        }
    }

    /// Keeps a connection open for a call.
    pub(crate) fn hold(&self, flow: FlowId) -> Option<Hold> {
        Some(self.connections.get(&flow)?.connection.hold())
    }

    /// Where messages of a connection come from.
    pub(crate) fn source_of(&self, flow: FlowId) -> Option<&Source> {
        self.connections.get(&flow)?.source.as_ref()
    }

    /// Sends, connects first, or has the name resolved first.
    pub(crate) fn send(&mut self, transmit: Transmit) -> Result<Way, Option<Failure>> {
        let target = &transmit.target;
        if let Some((flow, open)) = target
            .flow
            .and_then(|flow| Some((flow, self.connections.get(&flow)?)))
        {
            let way = (open.peer.remote, Some(flow));
            return if open.connection.send(transmit.payload.clone()) {
                Ok(way)
            } else {
                Err(Some(broken(&transmit, "the connection takes no more")))
            };
        }
        if target.protocol.is_websocket() && transmit.transaction.is_none() && target.flow.is_some()
        {
            // An answer: a peer that came by WebSocket listens nowhere (RFC 7118 5).
            return Err(Some(broken(&transmit, "its WebSocket is gone")));
        }
        let remote = match (target.remote, &target.host) {
            (Some(remote), _) => remote,
            (None, PeerHost::Ip(ip)) => SocketAddr::new(*ip, target.port),
            (None, PeerHost::Name(name)) => {
                let (name, protocol) = (name.clone(), target.protocol);
                let port = (!target.open_port).then_some(target.port);
                let (commands, locator) = (self.commands.clone(), self.locator.clone());
                tokio::spawn(async move {
                    let result = locator.hops(&name, port, protocol).await;
                    if let Some(commands) = commands.upgrade() {
                        let transmit = Box::new(transmit);
                        let _ = commands.send(ToSip::Resolved { transmit, result }).await;
                    }
                });
                return Err(None);
            }
        };
        match target.protocol {
            Protocol::Udp => self.send_datagram(&transmit, remote),
            _ => self.send_stream(&transmit, remote),
        }
    }

    fn send_datagram(
        &self,
        transmit: &Transmit,
        remote: SocketAddr,
    ) -> Result<Way, Option<Failure>> {
        let listeners = self.locator.listeners();
        let datagrams = || {
            listeners.iter().filter(|listener| {
                listener.protocol == Protocol::Udp
                    && listener.socket.is_some()
                    && listener.local.is_ipv4() == remote.is_ipv4()
            })
        };
        let socket = datagrams()
            .find(|listener| Some(listener.local) == transmit.target.local)
            .or_else(|| datagrams().find(|listener| listener.is_open()))
            .and_then(|listener| listener.socket.as_ref());
        let Some(socket) = socket else {
            return Err(Some(broken(transmit, "no UDP listener fits this address")));
        };
        match socket.send_to(&transmit.payload, remote) {
            Ok(()) => Ok((remote, None)),
            // Reported of an earlier datagram: the timers of the transaction decide.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Ok((remote, None))
            }
            Err(error) => Err(Some(broken(transmit, &error.to_string()))),
        }
    }

    fn send_stream(
        &mut self,
        transmit: &Transmit,
        remote: SocketAddr,
    ) -> Result<Way, Option<Failure>> {
        let peer = Peer::new(transmit.target.protocol, remote, &transmit.target.host);
        let known = self
            .by_peer
            .get(&peer)
            .and_then(|flow| Some((*flow, self.connections.get(flow)?)));
        let (flow, sent) = match known {
            Some((flow, open)) => (flow, open.connection.send(transmit.payload.clone())),
            None => {
                let host = transmit.target.host.clone();
                let (flow, connection) =
                    stream::connect(peer.protocol, remote, host, self.links.clone());
                let sent = connection.send(transmit.payload.clone());
                self.by_peer.insert(peer.clone(), flow);
                let open = Open {
                    connection,
                    peer,
                    source: None,
                };
                self.connections.insert(flow, open);
                (flow, sent)
            }
        };
        if sent {
            Ok((remote, Some(flow)))
        } else {
            Err(Some(broken(transmit, "the connection takes no more")))
        }
    }
}

fn broken(transmit: &Transmit, why: &str) -> Failure {
    (FailedTransport::of(transmit), why.to_owned())
}
