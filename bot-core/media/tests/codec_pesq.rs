//! Speech in Opus through the receiver, scored by PESQ in wide band (ITU-T P.862.2).

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod network;

use std::time::Duration;

use callbot_media::codec::{Codec, Encoder};
use callbot_media::frame::Frame;
use callbot_media::receive::{AudioReceiver, ReceiverConfig, ReceiverStatistics};
use callbot_media::resample::resample;
use network::{Random, origin, passage};

const PASSAGES: [&str; 3] = ["slt", "rms", "awb"];
const SEEDS: u64 = 12;

fn wide(name: &str) -> Vec<i16> {
    let mut signal = resample(&passage(name), 8_000, 16_000);
    signal.truncate(signal.len() / 320 * 320);
    signal
}

fn score(reference: &[i16], degraded: &[i16]) -> f64 {
    f64::from(pesq::pesq_wb(reference, degraded).unwrap())
}

fn encoder(fmtp: &str, loss: f32) -> Box<dyn Encoder> {
    let mut encoder = Codec::Opus.encoder_with(&Codec::Opus.send_parameters(fmtp));
    encoder.expect_loss(loss);
    encoder
}

fn payloads(encoder: &mut dyn Encoder, signal: &[i16]) -> Vec<Vec<u8>> {
    signal
        .chunks_exact(320)
        .map(|chunk| {
            let mut payload = Vec::new();
            encoder.encode(chunk, &mut payload);
            payload
        })
        .collect()
}

/// What a receiver plays of these packets, of which some never come.
fn heard(
    codec: Codec,
    payloads: &[Vec<u8>],
    mut lost: impl FnMut(usize) -> bool,
) -> (Vec<i16>, ReceiverStatistics) {
    let mut receiver = AudioReceiver::new(codec, ReceiverConfig::default());
    let at = |us: u64| origin_at(us);
    let unit = codec.clock_rate() / 50;
    let mut out = Vec::new();
    let mut frame = Frame::silence(codec.audio_rate());
    for n in 0..payloads.len() + 20 {
        let now = at(n as u64 * 20_000);
        if let Some(payload) = payloads.get(n)
            && !lost(n)
        {
            receiver.insert(now, n as u16, n as u32 * unit, n == 0, codec, payload);
        }
        receiver.pull(now + Duration::from_millis(3), &mut frame);
        out.extend_from_slice(frame.samples());
    }
    (out, receiver.statistics())
}

fn origin_at(us: u64) -> std::time::Instant {
    thread_local!(static ORIGIN: std::time::Instant = origin());
    ORIGIN.with(|origin| *origin + Duration::from_micros(us))
}

#[test]
fn without_loss_speech_is_what_the_codec_alone_makes_of_it() {
    for codec in [Codec::Opus, Codec::G722] {
        for name in PASSAGES {
            let signal = wide(name);
            let packets = payloads(&mut *codec.encoder(), &signal);
            let mut alone = Vec::new();
            let mut decoder = codec.decoder();
            for packet in &packets {
                decoder.decode(packet, &mut alone).unwrap();
            }
            let bits = packets.iter().map(Vec::len).sum::<usize>() * 8 / packets.len() * 50;
            let (alone, played) = (
                score(&signal, &alone),
                score(&signal, &heard(codec, &packets, |_| false).0),
            );
            println!("{codec} {name}: codec {alone:.3}, played {played:.3}, {bits} bit/s");
            assert!((alone - played).abs() < 0.1, "{codec} {name}");
            // G.722's two bits above 4 kHz are heard as noise where the passages have nothing.
            let least = if codec == Codec::Opus { 3.9 } else { 2.5 };
            assert!(alone > least, "{codec} {name}: {alone}");
        }
    }
}

#[test]
fn at_five_percent_loss_redundancy_is_worth_four_tenths() {
    let mut scores = [Vec::new(), Vec::new()];
    let mut recovered = 0;
    for name in PASSAGES {
        let signal = wide(name);
        let sent = [("", 5.0), ("useinbandfec=1", 5.0)]
            .map(|(fmtp, loss)| payloads(&mut *encoder(fmtp, loss), &signal));
        for seed in 0..SEEDS {
            for (packets, scores) in sent.iter().zip(&mut scores) {
                let mut random = Random(seed);
                let (out, statistics) =
                    heard(Codec::Opus, packets, |n| random.next() < 0.05 && n >= 3);
                recovered += statistics.recovered;
                scores.push(score(&signal, &out));
            }
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (without, with) = (mean(&scores[0]), mean(&scores[1]));
    println!("without redundancy {without:.3}, with {with:.3}, {recovered} packets recovered");
    assert!(with - without >= 0.4, "{with:.3} against {without:.3}");
}
