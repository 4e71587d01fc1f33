//! Which of this machine's addresses a peer sees: the source address of the route to it, and which others there are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::net::if_::InterfaceFlags;

/// Remembered peers; past this the memory starts anew.
const REMEMBERED: usize = 4096;

/// Addresses that are told a peer as candidates; each costs it and us checks.
const OWN_MAX: usize = 8;

/// The machine's addresses of one family that a peer may reach it by: not those
/// of the loopback device, nor those that are valid on one link only.
pub(crate) fn own_addresses(ipv4: bool) -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for interface in interfaces {
        if !interface.flags.contains(InterfaceFlags::IFF_UP) || found.len() >= OWN_MAX {
            continue;
        }
        let Some(address) = interface.address else {
            continue;
        };
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        if ip.is_ipv4() == ipv4 && is_reachable(ip) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

fn is_reachable(ip: IpAddr) -> bool {
    let of_the_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    !(of_the_link || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

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
