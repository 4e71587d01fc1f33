//! SIP datagrams: one listener, on the machine's network or in memory.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::memory::MemorySocket;
use crate::signalling::sip::Inbound;

/// Receive buffer asked of the kernel: at 2,000 calls a second the default
/// holds less than 100 ms of messages.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A bound datagram socket for SIP.
#[derive(Clone)]
pub(crate) enum SipSocket {
    Udp(Arc<UdpSocket>),
    Memory(Arc<MemorySocket>),
}

impl SipSocket {
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<(Self, SocketAddr)> {
        let socket = UdpSocket::bind(address).await?;
        // A kernel that grants less still works; it only loses more under load.
        if let Err(error) = setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER) {
            tracing::debug!(%error, "no larger receive buffer for SIP");
        }
        // Until the runtime has looked at a new socket once, it takes it for
        // one that cannot be written: the first datagram would be dropped.
        socket.writable().await?;
        let local = socket.local_addr()?;
        Ok((Self::Udp(Arc::new(socket)), local))
    }

    /// Sends at once or not at all; SIP's own retransmission covers a loss.
    pub(crate) fn send_to(&self, payload: &[u8], destination: SocketAddr) -> std::io::Result<()> {
        match self {
            Self::Udp(socket) => match socket.try_send_to(payload, destination) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tracing::debug!(%destination, "SIP datagram dropped: socket buffer full");
                    Ok(())
                }
                other => other.map(drop),
            },
            Self::Memory(socket) => {
                socket.send_to(payload, destination);
                Ok(())
            }
        }
    }

    /// Reads datagrams until `inbound` closes.
    pub(crate) async fn read(self, listener: usize, inbound: mpsc::Sender<Inbound>) {
        let mut buffer = vec![0; 65_535];
        loop {
            let (payload, remote) = match &self {
                Self::Udp(socket) => match socket.recv_from(&mut buffer).await {
                    Ok((len, remote)) => (Bytes::copy_from_slice(&buffer[..len]), remote),
                    // An ICMP error of an earlier datagram; the transaction's timer deals with it.
                    Err(error) => {
                        tracing::trace!(%error, "SIP datagram socket");
                        tokio::task::yield_now().await;
                        continue;
                    }
                },
                Self::Memory(socket) => {
                    let datagram = tokio::select! {
                        biased;
                        datagram = socket.recv() => datagram,
                        () = inbound.closed() => return,
                    };
                    (datagram.payload, datagram.source)
                }
            };
            let datagram = Inbound::Datagram {
                listener,
                remote,
                payload,
            };
            if inbound.send(datagram).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_datagram_leaves() -> std::io::Result<()> {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0")?;
        peer.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
        let (socket, _) = SipSocket::bind(([127, 0, 0, 1], 0).into()).await?;
        socket.send_to(b"OPTIONS", peer.local_addr()?)?;
        let mut received = [0; 16];
        assert_eq!(peer.recv(&mut received)?, 7);
        Ok(())
    }
}
