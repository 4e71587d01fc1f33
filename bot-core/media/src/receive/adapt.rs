//! Gaining and losing delay, where the sound allows it.
//!
//! A change of the delay within a word is heard more than a lost packet here and there: PESQ fell by up to 0.7 for one
//! change of 20 ms, and by some 0.015 for each lost packet. So small changes wait for a pause between phrases, and only
//! what presses is done in speech.

use super::playout::{EXCESS_US, FRAME_US};
use super::{AudioReceiver, Playout};
use crate::stretch::Tolerance;

/// The delay may be this much below the one aimed at, or this much above it beyond a frame, before anything is done.
const SLACK_BELOW_US: i64 = 2_000;
const SLACK_ABOVE_US: i64 = 4_000;

/// A delay that is wrong for fewer frames is no more than a thread that woke late.
const PERSISTENCE: u32 = 5;

/// A change of the delay that does not press waits for a pause; after so many frames without one, any steady sound will do.
const PATIENCE: u32 = 1_000;

/// From this share of late packets on, in a hundred, a longer delay is worth a seam in speech, and almost any seam.
const NOTABLY_LATE: f32 = 3.0;
const UNBEARABLY_LATE: f32 = 10.0;

impl AudioReceiver {
    /// The delay, beyond the fastest packet's way, at which the next packet will be needed.
    fn slack_us(&self, now_us: i64) -> i64 {
        let frames = (self.playing.ahead / self.frame) as i64;
        now_us + frames * FRAME_US
            - self.delay.shortest_us()
            - self.in_microseconds(self.playing.next)
    }

    /// Gains or loses delay where there is cause to and the sound allows it.
    pub(super) fn adapt(&mut self, now_us: i64) -> Playout {
        let slack = self.slack_us(now_us);
        let target = self.delay.target_us();
        if slack > self.delay.most_us() + EXCESS_US {
            self.leap(slack - target);
            return Playout::Compressed;
        }
        let (short, long) = (target - slack, slack - target - FRAME_US);
        let rest = self.playing.ahead % self.frame;
        let settles = self.playing.settling && rest >= self.stretcher.shortest();
        let waited = self.playing.waiting >= PATIENCE;
        let persists = self.playing.waiting >= PERSISTENCE;
        if short > SLACK_BELOW_US {
            self.playing.settling = false;
            self.playing.wait(true);
            if !persists {
                return Playout::Normal;
            }
            let likeness = match self.delay.late_share(slack) {
                UNBEARABLY_LATE.. => 0.5,
                NOTABLY_LATE.. => 0.85,
                _ if waited => 0.95,
                _ => 1.0,
            };
            if self.stretch(likeness) {
                return Playout::Stretched;
            }
        } else if long > SLACK_ABOVE_US || settles {
            self.playing.wait(false);
            if !persists && !settles {
                return Playout::Normal;
            }
            let most = if long > SLACK_ABOVE_US {
                self.stretcher.longest()
            } else {
                rest
            };
            let likeness = match long {
                80_000.. => 0.3,
                40_000.. => 0.6,
                _ if waited => 0.95,
                _ => 1.0,
            };
            if self.compress(most, likeness) {
                self.playing.settling = true;
                return Playout::Compressed;
            }
        } else {
            self.playing.waiting = 0;
            self.playing.settling = false;
        }
        Playout::Normal
    }

    /// What a seam may be hidden in at this moment.
    fn tolerance(&self, likeness: f32) -> Tolerance {
        Tolerance {
            pause_dbov: self.playing.loudness.pause_dbov(),
            likeness,
        }
    }

    /// Plays slower by one period.
    fn stretch(&mut self, likeness: f32) -> bool {
        let tolerance = self.tolerance(likeness);
        let playing = &mut self.playing;
        let end = playing.history + playing.ahead;
        let Some(lag) = self
            .stretcher
            .expand(&mut playing.signal, playing.history, end, tolerance)
        else {
            return false;
        };
        playing.ahead += lag;
        true
    }

    /// Plays faster by one period of at most so many samples.
    fn compress(&mut self, most: usize, likeness: f32) -> bool {
        let tolerance = self.tolerance(likeness);
        if likeness >= 1.0 && !self.playing.pauses(self.frame, tolerance.pause_dbov) {
            return false;
        }
        while self.playing.ahead < self.frame + most {
            let next = self.playing.next;
            match self.store.front() {
                Some(packet)
                    if packet.timestamp == next
                        && self.playing.room() >= packet.samples as usize =>
                {
                    self.take(0, packet, next);
                }
                _ => break,
            }
        }
        let playing = &mut self.playing;
        let most = most.min(playing.ahead.saturating_sub(self.frame));
        let waiting = &mut playing.signal[playing.history..];
        let Some(lag) = self
            .stretcher
            .compress(waiting, playing.ahead, most, tolerance)
        else {
            return false;
        };
        playing.ahead -= lag;
        true
    }

    /// Throws away so much of what waits in the store, in microseconds: the network delivered a backlog.
    fn leap(&mut self, excess_us: i64) {
        let goal = self.playing.next + excess_us * i64::from(self.rate) / 1_000_000;
        let merge = self.concealer.merge_length();
        let playing = &mut self.playing;
        let start = playing.history + playing.ahead;
        if playing.room() >= merge {
            let (past, rest) = playing.signal.split_at_mut(start);
            self.concealer.extend(past, &mut rest[..merge]);
            playing.tail[..merge].copy_from_slice(&rest[..merge]);
            playing.tail_length = merge;
        }
        while let Some(packet) = self.store.front() {
            if packet.end() > goal {
                self.playing.next = packet.timestamp;
                self.playing.sequence = packet.sequence - 1;
                break;
            }
            self.store.pop();
            self.statistics.overflowed += 1;
            self.playing.next = packet.end();
            self.playing.sequence = packet.sequence;
        }
    }
}
