//! SIP over TCP: connections in and out, framed by Content-Length (RFC 3261 18.3).
//!
//! Each connection is a flow with a number. It has a task that reads and a
//! task that writes; what waits to be written is bounded by bytes, and a
//! connection that passes the bound is closed as a transport error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use callbot_sip::ua::FlowId;
use callbot_sip::wire::{Decoded, StreamDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::signalling::sip::Inbound;

/// Bytes that may wait on one connection.
const WAITING_BYTES: usize = 256 * 1024;
/// Time for a connection to come about: half of Timer B, so that the caller
/// hears of it well before the transaction gives up by itself.
const CONNECT: Duration = Duration::from_secs(10);
/// Connections that one listener holds at once.
const CONNECTIONS: usize = 10_000;

/// The writing side of a connection.
#[derive(Clone)]
pub(crate) struct Connection {
    queue: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Connection {
    /// Queues `payload`; false when the connection is closed or its queue is full.
    pub(crate) fn send(&self, payload: Bytes) -> bool {
        let len = payload.len();
        if self.waiting.fetch_add(len, Ordering::Relaxed) + len > WAITING_BYTES {
            return false;
        }
        self.queue.send(payload).is_ok()
    }
}

fn next_flow() -> FlowId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    FlowId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Accepts connections until `inbound` closes.
pub(crate) async fn accept(listener: TcpListener, index: usize, inbound: mpsc::Sender<Inbound>) {
    let live = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inbound.closed() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give calls time to end.
                tracing::warn!(%error, "no TCP connection accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if live.load(Ordering::Relaxed) >= CONNECTIONS {
            tracing::warn!(%remote, "too many TCP connections: this one is closed");
            continue;
        }
        live.fetch_add(1, Ordering::Relaxed);
        let live = live.clone();
        let flow = next_flow();
        let (connection, waiting) = queue();
        let opened = Inbound::Opened {
            flow,
            listener: Some(index),
            local: stream.local_addr().unwrap_or(remote),
            remote,
            connection: connection.clone(),
        };
        if inbound.send(opened).await.is_err() {
            return;
        }
        let inbound = inbound.clone();
        tokio::spawn(async move {
            serve(stream, flow, connection, waiting, inbound).await;
            live.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Opens a connection to `remote`. The returned queue takes messages at once;
/// what becomes of the connection is told by [`Inbound::Opened`] and [`Inbound::Closed`].
pub(crate) fn connect(remote: SocketAddr, inbound: mpsc::Sender<Inbound>) -> (FlowId, Connection) {
    let flow = next_flow();
    let (connection, waiting) = queue();
    let handle = connection.clone();
    tokio::spawn(async move {
        let failed = match tokio::time::timeout(CONNECT, TcpStream::connect(remote)).await {
            Ok(Ok(stream)) => {
                let opened = Inbound::Opened {
                    flow,
                    listener: None,
                    local: stream.local_addr().unwrap_or(remote),
                    remote,
                    connection: connection.clone(),
                };
                if inbound.send(opened).await.is_ok() {
                    serve(stream, flow, connection, waiting, inbound).await;
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no TCP connection within {} s", CONNECT.as_secs()),
        };
        let _ = inbound
            .send(Inbound::Closed {
                flow,
                remote,
                why: failed,
            })
            .await;
    });
    (flow, handle)
}

fn queue() -> (Connection, mpsc::UnboundedReceiver<Bytes>) {
    // The channel is bounded by bytes, which `Connection::send` counts.
    let (queue, waiting) = mpsc::unbounded_channel();
    let connection = Connection {
        queue,
        waiting: Arc::new(AtomicUsize::new(0)),
    };
    (connection, waiting)
}

async fn serve(
    stream: TcpStream,
    flow: FlowId,
    connection: Connection,
    waiting: mpsc::UnboundedReceiver<Bytes>,
    inbound: mpsc::Sender<Inbound>,
) {
    let remote = match stream.peer_addr() {
        Ok(remote) => remote,
        Err(_) => return,
    };
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let counter = connection.waiting.clone();
    let why = tokio::select! {
        why = read(reader, flow, remote, &connection, &inbound) => why,
        why = write(writer, waiting, counter) => why,
        () = inbound.closed() => "the endpoint has closed".to_owned(),
    };
    let _ = inbound.send(Inbound::Closed { flow, remote, why }).await;
}

async fn read(
    mut reader: OwnedReadHalf,
    flow: FlowId,
    remote: SocketAddr,
    connection: &Connection,
    inbound: &mpsc::Sender<Inbound>,
) -> String {
    let mut decoder = StreamDecoder::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return "the peer closed the connection".to_owned(),
            Ok(len) => decoder.extend(&buffer[..len]),
            Err(error) => return error.to_string(),
        }
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => {
                    if inbound
                        .send(Inbound::Message { flow, message })
                        .await
                        .is_err()
                    {
                        return String::new();
                    }
                }
                // RFC 5626 3.5.1: a double CRLF is a ping, a single one its answer.
                Ok(Some(Decoded::KeepAlive)) => {
                    connection.send(Bytes::from_static(b"\r\n"));
                }
                Ok(Some(Decoded::Pong)) => {}
                Ok(Some(Decoded::Malformed(error))) => {
                    tracing::debug!(%remote, %error, "malformed SIP message on a TCP connection");
                }
                Err(error) => return format!("not SIP any more: {error}"),
            }
        }
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut waiting: mpsc::UnboundedReceiver<Bytes>,
    counter: Arc<AtomicUsize>,
) -> String {
    while let Some(payload) = waiting.recv().await {
        if let Err(error) = writer.write_all(&payload).await {
            return error.to_string();
        }
        counter.fetch_sub(payload.len(), Ordering::Relaxed);
    }
    "no more to send".to_owned()
}
