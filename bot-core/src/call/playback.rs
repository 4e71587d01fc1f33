//! Playing sounds to the far end.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use callbot_media::session::Command;
use tokio::sync::oneshot;

use super::Shared;
use crate::error::{Error, Result};
use crate::sound::{How, Sound};

/// How a playback ended, and how much of it was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayEnd {
    /// The sound was played to its end.
    Finished {
        /// Length played.
        played: Duration,
    },
    /// It was stopped.
    Stopped {
        /// Length played.
        played: Duration,
    },
    /// A digit of the far end stopped it ([`Play::stop_on_digit`]).
    Digit {
        /// Length played.
        played: Duration,
    },
}

impl PlayEnd {
    /// How much was played.
    pub fn played(self) -> Duration {
        match self {
            Self::Finished { played } | Self::Stopped { played } | Self::Digit { played } => played,
        }
    }
}

/// A sound about to be played; await it to play it to its end.
/// Made by [`Call::play`](super::Call::play).
///
/// Dropping the future stops the sound within one frame (20 ms), so that
/// `select!` is all that barge-in needs.
#[must_use = "a sound plays when this is awaited or started"]
#[derive(Debug)]
pub struct Play {
    call: Arc<Shared>,
    sound: Sound,
    repeat: bool,
    gain_db: f32,
    seek: Duration,
    stop_on_digit: bool,
}

impl Play {
    pub(crate) fn new(call: Arc<Shared>, sound: Sound) -> Self {
        Self {
            call,
            sound,
            repeat: false,
            gain_db: 0.0,
            seek: Duration::ZERO,
            stop_on_digit: false,
        }
    }

    /// Starts anew at the end, until stopped.
    pub fn looped(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// Makes it louder or softer, in dB, -60 to +20.
    pub fn gain_db(mut self, gain: f32) -> Self {
        self.gain_db = if gain.is_finite() {
            gain.clamp(-60.0, 20.0)
        } else {
            0.0
        };
        self
    }

    /// Begins this far into the sound.
    pub fn seek(mut self, position: Duration) -> Self {
        self.seek = position;
        self
    }

    /// Lets a digit of the far end stop it within one frame.
    pub fn stop_on_digit(mut self) -> Self {
        self.stop_on_digit = true;
        self
    }

    /// Starts playing and returns at once; sounds started while one plays wait for it.
    ///
    /// # Errors
    /// [`Error::Sound`] when the file cannot be used, [`Error::HungUp`] after the call.
    pub async fn start(self) -> Result<Playback> {
        let how = How {
            rate: self.call.audio_rate()?,
            seek: self.seek,
            repeat: self.repeat,
        };
        let opened = self.sound.open(&self.call.endpoint.sounds, how);
        let mut player = self.call.until_ended(opened).await??;
        if self.gain_db != 0.0 {
            player = player.gain_db(self.gain_db);
        }
        let id = self.call.next_id();
        let (done, ended) = oneshot::channel();
        self.call.lock().playbacks.insert(id, done);
        self.call.media(Command::Play {
            id,
            playback: player,
            stop_on_digit: self.stop_on_digit,
        })?;
        Ok(Playback {
            call: self.call,
            id,
            ended: Some(ended),
        })
    }
}

impl IntoFuture for Play {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.start().await?.finished().await?;
            Ok(())
        })
    }
}

/// A sound that plays. Dropping it stops the sound; [`Playback::detach`] lets it go on.
#[derive(Debug)]
pub struct Playback {
    call: Arc<Shared>,
    id: u64,
    ended: Option<oneshot::Receiver<PlayEnd>>,
}

impl Playback {
    /// Waits for the end. Cancel safe while this handle is kept; a second call
    /// after the end returns an error.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call ends first.
    pub async fn finished(&mut self) -> Result<PlayEnd> {
        let Some(ended) = self.ended.as_mut() else {
            return Err(Error::State("this playback has ended already"));
        };
        let end = self.call.until_ended(ended).await?;
        self.ended = None;
        match end {
            Ok(end) => Ok(end),
            Err(_) => Err(Error::HungUp(self.call.ended().await)),
        }
    }

    /// Stops the sound within one frame, and waits until it has stopped.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call ends first.
    pub async fn stop(mut self) -> Result<PlayEnd> {
        self.call.media(Command::StopPlay { id: self.id })?;
        self.finished().await
    }

    /// Lets the sound go on without this handle.
    pub fn detach(mut self) {
        self.ended = None;
    }
}

impl Drop for Playback {
    fn drop(&mut self) {
        if self.ended.is_some() {
            let _ = self.call.media(Command::StopPlay { id: self.id });
        }
    }
}
