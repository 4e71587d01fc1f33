//! Gathering digits: a prompt, and what the caller presses.
//!
//! Digits pressed before it starts count (type-ahead) unless flushed. The
//! time to the first digit starts when the prompt ends or is interrupted; the
//! time between digits restarts when a key comes up. While the call is held
//! both pause.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::playback::{Play, PlayEnd};
use super::{HangupCause, Shared};
use crate::error::{Error, Result};
use crate::sound::Sound;

/// What a [`Gather`] ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// Digits that are complete and that the pattern allows.
    Digits(String),
    /// The time ran out with too few digits.
    Timeout {
        /// What was pressed, perhaps nothing.
        digits: String,
    },
    /// Digits that the pattern refuses.
    Invalid {
        /// What was pressed.
        digits: String,
    },
}

type Pattern = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Digits about to be gathered; await it. Made by [`Call::gather`](super::Call::gather).
///
/// Dropping the future stops its prompt; digits already taken are lost, those
/// still waiting stay for the next reader.
#[must_use = "digits are gathered when this is awaited"]
pub struct Gather {
    call: Arc<Shared>,
    prompts: Vec<Sound>,
    invalid_prompt: Option<Sound>,
    min: usize,
    max: usize,
    finish_on: String,
    first_digit: Duration,
    inter_digit: Duration,
    tries: u32,
    barge_in: bool,
    flush: bool,
    pattern: Option<Pattern>,
}

/// One round's outcome.
enum Round {
    Done(String),
    TooFew(String),
    HungUp(HangupCause),
}

impl Gather {
    pub(crate) fn new(call: Arc<Shared>) -> Self {
        Self {
            call,
            prompts: Vec::new(),
            invalid_prompt: None,
            min: 1,
            max: 64,
            finish_on: String::new(),
            first_digit: Duration::from_secs(5),
            inter_digit: Duration::from_secs(3),
            tries: 1,
            barge_in: true,
            flush: false,
            pattern: None,
        }
    }

    /// Plays this first; several prompts play one after another.
    pub fn prompt(mut self, sound: impl Into<Sound>) -> Self {
        self.prompts.push(sound.into());
        self
    }

    /// Plays this before a further try.
    pub fn invalid_prompt(mut self, sound: impl Into<Sound>) -> Self {
        self.invalid_prompt = Some(sound.into());
        self
    }

    /// Takes exactly `count` digits.
    pub fn digits(mut self, count: usize) -> Self {
        self.min = count.clamp(1, 64);
        self.max = self.min;
        self
    }

    /// Takes `min` to `max` digits; `max` is 64 at most.
    pub fn between(mut self, min: usize, max: usize) -> Self {
        self.max = max.clamp(1, 64);
        self.min = min.min(self.max);
        self
    }

    /// Ends at this digit, which is not part of the result.
    pub fn finish_on(mut self, digit: char) -> Self {
        self.finish_on = digit.to_string();
        self
    }

    /// Ends at any of these digits, which is not part of the result.
    pub fn finish_on_any(mut self, digits: impl Into<String>) -> Self {
        self.finish_on = digits.into();
        self
    }

    /// Time to the first digit, from the end of the prompt; 5 s by default.
    pub fn first_digit(mut self, time: Duration) -> Self {
        self.first_digit = time;
        self
    }

    /// Time to the next digit, from the end of the last; 3 s by default.
    pub fn inter_digit(mut self, time: Duration) -> Self {
        self.inter_digit = time;
        self
    }

    /// How often it is tried, the prompt anew each time; once by default.
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// Whether a digit stops the prompt; it does by default.
    pub fn barge_in(mut self, barge_in: bool) -> Self {
        self.barge_in = barge_in;
        self
    }

    /// Forgets digits pressed before it starts.
    pub fn flush(mut self) -> Self {
        self.flush = true;
        self
    }

    /// Which digits are right; others are [`Gathered::Invalid`].
    pub fn matching(mut self, pattern: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.pattern = Some(Arc::new(pattern));
        self
    }

    async fn run(self) -> Result<Gathered> {
        if self.flush {
            self.call.lock().digits.clear();
        }
        let mut tries = 1;
        loop {
            let gathered = match self.round().await? {
                Round::HungUp(cause) => return Err(Error::HungUp(cause)),
                Round::TooFew(digits) => Gathered::Timeout { digits },
                Round::Done(digits) if digits.len() < self.min => Gathered::Invalid { digits },
                Round::Done(digits) => match &self.pattern {
                    Some(pattern) if !pattern(&digits) => Gathered::Invalid { digits },
                    _ => return Ok(Gathered::Digits(digits)),
                },
            };
            if tries >= self.tries {
                return Ok(gathered);
            }
            tries += 1;
            if let Some(sound) = &self.invalid_prompt {
                self.prompted(sound).await?;
            }
        }
    }

    async fn round(&self) -> Result<Round> {
        let mut digits = String::new();
        let prompt_ended = self.play_prompts().await?;
        // Time on hold, which no timer counts.
        let mut paused = Duration::ZERO;
        loop {
            let changed = self.call.changed();
            let taken = digits.len();
            if self.take(&mut digits) {
                return Ok(Round::Done(digits));
            }
            if digits.len() > taken {
                paused = Duration::ZERO;
            }
            let (held, deadline) = {
                let state = self.call.lock();
                let deadline = if digits.is_empty() {
                    Some(prompt_ended + self.first_digit)
                } else {
                    // While a key is down no time runs.
                    let released = state.digits.released_at();
                    released.map(|released| released.max(prompt_ended) + self.inter_digit)
                };
                (state.held, deadline.map(|deadline| deadline + paused))
            };
            let since = Instant::now();
            let timeout = async {
                match deadline {
                    Some(at) if !held => tokio::time::sleep_until(at).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                cause = self.call.ended() => return Ok(Round::HungUp(cause)),
                () = changed => if held {
                    paused += since.elapsed();
                },
                // Enough digits and no more to come is a result, too few is none.
                () = timeout => return Ok(if !digits.is_empty() && digits.len() >= self.min {
                    Round::Done(digits)
                } else {
                    Round::TooFew(digits)
                }),
            }
        }
    }

    /// Plays the prompts; says when the last one ended. With barge-in a digit
    /// ends them at once, also one that was pressed before.
    async fn play_prompts(&self) -> Result<Instant> {
        for sound in &self.prompts {
            if self.interrupted() || self.prompted(sound).await? {
                break;
            }
        }
        Ok(Instant::now())
    }

    fn interrupted(&self) -> bool {
        self.barge_in && !self.call.lock().digits.is_empty()
    }

    /// Plays one prompt; says whether a digit ended it.
    async fn prompted(&self, sound: &Sound) -> Result<bool> {
        let play = Play::new(self.call.clone(), sound.clone());
        // The media thread stops at any digit, within the frame. It does not
        // know the finishing digit that still belongs to the last number and
        // must not cut this prompt, so while that is awaited we stop it here.
        let at_once = self.barge_in && !self.call.lock().digits.swallows();
        let play = if at_once { play.stop_on_digit() } else { play };
        let mut playback = play.start().await?;
        loop {
            let changed = self.call.changed();
            if self.interrupted() {
                playback.stop().await?;
                return Ok(true);
            }
            tokio::select! {
                biased;
                end = playback.finished() => return Ok(matches!(end?, PlayEnd::Digit { .. })),
                () = changed => {}
            }
        }
    }

    /// Moves waiting digits into `digits`; true when they are complete.
    fn take(&self, digits: &mut String) -> bool {
        let mut state = self.call.lock();
        while digits.len() < self.max {
            let Some(digit) = state.digits.take() else {
                return false;
            };
            if self.finish_on.contains(digit) {
                return true;
            }
            digits.push(digit);
        }
        // A finishing digit that follows the last one still belongs to this number.
        if !self.finish_on.is_empty() {
            state.digits.swallow_next(&self.finish_on);
        }
        true
    }
}

impl IntoFuture for Gather {
    type Output = Result<Gathered>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Gathered>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather")
            .field("prompts", &self.prompts)
            .field("min", &self.min)
            .field("max", &self.max)
            .field("finish_on", &self.finish_on)
            .finish_non_exhaustive()
    }
}
