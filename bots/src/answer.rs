//! A bot that answers, in every way that a test or a phone system may need.

use std::time::Duration;

use callbot_core::{Bot, Call, Error, IncomingCall, Recording, Result, Sound, async_trait};

/// Rings, then answers or refuses; plays, records, presses digits, hangs up.
///
/// Everything can be combined. Playing and pressing both begin with the
/// answer; when they are done the bot stays on the line, silent, until the
/// caller hangs up or [`hang_up_after`](AnswerBot::hang_up_after) is over.
/// Without any option it answers at once and stays silent.
///
/// ```
/// use callbot::AnswerBot;
/// use std::time::Duration;
///
/// let bot = AnswerBot::new()
///     .ring(Duration::from_secs(2))
///     .play("welcome.wav")
///     .dtmf("W12#")
///     .record("rec/{date}/{call_id}.wav")
///     .hang_up_after(Duration::from_secs(30));
/// # let _ = bot;
/// ```
#[derive(Clone, Debug, Default)]
pub struct AnswerBot {
    ring: Option<Duration>,
    reject: Option<u16>,
    play: Option<Sound>,
    looped: bool,
    record: Option<String>,
    stereo: bool,
    dtmf: Option<String>,
    hang_up_after: Option<Duration>,
}

impl AnswerBot {
    /// Answers and stays silent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets it ring (180) this long before anything else.
    pub fn ring(mut self, time: Duration) -> Self {
        self.ring = Some(time);
        self
    }

    /// Refuses the call with this status, 400 to 699, instead of answering.
    pub fn reject(mut self, status: u16) -> Self {
        self.reject = Some(status);
        self
    }

    /// Plays this sound once.
    pub fn play(mut self, sound: impl Into<Sound>) -> Self {
        self.play = Some(sound.into());
        self
    }

    /// Plays the sound over and over.
    pub fn looped(mut self) -> Self {
        self.looped = true;
        self
    }

    /// Records both sides; the name expands `{date}`, `{time}`, `{call_id}`, `{from}` and `{to}`.
    pub fn record(mut self, template: impl Into<String>) -> Self {
        self.record = Some(template.into());
        self
    }

    /// Records the caller left and the bot right, instead of both mixed.
    pub fn stereo(mut self) -> Self {
        self.stereo = true;
        self
    }

    /// Presses digits: `0-9 * # A-D`, `w` pauses 0.5 s and `W` 1 s.
    pub fn dtmf(mut self, digits: impl Into<String>) -> Self {
        self.dtmf = Some(digits.into());
        self
    }

    /// Hangs up this long after the answer.
    pub fn hang_up_after(mut self, time: Duration) -> Self {
        self.hang_up_after = Some(time);
        self
    }

    async fn talk(&self, call: &Call) -> Result<()> {
        let play = async {
            match &self.play {
                Some(sound) => play(call, sound, self.looped).await,
                None => Ok(()),
            }
        };
        let press = async {
            match &self.dtmf {
                Some(digits) => call.send_dtmf(digits.as_str()).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(play, press)?;
        Err(Error::HungUp(call.ended().await))
    }
}

#[async_trait]
impl Bot for AnswerBot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        if let Some(time) = self.ring {
            ring(&call, time).await?;
        }
        if let Some(status) = self.reject {
            return call.reject(status).await;
        }
        let call = call.answer().await?;
        let recording = match &self.record {
            Some(template) => record(&call, template, self.stereo).await?,
            None => None,
        };
        let result = match self.hang_up_after {
            None => self.talk(&call).await,
            Some(time) => tokio::time::timeout(time, self.talk(&call))
                .await
                .unwrap_or(Ok(())),
        };
        if let Some(recording) = recording {
            // An error has been logged when it happened; the call was not to suffer.
            let _ = recording.stop().await;
        }
        result
    }
}

/// Rings for `time`, unless the caller gives up before.
pub(crate) async fn ring(call: &IncomingCall, time: Duration) -> Result<()> {
    call.ring().await?;
    tokio::select! {
        biased;
        cause = call.cancelled() => Err(Error::HungUp(cause)),
        () = tokio::time::sleep(time) => Ok(()),
    }
}

pub(crate) async fn play(call: &Call, sound: &Sound, looped: bool) -> Result<()> {
    let play = call.play(sound);
    if looped {
        play.looped().await
    } else {
        play.await
    }
}

/// Starts a recording. A file that cannot be made costs the recording, never
/// the call: it is logged, and there is none.
pub(crate) async fn record(call: &Call, template: &str, stereo: bool) -> Result<Option<Recording>> {
    let record = call.record(template);
    let record = if stereo { record.stereo() } else { record };
    match record.start().await {
        Ok(recording) => Ok(Some(recording)),
        Err(error @ Error::Recording { .. }) => {
            tracing::error!(call_id = call.call_id(), %error, "the call goes on without a recording");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
