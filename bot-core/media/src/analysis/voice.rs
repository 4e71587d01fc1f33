//! Voice from silence, frame by frame.
//!
//! Purpose: end a recording after so many seconds of silence, and tell a bot when the caller begins and stops to speak.
//!
//! It goes by energy above a noise floor that adapts: the floor is the quietest that the last three seconds held, so it
//! falls to a quieter line at once and rises to a noisier one within three seconds. Speech does not lift it, because there
//! are quiet moments between syllables. The floor is capped: what is louder than -38 dBov plus the margin always
//! counts, so that music or a tone at the level of speech is no silence.
//!
//! Invariant: constant work and memory per sample, whatever the pieces in which samples arrive.

use std::time::Duration;

use super::level::level_without_offset;

/// The length of the blocks that are judged one by one, in milliseconds.
const BLOCK_MS: u32 = 10;

/// The floor is the quietest block of this many groups, each of [`GROUP_BLOCKS`] blocks: three seconds.
const GROUPS: usize = 6;
const GROUP_BLOCKS: u32 = 50;

/// A block is voice when it exceeds the floor by this much.
const MARGIN_DB: f32 = 10.0;

/// Whatever the floor, nothing quieter than this is voice: it is the idle noise of G.711 with a margin.
const QUIETEST_VOICE_DBOV: f32 = -52.0;

/// The floor never adapts above this.
const FLOOR_CAP_DBOV: f32 = -38.0;

/// Voice begins when this many blocks of the last [`ONSET_WINDOW`] exceed the threshold: a click is shorter.
const ONSET_BLOCKS: u32 = 3;
const ONSET_WINDOW: u32 = 5;

/// Voice lasts this long beyond its last block: the pauses within words and between them are not silence.
const HANGOVER: Duration = Duration::from_millis(250);

/// Tells voice (or any sound well above the noise) from silence.
#[derive(Debug, Clone)]
pub struct VoiceDetector {
    rate: u32,
    block: [i16; Self::LONGEST_BLOCK],
    gathered: usize,
    groups: [f32; GROUPS],
    group: usize,
    blocks_in_group: u32,
    recent: u32,
    speaking: bool,
    since_voice: Duration,
    heard_voice: bool,
}

impl VoiceDetector {
    /// The samples of a block at 48 kHz.
    const LONGEST_BLOCK: usize = 480;

    /// A detector for audio at `rate` hertz (up to 48,000).
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.clamp(1_000, 48_000),
            block: [0; Self::LONGEST_BLOCK],
            gathered: 0,
            groups: [f32::INFINITY; GROUPS],
            group: 0,
            blocks_in_group: 0,
            recent: 0,
            speaking: false,
            since_voice: Duration::ZERO,
            heard_voice: false,
        }
    }

    /// Takes in the next samples; `true` while there is voice.
    pub fn push(&mut self, mut samples: &[i16]) -> bool {
        let length = (self.rate * BLOCK_MS / 1_000) as usize;
        while !samples.is_empty() {
            let count = (length - self.gathered).min(samples.len());
            self.block[self.gathered..self.gathered + count].copy_from_slice(&samples[..count]);
            self.gathered += count;
            samples = &samples[count..];
            if self.gathered == length {
                self.gathered = 0;
                let level = level_without_offset(&self.block[..length]);
                self.judge(level);
            }
        }
        self.speaking
    }

    /// Whether the newest samples were voice.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// How long it has been silent: since the last voice, or since the beginning when there was none. The hangover counts
    /// as silence here, so that "three seconds of silence" are three.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.since_voice
    }

    /// Whether there was voice at any time.
    #[must_use]
    pub fn heard_voice(&self) -> bool {
        self.heard_voice
    }

    /// The noise floor in dBov, as adapted so far.
    #[must_use]
    pub fn floor_dbov(&self) -> f32 {
        self.groups.iter().copied().fold(FLOOR_CAP_DBOV, f32::min)
    }

    fn judge(&mut self, level: f32) {
        let threshold = (self.floor_dbov() + MARGIN_DB).max(QUIETEST_VOICE_DBOV);
        // Before anything is known of the noise, the cap stands for it, and only what is clearly speech counts.
        let loud = level > threshold;
        self.learn(level);
        self.recent = (self.recent << 1 | u32::from(loud)) & ((1 << ONSET_WINDOW) - 1);
        let block = Duration::from_millis(u64::from(BLOCK_MS));
        let voiced = loud && (self.speaking || self.recent.count_ones() >= ONSET_BLOCKS);
        if voiced {
            self.speaking = true;
            self.heard_voice = true;
            self.since_voice = Duration::ZERO;
        } else {
            self.since_voice += block;
            if self.since_voice >= HANGOVER {
                self.speaking = false;
            }
        }
    }

    fn learn(&mut self, level: f32) {
        // Digital silence is not the noise of the line but the absence of one, as when a gateway suppresses silence.
        let level = level.max(QUIETEST_VOICE_DBOV - MARGIN_DB - 10.0);
        self.groups[self.group] = self.groups[self.group].min(level);
        self.blocks_in_group += 1;
        if self.blocks_in_group == GROUP_BLOCKS {
            self.blocks_in_group = 0;
            self.group = (self.group + 1) % GROUPS;
            self.groups[self.group] = f32::INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    /// White noise of this level.
    fn noise(dbov: f32, milliseconds: usize) -> Vec<i16> {
        let peak = 32_768.0 * 10_f32.powf(dbov / 20.0) * 3.0_f32.sqrt();
        let mut state = 12_345_u32;
        (0..milliseconds * 8)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (peak * ((state >> 8) as f32 / 8_388_608.0 - 1.0)) as i16
            })
            .collect()
    }

    fn tone(dbov: f32, milliseconds: u64) -> Vec<i16> {
        Tone::new(&[300.0])
            .level(dbov)
            .lasting(Duration::from_millis(milliseconds))
            .samples(8_000)
    }

    #[test]
    fn noise_of_any_steady_level_is_silence_after_three_seconds() {
        for level in [-70.0, -60.0, -50.0, -45.0] {
            let mut detector = VoiceDetector::new(8_000);
            detector.push(&noise(level, 4_000));
            assert!(
                !detector.is_speaking(),
                "{level}: floor {}",
                detector.floor_dbov()
            );
            detector.push(&noise(level, 3_000));
            assert!(detector.silent_for() >= Duration::from_secs(3), "{level}");
        }
    }

    #[test]
    fn a_voice_over_noise_is_heard_within_50_ms_and_let_go_after_the_hangover() {
        let mut detector = VoiceDetector::new(8_000);
        detector.push(&noise(-55.0, 3_500));
        assert!(!detector.push(&tone(-30.0, 20)));
        assert!(detector.push(&tone(-30.0, 30)));
        assert!(detector.push(&tone(-30.0, 500)));
        assert!(detector.push(&noise(-55.0, 200)));
        assert!(!detector.push(&noise(-55.0, 100)));
        let silent = detector.silent_for().as_millis();
        assert!((290..=310).contains(&silent), "{silent}");
    }

    #[test]
    fn a_click_is_no_voice() {
        let mut detector = VoiceDetector::new(8_000);
        for _ in 0..20 {
            detector.push(&noise(-60.0, 300));
            detector.push(&tone(-15.0, 10));
            assert!(!detector.push(&noise(-60.0, 10)));
        }
        assert!(!detector.heard_voice());
    }

    #[test]
    fn music_at_the_level_of_speech_never_becomes_silence() {
        let mut detector = VoiceDetector::new(8_000);
        detector.push(&tone(-22.0, 20_000));
        assert!(detector.is_speaking());
    }

    #[test]
    fn pieces_of_any_size_give_the_same_verdict() {
        let mut signal = noise(-55.0, 3_000);
        signal.extend(tone(-30.0, 777));
        signal.extend(noise(-55.0, 1_000));
        let mut whole = VoiceDetector::new(8_000);
        whole.push(&signal);
        let mut pieces = VoiceDetector::new(8_000);
        for piece in signal.chunks(33) {
            pieces.push(piece);
        }
        assert_eq!(whole.silent_for(), pieces.silent_for());
    }
}
