//! Audio files of every kind that the player promises to read, and of every kind that it must refuse in words.

#![allow(clippy::unwrap_used)] // A test may: what fails there is the test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use callbot_media::analysis::{component_dbov, level_dbov};
use callbot_media::player::{DecodeError, FileStream, Prompt, decode_bytes, decode_file};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).unwrap()
}

/// A WAV file of a 1,000 Hz tone at -20 dBov in every channel.
fn wav(rate: u32, channels: u16, bits: u16, float: bool, seconds: f64) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format: if float {
            hound::SampleFormat::Float
        } else {
            hound::SampleFormat::Int
        },
    };
    let mut out = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut out, spec).unwrap();
    for n in 0..(f64::from(rate) * seconds) as usize {
        let value =
            0.141_421 * (std::f64::consts::TAU * 1_000.0 * n as f64 / f64::from(rate)).sin();
        for _ in 0..channels {
            if float {
                writer.write_sample(value as f32).unwrap();
            } else {
                writer
                    .write_sample((value * f64::from((1_u32 << (bits - 1)) - 1)).round() as i32)
                    .unwrap();
            }
        }
    }
    writer.finalize().unwrap();
    out.into_inner()
}

#[track_caller]
fn holds_the_tone(name: &str, prompt: &Prompt, seconds: f64, slack: f64) {
    let pcm = prompt.pcm(8_000);
    let length = pcm.len() as f64 / 8_000.0;
    assert!((length - seconds).abs() <= slack, "{name}: {length} s");
    let middle = &pcm[800..pcm.len() - 1_200];
    let level = component_dbov(middle, 8_000, 1_000.0);
    assert!(
        (level + 20.0).abs() < 0.5,
        "{name}: {level} dBov at 1,000 Hz"
    );
    assert!(
        (level_dbov(middle) + 20.0).abs() < 0.6,
        "{name}: {} dBov in all",
        level_dbov(middle)
    );
}

#[test]
fn every_promised_format_plays_at_its_length_and_level() {
    // AAC without an edit list keeps the encoder's delay: up to two packets of 1,024 samples.
    for (name, slack) in [
        ("tone.flac", 0.000_2),
        ("tone.mp3", 0.03),
        ("tone.ogg", 0.03),
        ("tone.m4a", 0.06),
        ("tone.aac", 0.06),
        ("tone.aiff", 0.000_2),
        ("mulaw.wav", 0.000_2),
        ("alaw.wav", 0.000_2),
        ("piped.wav", 0.000_2),
    ] {
        let prompt = decode_file(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        holds_the_tone(name, &prompt, 1.0, slack);
    }
}

#[test]
fn wav_of_any_rate_depth_and_channel_count_plays() {
    for rate in [
        8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000,
    ] {
        for channels in [1, 2, 6] {
            let name = format!("{rate} Hz, {channels} channels");
            let prompt = decode_bytes(&name, wav(rate, channels, 16, false, 0.5)).unwrap();
            holds_the_tone(&name, &prompt, 0.5, 0.000_2);
        }
    }
    for (bits, float) in [(8, false), (24, false), (32, false), (32, true)] {
        let name = format!("{bits} bits, float {float}");
        holds_the_tone(
            &name,
            &decode_bytes(&name, wav(16_000, 1, bits, float, 0.5)).unwrap(),
            0.5,
            0.0,
        );
    }
}

#[test]
fn a_telephone_wav_is_taken_bit_by_bit() {
    let wav = wav(8_000, 1, 16, false, 1.0);
    let expected: Vec<i16> = hound::WavReader::new(&wav[..])
        .unwrap()
        .samples::<i16>()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        &*decode_bytes("x.wav", wav).unwrap().pcm(8_000),
        &expected[..]
    );
}

#[test]
fn a_wrong_extension_does_no_harm() {
    holds_the_tone(
        "mp3 as wav",
        &decode_bytes("song.wav", bytes("tone.mp3")).unwrap(),
        1.0,
        0.03,
    );
}

#[test]
fn what_cannot_be_played_is_said_in_words() {
    let missing = decode_file("no/such/prompt.wav").unwrap_err();
    assert!(matches!(missing, DecodeError::Io { .. }), "{missing:?}");
    assert!(
        missing
            .to_string()
            .starts_with("cannot read `no/such/prompt.wav`: "),
        "{missing}"
    );
    let folder = decode_file(env!("CARGO_MANIFEST_DIR")).unwrap_err();
    assert!(matches!(folder, DecodeError::Io { .. }), "{folder:?}");
    let empty = decode_bytes("x.wav", Vec::new()).unwrap_err();
    assert!(matches!(empty, DecodeError::Empty { .. }), "{empty:?}");
    let no_samples = decode_bytes("x.wav", wav(8_000, 1, 16, false, 0.0)).unwrap_err();
    assert!(
        matches!(no_samples, DecodeError::Empty { .. }),
        "{no_samples:?}"
    );
    let opus = decode_file(file("opus.ogg")).unwrap_err();
    assert!(matches!(opus, DecodeError::Unsupported { .. }), "{opus:?}");
    for text in [
        &b"#!/bin/sh\necho hello\n"[..],
        b"\0",
        b"RIFF",
        b"ID3",
        b"\x7fELF\x02\x01\x01",
        b"<html></html>",
    ] {
        let error = decode_bytes("notes.txt", text.repeat(50)).unwrap_err();
        assert!(error.to_string().contains("`notes.txt`"), "{error}");
    }
}

#[test]
fn noise_is_not_audio() {
    let mut state = 1_u64;
    for length in [10, 1_000, 100_000] {
        for _ in 0..20 {
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .take(length)
            .collect();
            assert!(decode_bytes("noise.bin", noise).is_err());
        }
    }
}

#[test]
fn a_file_that_breaks_off_is_no_shorter_prompt() {
    for name in [
        "tone.flac",
        "tone.aiff",
        "tone.m4a",
        "tone.mp3",
        "mulaw.wav",
    ] {
        let whole = bytes(name);
        let error = decode_bytes(name, whole[..whole.len() / 2].to_vec()).expect_err(name);
        assert!(
            matches!(
                error,
                DecodeError::Truncated { .. }
                    | DecodeError::NotAudio { .. }
                    | DecodeError::Corrupt { .. }
            ),
            "{name}: {error:?}"
        );
    }
    let whole = wav(8_000, 1, 16, false, 2.0);
    let error = decode_bytes("cut.wav", whole[..whole.len() / 2].to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`cut.wav` is truncated: it promises 2.00 s of audio and holds 1.00 s; copy it again"
    );
    // Cut anywhere at all, it never panics.
    for length in (0..200).chain((200..whole.len() - 1_000).step_by(997)) {
        assert!(decode_bytes("cut.wav", whole[..length].to_vec()).is_err());
    }
}

#[test]
fn a_stream_gives_what_the_whole_file_gives() {
    for name in ["tone.flac", "tone.mp3", "tone.ogg", "tone.m4a", "piped.wav"] {
        let whole = decode_file(file(name)).unwrap().pcm(8_000);
        let mut stream = FileStream::open(file(name), 8_000).unwrap();
        let mut streamed = Vec::new();
        let mut chunk = [0; 160];
        loop {
            let count = stream.read(&mut chunk).unwrap();
            streamed.extend_from_slice(&chunk[..count]);
            if count < chunk.len() {
                break;
            }
        }
        assert_eq!(stream.read(&mut chunk).unwrap(), 0);
        assert_eq!(streamed.len(), whole.len(), "{name}");
        // A prompt is kept in 16 bits at its own rate, so it is rounded once more than the stream.
        assert!(
            streamed
                .iter()
                .zip(&*whole)
                .all(|(a, b)| (a - b).abs() <= 1),
            "{name}"
        );
        stream.seek(Duration::from_millis(500)).unwrap();
        let mut rest = Vec::new();
        while let count @ 1.. = stream.read(&mut chunk).unwrap() {
            rest.extend_from_slice(&chunk[..count]);
        }
        let expected = whole.len() as f64 / 8_000.0 - 0.5;
        assert!(
            (rest.len() as f64 / 8_000.0 - expected).abs() < 0.03,
            "{name}: {}",
            rest.len()
        );
    }
    let mut piped =
        FileStream::from_reader("pipe", std::io::Cursor::new(bytes("tone.flac")), 8_000).unwrap();
    assert_eq!(piped.read(&mut [0; 16_000]).unwrap(), 8_000);
}

#[test]
fn a_stream_says_when_its_file_breaks_off() {
    let whole = wav(8_000, 1, 16, false, 2.0);
    let mut stream =
        FileStream::from_bytes("cut.wav", whole[..whole.len() / 2].to_vec(), 8_000).unwrap();
    assert!(matches!(
        stream.read(&mut [0; 16_000]),
        Err(DecodeError::Truncated { .. })
    ));
}
