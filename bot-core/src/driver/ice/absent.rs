//! Which STUN and TURN servers did not answer lately: no call waits for those.
//!
//! Invariants: a server that was silent is left alone for [`LEFT_ALONE`]; then one call asks it again, and the others go on
//! without it until it has answered. What a server refuses is no silence.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::server::IceServer;

/// How long a server that did not answer is not asked.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// What an endpoint remembers of its servers. It holds no more of them than there are.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    until: Mutex<HashMap<String, Instant>>,
}

impl Absent {
    /// For how long a server is still to be left alone; `None`: ask it. Who is told so asks for all that come meanwhile.
    pub(super) fn left_alone(&self, server: &IceServer) -> Option<Duration> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let end = until.get_mut(&server.to_string())?;
        let now = Instant::now();
        if now < *end {
            return Some(*end - now);
        }
        *end = now + LEFT_ALONE;
        None
    }

    /// Notes whether a server that was asked answered.
    pub(super) fn note(&self, server: &IceServer, answered: bool) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            until.remove(&server.to_string());
        } else {
            until.insert(server.to_string(), Instant::now() + LEFT_ALONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_left_alone_and_then_asked_by_one() {
        let absent = Absent::default();
        let server: IceServer = "stun:192.0.2.1".parse().unwrap();
        assert_eq!(absent.left_alone(&server), None);
        absent.note(&server, false);
        assert_eq!(absent.left_alone(&server), Some(LEFT_ALONE));
        tokio::time::advance(LEFT_ALONE).await;
        assert_eq!(absent.left_alone(&server), None, "one asks");
        assert!(absent.left_alone(&server).is_some(), "the next does not");
        absent.note(&server, true);
        assert_eq!(absent.left_alone(&server), None);
        let other: IceServer = "stun:192.0.2.2".parse().unwrap();
        assert_eq!(absent.left_alone(&other), None);
    }
}
