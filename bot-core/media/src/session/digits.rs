//! Digits of the far end, by telephone-event and by SIP INFO, each press once.
//!
//! Some peers send both for every key. The two are one press when they name the same key within [`SAME_PRESS`]; each INFO
//! pairs with one press and each press with one INFO, so that a key pressed twice in haste stays two digits.

use std::time::{Duration, Instant};

use super::event::MediaEvent;
use super::events::EventQueue;
use crate::dtmf::{Digit, DtmfEvent, DtmfReceiver};

/// An INFO this close to the same key as a telephone-event is its duplicate.
pub(super) const SAME_PRESS: Duration = Duration::from_millis(200);

/// Presses and INFOs that still wait for their twin.
const REMEMBERED: usize = 4;

/// A press by telephone-event that no INFO has named yet.
#[derive(Debug, Clone, Copy)]
struct Pressed {
    digit: Digit,
    started: Instant,
    ended: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct DigitInput {
    receiver: DtmfReceiver,
    presses: [Option<Pressed>; REMEMBERED],
    infos: [Option<(Digit, Instant)>; REMEMBERED],
    /// The key that is held was already told of by INFO.
    held_is_duplicate: bool,
}

impl DigitInput {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self {
            receiver: DtmfReceiver::new(clock_rate),
            presses: [None; REMEMBERED],
            infos: [None; REMEMBERED],
            held_is_duplicate: false,
        }
    }

    /// Takes in an event packet; `true` when a digit began.
    pub(super) fn event(
        &mut self,
        at: Instant,
        ssrc: u32,
        timestamp: u32,
        payload: &[u8],
        events: &mut EventQueue,
    ) -> bool {
        self.receiver.receive(at, ssrc, timestamp, payload);
        self.drain(at, events)
    }

    /// Tells of an audio packet.
    pub(super) fn audio(
        &mut self,
        at: Instant,
        ssrc: u32,
        timestamp: u32,
        events: &mut EventQueue,
    ) {
        if self.receiver.held().is_some() {
            self.receiver.audio(at, ssrc, timestamp);
            self.drain(at, events);
        }
    }

    /// How long the key that is down has been held, as far as its packets tell.
    pub(super) fn lasted(&self) -> Option<Duration> {
        self.receiver.lasted()
    }

    /// Tells the time.
    pub(super) fn handle_timeout(&mut self, now: Instant, events: &mut EventQueue) {
        if self.receiver.held().is_some() {
            self.receiver.handle_timeout(now);
            self.drain(now, events);
        }
    }

    /// Ends the key that is held: its stream is over.
    pub(super) fn release(&mut self, now: Instant, events: &mut EventQueue) {
        self.receiver.release(now);
        self.drain(now, events);
    }

    /// Takes in a digit by INFO; `true` when it is a new one.
    pub(super) fn info(
        &mut self,
        at: Instant,
        digit: Digit,
        duration: Duration,
        events: &mut EventQueue,
    ) -> bool {
        let twin = self
            .presses
            .iter_mut()
            .filter(|slot| {
                slot.is_some_and(|press| {
                    press.digit == digit
                        && press
                            .ended
                            .is_none_or(|ended| at.saturating_duration_since(ended) < SAME_PRESS)
                })
            })
            .min_by_key(|slot| slot.map(|press| press.started));
        if let Some(twin) = twin {
            *twin = None;
            return false;
        }
        self.infos.rotate_right(1);
        self.infos[0] = Some((digit, at));
        events.push(MediaEvent::DigitStarted { digit, at });
        events.push(MediaEvent::DigitEnded {
            digit,
            duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
            at,
        });
        true
    }

    fn drain(&mut self, at: Instant, events: &mut EventQueue) -> bool {
        let mut began = false;
        while let Some(event) = self.receiver.poll() {
            match event {
                DtmfEvent::Started(digit) => {
                    self.held_is_duplicate = self.take_info(digit, at);
                    if !self.held_is_duplicate {
                        self.presses.rotate_right(1);
                        self.presses[0] = Some(Pressed {
                            digit,
                            started: at,
                            ended: None,
                        });
                        events.push(MediaEvent::DigitStarted { digit, at });
                        began = true;
                    }
                }
                DtmfEvent::Ended { digit, duration } => {
                    if std::mem::take(&mut self.held_is_duplicate) {
                        continue;
                    }
                    let open = self
                        .presses
                        .iter_mut()
                        .flatten()
                        .find(|press| press.digit == digit && press.ended.is_none());
                    if let Some(press) = open {
                        press.ended = Some(at);
                    }
                    events.push(MediaEvent::DigitEnded {
                        digit,
                        duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
                        at,
                    });
                }
            }
        }
        began
    }

    /// Uses up an INFO that told of this key just before.
    fn take_info(&mut self, digit: Digit, at: Instant) -> bool {
        let twin = self.infos.iter_mut().rev().find(|slot| {
            slot.is_some_and(|(key, came)| {
                key == digit && at.saturating_duration_since(came) < SAME_PRESS
            })
        });
        twin.map(|slot| *slot = None).is_some()
    }
}
