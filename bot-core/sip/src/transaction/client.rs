//! The non-INVITE client transaction (RFC 3261 section 17.1.2).

use std::time::Instant;

use super::{Repeat, ResponseAction, State, TimeoutAction, earlier};
use crate::message::StatusCode;
use crate::timers::Timings;

/// One request other than INVITE and ACK that we sent.
#[derive(Debug)]
pub struct Client {
    state: State,
    reliable: bool,
    /// Timer E.
    repeat: Option<Repeat>,
    /// Timer F or K.
    end: Option<Instant>,
}

impl Client {
    /// Starts timers E and F; the caller sends the request.
    #[must_use]
    pub fn new(now: Instant, timings: &Timings, reliable: bool) -> Self {
        Client {
            state: State::Trying,
            reliable,
            repeat: (!reliable).then(|| Repeat::start(now, timings.t1)),
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
        earlier(self.repeat.map(|repeat| repeat.at), self.end)
    }

    /// A response came.
    pub fn receive(
        &mut self,
        now: Instant,
        timings: &Timings,
        status: StatusCode,
    ) -> ResponseAction {
        match self.state {
            State::Trying | State::Proceeding if status.is_provisional() => {
                self.state = State::Proceeding;
                if let Some(repeat) = &mut self.repeat {
                    // From here on every T2, also when the first interval has not passed (RFC 3261 17.1.2.2).
                    repeat.interval = timings.t2;
                }
                ResponseAction::Pass
            }
            State::Trying | State::Proceeding => {
                self.state = State::Completed;
                self.repeat = None;
                self.end = Some(now + timings.linger(self.reliable));
                ResponseAction::Pass
            }
            _ => ResponseAction::Ignore,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, timings: &Timings) -> TimeoutAction {
        if self.end.is_some_and(|end| end <= now) {
            let action = match self.state {
                State::Trying | State::Proceeding => TimeoutAction::TimedOut,
                State::Terminated => TimeoutAction::None,
                _ => TimeoutAction::Terminated,
            };
            self.terminate();
            return action;
        }
        match &mut self.repeat {
            Some(repeat) if repeat.at <= now => {
                let interval = match self.state {
                    State::Proceeding => timings.t2,
                    _ => timings.next_interval(repeat.interval),
                };
                *repeat = Repeat::start(now, interval);
                TimeoutAction::Retransmit
            }
            _ => TimeoutAction::None,
        }
    }

    /// Ends at once, e.g. because the transport failed.
    pub fn terminate(&mut self) {
        self.state = State::Terminated;
        self.repeat = None;
        self.end = None;
    }
}
