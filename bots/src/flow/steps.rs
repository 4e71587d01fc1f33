//! Reads the steps of a state.

use std::time::Duration;

use super::model::{Action, Dtmf, Play, Record, Reject, Step};
use super::pattern::KeySet;
use super::problem::Location;
use super::read::{Field, Reader, not_a_key, shown};
use super::text::Template;
use super::tree::{Key, Node, Value};

/// The vocabulary: each step with the shortest thing that can be written after it.
const STEPS: [(&str, &str); 12] = [
    ("ring", "2s"),
    ("answer", ""),
    ("reject", "486"),
    ("play", "welcome.wav"),
    ("gather", "{prompt: menu.wav, on: {'1': sales}}"),
    ("branch", "{value: '{from}', on: {'100': boss}}"),
    ("record", "'rec/{date}-{call_id}.wav'"),
    ("dtmf", "'12#'"),
    ("transfer", "'sip:sales@pbx.example'"),
    ("pause", "500ms"),
    ("goto", "menu"),
    ("hangup", ""),
];

fn step_names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|(name, _)| *name)
}

impl Reader<'_> {
    /// Reads the list of steps of the state that `field` names.
    pub(crate) fn steps(&mut self, field: Field<'_>) -> Vec<Step> {
        let name = shown(field.name());
        match &field.node.value {
            Value::List(items) if !items.is_empty() => {
                items.iter().map(|item| self.step(field, item)).collect()
            }
            Value::List(_) | Value::Null => {
                self.error(
                    field.at(),
                    format!("the state `{name}` has no steps; give it at least `- hangup`"),
                );
                Vec::new()
            }
            _ => {
                self.error(field.at(), format!("the steps of `{name}` are a list; begin each with `- `, as in `- play: welcome.wav`"));
                Vec::new()
            }
        }
    }

    /// Reads one step. What stands in for a step with a mistake waits and goes
    /// on, so that no circle and no unreachable step is told because of it.
    fn step(&mut self, state: Field<'_>, node: &Node) -> Step {
        const STAND_IN: Action = Action::Pause(Duration::ZERO);
        match &node.value {
            Value::Text { text, .. } => {
                let action = match text.as_str() {
                    "answer" => Action::Answer,
                    "hangup" => Action::Hangup,
                    _ => {
                        self.bare_step(node.at, text);
                        STAND_IN
                    }
                };
                Step {
                    at: node.at,
                    action,
                }
            }
            Value::Map(entries) => {
                let mut entries = entries.iter();
                let Some((key, value)) = entries.next() else {
                    self.error(node.at, "a step is missing between the braces");
                    return Step {
                        at: node.at,
                        action: STAND_IN,
                    };
                };
                for (extra, _) in entries {
                    let text = if step_names().any(|name| name == extra.text) {
                        format!(
                            "`{0}` is a second step in the same list item; begin it with `- {0}:`",
                            extra.text
                        )
                    } else {
                        format!(
                            "`{}` stands beside `{}`; indent it further, below `{1}:`",
                            shown(&extra.text),
                            shown(&key.text)
                        )
                    };
                    self.error(extra.at, text);
                }
                let action = self.action(key, value).unwrap_or(STAND_IN);
                Step { at: key.at, action }
            }
            Value::Null => {
                self.error(
                    state.key.at,
                    format!(
                        "a step of `{}` is empty; write one after each `-`",
                        shown(state.name())
                    ),
                );
                Step {
                    at: node.at,
                    action: STAND_IN,
                }
            }
            Value::List(_) => {
                self.error(node.at, "a step is not a list; write `- play: welcome.wav`");
                Step {
                    at: node.at,
                    action: STAND_IN,
                }
            }
        }
    }

    /// Tells what is wrong with a step that is one word, or a line without its colon.
    fn bare_step(&mut self, at: Location, text: &str) {
        let (word, rest) = text.split_once([' ', ':']).unwrap_or((text, ""));
        let step = STEPS.iter().find(|(name, _)| *name == word);
        match step {
            Some((name, _)) if !rest.trim().is_empty() => {
                self.error(
                    at,
                    format!(
                        "`{}` is one word of text; write `{name}: {}` with a colon and a space",
                        shown(text),
                        shown(rest.trim())
                    ),
                );
            }
            Some((name, example)) if !example.is_empty() => {
                self.error(
                    at,
                    format!("`{name}` needs a value, as in `{name}: {example}`"),
                );
            }
            _ => self.unknown_step(at, word),
        }
    }

    fn unknown_step(&mut self, at: Location, word: &str) {
        let instead = match self.near(word, step_names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", step_names().collect::<Vec<_>>().join(", ")),
        };
        self.error(at, format!("there is no step `{}`; {instead}", shown(word)));
    }

    fn action(&mut self, key: &Key, node: &Node) -> Option<Action> {
        let field = Field { key, node };
        Some(match key.text.as_str() {
            "ring" => Action::Ring(self.some_time(field, "leave the step out")?),
            "answer" => {
                self.no_value(field)?;
                Action::Answer
            }
            "reject" => Action::Reject(self.reject(field)?),
            "play" => Action::Play(self.play(field)?),
            "gather" => Action::Gather(self.gather(field)?),
            "branch" => Action::Branch(self.branch(field)?),
            "record" => Action::Record(self.record(field)?),
            "dtmf" => Action::Dtmf(self.dtmf(field)?),
            "transfer" => Action::Transfer(self.transfer(field)?),
            "pause" => Action::Pause(self.some_time(field, "leave the step out")?),
            "goto" => Action::Goto(self.state(field)?),
            "hangup" => {
                self.no_value(field)?;
                Action::Hangup
            }
            other => {
                self.unknown_step(key.at, other);
                return None;
            }
        })
    }

    fn no_value(&mut self, field: Field<'_>) -> Option<()> {
        if matches!(field.node.value, Value::Null) {
            return Some(());
        }
        self.error(
            field.at(),
            format!("`{0}` takes no value; write `- {0}`", field.name()),
        );
        None
    }

    fn reject(&mut self, field: Field<'_>) -> Option<Reject> {
        if !matches!(field.node.value, Value::Map(_)) {
            return self.status(field).map(|status| Reject {
                status,
                reason: None,
            });
        }
        let fields = self.fields("`reject`", field.node, &["status", "reason"])?;
        let reason = fields.get("reason").and_then(|reason| {
            let text = self.text(reason, "'Busy here'")?;
            if text.is_empty() || text.len() > 100 || text.chars().any(char::is_control) {
                self.error(reason.at(), "`reason` is one line of 1 to 100 characters");
                return None;
            }
            Some(text.to_owned())
        });
        let Some(status) = fields.get("status") else {
            self.error(
                fields.at,
                "`reject` needs a `status`, as in `reject: {status: 486}`",
            );
            return None;
        };
        Some(Reject {
            status: self.status(status)?,
            reason,
        })
    }

    fn status(&mut self, field: Field<'_>) -> Option<u16> {
        let status = match &field.node.value {
            Value::Text {
                text,
                quoted: false,
            } => text.parse().ok(),
            _ => None,
        };
        let status = status.filter(|status| (400..=699).contains(status));
        if status.is_none() {
            self.error(field.at(), "`reject` takes a SIP status from 400 to 699: 486 is busy, 603 is declined, 480 is not available");
        }
        status
    }

    fn play(&mut self, field: Field<'_>) -> Option<Play> {
        let Value::Map(_) = field.node.value else {
            let prompt = self.prompts(field)?;
            return Some(Play {
                prompt,
                repeat: Some(1),
                barge_in: false,
            });
        };
        let fields = self.fields("`play`", field.node, &["prompt", "repeat", "barge_in"])?;
        let prompt = match fields.get("prompt") {
            Some(prompt) => self.prompts(prompt),
            None => {
                self.error(
                    fields.at,
                    "`play` needs a `prompt`, as in `play: {prompt: welcome.wav}`",
                );
                None
            }
        };
        let repeat = match fields.get("repeat") {
            None => Some(1),
            Some(repeat) if matches!(&repeat.node.value, Value::Text { text, .. } if text == "forever") => {
                None
            }
            Some(repeat) => match self.number(repeat, 1, 1000) {
                Some(times) => Some(times),
                None => Some(1),
            },
        };
        let barge_in = fields
            .get("barge_in")
            .and_then(|flag| self.flag(flag))
            .unwrap_or(false);
        Some(Play {
            prompt: prompt?,
            repeat,
            barge_in,
        })
    }

    fn record(&mut self, field: Field<'_>) -> Option<Record> {
        const KNOWN: [&str; 6] = ["file", "max", "silence", "finish_on", "beep", "stereo"];
        let mut record = Record {
            file: Template::default(),
            max: Duration::from_secs(60),
            silence: Some(Duration::from_secs(3)),
            finish_on: KeySet::parse("#").unwrap_or_default(),
            beep: true,
            stereo: false,
        };
        let file = if let Value::Map(_) = field.node.value {
            let fields = self.fields("`record`", field.node, &KNOWN)?;
            if let Some(max) = fields.get("max") {
                record.max = self.some_time(max, "nothing would be recorded")?;
            }
            if let Some(silence) = fields.get("silence") {
                let never =
                    matches!(&silence.node.value, Value::Text { text, .. } if text == "never");
                record.silence = if never {
                    None
                } else {
                    self.some_time(silence, "write `silence: never` to record through silence")
                };
            }
            record.finish_on = fields
                .get("finish_on")
                .and_then(|f| self.keys(f))
                .unwrap_or(record.finish_on);
            record.beep = fields
                .get("beep")
                .and_then(|f| self.flag(f))
                .unwrap_or(true);
            record.stereo = fields
                .get("stereo")
                .and_then(|f| self.flag(f))
                .unwrap_or(false);
            match fields.get("file") {
                Some(file) => file,
                None => {
                    self.error(fields.at, "`record` needs a `file`, as in `record: {file: 'rec/{date}-{call_id}.wav'}`");
                    return None;
                }
            }
        } else {
            field
        };
        let text = self.text(file, "'rec/{date}-{call_id}.wav'")?;
        record.file = self.ok(file.at(), Template::parse(text))?;
        if !text.ends_with(".wav") || text.contains('\0') {
            self.error(
                file.at(),
                format!(
                    "a recording is a WAV file; let `{}` end with `.wav`",
                    shown(text)
                ),
            );
        } else if record.file.variables().next().is_none() {
            self.warning(
                file.at(),
                format!(
                    "every call writes the same file `{}`; add {{call_id}} to the name",
                    shown(text)
                ),
            );
        }
        Some(record)
    }

    fn dtmf(&mut self, field: Field<'_>) -> Option<Dtmf> {
        let mut dtmf = Dtmf {
            digits: String::new(),
            tone: Duration::from_millis(100),
            gap: Duration::from_millis(100),
        };
        let digits = if let Value::Map(_) = field.node.value {
            let fields = self.fields("`dtmf`", field.node, &["digits", "tone", "gap"])?;
            for (name, slot) in [("tone", &mut dtmf.tone), ("gap", &mut dtmf.gap)] {
                let Some(time) = fields.get(name) else {
                    continue;
                };
                let given = self.duration(time)?;
                if !(Duration::from_millis(40)..=Duration::from_secs(5)).contains(&given) {
                    self.error(
                        time.at(),
                        format!("`{name}` is between 40ms and 5s; shorter keys are not heard"),
                    );
                }
                *slot = given;
            }
            match fields.get("digits") {
                Some(digits) => digits,
                None => {
                    self.error(
                        fields.at,
                        "`dtmf` needs `digits`, as in `dtmf: {digits: '12#'}`",
                    );
                    return None;
                }
            }
        } else {
            field
        };
        let text = self.text(digits, "'12#'")?;
        let keys: String = text.chars().filter(|c| !matches!(c, 'w' | 'W')).collect();
        if let Err(key) = KeySet::parse(&keys) {
            self.error(
                digits.at(),
                format!(
                    "{}, with w for a pause of 0.5 s and W for 1 s",
                    not_a_key(key, "dtmf")
                ),
            );
            return None;
        }
        if text.is_empty() || text.len() > 200 {
            self.error(
                digits.at(),
                "`dtmf` takes 1 to 200 keys, as in `dtmf: '12#'`",
            );
            return None;
        }
        text.clone_into(&mut dtmf.digits);
        Some(dtmf)
    }
}
