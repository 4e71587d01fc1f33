//! The media sweep and its two hosts.
//!
//! A [`Sweep`] serves many [`MediaSession`]s. Time is cut into slices of 5 ms:
//! each slice serves the sessions that pass packets through, and a quarter of
//! the rest, so that every session ticks once in 20 ms. Deadlines are
//! `start + n * 5 ms`, never `now + 5 ms`, so that lateness does not add up.
//!
//! The same sweep runs on operating-system threads over sockets, and as a task
//! over the in-memory network, where a test may have paused the clock.
//! Bridged sessions are served in pairs (`pair`).

mod pair;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use callbot_media::Now;
use callbot_media::sdp::Negotiated;
use callbot_media::session::{
    Channel, Command, MediaEvent, MediaSession, Statistics, TransmitMemory,
};
use tokio::sync::{mpsc, oneshot};

use self::pair::Pairs;
use super::clock::Clock;
use super::socket::{DatagramBuffers, MediaSocket};

/// Length of a slice; four make a frame.
const SLICE: Duration = Duration::from_millis(5);
/// Slices in a frame.
const PHASES: u64 = 4;
/// Commands that wait for one host thread.
const QUEUE: usize = 4096;
/// A host that is later than this gives the missed slices up.
const GIVE_UP: u32 = 40;
/// Datagrams read of one socket in one slice, so that a flood on one call
/// cannot starve the others.
const BURST: usize = 64;
/// Frames from one look at a session's RTCP to the next: 100 ms.
const RTCP_FRAMES: u64 = 5;
/// The same where packets only pass: 400 ms, of the 5 s between two reports.
const RTCP_FRAMES_PASSING: u64 = 20;
/// Passing sessions of one thread beyond which their packets are looked for in
/// every other slice only: up to 5 ms more on the way, for 222 us of CPU a
/// call-second in place of 261, measured one after the other.
const CROWD: usize = 100;
/// Looks at a passing session's socket that are left out after a packet, alone
/// and in a crowd: its next packet is four slices away.
const REST: [u8; 2] = [2, 1];
/// Looks in vain after which a connected socket is open to all again: 100 ms, half of the silence after which
/// another source may have the call.
const VAIN: u8 = 10;

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
}

/// A handle on one session in a host. Dropping it closes the session.
pub(crate) struct MediaHandle {
    id: u64,
    queue: mpsc::Sender<ToSweep>,
    in_memory: bool,
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

enum ToSweep {
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
    /// Give a session to another worker.
    Move(u64, mpsc::Sender<ToSweep>),
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
                .spawn(move || run_thread(sweep, commands, &clock))?;
            workers.push(Worker { queue, load });
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
        let clock = Clock::starting_at(super::memory::epoch());
        tokio::spawn(run_task(Sweep::new(load.clone()), commands, clock));
        Self {
            workers: [Worker { queue, load }].into(),
            in_memory: true,
        }
    }

    /// Hands a session to the least loaded worker.
    pub(crate) fn add(&self, leg: Leg) -> Result<MediaHandle, Overloaded> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let worker = self
            .workers
            .iter()
            .min_by_key(|worker| worker.load.load(Ordering::Relaxed))
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

    fn send(&self, message: ToSweep) -> Result<(), Overloaded> {
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

fn run_thread(mut sweep: Sweep, mut commands: mpsc::Receiver<ToSweep>, clock: &Clock) {
    loop {
        if sweep.is_idle() {
            // With nothing to serve the thread sleeps until it is given something.
            let Some(first) = commands.blocking_recv() else {
                return;
            };
            sweep.restart(clock.now().instant);
            sweep.take(first, clock.now());
        }
        loop {
            match commands.try_recv() {
                Ok(message) => sweep.take(message, clock.now()),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) if sweep.is_idle() => return,
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        sweep.run_due(clock);
        let wait = sweep
            .next_deadline()
            .saturating_duration_since(clock.now().instant);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}

async fn run_task(mut sweep: Sweep, mut commands: mpsc::Receiver<ToSweep>, clock: Clock) {
    loop {
        if sweep.is_idle() {
            let Some(first) = commands.recv().await else {
                return;
            };
            sweep.restart(clock.now().instant);
            sweep.take(first, clock.now());
        }
        let deadline = sweep.next_deadline();
        tokio::select! {
            biased;
            message = commands.recv() => match message {
                Some(message) => sweep.take(message, clock.now()),
                None => return,
            },
            () = tokio::time::sleep_until(deadline.into()) => sweep.run_due(&clock),
        }
    }
}

/// The sessions of one worker, and the slice that is due next.
struct Sweep {
    legs: Vec<Slot>,
    /// Where each session stands in `legs`.
    index: HashMap<u64, usize>,
    /// How many sessions each phase has.
    phases: [usize; PHASES as usize],
    /// The bridged sessions; they stand in no other list.
    pairs: Pairs,
    start: Instant,
    next_slice: u64,
    load: Arc<AtomicUsize>,
    buffer: DatagramBuffers,
    /// Lent to each session in its turn: see [`Slot::serve`].
    memory: TransmitMemory,
}

struct Slot {
    id: u64,
    phase: u64,
    /// The session passes packets through, as of its last flush; kept here so
    /// that a slice does not touch sessions that it has no work for.
    passing: bool,
    /// Keys or a path are still to come, so that both sockets are looked at in
    /// each slice.
    handshaking: bool,
    /// The session makes or hears audio, and so ticks each frame; one that
    /// only passes packets ticks with its RTCP, each 400 ms.
    ticking: bool,
    /// Slices for which a passing session's socket is left alone.
    rest: u8,
    /// A passing session's socket was read empty at the last look.
    was_empty: bool,
    /// Looks at a connected socket that found nothing.
    vain: u8,
    leg: Box<Leg>,
}

impl Sweep {
    fn new(load: Arc<AtomicUsize>) -> Self {
        Self {
            legs: Vec::new(),
            index: HashMap::new(),
            phases: [0; PHASES as usize],
            pairs: Pairs::default(),
            start: Instant::now(),
            next_slice: 0,
            load,
            buffer: DatagramBuffers::new(),
            memory: TransmitMemory::new(),
        }
    }

    fn restart(&mut self, now: Instant) {
        self.start = now;
        self.next_slice = 0;
    }

    fn deadline(&self, slice: u64) -> Instant {
        self.start + SLICE * u32::try_from(slice % u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }

    /// When there is work again: the next slice that serves any session.
    fn next_deadline(&self) -> Instant {
        let busy = self
            .legs
            .iter()
            .any(|slot| slot.passing || slot.handshaking)
            || self.pairs.busy();
        let idle = if busy {
            0
        } else {
            (0..PHASES)
                .find(|n| self.phases[((self.next_slice + n) % PHASES) as usize] > 0)
                .unwrap_or(0)
        };
        self.deadline(self.next_slice + idle)
    }

    fn take(&mut self, message: ToSweep, now: Now) {
        let Some(message) = self.pairs.keep(message) else {
            return;
        };
        match message {
            ToSweep::Add(id, leg) => self.insert(Slot {
                id,
                phase: 0,
                passing: false,
                handshaking: false,
                ticking: true,
                rest: 0,
                was_empty: false,
                vain: 0,
                leg,
            }),
            ToSweep::Close(id) => {
                self.part(id);
                if let Some(mut slot) = self.remove(id) {
                    slot.serve(&mut self.memory, |slot| {
                        slot.leg.session.command(now, Command::Close);
                        slot.flush();
                    });
                    let statistics = slot.leg.session.statistics();
                    (slot.leg.events)(FromSweep::Closed(Box::new(statistics)));
                    self.load.fetch_sub(1, Ordering::Relaxed);
                }
            }
            ToSweep::Apply(id, negotiated) => {
                self.serve(id, |slot| {
                    if negotiated.ice.is_some() {
                        slot.leg.socket.tell_addresses();
                    }
                    slot.leg.session.apply(now, &negotiated);
                    slot.flush();
                });
                self.pairs.settle(id);
            }
            ToSweep::Command(id, command) => {
                self.serve(id, |slot| {
                    slot.leg.session.command(now, command);
                    slot.flush();
                });
                self.pairs.settle(id);
            }
            ToSweep::Statistics(id, reply) => {
                if let Some(slot) = self.find(id) {
                    let _ = reply.send(slot.leg.session.statistics());
                }
            }
            pairing => self.take_pairing(pairing, now),
        }
    }

    /// Adds a session to those that are served one by one.
    fn insert(&mut self, mut slot: Slot) {
        slot.phase = self.lightest_phase();
        self.phases[slot.phase as usize] += 1;
        self.index.insert(slot.id, self.legs.len());
        self.legs.push(slot);
    }

    /// Takes a session out of those.
    fn remove(&mut self, id: u64) -> Option<Slot> {
        let index = self.index.remove(&id)?;
        let mut slot = self.legs.swap_remove(index);
        slot.leg.socket.connect(None);
        if let Some(moved) = self.legs.get(index) {
            self.index.insert(moved.id, index);
        }
        self.phases[slot.phase as usize] -= 1;
        Some(slot)
    }

    fn is_idle(&self) -> bool {
        self.legs.is_empty() && self.pairs.is_idle()
    }

    fn find(&mut self, id: u64) -> Option<&mut Slot> {
        match self.index.get(&id) {
            Some(index) => self.legs.get_mut(*index),
            None => self.pairs.find(id),
        }
    }

    /// Does `work` with a session, wherever it stands.
    fn serve(&mut self, id: u64, work: impl FnOnce(&mut Slot)) {
        let mut memory = std::mem::take(&mut self.memory);
        if let Some(slot) = self.find(id) {
            slot.serve(&mut memory, work);
        }
        self.memory = memory;
    }

    fn lightest_phase(&self) -> u64 {
        (0..PHASES)
            .min_by_key(|phase| self.phases[*phase as usize])
            .unwrap_or(0)
    }

    /// Runs every slice whose deadline has passed.
    fn run_due(&mut self, clock: &Clock) {
        let mut now = clock.now();
        let late = now
            .instant
            .saturating_duration_since(self.deadline(self.next_slice));
        if late > SLICE * GIVE_UP {
            let missed = (late.as_millis() / SLICE.as_millis()) as u64 / PHASES * PHASES;
            tracing::warn!(
                late_ms = late.as_millis() as u64,
                "media thread is late: frames are left out"
            );
            self.next_slice += missed;
        }
        self.pairs.send_outbound();
        while self.deadline(self.next_slice) <= now.instant {
            let phase = self.next_slice % PHASES;
            let frame = self.next_slice / PHASES;
            let crowded = self.legs.len() > CROWD;
            let skipped = crowded && !self.next_slice.is_multiple_of(2);
            let (buffer, memory) = (&mut self.buffer, &mut self.memory);
            for slot in &mut self.legs {
                let turn = slot.phase == phase;
                let looks = if slot.passing {
                    !skipped && slot.awake()
                } else {
                    turn
                };
                let reports = turn && slot.reports(frame);
                if !(looks || reports || slot.handshaking || (turn && slot.ticking)) {
                    continue;
                }
                slot.serve(memory, |slot| {
                    if slot.handshaking {
                        slot.shake_hands(now, buffer);
                    }
                    let found = looks && slot.drain_rtp(now, buffer, crowded) > 0;
                    if reports {
                        slot.drain(Channel::Rtcp, now, buffer, BURST);
                    }
                    let ticks = reports || (turn && slot.ticking);
                    if ticks {
                        slot.leg.session.tick(now);
                    }
                    if ticks {
                        // What the tick sends comes after what was passed on.
                        buffer.send_all();
                    }
                    if ticks || found {
                        slot.flush();
                    }
                });
            }
            buffer.send_all();
            let rtcp = frame.is_multiple_of(RTCP_FRAMES);
            self.pairs.serve(phase, rtcp, now, &mut self.buffer);
            self.buffer.send_all();
            self.next_slice += 1;
            now = clock.now();
        }
    }
}

impl Slot {
    /// Does `work` with the host's memory for what it sends.
    fn serve(&mut self, memory: &mut TransmitMemory, work: impl FnOnce(&mut Self)) {
        self.leg.session.swap_transmit_memory(memory);
        work(self);
        self.leg.session.swap_transmit_memory(memory);
    }

    /// Whether a passing session's socket is looked at in this slice. At an
    /// even stream that is no oftener than it must be: a look at an empty
    /// socket costs half of what a packet does.
    fn awake(&mut self) -> bool {
        let awake = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        awake
    }

    /// Whether RTCP is read and written in this frame. Sessions that only pass
    /// packets need nothing else of it, and take turns at it.
    fn reports(&self, frame: u64) -> bool {
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
    fn drain_rtp(&mut self, now: Now, buffer: &mut DatagramBuffers, crowded: bool) -> usize {
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
    fn shake_hands(&mut self, now: Now, buffer: &mut DatagramBuffers) {
        self.drain(Channel::Rtp, now, buffer, BURST);
        self.drain(Channel::Rtcp, now, buffer, BURST);
        self.leg.session.handle_timeout(now);
        buffer.send_all();
        self.flush();
    }

    /// Gives the session what its socket holds, up to `most` datagrams, and
    /// says how many there were.
    fn drain(
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
    fn send(&mut self) {
        let leg = &mut *self.leg;
        while let Some(out) = leg.session.poll_transmit() {
            leg.socket
                .send(out.channel, out.local, out.destination, out.payload);
        }
    }

    fn flush(&mut self) {
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
