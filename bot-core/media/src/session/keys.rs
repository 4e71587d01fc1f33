//! Keys of one bridged call on their way to the far end of the other, as telephone-events (RFC 4733).
//!
//! Responsibility: one press out for each press in, as long as it was, at the clock and with the numbers of the leg that it
//! goes out on. A key that is still held is followed as it is held; one that came whole (by SIP INFO, or while another was
//! being told) is pressed for as long as it says.
//!
//! Invariants: keys keep their order; all packets of a segment bear the timestamp of its start; the end packet goes out three
//! times (RFC 4733 section 2.5.1.4); what waits is bounded.

use std::collections::VecDeque;

use crate::dtmf::Digit;
use crate::dtmf::event::EventPayload;
use crate::frame::FRAME_MS;

/// Keys that may wait: more than anybody presses while one is told.
const MOST: usize = 32;

/// How often the end packet is sent.
const END_PACKETS: u8 = 3;

/// The longest duration of one segment.
const SEGMENT: u32 = 0xffff;

/// The power of the tone that we report, in dBm0 without its sign.
const VOLUME: u8 = 10;

#[derive(Debug, Clone, Copy)]
struct Key {
    digit: Digit,
    /// How long it has been held, as far as is known.
    lasted_ms: u32,
    over: bool,
}

/// The key that is being told.
#[derive(Debug, Clone, Copy)]
struct Telling {
    /// It was over before it began here, and so lasts by our own clock.
    timed: bool,
    begun: bool,
    /// The timestamp of the present segment, and the units before it.
    segment: u32,
    before: u32,
    /// Units told so far.
    told: u32,
    ends_left: u8,
}

/// The keys that are to be told to the far end.
#[derive(Debug)]
pub(super) struct Keys {
    waiting: VecDeque<Key>,
    telling: Option<Telling>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(MOST),
            telling: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A key went down.
    pub(super) fn press(&mut self, digit: Digit) {
        if self.waiting.len() < MOST {
            self.waiting.push_back(Key {
                digit,
                lasted_ms: 0,
                over: false,
            });
        }
    }

    /// The key that is down has been held for so long.
    pub(super) fn hold(&mut self, lasted_ms: u32) {
        if let Some(key) = self.waiting.back_mut().filter(|key| !key.over) {
            key.lasted_ms = key.lasted_ms.max(lasted_ms);
        }
    }

    /// A key came up. One whose beginning was not told is pressed now.
    pub(super) fn release(&mut self, digit: Digit, lasted_ms: u32) {
        let down = self.waiting.back_mut();
        if let Some(key) = down.filter(|key| !key.over && key.digit == digit) {
            key.lasted_ms = lasted_ms;
            key.over = true;
        } else if self.waiting.len() < MOST {
            self.waiting.push_back(Key {
                digit,
                lasted_ms,
                over: true,
            });
        }
    }

    /// Nothing can be told for a while: what goes on later would read as another press.
    pub(super) fn interrupt(&mut self) {
        self.waiting.clear();
        self.telling = None;
    }

    /// The event packet that takes the place of the next frame's audio: timestamp, marker and payload. `timestamp` is the
    /// frame's own, `clock_rate` that of the leg in hertz.
    pub(super) fn next(&mut self, timestamp: u32, clock_rate: u32) -> Option<(u32, bool, [u8; 4])> {
        let key = *self.waiting.front()?;
        let telling = self.telling.get_or_insert(Telling {
            timed: key.over,
            begun: false,
            segment: timestamp,
            before: 0,
            told: 0,
            ends_left: END_PACKETS,
        });
        let units = |ms: u32| (u64::from(ms) * u64::from(clock_rate) / 1000).min(1 << 31) as u32;
        let whole = units(key.lasted_ms).max(1);
        let marker = !std::mem::replace(&mut telling.begun, true);
        if telling.ends_left == END_PACKETS {
            let frame = units(FRAME_MS);
            telling.told = if telling.timed {
                (telling.told + frame).min(whole)
            } else if key.over {
                whole.max(telling.told)
            } else {
                // At least what a frame holds, for a duration of 0 means a state and not a key.
                whole.max(telling.told).max(frame)
            };
        }
        if telling.told - telling.before > SEGMENT {
            // Section 2.5.1.3: a segment ends with the longest duration and without the end bit.
            let segment = telling.segment;
            telling.segment = segment.wrapping_add(SEGMENT);
            telling.before += SEGMENT;
            return Some((segment, marker, payload(key.digit, false, SEGMENT)));
        }
        let (segment, duration) = (telling.segment, telling.told - telling.before);
        let ends = key.over && telling.told >= whole;
        if ends {
            telling.ends_left -= 1;
            if telling.ends_left == 0 {
                self.telling = None;
                self.waiting.pop_front();
            }
        }
        Some((segment, marker, payload(key.digit, ends, duration)))
    }
}

fn payload(digit: Digit, end: bool, duration: u32) -> [u8; 4] {
    EventPayload {
        event: digit.event(),
        end,
        volume: VOLUME,
        duration: u16::try_from(duration).unwrap_or(u16::MAX),
    }
    .to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is told: timestamp, marker, event, end and duration of each packet.
    fn told(keys: &mut Keys, clock: u32, frames: u32) -> Vec<(u32, bool, EventPayload)> {
        (0..frames)
            .filter_map(|n| keys.next(n * clock / 50, clock))
            .map(|(at, marker, bytes)| (at, marker, EventPayload::parse(&bytes).unwrap()))
            .collect()
    }

    fn digit(key: char) -> Digit {
        Digit::new(key).unwrap()
    }

    #[test]
    fn a_key_that_came_whole_lasts_as_long_as_it_says() {
        let mut keys = Keys::new();
        keys.release(digit('5'), 100);
        keys.release(digit('5'), 50);
        let packets = told(&mut keys, 8_000, 30);
        let durations: Vec<_> = packets.iter().map(|(at, _, p)| (*at, p.duration)).collect();
        assert_eq!(
            durations,
            [
                (0, 160),
                (0, 320),
                (0, 480),
                (0, 640),
                (0, 800),
                (0, 800),
                (0, 800),
                (1120, 160),
                (1120, 320),
                (1120, 400),
                (1120, 400),
                (1120, 400)
            ]
        );
        let marked: Vec<_> = packets.iter().map(|(_, marker, _)| *marker).collect();
        assert_eq!(marked.iter().filter(|marker| **marker).count(), 2);
        assert!(marked[0] && marked[7] && keys.is_empty());
        assert_eq!(packets.iter().filter(|(.., p)| p.end).count(), 6);
    }

    #[test]
    fn a_key_that_is_held_is_followed_and_ends_exactly() {
        let mut keys = Keys::new();
        keys.press(digit('#'));
        let mut last = 0;
        for frame in 0..10_u32 {
            keys.hold(frame * 20);
            let (_, _, bytes) = keys.next(frame * 960, 48_000).unwrap();
            let packet = EventPayload::parse(&bytes).unwrap();
            assert!(!packet.end && packet.duration >= last);
            last = packet.duration;
        }
        keys.release(digit('#'), 187);
        let rest = told(&mut keys, 48_000, 10);
        assert_eq!(rest.len(), 3);
        assert!(rest.iter().all(|(_, _, p)| p.end && p.duration == 187 * 48));
    }

    #[test]
    fn a_long_press_at_a_fast_clock_is_cut_into_segments() {
        let mut keys = Keys::new();
        keys.release(digit('1'), 3_000);
        let packets = told(&mut keys, 48_000, 200);
        let segments: Vec<u32> = packets
            .iter()
            .filter(|(.., p)| p.duration == 0xffff && !p.end)
            .map(|(at, ..)| *at)
            .collect();
        assert_eq!(segments, [0, 0xffff]);
        let (at, _, end) = packets[packets.len() - 1];
        assert_eq!(
            (at, u32::from(end.duration)),
            (2 * 0xffff, 144_000 - 2 * 0xffff)
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut keys = Keys::new();
        for _ in 0..1_000 {
            keys.press(digit('1'));
            keys.release(digit('1'), 40);
        }
        assert_eq!(keys.waiting.len(), MOST);
        keys.interrupt();
        assert!(keys.is_empty() && keys.next(0, 8_000).is_none());
    }
}
