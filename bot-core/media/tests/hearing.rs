//! The ears of tests and bots on recorded speech: who speaks when, and which prompt was heard.

#![allow(clippy::unwrap_used)] // A test may: what fails there is the test.

mod network;

use std::time::Duration;

use callbot_media::analysis::{VoiceDetector, find, level_dbov};
use callbot_media::codec::Codec;
use network::{Random, coded, heard, packets, passage};

const PASSAGES: [&str; 3] = ["slt", "rms", "awb"];

/// Adds noise of this level, as a telephone line has it.
fn noisy(signal: &[i16], dbov: f64, seed: u64) -> Vec<i16> {
    let peak = 32_768.0 * 10_f64.powf(dbov / 20.0) * 3_f64.sqrt();
    let mut random = Random(seed);
    signal
        .iter()
        .map(|sample| sample.saturating_add((peak * (2.0 * random.next() - 1.0)) as i16))
        .collect()
}

/// The first and the last place that is louder than -45 dBov for 10 ms, in seconds.
fn edges(signal: &[i16]) -> (f64, f64) {
    let loud: Vec<usize> = signal
        .chunks(80)
        .enumerate()
        .filter(|(_, block)| level_dbov(block) > -45.0)
        .map(|(n, _)| n)
        .collect();
    (loud[0] as f64 / 100.0, loud[loud.len() - 1] as f64 / 100.0)
}

#[test]
fn speech_is_told_from_silence_on_clean_and_noisy_lines() {
    for name in PASSAGES {
        let mut clean = vec![0; 4 * 8_000];
        clean.extend(passage(name));
        clean.extend([0; 5 * 8_000]);
        let (first, last) = edges(&clean);
        for noise in [-90.0, -60.0, -50.0] {
            let signal = coded(&noisy(&clean, noise, 1), Codec::Pcma);
            let mut detector = VoiceDetector::new(8_000);
            let (mut begins, mut ends, mut longest_silence) = (None, 0.0, Duration::ZERO);
            for (n, frame) in signal.chunks(160).enumerate() {
                let seconds = (n + 1) as f64 / 50.0;
                if detector.push(frame) {
                    begins.get_or_insert(seconds);
                    ends = seconds;
                }
                if seconds > first + 0.2 && seconds < last {
                    longest_silence = longest_silence.max(detector.silent_for());
                }
            }
            let begins = begins.unwrap();
            println!(
                "{name} at {noise}: {begins:.2} for {first:.2}, {ends:.2} for {last:.2}, longest silence {longest_silence:?}"
            );
            assert!(
                (first - 0.02..first + 0.15).contains(&begins),
                "{name} at {noise}: {begins} for {first}"
            );
            assert!(
                (last - 0.15..last + 0.4).contains(&ends),
                "{name} at {noise}: {ends} for {last}"
            );
            // A recording that ends after a second of silence is not cut off between two words.
            assert!(
                longest_silence < Duration::from_millis(800),
                "{name} at {noise}: {longest_silence:?}"
            );
            assert!(
                detector.silent_for() > Duration::from_secs(5),
                "{name} at {noise}"
            );
        }
    }
}

#[test]
fn the_right_prompt_is_told_from_the_wrong_one_through_codec_noise_loss_and_jitter() {
    let passages: Vec<Vec<i16>> = PASSAGES.iter().map(|name| passage(name)).collect();
    // Two halves of one passage are two prompts in one voice, and the harder to tell apart.
    let half = |n: usize, part: usize| -> &[i16] {
        let middle = passages[n].len() / 320 * 160;
        if part == 0 {
            &passages[n][..middle]
        } else {
            &passages[n][middle..]
        }
    };
    for seed in 0..4 {
        for (n, name) in PASSAGES.iter().enumerate() {
            let mut signal = vec![0; 16_000];
            signal.extend(half(n, 0).iter().map(|sample| sample / 2));
            signal.extend([0; 16_000]);
            let signal = noisy(&signal, -60.0, seed);
            let mut random = Random(seed);
            let mut sent = packets(&signal, Codec::Pcmu, 160, 0);
            sent.retain_mut(|packet| {
                packet.arrival_us += (random.next() * 40_000.0) as i64;
                seed == 0 || random.next() > 0.05
            });
            let (out, _) = heard(sent, 3_000, signal.len() / 160 + 10);
            let right = find(half(n, 0), &out, 8_000).unwrap();
            println!("{name} {seed}: {right:?}");
            let enough = if seed == 0 { 0.99 } else { 0.9 };
            assert!(right.confidence > enough, "{right:?}");
            assert!((right.gain_db + 6.0).abs() < 1.0, "{right:?}");
            let late = right.offset.as_secs_f64() - 2.0;
            assert!((0.02..0.13).contains(&late), "{right:?}");
            let wrong = (0..3)
                .filter(|other| *other != n)
                .map(|other| half(other, 0))
                .chain([half(n, 1)]);
            for wrong in wrong {
                let wrong = find(wrong, &out, 8_000).unwrap();
                assert!(wrong.confidence < 0.45, "{wrong:?}");
            }
        }
    }
}
