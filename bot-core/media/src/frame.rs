//! A frame: 20 ms of mono PCM, the unit in which audio moves.
//!
//! Purpose: give every stage (receiver, player, recorder, mixer, encoder) one value to hand on that owns no heap memory.
//! The samples lie inline, so a frame can live in a scratch area of the thread that serves a thousand calls.
//!
//! Invariant: a frame holds exactly [`FRAME_MS`] of audio at its rate, and its rate is between 50 Hz and [`MAX_RATE`].

use crate::analysis::level_dbov;

/// The length of every frame in milliseconds.
pub const FRAME_MS: u32 = 20;

/// The highest sample rate of a frame in hertz.
pub const MAX_RATE: u32 = 48_000;

/// The samples of a frame at [`MAX_RATE`].
pub const MAX_FRAME_SAMPLES: usize = (MAX_RATE / 1000 * FRAME_MS) as usize;

/// The number of samples that a frame of this rate (hertz) holds.
#[must_use]
pub const fn samples_per_frame(rate: u32) -> usize {
    let rate = if rate > MAX_RATE { MAX_RATE } else { rate };
    (rate * FRAME_MS / 1000) as usize
}

/// 20 ms of mono 16-bit PCM, held inline.
#[derive(Clone)]
pub struct Frame {
    rate: u32,
    length: usize,
    samples: [i16; MAX_FRAME_SAMPLES],
}

impl Frame {
    /// A frame of digital silence at `rate` hertz. Rates above [`MAX_RATE`] are taken as [`MAX_RATE`].
    #[must_use]
    pub const fn silence(rate: u32) -> Self {
        let rate = if rate > MAX_RATE { MAX_RATE } else { rate };
        Self {
            rate,
            length: samples_per_frame(rate),
            samples: [0; MAX_FRAME_SAMPLES],
        }
    }

    /// A frame of these samples at `rate` hertz: what is missing to 20 ms is silence, what is more is left out.
    #[must_use]
    pub fn from_slice(rate: u32, samples: &[i16]) -> Self {
        let mut frame = Self::silence(rate);
        let length = samples.len().min(frame.length);
        frame.samples[..length].copy_from_slice(&samples[..length]);
        frame
    }

    /// The sample rate in hertz.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// The samples, [`samples_per_frame`] of them.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.samples[..self.length]
    }

    /// The samples, to be written.
    pub fn samples_mut(&mut self) -> &mut [i16] {
        &mut self.samples[..self.length]
    }

    /// Makes this a frame of silence at `rate` hertz, whatever it was.
    pub fn reset(&mut self, rate: u32) {
        self.rate = rate.min(MAX_RATE);
        self.length = samples_per_frame(self.rate);
        self.samples[..self.length].fill(0);
    }

    /// The level in dBov (0 is a full-scale square wave); digital silence is -127.
    #[must_use]
    pub fn rms_dbov(&self) -> f32 {
        level_dbov(self.samples())
    }

    /// Adds another frame of the same rate onto this one, clipping where the sum leaves 16 bits.
    pub fn mix(&mut self, other: &Frame) {
        for (sample, add) in self.samples_mut().iter_mut().zip(other.samples()) {
            *sample = sample.saturating_add(*add);
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Frame")
            .field("rate", &self.rate)
            .field("dbov", &self.rms_dbov())
            .finish()
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.rate == other.rate && self.samples() == other.samples()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_twenty_milliseconds_at_any_rate() {
        assert_eq!(Frame::silence(8_000).samples().len(), 160);
        assert_eq!(Frame::silence(48_000).samples().len(), 960);
        assert_eq!(Frame::silence(96_000).rate(), MAX_RATE);
    }

    #[test]
    fn from_slice_pads_and_cuts() {
        let short = Frame::from_slice(8_000, &[7; 10]);
        assert_eq!(&short.samples()[8..12], &[7, 7, 0, 0]);
        let long = Frame::from_slice(8_000, &[7; 1_000]);
        assert_eq!(long.samples(), &[7; 160]);
    }

    #[test]
    fn mixing_clips_instead_of_wrapping() {
        let mut loud = Frame::from_slice(8_000, &[30_000; 160]);
        loud.mix(&Frame::from_slice(8_000, &[10_000; 160]));
        assert_eq!(loud.samples()[0], i16::MAX);
    }

    #[test]
    fn the_level_of_a_full_scale_square_wave_is_zero() {
        assert!(Frame::from_slice(8_000, &[i16::MIN; 160]).rms_dbov().abs() < 0.001);
        assert!((Frame::silence(8_000).rms_dbov() + 127.0).abs() < f32::EPSILON);
    }
}
