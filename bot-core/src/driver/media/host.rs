//! Where sessions live: workers, each with a thread or a task of its own, and the handles by which calls reach them.
//!
//! Responsibility: which worker gets a session (the least loaded, or the one whose port its ICE leg stands on), and the
//! bounded queue of what each is asked. A full queue is an answer, and a close is never lost.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use callbot_media::sdp::Negotiated;
use callbot_media::session::{Command, MediaEvent, MediaSession, Statistics};
use tokio::sync::{mpsc, oneshot};

use super::Sweep;
use super::slot::Slot;
use crate::driver::clock::Clock;
use crate::driver::ports::RtpPorts;
use crate::driver::shared_port::{MediaPortStatistics, SharedPort};
use crate::driver::socket::MediaSocket;

/// Commands that wait for one host thread.
const QUEUE: usize = 4096;

/// Where media sessions live. Clones are the same host.
#[derive(Clone)]
pub(crate) struct MediaHost {
    workers: Arc<[Worker]>,
    /// Its time is that of the in-memory network.
    in_memory: bool,
}

struct Worker {
    queue: mpsc::Sender<ToSweep>,
    load: Arc<AtomicUsize>,
    /// The ports of its ICE legs, by the address that they are bound on.
    ports: Mutex<HashMap<IpAddr, Arc<SharedPort>>>,
}

impl Worker {
    fn new(queue: mpsc::Sender<ToSweep>, load: Arc<AtomicUsize>) -> Self {
        Self {
            queue,
            load,
            ports: Mutex::default(),
        }
    }
}

/// A handle on one session in a host. Dropping it closes the session.
pub(crate) struct MediaHandle {
    pub(super) id: u64,
    pub(super) queue: mpsc::Sender<ToSweep>,
    /// The worker that has it.
    pub(super) worker: usize,
    pub(super) in_memory: bool,
}

/// A session with its sockets and the place its events go to.
pub(crate) struct Leg {
    pub(crate) session: MediaSession,
    pub(crate) socket: MediaSocket,
    pub(crate) events: Box<dyn FnMut(FromSweep) + Send>,
}

/// What a worker tells the owner of a session.
pub(crate) enum FromSweep {
    Event(MediaEvent),
    /// The session was closed; its last figures.
    Closed(Box<Statistics>),
}

pub(super) enum ToSweep {
    Add(u64, Box<Leg>),
    Apply(u64, Box<Negotiated>),
    Command(u64, Command),
    Statistics(u64, oneshot::Sender<Statistics>),
    Close(u64),
    /// Bridge two sessions of this worker, or end that.
    Join(u64, u64),
    Part(u64, u64),
    /// A session is on its way to this worker.
    Expect(u64),
    /// Give a session to another worker, which has this number.
    Move(u64, mpsc::Sender<ToSweep>, usize),
    /// The session that was expected; `None` when it was closed before.
    Arrive(u64, Option<Box<Slot>>),
}

/// The media host takes no more commands: it is overloaded, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media threads are overloaded: lower --max-calls or add cores")]
pub(crate) struct Overloaded;

impl MediaHost {
    /// A host of `threads` operating-system threads.
    pub(crate) fn threads(threads: usize, clock: &Clock) -> std::io::Result<Self> {
        let mut workers = Vec::new();
        for n in 0..threads.max(1) {
            let (queue, commands) = mpsc::channel(QUEUE);
            let load = Arc::new(AtomicUsize::new(0));
            let sweep = Sweep::new(load.clone());
            let clock = clock.clone();
            std::thread::Builder::new()
                .name(format!("media-{n}"))
                .spawn(move || super::run_thread(sweep, commands, &clock))?;
            workers.push(Worker::new(queue, load));
        }
        Ok(Self {
            workers: workers.into(),
            in_memory: false,
        })
    }

    /// A host that is one task of the current runtime, driven by its clock.
    pub(crate) fn task() -> Self {
        let (queue, commands) = mpsc::channel(QUEUE);
        let load = Arc::new(AtomicUsize::new(0));
        // The wall time of a run in memory is fixed, so that runs repeat.
        let clock = Clock::starting_at(crate::driver::memory::epoch());
        tokio::spawn(super::run_task(Sweep::new(load.clone()), commands, clock));
        Self {
            workers: [Worker::new(queue, load)].into(),
            in_memory: true,
        }
    }

    /// A place on the port that a worker's ICE legs share on `ip`, and the number of that port. `None` where there is no such
    /// port, and where the peer has a leg on it at one of these addresses, which its offer names.
    pub(crate) fn share(
        &self,
        ip: IpAddr,
        free: &RtpPorts,
        offered: Vec<SocketAddr>,
    ) -> Option<(MediaSocket, u16)> {
        if self.in_memory {
            return None;
        }
        let (number, worker) = self.least_loaded()?;
        let mut ports = worker.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let port = match ports.get(&ip) {
            Some(port) => port,
            None => {
                let (MediaSocket::Udp(pair), port) = free.take(ip)? else {
                    return None;
                };
                ports
                    .entry(ip)
                    .or_insert_with(|| SharedPort::new(pair, number, port))
            }
        };
        Some((MediaSocket::Shared(port.enter(offered)?), port.port()))
    }

    /// What the shared ports brought.
    pub(crate) fn shared_ports(&self) -> MediaPortStatistics {
        let mut sum = MediaPortStatistics::default();
        for worker in self.workers.iter() {
            let ports = worker.ports.lock().unwrap_or_else(PoisonError::into_inner);
            ports.values().for_each(|port| port.add_to(&mut sum));
        }
        sum
    }

    fn least_loaded(&self) -> Option<(usize, &Worker)> {
        let workers = self.workers.iter().enumerate();
        workers.min_by_key(|(_, worker)| worker.load.load(Ordering::Relaxed))
    }

    /// Hands a session to the worker of its port, else to the least loaded one.
    pub(crate) fn add(&self, leg: Leg) -> Result<MediaHandle, Overloaded> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let home = leg.socket.shared().map(|leg| leg.port().home());
        let (number, worker) = match home {
            Some(home) => self.workers.get(home).map(|worker| (home, worker)),
            None => self.least_loaded(),
        }
        .ok_or(Overloaded)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        worker
            .queue
            .try_send(ToSweep::Add(id, Box::new(leg)))
            .map_err(|_| Overloaded)?;
        worker.load.fetch_add(1, Ordering::Relaxed);
        Ok(MediaHandle {
            id,
            queue: worker.queue.clone(),
            worker: number,
            in_memory: self.in_memory,
        })
    }
}

impl MediaHandle {
    pub(crate) fn command(&self, command: Command) -> Result<(), Overloaded> {
        self.send(ToSweep::Command(self.id, command))
    }

    pub(crate) fn apply(&self, negotiated: Negotiated) -> Result<(), Overloaded> {
        self.send(ToSweep::Apply(self.id, Box::new(negotiated)))
    }

    /// Figures as of now; `None` when the session is gone. Cancel safe.
    pub(crate) fn statistics(&self) -> impl Future<Output = Option<Statistics>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.send(ToSweep::Statistics(self.id, reply));
        async move {
            asked.ok()?;
            answer.await.ok()
        }
    }

    pub(super) fn send(&self, message: ToSweep) -> Result<(), Overloaded> {
        self.queue.try_send(message).map_err(|_| Overloaded)
    }
}

impl Drop for MediaHandle {
    fn drop(&mut self) {
        if let Err(mpsc::error::TrySendError::Full(message)) =
            self.queue.try_send(ToSweep::Close(self.id))
        {
            // A close must not be lost: it frees ports and ends recordings.
            let queue = self.queue.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { queue.send(message).await });
            }
        }
    }
}
