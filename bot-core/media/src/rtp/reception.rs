//! The books of one received stream: sequence numbers, loss and jitter (RFC 3550 appendices A.1, A.3 and A.8).
//!
//! Invariants: a packet that came before is told as a duplicate as long as it lies within the last 64 sequence numbers; a
//! sender that starts again elsewhere is followed as soon as two packets in a row agree, and what was counted before stays
//! counted.

use std::time::{Duration, Instant};

/// A jump ahead of more packets than this is a restart, not loss.
const MAX_DROPOUT: u16 = 3000;

/// How far behind the newest packet a late one may lie.
const WINDOW: u16 = 64;

/// After this long without packets nothing old is on its way any more: what does not go on from there is a restart, such
/// as a test tool that plays the same capture again.
const FORGET_AFTER: Duration = Duration::from_secs(2);

/// What a packet is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first packet, or the first after a confirmed restart.
    Start,
    /// Ahead of all before it.
    Next,
    /// Behind one that had overtaken it.
    Reordered,
    /// Here before.
    Duplicate,
    /// Far from the stream: the start of another one, if the next packet follows it.
    Stray,
}

/// What one stream's packets add up to.
#[derive(Debug, Clone)]
pub struct Reception {
    clock_rate: u32,
    /// The highest sequence number, with the turns of its 16 bits above.
    highest: u32,
    base: u32,
    /// Bit `n` stands for the packet `n` before the highest.
    seen: u64,
    /// The sequence number that would confirm a restart.
    expected_restart: Option<u16>,
    started: bool,
    received: u64,
    received_before: u64,
    expected_before: u64,
    duplicates: u64,
    reordered: u64,
    reported_expected: u64,
    reported_received: u64,
    jitter: f64,
    last_audio: Option<(Instant, u32)>,
    last_arrival: Option<Instant>,
}

impl Reception {
    /// The books of a stream whose timestamps run at `clock_rate` hertz.
    #[must_use]
    pub const fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            highest: 0,
            base: 0,
            seen: 0,
            expected_restart: None,
            started: false,
            received: 0,
            received_before: 0,
            expected_before: 0,
            duplicates: 0,
            reordered: 0,
            reported_expected: 0,
            reported_received: 0,
            jitter: 0.0,
            last_audio: None,
            last_arrival: None,
        }
    }

    /// Enters a packet's sequence number.
    pub fn arrived(&mut self, arrival: Instant, sequence: u16) -> Arrival {
        let before = self.last_arrival.replace(arrival);
        let paused =
            before.is_some_and(|before| arrival.saturating_duration_since(before) > FORGET_AFTER);
        if !self.started {
            self.start(sequence);
            return Arrival::Start;
        }
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead > 0 && ahead < MAX_DROPOUT {
            self.highest = self.highest.wrapping_add(u32::from(ahead));
            self.seen = if ahead < WINDOW {
                self.seen << ahead | 1
            } else {
                1
            };
            self.received += 1;
            self.expected_restart = None;
            return Arrival::Next;
        }
        if paused {
            self.close();
            self.start(sequence);
            return Arrival::Start;
        }
        let behind = (self.highest as u16).wrapping_sub(sequence);
        if behind < WINDOW {
            let bit = 1_u64 << behind;
            if self.seen & bit != 0 {
                self.duplicates += 1;
                return Arrival::Duplicate;
            }
            // One from before the first packet would make more received than expected; it moves the beginning back.
            self.base = self.base.min(self.highest.wrapping_sub(u32::from(behind)));
            self.seen |= bit;
            self.received += 1;
            self.reordered += 1;
            return Arrival::Reordered;
        }
        if self.expected_restart == Some(sequence) {
            self.restart(sequence);
            return Arrival::Start;
        }
        let before = self.expected_restart.replace(sequence.wrapping_add(1));
        if before == self.expected_restart {
            self.duplicates += 1;
            return Arrival::Duplicate;
        }
        Arrival::Stray
    }

    /// Enters the timing of an audio packet. Events are left out: their timestamp stands still while a key is held.
    pub fn timed(&mut self, arrival: Instant, timestamp: u32) {
        if let Some((last_arrival, last_timestamp)) = self.last_audio {
            let elapsed = match arrival.checked_duration_since(last_arrival) {
                Some(later) => later.as_secs_f64(),
                None => -last_arrival.duration_since(arrival).as_secs_f64(),
            };
            let sent = f64::from(timestamp.wrapping_sub(last_timestamp) as i32);
            let difference = (elapsed * f64::from(self.clock_rate) - sent).abs();
            // More than two seconds is a pause of a sender whose timestamps stood still meanwhile, not the network.
            if difference < 2.0 * f64::from(self.clock_rate) {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
        self.last_audio = Some((arrival, timestamp));
    }

    /// Begins another stream of the same sender, with the old counts kept: its SSRC changed.
    pub fn restart_stream(&mut self) {
        self.close();
        self.started = false;
        self.last_audio = None;
    }

    fn start(&mut self, sequence: u16) {
        // One turn up, so that late packets from before the first do not fall below zero.
        self.highest = 0x1_0000 | u32::from(sequence);
        self.base = self.highest;
        self.seen = 1;
        self.received = 1;
        self.expected_restart = None;
        self.started = true;
    }

    fn restart(&mut self, sequence: u16) {
        self.close();
        self.start(sequence);
        // The packet before this one was the stray that announced the restart.
        self.base -= 1;
        self.seen |= 2;
        self.received += 1;
        self.last_audio = None;
    }

    /// Moves the present stream's counts to those of the past.
    fn close(&mut self) {
        if self.started {
            self.expected_before += self.expected_now();
            self.received_before += self.received;
            self.received = 0;
        }
    }

    fn expected_now(&self) -> u64 {
        if self.started {
            u64::from(self.highest.wrapping_sub(self.base)) + 1
        } else {
            0
        }
    }

    /// Packets that should have come, by their sequence numbers.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.expected_before + self.expected_now()
    }

    /// Packets that came, duplicates left out.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received_before + self.received
    }

    /// Packets that did not come.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received())
    }

    /// Packets that came twice.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that a newer one had overtaken.
    #[must_use]
    pub const fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Interarrival jitter in timestamp units.
    #[must_use]
    pub fn jitter(&self) -> u32 {
        self.jitter as u32
    }

    /// Interarrival jitter in milliseconds.
    #[must_use]
    pub fn jitter_ms(&self) -> f32 {
        (self.jitter * 1000.0 / f64::from(self.clock_rate.max(1))) as f32
    }

    /// The extended highest sequence number, as reports carry it.
    #[must_use]
    pub const fn highest(&self) -> u32 {
        self.highest.wrapping_sub(0x1_0000)
    }

    /// The share of packets lost since the last call, in 256ths, and the packets lost in all: what a report block says.
    pub fn report(&mut self) -> (u8, i32) {
        let expected = self.expected() - self.reported_expected.min(self.expected());
        let received = self.received() - self.reported_received.min(self.received());
        self.reported_expected = self.expected();
        self.reported_received = self.received();
        let lost = expected.saturating_sub(received);
        let fraction = (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8;
        (fraction, self.lost().min(0x7f_ffff) as i32)
    }
}
