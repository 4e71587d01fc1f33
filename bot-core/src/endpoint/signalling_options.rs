//! What an endpoint's calls do to be sure of each other: reliable provisional responses and session timers.

use std::time::Duration;

/// How provisional responses (180, 183) are made sure of (RFC 3262, `100rel`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReliableProvisionals {
    /// Not at all; calls that require it are refused with 420.
    Off,
    /// Peers may send theirs so. Ours go so to peers that require it, and
    /// those with early media to all that support it.
    #[default]
    Supported,
    /// Callees must send theirs so; callers that do not support it are refused
    /// with 421, and everything that we send before an answer goes so.
    Required,
}

/// Which side refreshes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// This endpoint.
    Local,
    /// The far end.
    Remote,
}

/// How calls are kept from outliving a far end that has vanished: one side
/// shows every now and then that it is there, and without that the call ends
/// (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    /// How long a call lasts without being refreshed, in whole seconds: 1,800 s
    /// by default. It is refreshed when half of that is over.
    pub interval: Duration,
    /// The shortest interval that a far end may ask for, 90 s by default, which
    /// RFC 4028 wants at least; shorter ones are refused with 422.
    pub min_se: Duration,
    /// Who refreshes; by default it is left to the far end, and is the caller
    /// where that leaves it to us.
    pub refresher: Option<Refresher>,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1800),
            min_se: Duration::from_secs(90),
            refresher: None,
        }
    }
}
