//! The media sweep and its two hosts.
//!
//! A [`Sweep`] serves many [`MediaSession`]s. Time is cut into slices of 5 ms:
//! each slice serves the sessions that pass packets through, and a quarter of
//! the rest, so that every session ticks once in 20 ms. Deadlines are
//! `start + n * 5 ms`, never `now + 5 ms`, so that lateness does not add up.
//!
//! The same sweep runs on operating-system threads over sockets, and as a task
//! over the in-memory network, where a test may have paused the clock.
//!
//! `host` has the workers and what calls reach them by, `slot` one session with
//! its socket; bridged sessions are served in pairs (`pair`). The ICE legs of a
//! thread share a port ([`super::shared_port`]), which each slice reads first.

mod host;
mod pair;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use callbot_media::Now;
use callbot_media::session::{Channel, Command, TransmitMemory};
use tokio::sync::mpsc;

use self::host::ToSweep;
pub(crate) use self::host::{FromSweep, Leg, MediaHandle, MediaHost, Overloaded};
use self::pair::Pairs;
use self::slot::Slot;
use super::clock::Clock;
use super::shared_port::SharedPort;
use super::socket::DatagramBuffers;

/// Length of a slice; four make a frame.
const SLICE: Duration = Duration::from_millis(5);
/// Slices in a frame.
const PHASES: u64 = 4;
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
    /// The ports of ICE legs that this worker reads.
    ports: Vec<Arc<SharedPort>>,
    start: Instant,
    next_slice: u64,
    load: Arc<AtomicUsize>,
    buffer: DatagramBuffers,
    /// Lent to each session in its turn: see [`Slot::serve`].
    memory: TransmitMemory,
}

impl Sweep {
    fn new(load: Arc<AtomicUsize>) -> Self {
        Self {
            legs: Vec::new(),
            index: HashMap::new(),
            phases: [0; PHASES as usize],
            pairs: Pairs::default(),
            ports: Vec::new(),
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
            || self.pairs.busy()
            || self.ports.iter().any(|port| port.is_used());
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
            ToSweep::Add(id, leg) => {
                if let Some(port) = leg.socket.shared().map(|leg| leg.port())
                    && !self.ports.iter().any(|known| Arc::ptr_eq(known, port))
                {
                    self.ports.push(port.clone());
                }
                self.insert(Slot::new(id, leg));
            }
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
                    if let Some(shared) = slot.leg.socket.shared() {
                        match &negotiated.ice {
                            Some(ice) => shared.expect(&ice.local.ufrag),
                            // A newer exchange left ICE: the description's word is all there is.
                            None => shared.confirm(negotiated.remote_rtp, true),
                        }
                    }
                    slot.leg.session.apply(now, &negotiated);
                    // Where both sides are lite there are no checks: the path is there at once.
                    if let Some(shared) = slot.leg.socket.shared()
                        && let Some(path) = slot.leg.session.ice_path()
                    {
                        shared.confirm(path, true);
                    }
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
        self.legs.is_empty()
            && self.pairs.is_idle()
            && !self.ports.iter().any(|port| port.is_used())
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
            for port in &self.ports {
                port.receive(now.instant);
            }
            let phase = self.next_slice % PHASES;
            let frame = self.next_slice / PHASES;
            let crowded = self.legs.len() > CROWD;
            let skipped = crowded && !self.next_slice.is_multiple_of(2);
            let (buffer, memory) = (&mut self.buffer, &mut self.memory);
            for slot in &mut self.legs {
                let turn = slot.phase == phase;
                let looks = if slot.passing {
                    slot.looks(skipped)
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
            for port in &self.ports {
                port.flush();
            }
            self.next_slice += 1;
            now = clock.now();
        }
    }
}
