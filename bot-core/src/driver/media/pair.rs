//! Bridged sessions: two slots of one sweep that are served together.
//!
//! Responsibility: hand what the one received to the other within the slice
//! in which it came, tick both at one moment, and bring sessions from another
//! worker, for a bridge never crosses threads.
//!
//! A session moves in three steps that keep the order of its commands: its new
//! worker is told to expect it and keeps what comes for it meanwhile; the old
//! one sends the session itself, behind the commands that it had already; then
//! what was kept is done.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use callbot_media::Now;
use callbot_media::session::bridge;
use tokio::sync::mpsc;

use super::{BURST, Channel, DatagramBuffers, MediaHandle, Overloaded, Slot, Sweep, ToSweep};

/// What a sweep keeps of its bridges.
#[derive(Default)]
pub(super) struct Pairs {
    list: Vec<Pair>,
    /// Where each session's pair stands in `list`.
    index: HashMap<u64, usize>,
    /// Sessions on their way here, and what is to be done with them then.
    expected: HashMap<u64, Vec<ToSweep>>,
    /// What another worker's full queue has not taken yet.
    outbound: Vec<(mpsc::Sender<ToSweep>, ToSweep)>,
}

/// Two bridged sessions. Both have the phase of the first.
struct Pair {
    a: Slot,
    b: Slot,
}

impl MediaHandle {
    /// Bridges two sessions, on the worker of the first.
    pub(crate) fn bridge(&mut self, other: &mut Self) -> Result<(), Overloaded> {
        if self.in_memory != other.in_memory {
            return Err(Overloaded);
        }
        let ids = (self.id, other.id);
        if !other.queue.same_channel(&self.queue) {
            // Both queues have room for all of it, or nothing is done.
            let mut here = self.queue.try_reserve_many(2).map_err(|_| Overloaded)?;
            let there = other.queue.try_reserve().map_err(|_| Overloaded)?;
            let (Some(expect), Some(join)) = (here.next(), here.next()) else {
                return Err(Overloaded);
            };
            expect.send(ToSweep::Expect(other.id));
            there.send(ToSweep::Move(other.id, self.queue.clone(), self.worker));
            join.send(ToSweep::Join(ids.0, ids.1));
            drop(here);
            other.queue = self.queue.clone();
            other.worker = self.worker;
            return Ok(());
        }
        self.send(ToSweep::Join(ids.0, ids.1))
    }

    /// Ends the bridge of two sessions.
    pub(crate) fn part(&self, other: u64) -> Result<(), Overloaded> {
        self.send(ToSweep::Part(self.id, other))
    }

    /// Names the session to [`MediaHandle::part`].
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the session's time is that of the in-memory network.
    pub(crate) fn in_memory(&self) -> bool {
        self.in_memory
    }
}

impl ToSweep {
    /// The sessions that a message is about.
    fn about(&self) -> [Option<u64>; 2] {
        match self {
            Self::Join(a, b) | Self::Part(a, b) => [Some(*a), Some(*b)],
            Self::Apply(id, _)
            | Self::Command(id, _)
            | Self::Statistics(id, _)
            | Self::Close(id)
            | Self::Move(id, ..) => [Some(*id), None],
            Self::Add(..) | Self::Expect(_) | Self::Arrive(..) => [None, None],
        }
    }
}

impl Pairs {
    pub(super) fn is_idle(&self) -> bool {
        self.list.is_empty() && self.outbound.is_empty()
    }

    /// Whether a pair passes packets or shakes hands, and so wants every slice.
    pub(super) fn busy(&self) -> bool {
        self.list
            .iter()
            .flat_map(|pair| [&pair.a, &pair.b])
            .any(|slot| slot.passing || slot.handshaking)
    }

    /// Keeps a message for a session that is on its way here.
    pub(super) fn keep(&mut self, message: ToSweep) -> Option<ToSweep> {
        if self.expected.is_empty() {
            return Some(message);
        }
        let about = message.about();
        let waits = about
            .into_iter()
            .flatten()
            .find(|id| self.expected.contains_key(id));
        match waits.and_then(|id| self.expected.get_mut(&id)) {
            Some(kept) => {
                kept.push(message);
                None
            }
            None => Some(message),
        }
    }

    /// The slot of a bridged session.
    pub(super) fn find(&mut self, id: u64) -> Option<&mut Slot> {
        let pair = self.list.get_mut(*self.index.get(&id)?)?;
        Some(if pair.a.id == id {
            &mut pair.a
        } else {
            &mut pair.b
        })
    }

    /// Does what follows from a command to a bridged session.
    pub(super) fn settle(&mut self, id: u64) {
        if let Some(index) = self.index.get(&id)
            && let Some(pair) = self.list.get_mut(*index)
        {
            pair.settle();
        }
    }

    /// Serves the pairs in one slice.
    pub(super) fn serve(&mut self, phase: u64, rtcp: bool, now: Now, buffer: &mut DatagramBuffers) {
        for pair in &mut self.list {
            pair.serve(phase, rtcp, now, buffer);
        }
    }

    /// Sends what another worker had no room for.
    pub(super) fn send_outbound(&mut self) {
        for (queue, message) in std::mem::take(&mut self.outbound) {
            if let Err(mpsc::error::TrySendError::Full(message)) = queue.try_send(message) {
                self.outbound.push((queue, message));
            }
        }
    }
}

impl Sweep {
    /// Does a message about bridges and moves.
    pub(super) fn take_pairing(&mut self, message: ToSweep, now: Now) {
        match message {
            ToSweep::Join(a, b) => self.join(a, b),
            ToSweep::Part(a, _) => self.part(a),
            ToSweep::Expect(id) => {
                self.pairs.expected.insert(id, Vec::new());
            }
            ToSweep::Move(id, to, worker) => {
                self.part(id);
                let mut slot = self.remove(id);
                if let Some(slot) = &mut slot {
                    if let Some(shared) = slot.leg.socket.shared_mut() {
                        shared.go_away(worker);
                    }
                    self.load.fetch_sub(1, Ordering::Relaxed);
                }
                self.pairs
                    .outbound
                    .push((to, ToSweep::Arrive(id, slot.map(Box::new))));
                self.pairs.send_outbound();
            }
            ToSweep::Arrive(id, slot) => {
                if let Some(slot) = slot {
                    self.load.fetch_add(1, Ordering::Relaxed);
                    self.insert(*slot);
                }
                for kept in self.pairs.expected.remove(&id).unwrap_or_default() {
                    self.take(kept, now);
                }
            }
            _ => {}
        }
    }

    /// Makes two slots a pair; one that is gone had its call ended.
    fn join(&mut self, a: u64, b: u64) {
        if !self.index.contains_key(&a) || !self.index.contains_key(&b) || a == b {
            return;
        }
        let (Some(mut a), Some(mut b)) = (self.remove(a), self.remove(b)) else {
            return;
        };
        bridge::join(&mut a.leg.session, &mut b.leg.session);
        b.phase = a.phase;
        self.phases[a.phase as usize] += 2;
        for id in [a.id, b.id] {
            self.pairs.index.insert(id, self.pairs.list.len());
        }
        let mut pair = Pair { a, b };
        pair.settle();
        self.pairs.list.push(pair);
    }

    /// Takes a pair apart: both are slots of their own again.
    pub(super) fn part(&mut self, id: u64) {
        let Some(index) = self.pairs.index.remove(&id) else {
            return;
        };
        let mut pair = self.pairs.list.swap_remove(index);
        for id in [pair.a.id, pair.b.id] {
            self.pairs.index.remove(&id);
        }
        if let Some(moved) = self.pairs.list.get(index) {
            for id in [moved.a.id, moved.b.id] {
                self.pairs.index.insert(id, index);
            }
        }
        self.phases[pair.a.phase as usize] -= 2;
        for slot in [&mut pair.a, &mut pair.b] {
            bridge::part(&mut slot.leg.session);
            slot.flush();
        }
        self.insert(pair.a);
        self.insert(pair.b);
    }
}

impl Pair {
    /// Carries over what waits, and sends what that gives.
    fn settle(&mut self) {
        let (a, b) = (&mut self.a, &mut self.b);
        while bridge::carry(&mut a.leg.session, &mut b.leg.session) {
            b.send();
        }
        while bridge::carry(&mut b.leg.session, &mut a.leg.session) {
            a.send();
        }
        bridge::settle(&mut a.leg.session, &mut b.leg.session);
        a.flush();
        b.flush();
    }

    fn serve(&mut self, phase: u64, rtcp: bool, now: Now, buffer: &mut DatagramBuffers) {
        let due = self.a.phase == phase;
        let mut found = false;
        for slot in [&mut self.a, &mut self.b] {
            if slot.handshaking {
                slot.shake_hands(now, buffer);
                found = true;
            }
            let looks = if slot.passing { slot.looks(false) } else { due };
            found |= looks && slot.drain_rtp(now, buffer, false) > 0;
            if due && rtcp {
                slot.drain(Channel::Rtcp, now, buffer, BURST);
            }
        }
        buffer.send_all();
        if found {
            self.settle();
        }
        if due && (rtcp || self.a.ticking || self.b.ticking) {
            bridge::tick(now, &mut self.a.leg.session, &mut self.b.leg.session);
            self.settle();
        }
    }
}
