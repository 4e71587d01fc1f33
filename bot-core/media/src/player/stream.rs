//! A file that is decoded while it plays.
//!
//! Purpose: hour-long recordings at the cost of one packet of memory. A thread that may wait for the disk reads here and
//! writes into a [`pipe`](super::pipe), whose other end plays in the call.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use symphonia::core::io::ReadOnlySource;

use super::DecodeError;
use super::decode::Reader;
use crate::resample::{Resampler, to_i16};

/// One file, decoded piece by piece to mono samples at the rate of a session.
pub struct FileStream {
    reader: Reader,
    resampler: Resampler,
    rate: u32,
    decoded: Vec<f32>,
    converted: Vec<f32>,
    /// How much of `converted` was handed out.
    given: usize,
    /// Samples still to be left out after a seek that could only come near.
    skip: u64,
    ended: bool,
}

impl FileStream {
    /// Opens a file to be played at `rate` hertz.
    ///
    /// # Errors
    /// When the file is missing, is no audio or is empty. What is wrong further on, [`FileStream::read`] says.
    pub fn open(path: impl AsRef<Path>, rate: u32) -> Result<Self, DecodeError> {
        Self::over(Reader::open(path.as_ref())?, rate)
    }

    /// Streams from a source without a beginning to return to; `name` appears in errors.
    ///
    /// # Errors
    /// As [`FileStream::open`].
    pub fn from_reader(
        name: &str,
        source: impl Read + Send + Sync + 'static,
        rate: u32,
    ) -> Result<Self, DecodeError> {
        Self::over(
            Reader::new(name, Box::new(ReadOnlySource::new(source)))?,
            rate,
        )
    }

    /// Streams from bytes in memory; `name` appears in errors.
    ///
    /// # Errors
    /// As [`FileStream::open`].
    pub fn from_bytes(
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        rate: u32,
    ) -> Result<Self, DecodeError> {
        Self::over(
            Reader::new(name, Box::new(std::io::Cursor::new(bytes)))?,
            rate,
        )
    }

    fn over(reader: Reader, rate: u32) -> Result<Self, DecodeError> {
        Ok(Self {
            resampler: reader.resampler(rate)?,
            reader,
            rate,
            decoded: Vec::new(),
            converted: Vec::new(),
            given: 0,
            skip: 0,
            ended: false,
        })
    }

    /// The rate, in hertz, of what [`FileStream::read`] gives.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The length that the file claims to have, where it claims a credible one.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.reader.duration()
    }

    /// Fills `out` and says how many samples were written: fewer than fit only at the end, and then 0.
    ///
    /// # Errors
    /// When the file cannot be read on, is damaged or ends too soon. What came before was good.
    pub fn read(&mut self, out: &mut [i16]) -> Result<usize, DecodeError> {
        let mut written = 0;
        while written < out.len() {
            if self.given == self.converted.len() && !self.refill()? {
                break;
            }
            let count = (out.len() - written).min(self.converted.len() - self.given);
            let piece = &self.converted[self.given..self.given + count];
            for (slot, value) in out[written..].iter_mut().zip(piece) {
                *slot = to_i16(*value);
            }
            written += count;
            self.given += count;
        }
        Ok(written)
    }

    /// Goes to a place in the file.
    ///
    /// # Errors
    /// When the format or the source cannot be searched, or the place lies behind the end.
    pub fn seek(&mut self, position: Duration) -> Result<(), DecodeError> {
        let reached = self.reader.seek(position)?;
        let missing = position.saturating_sub(reached);
        self.skip = (missing.as_secs_f64() * f64::from(self.rate)).round() as u64;
        self.resampler.reset();
        self.converted.clear();
        self.given = 0;
        self.ended = false;
        Ok(())
    }

    /// Makes the next converted piece; `false` at the end.
    fn refill(&mut self) -> Result<bool, DecodeError> {
        self.given = 0;
        self.converted.clear();
        while !self.ended && self.given == self.converted.len() {
            self.given = 0;
            self.converted.clear();
            if self.reader.next(&mut self.decoded)? {
                self.resampler.push(&self.decoded, &mut self.converted);
            } else {
                self.ended = true;
                self.resampler.finish(&mut self.converted);
            }
            let skipped = (self.converted.len() as u64).min(self.skip);
            self.skip -= skipped;
            self.given = skipped as usize;
        }
        Ok(self.given < self.converted.len())
    }
}

impl std::fmt::Debug for FileStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FileStream")
            .field("rate", &self.rate)
            .field("duration", &self.duration())
            .finish_non_exhaustive()
    }
}
