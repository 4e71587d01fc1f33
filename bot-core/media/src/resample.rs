//! Conversion between sample rates, with the anti-alias filter that it takes.
//!
//! Purpose: bring a file of any rate to the rate of a call. It sits on rubato's synchronous FFT resampler, which filters
//! before it decimates; rubato's polynomial resamplers do not, and would fold all above 4 kHz into the voice.
//!
//! Invariants: as much audio comes out as went in (to the nearest sample), and the filter's delay is taken off, so that the
//! first output sample stands where the first input sample stood. Equal rates pass through bit by bit.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, WindowFunction};

/// The lowest rate, in hertz, that is taken for audio.
pub const LOWEST_RATE: u32 = 1_000;

/// The highest rate, in hertz, that is taken for audio.
pub const HIGHEST_RATE: u32 = 384_000;

/// Samples on the lower-rate side of one FFT block: the filter's length, and with it the steepness of its edge.
const BLOCK: usize = 512;

/// Why there is no conversion between two rates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot convert {from} Hz to {to} Hz: use rates from {LOWEST_RATE} to {HIGHEST_RATE} Hz")]
pub struct RateError {
    from: u32,
    to: u32,
}

/// Converts one mono stream, piece by piece.
pub struct Resampler {
    from: u32,
    to: u32,
    stage: Option<Stage>,
    taken: u64,
    given: u64,
}

/// What only a true conversion needs.
struct Stage {
    fft: Fft<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
    delay: usize,
}

impl Resampler {
    /// A conversion of a mono stream from one rate to another, both in hertz.
    ///
    /// # Errors
    /// When a rate lies outside [`LOWEST_RATE`] to [`HIGHEST_RATE`].
    pub fn new(from: u32, to: u32) -> Result<Self, RateError> {
        let error = RateError { from, to };
        let known = LOWEST_RATE..=HIGHEST_RATE;
        if !known.contains(&from) || !known.contains(&to) {
            return Err(error);
        }
        let stage = if from == to {
            None
        } else {
            Some(Stage::new(from, to).ok_or(error)?)
        };
        Ok(Self {
            from,
            to,
            stage,
            taken: 0,
            given: 0,
        })
    }

    /// Takes in the next samples and appends to `out` what can be given already.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        match &mut self.stage {
            None => out.extend_from_slice(samples),
            Some(stage) => {
                stage.input.extend_from_slice(samples);
                stage.run(out, &mut self.given);
            }
        }
    }

    /// Appends the rest to `out` and is ready for another stream.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        if let Some(stage) = &mut self.stage {
            let due = (u128::from(self.taken) * u128::from(self.to) + u128::from(self.from) / 2)
                / u128::from(self.from);
            let due = due as u64;
            // What is gathered is less than a block and the delay is half a block: three blocks flush all.
            for _ in 0..4 {
                if self.given >= due {
                    break;
                }
                let fill = stage.fft.input_frames_next();
                stage.input.resize(stage.input.len().max(fill), 0.0);
                stage.run(out, &mut self.given);
            }
            out.truncate(out.len() - self.given.saturating_sub(due) as usize);
        }
        self.reset();
    }

    /// Forgets the stream: what comes next is another.
    pub fn reset(&mut self) {
        self.taken = 0;
        self.given = 0;
        if let Some(stage) = &mut self.stage {
            stage.fft.reset();
            stage.input.clear();
            stage.delay = stage.fft.output_delay();
        }
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Resampler")
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Stage {
    fn new(from: u32, to: u32) -> Option<Self> {
        // Half a block is the delay that is taken off, so a block must have a half.
        let unit = 2 * from as usize / gcd(from, to) as usize;
        let chunk = (BLOCK * from as usize / from.min(to) as usize).next_multiple_of(unit);
        let fft = Fft::new_custom(
            from as usize,
            to as usize,
            chunk,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .ok()?;
        Some(Self {
            delay: fft.output_delay(),
            output: vec![0.0; fft.output_frames_max()],
            input: Vec::with_capacity(2 * fft.input_frames_max()),
            fft,
        })
    }

    /// Converts every whole block that has been gathered.
    fn run(&mut self, out: &mut Vec<f32>, given: &mut u64) {
        let mut used = 0;
        while self.input.len() - used >= self.fft.input_frames_next() {
            let block = &self.input[used..];
            let (consumed, produced) = {
                let (Ok(source), Ok(mut sink)) = (
                    SequentialSlice::new(block, 1, block.len()),
                    SequentialSlice::new_mut(&mut self.output, 1, self.fft.output_frames_max()),
                ) else {
                    break;
                };
                match self
                    .fft
                    .process_into_buffer(&source, &mut sink, None::<&Indexing>)
                {
                    Ok(counts) => counts,
                    Err(_) => break,
                }
            };
            if consumed == 0 {
                break;
            }
            used += consumed;
            let skipped = self.delay.min(produced);
            self.delay -= skipped;
            out.extend_from_slice(&self.output[skipped..produced]);
            *given += (produced - skipped) as u64;
        }
        self.input.drain(..used);
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Converts a whole mono recording. Rates outside the known range give silence of no length.
#[must_use]
pub fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    if from == to {
        return samples.to_vec();
    }
    let Ok(mut resampler) = Resampler::new(from, to) else {
        return Vec::new();
    };
    let mut floats = Vec::with_capacity(16_384);
    let mut converted = Vec::new();
    let mut out =
        Vec::with_capacity((samples.len() as u64 * u64::from(to) / u64::from(from)) as usize + 1);
    for chunk in samples.chunks(8_192) {
        floats.clear();
        floats.extend(chunk.iter().map(|sample| f32::from(*sample) / 32_768.0));
        converted.clear();
        resampler.push(&floats, &mut converted);
        out.extend(converted.iter().map(|value| to_i16(*value)));
    }
    converted.clear();
    resampler.finish(&mut converted);
    out.extend(converted.iter().map(|value| to_i16(*value)));
    out
}

/// The 16-bit sample of a value in -1..1, clipped where it lies beyond.
#[must_use]
pub fn to_i16(value: f32) -> i16 {
    // The cast saturates, and makes 0 of what is no number.
    (value * 32_768.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::level_dbov;

    fn sine(rate: u32, frequency: f64, seconds: f64) -> Vec<i16> {
        let step = std::f64::consts::TAU * frequency / f64::from(rate);
        (0..(seconds * f64::from(rate)) as usize)
            .map(|n| (10_000.0 * (step * n as f64).sin()) as i16)
            .collect()
    }

    #[test]
    fn equal_rates_pass_bit_by_bit() {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut resampler = Resampler::new(8_000, 8_000).unwrap();
        let floats: Vec<f32> = all.iter().map(|s| f32::from(*s) / 32_768.0).collect();
        let mut out = Vec::new();
        resampler.push(&floats, &mut out);
        resampler.finish(&mut out);
        assert_eq!(out.iter().map(|v| to_i16(*v)).collect::<Vec<_>>(), all);
    }

    #[test]
    fn length_level_and_place_are_kept_at_every_usual_rate() {
        for rate in [
            8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
        ] {
            let out = resample(&sine(rate, 440.0, 1.0), rate, 8_000);
            assert_eq!(out.len(), 8_000, "{rate}");
            let expected = sine(8_000, 440.0, 1.0);
            let difference: Vec<i16> = out[200..7_800]
                .iter()
                .zip(&expected[200..7_800])
                .map(|(a, b)| a - b)
                .collect();
            // Sample by sample the same wave: neither late, nor louder.
            assert!(
                level_dbov(&difference) < -70.0,
                "{rate}: {}",
                level_dbov(&difference)
            );
        }
    }

    #[test]
    fn what_telephones_cannot_carry_does_not_fold_back() {
        for (rate, frequency) in [(48_000, 7_000.0), (44_100, 5_000.0), (16_000, 4_600.0)] {
            let out = resample(&sine(rate, frequency, 1.0), rate, 8_000);
            let level = level_dbov(&out[400..7_600]);
            assert!(level < -75.0, "{frequency} Hz left {level} dBov");
        }
        // The voice band itself stays.
        let out = resample(&sine(48_000, 3_400.0, 1.0), 48_000, 8_000);
        assert!(
            (level_dbov(&out[400..7_600]) - level_dbov(&sine(8_000, 3_400.0, 1.0))).abs() < 0.2
        );
    }

    #[test]
    fn pieces_of_any_size_make_the_same_whole() {
        let input: Vec<f32> = sine(44_100, 1_000.0, 0.7)
            .iter()
            .map(|s| f32::from(*s) / 32_768.0)
            .collect();
        let mut whole = Vec::new();
        let mut resampler = Resampler::new(44_100, 8_000).unwrap();
        resampler.push(&input, &mut whole);
        resampler.finish(&mut whole);
        let mut pieces = Vec::new();
        for chunk in input.chunks(37) {
            resampler.push(chunk, &mut pieces);
        }
        resampler.finish(&mut pieces);
        assert_eq!(whole, pieces);
    }

    #[test]
    fn absurd_rates_are_refused() {
        assert!(Resampler::new(0, 8_000).is_err());
        assert!(Resampler::new(u32::MAX, 8_000).is_err());
        let awkward = Resampler::new(44_099, 8_000).unwrap();
        assert!(format!("{awkward:?}").contains("44099"));
    }
}
