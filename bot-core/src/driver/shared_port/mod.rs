//! One UDP port for all ICE legs of a media thread.
//!
//! Responsibility: read the port in batches and put each datagram into the inbox of the leg that it is for
//! ([`demux`](self::demux)), and send what the legs say in batches; so that a datagram costs a fraction of a system call. A
//! leg that moves to another thread takes its inbox along: that is the bounded queue between the two threads.
//!
//! Invariants: an inbox that is full loses the newest, as a socket's buffer does; what is nobody's is counted and dropped; the
//! thread that owns the port reads it for as long as any leg of it lives, wherever that is served.

mod batch;
mod demux;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::demux::Demux;
use super::ice::Pipe;
use super::socket::{Received, UdpPair};

pub(super) use self::batch::{Outbox, send_all};

/// Datagrams read in one slice: four times what a thousand calls send in that time.
const SLICE_MAX: usize = 1024;

/// Errors passed over in one slice.
const ERRORS_MAX: usize = 64;

/// The port.
pub(crate) struct SharedPort {
    pair: UdpPair,
    /// The worker that reads it.
    home: usize,
    port: u16,
    demux: Mutex<Demux>,
    outbox: Mutex<Outbox>,
    legs: AtomicUsize,
    next: AtomicU64,
    received: AtomicU64,
    nobodys: AtomicU64,
    overflowed: AtomicU64,
}

/// What the ports of ICE legs brought, counted from the endpoint's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaPortStatistics {
    /// UDP ports that are shared by the ICE legs of a media thread.
    pub ports: usize,
    /// Legs that stand on them now.
    pub legs: usize,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams that were for no leg: from an address that no leg's ICE vouches for, or forged.
    pub refused: u64,
    /// Datagrams for legs that had too many waiting already.
    pub overflowed: u64,
}

/// One leg's part in a port.
pub(crate) struct SharedLeg {
    port: Arc<SharedPort>,
    id: u64,
    inbox: Pipe,
    /// It is served by another thread than the port's.
    away: bool,
}

impl SharedPort {
    /// Shares a pair's RTP port; its RTCP port stays silent, since with ICE the two are one.
    pub(super) fn new(mut pair: UdpPair, home: usize, port: u16) -> Arc<Self> {
        pair.tell_addresses();
        pair.widen();
        Arc::new(Self {
            pair,
            home,
            port,
            demux: Mutex::default(),
            outbox: Mutex::default(),
            legs: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            received: AtomicU64::new(0),
            nobodys: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        })
    }

    /// A place for one more leg, whose offer names these addresses; `None` when its peer has another leg here on one of them.
    pub(super) fn enter(self: &Arc<Self>, offered: Vec<SocketAddr>) -> Option<SharedLeg> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let inbox = Pipe::default();
        if !self.demux().enter(id, inbox.clone(), offered) {
            return None;
        }
        self.legs.fetch_add(1, Ordering::Relaxed);
        Some(SharedLeg {
            port: self.clone(),
            id,
            inbox,
            away: false,
        })
    }

    pub(super) const fn home(&self) -> usize {
        self.home
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether any leg stands on it.
    pub(super) fn is_used(&self) -> bool {
        self.legs.load(Ordering::Relaxed) > 0
    }

    /// Reads what waits, and hands it to the legs.
    pub(super) fn receive(&self, now: Instant) {
        let (mut read, mut errors) = (0, 0);
        while read < SLICE_MAX && errors < ERRORS_MAX {
            let demux = self.demux();
            let found = batch::receive(&self.pair, now, |received, datagram| {
                self.received.fetch_add(1, Ordering::Relaxed);
                let Received {
                    source,
                    local,
                    arrival,
                    ..
                } = received;
                match demux.route(source, datagram) {
                    Some(inbox) if inbox.push_to(arrival, source, local, datagram) => {}
                    Some(_) => drop(self.overflowed.fetch_add(1, Ordering::Relaxed)),
                    None => drop(self.nobodys.fetch_add(1, Ordering::Relaxed)),
                }
            });
            match found {
                Some(found) if found < batch::SIZE => break,
                Some(found) => read += found,
                None => errors += 1,
            }
        }
    }

    /// Sends what the legs left.
    pub(super) fn flush(&self) {
        send_all(&mut self.outbox());
    }

    /// Adds this port's figures.
    pub(super) fn add_to(&self, sum: &mut MediaPortStatistics) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        sum.ports += 1;
        sum.legs += self.demux().legs();
        sum.received += of(&self.received);
        sum.refused += of(&self.nobodys);
        sum.overflowed += of(&self.overflowed);
    }

    fn demux(&self) -> MutexGuard<'_, Demux> {
        self.demux.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedLeg {
    pub(super) fn port(&self) -> &Arc<SharedPort> {
        &self.port
    }

    /// It is served by another thread from now on, whose slices are not those of the port.
    pub(super) fn go_away(&mut self, to: usize) {
        self.port.flush();
        self.away = to != self.port.home;
    }

    /// Whether a datagram waits.
    pub(super) fn waits(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The next datagram that waits, in `buffer`.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Option<Received> {
        let taken = self.inbox.pop(buffer)?;
        Some(Received {
            len: taken.length,
            source: taken.peer,
            local: taken.local,
            arrival: taken.at,
        })
    }

    /// Sends with the others of this slice, from `local` where it matters.
    pub(super) fn send(&self, local: Option<SocketAddr>, destination: SocketAddr, payload: &[u8]) {
        if matches!(payload.first(), Some(0..=3)) {
            self.port.demux().note_sent(self.id, payload);
        }
        if let Some(local) = local
            && self.port.pair.send_from(local, destination, payload)
        {
            return;
        }
        let mut outbox = self.port.outbox();
        let full = outbox.push(self.port.pair.rtp_fd(), Some(destination), payload);
        if full || self.away {
            send_all(&mut outbox);
        }
    }

    /// The leg answers checks to this user name fragment from now on.
    pub(super) fn expect(&self, ufrag: &str) {
        self.port.demux().expect(self.id, ufrag);
    }

    /// The leg's ICE vouches for a source, or its path leads there.
    pub(super) fn confirm(&self, source: SocketAddr, selected: bool) {
        self.port.demux().confirm(self.id, source, selected);
    }
}

impl Drop for SharedLeg {
    fn drop(&mut self) {
        self.port.demux().leave(self.id);
        self.port.flush();
        self.port.legs.fetch_sub(1, Ordering::Relaxed);
    }
}
