//! The two datagram ports of one RTP leg, on the machine's network or in memory.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use callbot_media::session::Channel;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, SockType,
    SockaddrStorage, bind, connect, recvmsg, sendmsg, setsockopt, socket,
    sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBuf, RcvBufForce, ReceiveTimestampns},
};

use super::ice::Relay;
use super::memory::MemorySocket;
use super::ports::Lease;
use super::route::Routes;
use super::shared_port::{Outbox, SharedLeg, send_all};

/// The longest datagram that is read.
pub(super) const DATAGRAM: usize = 2048;
/// What a port of many legs may have waiting: some thousand packets, for the kernel counts more than their bytes.
const WIDE: usize = 4 * 1024 * 1024;

/// An RTP port and its RTCP port.
pub(crate) enum MediaSocket {
    Udp(UdpPair),
    Memory {
        rtp: MemorySocket,
        rtcp: MemorySocket,
        _lease: Lease,
    },
    /// One of the others, with addresses on TURN servers beside its own.
    Relayed {
        socket: Box<Self>,
        relays: Vec<Relay>,
    },
    /// A part in a port that many legs share.
    Shared(SharedLeg),
}

/// Two non-blocking sockets whose datagrams carry the kernel's arrival time.
pub(crate) struct UdpPair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The RTP port's address, as it was bound.
    bound: SocketAddr,
    /// With several addresses on one socket: where packets leave by themselves.
    routes: Option<Mutex<Routes>>,
    /// The only address that the RTP socket takes packets from and sends to.
    connected: Option<SocketAddr>,
    _lease: Lease,
}

/// What a thread needs to receive, one datagram and its control messages, and
/// the datagrams that it sends together.
pub(crate) struct DatagramBuffers {
    data: Box<[u8; DATAGRAM]>,
    control: Vec<u8>,
    outbox: Outbox,
}

/// One received datagram, in the receive buffer.
pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) source: SocketAddr,
    /// The address of ours that it came to, where the socket has several and
    /// tells them apart.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) arrival: Instant,
}

impl DatagramBuffers {
    pub(crate) fn new() -> Self {
        Self {
            data: Box::new([0; DATAGRAM]),
            control: nix::cmsg_space!(nix::sys::time::TimeSpec, in6_pktinfo),
            outbox: Outbox::default(),
        }
    }

    /// Sends what [`MediaSocket::send_soon`] left. To be called before any of
    /// the sockets may be closed.
    pub(crate) fn send_all(&mut self) {
        send_all(&mut self.outbox);
    }

    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        &self.data[..len.min(self.data.len())]
    }
}

impl UdpPair {
    /// Binds both ports.
    pub(crate) fn bind(rtp: SocketAddr, rtcp: SocketAddr, lease: Lease) -> std::io::Result<Self> {
        let bound = rtp;
        let rtp = bind_nonblocking(rtp)?;
        let rtcp = bind_nonblocking(rtcp)?;
        setsockopt(&rtp, ReceiveTimestampns, &true)?;
        // RTCP is fetched seldom; the round trip would count that in.
        setsockopt(&rtcp, ReceiveTimestampns, &true)?;
        Ok(Self {
            rtp,
            rtcp,
            bound,
            routes: None,
            connected: None,
            _lease: lease,
        })
    }

    /// Lets more wait than a call's socket may have waiting.
    pub(super) fn widen(&self) {
        // The first is for those who may, and knows no limit of the machine's.
        let widened = setsockopt(&self.rtp, RcvBufForce, &WIDE)
            .or_else(|_| setsockopt(&self.rtp, RcvBuf, &WIDE));
        if let Err(error) = widened {
            tracing::warn!(%error, "a shared media port has a small buffer");
        }
    }

    /// The RTP port's socket.
    pub(super) fn rtp_fd(&self) -> RawFd {
        self.rtp.as_raw_fd()
    }

    /// The RTP port.
    pub(super) const fn port(&self) -> u16 {
        self.bound.port()
    }

    /// See [`MediaSocket::tell_addresses`].
    pub(super) fn tell_addresses(&mut self) {
        if !self.bound.ip().is_unspecified() || self.routes.is_some() {
            return;
        }
        let told = match self.bound {
            SocketAddr::V4(_) => setsockopt(&self.rtp, Ipv4PacketInfo, &true),
            SocketAddr::V6(_) => setsockopt(&self.rtp, Ipv6RecvPacketInfo, &true),
        };
        match told {
            Ok(()) => self.routes = Some(Mutex::default()),
            Err(error) => tracing::warn!(%error, "a socket does not tell its addresses apart"),
        }
    }

    /// Sends from `local`, where the route to `destination` would not do so by
    /// itself; whether it was sent, or tried.
    pub(super) fn send_from(
        &self,
        local: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) -> bool {
        let Some(routes) = &self.routes else {
            return false;
        };
        let source = routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .source_towards(destination.ip());
        match source {
            Ok(source) if source != local.ip() => {}
            _ => return false,
        }
        let v4 = |ip: Ipv4Addr| in_addr {
            s_addr: u32::from_ne_bytes(ip.octets()),
        };
        let (info4, info6);
        let control = match local.ip() {
            IpAddr::V4(ip) => {
                info4 = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: v4(ip),
                    ipi_addr: v4(Ipv4Addr::UNSPECIFIED),
                };
                ControlMessage::Ipv4PacketInfo(&info4)
            }
            IpAddr::V6(ip) => {
                info6 = in6_pktinfo {
                    ipi6_addr: in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                ControlMessage::Ipv6PacketInfo(&info6)
            }
        };
        let sent = sendmsg(
            self.rtp.as_raw_fd(),
            &[IoSlice::new(payload)],
            &[control],
            MsgFlags::MSG_DONTWAIT,
            Some(&SockaddrStorage::from(destination)),
        );
        if let Err(error) = sent {
            tracing::trace!(%local, %destination, %error, "RTP not sent");
        }
        true
    }
}

impl MediaSocket {
    /// The next datagram that waits, if any.
    pub(crate) fn receive(
        &self,
        channel: Channel,
        now: Instant,
        buffer: &mut DatagramBuffers,
    ) -> Option<Received> {
        match self {
            Self::Udp(pair) => match channel {
                Channel::Rtp => {
                    let mut received = receive_stamped(&pair.rtp, now, buffer)?;
                    if let Some(local) = &mut received.local {
                        local.set_port(pair.bound.port());
                    }
                    Some(received)
                }
                Channel::Rtcp => receive_stamped(&pair.rtcp, now, buffer),
            },
            Self::Memory { rtp, rtcp, .. } => {
                let socket = if channel == Channel::Rtp { rtp } else { rtcp };
                let datagram = socket.try_recv()?;
                let len = datagram.payload.len().min(buffer.data.len());
                buffer.data[..len].copy_from_slice(&datagram.payload[..len]);
                Some(Received {
                    len,
                    source: datagram.source,
                    local: None,
                    arrival: datagram.arrival,
                })
            }
            Self::Relayed { socket, relays } => socket
                .receive(channel, now, buffer)
                .or_else(|| receive_relayed(relays, channel, buffer)),
            Self::Shared(leg) => match channel {
                Channel::Rtp => leg.receive(&mut buffer.data[..]),
                Channel::Rtcp => None,
            },
        }
    }

    /// Takes packets of `peer` alone and sends to it alone, until `None` ends that. The kernel then looks for no
    /// route, which saves 5 to 8% of what an echoed packet costs. A socket of all addresses stays as it is: connecting it would
    /// also choose the one of ours that packets must come to.
    pub(crate) fn connect(&mut self, peer: Option<SocketAddr>) {
        let Self::Udp(pair) = self else {
            return;
        };
        let bound_to_one = !pair.bound.ip().is_unspecified();
        if pair.connected == peer || (peer.is_some() && !bound_to_one) {
            return;
        }
        let done = match peer {
            Some(peer) => connect(pair.rtp.as_raw_fd(), &SockaddrStorage::from(peer))
                .map_err(std::io::Error::from),
            None => rustix::net::connect_unspec(&pair.rtp).map_err(std::io::Error::from),
        };
        match done {
            Ok(()) => pair.connected = peer,
            Err(error) => tracing::debug!(?peer, %error, "a media socket is not connected"),
        }
    }

    /// The peer whose packets alone are taken.
    pub(crate) fn connected(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(pair) => pair.connected,
            _ => None,
        }
    }

    /// Tells apart from now on by which address of ours packets come, and lets
    /// them leave by the one that is wanted, where the socket has several: ICE
    /// counts each as a path of its own.
    pub(crate) fn tell_addresses(&mut self) {
        match self {
            Self::Udp(pair) => pair.tell_addresses(),
            Self::Relayed { socket, .. } => socket.tell_addresses(),
            Self::Memory { .. } | Self::Shared(_) => {}
        }
    }

    /// The part in a port of many legs, if it is one.
    pub(crate) fn shared(&self) -> Option<&SharedLeg> {
        match self {
            Self::Shared(leg) => Some(leg),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn shared_mut(&mut self) -> Option<&mut SharedLeg> {
        match self {
            Self::Shared(leg) => Some(leg),
            _ => None,
        }
    }

    /// The same with addresses on TURN servers beside its own.
    pub(crate) fn with_relays(self, relays: Vec<Relay>) -> Self {
        if relays.is_empty() {
            return self;
        }
        Self::Relayed {
            socket: Box::new(self),
            relays,
        }
    }

    /// Sends together with others, at the latest at [`DatagramBuffers::send_all`].
    pub(crate) fn send_soon(
        &self,
        channel: Channel,
        local: Option<SocketAddr>,
        destination: SocketAddr,
        payload: &[u8],
        buffer: &mut DatagramBuffers,
    ) {
        let pair = match self {
            // What must leave by a certain address is no common case.
            Self::Udp(pair) if local.is_none() || pair.routes.is_none() => pair,
            Self::Relayed { socket, relays } if !by_relay(relays, local) => {
                socket.send_soon(channel, local, destination, payload, buffer);
                return;
            }
            _ => {
                self.send(channel, local, destination, payload);
                return;
            }
        };
        let socket = match channel {
            Channel::Rtp => &pair.rtp,
            Channel::Rtcp => &pair.rtcp,
        };
        let connected = channel == Channel::Rtp && pair.connected == Some(destination);
        let to = (!connected).then_some(destination);
        if buffer.outbox.push(socket.as_raw_fd(), to, payload) {
            buffer.send_all();
        }
    }

    /// Sends at once or not at all: a full socket buffer loses the packet, as a network would.
    /// `local` is the address of ours to send it from, where it matters.
    pub(crate) fn send(
        &self,
        channel: Channel,
        local: Option<SocketAddr>,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        match self {
            Self::Udp(pair) => {
                if let Some(local) = local
                    && channel == Channel::Rtp
                    && pair.send_from(local, destination, payload)
                {
                    return;
                }
                let socket = match channel {
                    Channel::Rtp => &pair.rtp,
                    Channel::Rtcp => &pair.rtcp,
                };
                if let Err(error) = socket.send_to(payload, destination) {
                    // ECONNREFUSED reports an earlier packet: the peer's port is closed.
                    tracing::trace!(%destination, %error, "RTP not sent");
                }
            }
            Self::Memory { rtp, rtcp, .. } => match channel {
                Channel::Rtp => rtp.send_to(payload, destination),
                Channel::Rtcp => rtcp.send_to(payload, destination),
            },
            Self::Relayed { socket, relays } => {
                let relay = relays.iter().find(|relay| Some(relay.address()) == local);
                match relay {
                    Some(relay) => relay.send(Instant::now(), destination, payload),
                    None => socket.send(channel, local, destination, payload),
                }
            }
            // With ICE there is no RTCP port.
            Self::Shared(leg) => leg.send(local, destination, payload),
        }
    }
}

fn by_relay(relays: &[Relay], local: Option<SocketAddr>) -> bool {
    local.is_some_and(|local| relays.iter().any(|relay| relay.address() == local))
}

/// What came by way of a TURN server; with ICE, RTCP comes to the same address as RTP.
fn receive_relayed(
    relays: &[Relay],
    channel: Channel,
    buffer: &mut DatagramBuffers,
) -> Option<Received> {
    if channel == Channel::Rtcp {
        return None;
    }
    relays.iter().find_map(|relay| {
        let (source, arrival, len) = relay.receive(&mut buffer.data[..])?;
        Some(Received {
            len,
            source,
            local: Some(relay.address()),
            arrival,
        })
    })
}

/// A bound socket that is non-blocking from the start, which spares a system
/// call for each of the two sockets of a call.
fn bind_nonblocking(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Datagram, flags, None)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(socket))
}

fn receive_stamped(
    socket: &UdpSocket,
    now: Instant,
    buffer: &mut DatagramBuffers,
) -> Option<Received> {
    let DatagramBuffers { data, control, .. } = buffer;
    let mut slices = [IoSliceMut::new(&mut data[..])];
    // A refused packet of ours comes back as an error of the next receive;
    // one further try reads what waits behind it.
    for _ in 0..2 {
        match recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut slices,
            Some(control),
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(message) => return read_message(&message, now),
            Err(nix::errno::Errno::EAGAIN) => return None,
            Err(_) => {}
        }
    }
    None
}

/// What the kernel says of a datagram.
pub(super) fn read_message(
    message: &RecvMsg<'_, '_, SockaddrStorage>,
    now: Instant,
) -> Option<Received> {
    let source = message.address.as_ref().and_then(socket_addr)?;
    let (mut stamp, mut local) = (None, None);
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::ScmTimestampns(t) => {
                stamp = Some(SystemTime::UNIX_EPOCH + Duration::from(t));
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let ip = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                local = Some(SocketAddr::new(ip.into(), 0));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                local = Some(SocketAddr::new(ip.into(), 0));
            }
            _ => {}
        }
    }
    Some(Received {
        len: message.bytes,
        source,
        local,
        arrival: stamp.map_or(now, |stamp| arrival(stamp, now)),
    })
}

/// The instant at which the kernel saw a datagram. A stamp further back than a
/// second means that the wall clock was set, and is not believed.
fn arrival(stamp: SystemTime, now: Instant) -> Instant {
    match SystemTime::now().duration_since(stamp) {
        Ok(age) if age < Duration::from_secs(1) => now.checked_sub(age).unwrap_or(now),
        _ => now,
    }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    let ip: Ipv6Addr = v6.ip();
    Some(SocketAddr::new(ip.into(), v6.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &MediaSocket) -> Received {
        let mut buffer = DatagramBuffers::new();
        for _ in 0..200 {
            let found = socket.receive(Channel::Rtp, Instant::now(), &mut buffer);
            if let Some(received) = found {
                return received;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("nothing came");
    }

    #[test]
    fn a_socket_of_all_addresses_tells_them_apart_and_answers_from_the_one_that_is_wanted() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let ports = crate::driver::ports::RtpPorts::new(40_000..=40_400, None);
        let (mut all, port) = ports.take(any).unwrap();
        let (peer, peers) = ports.take(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let (second, peers) = (
            SocketAddr::from(([127, 0, 0, 2], port)),
            SocketAddr::from(([127, 0, 0, 1], peers)),
        );
        all.send(Channel::Rtp, Some(second), peers, b"untold");
        assert_eq!(receive(&peer).source.ip(), peers.ip());
        all.tell_addresses();
        peer.send(Channel::Rtp, None, second, b"to the second");
        let received = receive(&all);
        assert_eq!((received.local, received.source), (Some(second), peers));
        all.send(Channel::Rtp, received.local, peers, b"from the second");
        assert_eq!(receive(&peer).source, second);
        all.send(Channel::Rtp, None, peers, b"from anywhere");
        assert_eq!(receive(&peer).source, SocketAddr::new(peers.ip(), port));
    }

    #[test]
    fn a_connected_socket_hears_its_peer_alone_until_it_is_open_again() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ports = crate::driver::ports::RtpPorts::new(40_500..=40_900, None);
        let mut taken = (0..3).map(|_| ports.take(loopback).unwrap());
        let (mut socket, port) = taken.next().unwrap();
        let ((peer, peers), (stranger, strangers)) = (taken.next().unwrap(), taken.next().unwrap());
        let [to, from_peer, from_stranger] =
            [port, peers, strangers].map(|port| SocketAddr::new(loopback, port));
        socket.connect(Some(from_peer));
        stranger.send(Channel::Rtp, None, to, b"let me in");
        peer.send(Channel::Rtp, None, to, b"from the peer");
        assert_eq!(receive(&socket).source, from_peer);
        let mut buffer = DatagramBuffers::new();
        socket.send_soon(Channel::Rtp, None, from_peer, b"back", &mut buffer);
        socket.send_soon(Channel::Rtp, None, from_stranger, b"aside", &mut buffer);
        buffer.send_all();
        assert_eq!((receive(&peer).source, receive(&stranger).source), (to, to));
        socket.connect(None);
        assert_eq!(socket.connected(), None);
        stranger.send(Channel::Rtp, None, to, b"and now?");
        assert_eq!(receive(&socket).source, from_stranger);
    }

    #[test]
    fn what_waited_in_a_socket_came_when_the_kernel_saw_it() {
        let socket = bind_nonblocking("127.0.0.1:0".parse().unwrap()).unwrap();
        setsockopt(&socket, ReceiveTimestampns, &true).unwrap();
        let to = socket.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Stamping begins a moment after the first socket asks for it.
        let mut buffer = DatagramBuffers::new();
        for _ in 0..50 {
            let sent = Instant::now();
            sender.send_to(b"report", to).unwrap();
            // A tier 3 test: it is the kernel's clock that is tested.
            std::thread::sleep(Duration::from_millis(40));
            let now = Instant::now();
            let received = receive_stamped(&socket, now, &mut buffer).unwrap();
            assert_eq!(buffer.bytes(received.len), b"report");
            if received.arrival < sent + Duration::from_millis(20) {
                return;
            }
        }
        panic!("datagrams bear the time at which they were fetched");
    }
}
