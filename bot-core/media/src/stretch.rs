//! Playing a little slower or faster without a change of pitch (waveform-similarity overlap-add).
//!
//! Purpose: gain or lose delay by one period of the sound at a time, where the sound is like itself a period later, so that
//! nothing is heard of it. It is how a sender's clock that runs fast or slow is followed for hours.
//!
//! A period is inserted or left out by a cross-fade between the sound and itself, displaced by the period at which both are
//! most alike. In silence any displacement will do.

use crate::analysis::level::power_dbov;
use crate::conceal::{cross_fade, dot};

/// The sound is compared over 10 ms, displaced by 2.5 to 15 ms.
const WINDOW_MS: usize = 10;
const SHORTEST_TENTHS_MS: usize = 25;
const LONGEST_MS: usize = 15;

/// The samples of [`LONGEST_MS`] and of the window at 48 kHz.
const MOST: usize = 48 * (LONGEST_MS + WINDOW_MS);

/// What a seam may be hidden in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    /// Sound below this level, in dBov, is a pause, in which anything goes.
    pub(crate) pause_dbov: f32,
    /// How much other sound must be like itself, 0 to 1; beyond 1 it is left alone.
    pub(crate) likeness: f32,
}

/// Stretches audio of one rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretcher {
    /// Samples in a millisecond.
    unit: usize,
}

impl Stretcher {
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            unit: (rate / 1_000).clamp(8, 48) as usize,
        }
    }

    /// The longest displacement in samples.
    pub(crate) fn longest(&self) -> usize {
        self.unit * LONGEST_MS
    }

    /// The shortest displacement in samples.
    pub(crate) fn shortest(&self) -> usize {
        self.unit * SHORTEST_TENTHS_MS / 10
    }

    /// The samples that [`Stretcher::compress`] must be given beyond the displacement it may use.
    pub(crate) fn window(&self) -> usize {
        self.unit * WINDOW_MS
    }

    /// Leaves out one period, of at most `most` samples, at the beginning of `signal[..length]`, where that is as good as
    /// `tolerance` asks, and gives its length. The first sample stays the first.
    pub(crate) fn compress(
        &self,
        signal: &mut [i16],
        length: usize,
        most: usize,
        tolerance: Tolerance,
    ) -> Option<usize> {
        let most = most
            .min(self.longest())
            .min(length.checked_sub(self.window())?);
        let mut room = [0.0; MOST];
        let part = floats(&signal[..most + self.window()], &mut room);
        let (first, window) = (&part[..self.window()], self.window());
        let lag = self.best(first, most, tolerance, |lag| &part[lag..lag + window])?;
        // The fade takes as long as the period, or as long as both were compared, whichever is shorter.
        let fade = lag.min(window);
        let mut from = [0; MOST];
        from[..fade].copy_from_slice(&signal[..fade]);
        signal.copy_within(lag..length, 0);
        cross_fade(&from[..fade], signal);
        Some(lag)
    }

    /// Inserts one period at `start` in `signal`, whose audio before it was played and from it to `end` was not, where that
    /// is as good as `tolerance` asks, and gives its length. There must be room behind `end`.
    pub(crate) fn expand(
        &self,
        signal: &mut [i16],
        start: usize,
        end: usize,
        tolerance: Tolerance,
    ) -> Option<usize> {
        let window = self.window();
        let most = self.longest().min(start).min(signal.len() - end);
        if end - start < window {
            return None;
        }
        let mut room = [0.0; MOST];
        let part = floats(&signal[start - most..start + window], &mut room);
        let lag = self.best(&part[most..], most, tolerance, |lag| {
            &part[most - lag..most - lag + window]
        })?;
        let fade = lag.min(window);
        let mut from = [0; MOST];
        from[..fade].copy_from_slice(&signal[start..start + fade]);
        signal.copy_within(start - lag..end, start);
        cross_fade(&from[..fade], &mut signal[start..]);
        Some(lag)
    }

    /// The displacement at which the sound is most like `here`, if alike enough.
    fn best<'a>(
        &self,
        here: &[f32],
        most: usize,
        tolerance: Tolerance,
        there: impl Fn(usize) -> &'a [f32],
    ) -> Option<usize> {
        if most < self.shortest() {
            return None;
        }
        let power = dot(here, here);
        let pauses = |part: &[f32]| {
            power_dbov(f64::from(dot(part, part)) / part.len() as f64) < tolerance.pause_dbov
        };
        // It must not fade into something that is heard, though.
        if pauses(here) && pauses(there(most)) {
            return Some(most);
        }
        if tolerance.likeness >= 1.0 {
            return None;
        }
        let mut best = (0, tolerance.likeness);
        for lag in self.shortest()..=most {
            let other = there(lag);
            let energy = dot(other, other);
            let likeness = dot(here, other) / (power * energy).sqrt().max(1.0);
            // A rise or fall in level is a seam of its own.
            let balance = (power.min(energy) / power.max(energy).max(1.0)).sqrt();
            let likeness = likeness * balance.sqrt();
            if likeness > best.1 {
                best = (lag, likeness);
            }
        }
        (best.0 > 0).then_some(best.0)
    }
}

fn floats<'a>(samples: &[i16], room: &'a mut [f32; MOST]) -> &'a [f32] {
    for (slot, sample) in room.iter_mut().zip(samples) {
        *slot = f32::from(*sample);
    }
    &room[..samples.len().min(MOST)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{dominant, measure_tone};
    use crate::tone::Tone;

    const ANY: Tolerance = Tolerance {
        pause_dbov: -58.0,
        likeness: 0.5,
    };
    const CAREFUL: Tolerance = Tolerance {
        pause_dbov: -58.0,
        likeness: 0.8,
    };

    /// A tone that is stretched or compressed in every frame for two seconds.
    fn worked(frequency: f64, compress: bool) -> (Vec<i16>, usize) {
        let stretcher = Stretcher::new(8_000);
        let tone = Tone::new(&[frequency])
            .lasting(std::time::Duration::from_secs(5))
            .samples(8_000);
        let mut source = tone.chunks(160);
        let (mut out, mut moved) = (vec![0; 480], 0);
        let mut ahead = Vec::new();
        while out.len() < 16_000 {
            while ahead.len() < 480 {
                ahead.extend_from_slice(source.next().unwrap());
            }
            if compress {
                let length = ahead.len();
                if let Some(lag) = stretcher.compress(&mut ahead, length, 120, ANY) {
                    ahead.truncate(length - lag);
                    moved += lag;
                }
            } else {
                let start = out.len();
                out.extend_from_slice(&ahead);
                let end = out.len();
                out.resize(end + 120, 0);
                let lag = stretcher.expand(&mut out, start, end, ANY).unwrap_or(0);
                ahead = out[start..end + lag].to_vec();
                out.truncate(start);
                moved += lag;
            }
            out.extend(ahead.drain(..160));
        }
        (out.split_off(800), moved)
    }

    #[test]
    fn a_tone_keeps_pitch_and_level_however_much_is_taken_or_given() {
        for frequency in [200.0, 440.0, 1_000.0, 2_350.0] {
            for compress in [true, false] {
                let (out, moved) = worked(frequency, compress);
                assert!(moved > 2_000, "{frequency} {compress}: {moved}");
                let report = measure_tone(&out, 8_000, frequency).unwrap();
                assert!(report.gaps.is_empty(), "{frequency} {compress}: {report:?}");
                assert!(
                    (report.level_dbov + 20.0).abs() < 0.3,
                    "{frequency} {compress}: {report:?}"
                );
                let peak = dominant(&out, 8_000).unwrap();
                assert!(
                    (peak.frequency / frequency - 1.0).abs() < 0.01,
                    "{frequency} {compress}: {peak:?}"
                );
            }
        }
    }

    #[test]
    fn noise_is_left_alone_unless_asked_and_silence_gives_the_most() {
        let stretcher = Stretcher::new(8_000);
        let mut state = 1_u32;
        let mut noise: Vec<i16> = (0..480)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 19) as i16 - 4_096
            })
            .collect();
        let before = noise.clone();
        assert_eq!(stretcher.compress(&mut noise, 480, 120, CAREFUL), None);
        assert_eq!(stretcher.expand(&mut noise, 240, 360, CAREFUL), None);
        assert_eq!(noise, before);
        assert_eq!(
            stretcher.compress(&mut [0; 480], 480, 120, CAREFUL),
            Some(120)
        );
        assert_eq!(
            stretcher.expand(&mut [0; 480], 240, 360, CAREFUL),
            Some(120)
        );
    }

    #[test]
    fn too_little_audio_is_no_reason_to_panic() {
        let stretcher = Stretcher::new(8_000);
        for length in [0, 1, 79, 80, 99, 100, 101] {
            stretcher.compress(&mut [5; 480], length, 120, ANY);
            stretcher.expand(&mut [5; 480], 0, length, ANY);
            stretcher.expand(&mut [5; 480], 480 - length, 480, ANY);
        }
    }
}
