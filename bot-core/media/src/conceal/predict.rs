//! The autoregressive model of a sound, and what it expects.
//!
//! A sample is taken for a weighted sum of the 64 before it plus a surprise. 64 samples at 8 kHz reach over a period of
//! most voices, so the model knows the formants and, in part, the pitch.
//!
//! Invariant: the model is stable, because its weights come from an autocorrelation by the Levinson recursion.

use super::{MOST_HISTORY, dot};

/// How many samples the model looks back.
const ORDER: usize = 64;

/// The longest gap whose equations are solved.
const MOST_UNKNOWN: usize = super::LONGEST_PREDICTED;

/// The weights of the model: the surprise is the sum of `weights[k] * x[n - k]`, and `weights[0]` is 1.
pub(super) struct Model {
    weights: [f64; ORDER + 1],
}

impl Model {
    /// The model of these stretches of one sound.
    pub(super) fn of(stretches: &[&[f32]]) -> Self {
        let mut correlation = [0.0; ORDER + 1];
        for stretch in stretches {
            autocorrelate(stretch, &mut correlation);
        }
        Self {
            weights: levinson(&correlation),
        }
    }

    /// What the model expects after `past` if nothing surprises.
    pub(super) fn extend(&self, past: &[f32], out: &mut [f32]) {
        // Reversed, so that the sum below runs through memory in step with the samples.
        let mut reversed = [0.0_f32; ORDER];
        for (slot, weight) in reversed.iter_mut().zip(self.weights[1..].iter().rev()) {
            *slot = -*weight as f32;
        }
        let mut window = [0.0_f32; ORDER * 2];
        let known = past.len().min(ORDER);
        window[ORDER - known..ORDER].copy_from_slice(&past[past.len() - known..]);
        let mut end = ORDER;
        for slot in out {
            if end == window.len() {
                window.copy_within(ORDER.., 0);
                end = ORDER;
            }
            let value = dot(&reversed, &window[end - ORDER..end]);
            // A model of a very loud and pure sound may ring; what no sample can hold is of no use further on either.
            let value = value.clamp(-65_536.0, 65_536.0);
            window[end] = value;
            end += 1;
            *slot = value;
        }
    }
}

/// Fills `gap` between both sides so that the sum of squared surprises is least. `false` when that cannot be solved.
pub(super) fn fill_gap(model: &Model, past: &[f32], future: &[f32], gap: &mut [f32]) -> bool {
    let count = gap.len();
    if count > MOST_UNKNOWN {
        return false;
    }
    // Setting the derivative by each unknown to zero gives one equation a sample, whose coefficients depend only on the
    // distance between samples: they are the autocorrelation of the weights.
    let mut coefficients = [0.0; ORDER + 1];
    for (lag, slot) in coefficients.iter_mut().enumerate() {
        *slot = (0..=ORDER - lag)
            .map(|k| model.weights[k] * model.weights[k + lag])
            .sum();
    }
    let mut known = [0.0; MOST_UNKNOWN];
    // Only the unknown samples within the model's reach of a side know something of it.
    for (n, slot) in known[..count].iter_mut().enumerate().take(ORDER) {
        let reach = ORDER.min(n + past.len());
        *slot -= (n + 1..=reach)
            .map(|lag| coefficients[lag] * f64::from(past[past.len() - (lag - n)]))
            .sum::<f64>();
    }
    for (n, slot) in known[..count].iter_mut().rev().enumerate().take(ORDER) {
        let reach = ORDER.min(n + future.len());
        *slot -= (n + 1..=reach)
            .map(|lag| coefficients[lag] * f64::from(future[lag - n - 1]))
            .sum::<f64>();
    }
    let mut solution = [0.0; MOST_UNKNOWN];
    if !solve_toeplitz(&coefficients, &known[..count], &mut solution[..count]) {
        return false;
    }
    for (slot, value) in gap.iter_mut().zip(&solution) {
        *slot = (*value as f32).clamp(-65_536.0, 65_536.0);
    }
    true
}

/// Adds the autocorrelation of a stretch, tapered towards its ends.
fn autocorrelate(stretch: &[f32], correlation: &mut [f64; ORDER + 1]) {
    let mut tapered = [0.0; MOST_HISTORY];
    let length = stretch.len().min(MOST_HISTORY);
    for (n, (slot, sample)) in tapered.iter_mut().zip(stretch).enumerate() {
        let place = (n as f32 + 0.5) / length as f32;
        *slot = sample * (0.5 - 0.5 * (std::f32::consts::TAU * place).cos());
    }
    let tapered = &tapered[..length];
    for (lag, slot) in correlation.iter_mut().enumerate().take(length) {
        *slot += f64::from(dot(&tapered[lag..], &tapered[..length - lag]));
    }
}

/// The Levinson-Durbin recursion.
fn levinson(correlation: &[f64; ORDER + 1]) -> [f64; ORDER + 1] {
    let mut weights = [0.0; ORDER + 1];
    weights[0] = 1.0;
    // A trace of noise keeps the model of a pure tone from standing on the edge of stability.
    let mut error = correlation[0] * 1.000_1 + 1.0;
    for order in 1..=ORDER {
        let sum: f64 = (0..order)
            .map(|k| weights[k] * correlation[order - k])
            .sum();
        let reflection = -sum / error;
        if reflection.abs() >= 1.0 {
            break;
        }
        reflect(&mut weights[..=order], reflection);
        error *= 1.0 - reflection * reflection;
    }
    weights
}

/// One step of the recursion: adds the reversed weights, times the reflection, to the weights. The last is still zero.
fn reflect(weights: &mut [f64], reflection: f64) {
    let half = weights.len() / 2;
    let odd = weights.len() % 2 == 1;
    let (low, high) = weights.split_at_mut(half);
    if odd {
        high[0] *= 1.0 + reflection;
    }
    for (low, high) in low.iter_mut().zip(high.iter_mut().rev()) {
        let before = *low;
        *low += reflection * *high;
        *high += reflection * before;
    }
}

/// Solves a symmetric Toeplitz system whose matrix is zero beyond the band of `coefficients`.
fn solve_toeplitz(coefficients: &[f64; ORDER + 1], known: &[f64], solution: &mut [f64]) -> bool {
    let Some(first) = known.first() else {
        return true;
    };
    let mut error = coefficients[0];
    if error <= 0.0 {
        return false;
    }
    // Reversed, so that the sums below run through memory in step.
    let mut reversed = [0.0; ORDER];
    for (slot, coefficient) in reversed.iter_mut().zip(coefficients[1..].iter().rev()) {
        *slot = *coefficient;
    }
    let mut weights = [0.0; MOST_UNKNOWN];
    weights[0] = 1.0;
    solution[0] = first / error;
    for n in 1..known.len() {
        let nearest = n.saturating_sub(ORDER);
        let within = &reversed[ORDER - (n - nearest)..];
        let reflection = -sum_of_products(&weights[nearest..n], within) / error;
        reflect(&mut weights[..=n], reflection);
        error *= 1.0 - reflection * reflection;
        if error <= 0.0 || !error.is_finite() {
            return false;
        }
        let step = (known[n] - sum_of_products(&solution[nearest..n], within)) / error;
        for (slot, weight) in solution[..=n].iter_mut().zip(weights[..=n].iter().rev()) {
            *slot += step * weight;
        }
    }
    true
}

/// The sum of products, in lanes so that the compiler may use vectors.
fn sum_of_products(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 4];
    let (left, right) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in left.zip(right) {
        for lane in 0..4 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toeplitz_system_is_solved() {
        let mut coefficients = [0.0; ORDER + 1];
        coefficients[..3].copy_from_slice(&[4.0, 1.0, 0.5]);
        let wanted: Vec<f64> = (0..50).map(|n| f64::from(n % 7) - 3.0).collect();
        let known: Vec<f64> = (0..50_usize)
            .map(|row| {
                (0..50_usize)
                    .map(|column| coefficients[row.abs_diff(column).min(ORDER)] * wanted[column])
                    .sum()
            })
            .collect();
        let mut solution = vec![0.0; 50];
        assert!(solve_toeplitz(&coefficients, &known, &mut solution));
        for (found, wanted) in solution.iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-9, "{found} for {wanted}");
        }
    }

    #[test]
    fn the_model_learns_a_resonance() {
        let signal: Vec<f32> = (0..480).map(|n| 8_000.0 * (n as f32 * 0.3).sin()).collect();
        let model = Model::of(&[&signal[..400]]);
        let mut out = [0.0; 40];
        model.extend(&signal[..400], &mut out);
        for (found, wanted) in out.iter().zip(&signal[400..]) {
            assert!((found - wanted).abs() < 800.0, "{found} for {wanted}");
        }
    }

    #[test]
    fn silence_and_nothing_have_a_model_too() {
        let mut out = [1.0; 10];
        Model::of(&[&[0.0; 100], &[]]).extend(&[], &mut out);
        assert_eq!(out, [0.0; 10]);
        assert!(fill_gap(&Model::of(&[&[]]), &[], &[], &mut out));
        assert!(fill_gap(&Model::of(&[&[]]), &[], &[], &mut []));
    }
}
