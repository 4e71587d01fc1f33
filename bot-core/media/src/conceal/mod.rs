//! Concealment: what is played in place of audio that did not come.
//!
//! Purpose: make a lost packet hard to hear. Two estimates are made and averaged, because their errors differ:
//! - **pitch**: the newest period of the past goes on; where the future is known too, the first period of the future goes
//!   backwards, and the one fades into the other;
//! - **prediction**: the autoregressive model of the sound (`predict`) goes on; where the future is known too, the gap is
//!   the one that the model finds least surprising between both sides (Janssen, Veldhuis and Vries, 1986).
//!
//! Measured with PESQ over 42 draws of 5% loss in seven passages: pitch repetition alone gains 0.42 over silence, both
//! estimates from the past 0.56, both from both sides 0.75. So the receiver keeps the next packet at hand when it can.
//!
//! Invariants: nothing allocates; the output never exceeds what 16 bits hold; work is bounded by the length of a gap.
//! How long concealment lasts and how it fades is the receiver's business, not decided here.

mod predict;

use predict::{Model, fill_gap};

/// The longest gap in samples that both sides are asked about, and the longest extension.
pub const LONGEST: usize = 1_920 + MERGE_AT_48K;

/// Beyond this many samples the gap is filled by pitch alone: the model's system of equations grows with the square.
const LONGEST_PREDICTED: usize = 480;

const MERGE_AT_48K: usize = 120;

/// The past that is looked at: 60 ms.
pub(crate) const HISTORY_MS: usize = 60;

/// The future that is looked at: 20 ms.
const FUTURE_MS: usize = 20;

/// The step between two periods that do not quite meet is spread over 2 ms.
const JOINT_MS: usize = 2;

const MOST_HISTORY: usize = 48 * HISTORY_MS;
const MOST_FUTURE: usize = 48 * FUTURE_MS;

/// Conceals audio of one rate.
#[derive(Debug, Clone, Copy)]
pub struct Concealer {
    /// Samples in a millisecond.
    unit: usize,
}

impl Concealer {
    /// A concealer for audio at `rate` hertz (8,000 to 48,000).
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let unit = (rate / 1_000).clamp(8, 48) as usize;
        Self { unit }
    }

    /// The samples over which an extension should fade into the audio that comes after it: 2.5 ms.
    #[must_use]
    pub fn merge_length(&self) -> usize {
        self.unit * 5 / 2
    }

    /// Goes on from `past` as if it had not ended. At least 30 ms of the past are needed, 60 ms are of use.
    pub fn extend(&self, past: &[i16], out: &mut [i16]) {
        let mut history = [0.0; MOST_HISTORY];
        let past = self.newest(past, &mut history);
        let mut pitch = [0.0; LONGEST];
        let length = out.len().min(LONGEST);
        let pitch = &mut pitch[..length];
        if !self.repeat_period(past, pitch) {
            out.fill(0);
            return;
        }
        let mut predicted = [0.0; LONGEST];
        let predicted = &mut predicted[..length];
        Model::of(&[past]).extend(past, predicted);
        average(pitch, predicted, out);
    }

    /// Fills `out` so that it leads from `past` into `future`, of which at least 10 ms are needed.
    pub fn bridge(&self, past: &[i16], future: &[i16], out: &mut [i16]) {
        let (mut history, mut coming) = ([0.0; MOST_HISTORY], [0.0; MOST_FUTURE]);
        let past = self.newest(past, &mut history);
        let take = future.len().min(self.unit * FUTURE_MS);
        for (slot, sample) in coming.iter_mut().zip(&future[..take]) {
            *slot = f32::from(*sample);
        }
        let future = &coming[..take];
        let mut reversed = [0.0; MOST_FUTURE];
        for (slot, sample) in reversed.iter_mut().zip(future.iter().rev()) {
            *slot = *sample;
        }
        let length = out.len().min(LONGEST);
        let (mut forward, mut backward) = ([0.0; LONGEST], [0.0; LONGEST]);
        let (forward, backward) = (&mut forward[..length], &mut backward[..length]);
        let known = self.repeat_period(past, forward);
        if !self.repeat_period(&reversed[..take], backward) && !known {
            out.fill(0);
            return;
        }
        for (n, value) in forward.iter_mut().enumerate() {
            let place = (n as f32 + 0.5) / length as f32;
            let fade = 0.5 - 0.5 * (std::f32::consts::PI * place).cos();
            *value = *value * (1.0 - fade) + backward[length - 1 - n] * fade;
        }
        if length <= LONGEST_PREDICTED
            && fill_gap(&Model::of(&[past, future]), past, future, backward)
        {
            average(forward, backward, out);
        } else {
            average(forward, forward, out);
        }
    }

    /// The newest part of the past, as numbers to reckon with.
    fn newest<'a>(&self, past: &[i16], room: &'a mut [f32; MOST_HISTORY]) -> &'a [f32] {
        let length = past.len().min(self.unit * HISTORY_MS);
        let newest = &past[past.len() - length..];
        for (slot, sample) in room.iter_mut().zip(newest) {
            *slot = f32::from(*sample);
        }
        &room[..length]
    }

    /// Repeats the newest period of `past`; `false` when there is nothing to repeat.
    fn repeat_period(&self, past: &[f32], out: &mut [f32]) -> bool {
        // A future of one short packet leaves less room to compare than the past does.
        let window = (self.unit * 10).min(past.len() * 3 / 8);
        let longest = (self.unit * 20).min(past.len().saturating_sub(window));
        let Some(period) = best_period(past, self.unit * 5 / 2, longest, window) else {
            out.fill(0.0);
            return false;
        };
        let start = past.len() - period;
        for n in 0..out.len() {
            out[n] = if n < period {
                past[start + n]
            } else {
                out[n - period]
            };
        }
        // Where one period ends and the next begins there is a step, which would be heard as a click.
        let step = past[past.len() - 1]
            - past
                .get(start.wrapping_sub(1))
                .copied()
                .unwrap_or(past[past.len() - 1]);
        let joint = self.unit * JOINT_MS;
        for (n, value) in out.iter_mut().take(joint).enumerate() {
            *value += step * (1.0 - (n + 1) as f32 / (joint + 1) as f32);
        }
        true
    }
}

/// The lag between `shortest` and `longest` at which the newest `window` samples are most like those before them.
fn best_period(past: &[f32], shortest: usize, longest: usize, window: usize) -> Option<usize> {
    if window == 0 || longest < shortest || past.len() < window + longest {
        return None;
    }
    let end = past.len();
    let template = &past[end - window..];
    if dot(template, template) < window as f32 {
        return None;
    }
    let mut best = (shortest, f32::NEG_INFINITY);
    let first = &past[end - window - shortest..end - shortest];
    // Moving on by a sample, one square comes in and one goes out; double precision keeps their sum exact enough.
    let mut energy = f64::from(dot(first, first));
    for lag in shortest..=longest {
        let earlier = &past[end - window - lag..end - lag];
        let likeness = dot(template, earlier) / (energy.max(0.0) as f32 + 1.0).sqrt();
        if likeness > best.1 {
            best = (lag, likeness);
        }
        if lag < longest {
            energy += f64::from(past[end - window - lag - 1]).powi(2)
                - f64::from(past[end - lag - 1]).powi(2);
        }
    }
    Some(best.0)
}

/// The sum of products, in lanes so that the compiler may use vectors.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in left.zip(right) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

fn average(a: &[f32], b: &[f32], out: &mut [i16]) {
    out.fill(0);
    for ((slot, a), b) in out.iter_mut().zip(a).zip(b) {
        // The cast saturates.
        *slot = (0.5 * (a + b)).round() as i16;
    }
}

/// Fades from the continuation of what was played into `to`, over the length of `from`.
pub(crate) fn cross_fade(from: &[i16], to: &mut [i16]) {
    let length = from.len() as f32;
    for (n, (slot, from)) in to.iter_mut().zip(from).enumerate() {
        let fade = (n as f32 + 0.5) / length;
        *slot = (f32::from(*from) * (1.0 - fade) + f32::from(*slot) * fade).round() as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::level_dbov;
    use crate::tone::Tone;

    fn sine(rate: u32) -> Vec<i16> {
        Tone::new(&[230.0]).level(-15.0).samples(rate)
    }

    fn error_dbov(a: &[i16], b: &[i16]) -> f32 {
        let difference: Vec<i16> = a.iter().zip(b).map(|(a, b)| a.saturating_sub(*b)).collect();
        level_dbov(&difference)
    }

    #[test]
    fn a_steady_sound_goes_on_as_it_was() {
        for rate in [8_000, 16_000, 48_000] {
            let signal = sine(rate);
            let (past, rest) = signal.split_at(signal.len() / 2);
            let mut out = vec![0; rate as usize / 50];
            Concealer::new(rate).extend(past, &mut out);
            let error = error_dbov(&out, rest);
            assert!(error < -28.0, "{rate}: {error}");
        }
    }

    #[test]
    fn a_gap_in_a_steady_sound_is_closed() {
        for rate in [8_000, 16_000, 48_000] {
            let signal = sine(rate);
            let middle = signal.len() / 2;
            for gap in [rate as usize / 200, rate as usize / 50, rate as usize / 25] {
                let mut out = vec![0; gap];
                Concealer::new(rate).bridge(&signal[..middle], &signal[middle + gap..], &mut out);
                let error = error_dbov(&out, &signal[middle..]);
                assert!(error < -30.0, "{rate}, {gap}: {error}");
            }
        }
    }

    #[test]
    fn silence_stays_silent_and_extremes_stay_within_bounds() {
        let concealer = Concealer::new(8_000);
        let mut out = [99; 180];
        concealer.extend(&[0; 480], &mut out);
        assert_eq!(out, [0; 180]);
        concealer.bridge(&[0; 480], &[0; 160], &mut out);
        assert_eq!(out, [0; 180]);
        let square: Vec<i16> = (0..480)
            .map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        concealer.extend(&square, &mut out);
        concealer.bridge(&square, &square, &mut out);
        assert!(level_dbov(&out) > -6.0);
    }

    #[test]
    fn any_length_of_past_future_and_gap_is_taken() {
        let noise: Vec<i16> = (0..600_i32)
            .map(|n| (n * 7_919 % 10_007 - 5_000) as i16)
            .collect();
        for rate in [8_000, 48_000] {
            let concealer = Concealer::new(rate);
            for past in [0, 1, 19, 20, 21, 50, 160, 480, 600] {
                for gap in [0, 1, 7, 160, 320, 480, 481, 2_500] {
                    let mut out = vec![1; gap];
                    concealer.extend(&noise[..past], &mut out);
                    for future in [0, 1, 20, 80, 160, 600] {
                        concealer.bridge(&noise[..past], &noise[..future], &mut out);
                    }
                }
            }
        }
    }

    #[test]
    fn a_cross_fade_begins_with_the_one_and_ends_with_the_other() {
        let mut to = [1_000; 40];
        cross_fade(&[-1_000; 20], &mut to);
        assert!(to[0] < -900 && to[19] > 900 && to[20] == 1_000, "{to:?}");
    }
}
