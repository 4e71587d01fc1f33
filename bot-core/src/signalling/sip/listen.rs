//! Listeners: from `udp://0.0.0.0:5060` to a bound socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use callbot_sip::ua::Protocol;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::Inbound;
use crate::driver::connection::Links;
use crate::driver::memory::MemoryHost;
use crate::driver::stream::{self, Doors};
use crate::driver::udp::{self, SipSocket};
use crate::error::StartError;

/// A bound listener.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) protocol: Protocol,
    pub(crate) local: SocketAddr,
    /// The socket, for datagrams.
    pub(crate) socket: Option<udp::SipSocket>,
    /// The calls that came to it, or go out by it.
    pub(crate) users: TaskTracker,
    pub(crate) doors: Doors,
    pub(crate) state: ListenerState,
}

/// How far a listener is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerState {
    Open,
    /// It takes no new calls; those that stand go on.
    Retiring,
    /// It is closed. Its place in the list stays, as listeners are known by it.
    Closed,
}

impl Listener {
    fn new(protocol: Protocol, local: SocketAddr, socket: Option<SipSocket>, doors: Doors) -> Self {
        Self {
            protocol,
            local,
            socket,
            users: TaskTracker::new(),
            doors,
            state: ListenerState::Open,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == ListenerState::Open
    }
}

/// Reads datagrams until the socket's doors are shut for good.
fn read(socket: &SipSocket, index: usize, inbound: &mpsc::Sender<Inbound>, doors: &Doors) {
    let (socket, inbound, emptied) = (socket.clone(), inbound.clone(), doors.emptied.clone());
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = emptied.cancelled() => {}
            () = socket.read(index, inbound) => {}
        }
    });
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = SCHEMES
            .iter()
            .find(|(_, protocol)| *protocol == self.protocol)
            .map_or("udp", |(name, _)| name);
        write!(f, "{scheme}://{}", self.local)
    }
}

/// A listener as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    url: String,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

impl Wanted {
    /// Reads `udp://ADDRESS:PORT` and its like.
    pub(crate) fn parse(url: &str) -> Result<Self, StartError> {
        let (protocol, address) = parse(url).map_err(|why| StartError::Listen {
            listen: url.to_owned(),
            why,
        })?;
        Ok(Self {
            url: url.to_owned(),
            protocol,
            address,
        })
    }
}

/// Binds what is wanted, on the machine's network or in memory.
pub(crate) async fn bind(
    wanted: &Wanted,
    memory: Option<&MemoryHost>,
    index: usize,
    inbound: &mpsc::Sender<Inbound>,
    links: &Arc<Links>,
) -> Result<Listener, StartError> {
    let fail = |why: String| StartError::Listen {
        listen: wanted.url.clone(),
        why,
    };
    let (protocol, address) = (wanted.protocol, wanted.address);
    let doors = Doors::default();
    if let Some(host) = memory {
        if protocol != Protocol::Udp {
            return Err(fail(
                "the in-memory network carries datagrams: use udp://".to_owned(),
            ));
        }
        let local = SocketAddr::new(host.ip(), address.port());
        let socket = host
            .network()
            .bind(local)
            .map_err(|error| fail(error.to_string()))?;
        let socket = SipSocket::Memory(socket.into());
        read(&socket, index, inbound, &doors);
        return Ok(Listener::new(protocol, local, Some(socket), doors));
    }
    if protocol == Protocol::Udp {
        let (socket, local) = SipSocket::bind(address)
            .await
            .map_err(|error| fail(bind_error(&error, address)))?;
        read(&socket, index, inbound, &doors);
        return Ok(Listener::new(protocol, local, Some(socket), doors));
    }
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| fail(bind_error(&error, address)))?;
    let local = listener.local_addr()?;
    let accepting = stream::accept(listener, protocol, index, links.clone(), doors.clone());
    tokio::spawn(accepting);
    Ok(Listener::new(protocol, local, None, doors))
}

fn bind_error(error: &std::io::Error, address: SocketAddr) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "port {} is taken by another program; give another with --listen, or port 0 for any",
            address.port()
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine", address.ip())
        }
        std::io::ErrorKind::PermissionDenied => format!(
            "port {} needs more rights; use one above 1023",
            address.port()
        ),
        _ => error.to_string(),
    }
}

/// The schemes of listeners.
const SCHEMES: [(&str, Protocol); 5] = [
    ("udp", Protocol::Udp),
    ("tcp", Protocol::Tcp),
    ("tls", Protocol::Tls),
    ("ws", Protocol::Ws),
    ("wss", Protocol::Wss),
];

fn parse(url: &str) -> Result<(Protocol, SocketAddr), String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or("write it as udp://ADDRESS:PORT; tcp, tls, ws and wss are written alike")?;
    let protocol = SCHEMES
        .iter()
        .find(|(name, _)| *name == scheme)
        .map(|(_, protocol)| *protocol)
        .ok_or_else(|| {
            format!("the transport {scheme} is not known: use udp, tcp, tls, ws or wss")
        })?;
    let rest = rest.trim_end_matches('/');
    if let Ok(address) = rest.parse::<SocketAddr>() {
        return Ok((protocol, address));
    }
    let bare = rest.trim_start_matches('[').trim_end_matches(']');
    let ip: IpAddr = bare.parse().map_err(|_| {
        format!("{rest} is no address: listeners take an IP address, 0.0.0.0 for all")
    })?;
    Ok((protocol, SocketAddr::new(ip, protocol.default_port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_a_transport_and_an_address() {
        assert_eq!(
            parse("udp://127.0.0.1:5070"),
            Ok((Protocol::Udp, "127.0.0.1:5070".parse().unwrap()))
        );
        assert_eq!(
            parse("tcp://[::1]"),
            Ok((Protocol::Tcp, "[::1]:5060".parse().unwrap()))
        );
        for (url, port) in [
            ("tls://1.2.3.4", 5061),
            ("ws://1.2.3.4/", 80),
            ("wss://[::]", 443),
        ] {
            assert_eq!(
                parse(url).map(|(_, address)| address.port()),
                Ok(port),
                "{url}"
            );
        }
        assert!(parse("sctp://1.2.3.4").is_err_and(|why| why.contains("udp, tcp, tls")));
        assert!(parse("5060").is_err());
        assert!(parse("udp://host:5060").is_err());
    }
}
