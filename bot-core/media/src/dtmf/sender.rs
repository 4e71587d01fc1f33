//! Sending digits as telephone-events (RFC 4733 section 2.5.1).
//!
//! Responsibility: turn presses into one event packet a frame: updates while the key is held, the end packet three times,
//! a new segment where a press outlasts the 16-bit duration.
//!
//! Invariants: all packets of a segment bear the timestamp of its start; the marker stands on the first packet of a press
//! alone; between two presses lie at least the end packet's repetitions.

use std::collections::VecDeque;

use super::event::EventPayload;
use super::{Digit, Press};

/// How often the end packet is sent (RFC 4733 section 2.5.1.4).
const END_PACKETS: u8 = 3;

/// The power of the tone that we report: -10 dBm0, as most telephones do.
const VOLUME: u8 = 10;

/// The longest press that is sent.
const LONGEST_PRESS_MS: u32 = 60_000;

/// What a frame carries while digits are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// An event packet, in place of audio.
    Event {
        /// The RTP timestamp.
        timestamp: u32,
        /// The marker bit.
        marker: bool,
        /// The payload.
        payload: [u8; 4],
    },
    /// Nothing of digits in this frame: audio has it.
    Gap,
    /// The last digit and its gap are over.
    Done,
}

/// Sends a row of presses.
#[derive(Debug, Clone)]
pub struct DtmfSender {
    presses: VecDeque<Press>,
    tone_ms: u32,
    gap_ms: u32,
    clock_rate: u32,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    /// A key is held.
    Tone {
        digit: Digit,
        /// The timestamp of the present segment's start.
        segment: u32,
        /// What was sent of the whole press, and of the present segment, in timestamp units.
        sent: u32,
        in_segment: u32,
    },
    /// The end packet is repeated.
    Ending {
        digit: Digit,
        segment: u32,
        in_segment: u32,
        left: u8,
        gap_left_ms: u32,
    },
    /// Nothing is sent for this long.
    Waiting {
        left_ms: u32,
    },
}

impl DtmfSender {
    /// A sender of these presses: each key for `tone_ms`, then a gap of `gap_ms`; `clock_rate` is that of the audio in
    /// hertz. A tone lasts at least one frame and a gap at least 60 ms, which the end packets take.
    #[must_use]
    pub fn new(presses: &[Press], tone_ms: u32, gap_ms: u32, clock_rate: u32) -> Self {
        Self {
            presses: presses.iter().copied().collect(),
            tone_ms: tone_ms.clamp(20, LONGEST_PRESS_MS),
            gap_ms: gap_ms.clamp(60, LONGEST_PRESS_MS),
            clock_rate,
            state: State::Idle,
        }
    }

    /// Whether a key is held or its end is being told: such a press should be completed whatever else happens.
    #[must_use]
    pub const fn is_in_press(&self) -> bool {
        matches!(self.state, State::Tone { .. } | State::Ending { .. })
    }

    /// Takes the key that is held as pressed, and goes on with its gap: nothing can be sent for a while, and its packets
    /// would read as a new press when they went on later.
    pub fn interrupt(&mut self) {
        if self.is_in_press() {
            self.state = State::Waiting {
                left_ms: self.gap_ms,
            };
        }
    }

    /// Leaves out every press that has not begun; `false` when there was none.
    pub fn give_up_rest(&mut self) -> bool {
        let left_out = !self.presses.is_empty();
        self.presses.clear();
        left_out
    }

    /// What the next frame carries. `timestamp` is the frame's own, `frame_ms` its length.
    pub fn next(&mut self, timestamp: u32, frame_ms: u32) -> Sending {
        let frame_units = self.clock_rate / 1000 * frame_ms;
        loop {
            match self.state {
                State::Idle => match self.presses.pop_front() {
                    None => return Sending::Done,
                    Some(Press::Pause(pause)) => {
                        let left_ms = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
                        self.state = State::Waiting { left_ms };
                    }
                    Some(Press::Digit(digit)) => {
                        self.state = State::Tone {
                            digit,
                            segment: timestamp,
                            sent: 0,
                            in_segment: 0,
                        };
                    }
                },
                State::Waiting { left_ms: 0 } => self.state = State::Idle,
                State::Waiting { left_ms } => {
                    let left_ms = left_ms.saturating_sub(frame_ms);
                    self.state = State::Waiting { left_ms };
                    return Sending::Gap;
                }
                State::Tone {
                    digit,
                    segment,
                    sent,
                    in_segment,
                } => return self.tone(digit, segment, sent, in_segment, frame_units),
                State::Ending {
                    digit,
                    segment,
                    in_segment,
                    left,
                    gap_left_ms,
                } => {
                    let gap_left_ms = gap_left_ms.saturating_sub(frame_ms);
                    self.state = if left > 1 {
                        State::Ending {
                            digit,
                            segment,
                            in_segment,
                            left: left - 1,
                            gap_left_ms,
                        }
                    } else {
                        State::Waiting {
                            left_ms: gap_left_ms,
                        }
                    };
                    return event(digit, segment, in_segment, false, true);
                }
            }
        }
    }

    /// One more frame of a held key.
    fn tone(
        &mut self,
        digit: Digit,
        segment: u32,
        sent: u32,
        in_segment: u32,
        frame_units: u32,
    ) -> Sending {
        let whole = self.clock_rate / 1000 * self.tone_ms;
        let marker = sent == 0;
        let sent = sent + frame_units;
        let in_segment = in_segment + frame_units;
        if sent >= whole {
            let in_segment = (in_segment - (sent - whole)).min(0xffff);
            self.state = State::Ending {
                digit,
                segment,
                in_segment,
                left: END_PACKETS - 1,
                gap_left_ms: self.gap_ms,
            };
            return event(digit, segment, in_segment, marker, true);
        }
        if in_segment >= 0xffff {
            // Section 2.5.1.3: the segment ends with the longest duration and without the end bit; the next one starts
            // where it ended.
            self.state = State::Tone {
                digit,
                segment: segment.wrapping_add(0xffff),
                sent,
                in_segment: in_segment - 0xffff,
            };
            return event(digit, segment, 0xffff, marker, false);
        }
        self.state = State::Tone {
            digit,
            segment,
            sent,
            in_segment,
        };
        event(digit, segment, in_segment, marker, false)
    }
}

fn event(digit: Digit, timestamp: u32, duration: u32, marker: bool, end: bool) -> Sending {
    Sending::Event {
        timestamp,
        marker,
        payload: EventPayload {
            event: digit.event(),
            end,
            volume: VOLUME,
            duration: u16::try_from(duration).unwrap_or(u16::MAX),
        }
        .to_bytes(),
    }
}
