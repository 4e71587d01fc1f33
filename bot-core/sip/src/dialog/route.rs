//! Route sets, loose and strict, and the address that a request in a dialog goes to
//! (RFC 3261 sections 8.1.2, 12.2.1.1 and 16.12).

use std::net::SocketAddr;

use bytes::Bytes;

use crate::headers::{HeaderName, NameAddr};
use crate::message::Request;
use crate::ua::{FlowId, PeerHost, Protocol, Source, Target};
use crate::uri::{Scheme, Uri};

/// How the peer of a dialog was reached, which is how it is reached again when nothing says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) protocol: Protocol,
    pub(crate) flow: Option<FlowId>,
    /// The far end of the connection, or the source of the datagram.
    remote: Option<SocketAddr>,
    /// What the first request was sent to, when it was ours.
    host: Option<PeerHost>,
    local: Option<SocketAddr>,
    advertised: SocketAddr,
    /// No proxy stands between: the far end is the peer itself.
    direct: bool,
    /// The peer does not know its own address: what it writes into Contact is of no use to us.
    natted: bool,
}

impl Peer {
    /// The peer that sent us an INVITE.
    pub(crate) fn of_request(source: &Source, request: &Request) -> Self {
        let mut vias = request.headers.vias();
        let first = vias.next().and_then(Result::ok);
        let direct = vias.next().is_none();
        let contact = request.headers.contact().and_then(Result::ok);
        let contact_ip = contact
            .and_then(|contact| contact.uri().ok())
            .and_then(|uri| uri.host_ip());
        let sent_by = first.and_then(|via| via.host.ip());
        // The usual sign of NAT: Via and Contact agree on an address that the packet did not come from.
        let says_elsewhere =
            sent_by.is_some() && sent_by == contact_ip && sent_by != Some(source.remote.ip());
        let natted = direct && (says_elsewhere || request.headers.contact().is_none());
        Peer {
            protocol: source.protocol,
            flow: source.flow,
            remote: Some(source.remote),
            host: None,
            local: Some(source.local),
            advertised: source.advertised,
            direct,
            natted,
        }
    }

    /// The peer that answered our INVITE, which went to `target`.
    pub(crate) fn of_response(target: &Target, source: &Source) -> Self {
        Peer {
            protocol: target.protocol,
            flow: source.flow,
            remote: Some(source.remote),
            host: Some(target.host.clone()),
            local: target.local.or(Some(source.local)),
            advertised: target.advertised,
            direct: false,
            natted: false,
        }
    }

    /// Where a request goes whose next hop is `uri`.
    pub(crate) fn target(&self, uri: &Uri, routed: bool, is_live: bool) -> Target {
        let base = Target {
            protocol: self.protocol,
            host: PeerHost::Name("".into()),
            remote: None,
            port: 0,
            flow: None,
            local: self.local,
            advertised: self.advertised,
            open_port: false,
            alternatives: Default::default(),
        };
        let mut target = next_hop(uri, &base);
        if target.protocol != self.protocol {
            target.local = None;
            return target;
        }
        if self.natted && !routed {
            target.remote = self.remote;
        }
        if is_live && self.protocol.is_reliable() && self.reuses(&target.host, routed) {
            target.flow = self.flow;
        }
        target
    }

    /// Whether the next hop is the one at the other end of the connection.
    fn reuses(&self, hop: &PeerHost, routed: bool) -> bool {
        if matches!(self.protocol, Protocol::Ws | Protocol::Wss) || self.direct || self.natted {
            return true;
        }
        match hop {
            PeerHost::Ip(ip) => self.remote.is_some_and(|remote| remote.ip() == *ip),
            PeerHost::Name(name) => {
                routed || name.ends_with(".invalid") || self.host.as_ref() == Some(hop)
            }
        }
    }
}

/// The Request-URI and the Route headers for a target and a route set (section 12.2.1.1).
pub(crate) fn split_route(target: &Uri, routes: &[Bytes]) -> (Uri, Vec<Bytes>) {
    match routes.split_first() {
        None => (target.clone(), Vec::new()),
        Some((first, rest)) => match route_uri(first) {
            Some(uri) if !uri.is_loose_router() => {
                // A strict router wants itself as the Request-URI and the target at the end of the Route.
                let mut routes = rest.to_vec();
                routes.push(Bytes::from(format!("<{target}>")));
                (uri.without_headers().without_param("method"), routes)
            }
            _ => (target.clone(), routes.to_vec()),
        },
    }
}

pub(super) fn is_loose(route: &Bytes) -> bool {
    route_uri(route).is_none_or(|uri| uri.is_loose_router())
}

pub(super) fn route_uri(route: &Bytes) -> Option<Uri> {
    let text = std::str::from_utf8(route).ok()?;
    NameAddr::parse(&HeaderName::Route, text).ok()?.uri().ok()
}

/// Where a URI says to send to; what it does not say is as in `base`.
pub(crate) fn next_hop(uri: &Uri, base: &Target) -> Target {
    let named = uri.transport().and_then(Protocol::from_name);
    let mut protocol = named.unwrap_or(base.protocol);
    // `transport=ws` means both kinds (RFC 7118), and an open connection knows which.
    if protocol == Protocol::Ws && base.protocol == Protocol::Wss {
        protocol = Protocol::Wss;
    }
    if uri.kind() == Scheme::Sips && !protocol.is_secure() {
        protocol = match protocol {
            Protocol::Ws => Protocol::Wss,
            _ => Protocol::Tls,
        };
    }
    let host = uri
        .param("maddr")
        .filter(|maddr| !maddr.is_empty())
        .unwrap_or(uri.host());
    let host = PeerHost::from(host);
    let port = uri.port().unwrap_or(protocol.default_port());
    let remote = match host {
        PeerHost::Ip(ip) => Some(SocketAddr::new(ip, port)),
        PeerHost::Name(_) => None,
    };
    Target {
        protocol,
        host,
        remote,
        port,
        flow: None,
        local: if protocol == base.protocol {
            base.local
        } else {
            None
        },
        advertised: base.advertised,
        open_port: uri.port().is_none() && remote.is_none(),
        alternatives: Default::default(),
    }
}
