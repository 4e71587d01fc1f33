//! The one place where the shell asks for the time.

use std::time::SystemTime;

use callbot_media::Now;

/// Reads the runtime's clock, which a test may have paused, and derives the
/// wall clock from it, so that both move together.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
    wall: SystemTime,
}

impl Clock {
    /// A clock whose wall time is the machine's.
    pub(crate) fn system() -> Self {
        Self::starting_at(SystemTime::now())
    }

    /// A clock whose wall time starts at `wall`, for runs that must repeat.
    pub(crate) fn starting_at(wall: SystemTime) -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            wall,
        }
    }

    pub(crate) fn now(&self) -> Now {
        let instant = tokio::time::Instant::now();
        Now {
            instant: instant.into_std(),
            wall: self.wall + instant.saturating_duration_since(self.origin),
        }
    }
}
