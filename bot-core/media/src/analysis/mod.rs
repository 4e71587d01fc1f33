//! Levels, voice activity, tones and alignment of signals.

/// The level of these samples in dBov: 0 is a full-scale square wave, -3.01 a full-scale sine; silence is -127.
#[must_use]
pub fn level_dbov(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return -127.0;
    }
    let energy: f64 = samples
        .iter()
        .map(|sample| f64::from(*sample) * f64::from(*sample))
        .sum();
    let rms = (energy / samples.len() as f64).sqrt() / 32_768.0;
    if rms < 4.5e-7 {
        -127.0
    } else {
        (20.0 * rms.log10()) as f32
    }
}

/// Tells voice from silence, frame by frame, by energy over an adaptive noise floor.
#[derive(Debug, Clone)]
pub struct VoiceDetector {
    speaking: bool,
}

impl VoiceDetector {
    /// A detector for audio at `rate` hertz.
    #[must_use]
    pub fn new(_rate: u32) -> Self {
        Self { speaking: false }
    }

    /// Takes in the next samples; `true` while there is voice (or any sound well above the noise).
    pub fn push(&mut self, samples: &[i16]) -> bool {
        self.speaking = level_dbov(samples) > -45.0;
        self.speaking
    }

    /// Whether the newest samples were voice.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// How long it has been silent: zero while there is voice.
    #[must_use]
    pub fn silent_for(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}
