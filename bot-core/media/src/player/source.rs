//! Audio that is made while it is played, and the pipe that brings it to the media thread.
//!
//! Purpose: let a thread that may wait (a file reader, a voice synthesiser) feed one that may not.
//! Invariants: the reading end never waits for the writing end and allocates nothing; the pipe holds no more than it was made for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a source gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// This many samples were written. Where that is fewer than asked for, the rest of the frame is silence.
    Ready(usize),
    /// Nothing is there yet; more will come.
    Starved,
    /// Nothing will come any more.
    Ended,
}

/// Audio that is made while it is played: a stream of a long file, a voice from a synthesiser, a conference.
pub trait AudioSource: Send {
    /// Writes the next samples at the session's rate. It is called on the media thread and must never wait.
    fn read(&mut self, out: &mut [i16]) -> SourceState;
}

/// A pipe of samples that holds up to `capacity` of audio at `rate` hertz.
#[must_use]
pub fn pipe(rate: u32, capacity: Duration) -> (PipeWriter, PipeReader) {
    let capacity =
        (u64::from(rate) * capacity.as_millis() as u64 / 1_000).clamp(1, 1 << 24) as usize;
    let shared = Arc::new(Mutex::new(Shared {
        samples: VecDeque::with_capacity(capacity),
        capacity,
        finished: false,
        abandoned: false,
    }));
    (
        PipeWriter {
            shared: Arc::clone(&shared),
        },
        PipeReader { shared },
    )
}

#[derive(Debug)]
struct Shared {
    samples: VecDeque<i16>,
    capacity: usize,
    finished: bool,
    abandoned: bool,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // A panic elsewhere leaves nothing half done in here, so the contents stay usable.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of a [`pipe`] that is written to. Dropping it ends the stream.
#[derive(Debug)]
pub struct PipeWriter {
    shared: Arc<Mutex<Shared>>,
}

impl PipeWriter {
    /// Puts in what there is room for and says how many samples that was: fewer than given when the pipe is full.
    pub fn write(&self, samples: &[i16]) -> usize {
        let mut shared = lock(&self.shared);
        let room = shared.capacity - shared.samples.len();
        let taken = room.min(samples.len());
        shared.samples.extend(&samples[..taken]);
        taken
    }

    /// How many samples there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        let shared = lock(&self.shared);
        shared.capacity - shared.samples.len()
    }

    /// Throws away what was written and not yet read: the rest of an utterance that was interrupted.
    pub fn clear(&self) {
        lock(&self.shared).samples.clear();
    }

    /// Whether nobody reads any more, so that writing has become pointless.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.shared).abandoned
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        lock(&self.shared).finished = true;
    }
}

/// The end of a [`pipe`] that is played.
#[derive(Debug)]
pub struct PipeReader {
    shared: Arc<Mutex<Shared>>,
}

impl AudioSource for PipeReader {
    fn read(&mut self, out: &mut [i16]) -> SourceState {
        let mut shared = lock(&self.shared);
        // A short frame in the middle of a stream would be a gap; it is better to wait for the rest of it.
        if shared.samples.len() < out.len() && !shared.finished {
            return SourceState::Starved;
        }
        if shared.samples.is_empty() {
            return SourceState::Ended;
        }
        let count = out.len().min(shared.samples.len());
        for (slot, sample) in out.iter_mut().zip(shared.samples.drain(..count)) {
            *slot = sample;
        }
        SourceState::Ready(count)
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        lock(&self.shared).abandoned = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_out_as_they_went_in() {
        let (writer, mut reader) = pipe(8_000, Duration::from_millis(40));
        let mut out = [0; 160];
        assert_eq!(reader.read(&mut out), SourceState::Starved);
        let ramp: Vec<i16> = (0..400).collect();
        assert_eq!(writer.write(&ramp), 320);
        assert_eq!(writer.write(&ramp[320..]), 0);
        assert_eq!(reader.read(&mut out), SourceState::Ready(160));
        assert_eq!(out[159], 159);
        assert_eq!(writer.room(), 160);
        assert_eq!(writer.write(&ramp[320..]), 80);
        drop(writer);
        assert_eq!(reader.read(&mut out), SourceState::Ready(160));
        assert_eq!(reader.read(&mut out), SourceState::Ready(80));
        assert_eq!(out[79], 399);
        assert_eq!(reader.read(&mut out), SourceState::Ended);
    }

    #[test]
    fn each_end_notices_that_the_other_is_gone() {
        let (writer, reader) = pipe(8_000, Duration::from_millis(40));
        assert!(!writer.is_closed());
        drop(reader);
        assert!(writer.is_closed());
        let (writer, mut reader) = pipe(8_000, Duration::from_millis(40));
        writer.write(&[1; 100]);
        writer.clear();
        drop(writer);
        assert_eq!(reader.read(&mut [0; 160]), SourceState::Ended);
    }
}
