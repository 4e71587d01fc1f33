//! The manifest, the constants and the files tell the same story, and every file is fit to be played on a telephone.

use std::collections::BTreeSet;
use std::path::Path;

use callbot_media_files::{MANIFEST, MediaFile, all, by_name, key};

#[derive(serde::Deserialize)]
struct Manifest {
    file: Vec<Entry>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    file: String,
    content: String,
    codec: String,
    rate_hz: u32,
    channels: u16,
    length_ms: u64,
    level_dbov: f64,
    licence: String,
    origin: String,
}

fn manifest() -> Vec<Entry> {
    toml::from_str::<Manifest>(MANIFEST)
        .expect("MANIFEST.toml is valid")
        .file
}

fn samples(file: &MediaFile) -> (hound::WavSpec, Vec<i16>) {
    let mut reader =
        hound::WavReader::new(file.bytes).unwrap_or_else(|why| panic!("{}: {why}", file.name));
    let spec = reader.spec();
    let samples = reader
        .samples::<i16>()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|why| panic!("{}: {why}", file.name));
    (spec, samples)
}

/// Mean power of the 20 ms frames within 30 dB of the loudest, in dBov.
fn active_level(samples: &[i16]) -> f64 {
    let powers: Vec<f64> = samples
        .chunks(160)
        .map(|frame| {
            frame
                .iter()
                .map(|s| (f64::from(*s) / 32768.0).powi(2))
                .sum::<f64>()
                / frame.len() as f64
        })
        .collect();
    let loudest = powers.iter().copied().fold(0.0, f64::max);
    let active: Vec<f64> = powers
        .into_iter()
        .filter(|p| *p > 0.0 && *p >= loudest * 1e-3)
        .collect();
    10.0 * (active.iter().sum::<f64>() / active.len() as f64).log10()
}

#[test]
fn manifest_and_constants_name_the_same_files() {
    let listed: Vec<_> = manifest().into_iter().map(|e| (e.name, e.file)).collect();
    let built: Vec<_> = all()
        .iter()
        .map(|f| (f.name.to_owned(), f.path.to_owned()))
        .collect();
    assert_eq!(
        listed, built,
        "a prompt is one line in xtask, one in lib.rs, and a run of `cargo xtask prompts`"
    );
    let unique: BTreeSet<_> = all().iter().map(|f| f.name).collect();
    assert_eq!(unique.len(), all().len());
}

#[test]
fn no_sound_file_lies_about_that_nothing_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named: BTreeSet<_> = all().iter().map(|f| root.join(f.path)).collect();
    for folder in ["prompts", "tones"] {
        for found in std::fs::read_dir(root.join(folder)).expect("the folder is there") {
            let path = found.expect("the folder can be read").path();
            assert!(named.contains(&path), "{} is in no list", path.display());
        }
    }
}

#[test]
fn each_file_is_what_the_manifest_says() {
    for (entry, file) in manifest().iter().zip(all()) {
        let (spec, samples) = samples(file);
        assert_eq!(entry.codec, "pcm_s16le");
        assert_eq!(
            (spec.bits_per_sample, spec.sample_format),
            (16, hound::SampleFormat::Int),
            "{}",
            entry.name
        );
        assert_eq!(
            (spec.sample_rate, spec.channels),
            (entry.rate_hz, entry.channels),
            "{}",
            entry.name
        );
        assert_eq!(
            samples.len() as u64 * 1000 / u64::from(spec.sample_rate),
            entry.length_ms,
            "{}",
            entry.name
        );
        let level = active_level(&samples);
        assert!(
            (level.is_nan() && entry.level_dbov == f64::NEG_INFINITY)
                || (level - entry.level_dbov).abs() < 0.1,
            "{}: {level:.2} dBov measured, {} claimed",
            entry.name,
            entry.level_dbov
        );
        assert!(
            ["flite", "MIT OR Apache-2.0"].contains(&entry.licence.as_str()),
            "{}",
            entry.name
        );
        assert!(
            !entry.origin.is_empty() && !entry.content.is_empty(),
            "{}",
            entry.name
        );
    }
}

#[test]
fn telephone_rate_even_level_no_clipping_no_silent_lead() {
    for file in all().iter().filter(|f| f.name != "silence") {
        let (spec, samples) = samples(file);
        assert_eq!(
            (spec.sample_rate, spec.channels),
            (8000, 1),
            "{}",
            file.name
        );
        let level = active_level(&samples);
        assert!(
            (-21.0..=-19.0).contains(&level),
            "{}: {level:.1} dBov",
            file.name
        );
        let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        assert!(
            peak < 29_500,
            "{}: peak {peak} is too near to full scale",
            file.name
        );
        let mean = samples.iter().map(|s| f64::from(*s)).sum::<f64>() / samples.len() as f64;
        assert!(
            mean.abs() < 40.0,
            "{}: a constant offset of {mean:.0}",
            file.name
        );
        let first = samples
            .iter()
            .position(|s| s.unsigned_abs() > 300)
            .expect("something sounds");
        assert!(
            first < 8000 / 4,
            "{}: {first} samples of silence before the sound",
            file.name
        );
    }
}

#[test]
fn digital_silence_is_silent() {
    let (_, samples) = samples(by_name("silence").expect("the file is listed"));
    assert!(samples.len() == 8000 && samples.iter().all(|s| *s == 0));
}

#[test]
fn every_key_of_a_telephone_can_be_spoken() {
    let spoken: BTreeSet<_> = "0123456789*#"
        .chars()
        .map(|c| key(c).expect("a telephone key"))
        .collect();
    assert_eq!(spoken.len(), 12, "two keys sound alike");
    assert!(key('A').is_none());
}

#[test]
fn steady_tones_have_their_frequency() {
    for (name, hertz) in [
        ("tone-440", 440.0),
        ("tone-1000", 1000.0),
        ("beep", 1000.0),
        ("busy", 425.0),
        ("ringback", 425.0),
    ] {
        let (_, samples) = samples(by_name(name).expect("the file is listed"));
        let tone = &samples[400..2800];
        let rising = tone.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
        let measured = rising as f64 / (tone.len() as f64 / 8000.0);
        assert!(
            (measured - hertz).abs() < 5.0,
            "{name}: about {measured:.0} Hz"
        );
    }
}
