//! `cargo xtask prompts`: makes every file of `media-files/` again, and its manifest.
//!
//! Speech comes from flite (Debian package `flite`), whose licence lets its output be shipped; tones are computed. All files become
//! 8 kHz, 16-bit, mono WAV. Speech is trimmed and brought to an active level of -20 dBov, so that a caller hears no jumps between
//! prompts and a test may check the level it recorded.
//!
//! Invariant: the same flite version gives the same bytes; nothing here is random.

use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::prompt_list::{PROMPTS, TONES};

const RATE: u32 = 8000;
/// Active speech level and tone level, in dB relative to a full-scale square wave (dBov).
const LEVEL_DBOV: f64 = -20.0;
/// Samples of one analysis frame (20 ms).
const FRAME: usize = 160;

/// One line of the spoken set.
pub(crate) struct Speech {
    /// File stem, lower case with dashes.
    pub(crate) name: &'static str,
    /// Voice of flite: `slt` for the bot, `rms` for the caller.
    pub(crate) voice: &'static str,
    /// What a listener should understand.
    pub(crate) text: &'static str,
    /// What is given to flite where its reading of `text` is wrong.
    pub(crate) spelled: Option<&'static str>,
}

/// One computed file.
pub(crate) struct Tone {
    /// File stem.
    pub(crate) name: &'static str,
    /// Sine frequencies in Hz, all at the same level; none is silence.
    pub(crate) frequencies: &'static [f64],
    /// Milliseconds on, milliseconds off.
    pub(crate) cadence: (u32, u32),
    /// How often the cadence is repeated.
    pub(crate) repeats: u32,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

/// Writes `prompts/`, `tones/` and `MANIFEST.toml` below `folder`.
pub(crate) fn run(folder: &Path) -> Result<()> {
    let version = flite_version()?;
    let scratch = std::env::temp_dir().join(format!("callbot-prompts-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).context("make a scratch folder")?;
    for sub in ["prompts", "tones"] {
        std::fs::create_dir_all(folder.join(sub)).with_context(|| format!("make {sub}"))?;
    }
    let mut manifest = String::from(HEADER);
    for speech in PROMPTS {
        let file = format!("prompts/{}.wav", speech.name);
        let spoken = speech.spelled.unwrap_or(speech.text);
        let samples = normalise(&trim(&speak(&scratch, speech.voice, spoken)?));
        save(&folder.join(&file), &samples)?;
        let origin = format!(
            "flite -voice {} -t '{spoken}' ({version}), trimmed, halved to 8 kHz and levelled by `cargo xtask prompts`",
            speech.voice
        );
        entry(
            &mut manifest,
            speech.name,
            &file,
            &samples,
            "flite",
            &origin,
            speech.text,
        )?;
    }
    for tone in TONES {
        let file = format!("tones/{}.wav", tone.name);
        let samples = synthesise(tone);
        save(&folder.join(&file), &samples)?;
        entry(
            &mut manifest,
            tone.name,
            &file,
            &samples,
            "MIT OR Apache-2.0",
            "computed by `cargo xtask prompts`",
            tone.purpose,
        )?;
    }
    std::fs::write(folder.join("MANIFEST.toml"), manifest).context("write MANIFEST.toml")?;
    std::fs::remove_dir_all(&scratch).context("remove the scratch folder")?;
    println!(
        "{} prompts and {} tones written below {}",
        PROMPTS.len(),
        TONES.len(),
        folder.display()
    );
    Ok(())
}

const HEADER: &str = "\
# Every sound file of this package: what it is, how it was made, and under which terms it may be passed on.
# Written by `cargo xtask prompts`; a test compares it with the files.
#
# licence = \"flite\": output of flite by Carnegie Mellon University, whose BSD-like licence allows use and
# distribution without restriction (text: LICENSE-flite). Files that we computed carry the project's own licence.
# level_dbov is the active level (mean power of the frames that are not silence), 0 dBov being a full-scale square wave.
";

/// One table of the manifest.
fn entry(
    out: &mut String,
    name: &str,
    file: &str,
    samples: &[i16],
    licence: &str,
    origin: &str,
    content: &str,
) -> Result<()> {
    let level = active_level(samples).map_or("-inf".to_owned(), |l| format!("{l:.1}"));
    write!(
        out,
        "\n[[file]]\nname = \"{name}\"\nfile = \"{file}\"\ncontent = \"{content}\"\ncodec = \"pcm_s16le\"\nrate_hz = {RATE}\nchannels = 1\nlength_ms = {}\nlevel_dbov = {level}\nlicence = \"{licence}\"\norigin = \"{origin}\"\n",
        samples.len() as u64 * 1000 / u64::from(RATE),
    )?;
    Ok(())
}

fn flite_version() -> Result<String> {
    let said = Command::new("flite")
        .arg("--version")
        .output()
        .context("run flite: install it with `apt-get install flite`")?;
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let version = text
        .split_whitespace()
        .find(|w| w.starts_with("flite-"))
        .unwrap_or("flite of unknown version");
    Ok(version.to_owned())
}

/// Speaks a text at flite's own 16 kHz and gives it at 8 kHz, as numbers between -1 and 1.
fn speak(scratch: &Path, voice: &str, text: &str) -> Result<Vec<f64>> {
    let raw = scratch.join("raw.wav");
    let done = Command::new("flite")
        .args(["-voice", voice, "-t", text, "-o"])
        .arg(&raw)
        .status()
        .context("run flite")?;
    if !done.success() {
        bail!("flite refused the text {text:?}");
    }
    let mut reader = hound::WavReader::open(&raw).context("read what flite wrote")?;
    let spec = reader.spec();
    if (spec.sample_rate, spec.channels) != (2 * RATE, 1) {
        bail!(
            "flite wrote {} Hz with {} channels, but 16000 Hz mono is what this command halves",
            spec.sample_rate,
            spec.channels
        );
    }
    let samples: Vec<f64> = reader
        .samples::<i16>()
        .map(|s| s.map(|s| f64::from(s) / 32768.0))
        .collect::<Result<_, _>>()?;
    Ok(without_offset(&halve(&samples)))
}

/// Low-pass at 3.7 kHz with a Blackman-windowed sinc, then every second sample.
fn halve(input: &[f64]) -> Vec<f64> {
    const HALF: i64 = 96;
    let cutoff = 3700.0 / 16000.0;
    let taps: Vec<f64> = (-HALF..=HALF)
        .map(|n| {
            let sinc = if n == 0 {
                2.0 * cutoff
            } else {
                (TAU * cutoff * n as f64).sin() / (std::f64::consts::PI * n as f64)
            };
            let phase = (n + HALF) as f64 / (2 * HALF) as f64;
            sinc * (0.42 - 0.5 * (TAU * phase).cos() + 0.08 * (2.0 * TAU * phase).cos())
        })
        .collect();
    (0..input.len() as i64)
        .step_by(2)
        .map(|at| {
            taps.iter()
                .zip(-HALF..=HALF)
                .filter_map(|(tap, n)| {
                    usize::try_from(at + n)
                        .ok()
                        .and_then(|i| input.get(i))
                        .map(|s| s * tap)
                })
                .sum()
        })
        .collect()
}

/// High-pass at 40 Hz: one of flite's voices has an offset of 0.5% of full scale, which would count as level.
fn without_offset(input: &[f64]) -> Vec<f64> {
    let (mut before, mut out) = (0.0, 0.0);
    input
        .iter()
        .map(|sample| {
            out = sample - before + 0.97 * out;
            before = *sample;
            out
        })
        .collect()
}

/// Cuts silence at both ends, leaving 40 ms before and 80 ms after the speech with soft edges.
fn trim(input: &[f64]) -> Vec<f64> {
    let powers: Vec<f64> = input.chunks(FRAME).map(power).collect();
    let loudest = powers.iter().copied().fold(0.0, f64::max);
    let speech = |p: &f64| *p > loudest * 1e-4;
    let (Some(first), Some(last)) = (
        powers.iter().position(speech),
        powers.iter().rposition(speech),
    ) else {
        return input.to_vec();
    };
    let start = (first * FRAME).saturating_sub(2 * FRAME);
    let end = ((last + 1) * FRAME + 4 * FRAME).min(input.len());
    let mut out = input[start..end].to_vec();
    let len = out.len();
    for n in 0..FRAME.min(len) {
        let gain = n as f64 / FRAME as f64;
        out[n] *= gain;
        out[len - 1 - n] *= gain;
    }
    out
}

/// Brings the active level to -20 dBov, or as near as a peak of -1 dB below full scale allows.
fn normalise(input: &[f64]) -> Vec<i16> {
    let mut gain = 1.0;
    // Which frames are active is relative to the loudest, so one pass reaches the level.
    if let Some(level) = active_level_of(input) {
        gain = 10f64.powf((LEVEL_DBOV - level) / 20.0);
    }
    let peak = input.iter().fold(0.0f64, |p, s| p.max(s.abs()));
    gain = gain.min(0.89 / peak.max(1e-9));
    input
        .iter()
        .map(|s| (s * gain * 32768.0).round() as i16)
        .collect()
}

fn synthesise(tone: &Tone) -> Vec<i16> {
    let mut out = Vec::new();
    let count = tone.frequencies.len().max(1) as f64;
    // The sum of n sines of amplitude a has a power of n * a^2 / 2.
    let amplitude = (2.0 / count).sqrt() * 10f64.powf(LEVEL_DBOV / 20.0);
    for _ in 0..tone.repeats {
        let on = tone.cadence.0 * RATE / 1000;
        for n in 0..on {
            // 5 ms ramps keep clicks out of the recording.
            let edge = f64::from(n.min(on - 1 - n)) / 40.0;
            let time = f64::from(n) / f64::from(RATE);
            let sum: f64 = tone
                .frequencies
                .iter()
                .map(|f| (TAU * f * time).sin())
                .sum();
            out.push((sum * amplitude * edge.min(1.0) * 32768.0).round() as i16);
        }
        out.extend(std::iter::repeat_n(
            0,
            (tone.cadence.1 * RATE / 1000) as usize,
        ));
    }
    out
}

fn active_level(samples: &[i16]) -> Option<f64> {
    active_level_of(
        &samples
            .iter()
            .map(|s| f64::from(*s) / 32768.0)
            .collect::<Vec<_>>(),
    )
}

/// Mean power, in dBov, of the 20 ms frames that lie within 30 dB of the loudest; `None` for silence.
fn active_level_of(samples: &[f64]) -> Option<f64> {
    let powers: Vec<f64> = samples.chunks(FRAME).map(power).collect();
    let loudest = powers.iter().copied().fold(0.0, f64::max);
    let active: Vec<f64> = powers
        .into_iter()
        .filter(|p| *p > 0.0 && *p >= loudest * 1e-3)
        .collect();
    (!active.is_empty()).then(|| 10.0 * (active.iter().sum::<f64>() / active.len() as f64).log10())
}

fn power(frame: &[f64]) -> f64 {
    frame.iter().map(|s| s * s).sum::<f64>() / frame.len().max(1) as f64
}

fn save(path: &Path, samples: &[i16]) -> Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec)
        .with_context(|| format!("write {}", path.display()))?;
    for sample in samples {
        writer.write_sample(*sample)?;
    }
    writer
        .finalize()
        .with_context(|| format!("finish {}", path.display()))
}
