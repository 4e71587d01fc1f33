//! A network inside the process, for tests that need no socket and no second of real time.
//!
//! [`MemoryNetwork`] carries datagrams between hosts that exist only by
//! address. Loss, delay, jitter and duplication are drawn from a seed, so that
//! the same program sees the same network each time. Under tokio's paused
//! clock a ten-minute call takes well under a second.
//!
//! ```
//! use callbot_core::driver::memory::{Impairment, MemoryNetwork};
//! use std::time::Duration;
//!
//! let network = MemoryNetwork::new(7);
//! network.impair(Impairment { loss: 0.05, delay: Duration::from_millis(40), ..Impairment::default() });
//! let host = network.host([10, 0, 0, 1]);
//! assert_eq!(host.ip().to_string(), "10.0.0.1");
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use super::media::MediaHost;

/// The wall time at which every run in memory starts: 2026-01-01 00:00:00 UTC.
pub(crate) fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// Datagrams that wait for one port's reader; more are dropped, as a kernel would.
const QUEUE: usize = 2048;

/// What a network does to datagrams. All parts are drawn independently.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Probability, 0 to 1, that a datagram is lost.
    pub loss: f64,
    /// Probability, 0 to 1, that a datagram arrives twice.
    pub duplicate: f64,
    /// Time that every datagram takes.
    pub delay: Duration,
    /// Added delay, uniform between zero and this; it reorders datagrams.
    pub jitter: Duration,
}

/// A seeded network of in-process hosts. Clones are the same network.
#[derive(Clone)]
pub struct MemoryNetwork {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    wake: Notify,
    media: OnceLock<MediaHost>,
}

struct State {
    rng: StdRng,
    rules: Vec<(RangeInclusive<u16>, Impairment)>,
    ports: BTreeMap<SocketAddr, Arc<Queue>>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    order: u64,
    courier_runs: bool,
    counts: MemoryCounts,
}

/// What a [`MemoryNetwork`] did to the datagrams it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounts {
    /// Datagrams that hosts sent.
    pub sent: u64,
    /// Datagrams dropped by [`Impairment::loss`].
    pub lost: u64,
    /// Datagrams to a port that nobody had open, or whose queue was full.
    pub refused: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Instant,
    order: u64,
    source: SocketAddr,
    destination: SocketAddr,
    payload: Bytes,
}

struct Queue {
    waiting: Mutex<VecDeque<Datagram>>,
    readable: Notify,
}

/// One datagram as its receiver sees it.
pub(crate) struct Datagram {
    pub(crate) source: SocketAddr,
    pub(crate) arrival: Instant,
    pub(crate) payload: Bytes,
}

impl MemoryNetwork {
    /// An empty, perfect network whose chances are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    rng: StdRng::seed_from_u64(seed),
                    rules: Vec::new(),
                    ports: BTreeMap::new(),
                    in_flight: BinaryHeap::new(),
                    order: 0,
                    courier_runs: false,
                    counts: MemoryCounts::default(),
                }),
                wake: Notify::new(),
                media: OnceLock::new(),
            }),
        }
    }

    /// Impairs every datagram from now on, replacing earlier rules.
    pub fn impair(&self, impairment: Impairment) {
        let mut state = lock(&self.inner.state);
        state.rules.clear();
        state.rules.push((0..=u16::MAX, impairment));
    }

    /// Impairs datagrams to ports in `ports`; the latest rule that matches counts.
    pub fn impair_ports(&self, ports: RangeInclusive<u16>, impairment: Impairment) {
        lock(&self.inner.state).rules.push((ports, impairment));
    }

    /// A host of this network, to be given to
    /// [`EndpointBuilder::memory`](crate::EndpointBuilder::memory).
    pub fn host(&self, ip: impl Into<IpAddr>) -> MemoryHost {
        MemoryHost {
            network: self.clone(),
            ip: ip.into(),
        }
    }

    /// How many datagrams were sent, lost and refused so far.
    pub fn counts(&self) -> MemoryCounts {
        lock(&self.inner.state).counts
    }

    /// The media host that all endpoints of this network share.
    pub(crate) fn media(&self) -> MediaHost {
        self.inner.media.get_or_init(MediaHost::task).clone()
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> std::io::Result<MemorySocket> {
        let queue = Arc::new(Queue {
            waiting: Mutex::new(VecDeque::new()),
            readable: Notify::new(),
        });
        let mut state = lock(&self.inner.state);
        if state.ports.contains_key(&address) {
            return Err(std::io::ErrorKind::AddrInUse.into());
        }
        state.ports.insert(address, queue.clone());
        Ok(MemorySocket {
            network: self.clone(),
            address,
            queue,
        })
    }

    fn send(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        let now = tokio::time::Instant::now().into_std();
        let mut guard = lock(&self.inner.state);
        let state = &mut *guard;
        state.counts.sent += 1;
        let rule = state
            .rules
            .iter()
            .rev()
            .find(|(ports, _)| ports.contains(&destination.port()));
        let Some((_, rule)) = rule else {
            state.deliver(source, destination, now, Bytes::copy_from_slice(payload));
            return;
        };
        let rule = rule.clone();
        if rule.loss > 0.0 && state.rng.random_bool(rule.loss.clamp(0.0, 1.0)) {
            state.counts.lost += 1;
            return;
        }
        let payload = Bytes::copy_from_slice(payload);
        let twice = rule.duplicate > 0.0 && state.rng.random_bool(rule.duplicate.clamp(0.0, 1.0));
        for _ in 0..=usize::from(twice) {
            let mut delay = rule.delay;
            if !rule.jitter.is_zero() {
                delay += rule.jitter.mul_f64(state.rng.random::<f64>());
            }
            if delay.is_zero() {
                state.deliver(source, destination, now, payload.clone());
                continue;
            }
            state.order += 1;
            state.in_flight.push(Reverse(InFlight {
                due: now + delay,
                order: state.order,
                source,
                destination,
                payload: payload.clone(),
            }));
            if !state.courier_runs {
                state.courier_runs = true;
                tokio::spawn(carry(Arc::downgrade(&self.inner)));
            }
        }
        drop(guard);
        self.inner.wake.notify_one();
    }
}

impl std::fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryNetwork")
            .field("counts", &self.counts())
            .finish()
    }
}

impl State {
    fn deliver(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        at: Instant,
        payload: Bytes,
    ) {
        let Some(queue) = self.ports.get(&destination) else {
            self.counts.refused += 1;
            return;
        };
        let mut waiting = lock(&queue.waiting);
        if waiting.len() >= QUEUE {
            self.counts.refused += 1;
            return;
        }
        waiting.push_back(Datagram {
            source,
            arrival: at,
            payload,
        });
        drop(waiting);
        queue.readable.notify_one();
    }
}

/// Delivers delayed datagrams when they are due, until the network is gone.
async fn carry(network: Weak<Inner>) {
    loop {
        let Some(inner) = network.upgrade() else {
            return;
        };
        let now = tokio::time::Instant::now().into_std();
        let next = {
            let mut state = lock(&inner.state);
            loop {
                match state.in_flight.peek() {
                    Some(Reverse(head)) if head.due <= now => {
                        if let Some(Reverse(head)) = state.in_flight.pop() {
                            state.deliver(head.source, head.destination, head.due, head.payload);
                        }
                    }
                    Some(Reverse(head)) => break Some(head.due),
                    None => {
                        state.courier_runs = false;
                        break None;
                    }
                }
            }
        };
        let Some(due) = next else { return };
        tokio::select! {
            biased;
            () = inner.wake.notified() => {}
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }
}

/// One host of a [`MemoryNetwork`]: an address that sockets can be bound to.
#[derive(Clone, Debug)]
pub struct MemoryHost {
    network: MemoryNetwork,
    ip: IpAddr,
}

impl MemoryHost {
    /// The address of this host.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The network that this host stands in.
    pub fn network(&self) -> &MemoryNetwork {
        &self.network
    }
}

/// A bound port of the network; unbound when dropped.
pub(crate) struct MemorySocket {
    network: MemoryNetwork,
    address: SocketAddr,
    queue: Arc<Queue>,
}

impl MemorySocket {
    pub(crate) fn send_to(&self, payload: &[u8], destination: SocketAddr) {
        self.network.send(self.address, destination, payload);
    }

    pub(crate) fn try_recv(&self) -> Option<Datagram> {
        lock(&self.queue.waiting).pop_front()
    }

    /// Cancel safe: a datagram is taken only when it is returned.
    pub(crate) async fn recv(&self) -> Datagram {
        loop {
            if let Some(datagram) = self.try_recv() {
                return datagram;
            }
            self.queue.readable.notified().await;
        }
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        lock(&self.network.inner.state).ports.remove(&self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
