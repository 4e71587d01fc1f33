//! What the caller does in its two calls, and what is checked after them.

use std::path::PathBuf;
use std::time::Duration;

use callbot_core::{Call, Cause, Endpoint, Error, HangupCause, Party, Result, Statistics, Tone};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::check::{self, Check};
use super::ear::{Ear, RATE};
use super::show::{Ink, Show, Way};
use super::stage::Folder;
use super::words::Words;

/// How long an answer, a hang-up or a report may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much later than it could be a prompt may come.
const SLACK: Duration = Duration::from_millis(1_200);
/// How long the caller waits before it speaks and before it presses a key, as
/// people do: a key overtakes sound that still waits in a jitter buffer.
const BREATH: Duration = Duration::from_millis(300);
/// Every key that a telephone can have.
const ALL_KEYS: &str = "0123456789*#ABCD";

/// The caller, and what it works with.
pub(super) struct Caller<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) folder: &'a Folder,
    pub(super) show: &'a Show,
    /// The digits that the IVR received, at the end of each call.
    pub(super) digits: mpsc::UnboundedReceiver<String>,
}

/// What the caller expects to hear and has to say.
struct Parts {
    greeting: Words,
    menu: Words,
    leave_a_message: Words,
    message: Words,
    thank_you: Words,
}

impl Parts {
    fn new() -> Self {
        Self {
            greeting: Words::of("welcome"),
            // Who knows the key need not hear the rest.
            menu: Words::of("menu").first(1, Duration::from_millis(1_550)),
            leave_a_message: Words::of("leave-a-message"),
            message: Words::of("caller-message").first(1, Duration::from_millis(2_070)),
            thank_you: Words::of("thank-you"),
        }
    }
}

/// One call after its end.
struct Finished {
    recording: PathBuf,
    pressed: String,
    figures: Option<Statistics>,
    cause: HangupCause,
}

impl Caller<'_> {
    /// Calls the IVR, leaves a message, and checks everything that can be heard.
    pub(super) async fn leaves_a_message(&mut self, uri: &str) -> Vec<Check> {
        let parts = Parts::new();
        self.show.ladder();
        let finished = match self.message_call(uri, &parts).await {
            Ok(finished) => finished,
            Err(error) => return vec![Check::new("the call", false, error.to_string())],
        };
        let arrived = self.digits_that_arrived().await;
        let (heard, unreadable) = check::channel(&finished.recording, 0);
        let (message, unwritten) = check::channel(&self.folder.file("message.wav"), 0);
        let mut checks = Vec::new();
        for why in [unreadable, unwritten].into_iter().flatten() {
            checks.push(Check::new("recording", false, why));
        }
        for words in [&parts.greeting, &parts.menu, &parts.leave_a_message] {
            checks.push(check::prompt(&heard, words));
        }
        checks.push(check::beep(after(&heard, &parts.leave_a_message)));
        checks.push(check::prompt(&heard, &parts.thank_you));
        checks.push(check::keys(&finished.pressed, &arrived));
        checks.extend(check::message(&message, &parts.message));
        checks.push(check::network(finished.figures.as_ref()));
        let cause = finished.cause;
        let well = cause.cause() == Cause::NormalClearing && cause.by() == Party::Remote;
        let end = match well {
            true => "the IVR hung up, as its flow says".to_owned(),
            false => cause.to_string(),
        };
        checks.push(Check::new("right end", well, end));
        checks
    }

    async fn message_call(&self, uri: &str, parts: &Parts) -> Result<Finished> {
        let recording_path = self.folder.file("call.wav");
        let call = self.dial(uri).await?;
        let recording = call.record(recording_path.display().to_string());
        let recording = recording.stereo().start().await?;
        let mut pressed = String::new();
        // A prompt that does not come ends the script; the checks say which.
        let script = self.message_script(&call, parts, &mut pressed).await;
        let cause = match &script {
            Ok(true) => timeout(PATIENCE, call.ended()).await.ok(),
            _ => None,
        };
        call.hangup().await?;
        let figures = call.statistics().await;
        let cause = cause.unwrap_or(call.ended().await);
        let recording = recording.stop().await?.path;
        if let Err(error) = script
            && error.hangup_cause().is_none()
        {
            return Err(error);
        }
        Ok(Finished {
            recording,
            pressed,
            figures,
            cause,
        })
    }

    async fn message_script(
        &self,
        call: &Call,
        parts: &Parts,
        pressed: &mut String,
    ) -> Result<bool> {
        let mut ear = Ear::on(call)?;
        if !self.hears(&mut ear, &parts.greeting).await || !self.hears(&mut ear, &parts.menu).await
        {
            return Ok(false);
        }
        self.presses(call, "1", pressed).await?;
        if !self.hears(&mut ear, &parts.leave_a_message).await {
            return Ok(false);
        }
        let beep = Tone::beep().samples(RATE);
        if ear.hear(&beep, Duration::from_secs(2)).await.is_none() {
            return Ok(false);
        }
        self.show.hears(Way::ToCaller, "hears a beep");
        sleep(BREATH).await;
        let says = format!("says {}", parts.message.short(40));
        self.show.arrow(Way::ToIvr, '═', Ink::Green, &says);
        call.play(parts.message.sound()).await?;
        sleep(BREATH).await;
        self.presses(call, "#", pressed).await?;
        // It presses all sixteen keys while the IVR thanks it.
        let (heard, sent) = tokio::join!(
            self.hears(&mut ear, &parts.thank_you),
            self.presses(call, ALL_KEYS, pressed)
        );
        sent?;
        Ok(heard)
    }

    /// Calls the IVR with the wrong prompt: the same check must fail now. Gives
    /// that check, and what was heard in place of the prompt.
    pub(super) async fn meets_the_fault(
        &mut self,
        uri: &str,
    ) -> Result<(Check, Option<(Words, f32)>)> {
        let expected = Words::of("leave-a-message");
        let instead = Words::of("lines-closed");
        self.show.ladder();
        let call = self.dial(uri).await?;
        let path = self.folder.file("wrong-prompt.wav").display().to_string();
        let recording = call.record(path).stereo().start().await?;
        let mut ear = Ear::on(&call)?;
        // Pressed ahead: the IVR goes straight to the message.
        self.presses(&call, "1", &mut String::new()).await?;
        self.hears(&mut ear, &expected).await;
        // What is said instead may take a moment longer.
        ear.hear(instead.samples(), SLACK).await;
        let heard_live = ear.all();
        call.hangup().await?;
        let (heard, _) = check::channel(&recording.stop().await?.path, 0);
        self.digits_that_arrived().await;
        Ok((
            check::prompt(&heard, &expected),
            check::what_is_it(&heard_live),
        ))
    }

    async fn dial(&self, uri: &str) -> Result<Call> {
        let call = self.endpoint.dial(uri).timeout(PATIENCE).await?;
        let codec = call.statistics().await.and_then(|figures| figures.codec);
        let codec = codec.map_or("no codec", |codec| codec.name());
        let audio = format!("audio both ways: {codec}, 50 packets/s");
        self.show.arrow(Way::ToCaller, '═', Ink::Green, &audio);
        Ok(call)
    }

    async fn presses(&self, call: &Call, keys: &str, pressed: &mut String) -> Result<()> {
        pressed.push_str(keys);
        let text = format!("presses {keys}");
        self.show.arrow(Way::ToIvr, '┄', Ink::Green, &text);
        call.send_dtmf(keys)
            .tone(Duration::from_millis(80))
            .gap(Duration::from_millis(50))
            .await
    }

    /// Whether the caller heard these words whole; shows it.
    async fn hears(&self, ear: &mut Ear, words: &Words) -> bool {
        let found = ear.hear(words.samples(), words.length() + SLACK).await;
        let text = words.short(36);
        let text = match found {
            Some(found) => format!("hears {text} {}", check::percent(found.confidence)),
            None => format!("does not hear {text}"),
        };
        self.show.hears(Way::ToCaller, &text);
        found.is_some()
    }

    async fn digits_that_arrived(&mut self) -> String {
        let arrived = timeout(PATIENCE, self.digits.recv()).await;
        arrived.ok().flatten().unwrap_or_default()
    }
}

/// What was heard after these words: at most a second and a half.
fn after<'a>(heard: &'a [i16], words: &Words) -> &'a [i16] {
    let found = callbot_core::analysis::find(words.samples(), heard, RATE);
    let from = found.map_or(0, |found| {
        (found.offset + words.length()).as_millis() as usize * RATE as usize / 1_000
    });
    let rest = heard.get(from..).unwrap_or_default();
    &rest[..rest.len().min(RATE as usize * 3 / 2)]
}

/// Turns an endpoint's failure into words.
pub(super) fn explain(error: &Error) -> String {
    format!("the call failed: {error}")
}
