//! A bot that records a message.

use std::time::Duration;

use callbot_core::{
    Bot, Call, Error, IncomingCall, PlayEnd, RecordEnd, Recorded, Result, Sound, Tone, async_trait,
};

/// Answers, beeps, records until silence, `#`, a maximum or the hang-up, and hangs up.
///
/// ```
/// use callbot::RecordBot;
/// use std::time::Duration;
///
/// let bot = RecordBot::new("rec/{date}-{from}-{call_id}.wav")
///     .greeting("leave-a-message.wav")
///     .max(Some(Duration::from_secs(120)));
/// # let _ = bot;
/// ```
#[derive(Clone, Debug)]
pub struct RecordBot {
    template: String,
    greeting: Option<Sound>,
    beep: bool,
    max: Option<Duration>,
    silence: Option<Duration>,
    finish_on: String,
    stereo: bool,
}

impl RecordBot {
    /// Records to this file: after a beep, for at most 60 s, until 3 s of
    /// silence or `#`. The name expands `{date}`, `{time}`, `{call_id}`,
    /// `{from}` and `{to}`.
    pub fn new(template: impl Into<String>) -> Self {
        Self {
            template: template.into(),
            greeting: None,
            beep: true,
            max: Some(Duration::from_secs(60)),
            silence: Some(Duration::from_secs(3)),
            finish_on: "#".to_owned(),
            stereo: false,
        }
    }

    /// Plays this before the beep; a digit skips it.
    pub fn greeting(mut self, sound: impl Into<Sound>) -> Self {
        self.greeting = Some(sound.into());
        self
    }

    /// Whether it beeps before it records.
    pub fn beep(mut self, beep: bool) -> Self {
        self.beep = beep;
        self
    }

    /// The longest recording; `None` has no end.
    pub fn max(mut self, max: Option<Duration>) -> Self {
        self.max = max;
        self
    }

    /// How much silence of the caller ends it; `None` is never.
    pub fn silence(mut self, silence: Option<Duration>) -> Self {
        self.silence = silence;
        self
    }

    /// Which digits end it, `#` by default; an empty string is none.
    pub fn finish_on(mut self, digits: impl Into<String>) -> Self {
        self.finish_on = digits.into();
        self
    }

    /// Records the caller left and the bot right, instead of both mixed.
    pub fn stereo(mut self) -> Self {
        self.stereo = true;
        self
    }

    async fn record(&self, call: &Call) -> Result<Recorded> {
        // Digits from before skipped the greeting; they do not end the message.
        let mut record = call
            .record(self.template.as_str())
            .finish_on_any(self.finish_on.as_str())
            .flush();
        if let Some(max) = self.max {
            record = record.max(max);
        }
        if let Some(silence) = self.silence {
            record = record.silence(silence);
        }
        if self.stereo {
            record = record.stereo();
        }
        record.await
    }

    /// The rest of a call whose recording failed: it goes on as if it were
    /// recorded, for the caller cannot help a full disk.
    async fn linger(&self, call: &Call) -> Result<()> {
        let pressed = async {
            loop {
                if self.finish_on.contains(call.next_digit().await?) {
                    return Ok(());
                }
            }
        };
        match self.max {
            None => pressed.await,
            Some(max) => tokio::time::timeout(max, pressed).await.unwrap_or(Ok(())),
        }
    }
}

#[async_trait]
impl Bot for RecordBot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        if let Some(greeting) = &self.greeting {
            let mut playing = call.play(greeting).stop_on_digit().start().await?;
            if let PlayEnd::Digit { played } = playing.finished().await? {
                tracing::debug!(call_id = call.call_id(), ?played, "greeting skipped");
            }
        }
        if self.beep {
            call.play(Tone::beep()).await?;
        }
        match self.record(&call).await {
            Ok(Recorded {
                end: RecordEnd::HungUp(cause),
                ..
            }) => return Err(Error::HungUp(cause)),
            Ok(recorded) => {
                tracing::debug!(call_id = call.call_id(), end = ?recorded.end, "recorded");
            }
            Err(error @ Error::Recording { .. }) => {
                tracing::error!(call_id = call.call_id(), %error, "the call goes on without a recording");
                self.linger(&call).await?;
            }
            Err(error) => return Err(error),
        }
        call.hangup().await
    }
}
