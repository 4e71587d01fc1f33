//! Calls of thirty minutes with a sender whose clock is wrong, in virtual time.

#![allow(clippy::unwrap_used)] // A test may: what fails there is the test.

mod network;

use std::f64::consts::TAU;

use callbot_media::analysis::{find, level_dbov, measure_tone};
use callbot_media::codec::Codec;
use callbot_media::receive::{AudioReceiver, Playout, ReceiverConfig};
use callbot_media::tone::Tone;
use network::{Random, coded, packets, passage, receive};

const FRAMES: usize = 30 * 60 * 50;
const FREQUENCY: f64 = 440.0;

/// What was heard of one call.
struct Call {
    heard: Vec<i16>,
    delays_ms: Vec<f32>,
    playouts: Vec<Playout>,
    receiver: AudioReceiver,
}

/// Sends a signal by a clock that is off by so many millionths, with up to `jitter_us` of jitter.
fn call(signal: &[i16], ppm: i64, jitter_us: f64) -> Call {
    let mut sent = packets(signal, Codec::Pcmu, 160, ppm);
    let mut random = Random(ppm.unsigned_abs());
    for packet in &mut sent {
        packet.arrival_us += (random.next() * jitter_us) as i64;
    }
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let (mut heard, mut delays_ms, mut playouts) = (Vec::new(), Vec::new(), Vec::new());
    receive(
        &mut receiver,
        sent,
        7_000,
        FRAMES,
        |receiver, playout, frame| {
            heard.extend_from_slice(frame.samples());
            delays_ms.push(receiver.statistics().current_delay_ms);
            playouts.push(playout);
        },
    );
    Call {
        heard,
        delays_ms,
        playouts,
        receiver,
    }
}

/// The largest second difference: what a click is, and a sine is not.
fn sharpest(samples: &[i16]) -> i32 {
    samples
        .windows(3)
        .map(|w| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs())
        .max()
        .unwrap()
}

/// The frequency of a tone over all of its length, by its zero crossings.
fn mean_frequency(samples: &[i16]) -> f64 {
    let crossings: Vec<f64> = samples
        .windows(2)
        .enumerate()
        .filter(|(_, w)| w[0] < 0 && w[1] >= 0)
        .map(|(n, w)| n as f64 + f64::from(-w[0]) / f64::from(w[1] - w[0]))
        .collect();
    (crossings.len() - 1) as f64 * 8_000.0 / (crossings[crossings.len() - 1] - crossings[0])
}

#[test]
fn a_tone_comes_through_half_an_hour_whole_whatever_the_senders_clock() {
    let step = TAU * FREQUENCY / 8_000.0;
    // Longer than the call, so that a fast sender does not run out; the phase is exact after half an hour too.
    let signal: Vec<i16> = (0..(FRAMES + 50) * 160)
        .map(|n| (4_634.0 * (step * (n % 8_000) as f64).sin()).round() as i16)
        .collect();
    let coded = coded(&signal[..16_000], Codec::Pcmu);
    for ppm in [100, -100] {
        let call = call(&signal, ppm, 0.0);
        let statistics = call.receiver.statistics();
        println!("{ppm:+} ppm: {statistics:?}");
        assert_eq!(
            (
                statistics.lost,
                statistics.late,
                statistics.overflowed,
                statistics.resets
            ),
            (0, 0, 0, 0)
        );
        assert_eq!(statistics.concealed_frames, 0);
        // 180 ms had to be gained or lost.
        let changed = if ppm > 0 {
            statistics.compressed_frames
        } else {
            statistics.stretched_frames
        };
        assert!((9..60).contains(&changed), "{changed}");
        let late = &call.delays_ms[500..];
        let (least, most) = late
            .iter()
            .fold((f32::MAX, 0_f32), |(a, b), d| (a.min(*d), b.max(*d)));
        println!("delay from {least} to {most} ms");
        assert!(
            least >= 15.0 && most <= 66.0,
            "delay from {least} to {most} ms"
        );
        let half = late.len() / 2;
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        assert!(
            (mean(&late[half..]) - mean(&late[..half])).abs() < 10.0,
            "the delay grew"
        );
        let body = &call.heard[8_000..];
        let report = measure_tone(body, 8_000, FREQUENCY).unwrap();
        println!(
            "{:.3} Hz, {:.2} dBov",
            mean_frequency(body),
            report.level_dbov
        );
        assert!(report.gaps.is_empty(), "{:?}", report.gaps);
        assert!((report.span.length.as_secs_f64() - body.len() as f64 / 8_000.0).abs() < 0.02);
        assert!((mean_frequency(body) / FREQUENCY - 1.0).abs() < 0.001);
        for (n, second) in body.chunks(8_000).enumerate() {
            assert!(
                (level_dbov(second) - level_dbov(&coded)).abs() < 0.1,
                "second {n}: {}",
                level_dbov(second)
            );
        }
        assert!(
            sharpest(body) <= sharpest(&coded) * 5 / 4,
            "{} against {}",
            sharpest(body),
            sharpest(&coded)
        );
    }
}

#[test]
fn speech_with_jitter_and_drift_keeps_its_delay_and_loses_nothing() {
    let passage: Vec<i16> = ["slt", "rms", "awb"]
        .iter()
        .flat_map(|name| passage(name))
        .collect();
    let signal: Vec<i16> = passage
        .iter()
        .copied()
        .cycle()
        .take((FRAMES + 50) * 160)
        .collect();
    for ppm in [100, -100] {
        let call = call(&signal, ppm, 15_000.0);
        let statistics = call.receiver.statistics();
        println!("{ppm:+} ppm: {statistics:?}");
        let most = call.delays_ms[500..].iter().copied().fold(0.0, f32::max);
        assert!(most < 75.0, "{most} ms");
        // Jitter reaches beyond the delay aimed at once in a hundred packets at most, and nearly never in fact.
        assert!(
            statistics.concealed_frames < FRAMES as u64 / 500,
            "{}",
            statistics.concealed_frames
        );
        assert_eq!(statistics.overflowed, 0);
        let silent = call.playouts[10..]
            .iter()
            .filter(|playout| **playout == Playout::Silence)
            .count();
        assert_eq!(silent, 0);
        // What comes in goes out, at the time at which it was sent and the delay later: at the beginning, in the middle
        // and at the end.
        let first = network::passage("slt");
        let period = passage.len();
        for repetition in [1, 37, FRAMES * 160 / period - 1] {
            let sent = repetition * period;
            let from = sent - 4_000;
            let found = find(&first, &call.heard[from..sent + first.len() + 4_000], 8_000).unwrap();
            let sent_at = sent as f64 / 8_000.0 * (1.0 - ppm as f64 / 1e6);
            let delay = from as f64 / 8_000.0 + found.offset.as_secs_f64() + 0.007 - sent_at;
            println!(
                "repetition {repetition}: {:.1} ms, {found:?}",
                delay * 1_000.0
            );
            assert!((0.015..0.08).contains(&delay), "{delay} s, {found:?}");
            assert!(found.confidence > 0.9, "{found:?}");
        }
    }
}

#[test]
fn the_tone_generator_and_this_test_agree() {
    let tone = Tone::new(&[FREQUENCY]).level(-20.0).samples(8_000);
    assert!((mean_frequency(&tone) - FREQUENCY).abs() < 0.01);
}
