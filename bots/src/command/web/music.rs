//! Something to listen to: the beginning of Bach's prelude in C (BWV 846), plucked, without end.
//!
//! It is computed at first use, which takes less room in the binary than a recording and has no owner.

use std::f32::consts::TAU;
use std::sync::OnceLock;

use callbot_core::Sound;

/// Samples a second.
const RATE: usize = 16_000;
/// Samples a note.
const STEP: usize = RATE / 4;
/// How long a string sounds, in samples.
const RING: usize = RATE * 5 / 4;
/// The loudest sample.
const PEAK: f32 = 9_000.0;

/// The five notes of each bar, in semitones above C4.
const BARS: [[i32; 5]; 11] = [
    [0, 4, 7, 12, 16],
    [0, 2, 9, 14, 17],
    [-1, 2, 7, 14, 17],
    [0, 4, 7, 12, 16],
    [0, 4, 9, 16, 21],
    [0, 2, 6, 9, 14],
    [-1, 2, 7, 14, 19],
    [-1, 0, 4, 7, 12],
    [-3, 0, 4, 7, 12],
    [-10, -3, 2, 6, 12],
    [-5, -1, 2, 7, 11],
];
/// In which order they are plucked, twice a bar.
const ORDER: [usize; 8] = [0, 1, 2, 3, 4, 2, 3, 4];

/// The piece, to be looped: its end rings into its beginning.
pub(super) fn sound() -> Sound {
    static WAV: OnceLock<Vec<u8>> = OnceLock::new();
    Sound::from_static("prelude.wav", WAV.get_or_init(|| wav(&samples())))
}

fn samples() -> Vec<i16> {
    let notes = BARS.iter().flat_map(|bar| {
        let order = ORDER.iter().chain(&ORDER);
        order.filter_map(|at| bar.get(*at))
    });
    let mut sum = vec![0.0_f32; BARS.len() * 2 * ORDER.len() * STEP];
    for (number, semitones) in notes.enumerate() {
        let frequency = 261.63 * (f32::from(*semitones as i16) / 12.0).exp2();
        for (partial, level) in [(1.0, 1.0_f32), (2.0, 0.4), (3.0, 0.15)] {
            // A sine by rotation: a multiplication a sample instead of a call.
            let (sin, cos) = (TAU * frequency * partial / RATE as f32).sin_cos();
            let fade = (-4.0 * partial.sqrt() / RING as f32).exp();
            let (mut x, mut y) = (level, 0.0_f32);
            for at in 0..RING {
                let attack = (at as f32 / 80.0).min(1.0);
                let release = ((RING - at) as f32 / 800.0).min(1.0);
                let index = (number * STEP + at) % sum.len();
                sum[index] += y * attack * release;
                (x, y) = ((x * cos - y * sin) * fade, (x * sin + y * cos) * fade);
            }
        }
    }
    let loudest = sum.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
    sum.iter().map(|x| (x / loudest * PEAK) as i16).collect()
}

/// A WAV file: 16 bits, mono.
fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = u32::try_from(samples.len() * 2).unwrap_or(0);
    let rate = RATE as u32;
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(bytes + 36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    for (value, length) in [
        (16, 4),
        (1, 2),
        (1, 2),
        (rate, 4),
        (rate * 2, 4),
        (2, 2),
        (16, 2),
    ] {
        file.extend_from_slice(&value.to_le_bytes()[..length]);
    }
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_is_music_of_some_length_and_level() {
        assert_eq!(sound().check().unwrap(), Duration::from_secs(44));
        let samples = samples();
        let peak = samples.iter().map(|x| x.unsigned_abs()).max().unwrap();
        assert!((8_900..=9_000).contains(&peak), "{peak}");
        // The first note is a C4: its strongest harmonic stands out against the neighbour below.
        let power = |frequency: f32| {
            let (mut re, mut im) = (0.0_f32, 0.0_f32);
            for (at, x) in samples[..STEP].iter().enumerate() {
                let (sin, cos) = (TAU * frequency * at as f32 / RATE as f32).sin_cos();
                re += f32::from(*x) * cos;
                im += f32::from(*x) * sin;
            }
            re * re + im * im
        };
        assert!(power(261.63) > 10.0 * power(233.08));
        // The loop has no click.
        let jump = i32::from(samples[0]) - i32::from(samples[samples.len() - 1]);
        assert!(jump.abs() < 1_500, "{jump}");
    }
}
