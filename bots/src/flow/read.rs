//! Reads values out of a tree, and keeps going after a problem.
//!
//! Every method that gives an `Option` has told the problem when it gives
//! `None`; a caller goes on with something harmless in its place. A document
//! with an error never becomes a [`Flow`](super::Flow), so what stands in does
//! not matter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Surroundings;
use super::model::{PromptRef, StateId};
use super::pattern::{KEYS, KeySet};
use super::problem::{Location, Problem, Severity, nearest};
use super::text;
use super::tree::{Key, Node, Value};

/// How many problems are told with a guess at what was meant.
const MAX_GUESSES: usize = 100;

/// What is known while a document is read.
pub(crate) struct Reader<'a> {
    pub(crate) surroundings: &'a Surroundings<'a>,
    /// The folder of the document.
    pub(crate) folder: &'a Path,
    /// Where prompt files are looked for, relative to `folder`.
    pub(crate) prompt_folder: PathBuf,
    /// The prompts that have a name.
    pub(crate) named: BTreeMap<String, Vec<PromptRef>>,
    /// What probing each file said, so that each is decoded once.
    pub(crate) probed: BTreeMap<PathBuf, Option<String>>,
    /// The names of the states, in the order of the document.
    pub(crate) states: Vec<String>,
    pub(crate) problems: Vec<Problem>,
}

/// The entries of a map whose keys are all known.
pub(crate) struct Fields<'n> {
    pub(crate) at: Location,
    entries: Vec<Field<'n>>,
}

/// A key and its value.
#[derive(Clone, Copy)]
pub(crate) struct Field<'n> {
    pub(crate) key: &'n Key,
    pub(crate) node: &'n Node,
}

impl<'n> Field<'n> {
    /// Where to point at: an absent value has no place of its own.
    pub(crate) fn at(self) -> Location {
        match self.node.value {
            Value::Null => self.key.at,
            _ => self.node.at,
        }
    }

    pub(crate) fn name(self) -> &'n str {
        &self.key.text
    }
}

impl<'n> Fields<'n> {
    pub(crate) fn get(&self, name: &str) -> Option<Field<'n>> {
        self.entries
            .iter()
            .copied()
            .find(|field| field.key.text == name)
    }
}

impl Reader<'_> {
    pub(crate) fn error(&mut self, at: Location, text: impl Into<String>) {
        self.problems.push(Problem {
            severity: Severity::Error,
            location: Some(at),
            text: text.into(),
        });
    }

    pub(crate) fn warning(&mut self, at: Location, text: impl Into<String>) {
        self.problems.push(Problem {
            severity: Severity::Warning,
            location: Some(at),
            text: text.into(),
        });
    }

    /// Tells a reading error that carries its own text.
    pub(crate) fn ok<T>(&mut self, at: Location, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.error(at, text)).ok()
    }

    /// Whether it is still worth while to guess what was meant. Nobody reads the
    /// hundredth guess, and comparing thousands of words with thousands takes minutes.
    pub(crate) fn guesses(&self) -> bool {
        self.problems.len() < MAX_GUESSES
    }

    /// What was probably meant by `word`.
    pub(crate) fn near<'c>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        if self.guesses() {
            nearest(word, candidates)
        } else {
            None
        }
    }

    /// The entries of a map; an entry whose key is not among `known` is a problem.
    pub(crate) fn fields<'n>(
        &mut self,
        what: &str,
        node: &'n Node,
        known: &[&str],
    ) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            let keys = known.join(", ");
            self.error(
                node.at,
                match node.value {
                    Value::Null => {
                        format!("{what} has nothing below it; indent its keys further: {keys}")
                    }
                    _ => format!("{what} is a map with the keys {keys}, not {}", node.kind()),
                },
            );
            return None;
        };
        let mut fields = Fields {
            at: node.at,
            entries: Vec::new(),
        };
        for (key, node) in entries {
            if known.contains(&key.text.as_str()) {
                fields.entries.push(Field { key, node });
            } else {
                let instead = match self.near(&key.text, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it takes: {}", known.join(", ")),
                };
                self.error(
                    key.at,
                    format!("{what} has no key `{}`; {instead}", shown(&key.text)),
                );
            }
        }
        Some(fields)
    }

    /// Text, quoted or not.
    pub(crate) fn text<'n>(&mut self, field: Field<'n>, example: &str) -> Option<&'n str> {
        match &field.node.value {
            Value::Text {
                text,
                quoted: false,
            } if matches!(text.as_str(), "true" | "false") => {
                self.error(
                    field.at(),
                    format!(
                        "`{}` is text; put `{text}` in quotes if it is meant so",
                        field.name()
                    ),
                );
                None
            }
            Value::Text { text, .. } => Some(text),
            Value::Null => {
                let name = field.name();
                self.error(field.at(), format!("`{name}` has no value; write one like `{name}: {example}` (a value that begins with # or * needs quotes)"));
                None
            }
            _ => {
                let (name, kind) = (field.name(), field.node.kind());
                self.error(
                    field.at(),
                    format!("`{name}` is one value like `{name}: {example}`, not {kind}"),
                );
                None
            }
        }
    }

    pub(crate) fn duration(&mut self, field: Field<'_>) -> Option<Duration> {
        let text = self.text(field, "5s")?;
        self.ok(field.at(), text::duration(text))
    }

    /// A duration that may not be zero.
    pub(crate) fn some_time(&mut self, field: Field<'_>, or_else: &str) -> Option<Duration> {
        let duration = self.duration(field)?;
        if duration.is_zero() {
            self.error(
                field.at(),
                format!("`{}` is no time at all; {or_else}", field.name()),
            );
            return None;
        }
        Some(duration)
    }

    pub(crate) fn flag(&mut self, field: Field<'_>) -> Option<bool> {
        match &field.node.value {
            Value::Text {
                text,
                quoted: false,
            } if text == "true" => Some(true),
            Value::Text {
                text,
                quoted: false,
            } if text == "false" => Some(false),
            _ => {
                self.error(
                    field.at(),
                    format!("`{}` is true or false, without quotes", field.name()),
                );
                None
            }
        }
    }

    pub(crate) fn number(&mut self, field: Field<'_>, from: u32, to: u32) -> Option<u32> {
        let number = match &field.node.value {
            Value::Text {
                text,
                quoted: false,
            } => plain_number(text),
            _ => None,
        };
        let number = number.filter(|number| (from..=to).contains(number));
        if number.is_none() {
            self.error(
                field.at(),
                format!(
                    "`{}` is a number from {from} to {to}, without quotes",
                    field.name()
                ),
            );
        }
        number
    }

    /// A set of keys, which may be empty.
    pub(crate) fn keys(&mut self, field: Field<'_>) -> Option<KeySet> {
        let text = self.text(field, "'#'")?;
        self.ok(
            field.at(),
            KeySet::parse(text).map_err(|key| not_a_key(key, field.name())),
        )
    }

    /// The state of this name.
    pub(crate) fn state(&mut self, field: Field<'_>) -> Option<StateId> {
        let name = self.text(field, "menu")?;
        self.state_named(field.at(), name)
    }

    pub(crate) fn state_named(&mut self, at: Location, name: &str) -> Option<StateId> {
        if let Some(index) = self.states.iter().position(|state| state == name) {
            return Some(StateId(index));
        }
        let states = || self.states.iter().map(String::as_str);
        let instead = match self.near(name, states()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if name == "hangup" => "go to a state whose step is `- hangup`".to_owned(),
            None if self.states.len() > 8 => "give it steps under `states:`".to_owned(),
            None => format!("there are: {}", states().collect::<Vec<_>>().join(", ")),
        };
        self.error(
            at,
            format!("there is no state `{}`; {instead}", shown(name)),
        );
        None
    }
}

/// A number as both YAML and JSON write it, without leading zeros.
pub(crate) fn plain_number(text: &str) -> Option<u32> {
    let canonical = text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c));
    text.parse().ok().filter(|_| canonical)
}

pub(crate) fn not_a_key(key: char, name: &str) -> String {
    let hint = match key {
        'a'..='d' => format!("; write `{}`", key.to_ascii_uppercase()),
        _ => format!("; a telephone has {}", spelled_keys()),
    };
    format!(
        "`{}` in `{name}` is no key of a telephone{hint}",
        key.escape_debug()
    )
}

pub(crate) fn spelled_keys() -> &'static str {
    debug_assert_eq!(KEYS.len(), 16);
    "0-9, *, # and A-D"
}

/// A text of the document as a message shows it: on one line and not too long.
pub(crate) fn shown(text: &str) -> String {
    shortened(text, 60)
}

/// A path as a message shows it: a place that is looked for must be told in full.
pub(crate) fn shown_path(path: &Path) -> String {
    shown_whole(&path.display().to_string())
}

/// What another part of the program says, on one line.
pub(crate) fn shown_whole(text: &str) -> String {
    shortened(text, 4096)
}

fn shortened(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(most) {
        // Quotes and letters stay as they are; only what would break the line is escaped.
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(most).is_some() {
        shown.push_str("...");
    }
    shown
}
