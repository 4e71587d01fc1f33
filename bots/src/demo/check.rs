//! The checks: what a recording holds, against what it should hold.

use std::path::Path;

use callbot_core::Statistics;
use callbot_core::analysis::{find, level_dbov, measure_tone};

use super::ear::RATE;
use super::words::Words;

/// Likeness from which a prompt counts as heard: the right one comes out at
/// 0.9 and more, another one of the same voice below 0.4.
pub(super) const LIKENESS: f32 = 0.7;
/// How much louder or softer it may be, in dB.
const LEVEL_DB: f32 = 1.0;
/// How much longer or shorter it may be, in milliseconds.
const LENGTH_MS: u128 = 100;
/// What is softer does not belong to a message, in dBov.
const QUIET_DBOV: f32 = -50.0;

/// Characters of a prompt's text that are shown.
const TEXT: usize = 30;

/// A likeness, as it is shown.
pub(super) fn percent(likeness: f32) -> String {
    format!("{:.0}%", likeness * 100.0)
}

/// A difference of levels; none is `+0.0`, from whichever side it comes.
fn decibels(gain: f32) -> String {
    format!("{:+.1} dB", (gain * 10.0).round() / 10.0 + 0.0)
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) passed: bool,
    pub(super) figures: String,
}

impl Check {
    pub(super) fn new(what: &'static str, passed: bool, figures: impl Into<String>) -> Self {
        Self {
            what,
            passed,
            figures: figures.into(),
        }
    }
}

/// Whether these words were heard, at the level at which they were played.
pub(super) fn prompt(heard: &[i16], words: &Words) -> Check {
    let Some(found) = find(words.samples(), &padded(heard), RATE) else {
        let figures = format!("nothing was heard: {}", words.short(TEXT));
        return Check::new("right prompt", false, figures);
    };
    let passed = found.confidence >= LIKENESS && found.gain_db.abs() <= LEVEL_DB;
    let likeness = percent(found.confidence);
    let place = if found.confidence >= LIKENESS {
        let at = found.offset.as_secs_f32();
        format!("{}, at {at:.2} s", decibels(found.gain_db))
    } else {
        format!("{} is needed", percent(LIKENESS))
    };
    let figures = format!("{likeness} alike, {place}: {}", words.short(TEXT));
    Check::new("right prompt", passed, figures)
}

/// With half a second of silence at its end: a recording may stop in the very
/// last and softest part of a word, and still the word is all there.
fn padded(heard: &[i16]) -> Vec<i16> {
    let mut padded = heard.to_vec();
    padded.resize(heard.len() + RATE as usize / 2, 0);
    padded
}

/// Which of all prompts was heard instead, and how surely.
pub(super) fn what_is_it(heard: &[i16]) -> Option<(Words, f32)> {
    Words::all()
        .filter_map(|words| {
            let found = find(words.samples(), heard, RATE)?;
            Some((words, found.confidence))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Whether the beep before a recording was heard: 1000 Hz for 400 ms at -20 dBov.
pub(super) fn beep(heard: &[i16]) -> Check {
    const WHAT: &str = "right beep";
    let Some(tone) = measure_tone(heard, RATE, 1_000.0) else {
        return Check::new(WHAT, false, "no tone was heard");
    };
    let ms = tone.sounding().as_millis();
    let passed = (tone.frequency - 1_000.0).abs() < 10.0
        && (tone.level_dbov + 20.0).abs() <= LEVEL_DB
        && ms.abs_diff(400) <= LENGTH_MS;
    let figures = format!(
        "{:.1} Hz for {ms} ms at {:.1} dBov, {} gaps",
        tone.frequency,
        tone.level_dbov,
        tone.gaps.len()
    );
    Check::new(WHAT, passed, figures)
}

/// Whether a recording is the message that was spoken: its words, level and length.
pub(super) fn message(recorded: &[i16], spoken: &Words) -> [Check; 3] {
    let (words, gain) = match find(spoken.samples(), &padded(recorded), RATE) {
        Some(found) => (found.confidence, found.gain_db),
        None => (0.0, f32::NEG_INFINITY),
    };
    let said = spoken_part(spoken.samples());
    let kept = spoken_part(recorded);
    let ms = |samples: &[i16]| samples.len() as u128 * 1_000 / u128::from(RATE);
    [
        Check::new(
            "right message",
            words >= LIKENESS,
            format!("{} alike: {}", percent(words), spoken.short(TEXT)),
        ),
        Check::new(
            "right level",
            gain.abs() <= LEVEL_DB,
            format!(
                "{:.1} dBov, spoken at {:.1} dBov",
                level_dbov(said) + gain,
                level_dbov(said)
            ),
        ),
        Check::new(
            "right length",
            ms(kept).abs_diff(ms(said)) <= LENGTH_MS,
            format!("{} ms of speech, spoken were {} ms", ms(kept), ms(said)),
        ),
    ]
}

/// Without the silence around it, in steps of 10 ms.
fn spoken_part(samples: &[i16]) -> &[i16] {
    const STEP: usize = RATE as usize / 100;
    let loud = |part: &[i16]| level_dbov(part) > QUIET_DBOV;
    let from = samples.chunks(STEP).position(loud);
    let to = samples.chunks(STEP).rposition(loud);
    match (from, to) {
        (Some(from), Some(to)) => &samples[from * STEP..((to + 1) * STEP).min(samples.len())],
        _ => &[],
    }
}

/// Whether these keys arrived, each once and in order.
pub(super) fn keys(pressed: &str, arrived: &str) -> Check {
    let figures = if pressed == arrived {
        format!("{arrived}, each once and in order")
    } else {
        format!("{pressed} were pressed, {arrived} arrived")
    };
    Check::new("right digits", pressed == arrived, figures)
}

/// Whether the packets came through.
pub(super) fn network(figures: Option<&Statistics>) -> Check {
    const WHAT: &str = "no loss";
    let Some(figures) = figures else {
        return Check::new(WHAT, false, "there are no figures of the media");
    };
    let text = format!(
        "{} packets, {} lost, {} frames concealed, jitter {:.1} ms, MOS {:.1}",
        figures.packets_received,
        figures.packets_lost,
        figures.concealed_frames,
        figures.jitter_ms,
        figures.mos.unwrap_or_default()
    );
    Check::new(
        WHAT,
        figures.packets_lost == 0 && figures.packets_received > 0,
        text,
    )
}

/// One channel of a WAV file at [`RATE`]; empty, with the reason, when it cannot be read.
pub(super) fn channel(path: &Path, index: usize) -> (Vec<i16>, Option<String>) {
    let read = || {
        let mut reader = hound::WavReader::open(path)?;
        let channels = usize::from(reader.spec().channels).max(1);
        let samples = reader.samples::<i16>().skip(index).step_by(channels);
        samples.collect::<Result<Vec<_>, _>>()
    };
    match read() {
        Ok(samples) => (samples, None),
        Err(error) => (Vec::new(), Some(format!("{}: {error}", path.display()))),
    }
}
