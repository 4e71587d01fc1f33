//! The four transactions of RFC 3261 section 17, with the Accepted states of RFC 6026.
//!
//! Responsibility: each state machine says what to do next (send again, tell the user, end) and until
//! when it waits; it holds no message and no address. Who owns it executes what it says.
//!
//! Invariants: a machine never looks at a clock; it has at most one retransmission and one end pending;
//! once terminated it answers everything with "ignore". Over a reliable transport nothing is sent twice,
//! except a 2xx to INVITE, which its user repeats until the ACK (RFC 3261 section 13.3.1.4).

mod client;
mod client_invite;
mod key;
mod server;
mod server_invite;
mod slab;

use std::time::{Duration, Instant};

pub use client::Client;
pub use client_invite::ClientInvite;
pub(crate) use key::{Key, KeyHasher, KeyMaker};
pub use server::Server;
pub use server_invite::ServerInvite;
pub(crate) use slab::{Handle, Slab};

/// What a transaction is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// INVITE client: nothing heard yet.
    Calling,
    /// Non-INVITE: nothing heard, or nothing said yet.
    Trying,
    /// A provisional response went by.
    Proceeding,
    /// A final response went by (for INVITE: not a 2xx).
    Completed,
    /// INVITE server: the ACK for our refusal came.
    Confirmed,
    /// INVITE: a 2xx went by (RFC 6026).
    Accepted,
    /// Over.
    Terminated,
}

/// What a client transaction wants done with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseAction {
    /// Nothing.
    Ignore,
    /// Tell the user.
    Pass,
    /// Send an ACK and tell the user: the first refusal of an INVITE.
    PassAndAck,
    /// Send the same ACK again: a retransmitted refusal.
    AckAgain,
}

/// What a server transaction wants done with a request that matches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestAction {
    /// Nothing.
    Ignore,
    /// Send the last response again.
    RespondAgain,
}

/// What a transaction wants done because time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutAction {
    /// Nothing was due.
    None,
    /// Send the request or the response again.
    Retransmit,
    /// Tell the user that nobody answered (client) or acknowledged (server); the transaction is over.
    TimedOut,
    /// The transaction is over, as planned.
    Terminated,
}

/// The earlier of two optional times.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A retransmission that is due at a time and then again after an interval.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    at: Instant,
    interval: Duration,
}

impl Repeat {
    fn start(now: Instant, interval: Duration) -> Self {
        Repeat {
            at: now + interval,
            interval,
        }
    }
}
