//! Sends what the user agent gives: by a listener's socket, or over a connection.

use std::collections::HashMap;
use std::net::SocketAddr;

use callbot_sip::ua::{FailedTransport, FlowId, PeerHost, Protocol, Source, Transmit};
use tokio::sync::mpsc;

use super::{Inbound, Locator, ToSip};
use crate::driver::resolve::resolve;
use crate::driver::stream::{self, Connection};

/// The connections of one endpoint, and its listeners' sockets.
pub(crate) struct Transport {
    locator: Locator,
    connections: HashMap<FlowId, Open>,
    by_remote: HashMap<SocketAddr, FlowId>,
    inbound: mpsc::Sender<Inbound>,
    commands: mpsc::WeakSender<ToSip>,
}

struct Open {
    connection: Connection,
    remote: SocketAddr,
    source: Option<Source>,
}

/// The way that a message went: the peer, and the connection on streams.
pub(crate) type Way = (SocketAddr, Option<FlowId>);

/// What went wrong with a transmission, for the user agent.
pub(crate) type Failure = (FailedTransport, String);

impl Transport {
    pub(crate) fn new(
        locator: Locator,
        inbound: mpsc::Sender<Inbound>,
        commands: mpsc::WeakSender<ToSip>,
    ) -> Self {
        Self {
            locator,
            connections: HashMap::new(),
            by_remote: HashMap::new(),
            inbound,
            commands,
        }
    }

    pub(crate) fn opened(
        &mut self,
        flow: FlowId,
        listener: Option<usize>,
        local: SocketAddr,
        remote: SocketAddr,
        connection: Connection,
    ) {
        let source = self.locator.stream_source(listener, local, remote, flow);
        self.connections.insert(
            flow,
            Open {
                connection,
                remote,
                source: Some(source),
            },
        );
        self.by_remote.entry(remote).or_insert(flow);
    }

    /// Forgets a connection; true when it was known.
    pub(crate) fn closed(&mut self, flow: FlowId, remote: SocketAddr) -> bool {
        if self.by_remote.get(&remote) == Some(&flow) {
            self.by_remote.remove(&remote);
        }
        self.connections.remove(&flow).is_some()
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
            let way = (open.remote, Some(flow));
            return if open.connection.send(transmit.payload.clone()) {
                Ok(way)
            } else {
                Err(Some(broken(&transmit, "the connection takes no more")))
            };
        }
        let remote = match (target.remote, &target.host) {
            (Some(remote), _) => remote,
            (None, PeerHost::Ip(ip)) => SocketAddr::new(*ip, target.port),
            (None, PeerHost::Name(name)) => {
                let (name, port) = (name.clone(), target.port);
                let commands = self.commands.clone();
                tokio::spawn(async move {
                    let result = resolve(&name, port).await;
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
            Protocol::Tcp => self.send_stream(&transmit, remote),
            other => Err(Some(broken(
                &transmit,
                &format!("this endpoint does not speak {other}"),
            ))),
        }
    }

    fn send_datagram(
        &self,
        transmit: &Transmit,
        remote: SocketAddr,
    ) -> Result<Way, Option<Failure>> {
        let datagrams = || {
            self.locator.listeners().iter().filter(|listener| {
                listener.protocol == Protocol::Udp && listener.local.is_ipv4() == remote.is_ipv4()
            })
        };
        let socket = datagrams()
            .find(|listener| Some(listener.local) == transmit.target.local)
            .or_else(|| datagrams().next())
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
        let known = self
            .by_remote
            .get(&remote)
            .and_then(|flow| Some((*flow, self.connections.get(flow)?)));
        let (flow, sent) = match known {
            Some((flow, open)) => (flow, open.connection.send(transmit.payload.clone())),
            None => {
                let (flow, connection) = stream::connect(remote, self.inbound.clone());
                let sent = connection.send(transmit.payload.clone());
                self.by_remote.insert(remote, flow);
                self.connections.insert(
                    flow,
                    Open {
                        connection,
                        remote,
                        source: None,
                    },
                );
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
