//! A session and what lies below it: keys, handshakes and the path.
//!
//! Responsibility: hand datagrams to the [`Transport`] where the exchange asks for one, tell the leg where media may go, and
//! turn what happened below into events. A plain session has no transport and pays nothing for this.

use std::net::SocketAddr;
use std::time::Instant;

use super::event::MediaEvent;
use super::transmit::{Channel, Transmit};
use super::{MediaSession, Stream};
use crate::Now;
use crate::leg::dtls::Certificate;
use crate::leg::ice::IceState;
use crate::leg::transport::{Transport, TransportEvent};
use crate::sdp::Negotiated;

/// What lies below a session.
#[derive(Debug, Default)]
pub(super) struct Below {
    certificate: Option<Certificate>,
    transport: Option<Box<Transport>>,
    /// The handshake packet that was polled last.
    packet: Option<crate::leg::transport::HandshakePacket>,
}

impl Below {
    pub(super) fn transport(&self) -> Option<&Transport> {
        self.transport.as_deref()
    }
}

impl MediaSession {
    /// Gives the session the certificate that it shows in a DTLS handshake: the one whose fingerprint the negotiator was
    /// given. Without it DTLS-SRTP fails.
    pub fn set_certificate(&mut self, certificate: Certificate) {
        self.below.certificate = Some(certificate);
    }

    /// Whether keys or a path are still to come, so that the sockets should be served every 5 ms and
    /// [`MediaSession::handle_timeout`] be called as often. No media passes meanwhile.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        !self.closed
            && self
                .below
                .transport()
                .is_some_and(Transport::is_handshaking)
    }

    /// Tells the time to handshakes and ICE. [`MediaSession::tick`] does it as well; this costs next to nothing while nothing
    /// is due.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Some(transport) = &mut self.below.transport {
            transport.handle_timeout(now.instant);
            self.after_transport(now);
        }
    }

    /// When [`MediaSession::handle_timeout`] has something to do; `None` while nothing waits.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        self.below.transport()?.timeout()
    }

    /// Whether the peer proved by ICE that it is at this address, so that what comes from there is for this session.
    #[must_use]
    pub fn vouches_for(&self, source: SocketAddr) -> bool {
        self.below
            .transport()
            .is_some_and(|transport| transport.vouches_for(source))
    }

    /// The peer's address on the path that ICE found; `None` while there is none, and without ICE.
    #[must_use]
    pub fn ice_path(&self) -> Option<SocketAddr> {
        self.below.transport()?.ice_path()
    }

    /// Takes in a datagram that came by another address of ours than the channel's socket, such as one on a TURN server.
    /// `arrival` is when it came.
    pub fn receive_at(
        &mut self,
        now: Now,
        arrival: Instant,
        local: SocketAddr,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        self.receive(now, arrival, Channel::Rtp, Some(local), source, datagram);
    }

    /// Takes in a datagram by way of the transport, if there is one.
    pub(super) fn receive(
        &mut self,
        now: Now,
        arrival: Instant,
        channel: Channel,
        local: Option<SocketAddr>,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        if self.closed {
            return;
        }
        let Some(transport) = &mut self.below.transport else {
            self.receive_plain(now, arrival, channel, source, datagram);
            return;
        };
        match transport.receive(now.instant, channel, local, source, datagram) {
            Some(length) => {
                // The packet lies in the transport's memory, so the transport stands aside while the packet is taken in.
                if let Some(transport) = self.below.transport.take() {
                    self.receive_plain(now, arrival, channel, source, transport.opened(length));
                    self.below.transport = Some(transport);
                }
            }
            None => self.after_transport(now),
        }
    }

    /// Takes in what a newer exchange says of keys and path.
    pub(super) fn apply_transport(&mut self, now: Now, negotiated: &Negotiated) {
        match &mut self.below.transport {
            Some(transport) => transport.apply(now.instant, negotiated),
            None => {
                let certificate = self.below.certificate.as_ref();
                self.below.transport =
                    Transport::new(now.instant, certificate, negotiated).map(Box::new);
            }
        }
        self.after_transport(now);
    }

    /// Sees what became of handshakes and path.
    fn after_transport(&mut self, now: Now) {
        let Self {
            below,
            stream,
            events,
            ..
        } = self;
        let Some(transport) = &mut below.transport else {
            return;
        };
        while let Some(event) = transport.poll_event() {
            match event {
                TransportEvent::Secured {
                    keying,
                    profile,
                    role,
                } => events.push(MediaEvent::Secured {
                    keying,
                    profile,
                    role,
                }),
                TransportEvent::Unsecured => events.push(MediaEvent::Unsecured),
                TransportEvent::Ice(state) => events.push(MediaEvent::Ice {
                    connected: state == IceState::Connected,
                    state,
                }),
                TransportEvent::Failed(text) => events.push(MediaEvent::SecurityFailed { text }),
            }
        }
        if let Some(stream) = stream {
            stream.follow(now, transport);
        }
    }

    /// The next packet of a transport: of a handshake, or one of media, protected.
    pub(super) fn poll_secured(&mut self) -> Option<Transmit<'_>> {
        let transport = self.below.transport.as_mut()?;
        if let Some(packet) = transport.poll_packet() {
            let packet = self.below.packet.insert(packet);
            return Some(Transmit {
                channel: packet.channel,
                destination: packet.destination,
                local: packet.local,
                payload: &packet.payload,
            });
        }
        let local = transport.local();
        let (channel, destination, length) = loop {
            let packet = self.out.pop()?;
            if let Some(length) = transport.protect(packet.channel, packet.payload) {
                break (packet.channel, packet.destination, length);
            }
        };
        Some(Transmit {
            channel,
            destination,
            local,
            payload: transport.opened(length),
        })
    }
}

impl Stream {
    /// Lets media go where the transport says.
    fn follow(&mut self, now: Now, transport: &Transport) {
        let path = transport.path();
        let before = self.leg.path();
        if path == before {
            return;
        }
        self.leg.set_path(now.instant, path);
        if before == crate::leg::transport::Path::Closed && self.expecting_since.is_some() {
            // Nothing could come before.
            self.expecting_since = Some(now.instant);
        }
    }
}
