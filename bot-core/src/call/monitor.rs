//! Watching a call without holding it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use callbot_media::session::Statistics;
use tokio::sync::broadcast;

use super::{CallEvent, HangupCause, Phase, Shared};
use crate::signalling::CallInfo;

/// Watches a call from outside: for reports, logs and screens.
///
/// It neither answers nor ends the call, and outlives it: what the call came
/// to is told after its end too.
#[derive(Clone, Debug)]
pub struct CallMonitor {
    shared: Arc<Shared>,
}

impl CallMonitor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Who calls whom.
    pub fn info(&self) -> &CallInfo {
        &self.shared.info
    }

    /// Waits for the end of the call. Cancel safe.
    pub async fn ended(&self) -> HangupCause {
        self.shared.ended().await
    }

    /// Whether the call was answered, by whichever side was called.
    pub fn was_answered(&self) -> bool {
        self.shared.lock().answered_at.is_some()
    }

    /// Whether the call is established: answered, acknowledged and not over.
    pub fn is_established(&self) -> bool {
        matches!(*self.shared.phase().borrow(), Phase::Established)
    }

    /// Time since the call was answered, up to its end; zero before the answer.
    pub fn duration(&self) -> Duration {
        self.shared.duration()
    }

    /// Every digit that the far end pressed so far, in order, read or not.
    pub fn digits_received(&self) -> String {
        self.shared.lock().all_digits.clone()
    }

    /// The files that the call was recorded to, in the order of their begin,
    /// as soon as all are whole. A recording that failed is not among them.
    /// While one goes on this waits. Cancel safe.
    pub async fn recordings(&self) -> Vec<PathBuf> {
        loop {
            let changed = self.shared.changed();
            {
                let state = self.shared.lock();
                if state.recordings.iter().all(|(_, whole)| *whole) {
                    return state
                        .recordings
                        .iter()
                        .map(|(path, _)| path.clone())
                        .collect();
                }
            }
            changed.await;
        }
    }

    /// Figures of the media as of now, or the last ones after the call; `None`
    /// for a call without media. Cancel safe.
    pub async fn statistics(&self) -> Option<Statistics> {
        self.shared.statistics().await
    }

    /// Events from now on. A watcher that is slow misses the oldest ones.
    pub fn events(&self) -> broadcast::Receiver<CallEvent> {
        self.shared.events()
    }

    /// The endpoint's wall clock, which a test moves together with tokio's.
    pub fn wall_clock(&self) -> SystemTime {
        self.shared.endpoint.clock.now().wall
    }
}
