//! The task that owns a connection to a TURN server, and the session's end of it.
//!
//! Purpose: one task for each relayed address of a call. It connects over UDP, TCP or TLS, drives the
//! [`Allocation`], and carries datagrams between the server and the media thread, off the media threads themselves.
//!
//! Invariants: the address is given back when the session's end is dropped, or nobody waits for it any more; what waits to
//! be written to a slow stream is bounded, and beyond that the newest is lost.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::oneshot;

use super::allocation::{Allocation, Line, State};
use super::frames::Frames;
use super::pipe::{Pipe, Taken};
use super::server::{IceServer, Way};
use crate::driver::connection::Links;

/// How long a server may take to answer that the address was given back.
const GOODBYE: Duration = Duration::from_millis(500);

/// Bytes that wait for a slow stream: less than half a second of one call, as later it is worth nothing.
const STREAM: usize = 8 * 1024;

/// The least time between two looks at the clock.
const TICK: Duration = Duration::from_millis(2);

/// The longest datagram, and what is read of a stream at once.
const BUFFER: usize = 4096;

/// An address on a TURN server, as the session's thread sees it. Dropping it gives the address back.
pub(crate) struct Relay {
    address: SocketAddr,
    outward: Pipe,
    inward: Pipe,
}

impl Relay {
    /// The address that peers send to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a datagram to a peer from there. It is lost when too many wait.
    pub(crate) fn send(&self, now: Instant, peer: SocketAddr, datagram: &[u8]) {
        self.outward.push(now, peer, datagram);
    }

    /// Takes the oldest datagram that came there: its source, its arrival and its length in `buffer`.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<(SocketAddr, Instant, usize)> {
        let Taken {
            peer, at, length, ..
        } = self.inward.pop(buffer)?;
        Some((peer, at, length))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.outward.close();
    }
}

/// Asks `server` for an address and keeps it until the [`Relay`], or the receiver for it, is dropped.
pub(super) async fn run(
    server: IceServer,
    bind: IpAddr,
    links: Arc<Links>,
    mut ready: oneshot::Sender<Result<Relay, String>>,
) {
    let connected = tokio::select! {
        biased;
        () = ready.closed() => return,
        connected = connect(&server, bind, &links) => connected,
    };
    let (connection, line) = match connected {
        Ok(connected) => connected,
        Err(why) => {
            let _ = ready.send(Err(why));
            return;
        }
    };
    let allocation = Allocation::new(now(), line, server.login(), bind.is_ipv6());
    let mut task = Task {
        connection,
        allocation,
        outward: Pipe::default(),
        inward: Pipe::default(),
        ready: Some(ready),
        goodbye: None,
        out: Vec::with_capacity(BUFFER),
    };
    let gone = task.drive().await;
    if let Some(ready) = task.ready.take() {
        let _ = ready.send(Err(gone));
    } else if task.goodbye.is_none() {
        tracing::warn!(%server, cause = gone, "the relayed address is lost: calls by way of it break off");
    }
    let lost = task.outward.lost() + task.inward.lost();
    if lost > 0 {
        tracing::debug!(%server, lost, "datagrams found no room on the way to or from the TURN server");
    }
}

struct Task {
    connection: Connection,
    allocation: Allocation,
    outward: Pipe,
    inward: Pipe,
    /// Who waits for the address.
    ready: Option<oneshot::Sender<Result<Relay, String>>>,
    /// Until when the server may answer that the address was given back.
    goodbye: Option<Instant>,
    out: Vec<u8>,
}

impl Task {
    /// Runs until the allocation is gone, and says why it is.
    async fn drive(&mut self) -> String {
        let mut buffer = vec![0; BUFFER];
        loop {
            let time = now();
            self.carry_out(time, &mut buffer);
            while self.allocation.poll_transmit(time, &mut self.out) {
                self.connection.send(&self.out, true);
            }
            match self.allocation.state() {
                State::Gone(why) => return why.clone(),
                State::Ready(address) => {
                    let address = *address;
                    self.hand_over(address);
                }
                State::Asking => {}
            }
            if self.outward.is_closed() && self.goodbye.is_none() {
                // The session's last words may have come in between.
                self.carry_out(time, &mut buffer);
                self.leave(time);
                continue;
            }
            if self.goodbye.is_some_and(|deadline| time >= deadline) {
                return "the server did not answer in time".to_owned();
            }
            let due = self.allocation.timeout().max(time + TICK);
            let due = self.goodbye.map_or(due, |deadline| deadline.min(due));
            tokio::select! {
                biased;
                read = self.connection.exchange(&mut buffer) => match read {
                    Ok(length) => {
                        let datagram = buffer.get(..length).unwrap_or_default();
                        if let Err(why) = self.take_in(datagram) {
                            return why;
                        }
                    }
                    Err(error) => return explain(&error),
                },
                () = self.outward.filled(), if self.goodbye.is_none() => {}
                () = gave_up(&mut self.ready) => self.leave(time),
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    /// Sends what the session has for its peers.
    fn carry_out(&mut self, time: Instant, buffer: &mut [u8]) {
        while self.connection.has_room()
            && let Some(taken) = self.outward.pop(buffer)
        {
            let payload = buffer.get(..taken.length).unwrap_or_default();
            if self
                .allocation
                .send(time, taken.peer, payload, &mut self.out)
            {
                self.connection.send(&self.out, false);
            }
        }
    }

    /// Takes in what was read, and gives the session what its peers sent.
    fn take_in(&mut self, bytes: &[u8]) -> Result<(), String> {
        let time = now();
        let Self {
            connection,
            allocation,
            inward,
            ..
        } = self;
        let deliver = |peer, datagram: &[u8]| {
            inward.push(time, peer, datagram);
        };
        match connection {
            Connection::Datagrams(_) => allocation.receive(time, bytes, deliver),
            Connection::Stream(stream) => {
                stream.frames.push(bytes);
                while let Some(message) = stream.frames.next().map_err(|e| e.to_string())? {
                    allocation.receive(time, message, deliver);
                }
            }
        }
        Ok(())
    }

    /// Gives the address to who waits for it, once.
    fn hand_over(&mut self, address: SocketAddr) {
        if let Some(ready) = self.ready.take() {
            // Should nobody wait any more, the relay is dropped, and the address with it.
            let _ = ready.send(Ok(Relay {
                address,
                outward: self.outward.clone(),
                inward: self.inward.clone(),
            }));
        }
    }

    fn leave(&mut self, time: Instant) {
        self.inward.close();
        self.ready = None;
        self.goodbye = Some(time + GOODBYE);
        self.allocation.close(time);
    }
}

/// Resolves when nobody waits for the address any more; never once it was handed over.
async fn gave_up(ready: &mut Option<oneshot::Sender<Result<Relay, String>>>) {
    match ready {
        Some(ready) => ready.closed().await,
        None => std::future::pending().await,
    }
}

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

enum Connection {
    Datagrams(UdpSocket),
    Stream(Stream),
}

struct Stream {
    reader: ReadHalf<Box<dyn Both>>,
    writer: WriteHalf<Box<dyn Both>>,
    frames: Frames,
    /// What waits to be written.
    queue: Vec<u8>,
}

impl Connection {
    fn has_room(&self) -> bool {
        match self {
            Self::Datagrams(_) => true,
            Self::Stream(stream) => stream.queue.len() < STREAM,
        }
    }

    /// Sends a message, or queues it. Requests, which are few, go in any case.
    fn send(&mut self, message: &[u8], is_request: bool) {
        match self {
            // A full socket loses the packet, as a network would.
            Self::Datagrams(socket) => drop(socket.try_send(message)),
            Self::Stream(stream) if is_request || stream.queue.len() < STREAM => {
                stream.queue.extend_from_slice(message);
            }
            Self::Stream(_) => {}
        }
    }

    /// Writes what waits while it reads. Cancel safe: what was written is off the queue.
    async fn exchange(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = match self {
            Self::Datagrams(socket) => return socket.recv(buffer).await,
            Self::Stream(stream) => stream,
        };
        loop {
            let Stream {
                reader,
                writer,
                queue,
                ..
            } = stream;
            let waits = !queue.is_empty();
            // In no order: a flood from the server must not keep what waits from leaving.
            tokio::select! {
                read = reader.read(buffer) => {
                    return match read? {
                        0 => Err(io::ErrorKind::UnexpectedEof.into()),
                        length => Ok(length),
                    };
                }
                written = writer.write(queue), if waits => {
                    queue.drain(..written?);
                    if queue.is_empty() {
                        writer.flush().await?;
                    }
                }
            }
        }
    }
}

/// Connects to a server; what went wrong is said in words.
async fn connect(
    server: &IceServer,
    bind: IpAddr,
    links: &Links,
) -> Result<(Connection, Line), String> {
    let address = find(server, bind.is_ipv6()).await?;
    let reached = |result: io::Result<()>| result.map_err(|error| explain(&error));
    if server.way == Way::Udp {
        let local = match (bind.is_ipv6(), address.is_ipv6()) {
            (ours, theirs) if ours == theirs => bind,
            (_, true) => Ipv6Addr::UNSPECIFIED.into(),
            (_, false) => Ipv4Addr::UNSPECIFIED.into(),
        };
        let bound = UdpSocket::bind(SocketAddr::new(local, 0)).await;
        let socket = bound.map_err(|error| explain(&error))?;
        reached(socket.connect(address).await)?;
        // A new socket takes nothing by try_send until the reactor has seen it: the first request would be lost.
        reached(socket.writable().await)?;
        let local = socket.local_addr().map_err(|error| explain(&error))?;
        let line = Line {
            local,
            server: address,
            is_stream: false,
        };
        return Ok((Connection::Datagrams(socket), line));
    }
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| explain(&error))?;
    // Packets of speech must not wait for one another.
    reached(stream.set_nodelay(true))?;
    let local = stream.local_addr().map_err(|error| explain(&error))?;
    let stream: Box<dyn Both> = if server.way == Way::Tls {
        Box::new(links.tls.connect(&server.host, stream).await?)
    } else {
        Box::new(stream)
    };
    let (reader, writer) = tokio::io::split(stream);
    let line = Line {
        local,
        server: address,
        is_stream: true,
    };
    let stream = Stream {
        reader,
        writer,
        frames: Frames::default(),
        queue: Vec::with_capacity(STREAM),
    };
    Ok((Connection::Stream(stream), line))
}

/// The server's address, of the family that is wanted if there is one. Cancel safe.
pub(super) async fn find(server: &IceServer, v6: bool) -> Result<SocketAddr, String> {
    let IceServer { host, port, .. } = server;
    let found = tokio::net::lookup_host((host.as_str(), *port)).await;
    let found: Vec<_> = found
        .map_err(|error| format!("the name {host} cannot be found: {error}"))?
        .collect();
    found
        .iter()
        .find(|address| address.is_ipv6() == v6)
        .or(found.first())
        .copied()
        .ok_or_else(|| format!("the name {host} has no address"))
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// The time, by the runtime's clock.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
