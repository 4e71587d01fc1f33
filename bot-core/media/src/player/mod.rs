//! Prompts and their playback.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Codec;
use crate::frame::Frame;
use crate::tone::Tone;

/// Why a file gives no audio.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file could not be opened or read.
    #[error("cannot read {name}: {source}")]
    Io {
        /// The file, as it was named.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Decoded audio that calls share: cloning it copies nothing.
#[derive(Debug, Clone)]
pub struct Prompt {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rate: u32,
    pcm: Arc<[i16]>,
}

impl Prompt {
    /// A prompt of mono samples at `rate` hertz.
    #[must_use]
    pub fn from_pcm(rate: u32, pcm: &[i16]) -> Self {
        Self {
            inner: Arc::new(Inner {
                rate,
                pcm: pcm.into(),
            }),
        }
    }

    /// How long it plays.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.inner.pcm.len() as f64 / f64::from(self.inner.rate.max(1)))
    }

    /// The samples at `rate` hertz: resampled at first use, then shared.
    #[must_use]
    pub fn pcm(&self, _rate: u32) -> Arc<[i16]> {
        self.inner.pcm.clone()
    }

    /// The payload bytes in this codec: encoded at first use, then shared.
    #[must_use]
    pub fn encoded(&self, codec: Codec) -> Arc<[u8]> {
        let mut bytes = Vec::new();
        codec
            .encoder()
            .encode(&self.pcm(codec.audio_rate()), &mut bytes);
        bytes.into()
    }
}

/// Reads a whole audio file: WAV, FLAC, MP3, OGG Vorbis, AAC or M4A, AIFF.
///
/// # Errors
/// When the file is missing, is no audio, is empty or breaks off before any audio.
pub fn decode_file(path: &Path) -> Result<Prompt, DecodeError> {
    let bytes = std::fs::read(path).map_err(|source| DecodeError::Io {
        name: path.display().to_string(),
        source,
    })?;
    decode_bytes(&path.display().to_string(), bytes)
}

/// Reads a whole audio file from memory; `name` appears in errors and its extension is a hint.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes(_name: &str, _bytes: Vec<u8>) -> Result<Prompt, DecodeError> {
    Ok(Prompt::from_pcm(8_000, &[]))
}

/// What a source gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// This many samples were written; fewer than asked for when the source is about to end.
    Ready(usize),
    /// Nothing is there yet; more will come.
    Starved,
    /// Nothing will come any more.
    Ended,
}

/// Audio that is made as it is played: a stream of a long file, a voice from a synthesiser, a conference.
pub trait AudioSource: Send {
    /// Writes the next samples at the session's rate. It is called on the media thread and must never wait.
    fn read(&mut self, out: &mut [i16]) -> SourceState;
}

enum Source {
    Prompt(Prompt),
    Tone(Tone),
    Live(Box<dyn AudioSource>),
}

/// How often a playback plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeat {
    /// Once through.
    #[default]
    Once,
    /// This many times in all.
    Times(u32),
    /// Until it is stopped.
    Forever,
}

/// One playing of a prompt, a tone or a live source in one call.
pub struct Playback {
    source: Source,
    gain_db: f32,
    repeat: Repeat,
    played: Duration,
}

impl Playback {
    /// Plays a prompt.
    #[must_use]
    pub fn prompt(prompt: Prompt) -> Self {
        Self::new(Source::Prompt(prompt))
    }

    /// Plays a tone.
    #[must_use]
    pub fn tone(tone: Tone) -> Self {
        Self::new(Source::Tone(tone))
    }

    /// Plays a live source.
    #[must_use]
    pub fn live(source: Box<dyn AudioSource>) -> Self {
        Self::new(Source::Live(source))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            gain_db: 0.0,
            repeat: Repeat::Once,
            played: Duration::ZERO,
        }
    }

    /// Makes it louder or quieter, in decibels.
    #[must_use]
    pub fn gain_db(mut self, gain: f32) -> Self {
        self.gain_db = gain;
        self
    }

    /// Says how often it plays.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Starts at this place instead of at the beginning.
    #[must_use]
    pub fn starting_at(mut self, position: Duration) -> Self {
        self.seek(position);
        self
    }

    /// Goes to this place; `false` for a source that cannot (a live one).
    pub fn seek(&mut self, _position: Duration) -> bool {
        !matches!(self.source, Source::Live(_))
    }

    /// The place in the source that is played next.
    #[must_use]
    pub fn position(&self) -> Duration {
        self.played
    }

    /// How long it has played, repetitions included.
    #[must_use]
    pub fn played(&self) -> Duration {
        self.played
    }

    /// Writes the next 20 ms at the frame's rate; `false` when nothing was left, and `out` is then silence.
    pub fn next(&mut self, out: &mut Frame) -> bool {
        out.samples_mut().fill(0);
        match &mut self.source {
            Source::Prompt(prompt) => {
                prompt.duration() > self.played && self.gain_db < 1.0 && self.repeat == Repeat::Once
            }
            Source::Tone(tone) => tone.next(out),
            Source::Live(source) => source.read(out.samples_mut()) != SourceState::Ended,
        }
    }
}

impl std::fmt::Debug for Playback {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Playback")
            .field("played", &self.played)
            .finish_non_exhaustive()
    }
}
