//! Recording a call to a WAV file.
//!
//! The media thread hands samples over in memory; a task writes them off that
//! thread. The file is `NAME.part` until it is whole, and its header is valid
//! as it grows, so that a crash loses the last second at most.

use std::future::IntoFuture;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use callbot_media::session::Command;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{HangupCause, Shared};
use crate::driver::recording::{Finished, Writer};
use crate::error::{Error, Result};
use crate::template;

/// Why a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordEnd {
    /// [`Recording::stop`] was called.
    Stopped,
    /// The far end pressed the finishing digit.
    Digit(char),
    /// The far end was silent for long enough.
    Silence,
    /// The maximum length was reached.
    Maximum,
    /// The call ended.
    HungUp(HangupCause),
}

/// A recording that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub duration: Duration,
    /// Why it ended.
    pub end: RecordEnd,
}

/// A recording about to start. Made by [`Call::record`](super::Call::record).
///
/// Await it to record until one of its limits, or the end of the call; or
/// [`start`](Record::start) it to record while the bot does other things.
#[must_use = "a recording starts when this is awaited or started"]
#[derive(Debug)]
pub struct Record {
    call: Arc<Shared>,
    template: String,
    stereo: bool,
    max: Option<Duration>,
    silence: Option<Duration>,
    finish_on: String,
    flush: bool,
}

impl Record {
    pub(crate) fn new(call: Arc<Shared>, template: String) -> Self {
        Self {
            call,
            template,
            stereo: false,
            max: None,
            silence: None,
            finish_on: String::new(),
            flush: false,
        }
    }

    /// Two channels on one clock: the caller left, the bot right. By default
    /// one channel holds both, mixed.
    pub fn stereo(mut self) -> Self {
        self.stereo = true;
        self
    }

    /// Ends after this long (when awaited).
    pub fn max(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self
    }

    /// Ends after the far end was silent this long (when awaited).
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = Some(silence);
        self
    }

    /// Ends when the far end presses this digit (when awaited).
    pub fn finish_on(mut self, digit: char) -> Self {
        self.finish_on = digit.to_string();
        self
    }

    /// Ends when the far end presses any of these digits (when awaited).
    pub fn finish_on_any(mut self, digits: impl Into<String>) -> Self {
        self.finish_on = digits.into();
        self
    }

    /// Forgets digits pressed before it starts.
    pub fn flush(mut self) -> Self {
        self.flush = true;
        self
    }

    /// Starts recording and returns at once.
    ///
    /// # Errors
    /// [`Error::Recording`] when the file cannot be made.
    pub async fn start(self) -> Result<Recording> {
        let call = self.call;
        // The recording keeps this rate whatever codec comes later.
        let rate = call.audio_rate()?;
        let wall = call.endpoint.clock.now().wall;
        let path = PathBuf::from(template::expand(&self.template, &call.info, wall));
        let (sink, writer) = Writer::create(path.clone(), self.stereo, rate).await?;
        let id = call.next_id();
        let (done, finished) = oneshot::channel();
        call.lock().recordings.push((path.clone(), false));
        let written = call.clone();
        call.endpoint.background.spawn(async move {
            let result = writer.run().await;
            if let Err(error) = &result {
                tracing::error!(call_id = written.info.call_id(), %error, "recording lost");
            }
            written.recorded(&path, result.is_ok());
            let _ = done.send(result);
        });
        call.media(Command::Record {
            id,
            sink: Box::new(sink),
        })?;
        Ok(Recording {
            call,
            id,
            finished: Some(finished),
            started: Instant::now(),
        })
    }

    async fn run(self) -> Result<Recorded> {
        if self.flush {
            self.call.lock().digits.clear();
        }
        let (max, silence, finish_on) = (self.max, self.silence, self.finish_on.clone());
        let call = self.call.clone();
        let mut recording = self.start().await?;
        let started = recording.started;
        let end = loop {
            let changed = call.changed();
            let mut deadline = max.map(|max| (started + max, RecordEnd::Maximum));
            {
                let mut state = call.lock();
                if !finish_on.is_empty() {
                    let mut pressed = None;
                    while let Some(digit) = state.digits.take() {
                        if finish_on.contains(digit) {
                            pressed = Some(digit);
                            break;
                        }
                    }
                    if let Some(digit) = pressed {
                        break RecordEnd::Digit(digit);
                    }
                }
                if let Some(silence) = silence
                    && !state.speaking
                    && !state.held
                {
                    let at = state.voice_since.max(started) + silence;
                    if deadline.as_ref().is_none_or(|(max, _)| at < *max) {
                        deadline = Some((at, RecordEnd::Silence));
                    }
                }
            }
            let timeout = async {
                match &deadline {
                    Some((at, _)) => tokio::time::sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                cause = call.ended() => break RecordEnd::HungUp(cause),
                failed = recording.failed() => return Err(failed),
                () = changed => {}
                () = timeout => {
                    if let Some((_, end)) = deadline {
                        break end;
                    }
                }
            }
        };
        recording.finish(end).await
    }
}

impl IntoFuture for Record {
    type Output = Result<Recorded>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Recorded>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A recording that runs. Dropping it ends the recording, which is still
/// written whole.
#[derive(Debug)]
pub struct Recording {
    call: Arc<Shared>,
    id: u64,
    finished: Option<oneshot::Receiver<Result<Finished>>>,
    started: Instant,
}

impl Recording {
    /// Ends the recording and waits until the file is whole. It works after
    /// the call's end too.
    ///
    /// # Errors
    /// [`Error::Recording`] when the disk is full or the file cannot be written.
    pub async fn stop(self) -> Result<Recorded> {
        let end = match self.call.cause() {
            Some(cause) => RecordEnd::HungUp(cause),
            None => RecordEnd::Stopped,
        };
        self.finish(end).await
    }

    /// Resolves when writing fails; never while it goes well. Cancel safe.
    async fn failed(&mut self) -> Error {
        if let Some(finished) = self.finished.as_mut() {
            match finished.await {
                Ok(Err(error)) => return error,
                // The media side ended it: the call is about to end.
                _ => self.finished = None,
            }
        }
        std::future::pending().await
    }

    async fn finish(mut self, end: RecordEnd) -> Result<Recorded> {
        // After the call's end the session, and with it the sink, is gone already.
        let _ = self.call.media(Command::StopRecord { id: self.id });
        let Some(finished) = self.finished.take() else {
            return Err(Error::State("this recording has ended already"));
        };
        match finished.await {
            Ok(result) => result.map(|done| Recorded {
                path: done.path,
                duration: done.duration,
                end,
            }),
            Err(_) => Err(Error::Closed),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.finished.is_some() {
            let _ = self.call.media(Command::StopRecord { id: self.id });
        }
    }
}
