//! What a session keeps while it is bridged: packets and keys for its partner, and how they go.

use std::collections::VecDeque;
use std::time::Instant;

use super::keys::Keys;
use crate::codec::Codec;
use crate::convert::RateConverter;
use crate::dtmf::Digit;
use crate::frame::Frame;
use crate::rtp::{Arrival, RtpPacket};

/// Bytes that may wait for the partner.
const CAPACITY: usize = 16 * 1024;

/// Packets that may wait: as many as are read of a socket at once.
const PACKETS: usize = 64;

/// Keys that may wait.
const TOLD: usize = 32;

/// The bridge as one of its two sessions sees it.
pub(super) struct Relay {
    /// Packets of this codec go to the partner as they come; `None`: what is received is decoded for it.
    pub(super) passes: Option<Codec>,
    /// What is received must be decoded, for the partner or for a recording of either.
    pub(super) decodes: bool,
    /// Our frames are made here, of the partner's audio: its packets do not come through.
    pub(super) says: bool,
    /// The partner's audio at our rate.
    pub(super) frame: Frame,
    /// From the partner's rate to ours; `None` where they are the same.
    pub(super) converter: Option<Box<RateConverter>>,
    /// Keys of the partner's far end for ours.
    pub(super) keys: Keys,
}

impl Relay {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            passes: None,
            decodes: true,
            says: true,
            frame: Frame::silence(rate),
            converter: None,
            keys: Keys::new(),
        }
    }

    /// Takes the partner's frame, and brings it to `rate`.
    pub(super) fn take(&mut self, heard: &Frame, rate: u32) {
        if heard.rate() == rate {
            self.frame.reset(rate);
            self.frame.samples_mut().copy_from_slice(heard.samples());
        } else if let Some(converter) = &mut self.converter
            && converter.rates() == (heard.rate(), rate)
        {
            converter.convert(heard, &mut self.frame);
        } else {
            self.frame.reset(rate);
        }
    }
}

/// A key of the far end, as it is told to the partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It went down.
    Pressed(Digit),
    /// It came up.
    Released {
        digit: Digit,
        /// How long it was held.
        lasted_ms: u32,
    },
}

/// The keys that wait to be told.
#[derive(Debug)]
pub(super) struct ToldQueue(VecDeque<Told>);

impl ToldQueue {
    pub(super) fn new() -> Self {
        Self(VecDeque::with_capacity(TOLD))
    }

    pub(super) fn push(&mut self, told: Told) {
        if self.0.len() < TOLD {
            self.0.push_back(told);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Told> {
        self.0.pop_front()
    }
}

/// A packet on its way through the bridge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed<'a> {
    pub(super) arrival: Instant,
    /// Its place in the stream that it came by.
    pub(super) place: Arrival,
    /// The codec of its audio; `None` for a telephone-event that is no key.
    pub(super) codec: Option<Codec>,
    pub(super) packet: RtpPacket<'a>,
}

#[derive(Debug)]
struct Entry {
    arrival: Instant,
    place: Arrival,
    codec: Option<Codec>,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    start: usize,
    length: usize,
}

/// The packets that wait to be passed, in memory that was set aside once.
#[derive(Debug)]
pub(super) struct PacketQueue {
    bytes: Vec<u8>,
    entries: VecDeque<Entry>,
    dropped: u64,
}

impl PacketQueue {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(CAPACITY),
            entries: VecDeque::with_capacity(PACKETS),
            dropped: 0,
        }
    }

    /// Adds a packet. When nobody carried the others on, it is dropped and counted.
    pub(super) fn push(&mut self, passed: Passed<'_>) {
        if self.entries.is_empty() {
            self.bytes.clear();
        }
        let packet = passed.packet;
        let (start, length) = (self.bytes.len(), packet.payload.len());
        if self.entries.len() == PACKETS || start + length > CAPACITY {
            self.dropped += 1;
            return;
        }
        self.bytes.extend_from_slice(packet.payload);
        self.entries.push_back(Entry {
            arrival: passed.arrival,
            place: passed.place,
            codec: passed.codec,
            marker: packet.marker,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            start,
            length,
        });
    }

    pub(super) fn pop(&mut self) -> Option<Passed<'_>> {
        let entry = self.entries.pop_front()?;
        Some(Passed {
            arrival: entry.arrival,
            place: entry.place,
            codec: entry.codec,
            packet: RtpPacket {
                marker: entry.marker,
                payload_type: 0,
                sequence: entry.sequence,
                timestamp: entry.timestamp,
                ssrc: entry.ssrc,
                payload: self.bytes.get(entry.start..entry.start + entry.length)?,
            },
        })
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
