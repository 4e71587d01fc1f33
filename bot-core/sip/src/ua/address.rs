//! Where messages come from and go to, as the shell and the user agent tell each other.
//!
//! Responsibility: plain values. The user agent decides the address (RFC 3261 sections 8.1.2, 12.2.1.1
//! and 18.2.2, RFC 3581); the shell owns sockets and connections, resolves names and reports failures.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use super::{InviteId, TransactionId};

/// A SIP transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Datagrams: the only one that loses messages, so the only one with retransmissions.
    Udp,
    /// A plain stream.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
}

impl Protocol {
    /// Whether the transport delivers every message or says that it could not.
    #[must_use]
    pub fn is_reliable(self) -> bool {
        self != Protocol::Udp
    }

    /// Whether the transport is a WebSocket, of either kind.
    #[must_use]
    pub fn is_websocket(self) -> bool {
        matches!(self, Protocol::Ws | Protocol::Wss)
    }

    /// Whether the transport is encrypted.
    #[must_use]
    pub fn is_secure(self) -> bool {
        matches!(self, Protocol::Tls | Protocol::Wss)
    }

    /// The name in a Via: `UDP`, `TCP`, `TLS`, `WS`, `WSS`.
    #[must_use]
    pub fn via_name(self) -> &'static str {
        match self {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
            Protocol::Tls => "TLS",
            Protocol::Ws => "WS",
            Protocol::Wss => "WSS",
        }
    }

    /// The name in a URI's `transport` parameter; RFC 7118 writes `ws` for both kinds.
    #[must_use]
    pub fn uri_name(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
            Protocol::Ws | Protocol::Wss => "ws",
        }
    }

    /// The protocol of a URI's `transport` parameter, or of a Via.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Protocol::Udp,
            Protocol::Tcp,
            Protocol::Tls,
            Protocol::Ws,
            Protocol::Wss,
        ]
        .into_iter()
        .find(|protocol| protocol.via_name().eq_ignore_ascii_case(name))
    }

    /// The port when none is written: 5060, or 5061 for TLS; 80 and 443 for WebSocket.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Protocol::Udp | Protocol::Tcp => 5060,
            Protocol::Tls => 5061,
            Protocol::Ws => 80,
            Protocol::Wss => 443,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.via_name())
    }
}

/// One stream connection; the shell gives the numbers and never reuses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Where a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The transport.
    pub protocol: Protocol,
    /// The address of our socket.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection, on streams.
    pub flow: Option<FlowId>,
    /// What our Via and Contact say towards this peer. Port 0 says that no address of ours can be called, as with
    /// a WebSocket client: a random name under `.invalid` stands in its place (RFC 7118 section 5).
    pub advertised: SocketAddr,
}

/// The host of a [`Target`]: an address, or a name that the shell resolves. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PeerHost {
    /// A literal address.
    Ip(IpAddr),
    /// A name for RFC 3263.
    Name(Arc<str>),
}

impl From<&str> for PeerHost {
    fn from(text: &str) -> Self {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        match bare.parse() {
            Ok(ip) => PeerHost::Ip(ip),
            Err(_) => PeerHost::Name(text.into()),
        }
    }
}

impl From<IpAddr> for PeerHost {
    fn from(ip: IpAddr) -> Self {
        PeerHost::Ip(ip)
    }
}

impl fmt::Display for PeerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerHost::Ip(ip) => ip.fmt(f),
            PeerHost::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for PeerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a message goes.
///
/// The shell sends over `flow` when that is given and lives, else to `remote`, else resolves `host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The transport.
    pub protocol: Protocol,
    /// The host that the URI, Route or Via named.
    pub host: PeerHost,
    /// The address, when it is known without asking DNS.
    pub remote: Option<SocketAddr>,
    /// The port that was named, or the default of the protocol.
    pub port: u16,
    /// The connection to reuse.
    pub flow: Option<FlowId>,
    /// The socket to send from, when it matters (answers over UDP leave by the socket that was asked).
    pub local: Option<SocketAddr>,
    /// What our Via and Contact say towards this peer; see [`Source::advertised`].
    pub advertised: SocketAddr,
    /// Whether `port` was named by nobody, so that SRV records may say another (RFC 3263 section 4.2).
    pub open_port: bool,
    /// Where to go next when this fails (RFC 3263 section 4.3), best first.
    pub alternatives: Arc<[Hop]>,
}

/// Another address of the same host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The transport.
    pub protocol: Protocol,
    /// The address.
    pub remote: SocketAddr,
    /// See [`Target::local`].
    pub local: Option<SocketAddr>,
    /// See [`Source::advertised`].
    pub advertised: SocketAddr,
}

impl Target {
    /// A target whose address is known.
    #[must_use]
    pub fn direct(protocol: Protocol, remote: SocketAddr, advertised: SocketAddr) -> Self {
        Target {
            protocol,
            host: PeerHost::Ip(remote.ip()),
            remote: Some(remote),
            port: remote.port(),
            flow: None,
            local: None,
            advertised,
            open_port: false,
            alternatives: Arc::default(),
        }
    }

    /// The same host by its next address; `None` when none is left.
    pub(crate) fn next(&self) -> Option<Target> {
        let (hop, rest) = self.alternatives.split_first()?;
        Some(Target {
            protocol: hop.protocol,
            host: self.host.clone(),
            remote: Some(hop.remote),
            port: hop.remote.port(),
            flow: None,
            local: hop.local,
            advertised: hop.advertised,
            open_port: false,
            alternatives: rest.into(),
        })
    }

    /// The peer that a message came from, by the same socket or connection.
    #[must_use]
    pub fn back_to(source: &Source) -> Self {
        Target {
            flow: source.flow,
            local: Some(source.local),
            ..Target::direct(source.protocol, source.remote, source.advertised)
        }
    }
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to.
    pub target: Target,
    /// The whole message; retransmissions are the same `Bytes`.
    pub payload: Bytes,
    /// The call that it belongs to, for traces.
    pub invite: Option<InviteId>,
    /// The request's transaction, so that a failure to send ends just that one; `None` for responses and ACKs to 2xx.
    pub transaction: Option<TransactionId>,
}

/// What the shell could not send to, or which connection closed.
#[derive(Clone, Debug, Default)]
pub struct FailedTransport {
    /// A connection that closed: every request waiting on it fails, and no dialog uses it again.
    pub flow: Option<FlowId>,
    /// One request that could not be sent (no route, no such host, connection refused).
    pub transaction: Option<TransactionId>,
    /// Every unanswered request over this protocol towards `remote` that is bound to no connection fails, when
    /// both are given.
    pub protocol: Option<Protocol>,
    /// See `protocol`.
    pub remote: Option<SocketAddr>,
}

impl FailedTransport {
    /// A connection closed or broke.
    #[must_use]
    pub fn flow(flow: FlowId) -> Self {
        FailedTransport {
            flow: Some(flow),
            ..FailedTransport::default()
        }
    }

    /// A connection closed or broke, and requests may have gone out on it that the shell did not report by
    /// [`UserAgent::bound`](super::UserAgent::bound). One report, rather than two in a row: what is sent again
    /// because of the first would fall to the second.
    #[must_use]
    pub fn connection(flow: FlowId, protocol: Protocol, remote: SocketAddr) -> Self {
        FailedTransport {
            flow: Some(flow),
            protocol: Some(protocol),
            remote: Some(remote),
            transaction: None,
        }
    }

    /// This message could not be sent.
    #[must_use]
    pub fn of(transmit: &Transmit) -> Self {
        FailedTransport {
            transaction: transmit.transaction,
            ..FailedTransport::default()
        }
    }

    /// The peer does not listen (an ICMP error, a refused connection).
    #[must_use]
    pub fn peer(protocol: Protocol, remote: SocketAddr) -> Self {
        FailedTransport {
            protocol: Some(protocol),
            remote: Some(remote),
            ..FailedTransport::default()
        }
    }
}
