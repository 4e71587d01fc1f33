//! The events that nobody has fetched yet.

use std::collections::VecDeque;

use super::event::MediaEvent;
use super::relay::{Told, ToldQueue};

/// Room that is set aside at once: more than a driver that polls after each call ever needs.
const RESERVED: usize = 8;

/// Events that wait at most. A driver that never polls loses the oldest instead of the machine's memory.
const MOST: usize = 1024;

/// A bounded queue of events.
#[derive(Debug)]
pub(super) struct EventQueue {
    events: VecDeque<MediaEvent>,
    /// The keys of the far end once more, for the partner of a bridge.
    told: Option<ToldQueue>,
}

impl EventQueue {
    pub(super) fn new() -> Self {
        Self {
            events: VecDeque::with_capacity(RESERVED),
            told: None,
        }
    }

    /// Whether keys are kept for the partner of a bridge from now on.
    pub(super) fn relay_digits(&mut self, relay: bool) {
        self.told = relay.then(ToldQueue::new);
    }

    /// The next key for the partner.
    pub(super) fn next_digit(&mut self) -> Option<Told> {
        self.told.as_mut()?.pop()
    }

    pub(super) fn push(&mut self, event: MediaEvent) {
        if let Some(told) = &mut self.told {
            match event {
                MediaEvent::DigitStarted { digit, .. } => told.push(Told::Pressed(digit)),
                MediaEvent::DigitEnded {
                    digit, duration_ms, ..
                } => told.push(Told::Released {
                    digit,
                    lasted_ms: duration_ms,
                }),
                _ => {}
            }
        }
        if self.events.len() == MOST {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    /// Whether a key went down that nobody has heard of yet.
    pub(super) fn holds_digit(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, MediaEvent::DigitStarted { .. }))
    }
}
