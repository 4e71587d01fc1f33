//! An ear on a call: waits until a known prompt was heard.

use std::time::Duration;

use callbot_core::analysis::{Alignment, find};
use callbot_core::{Call, Result};
use tokio::sync::watch;

use super::check::LIKENESS;

/// The rate at which the demo hears, in hertz: G.711's.
pub(super) const RATE: u32 = 8_000;

/// New audio after which the ear looks again: 100 ms.
const STEP: usize = RATE as usize / 10;

/// Likeness at which no second look is needed.
const CERTAIN: f32 = 0.95;

/// Everything that the far end let us hear since the ear was put on.
#[derive(Debug)]
pub(super) struct Ear {
    heard: watch::Receiver<Vec<i16>>,
    /// Up to here, what was heard is recognised.
    at: usize,
}

impl Ear {
    pub(super) fn on(call: &Call) -> Result<Self> {
        let mut audio = call.audio_in()?;
        let (hear, heard) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Some(frame) = audio.next().await {
                hear.send_modify(|heard| heard.extend_from_slice(frame.samples()));
                if hear.is_closed() {
                    return;
                }
            }
        });
        Ok(Self { heard, at: 0 })
    }

    /// Waits until this was heard whole, after what was recognised before.
    /// `None` when it was not heard within this time from now, or the call ended.
    pub(super) async fn hear(&mut self, sound: &[i16], within: Duration) -> Option<Alignment> {
        let last = self.heard.borrow().len() + samples(within);
        let mut next = self.at + sound.len();
        let mut likely: Option<Alignment> = None;
        loop {
            let over = self
                .heard
                .wait_for(|heard| heard.len() >= next)
                .await
                .is_err();
            let found = {
                let heard = self.heard.borrow();
                find(sound, heard.get(self.at..)?, RATE)
            };
            // Its very end may still be on its way: one more look tells.
            let looked_twice = likely.is_some();
            let better = |a: &Alignment, b: &Alignment| a.confidence.total_cmp(&b.confidence);
            likely = likely
                .into_iter()
                .chain(found.filter(|found| found.confidence >= LIKENESS))
                .max_by(better);
            if let Some(mut found) = likely
                && (found.confidence >= CERTAIN || looked_twice || over)
            {
                found.offset += Duration::from_secs_f64(self.at as f64 / f64::from(RATE));
                self.at = samples(found.offset) + sound.len();
                return Some(found);
            }
            if over || next > last {
                return None;
            }
            next += STEP;
        }
    }

    /// All that was heard so far.
    pub(super) fn all(&self) -> Vec<i16> {
        self.heard.borrow().clone()
    }
}

fn samples(time: Duration) -> usize {
    (time.as_secs_f64() * f64::from(RATE)) as usize
}
