//! Where a request goes, and what we say of ourselves to whom it goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use callbot_sip::Uri;
use callbot_sip::ua::{FlowId, Hop, PeerHost, Protocol, Source, Target};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Listener;
use crate::driver::resolve::{Found, Question, Resolver};
use crate::driver::route::Routes;
use crate::error::{Error, Result};
use crate::signalling::MediaAddress;

/// Knows our listeners and the addresses that peers see of us.
#[derive(Clone)]
pub(crate) struct Locator {
    /// A list that is replaced as a whole; a listener keeps its place in it.
    listeners: Arc<Mutex<Arc<[Listener]>>>,
    advertise: Option<IpAddr>,
    routes: Arc<Mutex<Routes>>,
    resolver: Arc<Resolver>,
}

/// A destination, found.
pub(crate) struct Located {
    pub(crate) target: Target,
    pub(crate) uri: Uri,
    pub(crate) remote: SocketAddr,
    pub(crate) media: MediaAddress,
    /// Keeps the listener, which a call may name as its Contact.
    pub(crate) line: Option<TaskTrackerToken>,
}

impl Located {
    fn hop(&self) -> Hop {
        Hop {
            protocol: self.target.protocol,
            remote: self.remote,
            local: self.target.local,
            advertised: self.target.advertised,
        }
    }
}

/// Reads a URI that a user or a bot gave: `sip:` may be left out.
pub(crate) fn parse_uri(text: &str) -> Result<Uri> {
    let bad = |why: String| Error::Uri {
        uri: text.to_owned(),
        why,
    };
    let full = if text.contains(':')
        && text
            .split(':')
            .next()
            .is_some_and(|s| matches!(s, "sip" | "sips" | "tel"))
    {
        text.to_owned()
    } else {
        format!("sip:{text}")
    };
    let uri: Uri = full.parse().map_err(|error| bad(format!("{error}")))?;
    if uri.host().is_empty() {
        return Err(bad("it names no host: write sip:user@host".to_owned()));
    }
    Ok(uri)
}

impl Locator {
    pub(crate) fn new(
        listeners: Arc<[Listener]>,
        advertise: Option<IpAddr>,
        resolver: Resolver,
    ) -> Self {
        Self {
            listeners: Arc::new(Mutex::new(listeners)),
            advertise,
            routes: Arc::default(),
            resolver: Arc::new(resolver),
        }
    }

    /// The listeners as they are now, those that are closed among them.
    pub(crate) fn listeners(&self) -> Arc<[Listener]> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the list of listeners; none may leave its place.
    pub(crate) fn change_listeners<T>(&self, change: impl FnOnce(&mut Vec<Listener>) -> T) -> T {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut list = listeners.to_vec();
        let changed = change(&mut list);
        *listeners = list.into();
        changed
    }

    /// Holds the listener at `local` for a call, so that it outlives the call.
    pub(crate) fn line(&self, protocol: Protocol, local: SocketAddr) -> Option<TaskTrackerToken> {
        self.listener_at(protocol, local)
            .map(|listener| listener.users.token())
    }

    /// Whether what came to `local` came to a listener that takes no new calls.
    pub(crate) fn is_retiring(&self, protocol: Protocol, local: SocketAddr) -> bool {
        self.listener_at(protocol, local)
            .is_some_and(|listener| !listener.is_open())
    }

    fn listener_at(&self, protocol: Protocol, local: SocketAddr) -> Option<Listener> {
        let fits = |listener: &&Listener| {
            listener.protocol == protocol
                && listener.local.port() == local.port()
                && (listener.local.ip() == local.ip() || listener.local.ip().is_unspecified())
        };
        let listeners = self.listeners();
        // A port may have had another listener before.
        let open = listeners.iter().find(|one| fits(one) && one.is_open());
        let any = || listeners.iter().rev().find(fits);
        open.or_else(any).cloned()
    }

    /// Finds the way to `uri`, or to `proxy` when one is set. Cancel safe.
    pub(crate) async fn locate(&self, uri: Uri, proxy: Option<&Uri>) -> Result<Located> {
        let hop = proxy.unwrap_or(&uri).clone();
        let fail = |why: String| Error::Uri {
            uri: hop.as_str().to_owned(),
            why,
        };
        if hop.port() == Some(0) {
            return Err(fail("port 0 cannot be called".to_owned()));
        }
        let named = match hop.transport() {
            None => None,
            Some(name) => Some(Protocol::from_name(name).ok_or_else(|| {
                fail(format!(
                    "the transport {name} is not known: use udp, tcp, tls, ws or wss"
                ))
            })?),
        };
        let question = Question {
            host: hop.host().to_owned(),
            port: hop.port(),
            transport: named,
            secure: hop.is_sips(),
            speaks: self.speaks(),
        };
        let found = self.resolver.resolve(&question).await.map_err(&fail)?;
        let host = PeerHost::from(hop.host());
        let mut located: Option<Located> = None;
        let mut others = Vec::new();
        let mut why = None;
        for one in found {
            match self.at(uri.clone(), one.protocol, host.clone(), one.remote) {
                Ok(next) if located.is_none() => located = Some(next),
                Ok(next) => others.push(next.hop()),
                Err(error) => why = why.or(Some(error)),
            }
        }
        let mut located =
            located.ok_or_else(|| fail(why.unwrap_or_else(|| "no way leads there".to_owned())))?;
        located.target.alternatives = others.into();
        Ok(located)
    }

    /// The addresses of a request's host, which names no address.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn hops(
        &self,
        host: &str,
        port: Option<u16>,
        protocol: Protocol,
    ) -> std::result::Result<Vec<Hop>, String> {
        let question = Question {
            host: host.to_owned(),
            port,
            transport: Some(protocol),
            secure: false,
            speaks: Vec::new(),
        };
        let found = self.resolver.resolve(&question).await?;
        let at = |one: &Found| {
            let uri = Uri::sip(None, host, None).map_err(|error| error.to_string())?;
            let host = PeerHost::from(host);
            let located = self.at(uri, one.protocol, host, one.remote)?;
            Ok(located.hop())
        };
        let hops: Vec<std::result::Result<Hop, String>> = found.iter().map(at).collect();
        if hops.iter().all(Result::is_err) {
            return hops.into_iter().collect();
        }
        Ok(hops.into_iter().filter_map(Result::ok).collect())
    }

    /// An address failed a request: for a while it comes last.
    pub(crate) fn address_failed(&self, protocol: Protocol, remote: SocketAddr) {
        self.resolver.avoid(protocol, remote);
    }

    /// What we speak, first what is used where neither a URI nor DNS says.
    fn speaks(&self) -> Vec<Protocol> {
        let mut speaks = Vec::with_capacity(5);
        if self.listens(Protocol::Udp) {
            speaks.push(Protocol::Udp);
        }
        // Connections out need no listener; one that only takes TLS means to be called by TLS.
        if self.listens(Protocol::Tls) && !self.listens(Protocol::Tcp) {
            speaks.extend([Protocol::Tls, Protocol::Tcp]);
        } else {
            speaks.extend([Protocol::Tcp, Protocol::Tls]);
        }
        speaks.extend([Protocol::Wss, Protocol::Ws]);
        speaks
    }

    /// The way to `uri` by a peer whose address is known.
    ///
    /// # Errors
    /// When no listener fits, in words.
    pub(crate) fn at(
        &self,
        uri: Uri,
        protocol: Protocol,
        host: PeerHost,
        remote: SocketAddr,
    ) -> std::result::Result<Located, String> {
        let listener = self.listener_for(protocol, remote);
        if listener.is_none() && protocol == Protocol::Udp {
            return Err(format!(
                "no listener of this endpoint speaks {protocol} over {}",
                family(remote.ip())
            ));
        }
        let wildcard = match remote {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let listener = listener.as_ref();
        let bind = listener.map_or(wildcard, |listener| listener.local.ip());
        let ip = self.advertised_ip(bind, remote.ip());
        let port = listener.map_or(0, |listener| listener.local.port());
        let target = Target {
            host,
            local: listener.map(|listener| listener.local),
            ..Target::direct(protocol, remote, SocketAddr::new(ip, port))
        };
        Ok(Located {
            target,
            uri,
            remote,
            media: MediaAddress {
                bind,
                advertised: ip,
            },
            line: listener.map(|listener| listener.users.token()),
        })
    }

    /// Our own URI, as a peer on this machine or network would dial it.
    pub(crate) fn uri(&self, user: &str) -> String {
        let listeners = self.listeners();
        let Some(listener) = listeners.iter().find(|listener| listener.is_open()) else {
            return format!("sip:{user}@127.0.0.1");
        };
        let ip = match listener.local.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        let address = SocketAddr::new(ip, listener.local.port());
        let at = if user.is_empty() {
            String::new()
        } else {
            format!("{user}@")
        };
        match listener.protocol {
            Protocol::Udp => format!("sip:{at}{address}"),
            // `ws` would mean both kinds, and who dials must know which.
            other => format!(
                "sip:{at}{address};transport={}",
                other.via_name().to_ascii_lowercase()
            ),
        }
    }

    fn listens(&self, protocol: Protocol) -> bool {
        self.listeners()
            .iter()
            .any(|listener| listener.is_open() && listener.protocol == protocol)
    }

    /// The listener whose address a request to `remote` names as ours. A
    /// wildcard or the very address of the route is best.
    fn listener_for(&self, protocol: Protocol, remote: SocketAddr) -> Option<Listener> {
        let listeners = self.listeners();
        let fits = |listener: &&Listener| {
            listener.local.is_ipv4() == remote.is_ipv4()
                && (listener.local.ip().is_loopback() == remote.ip().is_loopback()
                    || listener.local.ip().is_unspecified())
        };
        let same_family = |listener: &&Listener| listener.local.is_ipv4() == remote.is_ipv4();
        let speaks = || {
            listeners
                .iter()
                .filter(|listener| listener.is_open() && listener.protocol == protocol)
        };
        speaks()
            .find(fits)
            .or_else(|| speaks().find(same_family))
            // Connections out need no listener of their own; any address of ours names us.
            .or_else(|| {
                (protocol == Protocol::Tcp)
                    .then(|| {
                        listeners
                            .iter()
                            .filter(|one| one.is_open())
                            .find(same_family)
                    })
                    .flatten()
            })
            // A WebSocket of ours is reached by itself alone.
            .filter(|_| !protocol.is_websocket())
            .cloned()
    }

    fn advertised_ip(&self, local: IpAddr, remote: IpAddr) -> IpAddr {
        if let Some(advertise) = self.advertise {
            return advertise;
        }
        if !local.is_unspecified() {
            return local;
        }
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.source_towards(remote).unwrap_or(local)
    }

    /// Whether this is an address that one of our listeners has, or that peers are told of it.
    pub(crate) fn is_own(&self, remote: SocketAddr) -> bool {
        self.listeners().iter().any(|listener| {
            listener.is_open()
                && listener.local.port() == remote.port()
                && (listener.local.ip() == remote.ip()
                    || self.advertise == Some(remote.ip())
                    // An address is this machine's own when the way to it begins there.
                    || listener.local.ip().is_unspecified() && self.begins_at(remote.ip()))
        })
    }

    /// Whether the way to an address begins there.
    fn begins_at(&self, ip: IpAddr) -> bool {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.source_towards(ip).is_ok_and(|source| source == ip)
    }

    /// The source of a datagram that came to a listener.
    pub(crate) fn datagram_source(&self, listener: usize, remote: SocketAddr) -> Option<Source> {
        let listeners = self.listeners();
        let listener = listeners.get(listener)?;
        Some(self.source(
            listener.protocol,
            listener.local,
            listener.local.port(),
            remote,
            None,
        ))
    }

    /// The source of what comes over a connection. Our Contact names the
    /// listener's port, for the connection's own is gone with it.
    pub(crate) fn stream_source(
        &self,
        protocol: Protocol,
        listener: Option<usize>,
        local: SocketAddr,
        remote: SocketAddr,
        flow: FlowId,
    ) -> Source {
        let listeners = self.listeners();
        let accepted = listener.and_then(|index| listeners.get(index));
        let port = match accepted {
            Some(listener) => listener.local.port(),
            // RFC 7118 5: whom we called by WebSocket cannot call us back but by it.
            None if protocol.is_websocket() => 0,
            None => listeners
                .iter()
                .find(|listener| listener.is_open() && listener.protocol == protocol)
                .map_or(local.port(), |listener| listener.local.port()),
        };
        self.source(protocol, local, port, remote, Some(flow))
    }

    fn source(
        &self,
        protocol: Protocol,
        local: SocketAddr,
        port: u16,
        remote: SocketAddr,
        flow: Option<FlowId>,
    ) -> Source {
        let ip = self.advertised_ip(local.ip(), remote.ip());
        Source {
            protocol,
            local,
            remote,
            flow,
            advertised: SocketAddr::new(ip, port),
        }
    }

    /// Where the RTP of a call from `source` lives.
    pub(crate) fn media_for(&self, source: &Source) -> MediaAddress {
        MediaAddress {
            bind: source.local.ip(),
            advertised: source.advertised.ip(),
        }
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}
