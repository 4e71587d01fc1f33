//! Resolves what is to be played: names, files, built-in prompts, tones, silence.

use std::path::{Path, PathBuf};

use super::model::PromptRef;
use super::problem::{Location, nearest};
use super::read::{Field, Reader, shown, shown_path, shown_whole};
use super::text::{self, Template};
use super::tree::{Node, Value};

impl Reader<'_> {
    /// Reads the document's `prompts:`, which must come before every step.
    pub(crate) fn prompt_section(&mut self, field: Field<'_>) {
        match &field.node.value {
            Value::Map(entries) => {
                for (key, node) in entries {
                    if key.text.contains(':') || key.text.trim() != key.text || key.text.is_empty()
                    {
                        self.error(
                            key.at,
                            format!(
                                "`{}` cannot name a prompt; use letters, digits, `_` and `-`",
                                shown(&key.text)
                            ),
                        );
                    }
                    let prompts = self.prompts(Field { key, node });
                    self.named
                        .insert(key.text.clone(), prompts.unwrap_or_default());
                }
            }
            _ => {
                let Some(folder) = self.text(field, "prompts/") else {
                    return;
                };
                self.prompt_folder = PathBuf::from(folder);
                if !self.folder.join(folder).is_dir() {
                    self.error(field.at(), format!("there is no folder `{}` beside the flow; `prompts:` names a folder, or is a map of names to files", shown(folder)));
                }
            }
        }
    }

    /// Reads one prompt or a list of them.
    pub(crate) fn prompts(&mut self, field: Field<'_>) -> Option<Vec<PromptRef>> {
        let Value::List(items) = &field.node.value else {
            let text = self.text(field, "welcome.wav")?;
            return self.prompt(field.at(), text);
        };
        if items.is_empty() {
            self.error(
                field.at(),
                format!(
                    "`{}` is an empty list; name at least one prompt",
                    field.name()
                ),
            );
            return None;
        }
        let mut all = Vec::new();
        for item in items {
            let item: &Node = item;
            let item = Field {
                key: field.key,
                node: item,
            };
            // An absent item has no place, so it is told at the list.
            if let Some(text) = self.text(item, "welcome.wav") {
                all.extend(self.prompt(item.at(), text).unwrap_or_default());
            }
        }
        Some(all)
    }

    fn prompt(&mut self, at: Location, text: &str) -> Option<Vec<PromptRef>> {
        if let Some(named) = self.named.get(text) {
            return Some(named.clone());
        }
        let one = match text.split_once(':') {
            Some(("builtin", name)) => self.builtin(at, name.trim()),
            Some(("tone", tone)) => self.ok(at, text::tone(tone.trim())).map(PromptRef::Tone),
            Some(("silence", length)) => {
                let length = self.ok(at, text::duration(length.trim()));
                length.map(PromptRef::Silence)
            }
            Some(("spell", keys)) => {
                let keys = self.ok(at, Template::parse(keys.trim()));
                keys.map(PromptRef::Spell)
            }
            _ if text.contains('{') => {
                self.ok(at, Template::parse(text))
                    .map(|name| PromptRef::Named {
                        folder: self.folder.join(&self.prompt_folder),
                        name,
                    })
            }
            _ => self.file(at, text),
        };
        one.map(|one| vec![one])
    }

    fn builtin(&mut self, at: Location, name: &str) -> Option<PromptRef> {
        let known = self.surroundings.builtins;
        if known.contains(&name) {
            return Some(PromptRef::Builtin(name.to_owned()));
        }
        let instead = match self.near(name, known.iter().copied()) {
            Some(near) => format!("did you mean `builtin:{near}`?"),
            None if known.is_empty() => "this program has none".to_owned(),
            None => format!("there are: {}", known.join(", ")),
        };
        self.error(
            at,
            format!("there is no built-in prompt `{}`; {instead}", shown(name)),
        );
        None
    }

    fn file(&mut self, at: Location, text: &str) -> Option<PromptRef> {
        if text.is_empty() || text.contains('\0') {
            self.error(
                at,
                "a prompt is the name of a file, `builtin:NAME`, `tone:440Hz 1s`, `silence:1s` or `spell:{digits}`",
            );
            return None;
        }
        let relative = self.prompt_folder.join(text);
        let path = self.folder.join(&relative);
        if !self.probed.contains_key(&path) {
            let found = if path.is_file() {
                (self.surroundings.probe)(&path).map_err(|why| {
                    format!(
                        "the prompt `{}` cannot be played: {}",
                        shown_path(&relative),
                        shown_whole(&why)
                    )
                })
            } else {
                Err(self.missing(text, &relative, &path))
            };
            self.probed.insert(path.clone(), found.err());
        }
        if let Some(Some(why)) = self.probed.get(&path) {
            let why = why.clone();
            self.error(at, why);
            return None;
        }
        Some(PromptRef::File(path))
    }

    fn missing(&self, text: &str, relative: &Path, path: &Path) -> String {
        let relative_shown = shown_path(relative);
        if path.is_dir() {
            return format!("the prompt `{relative_shown}` is a folder; name a file in it");
        }
        if let Some(near) = self.near(text, self.named.keys().map(String::as_str)) {
            return format!(
                "there is no prompt `{}`; did you mean `{near}`?",
                shown(text)
            );
        }
        if self.surroundings.builtins.contains(&text) {
            return format!(
                "there is no prompt file `{relative_shown}`; did you mean `builtin:{text}`?"
            );
        }
        let near = self
            .guesses()
            .then(|| near_file(path))
            .flatten()
            .map(|name| relative.with_file_name(name));
        match near {
            Some(near) => format!(
                "there is no prompt file `{relative_shown}`; did you mean `{}`?",
                shown_path(&near)
            ),
            None => format!(
                "there is no prompt file `{relative_shown}` (looked for {})",
                shown_path(path)
            ),
        }
    }
}

/// A file in the same folder that has nearly this name, or the same with another ending.
fn near_file(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let entries = std::fs::read_dir(path.parent()?).ok()?;
    // A folder of a hundred thousand recordings is not worth reading for a hint.
    let mut names: Vec<String> = entries
        .take(2000)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    let stem = Path::new(wanted).file_stem();
    let same_stem = names
        .iter()
        .find(|name| Path::new(name).file_stem() == stem);
    same_stem
        .cloned()
        .or_else(|| nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned))
}
