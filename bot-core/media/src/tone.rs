//! Tones: mixes of sines at a level, steady or in a cadence.
//!
//! Purpose: beeps, ringing, busy and test tones, computed rather than shipped. The level is that of the whole mix while it
//! sounds, so that what a level meter shows at the far end is the figure that was asked for.
//!
//! Invariants: the phase runs on over frames and cadences; edges are ramped over 2 ms, so that no tone clicks.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::frame::Frame;

/// The length of the ramp at each edge of a tone.
const RAMP_SECONDS: f64 = 0.002;

/// A generator of one tone. It is cheap to make and is its own position.
#[derive(Debug, Clone, PartialEq)]
pub struct Tone {
    frequencies: Vec<f64>,
    level_dbov: f32,
    cadence: Vec<(Duration, Duration)>,
    duration: Option<Duration>,
    /// Seconds since the beginning, kept as samples at the rate of the latest read.
    position: u64,
    rate: u32,
}

impl Tone {
    /// A steady tone of these frequencies in hertz, equally loud, at -20 dBov in all. No frequencies are silence.
    #[must_use]
    pub fn new(frequencies: &[f64]) -> Self {
        Self {
            frequencies: frequencies
                .iter()
                .copied()
                .filter(|f| f.is_finite())
                .collect(),
            level_dbov: -20.0,
            cadence: Vec::new(),
            duration: None,
            position: 0,
            rate: 8_000,
        }
    }

    /// The beep before a recording: 1,000 Hz for 400 ms.
    #[must_use]
    pub fn beep() -> Self {
        Self::new(&[1_000.0]).lasting(Duration::from_millis(400))
    }

    /// Ringing as Europe hears it: 425 Hz, 1 s on and 4 s off.
    #[must_use]
    pub fn ringback() -> Self {
        Self::new(&[425.0]).cadence(&[(Duration::from_secs(1), Duration::from_secs(4))])
    }

    /// Busy as Europe hears it: 425 Hz, half a second on and half a second off.
    #[must_use]
    pub fn busy() -> Self {
        let half = Duration::from_millis(500);
        Self::new(&[425.0]).cadence(&[(half, half)])
    }

    /// Sets the level of the whole tone while it sounds, in dBov. One sine cannot exceed -3.01 dBov without clipping.
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

    /// How long it lasts, unless it is endless.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// The place that is played next.
    #[must_use]
    pub fn position(&self) -> Duration {
        Duration::from_secs_f64(self.position as f64 / f64::from(self.rate))
    }

    /// Goes to this place.
    pub fn seek(&mut self, position: Duration) {
        self.position = (position.as_secs_f64() * f64::from(self.rate)).round() as u64;
    }

    /// Fills a frame at the frame's own rate; `false` when the tone had ended before it, and `out` is then silence.
    pub fn next(&mut self, out: &mut Frame) -> bool {
        let rate = out.rate();
        let written = self.read(rate, out.samples_mut());
        out.samples_mut()[written..].fill(0);
        written > 0
    }

    /// All of a tone that lasts, at `rate` hertz; of an endless one, the first second.
    #[must_use]
    pub fn samples(&self, rate: u32) -> Vec<i16> {
        let mut tone = self.clone();
        tone.position = 0;
        let length = self
            .duration
            .unwrap_or(Duration::from_secs(1))
            .as_secs_f64();
        let mut out = vec![0; (length * f64::from(rate)).round() as usize];
        tone.read(rate, &mut out);
        out
    }

    /// Writes the next samples at `rate` hertz and says how many, which is fewer than fit only at the end.
    pub fn read(&mut self, rate: u32, out: &mut [i16]) -> usize {
        if rate == 0 {
            return 0;
        }
        if rate != self.rate {
            self.position =
                (self.position as f64 * f64::from(rate) / f64::from(self.rate)).round() as u64;
            self.rate = rate;
        }
        let end = self
            .duration
            .map(|d| (d.as_secs_f64() * f64::from(rate)).round() as u64);
        let left = end.map_or(u64::MAX, |end| end.saturating_sub(self.position));
        let count = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        // The power of a sum of n equal sines is n times that of one, which is half the square of its peak.
        let rms = 32_768.0 * 10_f64.powf(f64::from(self.level_dbov) / 20.0);
        let peak = rms * (2.0 / self.frequencies.len().max(1) as f64).sqrt();
        for sample in &mut out[..count] {
            let gate = self.gate(end);
            *sample = if gate == 0.0 {
                0
            } else {
                let seconds = self.position as f64 / f64::from(rate);
                let sum: f64 = self
                    .frequencies
                    .iter()
                    .map(|f| (TAU * (f * seconds).fract()).sin())
                    .sum();
                (peak * gate * sum).round() as i16
            };
            self.position += 1;
        }
        count
    }

    /// How far open the tone is at the present position, 0 to 1.
    fn gate(&self, end: Option<u64>) -> f64 {
        let rate = f64::from(self.rate);
        let now = self.position as f64 / rate;
        let mut since = now;
        let mut until = end.map_or(f64::INFINITY, |end| end as f64 / rate - now);
        let total: f64 = self
            .cadence
            .iter()
            .map(|(on, off)| on.as_secs_f64() + off.as_secs_f64())
            .sum();
        if total > 0.0 {
            let mut place = now % total;
            for (on, off) in &self.cadence {
                let (on, off) = (on.as_secs_f64(), off.as_secs_f64());
                if place < on {
                    since = since.min(place);
                    until = until.min(on - place);
                    break;
                }
                place -= on;
                if place < off {
                    return 0.0;
                }
                place -= off;
            }
        }
        (since.min(until) / RAMP_SECONDS).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{component_dbov, level_dbov};

    #[test]
    fn the_level_is_that_of_the_mix() {
        for frequencies in [&[1_000.0][..], &[480.0, 620.0], &[350.0, 440.0, 700.0]] {
            for level in [-40.0, -20.0, -10.0] {
                let samples = Tone::new(frequencies).level(level).samples(8_000);
                let measured = level_dbov(&samples[100..]);
                assert!(
                    (measured - level).abs() < 0.1,
                    "{frequencies:?} at {level}: {measured}"
                );
            }
        }
    }

    #[test]
    fn each_frequency_is_there_at_its_share() {
        let samples = Tone::new(&[480.0, 620.0]).level(-17.0).samples(8_000);
        for frequency in [480.0, 620.0] {
            let level = component_dbov(&samples, 8_000, frequency);
            assert!((level + 20.0).abs() < 0.2, "{level}");
        }
        assert!(component_dbov(&samples, 8_000, 1_000.0) < -60.0);
    }

    #[test]
    fn frames_join_without_a_seam() {
        let mut tone = Tone::new(&[440.0]);
        let whole = tone.samples(8_000);
        let mut frame = Frame::silence(8_000);
        let mut framed = Vec::new();
        for _ in 0..50 {
            assert!(tone.next(&mut frame));
            framed.extend_from_slice(frame.samples());
        }
        assert_eq!(framed, whole);
        assert_eq!(tone.position(), Duration::from_secs(1));
    }

    #[test]
    fn a_cadence_sounds_and_pauses() {
        let samples = Tone::busy().lasting(Duration::from_secs(2)).samples(8_000);
        assert!(level_dbov(&samples[100..3_900]) > -20.5);
        assert!(samples[4_000..8_000].iter().all(|s| *s == 0));
        assert!(level_dbov(&samples[8_100..11_900]) > -20.5);
    }

    #[test]
    fn an_ended_tone_says_so_and_odd_ones_do_no_harm() {
        let mut tone = Tone::beep();
        let mut frame = Frame::silence(8_000);
        let frames = std::iter::from_fn(|| tone.next(&mut frame).then_some(())).count();
        assert_eq!(frames, 20);
        assert!(Tone::new(&[]).samples(8_000).iter().all(|s| *s == 0));
        assert!(
            Tone::new(&[f64::NAN])
                .level(f32::NAN)
                .samples(8_000)
                .iter()
                .all(|s| *s == 0)
        );
        let stuck = Tone::new(&[440.0]).cadence(&[(Duration::ZERO, Duration::ZERO)]);
        assert_eq!(stuck.samples(8_000).len(), 8_000);
    }
}
