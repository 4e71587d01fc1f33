//! Conversion of live audio between the rates of two legs, one frame in and one frame out.
//!
//! Purpose: bring what one call hears to the rate at which another speaks, with as little delay as a filter needs.
//! [`resample`](crate::resample) does the same for files in blocks of 64 ms, which nobody would notice there and everybody
//! in a conversation.
//!
//! Responsibility: a windowed-sinc filter in polyphase form (Kaiser window, about 65 dB of attenuation), whose edge lies below
//! half of the lower rate, so that nothing folds back into the voice.
//!
//! Invariants: a frame gives exactly one frame; the delay is [`RateConverter::delay`], 3 ms where the lower rate is 8 kHz; all
//! memory is taken when a converter is made.

use crate::frame::{Frame, samples_per_frame};

/// The filter's length in samples at the lower rate: half of them are its delay.
const LENGTH: usize = 48;

/// The middle of the filter's edge, as a share of half the lower rate: 3.7 of 4 kHz.
const EDGE: f64 = 0.925;

/// The shape of the Kaiser window.
const BETA: f64 = 6.2;

/// Converts one live mono stream.
#[derive(Clone)]
pub struct RateConverter {
    from: u32,
    to: u32,
    up: usize,
    down: usize,
    /// Samples of the input that one sample of the output is made of.
    taps: usize,
    /// For each phase its taps, the newest sample's first.
    filter: Vec<f32>,
    /// The newest `taps - 1` samples before the frame, then the frame.
    line: Vec<f32>,
}

impl RateConverter {
    /// A converter between these rates, in hertz. `None` when 20 ms is no whole number of samples at both, or a rate is
    /// beyond what a frame holds.
    #[must_use]
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let fits = |rate: u32| {
            rate >= 1_000 && rate.is_multiple_of(50) && Frame::silence(rate).rate() == rate
        };
        if !fits(from) || !fits(to) {
            return None;
        }
        let divisor = gcd(from, to);
        let (up, down) = ((to / divisor) as usize, (from / divisor) as usize);
        let length = LENGTH * up.max(down);
        let taps = length.div_ceil(up);
        let edge = EDGE / up.max(down) as f64;
        let prototype: Vec<f64> = (0..taps * up)
            .map(|n| {
                let at = n as f64 - (length as f64 - 1.0) / 2.0;
                let x = 2.0 * at / length as f64;
                sinc(at * edge) * bessel(BETA * (1.0 - x * x).max(0.0).sqrt())
            })
            .collect();
        let mut filter = Vec::with_capacity(taps * up);
        for phase in 0..up {
            let taps_of_phase = || prototype.iter().skip(phase).step_by(up);
            // Each phase alone keeps a steady level, so that none of them modulates the sound.
            let sum: f64 = taps_of_phase().sum();
            filter.extend(taps_of_phase().map(|tap| (tap / sum) as f32));
        }
        Some(Self {
            from,
            to,
            up,
            down,
            taps,
            filter,
            line: vec![0.0; taps - 1 + samples_per_frame(from)],
        })
    }

    /// The rates from and to which it converts, in hertz.
    #[must_use]
    pub const fn rates(&self) -> (u32, u32) {
        (self.from, self.to)
    }

    /// How much later sound comes out than it went in.
    #[must_use]
    pub fn delay(&self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(LENGTH as f64 / 2.0 / f64::from(self.from.min(self.to)))
    }

    /// Converts the next frame of the stream. A frame of another rate than the converter's counts as silence.
    pub fn convert(&mut self, frame: &Frame, out: &mut Frame) {
        out.reset(self.to);
        let history = self.taps - 1;
        let newest = self.line.len() - history;
        self.line.copy_within(newest.., 0);
        let (_, input) = self.line.split_at_mut(history);
        input.fill(0.0);
        if frame.rate() == self.from {
            for (slot, sample) in input.iter_mut().zip(frame.samples()) {
                *slot = f32::from(*sample);
            }
        }
        for (n, sample) in out.samples_mut().iter_mut().enumerate() {
            let at = n * self.down;
            let (place, phase) = (at / self.up, at % self.up);
            let window = &self.line[place..place + self.taps];
            let taps = &self.filter[phase * self.taps..(phase + 1) * self.taps];
            let sum: f32 = window
                .iter()
                .rev()
                .zip(taps)
                .map(|(value, tap)| value * tap)
                .sum();
            // The cast saturates.
            *sample = sum.round() as i16;
        }
    }
}

impl std::fmt::Debug for RateConverter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RateConverter")
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// The modified Bessel function of the first kind and order 0, by its series.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::level_dbov;

    const RATES: [u32; 6] = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000];

    /// A second of a sine of amplitude 10,000, converted; `shift` is by how many seconds the expected wave is late.
    fn converted(from: u32, to: u32, frequency: f64) -> Vec<i16> {
        let mut converter = RateConverter::new(from, to).unwrap();
        let step = std::f64::consts::TAU * frequency / f64::from(from);
        let (mut out, mut frame) = (Vec::new(), Frame::silence(to));
        let wave: Vec<i16> = (0..from)
            .map(|n| (10_000.0 * (step * f64::from(n)).sin()) as i16)
            .collect();
        for piece in wave.chunks(samples_per_frame(from)) {
            converter.convert(&Frame::from_slice(from, piece), &mut frame);
            out.extend_from_slice(frame.samples());
        }
        out
    }

    #[test]
    fn a_tone_keeps_level_frequency_and_place_at_every_rate() {
        for (from, to) in RATES.iter().flat_map(|a| RATES.map(|b| (*a, b))) {
            if from == to {
                continue;
            }
            let out = converted(from, to, 440.0);
            assert_eq!(out.len(), to as usize);
            let delay = RateConverter::new(from, to).unwrap().delay().as_secs_f64();
            // The filter is even, so its middle lies half a sample of the common rate before its delay.
            let fine = 0.5 / (f64::from(from) * f64::from(to) / f64::from(gcd(from, to)));
            let difference: Vec<i16> = out
                .iter()
                .enumerate()
                .skip(to as usize / 50)
                .map(|(n, sample)| {
                    let at = n as f64 / f64::from(to) - delay + fine;
                    let wanted = 10_000.0 * (std::f64::consts::TAU * 440.0 * at).sin();
                    (f64::from(*sample) - wanted) as i16
                })
                .collect();
            assert!(
                level_dbov(&difference) < -60.0,
                "{from} to {to}: {} dBov off",
                level_dbov(&difference)
            );
        }
    }

    #[test]
    fn the_voice_band_passes_and_nothing_folds_back() {
        for from in [16_000, 48_000] {
            let voice = level_dbov(&converted(from, 8_000, 3_300.0)[400..]);
            let whole = level_dbov(&converted(from, 8_000, 440.0)[400..]);
            assert!((voice - whole).abs() < 0.5, "{from}: {voice} and {whole}");
            for frequency in [4_300.0, 5_000.0, 7_000.0] {
                let level = level_dbov(&converted(from, 8_000, frequency)[400..]);
                assert!(level < -65.0, "{from}: {frequency} Hz left {level} dBov");
            }
        }
    }

    #[test]
    fn rates_without_whole_frames_are_refused() {
        for (from, to) in [(11_025, 8_000), (8_000, 0), (96_000, 8_000)] {
            assert!(RateConverter::new(from, to).is_none(), "{from} to {to}");
        }
        let mut converter = RateConverter::new(8_000, 16_000).unwrap();
        let mut out = Frame::silence(8_000);
        converter.convert(&Frame::from_slice(48_000, &[9_000; 960]), &mut out);
        assert_eq!(out, Frame::silence(16_000), "a frame of another rate");
    }
}
