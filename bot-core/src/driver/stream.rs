//! SIP over connections: accepted and opened, as TCP, TLS, WS or WSS.
//!
//! Each connection is a flow with a number and a task. The task brings the
//! connection to where it carries SIP ([`super::tls`], [`super::websocket`]),
//! tells the user agent, and carries messages until it ends.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use callbot_sip::ua::{FlowId, PeerHost, Protocol};
use nix::sys::socket::{
    setsockopt,
    sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Refused};
use super::connection::{Connection, Counters, Link, Links, Waiting, next_flow, queue};
use super::tls::HANDSHAKE;
use super::websocket::Accepted;
use super::{bytes_link, websocket};

/// Time for a connection to come about: half of Timer B, so that the caller
/// hears of it well before the transaction gives up by itself.
const CONNECT: Duration = Duration::from_secs(10);
/// Silence after which the kernel asks whether the other end is still there, how often it asks, and how many times: a
/// machine that lost its power is noticed after two minutes, whatever is waited for.
const PROBE_AFTER: u32 = 60;
const PROBE_EVERY: u32 = 15;
const PROBES: u32 = 4;

/// A connection that carries SIP.
enum Carrier {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Ws(Box<websocket::Socket<TcpStream>>),
    Wss(Box<websocket::Socket<TlsStream<TcpStream>>>),
}

/// What became of an accepted connection.
enum Admitted {
    Carrier(Carrier),
    /// It wanted a page, which is still to be delivered: a slow reader takes longer over it than a handshake may.
    Page(Pin<Box<dyn Future<Output = bool> + Send>>),
}

/// What ends a listener, and what ends the connections that it accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doors {
    /// No more connections are accepted.
    pub(crate) shut: CancellationToken,
    /// Those that stand are closed.
    pub(crate) emptied: CancellationToken,
}

/// Accepts connections until the user agent is gone, or the doors are shut.
pub(crate) async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    index: usize,
    links: Arc<Links>,
    doors: Doors,
) {
    let admission = Admission::new(links.per_address);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = links.inbound.closed() => return,
            () = doors.shut.cancelled() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give calls time to end.
                tracing::warn!(%error, "no {protocol} connection accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = match admission.enter(remote.ip()) {
            Ok(place) => place,
            Err(refused) => {
                let (counter, why) = match refused {
                    Refused::Full => (&links.counters.full, "too many connections"),
                    Refused::Address => (
                        &links.counters.address,
                        "too many connections from its address",
                    ),
                };
                Counters::add(counter);
                tracing::warn!(%remote, %protocol, why, "connection closed at once");
                continue;
            }
        };
        Counters::add(&links.counters.accepted);
        let links = links.clone();
        let emptied = doors.emptied.clone();
        tokio::spawn(async move {
            incoming(stream, protocol, remote, index, links, emptied).await;
            drop(place);
        });
    }
}

/// What every connection's socket is set to.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let probed = setsockopt(stream, KeepAlive, &true)
        .and_then(|()| setsockopt(stream, TcpKeepIdle, &PROBE_AFTER))
        .and_then(|()| setsockopt(stream, TcpKeepInterval, &PROBE_EVERY))
        .and_then(|()| setsockopt(stream, TcpKeepCount, &PROBES));
    if let Err(error) = probed {
        tracing::debug!(%error, "the kernel will not probe this connection");
    }
}

async fn incoming(
    stream: TcpStream,
    protocol: Protocol,
    remote: SocketAddr,
    index: usize,
    links: Arc<Links>,
    emptied: CancellationToken,
) {
    prepare(&stream);
    let local = stream.local_addr().unwrap_or(remote);
    let carrier = match admit(stream, protocol, remote, &links).await {
        Some(Admitted::Carrier(carrier)) => carrier,
        Some(Admitted::Page(delivery)) => {
            tokio::select! {
                delivered = delivery => if !delivered {
                    Counters::add(&links.counters.pages_cut);
                    tracing::debug!(%remote, "a page was not read to its end");
                },
                () = links.inbound.closed() => {}
            }
            return;
        }
        None => return,
    };
    let (connection, waiting) = queue();
    let link = Link {
        flow: next_flow(),
        protocol,
        remote,
        ours: false,
        connection,
        links,
    };
    if link.opened(Some(index), local).await {
        serve(carrier, link, waiting, emptied).await;
    }
}

/// Brings an accepted connection to where it carries SIP; `None` when it does not.
async fn admit(
    stream: TcpStream,
    protocol: Protocol,
    remote: SocketAddr,
    links: &Links,
) -> Option<Admitted> {
    if protocol == Protocol::Tcp {
        return Some(Admitted::Carrier(Carrier::Tcp(stream)));
    }
    let (pass, crowded) = links.gate.enter();
    if crowded {
        Counters::add(&links.counters.crowded_out);
    }
    let shaken = async {
        Ok::<_, String>(match protocol {
            Protocol::Tls => {
                let stream = links.tls.accept(stream).await?;
                Admitted::Carrier(Carrier::Tls(Box::new(stream)))
            }
            Protocol::Wss => {
                let stream = links.tls.accept(stream).await?;
                match websocket::accept(stream, links).await? {
                    Accepted::Socket(socket) => Admitted::Carrier(Carrier::Wss(Box::new(socket))),
                    Accepted::Page(stream, answer) => {
                        Admitted::Page(Box::pin(answer.deliver(stream)))
                    }
                }
            }
            _ => match websocket::accept(stream, links).await? {
                Accepted::Socket(socket) => Admitted::Carrier(Carrier::Ws(Box::new(socket))),
                Accepted::Page(stream, answer) => Admitted::Page(Box::pin(answer.deliver(stream))),
            },
        })
    };
    let why = tokio::select! {
        shaken = tokio::time::timeout(HANDSHAKE, shaken) => match shaken {
            Ok(Ok(admitted)) => return Some(admitted),
            Ok(Err(why)) => why,
            Err(_) => format!("no {protocol} handshake within {} s", HANDSHAKE.as_secs()),
        },
        // Counted when the newer one came.
        () = pass.crowded_out() => {
            tracing::debug!(%remote, %protocol, "half-open handshake dropped: too many newer ones");
            return None;
        }
        () = links.inbound.closed() => return None,
    };
    Counters::add(&links.counters.failed);
    tracing::info!(%remote, %protocol, why, "connection refused");
    None
}

/// Opens a connection to `remote`, which must prove to be `host` where the
/// protocol is secure. The returned queue takes messages at once; what becomes
/// of the connection is told by [`Inbound::Opened`](crate::signalling::sip::Inbound::Opened)
/// and [`Inbound::Closed`](crate::signalling::sip::Inbound::Closed).
pub(crate) fn connect(
    protocol: Protocol,
    remote: SocketAddr,
    host: PeerHost,
    links: Arc<Links>,
) -> (FlowId, Connection) {
    let flow = next_flow();
    let (connection, waiting) = queue();
    let link = Link {
        flow,
        protocol,
        remote,
        ours: true,
        connection: connection.clone(),
        links,
    };
    tokio::spawn(async move {
        match open(&link, &host).await {
            Ok((local, carrier)) => {
                Counters::add(&link.links.counters.opened);
                if link.opened(None, local).await {
                    serve(carrier, link, waiting, CancellationToken::new()).await;
                }
            }
            Err(why) => {
                Counters::add(&link.links.counters.failed);
                link.closed(why).await;
            }
        }
    });
    (flow, connection)
}

async fn open(link: &Link, host: &PeerHost) -> Result<(SocketAddr, Carrier), String> {
    let (protocol, remote, links) = (link.protocol, link.remote, &link.links);
    let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(remote)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no connection within {} s", CONNECT.as_secs())),
    };
    prepare(&stream);
    let local = stream.local_addr().unwrap_or(remote);
    let name = host.to_string();
    let shaken = async {
        Ok::<_, String>(match protocol {
            Protocol::Tls => Carrier::Tls(Box::new(links.tls.connect(&name, stream).await?)),
            Protocol::Ws => Carrier::Ws(Box::new(
                websocket::connect(stream, &name, remote.port(), links).await?,
            )),
            Protocol::Wss => {
                let stream = links.tls.connect(&name, stream).await?;
                Carrier::Wss(Box::new(
                    websocket::connect(stream, &name, remote.port(), links).await?,
                ))
            }
            _ => Carrier::Tcp(stream),
        })
    };
    match tokio::time::timeout(HANDSHAKE, shaken).await {
        Ok(carrier) => Ok((local, carrier?)),
        Err(_) => Err(format!(
            "no {protocol} handshake within {} s",
            HANDSHAKE.as_secs()
        )),
    }
}

async fn serve(carrier: Carrier, link: Link, waiting: Waiting, emptied: CancellationToken) {
    let broken = waiting.broken();
    let carried = async {
        match carrier {
            Carrier::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                bytes_link::carry(reader, writer, &link, waiting).await
            }
            Carrier::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                bytes_link::carry(reader, writer, &link, waiting).await
            }
            Carrier::Ws(socket) => websocket::carry(*socket, &link, waiting).await,
            Carrier::Wss(socket) => websocket::carry(*socket, &link, waiting).await,
        }
    };
    let why = tokio::select! {
        why = carried => why,
        () = broken.cancelled() => "the peer does not read: too much waits for it".to_owned(),
        () = link.links.inbound.closed() => "the endpoint has closed".to_owned(),
        () = emptied.cancelled() => "the listener was removed".to_owned(),
    };
    link.closed(why).await;
}
