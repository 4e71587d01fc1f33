//! The far end played back to itself, some frames later.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::{FRAME_MS, Frame};

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(10);

/// A delay line of samples, set aside once.
#[derive(Debug)]
pub(super) struct Loopback {
    frames: usize,
    rate: u32,
    line: VecDeque<i16>,
}

impl Loopback {
    pub(super) fn new(delay: Duration, rate: u32) -> Self {
        let frames = delay.min(LONGEST).as_millis() as usize / FRAME_MS as usize;
        let mut loopback = Self {
            frames,
            rate: 0,
            line: VecDeque::new(),
        };
        loopback.reset(rate);
        loopback
    }

    /// Fills the line with silence at this rate.
    fn reset(&mut self, rate: u32) {
        let samples = Frame::silence(rate).samples().len();
        self.rate = rate;
        self.line.clear();
        self.line.reserve((self.frames + 1) * samples);
        self.line
            .extend(std::iter::repeat_n(0, self.frames * samples));
    }

    /// Takes in what was heard, and gives what was heard the delay ago.
    pub(super) fn pass(&mut self, heard: &Frame, out: &mut Frame) {
        if heard.rate() != self.rate {
            self.reset(heard.rate());
        }
        self.line.extend(heard.samples());
        out.reset(self.rate);
        let length = out.samples().len().min(self.line.len());
        for (slot, sample) in out.samples_mut().iter_mut().zip(self.line.drain(..length)) {
            *slot = sample;
        }
    }
}
