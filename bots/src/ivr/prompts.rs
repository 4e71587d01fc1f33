//! From a prompt of a flow to the sounds that it stands for in one call.

use callbot_core::{Sound, Tone};

use crate::flow::{PromptRef, Variable};

/// The sounds of these prompts, in order. What cannot be found in this call is
/// logged and left out: a caller is better served by the rest.
pub(super) fn sounds(prompts: &[PromptRef], value: &dyn Fn(Variable) -> String) -> Vec<Sound> {
    let mut sounds = Vec::new();
    for prompt in prompts {
        match prompt {
            PromptRef::File(path) => sounds.push(Sound::from(path)),
            PromptRef::Builtin(name) => sounds.extend(builtin(name)),
            PromptRef::Tone(spec) => {
                let tone = Tone::new(&spec.frequencies)
                    .level(spec.level as f32)
                    .lasting(spec.duration);
                sounds.push(tone.into());
            }
            // A tone of no frequencies takes no memory, however long it is.
            PromptRef::Silence(length) => sounds.push(Tone::new(&[]).lasting(*length).into()),
            PromptRef::Spell(template) => {
                sounds.extend(template.render(value).chars().filter_map(key))
            }
            PromptRef::Named { folder, name } => {
                let path = folder.join(name.file_name(value));
                if path.is_file() {
                    sounds.push(path.into());
                } else {
                    tracing::warn!(file = %path.display(), "this caller's prompt is not there and is left out");
                }
            }
        }
    }
    sounds
}

fn builtin(name: &str) -> Option<Sound> {
    callbot_media_files::by_name(name).map(|file| Sound::from_static(file.path, file.bytes))
}

/// A key's spoken name; letters have none.
fn key(key: char) -> Option<Sound> {
    let name = match key {
        '0' => "digit-0",
        '1' => "digit-1",
        '2' => "digit-2",
        '3' => "digit-3",
        '4' => "digit-4",
        '5' => "digit-5",
        '6' => "digit-6",
        '7' => "digit-7",
        '8' => "digit-8",
        '9' => "digit-9",
        '*' => "star",
        '#' => "hash",
        _ => return None,
    };
    builtin(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_has_a_name_is_spoken() {
        for digit in "0123456789*#".chars() {
            assert!(key(digit).is_some(), "{digit}");
        }
        assert!(key('A').is_none());
    }

    #[test]
    fn silence_of_a_day_takes_no_memory() {
        let day = std::time::Duration::from_secs(24 * 60 * 60);
        let sounds = sounds(&[PromptRef::Silence(day)], &|_| String::new());
        assert_eq!(sounds.len(), 1);
    }
}
