//! What can be played: files, prompts in memory, tones; decoded once and shared.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use callbot_media::player::{self, FileStream, Playback as Player, Prompt, Repeat};
use callbot_media::tone::Tone;
use lru::LruCache;

use crate::driver::file_stream;
use crate::error::{Error, Result};

/// Decoded prompts kept, in bytes.
const CACHE_BYTES: usize = 64 << 20;
/// Files whose decoding would pass this length are streamed instead.
const STREAMED_FROM: Duration = Duration::from_secs(180);

/// How a sound is to be played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// The rate of the call's audio, in Hz.
    pub(crate) rate: u32,
    pub(crate) seek: Duration,
    pub(crate) repeat: bool,
}

/// A sound: a file, a prompt, audio in memory or a tone.
///
/// Paths as `&str`, `String` or `Path` are files; WAV, FLAC, MP3, Ogg Vorbis,
/// AAC, M4A and AIFF of any rate and channel count are played.
#[derive(Clone, Debug)]
pub struct Sound(Source);

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Memory(&'static str, &'static [u8]),
    Prompt(Prompt),
    Tone(Tone),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory(name, _) => f.write_str(name),
            Self::Prompt(prompt) => write!(f, "a prompt of {:?}", prompt.duration()),
            Self::Tone(_) => f.write_str("a tone"),
        }
    }
}

impl Sound {
    /// The bytes of an audio file that is part of the program
    /// (`include_bytes!`); the name's ending helps to tell the format.
    pub fn from_static(name: &'static str, bytes: &'static [u8]) -> Self {
        Self(Source::Memory(name, bytes))
    }

    /// Decodes the sound now, so that the first call does not wait for it and
    /// a bad file is found out early.
    ///
    /// # Errors
    /// [`Error::Sound`] names the file and what is wrong with it.
    pub fn check(&self) -> Result<Duration> {
        match &self.0 {
            Source::File(path) => decode_file(path).map(|prompt| prompt.duration()),
            Source::Memory(name, bytes) => {
                decode_memory(name, bytes).map(|prompt| prompt.duration())
            }
            Source::Prompt(prompt) => Ok(prompt.duration()),
            Source::Tone(_) => Ok(Duration::MAX),
        }
    }

    /// Opens the sound for playing; decoding runs off the async threads.
    pub(crate) async fn open(&self, cache: &SoundCache, how: How) -> Result<Player> {
        let player = match &self.0 {
            Source::Tone(tone) => Player::tone(tone.clone()),
            Source::Prompt(prompt) => Player::prompt(prompt.clone()),
            Source::Memory(name, bytes) => {
                let (name, bytes) = (*name, *bytes);
                let key = Key::Memory(bytes.as_ptr() as usize, bytes.len());
                let prompt = cache
                    .get(key, how.rate, move || decode_memory(name, bytes))
                    .await?;
                Player::prompt(prompt)
            }
            Source::File(path) => {
                let path = path.clone();
                let (key, streamed) = {
                    let path = path.clone();
                    blocking(move || inspect(&path)).await?
                };
                if streamed {
                    return file_stream::open(path, how).await;
                }
                let prompt = cache.get(key, how.rate, move || decode_file(&path)).await?;
                Player::prompt(prompt)
            }
        };
        let player = player.starting_at(how.seek);
        Ok(if how.repeat {
            player.repeat(Repeat::Forever)
        } else {
            player
        })
    }
}

impl From<&str> for Sound {
    fn from(path: &str) -> Self {
        Self(Source::File(path.into()))
    }
}

impl From<String> for Sound {
    fn from(path: String) -> Self {
        Self(Source::File(path.into()))
    }
}

impl From<&Path> for Sound {
    fn from(path: &Path) -> Self {
        Self(Source::File(path.into()))
    }
}

impl From<PathBuf> for Sound {
    fn from(path: PathBuf) -> Self {
        Self(Source::File(path))
    }
}

impl From<&PathBuf> for Sound {
    fn from(path: &PathBuf) -> Self {
        Self(Source::File(path.clone()))
    }
}

impl From<Prompt> for Sound {
    fn from(prompt: Prompt) -> Self {
        Self(Source::Prompt(prompt))
    }
}

impl From<Tone> for Sound {
    fn from(tone: Tone) -> Self {
        Self(Source::Tone(tone))
    }
}

impl From<&Sound> for Sound {
    fn from(sound: &Sound) -> Self {
        sound.clone()
    }
}

/// Tells a sound from its later versions, so that a changed file is decoded anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    File(PathBuf, Option<SystemTime>, u64),
    Memory(usize, usize),
}

/// Decoded prompts, shared between calls; the least recently used go first.
#[derive(Clone)]
pub(crate) struct SoundCache {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    prompts: LruCache<Key, (Prompt, usize)>,
    bytes: usize,
}

impl SoundCache {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                prompts: LruCache::new(NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN)),
                bytes: 0,
            })),
        }
    }

    async fn get(
        &self,
        key: Key,
        rate: u32,
        decode: impl FnOnce() -> Result<Prompt> + Send + 'static,
    ) -> Result<Prompt> {
        if let Some((prompt, _)) = self.lock().prompts.get(&key) {
            return Ok(prompt.clone());
        }
        let prompt = blocking(move || {
            let prompt = decode()?;
            // Resampled here, where waiting is allowed, and not on the media thread.
            drop(prompt.pcm(rate));
            Ok(prompt)
        })
        .await?;
        // Samples as they were decoded, resampled, and encoded once.
        let second = 2 * (prompt.rate() + rate) + rate;
        let size = (prompt.duration().as_secs_f64() * f64::from(second)) as usize;
        let mut inner = self.lock();
        if let Some((_, (_, old))) = inner.prompts.push(key, (prompt.clone(), size)) {
            inner.bytes = inner.bytes.saturating_sub(old);
        }
        inner.bytes += size;
        while inner.bytes > CACHE_BYTES {
            match inner.prompts.pop_lru() {
                Some((_, (_, size))) => inner.bytes = inner.bytes.saturating_sub(size),
                None => break,
            }
        }
        Ok(prompt)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::other(error)),
    }
}

/// The key of a file, and whether it is too long to be kept decoded.
fn inspect(path: &Path) -> Result<(Key, bool)> {
    let metadata = std::fs::metadata(path).map_err(|error| bad(path, error))?;
    let key = Key::File(path.to_owned(), metadata.modified().ok(), metadata.len());
    // A short file cannot be long; only large ones are asked for their length.
    let streamed = metadata.len() > 256 * 1024
        && FileStream::open(path, 8000)
            .is_ok_and(|file| file.duration().is_none_or(|length| length > STREAMED_FROM));
    Ok((key, streamed))
}

fn decode_file(path: &Path) -> Result<Prompt> {
    player::decode_file(path).map_err(|error| bad(path, error))
}

fn decode_memory(name: &str, bytes: &'static [u8]) -> Result<Prompt> {
    player::decode_bytes(name, bytes.to_vec()).map_err(|error| Error::Sound {
        name: name.to_owned(),
        why: error.to_string(),
    })
}

pub(crate) fn bad(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::Sound {
        name: path.display().to_string(),
        why: error.to_string(),
    }
}
