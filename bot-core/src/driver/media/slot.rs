//! One session in a sweep: when it is looked at, and how its socket is read and written.

use callbot_media::Now;
use callbot_media::session::{Channel, TransmitMemory};

use super::{BURST, FromSweep, Leg, REST, RTCP_FRAMES, RTCP_FRAMES_PASSING, VAIN};
use crate::driver::socket::DatagramBuffers;

pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) phase: u64,
    /// The session passes packets through, as of its last flush; kept here so
    /// that a slice does not touch sessions that it has no work for.
    pub(super) passing: bool,
    /// Keys or a path are still to come, so that both sockets are looked at in
    /// each slice.
    pub(super) handshaking: bool,
    /// The session makes or hears audio, and so ticks each frame; one that
    /// only passes packets ticks with its RTCP, each 400 ms.
    pub(super) ticking: bool,
    /// Slices for which a passing session's socket is left alone.
    pub(super) rest: u8,
    /// A passing session's socket was read empty at the last look.
    pub(super) was_empty: bool,
    /// Looks at a connected socket that found nothing.
    pub(super) vain: u8,
    pub(super) leg: Box<Leg>,
}

impl Slot {
    /// A session that has not been served yet.
    pub(super) fn new(id: u64, leg: Box<Leg>) -> Self {
        Self {
            id,
            phase: 0,
            passing: false,
            handshaking: false,
            ticking: true,
            rest: 0,
            was_empty: false,
            vain: 0,
            leg,
        }
    }

    /// Whether a passing session's packets are looked for now. One on a port of
    /// many has them in memory already, so that it is known whether there are any.
    pub(super) fn looks(&mut self, skipped: bool) -> bool {
        match self.leg.socket.shared() {
            Some(leg) => leg.waits(),
            None => !skipped && self.awake(),
        }
    }

    /// Does `work` with the host's memory for what it sends.
    pub(super) fn serve(&mut self, memory: &mut TransmitMemory, work: impl FnOnce(&mut Self)) {
        self.leg.session.swap_transmit_memory(memory);
        work(self);
        self.leg.session.swap_transmit_memory(memory);
    }

    /// Whether a passing session's socket is looked at in this slice. At an
    /// even stream that is no oftener than it must be: a look at an empty
    /// socket costs half of what a packet does.
    pub(super) fn awake(&mut self) -> bool {
        let awake = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        awake
    }

    /// Whether RTCP is read and written in this frame. Sessions that only pass
    /// packets need nothing else of it, and take turns at it.
    pub(super) fn reports(&self, frame: u64) -> bool {
        if self.ticking {
            frame.is_multiple_of(RTCP_FRAMES)
        } else {
            (frame + self.id).is_multiple_of(RTCP_FRAMES_PASSING)
        }
    }

    /// Gives the session the RTP that waits, and says how much there was. Of a
    /// passing session's socket that was empty in the slice before, one is
    /// read, and not until it is empty again; whatever queues up meanwhile is
    /// found, and read whole, at the next look.
    pub(super) fn drain_rtp(
        &mut self,
        now: Now,
        buffer: &mut DatagramBuffers,
        crowded: bool,
    ) -> usize {
        if !self.passing {
            return self.drain(Channel::Rtp, now, buffer, BURST);
        }
        let most = if self.was_empty { 1 } else { BURST };
        let found = self.drain(Channel::Rtp, now, buffer, most);
        self.rest = if found == 1 {
            REST[usize::from(crowded)]
        } else {
            0
        };
        self.was_empty = found < most;
        self.connect(found, crowded);
        found
    }

    /// In a crowd, connects the socket to the peer whose packets come, for which the kernel has less to do. A peer
    /// that falls silent may have moved, so then the socket is open to all again, before the session would believe it.
    fn connect(&mut self, found: usize, crowded: bool) {
        let Leg {
            session, socket, ..
        } = &mut *self.leg;
        if found > 0 {
            self.vain = 0;
            if crowded && socket.connected().is_none() {
                socket.connect(session.settled_peer());
            }
        } else if socket.connected().is_some() {
            self.vain += 1;
            if self.vain >= VAIN {
                socket.connect(None);
            }
        }
    }

    /// Serves a session whose handshake is under way.
    pub(super) fn shake_hands(&mut self, now: Now, buffer: &mut DatagramBuffers) {
        self.drain(Channel::Rtp, now, buffer, BURST);
        self.drain(Channel::Rtcp, now, buffer, BURST);
        self.leg.session.handle_timeout(now);
        buffer.send_all();
        self.flush();
    }

    /// Gives the session what its socket holds, up to `most` datagrams, and
    /// says how many there were.
    pub(super) fn drain(
        &mut self,
        channel: Channel,
        now: Now,
        buffer: &mut DatagramBuffers,
        most: usize,
    ) -> usize {
        let leg = &mut *self.leg;
        let mut found = 0;
        while found < most {
            let Some(received) = leg.socket.receive(channel, now.instant, buffer) else {
                break;
            };
            found += 1;
            let bytes = buffer.bytes(received.len);
            let is_stun = matches!(bytes.first(), Some(0..=3));
            match channel {
                Channel::Rtp => match received.local {
                    Some(local) => {
                        leg.session
                            .receive_at(now, received.arrival, local, received.source, bytes)
                    }
                    None => leg
                        .session
                        .receive_rtp(now, received.arrival, received.source, bytes),
                },
                Channel::Rtcp => {
                    leg.session
                        .receive_rtcp(now, received.arrival, received.source, bytes)
                }
            }
            // A port of many legs has to know whose a source is.
            if is_stun && let Some(shared) = leg.socket.shared() {
                let (source, path) = (received.source, leg.session.ice_path());
                if leg.session.vouches_for(source) {
                    shared.confirm(source, path == Some(source));
                }
                if let Some(path) = path {
                    shared.confirm(path, true);
                }
            }
            // What a handshake came to is told before the far end hears of it: it
            // may hang up at once, and then the cause would be its BYE.
            if self.handshaking {
                while let Some(event) = leg.session.poll_event() {
                    (leg.events)(FromSweep::Event(event));
                }
            }
            // Passing sessions answer packet by packet.
            while let Some(out) = leg.session.poll_transmit() {
                leg.socket
                    .send_soon(out.channel, out.local, out.destination, out.payload, buffer);
            }
        }
        found
    }

    /// Sends what the session owes.
    pub(super) fn send(&mut self) {
        let leg = &mut *self.leg;
        while let Some(out) = leg.session.poll_transmit() {
            leg.socket
                .send(out.channel, out.local, out.destination, out.payload);
        }
    }

    pub(super) fn flush(&mut self) {
        self.send();
        let leg = &mut *self.leg;
        while let Some(event) = leg.session.poll_event() {
            (leg.events)(FromSweep::Event(event));
        }
        self.passing = leg.session.passes_packets();
        let connected = leg.socket.connected();
        if connected.is_some() && (!self.passing || leg.session.settled_peer() != connected) {
            leg.socket.connect(None);
        }
        self.handshaking = leg.session.is_handshaking();
        self.ticking = leg.session.needs_tick();
    }
}
