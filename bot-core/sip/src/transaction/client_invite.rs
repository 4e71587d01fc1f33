//! The INVITE client transaction (RFC 3261 section 17.1.1, RFC 6026 section 8.4).

use std::time::Instant;

use super::{Repeat, ResponseAction, State, TimeoutAction, earlier};
use crate::message::StatusCode;
use crate::timers::Timings;

/// One INVITE that we sent.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
    /// Timer A.
    repeat: Option<Repeat>,
    /// Timer B, D or M.
    end: Option<Instant>,
}

impl ClientInvite {
    /// Starts timers A and B; the caller sends the request.
    #[must_use]
    pub fn new(now: Instant, timings: &Timings, reliable: bool) -> Self {
        ClientInvite {
            state: State::Calling,
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
            State::Calling | State::Proceeding if status.is_provisional() => {
                // Timer B is over; what the user set since then is not, or a peer that rings on after a CANCEL
                // would be waited for without end.
                if self.state == State::Calling {
                    self.end = None;
                }
                self.state = State::Proceeding;
                self.repeat = None;
                ResponseAction::Pass
            }
            State::Calling | State::Proceeding | State::Accepted if status.is_success() => {
                self.repeat = None;
                if self.state != State::Accepted {
                    self.state = State::Accepted;
                    self.end = Some(now + timings.timeout());
                }
                ResponseAction::Pass
            }
            State::Calling | State::Proceeding => {
                self.repeat = None;
                self.state = State::Completed;
                self.end = Some(now + timings.d(self.reliable));
                ResponseAction::PassAndAck
            }
            State::Completed if status.is_final() && !status.is_success() => {
                ResponseAction::AckAgain
            }
            _ => ResponseAction::Ignore,
        }
    }

    /// Gives up at `end` unless a final response comes before: the user cancelled (RFC 3261 section 9.1)
    /// or lets nobody ring longer. Has no effect after a final response.
    pub fn give_up_at(&mut self, end: Instant) {
        if matches!(self.state, State::Calling | State::Proceeding) {
            self.end = Some(end);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, _timings: &Timings) -> TimeoutAction {
        if self.end.is_some_and(|end| end <= now) {
            let action = match self.state {
                State::Calling | State::Proceeding => TimeoutAction::TimedOut,
                State::Terminated => TimeoutAction::None,
                _ => TimeoutAction::Terminated,
            };
            self.terminate();
            return action;
        }
        match &mut self.repeat {
            Some(repeat) if repeat.at <= now => {
                // Timer A doubles without a limit, unlike timers E and G.
                *repeat = Repeat::start(now, repeat.interval * 2);
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
