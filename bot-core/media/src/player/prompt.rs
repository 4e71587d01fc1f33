//! A decoded recording that calls share.
//!
//! Payloads are not shared: what Opus, G.722 and G.729 send depends on what they sent before, so a payload made for one call
//! is noise in another; and G.711 is a table, which costs less than keeping its output.
//!
//! Invariant: for each rate the audio exists once, however many calls play it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::codec::Codec;
use crate::resample::{HIGHEST_RATE, LOWEST_RATE, resample};

/// Decoded mono audio that calls share: cloning it copies nothing.
#[derive(Clone)]
pub struct Prompt {
    inner: Arc<Inner>,
}

struct Inner {
    rate: u32,
    pcm: Arc<[i16]>,
    copies: Mutex<Vec<(u32, Arc<[i16]>)>>,
}

impl Prompt {
    /// A prompt of mono samples at `rate` hertz. A rate that no audio has is taken as the nearest that some has.
    #[must_use]
    pub fn from_pcm(rate: u32, pcm: &[i16]) -> Self {
        Self::from_shared(rate, pcm.into())
    }

    pub(super) fn from_shared(rate: u32, pcm: Arc<[i16]>) -> Self {
        let inner = Inner {
            rate: rate.clamp(LOWEST_RATE, HIGHEST_RATE),
            pcm,
            copies: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The rate, in hertz, at which the audio was decoded.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.inner.rate
    }

    /// How long it plays.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.inner.pcm.len() as f64 / f64::from(self.inner.rate))
    }

    /// Makes the copies that a session of this codec will ask for. Call it where waiting is allowed: a minute of audio
    /// takes some ten milliseconds to convert, too long for the media thread.
    pub fn prepare(&self, codec: Codec) {
        drop(self.pcm(codec.audio_rate()));
    }

    /// The samples at `rate` hertz: converted at first use, then shared.
    #[must_use]
    pub fn pcm(&self, rate: u32) -> Arc<[i16]> {
        if rate == self.inner.rate {
            return Arc::clone(&self.inner.pcm);
        }
        let mut copies = self
            .inner
            .copies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pcm)) = copies.iter().find(|(known, _)| *known == rate) {
            return Arc::clone(pcm);
        }
        let pcm: Arc<[i16]> = resample(&self.inner.pcm, self.inner.rate, rate).into();
        copies.push((rate, Arc::clone(&pcm)));
        pcm
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Prompt")
            .field("rate", &self.inner.rate)
            .field("duration", &self.duration())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_share_one_copy_for_each_rate() {
        let prompt = Prompt::from_pcm(16_000, &[1_000; 16_000]);
        assert_eq!(prompt.duration(), Duration::from_secs(1));
        prompt.prepare(Codec::Pcmu);
        let other = prompt.clone();
        assert!(Arc::ptr_eq(&prompt.pcm(8_000), &other.pcm(8_000)));
        assert_eq!(prompt.pcm(8_000).len(), 8_000);
    }

    #[test]
    fn an_absurd_rate_does_not_divide_by_zero() {
        assert_eq!(Prompt::from_pcm(0, &[]).duration(), Duration::ZERO);
    }
}
