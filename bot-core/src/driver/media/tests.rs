//! A passing session's socket in a crowd.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use callbot_media::Now;
use callbot_media::sdp::{Capabilities, Direction, Negotiator};
use callbot_media::session::{Command, MediaSession, SessionConfig, TransmitMemory};

use super::{Leg, Slot, VAIN};
use crate::driver::ports::RtpPorts;
use crate::driver::socket::DatagramBuffers;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An RTP packet of PCMU.
fn packet(sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((u32::from(sequence) * 160).to_be_bytes());
    bytes.extend(0x5eed_u32.to_be_bytes());
    bytes.extend([0x55; 160]);
    bytes
}

/// A slot whose session sends back what `peer` sends, and its RTP address.
fn echo(ports: &RtpPorts, peer: SocketAddr, now: Now) -> (Slot, SocketAddr) {
    let (socket, port) = ports.take(HERE).unwrap();
    let here = SocketAddr::new(HERE, port);
    let offer = Negotiator::new(Capabilities::default(), peer, 1).offer(Direction::SendRecv);
    let (_, agreed) = Negotiator::new(Capabilities::default(), here, 2)
        .receive_offer(&offer)
        .unwrap();
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(now, &agreed);
    session.command(now, Command::Reflect(true));
    let leg = Leg {
        session,
        socket,
        events: Box::new(|_| {}),
    };
    let mut slot = Slot {
        id: 1,
        phase: 0,
        passing: false,
        handshaking: false,
        ticking: false,
        rest: 0,
        was_empty: false,
        vain: 0,
        leg: Box::new(leg),
    };
    slot.flush();
    assert!(slot.passing);
    (slot, here)
}

/// A look at the socket in a crowd, until something is found or `looks` are over: loopback delivers at once.
fn look(slot: &mut Slot, buffer: &mut DatagramBuffers, now: Now) -> usize {
    let mut memory = TransmitMemory::new();
    let mut found = 0;
    slot.serve(&mut memory, |slot| {
        found = slot.drain_rtp(now, buffer, true);
        buffer.send_all();
    });
    found
}

fn heard(socket: &UdpSocket) -> Option<usize> {
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket.recv(&mut [0; 2048]).ok()
}

#[test]
fn a_peer_that_moves_is_followed_though_the_socket_was_connected_to_it() {
    let ports = RtpPorts::new(41_000..=41_400, None);
    let before = UdpSocket::bind((HERE, 0)).unwrap();
    let after = UdpSocket::bind((HERE, 0)).unwrap();
    let peer = before.local_addr().unwrap();
    let mut now = Now {
        instant: Instant::now(),
        wall: SystemTime::now(),
    };
    let (mut slot, here) = echo(&ports, peer, now);
    let mut buffer = DatagramBuffers::new();
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        packet(sequence)
    };

    before.send_to(&next(), here).unwrap();
    assert_eq!(look(&mut slot, &mut buffer, now), 1);
    assert_eq!(slot.leg.socket.connected(), Some(peer));
    before.send_to(&next(), here).unwrap();
    assert_eq!(look(&mut slot, &mut buffer, now), 1);
    assert_eq!((heard(&before), heard(&before)), (Some(172), Some(172)));

    // Silence opens the socket again, before the session would believe anyone else.
    for _ in 0..VAIN {
        assert_eq!(slot.leg.socket.connected(), Some(peer));
        now.instant += Duration::from_millis(10);
        assert_eq!(look(&mut slot, &mut buffer, now), 0);
    }
    assert_eq!(slot.leg.socket.connected(), None);
    std::thread::sleep(Duration::from_millis(250)); // Arrival is the kernel's, so its time has to pass.
    now.instant = Instant::now();
    after.send_to(&next(), here).unwrap();
    after.send_to(&next(), here).unwrap();
    while look(&mut slot, &mut buffer, now) > 0 {}
    assert_eq!((heard(&after), heard(&after)), (Some(172), Some(172)));
    assert_eq!(
        slot.leg.socket.connected(),
        Some(after.local_addr().unwrap())
    );

    // What the session is told opens it as well.
    slot.leg.session.command(now, Command::Reflect(false));
    slot.flush();
    assert_eq!(slot.leg.socket.connected(), None);
}
