//! Audio files whose headers lie: no panic, an answer in good time, and memory bounded by what the file holds.

#![allow(clippy::unwrap_used)] // A test may: what fails there is the test.

use std::path::Path;

use callbot_media::player::{FileStream, decode_bytes};

/// All that decoding a file of some ten kilobytes may hold at once.
const MOST_BYTES: u64 = 8 << 20;

fn wav() -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut out = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut out, spec).unwrap();
    for n in 0..4_000 {
        writer.write_sample((n % 100) as i16 * 50).unwrap();
    }
    writer.finalize().unwrap();
    out.into_inner()
}

fn decode(what: &str, bytes: Vec<u8>) {
    let streamed = bytes.clone();
    let mut whole = None;
    let asked = allocation_counter::measure(|| {
        whole = Some(decode_bytes(what, bytes).map(|prompt| prompt.duration()));
    })
    .bytes_max;
    assert!(asked < MOST_BYTES, "{what}: {asked} bytes, {whole:?}");
    let Ok(mut stream) = FileStream::from_bytes(what, streamed, 8_000) else {
        return;
    };
    let mut chunk = [0; 160];
    while let Ok(1..) = stream.read(&mut chunk) {}
}

#[test]
fn lies_in_a_header_cost_neither_memory_nor_the_process() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let mut samples = vec![("wav".to_owned(), wav())];
    for name in [
        "tone.flac",
        "tone.mp3",
        "tone.ogg",
        "tone.m4a",
        "tone.aac",
        "tone.aiff",
        "mulaw.wav",
    ] {
        let mut bytes = std::fs::read(files.join(name)).unwrap();
        if name != "tone.m4a" {
            // The header is what lies; an MP4's may stand at the end.
            bytes.truncate(9_000);
        }
        samples.push((name.to_owned(), bytes));
    }
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for (name, original) in &samples {
        let header = original
            .len()
            .min(if name == "tone.m4a" { usize::MAX } else { 400 });
        for lie in [
            [0xff; 4],
            [0x7f, 0xff, 0xff, 0xff],
            [0xff, 0xff, 0xff, 0x7f],
            [0; 4],
        ] {
            for at in (0..header - 4).step_by(if header > 400 { 29 } else { 3 }) {
                let mut bytes = original.clone();
                bytes[at..at + 4].copy_from_slice(&lie);
                decode(&format!("{name} with {lie:02x?} at {at}"), bytes);
            }
        }
        for round in 0..80 {
            let mut bytes = original.clone();
            for _ in 0..1 + random(8) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            bytes.truncate(bytes.len() - random(bytes.len() / 2));
            decode(&format!("{name}, mutation {round}"), bytes);
        }
    }
}
