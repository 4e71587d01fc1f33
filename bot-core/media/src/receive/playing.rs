//! The state of playing: the signal, the place in the stream, and how loud it was lately.

use crate::analysis::level::{SILENCE_DBOV, level_dbov};
use crate::codec::Codec;
use crate::conceal::HISTORY_MS;
use crate::frame::{FRAME_MS, MAX_FRAME_SAMPLES};

/// What may wait to be played besides a packet, in frames: a frame, a bridged gap of two, and what a stretch adds.
const AHEAD_FRAMES: usize = 4;

/// The longest packet that is decoded at once, in frames: longer ones are divided, where the codec allows that.
const PACKET_FRAMES: usize = 2;
const OPUS_PACKET_FRAMES: usize = 6;

/// The state of playing.
pub(super) struct Playing {
    /// What was played, and behind it what waits.
    pub(super) signal: Box<[i16]>,
    /// How much was played: where waiting samples begin.
    pub(super) history: usize,
    /// How many samples wait.
    pub(super) ahead: usize,
    pub(super) paused: bool,
    pub(super) next: i64,
    pub(super) filled: i64,
    /// Whether anything was ever played, so that `next` means something.
    started: bool,
    /// Samples made up since the last that was received.
    pub(super) concealed: usize,
    /// How made-up sound would have gone on: received sound fades in over it.
    pub(super) tail: [i16; MAX_FRAME_SAMPLES / 8],
    pub(super) tail_length: usize,
    /// The number of the last packet played, and how many after it are known to carry no audio.
    pub(super) sequence: i64,
    pub(super) without_audio: i64,
    pub(super) newest_without_audio: i64,
    /// Frames for which a change of the delay has been waiting for a sound that allows it.
    pub(super) waiting: u32,
    /// Whether what waits is to gain delay, not to lose it.
    gaining: bool,
    /// The codec of the packet that was decoded last.
    pub(super) codec: Option<Codec>,
    /// The codec whose sender said that it transmits nothing for a while.
    pub(super) codec_pauses: Option<Codec>,
    /// Delay is being lost and there is a rest of a frame still to lose.
    pub(super) settling: bool,
    pub(super) loudness: Loudness,
}

/// How loud the sound was lately, so that its pauses are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loudness {
    /// The loudest frame, sinking by a decibel in a second.
    peak_dbov: f32,
    /// The quietest frame, rising by 2.5 decibels in a second.
    floor_dbov: f32,
    /// Frames since the last that was no pause.
    quiet_frames: u32,
}

impl Loudness {
    /// Nobody hears what is below this.
    const INAUDIBLE_DBOV: f32 = -58.0;

    /// A pause between phrases has lasted for so many frames.
    const LONG: u32 = 12;

    const UNKNOWN: Self = Self {
        peak_dbov: SILENCE_DBOV,
        floor_dbov: 0.0,
        quiet_frames: 0,
    };

    pub(super) fn learn(&mut self, level: f32) {
        self.quiet_frames = if level < self.below_dbov() {
            self.quiet_frames.saturating_add(1)
        } else {
            0
        };
        self.peak_dbov = level.max(self.peak_dbov - 0.02);
        self.floor_dbov = level.min(self.floor_dbov + 0.05);
    }

    /// The level below which sound may be tampered with just now: none unless there is a pause between phrases. The
    /// silence within a word, before a t or a k, is shorter than [`Self::LONG`].
    pub(super) fn pause_dbov(&self) -> f32 {
        if self.quiet_frames >= Self::LONG {
            self.below_dbov()
        } else {
            f32::NEG_INFINITY
        }
    }

    /// What is below this is quiet: near the quietest of late, and far below the loudest.
    fn below_dbov(&self) -> f32 {
        (self.floor_dbov + 6.0)
            .min(self.peak_dbov - 30.0)
            .max(Self::INAUDIBLE_DBOV)
    }
}

impl Playing {
    pub(super) fn new(codec: Codec) -> Self {
        let frame = (codec.audio_rate() * FRAME_MS / 1_000) as usize;
        let packet = match codec {
            Codec::Opus => OPUS_PACKET_FRAMES,
            _ => PACKET_FRAMES,
        };
        let history = frame * HISTORY_MS / FRAME_MS as usize;
        Self {
            signal: vec![0; history + (AHEAD_FRAMES + packet) * frame].into_boxed_slice(),
            history,
            ahead: 0,
            paused: true,
            next: 0,
            filled: 0,
            started: false,
            concealed: 0,
            tail: [0; MAX_FRAME_SAMPLES / 8],
            tail_length: 0,
            sequence: 0,
            without_audio: 0,
            newest_without_audio: i64::MIN,
            waiting: 0,
            gaining: false,
            codec: None,
            codec_pauses: None,
            settling: false,
            loudness: Loudness::UNKNOWN,
        }
    }

    /// Whether audio that ends here comes too late to be played.
    pub(super) fn is_past(&self, end: i64) -> bool {
        self.started && end <= self.next
    }

    /// Learns of a packet that carries no audio.
    pub(super) fn note_without_audio(&mut self, sequence: i64) {
        if sequence > self.sequence {
            self.without_audio += 1;
        }
        self.newest_without_audio = self.newest_without_audio.max(sequence);
    }

    /// Begins to play at this place, which is that of the packet with this number.
    pub(super) fn begin(&mut self, timestamp: i64, sequence: i64) {
        self.paused = false;
        self.started = true;
        self.next = timestamp;
        self.sequence = sequence - 1;
        self.without_audio = 0;
    }

    /// Stops until there is something to play at the best delay.
    pub(super) fn pause(&mut self) {
        self.paused = true;
        self.filled = 0;
        self.concealed = 0;
        self.tail_length = 0;
        self.waiting = 0;
        self.settling = false;
    }

    /// Forgets where the stream was.
    pub(super) fn forget(&mut self) {
        self.started = false;
        self.without_audio = 0;
        self.newest_without_audio = i64::MIN;
    }

    /// Counts a frame for which delay should be gained, or lost.
    pub(super) fn wait(&mut self, gaining: bool) {
        let before = if self.gaining == gaining {
            self.waiting
        } else {
            0
        };
        self.waiting = before.saturating_add(1);
        self.gaining = gaining;
    }

    /// Whether the frame that is played next is a pause.
    pub(super) fn pauses(&self, frame: usize, pause_dbov: f32) -> bool {
        level_dbov(&self.signal[self.history..self.history + frame]) < pause_dbov
    }

    pub(super) fn room(&self) -> usize {
        self.signal.len() - self.history - self.ahead
    }

    pub(super) fn push_silence(&mut self, count: usize) {
        let start = self.history + self.ahead;
        self.signal[start..start + count].fill(0);
        self.ahead += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_pause_may_be_tampered_with() {
        let mut loudness = Loudness::UNKNOWN;
        for _ in 0..100 {
            loudness.learn(-20.0);
        }
        for _ in 1..Loudness::LONG {
            loudness.learn(-70.0);
            assert!(loudness.pause_dbov() < -1_000.0);
        }
        loudness.learn(-70.0);
        assert!(
            (-65.0..-50.0).contains(&loudness.pause_dbov()),
            "{loudness:?}"
        );
        loudness.learn(-20.0);
        assert!(loudness.pause_dbov() < -1_000.0);
    }

    #[test]
    fn the_noise_of_a_line_is_a_pause_too_and_quiet_speech_is_not() {
        let mut loudness = Loudness::UNKNOWN;
        for n in 0..500 {
            loudness.learn(if n % 50 < 30 { -15.0 } else { -48.0 });
        }
        assert!(
            (-48.0..-40.0).contains(&loudness.pause_dbov()),
            "{loudness:?}"
        );
        let mut loudness = Loudness::UNKNOWN;
        for n in 0..500 {
            loudness.learn(if n % 7 < 4 { -35.0 } else { -50.0 });
        }
        assert!(loudness.pause_dbov() < -1_000.0, "{loudness:?}");
    }
}
