//! How fast REGISTERs leave: one pace for all registrations of a user agent.
//!
//! Responsibility: when a connection breaks, all accounts that were reached by it want to register at once. Here
//! they stand in line. Answers to challenges, refreshes and removals go before those that begin anew, so that what
//! was begun is finished first.
//!
//! Invariant: in any second at most `rate` and a fifth of it leave ([`Pace::BURST`]), whatever happens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ua::{Armed, RegistrationId};

/// The line, and when the next may leave.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Between two REGISTERs when the line is long.
    interval: Duration,
    /// How far ahead of that pace a first few may be.
    ahead: Duration,
    /// When the next would leave if all had kept the interval (the "theoretical arrival time" of GCRA).
    due: Option<Instant>,
    urgent: VecDeque<RegistrationId>,
    waiting: VecDeque<RegistrationId>,
    pub(crate) armed: Armed,
}

impl Pace {
    /// The part of the rate that may leave at once.
    const BURST: u32 = 5;

    /// A pace of `rate` REGISTERs a second.
    pub(crate) fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        let interval = Duration::from_secs(1) / rate;
        Pace {
            interval,
            ahead: interval * (rate / Self::BURST).max(1).saturating_sub(1),
            due: None,
            urgent: VecDeque::new(),
            waiting: VecDeque::new(),
            armed: Armed::default(),
        }
    }

    /// Puts a registration into the line.
    pub(crate) fn push(&mut self, id: RegistrationId, urgent: bool) {
        if urgent {
            self.urgent.push_back(id);
        } else {
            self.waiting.push_back(id);
        }
    }

    /// Who may send now: `wants` says whether one that comes up still wants to, and one that does not costs nothing.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        wants: impl Fn(RegistrationId) -> bool,
    ) -> Option<RegistrationId> {
        loop {
            let line = if self.urgent.is_empty() {
                &mut self.waiting
            } else {
                &mut self.urgent
            };
            let id = *line.front()?;
            if !wants(id) {
                line.pop_front();
                continue;
            }
            let due = self.due.map_or(now, |due| due.max(now));
            if due > now + self.ahead {
                return None;
            }
            self.due = Some(due + self.interval);
            line.pop_front();
            return Some(id);
        }
    }

    /// When to ask again; `None` when nobody waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.urgent.is_empty() && self.waiting.is_empty() {
            return None;
        }
        // Nobody waits at a time that is over: `next` has just been asked.
        let due = self.due?;
        Some(due.checked_sub(self.ahead).unwrap_or(due))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn no_second_has_more_than_the_rate_and_a_fifth() {
        let start = Instant::now();
        let mut pace = Pace::new(40);
        for id in 0..200 {
            pace.push(RegistrationId(id), id % 3 == 0);
        }
        let mut left = Vec::new();
        let mut now = start;
        while left.len() < 200 {
            while let Some(id) = pace.next(now, |_| true) {
                left.push((now, id));
            }
            match pace.deadline() {
                Some(at) => now = at,
                None => break,
            }
        }
        assert_eq!(left.len(), 200);
        assert!(now - start < Duration::from_secs(5), "{:?}", now - start);
        for (index, (at, _)) in left.iter().enumerate() {
            let within = left[index..]
                .iter()
                .take_while(|(other, _)| *other < *at + Duration::from_secs(1));
            assert!(within.count() <= 48, "from {:?}", *at - start);
        }
        // The urgent ones, a third, went first.
        assert!(left[..67].iter().all(|(_, id)| id.0 % 3 == 0));
    }

    #[test]
    fn who_no_longer_wants_costs_nothing() {
        let now = Instant::now();
        let mut pace = Pace::new(1);
        pace.push(RegistrationId(1), false);
        pace.push(RegistrationId(2), false);
        assert_eq!(pace.next(now, |id| id.0 == 2), Some(RegistrationId(2)));
        assert_eq!(pace.deadline(), None);
    }
}
