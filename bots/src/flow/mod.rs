//! The IVR flow document: what `callbot ivr FLOW` runs and `callbot check FLOW` checks.
//!
//! A flow is YAML or JSON. It names states; a state is a list of steps; a call
//! begins in one state and goes from state to state.
//!
//! ```yaml
//! version: 1
//! name: Office
//! prompts: prompts/             # a folder beside this file, or a map of names to prompts
//! start: menu                   # the first state, when it is not said
//! states:
//!   menu:
//!     - gather:
//!         prompt: [welcome.wav, menu.wav]
//!         tries: 3
//!         on: {'1': message, '2': hours}
//!     - goto: bye               # nobody pressed a key of `on`
//!   message:
//!     - play: leave-a-message.wav
//!     - record: {file: 'rec/{date}-{call_id}.wav', max: 60s, silence: 3s}
//!     - goto: bye
//!   hours: [{play: hours.wav}, {goto: menu}]
//!   bye: [{play: 'builtin:goodbye'}, hangup]
//! ```
//!
//! # Steps
//!
//! A call begins unanswered. `play`, `gather`, `record`, `dtmf` and `transfer`
//! answer it when it is not yet answered; after the last step of a state it is hung up.
//!
//! | step | meaning |
//! |---|---|
//! | `ring: 2s` | let it ring for so long (before it is answered) |
//! | `answer` | answer now |
//! | `reject: 486` | refuse it (before it is answered); `{status, reason}` |
//! | `play: PROMPT` | `{prompt, repeat: 1 or forever, barge_in: false}` |
//! | `gather: {...}` | ask for digits; see below |
//! | `branch: {value: '{from}', on: {'100': boss, '+49...': german}, otherwise: menu}` | go where a value leads |
//! | `record: FILE.wav` | `{file, max: 60s, silence: 3s or never, finish_on: '#', beep: true, stereo: false}` |
//! | `dtmf: '12w#'` | press keys, w and W are pauses of 0.5 s and 1 s; `{digits, tone: 100ms, gap: 100ms}` |
//! | `transfer: 'sip:sales@pbx'` | send the caller there; `{to, attended: false, prompt, timeout: 30s, on_failure}` |
//! | `pause: 500ms` | do nothing |
//! | `goto: STATE` | go on in another state |
//! | `hangup` | end the call |
//!
//! `gather` takes `prompt`, `digits` (4, or 1-8; else as many as the keys of
//! `on` have), `finish_on` (none), `first_digit` (5s), `inter_digit` (3s),
//! `tries` (1), `barge_in` (true), `flush` (false: digits pressed ahead count),
//! `on` (patterns to states, the first that matches) or `allow` (one pattern),
//! `on_timeout`, `on_invalid` (where to go after the last try; without
//! `on_invalid` as `on_timeout`, without both to the next step),
//! `invalid_prompt` and `timeout_prompt` (played between tries).
//!
//! `transfer` asks the caller's telephone to call `to` (a blind transfer), or with `attended: true` calls there
//! itself, plays `prompt` over and over meanwhile, and hands the caller over when it is answered within `timeout`.
//! When that has come about, the call is over; when it fails, the call goes on with `on_failure`, or with the next step.
//!
//! **Prompts** are a name from `prompts:`, a file, `builtin:NAME`,
//! `tone:440Hz 1s`, `silence:500ms`, `spell:{digits}` (key by key), or a list of
//! these. **Patterns** are digits in which `?` is any one digit, `[1-5]` one of these and `...` at the end
//! anything more. **Variables** in file names and values are `{digits}`,
//! `{from}`, `{to}`, `{call_id}`, `{date}` and `{time}`. **Durations** are
//! `5s`, `500ms`, `2m`, `1h` or a number of seconds.
//!
//! # Reading
//!
//! [`load`] gives a [`Flow`] in which everything is resolved and typed, or all
//! the [`Problems`] of the file, each with its line and column. A flow with
//! warnings only can be used. Nothing in a file can make the reader panic, run
//! long or take much memory: size, depth and the expansion of aliases are bounded.

mod choice;
mod graph;
mod model;
mod pattern;
mod problem;
mod prompts;
mod read;
mod steps;
mod text;
mod transfer;
mod tree;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use model::StateId as Id;
pub use model::{
    Action, Branch, Dtmf, Flow, Gather, Play, PromptRef, Record, Reject, State, StateId, Step,
    ToneSpec, Transfer,
};
pub use pattern::{KEYS, KeySet, Pattern};
pub(crate) use problem::nearest;
pub use problem::{Location, Problem, Problems, Severity};
use read::{Field, Fields, Reader, shown};
pub(crate) use text::duration;
pub use text::{Template, Variable};
use tree::Value;

/// The JSON Schema (draft 2020-12) of the document, for editors.
///
/// It describes the shape. What only [`load`] can tell (states that do not
/// exist, missing files, circles) it does not.
pub const SCHEMA: &str = include_str!("../../schema/ivr-flow.schema.json");

/// What a flow is checked against besides itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The names that may follow `builtin:`.
    pub builtins: &'a [&'a str],
    /// Whether an audio file that exists can be played; the error says why not.
    /// It is called once for each file.
    pub probe: &'a dyn Fn(&Path) -> Result<(), String>,
}

/// A flow that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The flow.
    pub flow: Flow,
    /// What its author should look at all the same. Often empty.
    pub warnings: Problems,
}

/// Reads and checks the file at `path`, whatever its ending.
///
/// # Errors
///
/// All problems of the file, warnings among them, when at least one is an
/// error; one problem without a place when the file cannot be read.
pub fn load(path: &Path, surroundings: &Surroundings<'_>) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match read_bounded(path) {
        Ok(bytes) => parse(&file, folder, &bytes, surroundings),
        Err(error) => {
            let text = format!("the flow cannot be read: {error}");
            let problem = Problem {
                severity: Severity::Error,
                location: None,
                text,
            };
            Err(Problems {
                file,
                list: vec![problem],
            })
        }
    }
}

/// Reads no more than is needed to see that a file is too large, so that a
/// path like `/dev/zero` ends too.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = tree::MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?
        .take(limit)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads and checks a document that is in memory.
///
/// `file` is what problems name it, `folder` is where its prompts are.
///
/// # Errors
///
/// All problems of the document, when at least one is an error.
pub fn parse(
    file: &str,
    folder: &Path,
    bytes: &[u8],
    surroundings: &Surroundings<'_>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let tree = tree::read(bytes, &mut problems);
    let mut reader = Reader {
        surroundings,
        folder,
        prompt_folder: PathBuf::new(),
        named: BTreeMap::new(),
        probed: BTreeMap::new(),
        states: Vec::new(),
        problems,
    };
    let flow = tree.and_then(|tree| reader.flow(&tree));
    let has_errors = |reader: &Reader<'_>| {
        reader
            .problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    };
    if let Some(flow) = &flow {
        let whole = !has_errors(&reader);
        reader.graph(flow, whole);
    }
    let failed = has_errors(&reader);
    let problems = Problems::new(file, reader.problems);
    match flow {
        Some(flow) if !failed => Ok(Loaded {
            flow,
            warnings: problems,
        }),
        _ => Err(problems),
    }
}

impl Reader<'_> {
    fn flow(&mut self, tree: &tree::Node) -> Option<Flow> {
        let fields = self.fields(
            "a flow",
            tree,
            &["version", "name", "prompts", "start", "states"],
        )?;
        self.version(&fields);
        let name = fields
            .get("name")
            .and_then(|field| self.text(field, "Office"));
        if let Some(prompts) = fields.get("prompts") {
            self.prompt_section(prompts);
        }
        let Some(section) = fields.get("states") else {
            self.error(
                fields.at,
                "a flow needs `states:`, a map of state names to lists of steps",
            );
            return None;
        };
        let entries = match &section.node.value {
            Value::Map(entries) if !entries.is_empty() => entries,
            _ => {
                self.error(section.at(), "`states` is a map of at least one state name to a list of steps, as in `states: {menu: [hangup]}`");
                return None;
            }
        };
        // All names are known before the first step is read: steps name states that come later.
        self.states = entries.iter().map(|(key, _)| key.text.clone()).collect();
        let start = match fields.get("start") {
            Some(start) => self.state(start),
            None => Some(Id(0)),
        };
        let mut states = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let state = &key.text;
            if state.is_empty()
                || state.trim() != state
                || state.chars().any(char::is_control)
                || state.chars().count() > 64
            {
                self.error(
                    key.at,
                    format!(
                        "`{}` cannot name a state; use 1 to 64 characters on one line, without spaces around them",
                        shown(state)
                    ),
                );
            }
            let steps = self.steps(Field { key, node });
            states.push(State {
                name: state.clone(),
                at: key.at,
                steps,
            });
        }
        Some(Flow {
            name: name.map(str::to_owned),
            folder: self.folder.to_owned(),
            start: start.unwrap_or(Id(0)),
            states,
        })
    }

    fn version(&mut self, fields: &Fields<'_>) {
        match fields.get("version") {
            None => self.error(fields.at, "a flow begins with `version: 1`"),
            Some(field) => {
                let one =
                    matches!(&field.node.value, Value::Text { text, quoted: false } if text == "1");
                if !one {
                    self.error(
                        field.at(),
                        "this program knows version 1 of flows; write `version: 1`",
                    );
                }
            }
        }
    }
}
