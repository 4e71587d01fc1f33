//! The other side of a bot: a caller with a script.

use std::time::Duration;

use callbot_core::{Call, CallEvent, Endpoint, Error, OutgoingCall, Party, Result, Sound};
use tokio::sync::broadcast;

use crate::answer;

/// How long the far end may take to answer our BYE.
const GOODBYE: Duration = Duration::from_secs(1);

/// What happens in a call that a [`Caller`] places.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// The far end rings, or says more before it answers; the SIP status.
    Ringing(u16),
    /// It answered.
    Answered,
    /// It pressed a digit.
    Digit(char),
    /// Its media stays away; the sentence names the likely cause.
    MediaLost(String),
    /// Its media came again.
    MediaResumed,
    /// It put the call on hold (`true`) or took it off.
    Held(bool),
}

/// Places a call, and plays, records and presses digits in it.
///
/// The call ends when [`duration`](Caller::duration) is over or the far end
/// hangs up; without a duration, when the sound and the digits are done; with
/// neither of them, only when the far end hangs up.
///
/// ```no_run
/// use callbot::Caller;
/// use callbot_core::Endpoint;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::builder().listen("udp://0.0.0.0:0").start().await?;
/// let caller = Caller::new().play("question.wav").record("answer.wav").dtmf("W1W2#");
/// let call = caller.start(&endpoint, "sip:600@pbx.example").await?;
/// caller.talk(call, |progress| println!("{progress:?}")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Caller {
    play: Option<Sound>,
    looped: bool,
    record: Option<String>,
    stereo: bool,
    dtmf: Option<String>,
    duration: Option<Duration>,
    timeout: Option<Duration>,
    from: Option<String>,
    display_name: Option<String>,
    proxy: Option<String>,
    headers: Vec<(String, String)>,
    credentials: Option<(String, String)>,
}

impl Caller {
    /// A caller who says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plays this sound after the answer.
    pub fn play(mut self, sound: impl Into<Sound>) -> Self {
        self.play = Some(sound.into());
        self
    }

    /// Plays the sound over and over.
    pub fn looped(mut self) -> Self {
        self.looped = true;
        self
    }

    /// Records both sides from the answer on.
    pub fn record(mut self, template: impl Into<String>) -> Self {
        self.record = Some(template.into());
        self
    }

    /// Records the far end left and us right, instead of both mixed.
    pub fn stereo(mut self) -> Self {
        self.stereo = true;
        self
    }

    /// Presses digits after the answer: `0-9 * # A-D`, `w` pauses 0.5 s and `W` 1 s.
    pub fn dtmf(mut self, digits: impl Into<String>) -> Self {
        self.dtmf = Some(digits.into());
        self
    }

    /// Hangs up this long after the answer.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Gives up when there is no answer within this time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The caller's URI.
    pub fn from(mut self, uri: impl Into<String>) -> Self {
        self.from = Some(uri.into());
        self
    }

    /// The caller's display name.
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = Some(name.into());
        self
    }

    /// Sends the call there, whatever the called URI's host says.
    pub fn proxy(mut self, uri: impl Into<String>) -> Self {
        self.proxy = Some(uri.into());
        self
    }

    /// Adds a header to the INVITE.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// User name and password for a challenge.
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((username.into(), password.into()));
        self
    }

    /// Places the call, and returns as soon as it is on its way. Finding the
    /// way takes part of the timeout. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Uri`] when the URI cannot be called, [`Error::Exhausted`]
    /// without room for media.
    pub async fn start(&self, endpoint: &Endpoint, uri: &str) -> Result<OutgoingCall> {
        let mut dial = endpoint.dial(uri);
        if let Some(from) = &self.from {
            dial = dial.from(from);
        }
        if let Some(name) = &self.display_name {
            dial = dial.display_name(name);
        }
        if let Some(proxy) = &self.proxy {
            dial = dial.proxy(proxy);
        }
        for (name, value) in &self.headers {
            dial = dial.header(name, value);
        }
        if let Some((username, password)) = &self.credentials {
            dial = dial.credentials(username, password);
        }
        if let Some(timeout) = self.timeout {
            dial = dial.timeout(timeout);
            return match tokio::time::timeout(timeout, dial.start()).await {
                Ok(started) => started,
                Err(_) => Err(Error::Uri {
                    uri: uri.to_owned(),
                    why: format!("no way to it was found within {} s", timeout.as_secs_f32()),
                }),
            };
        }
        dial.start().await
    }

    /// Holds the call that [`start`](Caller::start) placed, from its ringing
    /// to its end, and tells what happens meanwhile. Dropping the future ends
    /// the call.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call is refused, or ends before the script
    /// does; that is a refusal only if it was not answered.
    pub async fn talk(&self, call: OutgoingCall, mut tell: impl FnMut(Progress)) -> Result<()> {
        let mut events = call.events();
        let ringing = async {
            match self.timeout {
                None => call.ringing().await.ok(),
                Some(timeout) => match tokio::time::timeout(timeout, call.ringing()).await {
                    Ok(status) => status.ok(),
                    Err(_) => None,
                },
            }
        };
        if let Some(status @ 101..=199) = ringing.await {
            tell(Progress::Ringing(status));
        }
        let call = call.answered().await?;
        tell(Progress::Answered);
        let recording = match &self.record {
            Some(template) => answer::record(&call, template, self.stereo).await?,
            None => None,
        };
        let script = async {
            match self.duration {
                None => self.perform(&call).await,
                Some(time) => match tokio::time::timeout(time, self.stay(&call)).await {
                    Ok(ended) => ended,
                    Err(_) => Ok(()),
                },
            }
        };
        let result = {
            tokio::pin!(script);
            loop {
                tokio::select! {
                    biased;
                    happened = next(&mut events) => {
                        if let Some(progress) = happened {
                            tell(progress);
                        }
                    }
                    result = &mut script => break result,
                }
            }
        };
        if let Some(recording) = recording {
            // An error has been logged when it happened.
            let _ = recording.stop().await;
        }
        // A far end that is gone does not answer a BYE; the dialog's own
        // time-out goes on without us.
        let _ = tokio::time::timeout(GOODBYE, call.hangup()).await;
        result
    }

    /// Plays and presses; with neither, waits for the far end to hang up.
    async fn perform(&self, call: &Call) -> Result<()> {
        if self.play.is_none() && self.dtmf.is_none() {
            return Err(Error::HungUp(call.ended().await));
        }
        let play = async {
            match &self.play {
                Some(sound) => answer::play(call, sound, self.looped).await,
                None => Ok(()),
            }
        };
        let press = async {
            match &self.dtmf {
                Some(digits) => call.send_dtmf(digits.as_str()).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(play, press).map(drop)
    }

    /// Plays and presses, and waits for the end.
    async fn stay(&self, call: &Call) -> Result<()> {
        self.perform(call).await?;
        Err(Error::HungUp(call.ended().await))
    }
}

/// The next event that is worth telling; cancel safe. After the last one it waits for ever.
async fn next(events: &mut broadcast::Receiver<CallEvent>) -> Option<Progress> {
    match events.recv().await {
        Ok(CallEvent::DigitStarted { digit }) => Some(Progress::Digit(digit)),
        Ok(CallEvent::MediaLost { text }) => Some(Progress::MediaLost(text)),
        Ok(CallEvent::MediaResumed) => Some(Progress::MediaResumed),
        Ok(CallEvent::Held { by: Party::Remote }) => Some(Progress::Held(true)),
        Ok(CallEvent::Resumed { by: Party::Remote }) => Some(Progress::Held(false)),
        Ok(CallEvent::Ended(_)) | Err(broadcast::error::RecvError::Closed) => {
            std::future::pending().await
        }
        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
    }
}
