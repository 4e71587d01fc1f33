//! Each codec by itself: what comes out is what went in, at the right frequency, level and time, and nothing makes it panic.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod network;

use std::time::Duration;

use callbot_media::analysis::{level_dbov, measure_tone};
use callbot_media::codec::{Codec, SendParameters};
use callbot_media::resample::resample;
use callbot_media::tone::Tone;
use network::passage;

/// The payloads of 20 ms each.
fn payloads(codec: Codec, parameters: &SendParameters, signal: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = codec.encoder_with(parameters);
    signal
        .chunks_exact(codec.audio_rate() as usize / 50)
        .map(|chunk| {
            let mut payload = Vec::new();
            encoder.encode(chunk, &mut payload);
            payload
        })
        .collect()
}

fn decoded(codec: Codec, payloads: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = codec.decoder();
    let mut out = Vec::new();
    for payload in payloads {
        let before = out.len();
        decoder.decode(payload, &mut out).unwrap();
        assert_eq!(Some((out.len() - before) as u32), codec.samples_in(payload));
    }
    out
}

fn passed(codec: Codec, signal: &[i16]) -> Vec<i16> {
    decoded(codec, &payloads(codec, &SendParameters::default(), signal))
}

/// Noise that is the same in every run.
fn noise(length: usize, amplitude: i32) -> Vec<i16> {
    let mut state = 7_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i32 % (2 * amplitude + 1) - amplitude) as i16
        })
        .collect()
}

/// How many samples later the signal comes out, and how much louder it is than what differs from it, in decibels.
fn delay_and_ratio(sent: &[i16], heard: &[i16], longest: usize) -> (usize, f32) {
    let length = sent.len() - longest;
    let ratio = |delay: usize| {
        let (mut signal, mut error) = (0.0_f64, 0.0_f64);
        for (a, b) in sent[..length].iter().zip(&heard[delay..]) {
            signal += f64::from(*a).powi(2);
            error += (f64::from(*a) - f64::from(*b)).powi(2);
        }
        (10.0 * (signal / error.max(1.0)).log10()) as f32
    };
    (0..longest)
        .map(|delay| (delay, ratio(delay)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}

#[test]
fn a_tone_keeps_its_frequency_and_its_level() {
    for codec in Codec::ALL {
        let rate = codec.audio_rate();
        let frequencies: &[f64] = if rate > 8_000 {
            &[300.0, 1_000.0, 3_000.0, 6_000.0]
        } else {
            &[300.0, 1_000.0, 3_000.0]
        };
        for frequency in frequencies {
            let tone = Tone::new(&[*frequency])
                .level(-20.0)
                .lasting(Duration::from_secs(3))
                .samples(rate);
            let heard = passed(codec, &tone);
            assert_eq!(heard.len(), tone.len(), "{codec}");
            // The first moments are those of predictors that have to learn.
            let report = measure_tone(&heard[rate as usize / 2..], rate, *frequency).unwrap();
            println!("{codec} at {rate}: {report:?}");
            assert!(
                (report.frequency - frequency).abs() < 2.0,
                "{codec}: {report:?}"
            );
            assert!(
                (report.level_dbov + 20.0).abs() < 1.5,
                "{codec}: {report:?}"
            );
        }
    }
}

#[test]
fn delay_and_noise_are_those_of_the_standards() {
    // G.722's filters take 22 samples; Opus looks 5 ms ahead and has its own resampling in SILK.
    for (codec, most_delay, least_ratio) in [
        (Codec::Pcmu, 0, 35.0),
        (Codec::Pcma, 0, 35.0),
        (Codec::L16, 0, 100.0),
        (Codec::L16Narrow, 0, 100.0),
        (Codec::G722, 24, 20.0),
        (Codec::Opus, 160, 8.0),
        (Codec::G729, 60, 5.0),
    ] {
        let rate = codec.audio_rate();
        let tones = Tone::new(&[350.0, 810.0, 1_130.0])
            .level(-18.0)
            .lasting(Duration::from_secs(2))
            .samples(rate);
        let heard = passed(codec, &tones);
        let from = rate as usize / 2;
        let (delay, ratio) = delay_and_ratio(&tones[from..], &heard[from..], most_delay + 20);
        println!("{codec}: {delay} samples at {rate}, {ratio:.1} dB");
        assert!(delay <= most_delay, "{codec}: {delay}");
        assert!(ratio >= least_ratio, "{codec}: {ratio}");
    }
}

/// The bits of G.722 for a signal that anyone can make, as the encoders of other projects give them.
#[test]
fn g722_gives_the_bits_that_others_give() {
    let signal: Vec<i16> = (0..320)
        .map(|n| (((n * 97) % 512 - 256) * 100) as i16)
        .collect();
    let mut payload = Vec::new();
    Codec::G722.encoder().encode(&signal, &mut payload);
    assert_eq!(payload.len(), 160);
    assert_eq!(
        payload[..16],
        [
            0x32, 0x84, 0x20, 0x84, 0x20, 0x84, 0x84, 0x24, 0xb4, 0x8d, 0x23, 0x08, 0xae, 0x9d,
            0x06, 0x25
        ]
    );
}

#[test]
fn l16_is_in_network_byte_order() {
    let mut payload = Vec::new();
    Codec::L16.encoder().encode(&[0x0102, -2], &mut payload);
    assert_eq!(payload, [0x01, 0x02, 0xff, 0xfe]);
    assert_eq!(Codec::L16.samples_in(&payload[..3]), None);
}

#[test]
fn a_silence_description_of_g729_is_no_audio_and_no_harm() {
    let tone = Tone::new(&[440.0])
        .lasting(Duration::from_secs(1))
        .samples(8_000);
    let mut packets = payloads(Codec::G729, &SendParameters::default(), &tone);
    assert!(packets.iter().all(|payload| payload.len() == 20));
    packets[20] = vec![0x12, 0x34];
    packets[21] = [&packets[21][..10], &[0x12, 0x34][..]].concat();
    assert_eq!(Codec::G729.samples_in(&packets[20]), Some(0));
    assert_eq!(Codec::G729.samples_in(&packets[21]), Some(80));
    assert_eq!(Codec::G729.samples_in(&[0; 11]), None);
    assert_eq!(decoded(Codec::G729, &packets).len(), 50 * 160 - 160 - 80);
}

#[test]
fn the_durations_of_opus_packets_are_read_from_their_first_bytes() {
    let samples = |packet: &[u8]| Codec::Opus.samples_in(packet);
    assert_eq!(samples(&[]), None);
    for (config, milliseconds) in [
        (0, 10.0),
        (3, 60.0),
        (9, 20.0),
        (12, 10.0),
        (15, 20.0),
        (16, 2.5),
        (31, 20.0),
    ] {
        let one = (milliseconds * 16.0) as u32;
        assert_eq!(samples(&[config << 3]), Some(one), "{config}");
        assert_eq!(samples(&[(config << 3) | 1]), Some(2 * one));
        assert_eq!(samples(&[(config << 3) | 3]), None, "no count");
        assert_eq!(samples(&[(config << 3) | 3, 0]), None, "a count of none");
    }
    assert_eq!(samples(&[(31 << 3) | 3, 6]), Some(1_920), "120 ms");
    assert_eq!(samples(&[(31 << 3) | 3, 7]), None, "140 ms");
    assert_eq!(samples(&[(3 << 3) | 3, 0x80 | 0x40 | 2]), Some(1_920));
}

#[test]
fn opus_does_as_the_peer_asked() {
    let speech = noise(16_000 * 4, 3_000);
    let rate = |fmtp: &str| {
        let packets = payloads(Codec::Opus, &Codec::Opus.send_parameters(fmtp), &speech);
        let bits: usize = packets[50..].iter().map(|packet| packet.len() * 8).sum();
        (bits / (packets.len() - 50) * 50, packets)
    };
    let (usual, packets) = rate("minptime=10;useinbandfec=1");
    assert!((20_000..40_000).contains(&usual), "{usual}");
    // Mono, and wide band at most: configurations 8 to 11 (SILK) or 20 to 23 (CELT).
    assert!(
        packets
            .iter()
            .all(|packet| packet[0] & 4 == 0 && packet[0] >> 3 < 24)
    );
    let (low, _) = rate("maxaveragebitrate=12000; stereo=1");
    assert!((9_000..14_500).contains(&low), "{low}");
    let (_, narrow) = rate("maxplaybackrate=8000");
    assert!(
        narrow[100..]
            .iter()
            .all(|packet| packet[0] >> 3 < 4 || (16..20).contains(&(packet[0] >> 3))),
        "narrow band"
    );
    let (_, constant) = rate("cbr=1");
    assert!(
        constant[50..]
            .windows(2)
            .all(|pair| pair[0].len() == pair[1].len())
    );
}

#[test]
fn opus_pauses_only_when_the_peer_asked_and_its_noise_goes_on() {
    let mut signal = Tone::new(&[500.0, 900.0])
        .lasting(Duration::from_secs(1))
        .samples(16_000);
    signal.extend(noise(16_000 * 3, 30));
    for (fmtp, pauses) in [("usedtx=1", true), ("usedtx=0", false)] {
        let packets = payloads(Codec::Opus, &Codec::Opus.send_parameters(fmtp), &signal);
        let empty = packets.iter().filter(|packet| packet.is_empty()).count();
        let announced = packets
            .iter()
            .filter(|packet| Codec::Opus.announces_pause(packet) && !packet.is_empty())
            .count();
        println!(
            "{fmtp}: {empty} not sent, {announced} announcements of {}",
            packets.len()
        );
        assert_eq!(empty > 90, pauses, "{empty}");
        assert_eq!(announced > 0, pauses, "{announced}");
    }
}

#[test]
fn a_lost_packet_comes_back_from_the_one_after() {
    // Redundancy is sent for speech alone.
    let signal = resample(&passage("slt"), 8_000, 16_000);
    let recovery = |fmtp: &str, loss: f32| {
        let mut encoder = Codec::Opus.encoder_with(&Codec::Opus.send_parameters(fmtp));
        encoder.expect_loss(loss);
        let mut decoder = Codec::Opus.decoder();
        let mut packets = Vec::new();
        for chunk in signal.chunks_exact(320) {
            let mut packet = Vec::new();
            encoder.encode(chunk, &mut packet);
            packets.push(packet);
        }
        let mut out = Vec::new();
        let mut recovered = 0;
        for pair in packets.chunks_exact(2) {
            let before = out.len();
            let back = decoder.recover(&pair[1], 320, &mut out);
            assert_eq!(out.len(), before + if back { 320 } else { 0 });
            decoder.decode(&pair[1], &mut out).unwrap();
            recovered += usize::from(back);
        }
        println!("{fmtp} {loss}: {recovered} of {}", packets.len() / 2);
        recovered * 200 / packets.len()
    };
    assert!(recovery("useinbandfec=1", 10.0) > 50);
    assert_eq!(recovery("useinbandfec=1", 0.0), 0);
    assert_eq!(recovery("", 10.0), 0);
}

#[test]
fn what_a_decoder_learned_is_forgotten_with_its_stream() {
    for codec in Codec::ALL {
        let rate = codec.audio_rate() as usize;
        let packets = payloads(codec, &SendParameters::default(), &noise(rate, 8_000));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut decoder = codec.decoder();
        for packet in &packets {
            decoder.decode(packet, &mut first).unwrap();
        }
        decoder.reset();
        for packet in &packets {
            decoder.decode(packet, &mut second).unwrap();
        }
        assert!(first == second, "{codec}");
    }
}

#[test]
fn random_and_mutated_payloads_never_panic() {
    let mut state = 99_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for codec in Codec::ALL {
        let rate = codec.audio_rate() as usize;
        let good = payloads(
            codec,
            &Codec::Opus.send_parameters("useinbandfec=1"),
            &noise(rate, 12_000),
        );
        let mut decoder = codec.decoder();
        let mut out = Vec::new();
        for n in 0..6_000 {
            let mut payload = if n % 3 == 0 {
                (0..random() % 1_600).map(|_| random() as u8).collect()
            } else {
                good[random() % good.len()].clone()
            };
            for _ in 0..random() % 6 {
                if !payload.is_empty() {
                    let at = random() % payload.len();
                    payload[at] = random() as u8;
                }
            }
            if n % 5 == 0 {
                payload.truncate(random() % (payload.len() + 1));
            }
            out.clear();
            match n % 7 {
                5 => {
                    decoder.recover(&payload, random() % 2_000, &mut out);
                }
                6 => {
                    decoder.conceal(random() % 2_000, &mut out);
                }
                _ => drop(decoder.decode(&payload, &mut out)),
            }
            assert!(out.len() <= 16_000, "{}", out.len());
            let _ = (codec.announces_pause(&payload), level_dbov(&out));
        }
    }
}
