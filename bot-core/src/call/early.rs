//! A call that is not answered yet and bears media already.

use std::sync::Arc;

use super::dtmf::SendDtmf;
use super::gather::Gather;
use super::incoming::{self, Answer};
use super::playback::Play;
use super::recording::Record;
use super::{Guard, Shared};
use crate::error::Result;
use crate::signalling::CallInfo;
use crate::sound::Sound;

/// An incoming call with early media: announcements before the answer, which
/// the caller hears and does not pay for (RFC 3960).
///
/// Dropping it refuses the call with 480.
#[derive(Debug)]
pub struct EarlyCall {
    pub(super) shared: Arc<Shared>,
    guard: Arc<Guard>,
}

impl EarlyCall {
    pub(crate) fn new(shared: Arc<Shared>, guard: Arc<Guard>) -> Self {
        Self { shared, guard }
    }

    /// Who calls whom.
    pub fn info(&self) -> &CallInfo {
        &self.shared.info
    }

    /// Plays a sound before the answer.
    pub fn play(&self, sound: impl Into<Sound>) -> Play {
        Play::new(self.shared.clone(), sound.into())
    }

    /// Records from before the answer on.
    pub fn record(&self, name: impl Into<String>) -> Record {
        Record::new(self.shared.clone(), name.into())
    }

    /// Gathers digits before the answer.
    pub fn gather(&self) -> Gather {
        Gather::new(self.shared.clone())
    }

    /// Presses digits before the answer.
    pub fn send_dtmf(&self, digits: impl Into<String>) -> SendDtmf {
        SendDtmf::new(self.shared.clone(), digits.into())
    }

    /// Answers the call; resolves when the answer is acknowledged.
    pub fn answer(self) -> Answer {
        Answer::new(self.shared, self.guard)
    }

    /// The events from now on.
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<super::CallEvent> {
        self.shared.events()
    }

    /// Watches the call without holding it.
    pub fn monitor(&self) -> super::CallMonitor {
        super::CallMonitor::new(self.shared.clone())
    }

    /// Resolves when the caller gives up before the answer. Cancel safe.
    pub async fn cancelled(&self) -> super::HangupCause {
        self.shared.ended().await
    }

    /// Refuses the call after all, with a reason phrase and headers.
    ///
    /// # Errors
    /// As [`IncomingCall::reject_with_headers`](super::IncomingCall::reject_with_headers).
    pub async fn reject_with_headers(
        self,
        status: u16,
        reason: Option<&str>,
        headers: Vec<(String, String)>,
    ) -> Result<()> {
        incoming::reject(&self.shared, status, reason.map(str::to_owned), headers).await
    }

    /// Refuses the call after all, with a status from 400 to 699.
    ///
    /// # Errors
    /// [`Error::HungUp`](crate::Error::HungUp) when the caller gave up first.
    pub async fn reject(self, status: u16) -> Result<()> {
        incoming::reject(&self.shared, status, None, Vec::new()).await
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}
