//! Timer values of RFC 3261 and the queue in which a user agent keeps its deadlines.
//!
//! Responsibility: [`Timings`] turns T1, T2 and T4 into timers A to M (RFC 3261 table 4, RFC 6026
//! section 8); `Timers` orders deadlines.
//!
//! Invariants: the queue never looks at a clock; entries with the same deadline come out in the
//! order in which they went in, so that a run is repeatable; an entry is never searched for: who
//! re-arms simply remembers the newest `TimerId` and ignores the others when they fall due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// The three base values from which RFC 3261 derives every transaction timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Round-trip estimate; default 500 ms.
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and INVITE responses; default 4 s.
    pub t2: Duration,
    /// Longest time that a message stays in the network; default 5 s.
    pub t4: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl Timings {
    /// 64*T1, the life of timers B, F, H, J (unreliable), L and M; 32 s by default.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D: how long a client keeps answering retransmitted refusals; at least 32 s, 0 on streams.
    #[must_use]
    pub fn d(&self, reliable: bool) -> Duration {
        if reliable {
            Duration::ZERO
        } else {
            self.timeout()
        }
    }

    /// Timers I and K: T4 on unreliable transports, 0 on streams.
    #[must_use]
    pub fn linger(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.t4 }
    }

    /// Timer J: 64*T1 on unreliable transports, 0 on streams.
    #[must_use]
    pub fn j(&self, reliable: bool) -> Duration {
        if reliable {
            Duration::ZERO
        } else {
            self.timeout()
        }
    }

    /// The next interval of a retransmission that doubles up to T2 (timers E and G, and 2xx).
    #[must_use]
    pub fn next_interval(&self, current: Duration) -> Duration {
        (current * 2).min(self.t2)
    }
}

/// Names one armed timer; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId(u64);

#[derive(Debug)]
struct Entry<O> {
    at: Instant,
    id: TimerId,
    owner: O,
}

impl<O> PartialEq for Entry<O> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl<O> Eq for Entry<O> {}
impl<O> PartialOrd for Entry<O> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<O> Ord for Entry<O> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at).then(self.id.cmp(&other.id))
    }
}

/// How many queues stand before the heap: one for each interval that is in constant use (100 Trying, T1, T4,
/// 64*T1, the ring interval) and some to spare.
const LANES: usize = 8;

/// Deadlines in order, with lazy deletion.
///
/// Nearly all timers have one of a few fixed lengths, and those of one length fall due in the order in which
/// they were armed. Each such length finds a lane of its own, a plain queue, so that arming and expiring cost
/// the same however many there are; what fits no lane goes into a heap.
#[derive(Debug)]
pub(crate) struct Timers<O> {
    lanes: [VecDeque<Entry<O>>; LANES],
    heap: BinaryHeap<Reverse<Entry<O>>>,
    last: u64,
}

/// Where the earliest entry is.
#[derive(Clone, Copy)]
enum Place {
    Lane(usize),
    Heap,
}

impl<O: Copy> Timers<O> {
    pub(crate) fn new() -> Self {
        Timers {
            lanes: std::array::from_fn(|_| VecDeque::new()),
            heap: BinaryHeap::new(),
            last: 0,
        }
    }

    /// Adds a deadline; the owner keeps the id to tell it from those that it armed before.
    pub(crate) fn arm(&mut self, at: Instant, owner: O) -> TimerId {
        self.last += 1;
        let id = TimerId(self.last);
        let entry = Entry { at, id, owner };
        // The lane whose end comes closest before `at`, or else an empty one.
        let mut best: Option<(usize, Option<Instant>)> = None;
        for (index, lane) in self.lanes.iter().enumerate() {
            let end = lane.back().map(|last| last.at);
            let fits = end.is_none_or(|end| end <= at);
            if fits && best.is_none_or(|(_, best_end)| end > best_end) {
                best = Some((index, end));
            }
        }
        match best.and_then(|(index, _)| self.lanes.get_mut(index)) {
            Some(lane) => lane.push_back(entry),
            None => self.heap.push(Reverse(entry)),
        }
        id
    }

    fn earliest(&self) -> Option<(&Entry<O>, Place)> {
        let heap = self.heap.peek().map(|Reverse(entry)| (entry, Place::Heap));
        let lanes = self.lanes.iter().enumerate();
        lanes
            .filter_map(|(index, lane)| Some((lane.front()?, Place::Lane(index))))
            .chain(heap)
            .min_by(|one, other| one.0.cmp(other.0))
    }

    fn take(&mut self, place: Place) -> Option<Entry<O>> {
        match place {
            Place::Lane(index) => self.lanes.get_mut(index)?.pop_front(),
            Place::Heap => self.heap.pop().map(|Reverse(entry)| entry),
        }
    }

    /// Takes the earliest entry if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(TimerId, O)> {
        let (entry, place) = self.earliest()?;
        if entry.at > now {
            return None;
        }
        let entry = self.take(place)?;
        Some((entry.id, entry.owner))
    }

    /// The earliest deadline whose owner still wants it; those that nobody wants are dropped on the way.
    pub(crate) fn next(&mut self, wanted: impl Fn(TimerId, O) -> bool) -> Option<Instant> {
        loop {
            let (entry, place) = self.earliest()?;
            if wanted(entry.id, entry.owner) {
                return Some(entry.at);
            }
            self.take(place);
        }
    }

    /// Gives back the room for more than `kept` deadlines.
    pub(crate) fn rest(&mut self, kept: usize) {
        self.heap.shrink_to(kept);
        for lane in &mut self.lanes {
            lane.shrink_to(kept / LANES);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len() + self.lanes.iter().map(VecDeque::len).sum::<usize>()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn equal_deadlines_keep_their_order() {
        let start = Instant::now();
        let mut timers = Timers::new();
        for n in 0..10 {
            timers.arm(start, n);
        }
        let mut seen = Vec::new();
        while let Some((_, n)) = timers.pop_due(start) {
            seen.push(n);
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn unwanted_entries_are_dropped_by_next() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.arm(start + Duration::from_secs(1), 1);
        let kept = timers.arm(start + Duration::from_secs(2), 2);
        assert_eq!(
            timers.next(|id, _| id == kept),
            Some(start + Duration::from_secs(2))
        );
        assert_eq!(timers.len(), 1);
    }

    /// Against a sorted list, with more lengths than lanes.
    #[test]
    fn any_mixture_comes_out_in_order() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let mut expected = Vec::new();
        for n in 0..5000_u64 {
            let length = [200, 500, 5000, 32_000, 60_000, n * 7919 % 10_007][n as usize % 6];
            let at = start + Duration::from_millis(n + length);
            timers.arm(at, n);
            expected.push((at, n));
        }
        assert!(!timers.heap.is_empty());
        expected.sort();
        let mut seen = Vec::new();
        for (at, n) in &expected {
            assert_eq!(timers.next(|_, _| true), Some(*at));
            assert_eq!(timers.pop_due(*at - Duration::from_nanos(1)), None);
            seen.push((*at, timers.pop_due(*at).unwrap().1));
            assert_eq!(seen.last(), Some(&(*at, *n)));
        }
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn intervals_double_up_to_t2() {
        let timings = Timings::default();
        let mut interval = timings.t1;
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(interval.as_millis());
            interval = timings.next_interval(interval);
        }
        assert_eq!(seen, [500, 1000, 2000, 4000, 4000]);
    }
}
