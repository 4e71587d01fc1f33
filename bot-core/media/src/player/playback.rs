//! One playing of a prompt, a tone or a live source in one call.
//!
//! Invariants: a repeated prompt goes over its end without a gap; a frame is whole or the last one; nothing allocates
//! while it plays, but for the first frame of a prompt that was not prepared for the rate.

use std::sync::Arc;
use std::time::Duration;

use super::{AudioSource, Prompt, SourceState};
use crate::frame::Frame;
use crate::tone::Tone;

/// How often a playback plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeat {
    /// Once through.
    #[default]
    Once,
    /// This many times in all; 0 plays nothing.
    Times(u32),
    /// Until it is stopped.
    Forever,
}

/// One playing in one call.
pub struct Playback {
    source: Source,
    gain: f32,
    repeats_left: Option<u32>,
    played: Duration,
}

enum Source {
    Prompt {
        prompt: Prompt,
        pcm: Option<(u32, Arc<[i16]>)>,
        /// The next sample, counted at the prompt's own rate until the rate of the session is known.
        next: usize,
    },
    Tone(Tone),
    Live(Box<dyn AudioSource>),
}

impl Playback {
    /// Plays a prompt.
    #[must_use]
    pub fn prompt(prompt: Prompt) -> Self {
        Self::new(Source::Prompt {
            prompt,
            pcm: None,
            next: 0,
        })
    }

    /// Plays a tone, for as long as the tone lasts.
    #[must_use]
    pub fn tone(tone: Tone) -> Self {
        Self::new(Source::Tone(tone))
    }

    /// Plays a live source until it ends. Repetition does not apply to it.
    #[must_use]
    pub fn live(source: Box<dyn AudioSource>) -> Self {
        Self::new(Source::Live(source))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            gain: 1.0,
            repeats_left: Some(1),
            played: Duration::ZERO,
        }
    }

    /// Makes it louder or quieter, in decibels. What then leaves 16 bits is clipped.
    #[must_use]
    pub fn gain_db(mut self, gain: f32) -> Self {
        self.gain = if gain.is_finite() {
            10_f32.powf(gain / 20.0)
        } else {
            1.0
        };
        self
    }

    /// Says how often it plays.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeats_left = match repeat {
            Repeat::Once => Some(1),
            Repeat::Times(times) => Some(times),
            Repeat::Forever => None,
        };
        self
    }

    /// Starts at this place instead of at the beginning.
    #[must_use]
    pub fn starting_at(mut self, position: Duration) -> Self {
        self.seek(position);
        self
    }

    /// Goes to this place, or to the end if that comes first; `false` for a live source, which cannot.
    pub fn seek(&mut self, position: Duration) -> bool {
        match &mut self.source {
            Source::Prompt { prompt, pcm, next } => {
                let rate = pcm.as_ref().map_or(prompt.rate(), |(rate, _)| *rate);
                *next = (position.as_secs_f64() * f64::from(rate)).round() as usize;
                true
            }
            Source::Tone(tone) => {
                tone.seek(position);
                true
            }
            Source::Live(_) => false,
        }
    }

    /// The place in the source that is played next; for a live source, how long it has played.
    #[must_use]
    pub fn position(&self) -> Duration {
        match &self.source {
            Source::Prompt { prompt, pcm, next } => {
                let rate = pcm.as_ref().map_or(prompt.rate(), |(rate, _)| *rate);
                Duration::from_secs_f64(*next as f64 / f64::from(rate))
            }
            Source::Tone(tone) => tone.position(),
            Source::Live(_) => self.played,
        }
    }

    /// How long it has played, repetitions included.
    #[must_use]
    pub fn played(&self) -> Duration {
        self.played
    }

    /// How long one time through takes, where that is known: not for a live source or an endless tone.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match &self.source {
            Source::Prompt { prompt, .. } => Some(prompt.duration()),
            Source::Tone(tone) => tone.duration(),
            Source::Live(_) => None,
        }
    }

    /// Writes the next 20 ms at the frame's rate; `false` when nothing was left, and `out` is then silence.
    pub fn next(&mut self, out: &mut Frame) -> bool {
        let rate = out.rate();
        let written = match &mut self.source {
            Source::Prompt { prompt, pcm, next } => {
                let samples = at_rate(prompt, pcm, next, rate);
                read_repeating(&samples, next, &mut self.repeats_left, out.samples_mut())
            }
            Source::Tone(tone) => loop {
                if self.repeats_left == Some(0) {
                    break 0;
                }
                let written = tone.read(rate, out.samples_mut());
                if written > 0 {
                    break written;
                }
                count_down(&mut self.repeats_left);
                tone.seek(Duration::ZERO);
                if tone.duration() == Some(Duration::ZERO) {
                    break 0;
                }
            },
            Source::Live(source) => match source.read(out.samples_mut()) {
                SourceState::Ready(count) => count.min(out.samples().len()),
                SourceState::Starved => {
                    out.samples_mut().fill(0);
                    return true;
                }
                SourceState::Ended => 0,
            },
        };
        let samples = out.samples_mut();
        samples[written..].fill(0);
        if written == 0 {
            return false;
        }
        self.played += Duration::from_secs_f64(written as f64 / f64::from(rate.max(1)));
        if self.gain != 1.0 {
            for sample in &mut samples[..written] {
                *sample = (f32::from(*sample) * self.gain).round() as i16;
            }
        }
        true
    }
}

/// The samples at the session's rate; when that rate is new, the place in them moves along.
fn at_rate(
    prompt: &Prompt,
    pcm: &mut Option<(u32, Arc<[i16]>)>,
    next: &mut usize,
    rate: u32,
) -> Arc<[i16]> {
    if let Some((known, samples)) = pcm.as_ref()
        && *known == rate
    {
        return Arc::clone(samples);
    }
    let before = pcm.as_ref().map_or(prompt.rate(), |(known, _)| *known);
    *next = (*next as u64)
        .saturating_mul(u64::from(rate))
        .div_euclid(u64::from(before)) as usize;
    let samples = prompt.pcm(rate);
    *pcm = Some((rate, Arc::clone(&samples)));
    samples
}

/// Copies samples from `next` on, starting over while repetitions are left, and says how many were written.
fn read_repeating(
    samples: &[i16],
    next: &mut usize,
    repeats_left: &mut Option<u32>,
    out: &mut [i16],
) -> usize {
    let mut written = 0;
    while written < out.len() && !samples.is_empty() && *repeats_left != Some(0) {
        let from = (*next).min(samples.len());
        let count = (samples.len() - from).min(out.len() - written);
        out[written..written + count].copy_from_slice(&samples[from..from + count]);
        written += count;
        *next = from + count;
        if *next == samples.len() {
            count_down(repeats_left);
            if *repeats_left != Some(0) {
                *next = 0;
            }
        }
    }
    written
}

fn count_down(repeats_left: &mut Option<u32>) {
    if let Some(left) = repeats_left {
        *left = left.saturating_sub(1);
    }
}

impl std::fmt::Debug for Playback {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Playback")
            .field("position", &self.position())
            .field("played", &self.played)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::pipe;

    fn ramp(length: i16) -> Prompt {
        Prompt::from_pcm(8_000, &(1..=length).collect::<Vec<_>>())
    }

    fn play(mut playback: Playback, limit: usize) -> Vec<i16> {
        let mut out = Vec::new();
        let mut frame = Frame::silence(8_000);
        for _ in 0..limit {
            if !playback.next(&mut frame) {
                break;
            }
            out.extend_from_slice(frame.samples());
        }
        out
    }

    #[test]
    fn a_prompt_plays_once_and_its_last_frame_is_padded() {
        let out = play(Playback::prompt(ramp(250)), 10);
        assert_eq!(out.len(), 320);
        assert_eq!((out[249], out[250]), (250, 0));
    }

    #[test]
    fn repetition_leaves_no_gap() {
        let out = play(Playback::prompt(ramp(100)).repeat(Repeat::Times(3)), 10);
        assert_eq!(&out[98..102], &[99, 100, 1, 2]);
        assert_eq!(out.iter().filter(|s| **s == 100).count(), 3);
        assert_eq!(
            play(Playback::prompt(ramp(100)).repeat(Repeat::Forever), 50).len(),
            8_000
        );
        assert!(play(Playback::prompt(ramp(100)).repeat(Repeat::Times(0)), 5).is_empty());
    }

    #[test]
    fn an_empty_prompt_ends_at_once_even_when_it_repeats_for_ever() {
        assert!(play(Playback::prompt(ramp(0)).repeat(Repeat::Forever), 5).is_empty());
    }

    #[test]
    fn seek_and_position_agree() {
        let mut playback = Playback::prompt(ramp(8_000)).starting_at(Duration::from_millis(500));
        let mut frame = Frame::silence(8_000);
        assert!(playback.next(&mut frame));
        assert_eq!(frame.samples()[0], 4_001);
        assert_eq!(playback.position(), Duration::from_millis(520));
        assert!(playback.seek(Duration::from_secs(60)));
        assert!(!playback.next(&mut frame));
    }

    #[test]
    fn gain_clips_and_the_rate_follows_the_frame() {
        let loud = Prompt::from_pcm(8_000, &[20_000; 800]);
        let out = play(Playback::prompt(loud.clone()).gain_db(6.0206), 1);
        assert_eq!(out[0], i16::MAX);
        let out = play(Playback::prompt(loud.clone()).gain_db(-6.0206), 1);
        assert_eq!(out[0], 10_000);
        let mut frame = Frame::silence(16_000);
        let mut playback = Playback::prompt(loud).starting_at(Duration::from_millis(50));
        let mut frames = 0;
        while playback.next(&mut frame) {
            frames += 1;
        }
        assert_eq!(frames, 3);
    }

    #[test]
    fn a_tone_ends_and_repeats() {
        let beep = Tone::beep().lasting(Duration::from_millis(30));
        assert_eq!(play(Playback::tone(beep.clone()), 50).len(), 320);
        assert_eq!(
            play(Playback::tone(beep).repeat(Repeat::Times(2)), 50).len(),
            640
        );
        let nothing = Tone::beep().lasting(Duration::ZERO);
        assert!(play(Playback::tone(nothing).repeat(Repeat::Forever), 5).is_empty());
    }

    #[test]
    fn a_starved_source_is_silence_and_not_the_end() {
        let (writer, reader) = pipe(8_000, Duration::from_secs(1));
        let mut playback = Playback::live(Box::new(reader));
        let mut frame = Frame::from_slice(8_000, &[9; 160]);
        assert!(playback.next(&mut frame));
        assert_eq!(frame, Frame::silence(8_000));
        writer.write(&[5; 200]);
        assert!(playback.next(&mut frame));
        assert_eq!(frame.samples()[0], 5);
        drop(writer);
        assert!(playback.next(&mut frame));
        assert_eq!((frame.samples()[39], frame.samples()[40]), (5, 0));
        assert!(!playback.next(&mut frame));
        assert!(!playback.seek(Duration::ZERO));
        assert_eq!(playback.played(), Duration::from_millis(25));
    }
}
