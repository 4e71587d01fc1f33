//! Frequencies: the level of a known one, and which one dominates.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;

use super::level::{SILENCE_DBOV, power_dbov};

/// The level in dBov of the sine of this frequency (hertz) in the samples, through a Hann window.
///
/// The window's main lobe is four cycles per length wide: 100 ms tell frequencies apart that differ by 40 Hz.
#[must_use]
pub fn component_dbov(samples: &[i16], rate: u32, frequency: f64) -> f32 {
    if samples.is_empty() || rate == 0 {
        return SILENCE_DBOV;
    }
    power_dbov(component_power(samples, f64::from(rate), frequency))
}

/// The mean square of the sine of this frequency.
fn component_power(samples: &[i16], rate: f64, frequency: f64) -> f64 {
    let step = TAU * frequency / rate;
    let length = samples.len() as f64;
    let (mut real, mut imaginary, mut weight) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / length).cos();
        let (sin, cos) = (step * n as f64).sin_cos();
        real += window * f64::from(*sample) * cos;
        imaginary += window * f64::from(*sample) * sin;
        weight += window;
    }
    2.0 * (real * real + imaginary * imaginary) / (weight * weight)
}

/// The strongest frequency of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Its frequency in hertz.
    pub frequency: f64,
    /// Its level in dBov.
    pub level_dbov: f32,
}

/// The strongest frequency between 20 Hz and half the rate; `None` for silence or for less than 10 ms.
///
/// For a steady tone of a second the frequency is right to about 0.01 Hz.
#[must_use]
pub fn dominant(samples: &[i16], rate: u32) -> Option<Peak> {
    if samples.len() < (rate / 100).max(16) as usize {
        return None;
    }
    // A longer stretch adds nothing but time: two seconds resolve half a hertz before refinement.
    let samples = &samples[..samples.len().min(2 * rate as usize)];
    let length = samples.len().next_power_of_two();
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(length);
    let mut input = fft.make_input_vec();
    for (n, (slot, sample)) in input.iter_mut().zip(samples).enumerate() {
        let window = 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / samples.len() as f64).cos();
        *slot = window * f64::from(*sample);
    }
    let mut spectrum = fft.make_output_vec();
    fft.process(&mut input, &mut spectrum).ok()?;
    let width = f64::from(rate) / length as f64;
    let lowest = ((20.0 / width).ceil() as usize).max(1);
    let (bin, power) = spectrum
        .iter()
        .enumerate()
        .skip(lowest)
        .map(|(bin, value)| (bin, value.norm_sqr()))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    if power <= 0.0 {
        return None;
    }
    let (frequency, power) = refine(samples, f64::from(rate), bin as f64 * width, width);
    Some(Peak {
        frequency,
        level_dbov: power_dbov(power),
    })
}

/// Climbs to the top of the peak by golden sections.
fn refine(samples: &[i16], rate: f64, near: f64, width: f64) -> (f64, f64) {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let (mut low, mut high) = (near - width, near + width);
    let power = |frequency| component_power(samples, rate, frequency);
    let mut left = high - GOLDEN * (high - low);
    let mut right = low + GOLDEN * (high - low);
    let (mut at_left, mut at_right) = (power(left), power(right));
    while high - low > width * 1e-4 {
        if at_left > at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - GOLDEN * (high - low);
            at_left = power(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + GOLDEN * (high - low);
            at_right = power(right);
        }
    }
    let top = f64::midpoint(low, high);
    (top, power(top))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    #[test]
    fn the_dominant_frequency_is_found_to_a_fraction_of_a_hertz() {
        for frequency in [50.3, 425.0, 440.0, 1_004.7, 3_399.9] {
            let samples = Tone::new(&[frequency]).level(-15.0).samples(8_000);
            let peak = dominant(&samples, 8_000).unwrap();
            assert!(
                (peak.frequency - frequency).abs() < 0.05,
                "{frequency}: {peak:?}"
            );
            assert!((peak.level_dbov + 15.0).abs() < 0.1, "{peak:?}");
        }
    }

    #[test]
    fn the_stronger_of_two_tones_wins() {
        let mut strong = Tone::new(&[697.0]).level(-12.0).samples(8_000);
        let weak = Tone::new(&[1_209.0]).level(-15.0).samples(8_000);
        for (sample, add) in strong.iter_mut().zip(weak) {
            *sample += add;
        }
        let peak = dominant(&strong, 8_000).unwrap();
        assert!((peak.frequency - 697.0).abs() < 0.1, "{peak:?}");
        assert!((component_dbov(&strong, 8_000, 1_209.0) + 15.0).abs() < 0.1);
    }

    #[test]
    fn silence_has_no_frequency() {
        assert_eq!(dominant(&[0; 8_000], 8_000), None);
        assert_eq!(dominant(&[100; 10], 8_000), None);
        assert!((component_dbov(&[], 8_000, 440.0) - SILENCE_DBOV).abs() < f32::EPSILON);
    }
}
