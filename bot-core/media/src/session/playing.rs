//! Playbacks, one after another.
//!
//! Invariants: they play in the order of their commands and never together; each ends with exactly one event; a paused one
//! holds its place and those behind it.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::{MediaEvent, PlayEnd};
use super::events::EventQueue;
use crate::frame::Frame;
use crate::player::Playback;

struct Play {
    id: u64,
    playback: Playback,
    stop_on_digit: bool,
    paused: bool,
    started: bool,
}

impl Play {
    fn ended(&self, reason: PlayEnd) -> MediaEvent {
        MediaEvent::PlayEnded {
            id: self.id,
            reason,
            played: self.playback.played(),
        }
    }
}

/// The playback that plays, and those that wait.
#[derive(Default)]
pub(super) struct PlayQueue {
    plays: VecDeque<Play>,
}

impl PlayQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.plays.is_empty()
    }

    pub(super) fn push(&mut self, id: u64, playback: Playback, stop_on_digit: bool) {
        self.plays.push_back(Play {
            id,
            playback,
            stop_on_digit,
            paused: false,
            started: false,
        });
    }

    /// Writes the next frame; `false` when nothing plays, and `out` is then as it was.
    pub(super) fn next(&mut self, out: &mut Frame, events: &mut EventQueue) -> bool {
        while let Some(play) = self.plays.front_mut() {
            if play.paused {
                return false;
            }
            if play.playback.next(out) {
                if !play.started {
                    play.started = true;
                    events.push(MediaEvent::PlayStarted { id: play.id });
                }
                return true;
            }
            events.push(play.ended(PlayEnd::Finished));
            self.plays.pop_front();
        }
        false
    }

    /// A digit came: ends what it ends.
    pub(super) fn digit(&mut self, events: &mut EventQueue) {
        self.end(events, PlayEnd::Digit, |play| play.stop_on_digit);
    }

    pub(super) fn stop(&mut self, id: u64, events: &mut EventQueue) {
        self.end(events, PlayEnd::Stopped, |play| play.id == id);
    }

    pub(super) fn stop_all(&mut self, events: &mut EventQueue) {
        self.end(events, PlayEnd::Stopped, |_| true);
    }

    pub(super) fn pause(&mut self, id: u64, paused: bool) {
        for play in self.plays.iter_mut().filter(|play| play.id == id) {
            play.paused = paused;
        }
    }

    pub(super) fn seek(&mut self, id: u64, position: Duration) {
        for play in self.plays.iter_mut().filter(|play| play.id == id) {
            play.playback.seek(position);
        }
    }

    fn end(&mut self, events: &mut EventQueue, reason: PlayEnd, which: impl Fn(&Play) -> bool) {
        self.plays.retain(|play| {
            let ends = which(play);
            if ends {
                events.push(play.ended(reason));
            }
            !ends
        });
    }
}
