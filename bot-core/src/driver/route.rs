//! Which of this machine's addresses a peer sees: the source address of the route to it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Remembered peers; past this the memory starts anew.
const REMEMBERED: usize = 4096;

/// Answers "which address do we have towards this peer", and remembers it.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: HashMap<IpAddr, IpAddr>,
}

impl Routes {
    /// The local address that datagrams to `peer` leave from. Connecting a
    /// datagram socket sends nothing; the kernel only looks the route up.
    pub(crate) fn source_towards(&mut self, peer: IpAddr) -> std::io::Result<IpAddr> {
        if let Some(known) = self.known.get(&peer) {
            return Ok(*known);
        }
        let any: IpAddr = match peer {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(peer, 9))?;
        let source = socket.local_addr()?.ip();
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(peer, source);
        Ok(source)
    }
}
