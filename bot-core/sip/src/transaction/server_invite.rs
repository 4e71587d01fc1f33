//! The INVITE server transaction (RFC 3261 section 17.2.1, RFC 6026 section 8.5).

use std::time::Instant;

use super::{Repeat, RequestAction, State, TimeoutAction, earlier};
use crate::message::StatusCode;
use crate::timers::Timings;

/// One INVITE that we received.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
    reliable: bool,
    /// Timer G.
    repeat: Option<Repeat>,
    /// Timer H, I or L.
    end: Option<Instant>,
}

impl ServerInvite {
    /// The request has just come.
    #[must_use]
    pub fn new(reliable: bool) -> Self {
        ServerInvite {
            state: State::Proceeding,
            reliable,
            repeat: None,
            end: None,
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
        earlier(self.repeat.map(|repeat| repeat.at), self.end)
    }

    /// The INVITE came again.
    pub fn receive_again(&mut self) -> RequestAction {
        match self.state {
            State::Proceeding | State::Completed => RequestAction::RespondAgain,
            // In Accepted the user repeats the 2xx by its own timer; a copy more does no good.
            _ => RequestAction::Ignore,
        }
    }

    /// The ACK for our refusal came. An ACK in Accepted belongs to the user: `false`.
    pub fn receive_ack(&mut self, now: Instant, timings: &Timings) -> bool {
        match self.state {
            State::Completed => {
                self.state = State::Confirmed;
                self.repeat = None;
                self.end = Some(now + timings.linger(self.reliable));
                true
            }
            State::Confirmed | State::Terminated => true,
            _ => false,
        }
    }

    /// We answer; whether the answer may be sent in this state.
    pub fn respond(&mut self, now: Instant, timings: &Timings, status: StatusCode) -> bool {
        match self.state {
            State::Proceeding if status.is_provisional() => true,
            State::Proceeding if status.is_success() => {
                self.state = State::Accepted;
                self.end = Some(now + timings.timeout());
                true
            }
            State::Proceeding => {
                self.state = State::Completed;
                self.repeat = (!self.reliable).then(|| Repeat::start(now, timings.t1));
                self.end = Some(now + timings.timeout());
                true
            }
            State::Accepted => status.is_success(),
            _ => false,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, timings: &Timings) -> TimeoutAction {
        if self.end.is_some_and(|end| end <= now) {
            let action = match self.state {
                State::Completed => TimeoutAction::TimedOut,
                State::Terminated => TimeoutAction::None,
                _ => TimeoutAction::Terminated,
            };
            self.terminate();
            return action;
        }
        match &mut self.repeat {
            Some(repeat) if repeat.at <= now => {
                *repeat = Repeat::start(now, timings.next_interval(repeat.interval));
                TimeoutAction::Retransmit
            }
            _ => TimeoutAction::None,
        }
    }

    /// Ends at once.
    pub fn terminate(&mut self) {
        self.state = State::Terminated;
        self.repeat = None;
        self.end = None;
    }
}
