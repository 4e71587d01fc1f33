//! Receiving digits as telephone-events (RFC 4733 section 2.5.2).
//!
//! Responsibility: turn event packets, as a network delivers them, into one start and one end a press.
//!
//! Invariants: a press is known by SSRC, timestamp and event, never by the marker, which some senders set on every packet
//! and others on none; starts and ends alternate; a press whose end packets were all lost ends by the next press, by audio
//! that follows it, or after [`RELEASE_AFTER`] without a packet.

use std::time::{Duration, Instant};

use super::Digit;
use super::event::EventPayload;

/// A press with no packet for this long is over. Senders update at least every 50 ms, so three may be lost in a row.
pub const RELEASE_AFTER: Duration = Duration::from_millis(200);

/// A repetition of a finished press is recognised for this long; later the same numbers are a new press, since test tools
/// play the same capture twice.
const FORGET_AFTER: Duration = Duration::from_secs(2);

/// Audio packets after a press that end it. One may have overtaken the last event packet, or come from a sender that
/// goes on with audio during events.
const AUDIO_TO_RELEASE: u8 = 2;

/// A finished press that may still be repeated.
const REMEMBERED: usize = 8;

/// A change of the keypad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtmfEvent {
    /// A key went down.
    Started(Digit),
    /// It came up again.
    Ended {
        /// The key.
        digit: Digit,
        /// How long it was held, as far as its packets tell.
        duration: Duration,
    },
}

/// What makes packets belong to the same press, or to the same segment of a long one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    ssrc: u32,
    timestamp: u32,
    event: u8,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    key: Key,
    digit: Digit,
    /// Timestamp units in segments, or turns of the 16-bit duration, that are complete.
    before: u32,
    /// The duration in the newest packet.
    duration: u16,
    last_packet: Instant,
    audio_after: u8,
}

/// Collects event packets into presses.
#[derive(Debug, Clone)]
pub struct DtmfReceiver {
    clock_rate: u32,
    held: Option<Held>,
    finished: [Option<(Key, Instant)>; REMEMBERED],
    next_finished: usize,
    /// At most an end and a start for one packet, then an end again.
    out: [Option<DtmfEvent>; 4],
}

impl DtmfReceiver {
    /// A receiver of events on a clock of `clock_rate` hertz.
    #[must_use]
    pub const fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            held: None,
            finished: [None; REMEMBERED],
            next_finished: 0,
            out: [None; 4],
        }
    }

    /// Takes in one event packet; what it means is then had from [`DtmfReceiver::poll`].
    pub fn receive(&mut self, arrival: Instant, ssrc: u32, timestamp: u32, payload: &[u8]) {
        let Some(packet) = EventPayload::parse(payload) else {
            return;
        };
        // Events beyond the keys (a hook flash, fax tones) are no digits; they also say nothing about the key before.
        let Some(digit) = Digit::from_event(packet.event) else {
            return;
        };
        let key = Key {
            ssrc,
            timestamp,
            event: packet.event,
        };
        if let Some(held) = &mut self.held {
            if held.key == key {
                held.last_packet = arrival;
                held.audio_after = 0;
                // Some senders let the 16 bits turn over instead of starting a segment; a reordered packet is merely older.
                if packet.duration < held.duration && held.duration - packet.duration > 0x8000 {
                    held.before = held.before.saturating_add(0x1_0000);
                    held.duration = packet.duration;
                } else {
                    held.duration = held.duration.max(packet.duration);
                }
                if packet.end {
                    self.release(arrival);
                }
                return;
            }
            if let Some(gone) = continuation(&held.key, &key) {
                let old = held.key;
                held.key = key;
                held.before = held.before.saturating_add(gone);
                held.duration = packet.duration;
                held.last_packet = arrival;
                held.audio_after = 0;
                self.remember(old, arrival);
                if packet.end {
                    self.release(arrival);
                }
                return;
            }
        }
        if self.is_finished(&key, arrival) || self.is_older_than_held(&key) {
            return;
        }
        self.release(arrival);
        self.push(DtmfEvent::Started(digit));
        self.held = Some(Held {
            key,
            digit,
            before: 0,
            duration: packet.duration,
            last_packet: arrival,
            audio_after: 0,
        });
        if packet.end {
            self.release(arrival);
        }
    }

    /// Tells of an audio packet: one that lies after the press says that the key is up.
    pub fn audio(&mut self, arrival: Instant, ssrc: u32, timestamp: u32) {
        let Some(held) = &mut self.held else {
            return;
        };
        let end = held.key.timestamp.wrapping_add(u32::from(held.duration));
        if held.key.ssrc != ssrc || timestamp.wrapping_sub(end) >= 0x8000_0000 {
            return;
        }
        held.audio_after += 1;
        if held.audio_after >= AUDIO_TO_RELEASE {
            self.release(arrival);
        }
    }

    /// Tells the time: a press without packets ends.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(held) = &self.held
            && now.saturating_duration_since(held.last_packet) >= RELEASE_AFTER
        {
            self.release(now);
        }
    }

    /// The key that is held now.
    #[must_use]
    pub fn held(&self) -> Option<Digit> {
        self.held.map(|held| held.digit)
    }

    /// How long the key that is held has been held, as far as its packets tell.
    #[must_use]
    pub fn lasted(&self) -> Option<Duration> {
        self.held.as_ref().map(|held| self.length(held))
    }

    /// The next change, oldest first.
    pub fn poll(&mut self) -> Option<DtmfEvent> {
        let first = self.out[0].take();
        self.out.rotate_left(1);
        first
    }

    /// Ends the press that is held, if there is one.
    pub fn release(&mut self, now: Instant) {
        let Some(held) = self.held.take() else {
            return;
        };
        let duration = self.length(&held);
        self.remember(held.key, now);
        self.push(DtmfEvent::Ended {
            digit: held.digit,
            duration,
        });
    }

    fn length(&self, held: &Held) -> Duration {
        let units = u64::from(held.before) + u64::from(held.duration);
        Duration::from_millis(units * 1000 / u64::from(self.clock_rate.max(1)))
    }

    fn push(&mut self, event: DtmfEvent) {
        if let Some(free) = self.out.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(event);
        }
    }

    fn remember(&mut self, key: Key, now: Instant) {
        self.finished[self.next_finished] = Some((key, now));
        self.next_finished = (self.next_finished + 1) % REMEMBERED;
    }

    fn is_finished(&self, key: &Key, now: Instant) -> bool {
        self.finished
            .iter()
            .flatten()
            .any(|(known, at)| known == key && now.saturating_duration_since(*at) < FORGET_AFTER)
    }

    /// Whether a packet belongs before the key that is held: the network has overtaken it.
    fn is_older_than_held(&self, key: &Key) -> bool {
        self.held.is_some_and(|held| {
            let behind = held.key.timestamp.wrapping_sub(key.timestamp);
            held.key.ssrc == key.ssrc && behind > 0 && behind < self.clock_rate
        })
    }
}

/// How much of a long press lies before `new`, if that is the next segment of `old` (RFC 4733 section 2.5.1.3).
///
/// The step is the longest duration, 0xFFFF, give or take a packet for senders that count otherwise.
fn continuation(old: &Key, new: &Key) -> Option<u32> {
    let step = new.timestamp.wrapping_sub(old.timestamp);
    (old.ssrc == new.ssrc && old.event == new.event && (0xf000..=0x1_0200).contains(&step))
        .then_some(step)
}
