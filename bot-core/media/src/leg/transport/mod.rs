//! The layers between a datagram and plain RTP: ICE finds the path, DTLS agrees on keys, SRTP protects packets.
//!
//! Purpose: carry out what [`Negotiated`] says of security and path, so that everything above sees plain packets only.
//!
//! ```text
//! datagram -> first byte (RFC 7983): 0..=3 STUN -> ICE | 20..=63 DTLS | 128..=191 SRTP -> plain RTP or RTCP
//! our packet -> SRTP -> where the latch or ICE says
//! ```
//!
//! Responsibility: which source is believed at which layer, the counting of what is not, the beginning and the end of
//! handshakes, and what changes when a newer exchange changes something. Without rtcp-mux each of the two ports has a DTLS
//! handshake of its own (RFC 5764 section 4.1.2); SDES keys serve both.
//!
//! Invariants:
//! - no media passes before there are keys, where keys were agreed on: neither in nor out;
//! - with ICE, DTLS and media count only from addresses that an authentic STUN packet came from;
//! - what stays in a newer exchange stays here: keys, the association, the path. An ICE restart keeps the association, and
//!   the former path until there is a new one;
//! - nothing allocates per packet of media.

mod figures;
mod keys;
mod lane;
mod path;

pub use figures::{Refusals, TransportFigures};

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use self::keys::Keys;
use self::lane::{Lane, Step};
use self::path::{IcePath, PathEvent};
use super::dtls::{Certificate, DtlsRole};
use super::ice::IceState;
use super::srtp::Profile;
use crate::sdp::{Keying, Negotiated, Security};

/// The longest datagram that is taken: what an Ethernet carries, and more.
const LONGEST: usize = 2048;

/// Which of the two sockets a packet uses. With rtcp-mux everything is [`Channel::Rtp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The RTP socket.
    Rtp,
    /// The RTCP socket.
    Rtcp,
}

/// Where media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Where the far end's packets come from, and the SDP says before.
    Latched,
    /// Nowhere: there are no keys yet, or no path.
    Closed,
    /// There: ICE found it.
    Fixed(SocketAddr),
}

/// Something that happened below the media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEvent {
    /// Media is secured from now on.
    Secured {
        /// Where the keys come from.
        keying: Keying,
        /// Cipher and tag.
        profile: Profile,
        /// Our part in the DTLS handshake, if there was one.
        role: Option<DtlsRole>,
    },
    /// Media is not secured any more: a newer exchange agreed on plain RTP.
    Unsecured,
    /// The state of ICE changed.
    Ice(IceState),
    /// There will be no media; why, for people.
    Failed(String),
}

/// A packet of a handshake, or a check of ICE, to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandshakePacket {
    pub(crate) channel: Channel,
    /// The address of ours to send it from; `None`: the channel's own.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: Bytes,
}

/// The layers below one session's media.
pub struct Transport {
    certificate: Option<Certificate>,
    security: Security,
    mux: bool,
    /// The handshakes of the RTP port, and of the RTCP port without rtcp-mux.
    lanes: [Option<Lane>; 2],
    keys: Keys,
    ice: Option<IcePath>,
    events: VecDeque<TransportEvent>,
    failed: bool,
    /// When [`Transport::handle_timeout`] has something to do.
    next: Option<Instant>,
    /// The packet that was opened or protected last.
    buffer: Vec<u8>,
    figures: TransportFigures,
}

impl Transport {
    /// The layers that an exchange asks for; `None` for plain RTP without ICE, which needs none.
    #[must_use]
    pub fn new(
        now: Instant,
        certificate: Option<&Certificate>,
        negotiated: &Negotiated,
    ) -> Option<Self> {
        if negotiated.security == Security::None && negotiated.ice.is_none() {
            return None;
        }
        let mut transport = Self {
            certificate: certificate.cloned(),
            security: Security::None,
            mux: negotiated.rtcp_mux,
            lanes: [None, None],
            keys: Keys::default(),
            ice: None,
            events: VecDeque::with_capacity(4),
            failed: false,
            next: None,
            buffer: Vec::with_capacity(LONGEST),
            figures: TransportFigures::default(),
        };
        transport.apply(now, negotiated);
        Some(transport)
    }

    /// Takes in what a newer exchange agreed on, and rebuilds what changed.
    pub fn apply(&mut self, now: Instant, negotiated: &Negotiated) {
        self.mux = negotiated.rtcp_mux;
        match (&negotiated.ice, &mut self.ice) {
            (None, ice) => *ice = None,
            (Some(agreed), Some(path)) => path.apply(now, agreed),
            (Some(agreed), ice) => *ice = Some(IcePath::new(now, agreed)),
        }
        if !same(&self.security, &negotiated.security) {
            self.rekey(&negotiated.security);
        } else if self.failed && self.security.keying() != Some(Keying::Sdes) {
            // What failed while the call rang may come about now that it is answered. An association that stands goes on.
            self.failed = false;
            if !self.keys.are_there() {
                self.lanes = [None, None];
            }
            if let Some(path) = &mut self.ice {
                path.search_again(now);
            }
        }
        self.shape_lanes(now, negotiated);
        self.pump(now);
    }

    /// Takes over other keys, or the need for them.
    fn rekey(&mut self, security: &Security) {
        let before = std::mem::replace(&mut self.security, security.clone());
        self.failed = false;
        self.figures.keying = security.keying();
        self.figures.profile = None;
        if *security == Security::None && before != Security::None {
            self.events.push_back(TransportEvent::Unsecured);
        }
        self.lanes = [None, None];
        match self.keys.follow(&before, security) {
            Ok(None) => {}
            Ok(Some(profile)) => self.secured(Keying::Sdes, profile, None),
            Err(error) => self.fail(format!("the media cannot be secured: {error}")),
        }
    }

    /// Makes the handshakes that are missing, and tells those that stand where the peer is.
    fn shape_lanes(&mut self, now: Instant, negotiated: &Negotiated) {
        let Security::Dtls {
            role,
            engine,
            fingerprints,
        } = &self.security
        else {
            return;
        };
        let Some(certificate) = &self.certificate else {
            self.fail("DTLS-SRTP was agreed on, but this side has no certificate".to_owned());
            return;
        };
        let places = [
            (Channel::Rtp, negotiated.remote_rtp),
            (Channel::Rtcp, negotiated.remote_rtcp),
        ];
        for (index, (channel, signalled)) in places.into_iter().enumerate() {
            let wanted = index == 0 || !(self.mux || self.ice.is_some());
            let lane = &mut self.lanes[index];
            match lane {
                Some(lane) if wanted => lane.signal(signalled),
                Some(_) => *lane = None,
                None if wanted => {
                    *lane = Some(Lane::new(
                        now,
                        channel,
                        *role,
                        *engine,
                        certificate,
                        fingerprints,
                        (self.ice.is_none()).then_some(signalled),
                    ));
                }
                None => {}
            }
        }
    }

    /// Takes in a datagram; gives the length of the plain packet, which [`Transport::opened`] then holds. `local` is the
    /// address of ours that it came to, where it is not the channel's own.
    pub fn receive(
        &mut self,
        now: Instant,
        channel: Channel,
        local: Option<SocketAddr>,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Option<usize> {
        match datagram.first()? {
            0..=3 => {
                match &mut self.ice {
                    Some(ice) => {
                        let authentic = ice.receive(now, local, source, datagram);
                        self.figures.refusals.stun += u64::from(!authentic);
                    }
                    None => self.figures.refusals.stun += 1,
                }
                self.pump(now);
                None
            }
            20..=63 => {
                let known = self.ice.as_ref().is_none_or(|ice| ice.knows(source));
                let index = self.index(channel);
                match &mut self.lanes[index] {
                    Some(lane) if known => {
                        let taken = lane.receive(now, local, source, datagram);
                        self.figures.refusals.dtls += u64::from(!taken);
                    }
                    _ => self.figures.refusals.dtls += 1,
                }
                self.pump(now);
                None
            }
            128..=191 => self.open(channel, source, datagram),
            _ => {
                self.figures.refusals.unreadable += 1;
                None
            }
        }
    }

    /// Opens a packet of media.
    fn open(&mut self, channel: Channel, source: SocketAddr, datagram: &[u8]) -> Option<usize> {
        if datagram.len() > LONGEST {
            self.figures.refusals.unreadable += 1;
            return None;
        }
        if self.ice.as_ref().is_some_and(|ice| !ice.knows(source)) {
            self.figures.refusals.strays += 1;
            return None;
        }
        let index = self.index(channel);
        self.buffer.clear();
        self.buffer.extend_from_slice(datagram);
        if self.security == Security::None {
            return Some(datagram.len());
        }
        self.keys
            .open(index, &mut self.buffer, &mut self.figures.refusals)
    }

    /// The packet that [`Transport::receive`] opened, or [`Transport::protect`] protected: so many of its bytes.
    #[must_use]
    pub fn opened(&self, length: usize) -> &[u8] {
        self.buffer.get(..length).unwrap_or_default()
    }

    /// Protects a packet of ours and gives its new length; `None` when it must not be sent.
    pub fn protect(&mut self, channel: Channel, packet: &[u8]) -> Option<usize> {
        self.buffer.clear();
        self.buffer.extend_from_slice(packet);
        if self.security == Security::None {
            return Some(packet.len());
        }
        let index = self.index(channel);
        if !self.keys.protect(index, &mut self.buffer) {
            self.figures.unsent += 1;
            return None;
        }
        Some(self.buffer.len())
    }

    /// The place of a channel's keys.
    fn index(&self, channel: Channel) -> usize {
        let own = channel == Channel::Rtcp
            && !self.mux
            && self.ice.is_none()
            && self.security.keying() == Some(Keying::Dtls);
        usize::from(own)
    }

    /// Tells the time. It costs next to nothing while nothing is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        if let Some(ice) = &mut self.ice {
            ice.handle_timeout(now);
        }
        for lane in self.lanes.iter_mut().flatten() {
            lane.handle_timeout(now);
        }
        self.pump(now);
    }

    /// When [`Transport::handle_timeout`] has something to do.
    #[must_use]
    pub const fn timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Carries what one layer came to over to the next.
    fn pump(&mut self, now: Instant) {
        if let Some(ice) = &mut self.ice {
            while let Some(event) = ice.poll_event() {
                match event {
                    PathEvent::State(state) => self.events.push_back(TransportEvent::Ice(state)),
                    PathEvent::Failed(text) => {
                        self.failed = true;
                        self.events.push_back(TransportEvent::Failed(text));
                    }
                }
            }
            if let (Some((local, remote)), Some(lane)) = (ice.selected(), &mut self.lanes[0]) {
                lane.go(now, local, remote);
            }
        }
        for index in 0..self.lanes.len() {
            let Some(lane) = &mut self.lanes[index] else {
                continue;
            };
            match lane.step(now) {
                Step::None => {}
                Step::Keys(keys) => {
                    let role = lane.role();
                    match self.keys.take(index, &keys) {
                        Ok(()) if index == 0 => {
                            self.secured(Keying::Dtls, keys.profile, Some(role));
                        }
                        Ok(()) => {}
                        Err(error) => self.fail(format!("the media cannot be secured: {error}")),
                    }
                }
                Step::Failed(error) if index == 0 || error.is_hostile() => {
                    let text = format!("the media cannot be secured by DTLS: {}", error.text);
                    self.fail(text);
                }
                // A peer that sends no RTCP need not secure it.
                Step::Failed(_) => {}
            }
        }
        let ice = self.ice.as_mut().and_then(IcePath::timeout);
        let lanes = self.lanes.iter().flatten().filter_map(Lane::timeout);
        self.next = ice.into_iter().chain(lanes).min();
    }

    fn secured(&mut self, keying: Keying, profile: Profile, role: Option<DtlsRole>) {
        self.figures.profile = Some(profile);
        self.events.push_back(TransportEvent::Secured {
            keying,
            profile,
            role,
        });
    }

    fn fail(&mut self, text: String) {
        if !std::mem::replace(&mut self.failed, true) {
            self.events.push_back(TransportEvent::Failed(text));
        }
    }

    /// The next packet of a handshake or of ICE.
    pub(crate) fn poll_packet(&mut self) -> Option<HandshakePacket> {
        if let Some(packet) = self.ice.as_mut().and_then(IcePath::poll_packet) {
            return Some(packet);
        }
        self.lanes.iter_mut().flatten().find_map(Lane::poll_packet)
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Where media goes now.
    #[must_use]
    pub fn path(&self) -> Path {
        if self.security != Security::None && !self.keys.are_there() {
            return Path::Closed;
        }
        match &self.ice {
            None => Path::Latched,
            Some(ice) => ice
                .selected()
                .map_or(Path::Closed, |(_, remote)| Path::Fixed(remote)),
        }
    }

    /// The address of ours that media leaves from, where ICE chose one.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.ice.as_ref()?.selected().map(|(local, _)| local)
    }

    /// Whether the peer proved by ICE that it is at this address.
    #[must_use]
    pub fn vouches_for(&self, source: SocketAddr) -> bool {
        self.ice.as_ref().is_some_and(|ice| ice.knows(source))
    }

    /// The peer's address on the path that ICE found.
    #[must_use]
    pub fn ice_path(&self) -> Option<SocketAddr> {
        self.ice.as_ref()?.selected().map(|(_, remote)| remote)
    }

    /// Whether ICE finds the path.
    #[must_use]
    pub const fn has_ice(&self) -> bool {
        self.ice.is_some()
    }

    /// Whether a handshake or the search for a path is still under way, and packets should be looked for often.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        !self.failed && self.path() == Path::Closed
    }

    /// What was refused so far, and the security in force.
    #[must_use]
    pub const fn figures(&self) -> &TransportFigures {
        &self.figures
    }
}

/// Whether nothing has to be agreed on anew.
fn same(before: &Security, now: &Security) -> bool {
    match (before, now) {
        (
            Security::Dtls {
                role: old,
                fingerprints: of_old,
                ..
            },
            Security::Dtls {
                role, fingerprints, ..
            },
        ) => old == role && of_old == fingerprints,
        _ => before == now,
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Transport")
            .field("path", &self.path())
            .field("figures", &self.figures)
            .finish_non_exhaustive()
    }
}
