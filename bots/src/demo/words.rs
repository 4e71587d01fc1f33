//! Spoken words that the demo plays and recognises: prompts of the media files, whole or their beginning.

use std::time::Duration;

use callbot_core::{Prompt, Sound};
use callbot_media_files as files;

use super::ear::RATE;

/// A prompt, or its beginning.
#[derive(Clone, Debug)]
pub(super) struct Words {
    name: &'static str,
    text: String,
    samples: Vec<i16>,
}

impl Words {
    /// The prompt of this name; silence when there is none, which no check passes.
    pub(super) fn of(name: &'static str) -> Self {
        let samples = files::by_name(name).map(|file| decode(file.bytes));
        Self {
            name,
            text: said(name).unwrap_or_default().to_owned(),
            samples: samples.unwrap_or_default(),
        }
    }

    /// Its first sentences, which take this long.
    pub(super) fn first(mut self, sentences: usize, length: Duration) -> Self {
        let samples = (length.as_secs_f64() * f64::from(RATE)) as usize;
        self.samples.truncate(samples);
        let end = self
            .text
            .match_indices('.')
            .nth(sentences.saturating_sub(1));
        if let Some((end, _)) = end {
            self.text.truncate(end + 1);
        }
        self
    }

    /// Every prompt of more than a second.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        files::all()
            .iter()
            .filter(|file| file.path.starts_with("prompts/"))
            .map(|file| Self::of(file.name))
            .filter(|words| words.samples.len() > RATE as usize)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn samples(&self) -> &[i16] {
        &self.samples
    }

    pub(super) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(RATE))
    }

    /// The text, cut to so many characters.
    pub(super) fn short(&self, most: usize) -> String {
        match self.text.char_indices().nth(most) {
            Some((end, _)) => format!("“{}…”", self.text[..end].trim_end()),
            None => format!("“{}”", self.text),
        }
    }

    pub(super) fn sound(&self) -> Sound {
        Prompt::from_pcm(RATE, &self.samples).into()
    }
}

fn decode(wav: &[u8]) -> Vec<i16> {
    hound::WavReader::new(wav)
        .map(|reader| reader.into_samples().map_while(Result::ok).collect())
        .unwrap_or_default()
}

/// What a prompt says, from the manifest of the media files.
fn said(name: &str) -> Option<&'static str> {
    let entry = format!("name = \"{name}\"");
    files::MANIFEST
        .lines()
        .skip_while(|line| *line != entry)
        .find_map(|line| line.strip_prefix("content = \""))?
        .strip_suffix('"')
}
