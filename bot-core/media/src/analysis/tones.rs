//! One known tone in a recording: when it sounds, how loud, and where it has gaps.
//!
//! Purpose: let a test say "the tone came through whole" and be told where it did not.
//!
//! A gap is a fall of the tone itself, measured in windows of 10 ms that move on by 2.5 ms; a noise that replaces the tone
//! is a gap too. Gaps are therefore located to about 5 ms, and nothing shorter than about 5 ms is seen.

use std::f64::consts::TAU;
use std::time::Duration;

use super::level::{SILENCE_DBOV, power_dbov};
use super::spectrum::dominant;

/// How far the tone may fall before it counts as absent, in decibels.
const FALL_DB: f32 = 6.0;

/// A stretch of time within a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: Duration,
    /// How long it is.
    pub length: Duration,
}

/// What [`measure_tone`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct ToneReport {
    /// From the first to the last sounding of the tone.
    pub span: Span,
    /// The dominant frequency in the middle of the longest sounding, in hertz.
    pub frequency: f64,
    /// The tone's level while it sounds, in dBov.
    pub level_dbov: f32,
    /// Where it is absent between its first and last sounding.
    pub gaps: Vec<Span>,
}

impl ToneReport {
    /// How long the tone sounds in all.
    #[must_use]
    pub fn sounding(&self) -> Duration {
        self.span
            .length
            .saturating_sub(self.gaps.iter().map(|gap| gap.length).sum())
    }
}

/// Follows the tone of this frequency (hertz) through a recording. `None` when it never exceeds -60 dBov.
#[must_use]
pub fn measure_tone(samples: &[i16], rate: u32, frequency: f64) -> Option<ToneReport> {
    let window = (rate / 100) as usize;
    let step = (rate / 400) as usize;
    if step == 0 || samples.len() < window {
        return None;
    }
    let levels: Vec<f32> = samples
        .windows(window)
        .step_by(step)
        .map(|part| sine_dbov(part, rate, frequency))
        .collect();
    let mut sorted: Vec<f32> = levels
        .iter()
        .copied()
        .filter(|level| *level > -60.0)
        .collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by(f32::total_cmp);
    let level_dbov = sorted[sorted.len() / 2];
    let present: Vec<bool> = levels
        .iter()
        .map(|level| *level > level_dbov - FALL_DB)
        .collect();
    let first = present.iter().position(|p| *p)?;
    let last = present.iter().rposition(|p| *p)?;
    let time = |samples: usize| Duration::from_secs_f64(samples as f64 / f64::from(rate));
    // At the window where the tone is half gone, its edge lies in the middle of the window.
    let edge = |index: usize| index * step + window / 2;
    let mut gaps = Vec::new();
    let mut longest = 0..0;
    let mut index = first;
    while index <= last {
        let end = (index..=last)
            .find(|i| present[*i] != present[index])
            .unwrap_or(last + 1);
        if present[index] {
            if end - index > longest.len() {
                longest = index..end;
            }
        } else {
            gaps.push(Span {
                start: time(edge(index - 1)),
                length: time((end - index + 1) * step),
            });
        }
        index = end;
    }
    let start = if first == 0 { 0 } else { edge(first) };
    let end = if last + 1 == levels.len() {
        samples.len()
    } else {
        edge(last)
    };
    let steady = &samples[longest.start * step..(longest.end * step + window).min(samples.len())];
    Some(ToneReport {
        span: Span {
            start: time(start),
            length: time(end.saturating_sub(start)),
        },
        frequency: dominant(steady, rate).map_or(frequency, |peak| peak.frequency),
        level_dbov,
        gaps,
    })
}

/// The level of the sine of this frequency in a short stretch, fitted by least squares so that a window of a few cycles,
/// which is not a whole number of them, still tells it right.
fn sine_dbov(part: &[i16], rate: u32, frequency: f64) -> f32 {
    let step = TAU * frequency / f64::from(rate);
    let (mut cc, mut ss, mut cs, mut xc, mut xs) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, sample) in part.iter().enumerate() {
        let (sin, cos) = (step * n as f64).sin_cos();
        let x = f64::from(*sample);
        cc += cos * cos;
        ss += sin * sin;
        cs += cos * sin;
        xc += x * cos;
        xs += x * sin;
    }
    let determinant = cc * ss - cs * cs;
    if determinant.abs() < 1e-9 {
        return SILENCE_DBOV;
    }
    let a = (xc * ss - xs * cs) / determinant;
    let b = (xs * cc - xc * cs) / determinant;
    power_dbov((a * a + b * b) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    fn milliseconds(duration: Duration) -> f64 {
        duration.as_secs_f64() * 1_000.0
    }

    fn tone_after_silence() -> Vec<i16> {
        let mut samples = vec![0; 1_600];
        samples.extend(
            Tone::new(&[1_000.0])
                .lasting(Duration::from_secs(1))
                .samples(8_000),
        );
        samples.extend([0; 1_600]);
        samples
    }

    #[test]
    fn a_whole_tone_has_its_length_and_no_gap() {
        let report = measure_tone(&tone_after_silence(), 8_000, 1_000.0).unwrap();
        assert!(
            (milliseconds(report.span.start) - 200.0).abs() < 5.0,
            "{report:?}"
        );
        assert!(
            (milliseconds(report.span.length) - 1_000.0).abs() < 8.0,
            "{report:?}"
        );
        assert!(
            (report.level_dbov + 20.0).abs() < 0.1 && (report.frequency - 1_000.0).abs() < 0.1,
            "{report:?}"
        );
        assert!(report.gaps.is_empty(), "{report:?}");
        assert_eq!(report.sounding(), report.span.length);
    }

    #[test]
    fn a_lost_packet_shows_as_a_gap() {
        let mut samples = tone_after_silence();
        samples[4_000..4_160].fill(0);
        let report = measure_tone(&samples, 8_000, 1_000.0).unwrap();
        assert_eq!(report.gaps.len(), 1, "{report:?}");
        assert!(
            (milliseconds(report.gaps[0].start) - 500.0).abs() < 6.0,
            "{report:?}"
        );
        assert!(
            (milliseconds(report.gaps[0].length) - 20.0).abs() < 6.0,
            "{report:?}"
        );
    }

    #[test]
    fn another_tone_in_its_place_is_a_gap_too() {
        let mut samples = tone_after_silence();
        samples[4_000..4_320].copy_from_slice(&Tone::new(&[700.0]).samples(8_000)[..320]);
        assert_eq!(
            measure_tone(&samples, 8_000, 1_000.0).unwrap().gaps.len(),
            1
        );
    }

    #[test]
    fn a_tone_that_never_sounds_is_not_there() {
        assert_eq!(measure_tone(&[0; 8_000], 8_000, 440.0), None);
        assert_eq!(measure_tone(&[1], 8_000, 440.0), None);
        assert_eq!(measure_tone(&[], 0, 440.0), None);
    }
}
