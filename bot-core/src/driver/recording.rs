//! Writes recordings to disk, off the media threads.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callbot_media::recorder::{Channels, Recorder, RecordingSink};
use tokio::sync::Notify;

use crate::error::{Error, Result};

/// How often samples are written: a crash loses less than a second.
const INTERVAL: Duration = Duration::from_millis(250);
/// Recordings that may have one name, told apart by a number.
const NAMES: u32 = 10_000;
/// Samples that may wait for a slow disk, each way: 8 s at 8 kHz.
const WAITING: usize = 64_000;

/// The media thread's end of a recording.
pub(crate) struct Sink {
    shared: Arc<Handover>,
}

struct Handover {
    samples: Mutex<Samples>,
    /// The sink is gone: write what is left and finish.
    closed: AtomicBool,
    /// The disk fails: take no more.
    failed: AtomicBool,
    wake: Notify,
}

#[derive(Default)]
struct Samples {
    caller: Vec<i16>,
    bot: Vec<i16>,
    lost: u64,
}

/// The disk's end of a recording.
pub(crate) struct Writer {
    shared: Arc<Handover>,
    path: PathBuf,
    part: PathBuf,
    channels: Channels,
    rate: u32,
    file: Option<File>,
}

/// A recording that was written whole.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) path: PathBuf,
    pub(crate) duration: Duration,
}

impl RecordingSink for Sink {
    fn write(&mut self, caller: &[i16], bot: &[i16]) -> bool {
        if self.shared.failed.load(Ordering::Relaxed) {
            return false;
        }
        let mut samples = self
            .shared
            .samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if samples.caller.len() + caller.len() > WAITING {
            samples.lost += caller.len() as u64;
            return true;
        }
        samples.caller.extend_from_slice(caller);
        samples.bot.extend_from_slice(bot);
        true
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }
}

impl Writer {
    /// Makes the file and its folder, so that a bad name is found out at once.
    pub(crate) async fn create(path: PathBuf, stereo: bool, rate: u32) -> Result<(Sink, Self)> {
        let asked = path.clone();
        let opened = blocking(move || open_new(&asked)).await;
        let (file, path, part) = opened.map_err(|why| failed(&path, &why))?;
        let shared = Arc::new(Handover {
            samples: Mutex::new(Samples {
                // Room for the interval at 8 kHz and its lateness, so that the
                // media thread does not allocate.
                caller: Vec::with_capacity(8192),
                bot: Vec::with_capacity(8192),
                ..Samples::default()
            }),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let writer = Self {
            shared: shared.clone(),
            path,
            part,
            channels: if stereo {
                Channels::Stereo
            } else {
                Channels::Mixed
            },
            rate,
            file: Some(file),
        };
        Ok((Sink { shared }, writer))
    }

    /// Writes until the sink is gone, then gives the file its name.
    pub(crate) async fn run(mut self) -> Result<Finished> {
        let shared = self.shared.clone();
        let part = self.part.clone();
        let result = self.write_all().await;
        if result.is_err() {
            shared.failed.store(true, Ordering::Relaxed);
        }
        result.map_err(|why| failed(&part, &why))
    }

    async fn write_all(&mut self) -> std::io::Result<Finished> {
        let mut recorder: Option<Recorder<BufWriter<File>>> = None;
        let mut spare = (Vec::with_capacity(8192), Vec::with_capacity(8192));
        loop {
            let closed = self.shared.closed.load(Ordering::Acquire);
            {
                let mut samples = self
                    .shared
                    .samples
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut samples.caller, &mut spare.0);
                std::mem::swap(&mut samples.bot, &mut spare.1);
                if samples.lost > 0 {
                    let lost = std::mem::take(&mut samples.lost);
                    tracing::warn!(file = %self.path.display(), samples = lost, "the disk is too slow: a recording has a gap");
                }
            }
            if recorder.is_none()
                && (closed || !spare.0.is_empty())
                && let Some(file) = self.file.take()
            {
                let file = BufWriter::new(file);
                let made = Recorder::new(file, self.rate, self.channels);
                recorder = Some(made.map_err(std::io::Error::other)?);
            }
            if let Some(mut open) = recorder.take() {
                let (caller, bot) = (std::mem::take(&mut spare.0), std::mem::take(&mut spare.1));
                let (back, caller, bot, written) = blocking(move || {
                    let written = open.write(&caller, &bot).map_err(std::io::Error::other);
                    Ok((open, caller, bot, written))
                })
                .await?;
                written?;
                recorder = Some(back);
                spare = (caller, bot);
                spare.0.clear();
                spare.1.clear();
            }
            if closed {
                break;
            }
            tokio::select! {
                biased;
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        let duration = recorder.as_ref().map_or(Duration::ZERO, Recorder::duration);
        let (part, path) = (self.part.clone(), self.path.clone());
        blocking(move || {
            if let Some(recorder) = recorder {
                recorder.finish().map_err(std::io::Error::other)?;
            }
            std::fs::rename(&part, &path)
        })
        .await?;
        Ok(Finished {
            path: self.path.clone(),
            duration,
        })
    }
}

/// Makes the file of a recording, and its folder. A recording is never written
/// over another, whole or not: the second `call.wav` is `call-2.wav`.
fn open_new(asked: &Path) -> std::io::Result<(File, PathBuf, PathBuf)> {
    if let Some(folder) = asked.parent() {
        std::fs::create_dir_all(folder)?;
    }
    for number in 1..NAMES {
        let path = numbered(asked, number);
        let part = part_of(&path);
        if path.exists() {
            continue;
        }
        match File::create_new(&part) {
            Ok(file) => return Ok((file, path, part)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other(
        "thousands of recordings have this name already: put {call_id} or {time} into it",
    ))
}

/// `call.wav`, `call-2.wav`, `call-3.wav`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The name of a recording that is not whole yet.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}

fn failed(path: &Path, why: &std::io::Error) -> Error {
    Error::Recording {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}
