//! Speech through the receiver, scored by PESQ (ITU-T P.862, narrow band, raw scores).

#![allow(clippy::unwrap_used)] // A test may: what fails there is the test.

mod network;

use callbot_media::codec::Codec;
use network::{Packet, Random, coded, heard, packets, passage};
use pesq::PesqContext;

const PASSAGES: [&str; 3] = ["slt", "rms", "awb"];
const SEEDS: u64 = 12;

/// So much longer than the signal a call is heard, so that what was delayed is heard too.
const REST: usize = 20;

fn score(context: &PesqContext, degraded: &[i16]) -> f64 {
    f64::from(context.score(degraded).expect("speech can be scored"))
}

/// Delays each packet by up to `jitter_us`, evenly spread, and loses a share of them. The first three arrive: what a call
/// begins with is no matter of concealment. Also says which were lost.
fn impair(packets: Vec<Packet>, loss: f64, jitter_us: f64, seed: u64) -> (Vec<Packet>, Vec<bool>) {
    let mut random = Random(seed);
    let mut lost = Vec::new();
    let delivered = packets
        .into_iter()
        .enumerate()
        .filter_map(|(n, mut packet)| {
            let gone = random.next() < loss && n >= 3;
            packet.arrival_us += (random.next() * jitter_us) as i64;
            lost.push(gone);
            (!gone).then_some(packet)
        })
        .collect();
    (delivered, lost)
}

/// The codec's output with silence in place of what was lost, and nothing else wrong: a receiver that knows no better.
fn zero_filled(signal: &[i16], lost: &[bool]) -> Vec<i16> {
    let mut out = coded(signal, Codec::Pcmu);
    for (frame, _) in out
        .chunks_exact_mut(160)
        .zip(lost)
        .filter(|(_, lost)| **lost)
    {
        frame.fill(0);
    }
    out
}

#[test]
fn without_impairment_speech_is_what_the_codec_alone_makes_of_it() {
    for name in PASSAGES {
        let signal = passage(name);
        let context = PesqContext::new_8k(&signal).unwrap();
        let codec = score(&context, &coded(&signal, Codec::Pcmu));
        for phase_us in (0..20_000).step_by(1_000) {
            let frames = signal.len() / 160 + REST;
            let (out, receiver) = heard(packets(&signal, Codec::Pcmu, 160, 0), phase_us, frames);
            let played = score(&context, &out);
            println!(
                "{name} at {phase_us} us: codec {codec:.3}, played {played:.3}, {:?}",
                receiver.statistics()
            );
            assert!(
                (played - codec).abs() <= 0.03,
                "{name}: {played} against {codec}"
            );
        }
    }
}

#[test]
fn at_five_percent_loss_and_forty_milliseconds_of_jitter_speech_is_far_better_than_with_gaps() {
    let (mut gains, mut scores) = (Vec::new(), Vec::new());
    for name in PASSAGES {
        let signal = passage(name);
        let context = PesqContext::new_8k(&signal).unwrap();
        for seed in 0..SEEDS {
            let (delivered, lost) =
                impair(packets(&signal, Codec::Pcmu, 160, 0), 0.05, 40_000.0, seed);
            let frames = signal.len() / 160 + REST;
            let (out, receiver) = heard(delivered, (seed as i64 * 7_919) % 20_000, frames);
            let (played, zero) = (
                score(&context, &out),
                score(&context, &zero_filled(&signal, &lost)),
            );
            let s = receiver.statistics();
            println!(
                "{name} {seed:2}: zero-fill {zero:.3}, played {played:.3}, gain {:+.3}; lost {} late {} concealed {} stretched {} compressed {} delay {:.0} of {:.0} ms",
                played - zero,
                s.lost,
                s.late,
                s.concealed_frames,
                s.stretched_frames,
                s.compressed_frames,
                s.current_delay_ms,
                s.target_delay_ms
            );
            gains.push(played - zero);
            scores.push(played);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let spread =
        (mean(&gains.iter().map(|g| g * g).collect::<Vec<_>>()) - mean(&gains).powi(2)).sqrt();
    println!(
        "mean score {:.3}, mean gain {:+.3}, spread of gains {spread:.3}",
        mean(&scores),
        mean(&gains)
    );
    assert!(
        mean(&gains) >= 0.5,
        "the mean gain over zero-fill is {:+.3}",
        mean(&gains)
    );
}
