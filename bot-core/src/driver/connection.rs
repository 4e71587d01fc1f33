//! What TCP, TLS, WS and WSS connections have in common: a number, a bounded queue, a count of what was refused.
//!
//! Invariant: what waits to be written on one connection is bounded by bytes; a connection that passes the bound
//! is closed, and reported as a transport error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use callbot_sip::ua::{FlowId, Protocol};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::http::HttpPages;
use super::tls::Tls;
use crate::signalling::sip::Inbound;

/// Bytes that may wait on one connection.
const WAITING_BYTES: usize = 256 * 1024;
/// How long a peer may take to read what is sent to it.
pub(super) const WRITE: Duration = Duration::from_secs(20);
/// Silence after which a connection is asked whether it lives (RFC 5626 4.4.1 allows 120 s, but NATs forget sooner).
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// How long the answer to that may take (RFC 5626 4.4.1).
pub(super) const PONG: Duration = Duration::from_secs(10);

/// Connections from one address that a listener holds, unless another number is wanted.
pub(crate) const PER_ADDRESS: usize = 1_000;

/// The writing side of a connection.
#[derive(Clone)]
pub(crate) struct Connection {
    queue: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
    broken: CancellationToken,
    ping: Arc<Ping>,
    /// The calls that go by it.
    holds: Arc<AtomicUsize>,
}

/// How often a connection that we opened is asked whether it lives.
pub(super) struct Ping {
    seconds: AtomicU64,
    changed: Notify,
}

impl Ping {
    /// Silence after which the far end is asked.
    pub(super) fn after(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    /// Resolves when that has changed. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Keeps a connection from being closed as idle, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the task of a connection takes from its [`Connection`].
pub(super) struct Waiting {
    queue: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    broken: CancellationToken,
}

/// A queue for one connection.
pub(super) fn queue() -> (Connection, Waiting) {
    // The channel is bounded by bytes, which `Connection::send` counts.
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let broken = CancellationToken::new();
    let connection = Connection {
        queue: sender,
        waiting: waiting.clone(),
        broken: broken.clone(),
        ping: Arc::new(Ping {
            seconds: AtomicU64::new(KEEP_ALIVE.as_secs()),
            changed: Notify::new(),
        }),
        holds: Arc::default(),
    };
    let waiting = Waiting {
        queue: receiver,
        waiting,
        broken,
    };
    (connection, waiting)
}

impl Connection {
    /// Queues `payload`; false when the connection is closed or its queue is full, which closes it.
    pub(crate) fn send(&self, payload: Bytes) -> bool {
        let len = payload.len();
        if self.waiting.fetch_add(len, Ordering::Relaxed) + len > WAITING_BYTES {
            self.broken.cancel();
            return false;
        }
        self.queue.send(payload).is_ok()
    }

    /// Keeps it open although nothing may be said for a while: a call goes by it.
    pub(crate) fn hold(&self) -> Hold {
        self.holds.fetch_add(1, Ordering::Relaxed);
        Hold(self.holds.clone())
    }

    /// Whether a call goes by it.
    pub(super) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed) > 0
    }
}

impl Connection {
    /// The far end closes after this much silence (Flow-Timer, RFC 5626 4.4.1): it hears of us in 80% of it, or as
    /// soon as NATs want it.
    pub(crate) fn keep_alive(&self, timer: Duration) {
        let seconds = (timer.as_secs() * 4 / 5).clamp(1, KEEP_ALIVE.as_secs());
        if self.ping.seconds.swap(seconds, Ordering::Relaxed) != seconds {
            self.ping.changed.notify_one();
        }
    }

    pub(super) fn ping(&self) -> &Ping {
        &self.ping
    }
}

impl Waiting {
    /// The next thing to write. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.queue.recv().await
    }

    /// What else waits already.
    pub(super) fn try_next(&mut self) -> Option<Bytes> {
        self.queue.try_recv().ok()
    }

    /// These bytes went out.
    pub(super) fn sent(&self, len: usize) {
        self.waiting.fetch_sub(len, Ordering::Relaxed);
    }

    /// Resolves when the queue has overflown.
    pub(super) fn broken(&self) -> CancellationToken {
        self.broken.clone()
    }
}

pub(super) fn next_flow() -> FlowId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    FlowId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What every connection of an endpoint shares.
pub(crate) struct Links {
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) tls: Tls,
    /// What a WebSocket of ours asks for, such as `/ws`.
    pub(super) websocket_path: String,
    pub(super) pages: Option<Arc<dyn HttpPages>>,
    pub(super) gate: Gate,
    /// Connections that a listener takes from one address.
    pub(super) per_address: usize,
    pub(crate) counters: Counters,
}

impl Links {
    pub(crate) fn new(
        inbound: mpsc::Sender<Inbound>,
        tls: Tls,
        websocket_path: String,
        pages: Option<Arc<dyn HttpPages>>,
    ) -> Self {
        Self {
            inbound,
            tls,
            websocket_path,
            pages,
            gate: Gate::default(),
            per_address: PER_ADDRESS,
            counters: Counters::default(),
        }
    }

    /// With another limit of connections from one address.
    pub(crate) fn per_address(mut self, connections: usize) -> Self {
        self.per_address = connections;
        self
    }
}

/// One connection, once it carries SIP.
pub(super) struct Link {
    pub(super) flow: FlowId,
    pub(super) protocol: Protocol,
    pub(super) remote: SocketAddr,
    /// We opened it, so we keep it open.
    pub(super) ours: bool,
    pub(super) connection: Connection,
    pub(super) links: Arc<Links>,
}

impl Link {
    /// Tells the user agent of the connection; false when there is none any more.
    pub(super) async fn opened(&self, listener: Option<usize>, local: SocketAddr) -> bool {
        let opened = Inbound::Opened {
            flow: self.flow,
            protocol: self.protocol,
            listener,
            local,
            remote: self.remote,
            connection: self.connection.clone(),
        };
        self.links.inbound.send(opened).await.is_ok()
    }

    /// Tells the user agent of its end.
    pub(super) async fn closed(&self, why: String) {
        tracing::debug!(remote = %self.remote, protocol = %self.protocol, why, "connection closed");
        let closed = Inbound::Closed {
            flow: self.flow,
            protocol: self.protocol,
            remote: self.remote,
            why,
        };
        let _ = self.links.inbound.send(closed).await;
    }

    /// Gives a message to the user agent; false when there is none any more.
    pub(super) async fn received(&self, message: callbot_sip::Message) -> bool {
        Counters::add(&self.links.counters.messages);
        let flow = self.flow;
        let message = Inbound::Message { flow, message };
        self.links.inbound.send(message).await.is_ok()
    }

    pub(super) fn malformed(&self, error: &dyn std::fmt::Display) {
        Counters::add(&self.links.counters.malformed);
        tracing::debug!(remote = %self.remote, protocol = %self.protocol, %error, "malformed SIP message");
    }
}

/// What connections brought, and what was refused of it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) address: AtomicU64,
    pub(super) crowded_out: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) upgrades: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) silent: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) pages_cut: AtomicU64,
    pub(super) broken: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> ConnectionStatistics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConnectionStatistics {
            accepted: of(&self.accepted),
            opened: of(&self.opened),
            refused_full: of(&self.full),
            refused_address: of(&self.address),
            handshakes_crowded_out: of(&self.crowded_out),
            handshakes_failed: of(&self.failed),
            upgrades_refused: of(&self.upgrades),
            messages: of(&self.messages),
            messages_malformed: of(&self.malformed),
            closed_silent: of(&self.silent),
            closed_idle: of(&self.idle),
            pages_cut: of(&self.pages_cut),
            closed_broken: of(&self.broken),
        }
    }
}

/// What an endpoint's TCP, TLS, WS and WSS connections brought, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStatistics {
    /// Connections accepted by listeners.
    pub accepted: u64,
    /// Connections that this endpoint opened.
    pub opened: u64,
    /// Connections refused because a listener holds too many.
    pub refused_full: u64,
    /// Connections refused because one address has too many already.
    pub refused_address: u64,
    /// Half-open handshakes dropped because too many newer ones came.
    pub handshakes_crowded_out: u64,
    /// TLS and WebSocket handshakes that failed or took longer than 5 s.
    pub handshakes_failed: u64,
    /// HTTP requests that were no WebSocket for SIP, and were answered so.
    pub upgrades_refused: u64,
    /// SIP messages received.
    pub messages: u64,
    /// Messages that could not be read.
    pub messages_malformed: u64,
    /// Connections closed because nothing came, or nothing whole.
    pub closed_silent: u64,
    /// Accepted connections closed because they carried no call, no registration and no keep-alive.
    pub closed_idle: u64,
    /// Pages whose reader was too slow, or went away.
    pub pages_cut: u64,
    /// Connections closed because what came was not SIP, or too long.
    pub closed_broken: u64,
}

/// A link to nobody, for the tests of those who carry messages.
#[cfg(test)]
pub(super) fn link(protocol: Protocol, ours: bool) -> (Link, Waiting, mpsc::Receiver<Inbound>) {
    let (inbound, received) = mpsc::channel(64);
    let Ok(tls) = Tls::new(None, &super::tls::Trust::default()) else {
        unreachable!("no file is read")
    };
    let (connection, waiting) = queue();
    let link = Link {
        flow: next_flow(),
        protocol,
        remote: SocketAddr::from(([127, 0, 0, 1], 9)),
        ours,
        connection,
        links: Arc::new(Links::new(inbound, tls, "/".to_owned(), None)),
    };
    (link, waiting, received)
}
