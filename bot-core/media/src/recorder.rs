//! Recordings: WAV files that are valid at every moment of their growth.
//!
//! Purpose: write what a call hears and says to anything that can be written and searched. A process that is killed loses
//! at most the last second: the sizes in the header are brought up to date each second of audio.
//!
//! Invariants: both sides stay on one clock, because they are written together, frame by frame; a failing medium is an
//! error that is returned, once, and never a panic, whatever is called afterwards; nothing allocates per frame.

use std::io::{Seek, Write};
use std::time::Duration;

/// Where a session's recording goes: called once a frame, on the media thread.
pub trait RecordingSink: Send {
    /// Takes in the next frame of both sides, equally long. `false` ends the recording: the sink can take no more.
    fn write(&mut self, caller: &[i16], bot: &[i16]) -> bool;
}

/// What a recording keeps of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channels {
    /// Both sides in one channel, added and clipped.
    #[default]
    Mixed,
    /// The caller left, the bot right.
    Stereo,
    /// The caller alone.
    Caller,
    /// The bot alone.
    Bot,
}

/// The bytes of audio that a WAV file holds at most: its sizes are 32 bits wide.
const MOST_BYTES: u64 = u32::MAX as u64 - 1_024;

/// Why a recording failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be written.
    #[error(
        "cannot write the recording: {0}; check that the disk has room and that the folder may be written"
    )]
    Write(#[from] std::io::Error),
    /// The file has reached the size that WAV can express.
    #[error("the recording has reached the 4 GB that a wav file can hold: begin another")]
    Full,
    /// An earlier write failed, so the file is given up.
    #[error("the recording failed before and takes no more")]
    Failed,
}

/// Writes one WAV file of 16-bit samples.
pub struct Recorder<W: Write + Seek> {
    writer: Option<hound::WavWriter<W>>,
    rate: u32,
    channels: Channels,
    /// Samples per channel.
    written: u64,
    flushed: u64,
}

impl<W: Write + Seek> Recorder<W> {
    /// Begins a recording at `rate` hertz. Give a buffered writer: samples are written one by one.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn new(writer: W, rate: u32, channels: Channels) -> Result<Self, RecordError> {
        let spec = hound::WavSpec {
            channels: if channels == Channels::Stereo { 2 } else { 1 },
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::new(writer, spec).map_err(explain)?;
        writer.flush().map_err(explain)?;
        Ok(Self {
            writer: Some(writer),
            rate,
            channels,
            written: 0,
            flushed: 0,
        })
    }

    /// Appends the next samples of both sides; a shorter side counts as silent to the length of the longer.
    ///
    /// # Errors
    /// When the file cannot be written or is full; it then takes no more, and what was flushed before stays.
    pub fn write(&mut self, caller: &[i16], bot: &[i16]) -> Result<(), RecordError> {
        let result = self.append(caller, bot);
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// The length of the recording so far.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.written as f64 / f64::from(self.rate.max(1)))
    }

    /// The rate of the recording in hertz.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Brings the header up to date and hands everything to the medium.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        let writer = self.writer.as_mut().ok_or(RecordError::Failed)?;
        let result = writer.flush().map_err(explain);
        self.flushed = self.written;
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When the file cannot be written, or a write failed before.
    pub fn finish(mut self) -> Result<(), RecordError> {
        let writer = self.writer.take().ok_or(RecordError::Failed)?;
        writer.finalize().map_err(explain)
    }

    fn append(&mut self, caller: &[i16], bot: &[i16]) -> Result<(), RecordError> {
        let writer = self.writer.as_mut().ok_or(RecordError::Failed)?;
        let length = caller.len().max(bot.len());
        let width = if self.channels == Channels::Stereo {
            4
        } else {
            2
        };
        if (self.written + length as u64) * width > MOST_BYTES {
            return Err(RecordError::Full);
        }
        let at = |side: &[i16], n: usize| side.get(n).copied().unwrap_or(0);
        for n in 0..length {
            let (left, right) = (at(caller, n), at(bot, n));
            match self.channels {
                Channels::Mixed => writer.write_sample(left.saturating_add(right)),
                Channels::Caller => writer.write_sample(left),
                Channels::Bot => writer.write_sample(right),
                Channels::Stereo => writer
                    .write_sample(left)
                    .and_then(|()| writer.write_sample(right)),
            }
            .map_err(explain)?;
        }
        self.written += length as u64;
        if self.written - self.flushed >= u64::from(self.rate) {
            writer.flush().map_err(explain)?;
            self.flushed = self.written;
        }
        Ok(())
    }

    /// Lets go of a file that cannot be written. hound would complete it on being dropped and ignores that this fails.
    fn give_up(&mut self) {
        self.writer = None;
    }
}

impl<W: Write + Seek> std::fmt::Debug for Recorder<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("rate", &self.rate)
            .field("channels", &self.channels)
            .field("duration", &self.duration())
            .finish_non_exhaustive()
    }
}

fn explain(error: hound::Error) -> RecordError {
    match error {
        hound::Error::IoError(error) => RecordError::Write(error),
        // The writer is only ever given whole 16-bit frames, so what remains concerns the size.
        other => RecordError::Write(std::io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, SeekFrom};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A medium that outlives its recorder, holds so many bytes, and can be looked into while it is written.
    #[derive(Clone, Default)]
    struct Disk {
        bytes: Arc<Mutex<Cursor<Vec<u8>>>>,
        room: Option<u64>,
    }

    impl Disk {
        fn samples(&self) -> (hound::WavSpec, Vec<i16>) {
            let bytes = self.bytes.lock().unwrap().get_ref().clone();
            let reader = hound::WavReader::new(&bytes[..]).unwrap();
            (
                reader.spec(),
                reader.into_samples().map(Result::unwrap).collect(),
            )
        }
    }

    impl Write for Disk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let mut bytes = self.bytes.lock().unwrap();
            if self
                .room
                .is_some_and(|room| bytes.position() + data.len() as u64 > room)
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.write(data)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.lock().unwrap().seek(to)
        }
    }

    #[test]
    fn stereo_keeps_the_sides_apart_and_mono_adds_them() {
        let caller = [1_000, 30_000, -30_000];
        let bot = [10, 10_000, -10_000];
        for (channels, expected) in [
            (
                Channels::Stereo,
                vec![1_000, 10, 30_000, 10_000, -30_000, -10_000],
            ),
            (Channels::Mixed, vec![1_010, i16::MAX, i16::MIN]),
            (Channels::Caller, caller.to_vec()),
            (Channels::Bot, bot.to_vec()),
        ] {
            let disk = Disk::default();
            let mut recorder = Recorder::new(disk.clone(), 8_000, channels).unwrap();
            recorder.write(&caller, &bot).unwrap();
            recorder.finish().unwrap();
            let (spec, samples) = disk.samples();
            assert_eq!(samples, expected);
            assert_eq!(
                spec.channels,
                if channels == Channels::Stereo { 2 } else { 1 }
            );
            assert_eq!((spec.sample_rate, spec.bits_per_sample), (8_000, 16));
        }
    }

    #[test]
    fn a_shorter_side_is_silent_to_the_end() {
        let disk = Disk::default();
        let mut recorder = Recorder::new(disk.clone(), 8_000, Channels::Stereo).unwrap();
        recorder.write(&[1, 2], &[9]).unwrap();
        recorder.write(&[], &[8]).unwrap();
        assert_eq!(recorder.duration(), Duration::from_micros(375));
        recorder.finish().unwrap();
        assert_eq!(disk.samples().1, [1, 9, 2, 0, 0, 8]);
    }

    #[test]
    fn the_header_is_never_more_than_a_second_behind() {
        let disk = Disk::default();
        let mut recorder = Recorder::new(disk.clone(), 8_000, Channels::Stereo).unwrap();
        assert_eq!(disk.samples().1.len(), 0);
        for frame in 1..=500 {
            recorder.write(&[7; 160], &[8; 160]).unwrap();
            // What a process that is killed at this moment leaves behind.
            let readable = disk.samples().1.len() / 2;
            assert!(
                readable + 8_000 > frame * 160,
                "{readable} of {}",
                frame * 160
            );
        }
    }

    #[test]
    fn a_full_disk_is_an_error_once_and_never_a_panic() {
        let disk = Disk {
            room: Some(40_000),
            ..Disk::default()
        };
        let mut recorder = Recorder::new(disk.clone(), 8_000, Channels::Mixed).unwrap();
        let error = (0..1_000)
            .find_map(|_| recorder.write(&[1; 160], &[]).err())
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("cannot write the recording: "),
            "{error}"
        );
        assert!(matches!(
            recorder.write(&[1; 160], &[]),
            Err(RecordError::Failed)
        ));
        assert!(matches!(recorder.flush(), Err(RecordError::Failed)));
        assert!(matches!(recorder.finish(), Err(RecordError::Failed)));
        // What the header vouched for before is still there.
        assert!(disk.samples().1.len() >= 16_000);
        let none = Disk {
            room: Some(10),
            ..Disk::default()
        };
        assert!(Recorder::new(none, 8_000, Channels::Mixed).is_err());
    }
}
