//! The flow document as the interpreter sees it: plain data, resolved and typed.
//!
//! Invariants, kept by the reader in this module's siblings: every [`StateId`]
//! in a [`Flow`] belongs to a state of that flow; durations, digits and
//! patterns are valid; every file of a [`PromptRef::File`] was there when the
//! flow was read. An interpreter therefore meets no case that it would have to
//! report as a mistake of the document.

use std::ops::Index;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pattern::{KeySet, Pattern};
use super::problem::Location;
use super::text::Template;

/// A whole flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// The name that the document gives itself.
    pub name: Option<String>,
    /// The folder of the file, against which its prompts were resolved.
    pub folder: PathBuf,
    /// Where a call begins.
    pub start: StateId,
    /// The states in the order of the document. Index the flow by a [`StateId`] to get one.
    pub states: Vec<State>,
}

/// A state of one flow. It is meaningless in any other flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub(crate) usize);

impl Index<StateId> for Flow {
    type Output = State;

    /// # Panics
    ///
    /// May panic when the id is one of another flow.
    fn index(&self, id: StateId) -> &State {
        &self.states[id.0]
    }
}

impl Flow {
    /// The state of this name.
    pub fn find(&self, name: &str) -> Option<StateId> {
        self.states
            .iter()
            .position(|state| state.name == name)
            .map(StateId)
    }

    /// Every file that the flow plays and whose name holds no variable, each
    /// once: what is worth loading before the first call.
    pub fn prompt_files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = self
            .states
            .iter()
            .flat_map(|state| &state.steps)
            .flat_map(|step| step.action.prompts())
            .filter_map(|prompt| match prompt {
                PromptRef::File(path) => Some(path.as_path()),
                _ => None,
            })
            .collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// A named list of steps. When the last one is done, the call is hung up.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its name in the document.
    pub name: String,
    /// Where the document names it.
    pub at: Location,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// One step and its place in the document, for traces and messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where the step stands.
    pub at: Location,
    /// What is to be done.
    pub action: Action,
}

/// What one step does.
///
/// A call begins unanswered. `Ring` and `Reject` are found only where it is
/// certainly still unanswered; `Play`, `Gather`, `Record`, `Dtmf` and `Transfer`
/// answer a call that is not yet answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Let the phone ring (180) for so long.
    Ring(Duration),
    /// Answer now.
    Answer,
    /// Refuse the call, which ends it.
    Reject(Reject),
    /// Play prompts.
    Play(Play),
    /// Play prompts and take digits.
    Gather(Gather),
    /// Go where a value leads.
    Branch(Branch),
    /// Record the caller.
    Record(Record),
    /// Press keys.
    Dtmf(Dtmf),
    /// Send the caller to somebody else, which ends the call here.
    Transfer(Transfer),
    /// Do nothing for so long; neither answers nor discards digits.
    Pause(Duration),
    /// Go to another state.
    Goto(StateId),
    /// End the call.
    Hangup,
}

impl Action {
    /// The name of the step in the document.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ring(_) => "ring",
            Self::Answer => "answer",
            Self::Reject(_) => "reject",
            Self::Play(_) => "play",
            Self::Gather(_) => "gather",
            Self::Branch(_) => "branch",
            Self::Record(_) => "record",
            Self::Dtmf(_) => "dtmf",
            Self::Transfer(_) => "transfer",
            Self::Pause(_) => "pause",
            Self::Goto(_) => "goto",
            Self::Hangup => "hangup",
        }
    }

    /// Every prompt that the step may play.
    pub fn prompts(&self) -> impl Iterator<Item = &PromptRef> {
        let lists: [&[PromptRef]; 3] = match self {
            Self::Play(play) => [&play.prompt, &[], &[]],
            Self::Gather(gather) => [
                &gather.prompt,
                &gather.invalid_prompt,
                &gather.timeout_prompt,
            ],
            Self::Transfer(transfer) => [&transfer.prompt, &[], &[]],
            _ => [&[], &[], &[]],
        };
        lists.into_iter().flatten()
    }

    /// Whether this step answers a call that is not yet answered.
    pub fn answers(&self) -> bool {
        matches!(
            self,
            Self::Answer
                | Self::Play(_)
                | Self::Gather(_)
                | Self::Record(_)
                | Self::Dtmf(_)
                | Self::Transfer(_)
        )
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The SIP status, 400 to 699.
    pub status: u16,
    /// The reason phrase, when it is not to be the usual one of the status.
    pub reason: Option<String>,
}

/// What is played, one prompt after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Play {
    /// The prompts, at least one.
    pub prompt: Vec<PromptRef>,
    /// How often all of them are played; `None` is until the call ends.
    pub repeat: Option<u32>,
    /// Whether a digit stops them. The digit is kept for the next gather.
    pub barge_in: bool,
}

/// Where audio comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum PromptRef {
    /// A file that was there when the flow was read.
    File(PathBuf),
    /// A prompt that callbot brings with it, by its name.
    Builtin(String),
    /// A tone that is made when it is needed.
    Tone(ToneSpec),
    /// Nothing to be heard, for so long.
    Silence(Duration),
    /// The keys in the rendered text, spoken one after the other; anything else in it is passed over.
    Spell(Template),
    /// A file whose name depends on the call: `folder` joined with the rendered
    /// `name` ([`Template::file_name`]). It may be missing; that is known only then.
    Named {
        /// The folder of the prompts.
        folder: PathBuf,
        /// The name in it.
        name: Template,
    },
}

/// A tone of one or more frequencies.
#[derive(Debug, Clone, PartialEq)]
pub struct ToneSpec {
    /// In hertz, 20 to 4000, at most four of them, sounding together.
    pub frequencies: Vec<f64>,
    /// How long.
    pub duration: Duration,
    /// The level of the sum in dBov, -60 to 0.
    pub level: f64,
}

/// Digits that are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// What is played while waiting; may be empty.
    pub prompt: Vec<PromptRef>,
    /// The least number of digits, at least 1.
    pub min_digits: usize,
    /// The number of digits that ends the entry at once.
    pub max_digits: usize,
    /// Keys that end the entry and are not part of it; may be empty.
    pub finish_on: KeySet,
    /// How long to wait for the first digit, from the end of the prompt.
    pub first_digit: Duration,
    /// How long to wait for each further digit.
    pub inter_digit: Duration,
    /// How often to ask in all, at least 1.
    pub tries: u32,
    /// Whether the first digit stops the prompt.
    pub barge_in: bool,
    /// Whether digits that were pressed before are forgotten.
    pub flush: bool,
    /// What is valid when `on` is empty; `None` is anything.
    pub allow: Option<Pattern>,
    /// Where valid digits lead: the first that matches. When it is empty, valid
    /// digits lead to the next step.
    pub on: Vec<(Pattern, StateId)>,
    /// Where to go when the last try ended with too few digits; `None` is the next step.
    pub on_timeout: Option<StateId>,
    /// Where to go when the last try ended with digits that are not valid; `None` is the next step.
    pub on_invalid: Option<StateId>,
    /// Played after a try with digits that are not valid, before the next try; may be empty.
    pub invalid_prompt: Vec<PromptRef>,
    /// Played after a try with too few digits, before the next try; may be empty.
    pub timeout_prompt: Vec<PromptRef>,
}

impl Gather {
    /// Whether these digits are a valid entry.
    pub fn accepts(&self, digits: &str) -> bool {
        let length = digits.chars().count();
        (self.min_digits..=self.max_digits).contains(&length)
            && if self.on.is_empty() {
                self.allow
                    .as_ref()
                    .is_none_or(|allow| allow.matches(digits))
            } else {
                self.target(digits).is_some()
            }
    }

    /// Where these digits lead; `None` when no key of `on` matches them.
    pub fn target(&self, digits: &str) -> Option<StateId> {
        self.on
            .iter()
            .find(|(pattern, _)| pattern.matches(digits))
            .map(|(_, state)| *state)
    }
}

/// A decision that needs no caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// What is looked at, as in `{from}` or `{digits}`.
    pub value: Template,
    /// Where it leads: the first that matches. At least one.
    pub on: Vec<(Pattern, StateId)>,
    /// Where to go when none matches; `None` is the next step.
    pub otherwise: Option<StateId>,
}

impl Branch {
    /// Where this value leads; `None` is the next step.
    pub fn target(&self, value: &str) -> Option<StateId> {
        let found = self.on.iter().find(|(pattern, _)| pattern.matches(value));
        found.map(|(_, state)| *state).or(self.otherwise)
    }
}

/// A recording of the caller. When it ends, the next step follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The name of the WAV file, taken from the working directory when it is relative.
    pub file: Template,
    /// The longest recording.
    pub max: Duration,
    /// How much silence ends it; `None` is never.
    pub silence: Option<Duration>,
    /// Keys that end it; may be empty.
    pub finish_on: KeySet,
    /// Whether a beep is played first.
    pub beep: bool,
    /// Caller left and bot right, instead of the two mixed.
    pub stereo: bool,
}

/// Keys to press.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dtmf {
    /// One or more of `0-9 * # A-D`, `w` for a pause of 0.5 s and `W` for one of 1 s.
    pub digits: String,
    /// How long each key is held.
    pub tone: Duration,
    /// How long to wait after each key.
    pub gap: Duration,
}

/// Sending the caller to somebody else. When it succeeds, the call is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// To whom: a SIP URI. What a variable brings in is escaped.
    pub to: Template,
    /// Whether whoever it is is called first, and the caller is handed over only when they answered; else the
    /// caller's telephone is asked to call there.
    pub attended: bool,
    /// Played to the caller, over and over, while they are being called; for an attended transfer only.
    pub prompt: Vec<PromptRef>,
    /// How long an attended transfer waits for an answer.
    pub timeout: Duration,
    /// Where to go when it fails; `None` is the next step.
    pub on_failure: Option<StateId>,
}
