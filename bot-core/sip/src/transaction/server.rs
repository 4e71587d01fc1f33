//! The non-INVITE server transaction (RFC 3261 section 17.2.2, RFC 4320).

use std::time::Instant;

use super::{RequestAction, State, TimeoutAction};
use crate::message::StatusCode;
use crate::timers::Timings;

/// One request other than INVITE and ACK that we received.
#[derive(Debug)]
pub struct Server {
    state: State,
    reliable: bool,
    /// Timer J, or the time after which an answer is of no use to anybody (RFC 4320 section 4.2).
    end: Option<Instant>,
}

impl Server {
    /// The request has just come.
    #[must_use]
    pub fn new(now: Instant, timings: &Timings, reliable: bool) -> Self {
        Server {
            state: State::Trying,
            reliable,
            end: Some(now + timings.timeout()),
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.end
    }

    /// The request came again.
    pub fn receive_again(&mut self) -> RequestAction {
        match self.state {
            State::Proceeding | State::Completed => RequestAction::RespondAgain,
            _ => RequestAction::Ignore,
        }
    }

    /// We answer; whether the answer may be sent in this state.
    pub fn respond(&mut self, now: Instant, timings: &Timings, status: StatusCode) -> bool {
        match self.state {
            State::Trying | State::Proceeding if status.is_provisional() => {
                self.state = State::Proceeding;
                true
            }
            State::Trying | State::Proceeding => {
                self.state = State::Completed;
                self.end = Some(now + timings.j(self.reliable));
                true
            }
            _ => false,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> TimeoutAction {
        if self.end.is_none_or(|end| end > now) {
            return TimeoutAction::None;
        }
        let action = match self.state {
            State::Trying | State::Proceeding => TimeoutAction::TimedOut,
            _ => TimeoutAction::Terminated,
        };
        self.terminate();
        action
    }

    /// Ends at once.
    pub fn terminate(&mut self) {
        self.state = State::Terminated;
        self.end = None;
    }
}
