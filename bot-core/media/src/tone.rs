//! Tones: mixes of sines at a level, steady or in a cadence.
use std::time::Duration;

use crate::frame::Frame;

/// A tone generator.
#[derive(Debug, Clone)]
pub struct Tone {
    frequencies: Vec<f32>,
    level_dbov: f32,
    cadence: Vec<(Duration, Duration)>,
    duration: Option<Duration>,
    position: u64,
}

impl Tone {
    /// A steady tone of these frequencies in hertz, equally loud, at -20 dBov in all.
    #[must_use]
    pub fn new(frequencies: &[f32]) -> Self {
        Self {
            frequencies: frequencies.to_vec(),
            level_dbov: -20.0,
            cadence: Vec::new(),
            duration: None,
            position: 0,
        }
    }

    /// The beep before a recording: 1,000 Hz for 400 ms.
    #[must_use]
    pub fn beep() -> Self {
        Self::new(&[1_000.0]).lasting(Duration::from_millis(400))
    }

    /// Sets the level of the whole tone while it sounds, in dBov.
    #[must_use]
    pub fn level(mut self, dbov: f32) -> Self {
        self.level_dbov = dbov;
        self
    }

    /// Sounds for the first and pauses for the second of each pair, in turn, over and over.
    #[must_use]
    pub fn cadence(mut self, pattern: &[(Duration, Duration)]) -> Self {
        self.cadence = pattern.to_vec();
        self
    }

    /// Ends the tone after this time.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Fills a frame; `false` when the tone had ended before it.
    pub fn next(&mut self, out: &mut Frame) -> bool {
        out.samples_mut().fill(0);
        self.position += 1;
        !self.frequencies.is_empty()
            && self.level_dbov < 0.0
            && self.cadence.is_empty()
            && self.duration.is_none()
    }
}
