//! One call through a flow, step by step.
//!
//! Invariant: a circle of steps that takes no time ends the call with an
//! error, so that no flow can keep a processor busy. Circles that wait (for
//! digits, for a prompt's end) may go on as long as the caller stays.

use std::time::Duration;

use callbot_core::{
    Call, CallMonitor, Error, IncomingCall, PlayEnd, RecordEnd, Result, Sound, Tone,
};
use jiff::Zoned;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::prompts;
use crate::answer::ring;
use crate::flow::{Action, Flow, Play, PromptRef, Record, StateId, Variable};

/// Steps that may follow each other without time passing.
const STEPS: u32 = 1000;
/// What counts as time passing.
const MOMENT: Duration = Duration::from_millis(20);

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Step,
    State(StateId),
    End,
}

/// How far the call is.
enum Stage {
    Unanswered(IncomingCall),
    Answered(Call),
    Over,
}

pub(super) struct Run<'a> {
    flow: &'a Flow,
    stage: Stage,
    monitor: CallMonitor,
    began: Zoned,
    /// What the last gather took.
    pub(super) digits: String,
    steps: u32,
    since: Instant,
}

impl<'a> Run<'a> {
    pub(super) fn new(flow: &'a Flow, call: IncomingCall) -> Self {
        let monitor = call.monitor();
        let began = jiff::Timestamp::try_from(monitor.wall_clock())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(TimeZone::system());
        Self {
            flow,
            stage: Stage::Unanswered(call),
            monitor,
            began,
            digits: String::new(),
            steps: 0,
            since: Instant::now(),
        }
    }

    pub(super) async fn through(mut self) -> Result<()> {
        let flow = self.flow;
        let mut state = flow.start;
        'states: loop {
            for step in &flow[state].steps {
                self.count(state)?;
                tracing::debug!(
                    call_id = self.monitor.info().call_id(),
                    state = flow[state].name,
                    step = step.action.name(),
                    line = step.at.line,
                );
                match self.step(&step.action).await? {
                    Next::Step => {}
                    Next::State(next) => {
                        state = next;
                        continue 'states;
                    }
                    Next::End => return Ok(()),
                }
            }
            return self.hang_up().await;
        }
    }

    /// Ends a circle that takes no time.
    fn count(&mut self, state: StateId) -> Result<()> {
        if self.since.elapsed() >= MOMENT {
            self.since = Instant::now();
            self.steps = 0;
        }
        self.steps += 1;
        if self.steps > STEPS {
            return Err(Error::other(format!(
                "the flow goes round and round at state `{}` without waiting for anything: add a pause, a prompt or a hangup",
                self.flow[state].name
            )));
        }
        Ok(())
    }

    async fn step(&mut self, action: &Action) -> Result<Next> {
        match action {
            Action::Ring(time) => {
                if let Stage::Unanswered(call) = &self.stage {
                    ring(call, *time).await?;
                }
            }
            Action::Answer => drop(self.answered().await?),
            Action::Reject(reject) => {
                return match std::mem::replace(&mut self.stage, Stage::Over) {
                    Stage::Unanswered(call) => {
                        match &reject.reason {
                            Some(reason) => call.reject_with(reject.status, reason).await?,
                            None => call.reject(reject.status).await?,
                        }
                        Ok(Next::End)
                    }
                    other => {
                        self.stage = other;
                        self.hang_up().await.map(|()| Next::End)
                    }
                };
            }
            Action::Play(play) => self.play(play).await?,
            Action::Gather(rules) => return self.gather(rules).await,
            Action::Branch(branch) => {
                let value = branch.value.render(|variable| self.value(variable));
                return Ok(branch.target(&value).map_or(Next::Step, Next::State));
            }
            Action::Record(record) => self.record(record).await?,
            Action::Dtmf(dtmf) => {
                let call = self.answered().await?;
                call.send_dtmf(dtmf.digits.as_str())
                    .tone(dtmf.tone)
                    .gap(dtmf.gap)
                    .await?;
            }
            Action::Transfer(transfer) => return self.transfer(transfer).await,
            Action::Pause(time) => {
                let time = *time;
                tokio::select! {
                    biased;
                    cause = self.monitor.ended() => return Err(Error::HungUp(cause)),
                    () = tokio::time::sleep(time) => {}
                }
            }
            Action::Goto(state) => return Ok(Next::State(*state)),
            Action::Hangup => return self.hang_up().await.map(|()| Next::End),
        }
        Ok(Next::Step)
    }

    /// The call, answered now if it was not yet.
    pub(super) async fn answered(&mut self) -> Result<Call> {
        let call = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Unanswered(call) => call.answer().await?,
            Stage::Answered(call) => call,
            Stage::Over => return Err(Error::HungUp(self.monitor.ended().await)),
        };
        self.stage = Stage::Answered(call.clone());
        Ok(call)
    }

    /// Hangs up; a call that was never answered is refused with 480.
    async fn hang_up(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Unanswered(call) => call.reject(480).await,
            Stage::Answered(call) => call.hangup().await,
            Stage::Over => Ok(()),
        }
    }

    async fn play(&mut self, play: &Play) -> Result<()> {
        let call = self.answered().await?;
        let mut left = play.repeat;
        while left != Some(0) {
            left = left.map(|left| left - 1);
            let began = Instant::now();
            let sounds = self.sounds(&play.prompt);
            if self.play_all(&call, &sounds, play.barge_in).await? {
                break;
            }
            // Prompts that are empty in this call must not be repeated for ever in no time.
            if left.is_none() && began.elapsed() < MOMENT {
                tokio::time::sleep(MOMENT).await;
            }
        }
        Ok(())
    }

    /// Plays these one after another; true when a digit stopped them.
    pub(super) async fn play_all(
        &self,
        call: &Call,
        sounds: &[Sound],
        barge_in: bool,
    ) -> Result<bool> {
        for sound in sounds {
            if barge_in && call.digits_waiting() {
                return Ok(true);
            }
            let play = call.play(sound);
            let play = if barge_in { play.stop_on_digit() } else { play };
            let end = match play.start().await {
                Ok(mut playing) => playing.finished().await?,
                Err(error @ Error::Sound { .. }) => {
                    tracing::error!(call_id = call.call_id(), %error, "the prompt is left out");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let PlayEnd::Digit { .. } = end {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn record(&mut self, record: &Record) -> Result<()> {
        let call = self.answered().await?;
        if record.beep {
            call.play(Tone::beep()).await?;
        }
        let name = record.file.file_name(|variable| self.value(variable));
        let finish_on: String = record.finish_on.iter().collect();
        // Digits from before chose this step; they do not end the message.
        let mut recording = call
            .record(name)
            .max(record.max)
            .finish_on_any(finish_on)
            .flush();
        if let Some(silence) = record.silence {
            recording = recording.silence(silence);
        }
        if record.stereo {
            recording = recording.stereo();
        }
        match recording.await {
            Ok(recorded) => match recorded.end {
                RecordEnd::HungUp(cause) => Err(Error::HungUp(cause)),
                _ => Ok(()),
            },
            Err(error @ Error::Recording { .. }) => {
                tracing::error!(call_id = call.call_id(), %error, "the call goes on without this recording");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn sounds(&self, prompts: &[PromptRef]) -> Vec<Sound> {
        prompts::sounds(prompts, &|variable| self.value(variable))
    }

    /// The call is somebody else's now.
    pub(super) fn over(&mut self) {
        self.stage = Stage::Over;
    }

    pub(super) fn value(&self, variable: Variable) -> String {
        let info = self.monitor.info();
        match variable {
            Variable::Digits => self.digits.clone(),
            Variable::From => info.caller().to_owned(),
            Variable::To => info.called().to_owned(),
            Variable::CallId => info.call_id().to_owned(),
            Variable::Date => self.began.strftime("%Y-%m-%d").to_string(),
            Variable::Time => self.began.strftime("%H%M%S").to_string(),
        }
    }
}
