//! Which of this machine's addresses a peer sees: the source address of the route to it, and which others there are.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

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

/// How long it is believed that there is no way to a peer: a network comes back within seconds.
const NO_ROUTE: Duration = Duration::from_secs(10);

/// Answers "which address do we have towards this peer", and remembers it. That there is none is remembered as well, for a
/// while: ICE checks a candidate that cannot be reached over and over.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: HashMap<IpAddr, Answer>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    From(IpAddr),
    None(ErrorKind, Instant),
}

impl Routes {
    /// The local address that datagrams to `peer` leave from.
    pub(crate) fn source_towards(&mut self, peer: IpAddr) -> std::io::Result<IpAddr> {
        self.answer(peer, Instant::now, look_up)
    }

    fn answer(
        &mut self,
        peer: IpAddr,
        now: impl Fn() -> Instant,
        look_up: impl FnOnce(IpAddr) -> std::io::Result<IpAddr>,
    ) -> std::io::Result<IpAddr> {
        match self.known.get(&peer) {
            Some(Answer::From(source)) => return Ok(*source),
            Some(Answer::None(error, since)) if now() < *since + NO_ROUTE => {
                return Err((*error).into());
            }
            _ => {}
        }
        let found = look_up(peer);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let answer = match &found {
            Ok(source) => Answer::From(*source),
            Err(error) => Answer::None(error.kind(), now()),
        };
        self.known.insert(peer, answer);
        found
    }
}

/// Connecting a datagram socket sends nothing; the kernel only looks the route up.
fn look_up(peer: IpAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(peer, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_cannot_be_reached_costs_one_socket_in_ten_seconds() {
        let mut routes = Routes::default();
        let peer = IpAddr::from([198, 51, 100, 1]);
        let begin = Instant::now();
        let (asked, reachable) = (Cell::new(0), Cell::new(false));
        let mut ask = |after_ms| {
            routes.answer(
                peer,
                || begin + Duration::from_millis(after_ms),
                |_| {
                    asked.set(asked.get() + 1);
                    match reachable.get() {
                        true => Ok(IpAddr::from([192, 0, 2, 1])),
                        false => Err(ErrorKind::NetworkUnreachable.into()),
                    }
                },
            )
        };
        for check in 0..200 {
            let error = ask(check * 50).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
        }
        assert_eq!(asked.get(), 1);
        reachable.set(true);
        assert!(ask(10_001).is_ok() && ask(10_002).is_ok());
        assert_eq!(asked.get(), 2, "what was found stays");
    }

    #[test]
    fn the_way_to_ourselves_begins_here() {
        let here = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(Routes::default().source_towards(here).unwrap(), here);
    }
}
