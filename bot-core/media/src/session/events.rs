//! The events that nobody has fetched yet.

use std::collections::VecDeque;

use super::event::MediaEvent;

/// Room that is set aside at once: more than a driver that polls after each call ever needs.
const RESERVED: usize = 8;

/// Events that wait at most. A driver that never polls loses the oldest instead of the machine's memory.
const MOST: usize = 1024;

/// A bounded queue of events.
#[derive(Debug)]
pub(super) struct EventQueue {
    events: VecDeque<MediaEvent>,
}

impl EventQueue {
    pub(super) fn new() -> Self {
        Self {
            events: VecDeque::with_capacity(RESERVED),
        }
    }

    pub(super) fn push(&mut self, event: MediaEvent) {
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
