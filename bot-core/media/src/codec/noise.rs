//! Comfort noise as a peer describes it (RFC 3389).
//!
//! A sender that stops in pauses says with one packet how the room sounds: a level, and reflection coefficients of the
//! noise's spectrum. Until audio comes again, noise of that kind is played. SDP calls it `CN`, at the clock of the audio;
//! at 8,000 hertz it owns the static payload type 13.
//!
//! Invariants: any payload is taken; nothing allocates. The coefficients mean the band of the CN's clock; beside G.722,
//! whose audio has twice its clock, they shape the whole band.

/// The payload type of CN at 8,000 hertz (RFC 3551 table 4).
pub const PAYLOAD_TYPE: u8 = 13;

/// The clock of that payload type, in hertz.
pub const CLOCK_RATE: u32 = 8_000;

/// The coefficients that are used; a model of lower order is what remains of one that has more.
const ORDER: usize = 12;

/// The standard deviation of what [`ComfortNoise::random`] gives.
const SPREAD: f32 = 0.577_350_3;

/// Noise of one kind.
#[derive(Debug, Clone)]
pub struct ComfortNoise {
    random: u32,
    amplitude: f32,
    order: usize,
    reflection: [f32; ORDER],
    delayed: [f32; ORDER],
}

impl ComfortNoise {
    /// The noise that this payload describes. An empty payload describes silence.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        let mut noise = Self {
            random: 0x2545_f491,
            amplitude: 0.0,
            order: 0,
            reflection: [0.0; ORDER],
            delayed: [0.0; ORDER],
        };
        noise.describe(payload);
        noise
    }

    /// Goes on as noise of another kind.
    pub fn describe(&mut self, payload: &[u8]) {
        let Some((level, coefficients)) = payload.split_first() else {
            self.amplitude = 0.0;
            return;
        };
        let rms = 32_768.0 * 10_f32.powf(-f32::from(level & 0x7f) / 20.0);
        self.order = coefficients.len().min(ORDER);
        let mut gain = 1.0_f32;
        for (slot, code) in self.reflection.iter_mut().zip(coefficients) {
            // Section 3.2. The last code is reserved; it and the first are the edges of stability.
            *slot = (258.0 * (f32::from(*code) - 127.0) / 32_768.0).clamp(-0.99, 0.99);
            gain *= 1.0 - *slot * *slot;
        }
        // What the filter adds to the power is taken from its input.
        self.amplitude = rms / SPREAD * gain.sqrt();
    }

    /// Writes the next samples.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            let mut forward = self.amplitude * self.random();
            for n in (0..self.order).rev() {
                forward -= self.reflection[n] * self.delayed[n];
                if n + 1 < self.order {
                    self.delayed[n + 1] = self.delayed[n] + self.reflection[n] * forward;
                }
            }
            self.delayed[0] = forward;
            // The cast saturates.
            *sample = forward as i16;
        }
    }

    /// Evenly spread from -1 to 1.
    fn random(&mut self) -> f32 {
        // Xorshift: its low bits will do, too.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random as f32 / 2_147_483_648.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::level_dbov;

    fn played(payload: &[u8]) -> Vec<i16> {
        let mut out = vec![0; 16_000];
        ComfortNoise::new(payload).fill(&mut out);
        out
    }

    /// The correlation of each sample with the one before it, which is minus the first reflection coefficient.
    fn correlation(samples: &[i16]) -> f32 {
        let pairs = samples.windows(2);
        let cross: f32 = pairs.map(|w| f32::from(w[0]) * f32::from(w[1])).sum();
        cross / samples.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>()
    }

    #[test]
    fn the_level_is_the_one_said_whatever_the_shape() {
        for level in [20_u8, 45, 60] {
            for shape in [&[][..], &[40], &[40, 180, 100, 150], &[220, 90, 127]] {
                let mut payload = vec![level];
                payload.extend_from_slice(shape);
                let heard = level_dbov(&played(&payload));
                assert!(
                    (heard + f32::from(level)).abs() < 1.0,
                    "{payload:?}: {heard}"
                );
            }
        }
    }

    #[test]
    fn the_spectrum_is_the_one_said() {
        assert!(correlation(&played(&[40])).abs() < 0.03, "white");
        let low = correlation(&played(&[40, 27]));
        assert!((low - 0.787).abs() < 0.03, "low: {low}");
        let high = correlation(&played(&[40, 227]));
        assert!((high + 0.787).abs() < 0.03, "high: {high}");
    }

    #[test]
    fn any_payload_is_taken_and_none_runs_away() {
        assert!(played(&[]).iter().all(|sample| *sample == 0));
        assert!(level_dbov(&played(&[127])) < -80.0);
        let mut noise = ComfortNoise::new(&[0; 40]);
        let mut out = vec![0; 1_600];
        for seed in 0..=255_u8 {
            let payload: Vec<u8> = (0..seed).map(|n| n.wrapping_mul(seed) ^ 0x5a).collect();
            noise.describe(&payload);
            noise.fill(&mut out);
            noise.describe(&[255; 200]);
            noise.fill(&mut out);
        }
        noise.describe(&[60]);
        noise.fill(&mut out);
        noise.fill(&mut out);
        assert!((level_dbov(&out) + 60.0).abs() < 1.5);
    }
}
