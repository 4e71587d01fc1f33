//! An established call.

use std::sync::Arc;
use std::time::Duration;

use callbot_media::session::{Command, Statistics};
use tokio::sync::broadcast;

use super::audio::{AudioIn, AudioOut};
use super::dtmf::SendDtmf;
use super::gather::Gather;
use super::playback::Play;
use super::recording::Record;
use super::{CallEvent, CallMonitor, Guard, HangupCause, Shared};
use crate::error::{Error, Result};
use crate::signalling::CallInfo;
use crate::sound::Sound;

/// An established call. Clones are handles on the same call.
///
/// When the far end hangs up, whatever is awaited on it ends with
/// [`Error::HungUp`]. A call that a bot answered ends when its `on_call`
/// returns, whatever clones remain; a call that was dialled ends when its last
/// clone is dropped.
#[derive(Clone)]
pub struct Call {
    pub(crate) shared: Arc<Shared>,
    #[expect(dead_code, reason = "held so that the last handle ends the call")]
    guard: Arc<Guard>,
}

impl Call {
    pub(crate) fn new(shared: Arc<Shared>, guard: Arc<Guard>) -> Self {
        Self { shared, guard }
    }

    /// Who calls whom.
    pub fn info(&self) -> &CallInfo {
        &self.shared.info
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        self.shared.info.call_id()
    }

    /// The first header of this name in the far end's answer, for a call that
    /// we placed, or in its INVITE.
    pub fn header(&self, name: &str) -> Option<String> {
        let state = self.shared.lock();
        let answer = state.peer.as_ref().and_then(|peer| {
            peer.headers
                .iter()
                .find(|(have, _)| have.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        });
        answer.or_else(|| self.shared.info.header(name).map(str::to_owned))
    }

    /// Plays a sound; await it, or see [`Play`] for looping, gain and more.
    pub fn play(&self, sound: impl Into<Sound>) -> Play {
        Play::new(self.shared.clone(), sound.into())
    }

    /// Records to a WAV file. The name expands `{date}`, `{time}`,
    /// `{call_id}`, `{from}` and `{to}`; folders are made. A file that is there
    /// already stays: the new recording's name gets a number.
    pub fn record(&self, name: impl Into<String>) -> Record {
        Record::new(self.shared.clone(), name.into())
    }

    /// Gathers digits that the far end presses.
    pub fn gather(&self) -> Gather {
        Gather::new(self.shared.clone())
    }

    /// Presses digits: `0-9 * # A-D`, `w` pauses 0.5 s and `W` 1 s.
    pub fn send_dtmf(&self, digits: impl Into<String>) -> SendDtmf {
        SendDtmf::new(self.shared.clone(), digits.into())
    }

    /// The next digit that the far end presses; digits pressed before count.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call ends first.
    pub async fn next_digit(&self) -> Result<char> {
        loop {
            let changed = self.shared.changed();
            if let Some(digit) = self.shared.lock().digits.take() {
                return Ok(digit);
            }
            self.shared.until_ended(changed).await?;
        }
    }

    /// Every digit that the far end pressed so far, in order, read or not.
    pub fn digits_received(&self) -> String {
        self.shared.lock().all_digits.clone()
    }

    /// Whether a digit was pressed that nobody read yet.
    pub fn digits_waiting(&self) -> bool {
        !self.shared.lock().digits.is_empty()
    }

    /// Sends every RTP packet back as it comes, payload untouched, until the
    /// call ends. Dropping the future ends the echo. Cancel safe.
    ///
    /// # Errors
    /// Always [`Error::HungUp`], unless there is no media.
    pub async fn echo(&self) -> Result<()> {
        self.shared.media(Command::Reflect(true))?;
        let _stop = Undo(&self.shared, || Command::Reflect(false));
        Err(Error::HungUp(self.shared.ended().await))
    }

    /// Sends the audio back through decoder and jitter buffer, `delay` later,
    /// until the call ends. Dropping the future ends the echo. Cancel safe.
    ///
    /// # Errors
    /// Always [`Error::HungUp`], unless there is no media.
    pub async fn echo_audio(&self, delay: Duration) -> Result<()> {
        self.shared.media(Command::Loopback { delay })?;
        let _stop = Undo(&self.shared, || Command::StopLoopback);
        Err(Error::HungUp(self.shared.ended().await))
    }

    /// What the far end says, as a stream of 20 ms frames. A later tap takes
    /// the place of an earlier one.
    ///
    /// # Errors
    /// [`Error::HungUp`] after the call.
    pub fn audio_in(&self) -> Result<AudioIn> {
        AudioIn::open(&self.shared)
    }

    /// A sink of 20 ms frames that are sent while nothing plays.
    ///
    /// # Errors
    /// [`Error::HungUp`] after the call.
    pub fn audio_out(&self) -> Result<AudioOut> {
        AudioOut::open(self.shared.clone())
    }

    /// Rate of this call's audio, in Hz: that of frames in and out.
    ///
    /// # Errors
    /// [`Error::HungUp`] after the call.
    pub fn audio_rate(&self) -> Result<u32> {
        self.shared.audio_rate()
    }

    /// Events from now on. A watcher that is slow misses the oldest ones.
    pub fn events(&self) -> broadcast::Receiver<CallEvent> {
        self.shared.events()
    }

    /// Figures of the media as of now, or the last ones after the call.
    pub async fn statistics(&self) -> Option<Statistics> {
        self.shared.statistics().await
    }

    /// Time since the call was answered, up to its end.
    pub fn duration(&self) -> Duration {
        self.shared.duration()
    }

    /// Watches the call without holding it.
    pub fn monitor(&self) -> CallMonitor {
        CallMonitor::new(self.shared.clone())
    }

    /// Hangs up, and waits until the far end knows, for 2 s at most: media has
    /// ended by then, recordings are whole, and the BYE goes on being repeated
    /// without us. It is no error when the far end hung up first.
    ///
    /// # Errors
    /// None today; the result lets a bot end with it.
    pub async fn hangup(&self) -> Result<()> {
        self.shared.finish();
        self.shared.ended().await;
        Ok(())
    }

    /// Hangs up with a reason (RFC 3326), such as `Q.850;cause=17` or what
    /// [`HangupCause::reason_header`] gives of another call, and waits as
    /// [`hangup`](Self::hangup) does.
    ///
    /// # Errors
    /// None today; the result lets a bot end with it.
    pub async fn hangup_because(&self, reason: impl Into<String>) -> Result<()> {
        self.hangup_with(vec![("Reason".to_owned(), reason.into())])
            .await
    }

    /// Hangs up with headers of the BYE, and waits as [`hangup`](Self::hangup)
    /// does.
    ///
    /// # Errors
    /// None today; the result lets a bot end with it.
    pub async fn hangup_with(&self, headers: Vec<(String, String)>) -> Result<()> {
        self.shared.finish_with(headers);
        self.shared.ended().await;
        Ok(())
    }

    /// Waits for the end of the call. Cancel safe.
    pub async fn ended(&self) -> HangupCause {
        self.shared.ended().await
    }

    /// The cause, once the call has ended.
    pub fn hangup_cause(&self) -> Option<HangupCause> {
        self.shared.cause()
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Call").field(&self.call_id()).finish()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.info.call_id()).finish()
    }
}

/// Takes a media mode back when the future that set it is dropped.
struct Undo<'a, F: Fn() -> Command>(&'a Shared, F);

impl<F: Fn() -> Command> Drop for Undo<'_, F> {
    fn drop(&mut self) {
        let _ = self.0.media((self.1)());
    }
}
