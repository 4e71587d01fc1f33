//! Packets on their way out.
//!
//! Responsibility: hold what one tick or one received packet gives to send, until the driver takes it, in memory that was
//! set aside once.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Bytes that may wait: some twenty packets of G.711.
const CAPACITY: usize = 4096;

/// Packets that may wait.
const PACKETS: usize = 32;

pub use crate::leg::transport::Channel;

/// A packet to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// The socket to send it by.
    pub channel: Channel,
    /// Where to.
    pub destination: SocketAddr,
    /// The address of ours to send it from, where ICE chose one; `None`: the socket's own.
    pub local: Option<SocketAddr>,
    /// The datagram.
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    channel: Channel,
    destination: SocketAddr,
    start: u16,
    length: u16,
}

/// The packets that wait.
#[derive(Debug)]
pub(super) struct TransmitQueue {
    bytes: Vec<u8>,
    entries: VecDeque<Entry>,
    dropped: u64,
}

impl TransmitQueue {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(CAPACITY),
            entries: VecDeque::with_capacity(PACKETS),
            dropped: 0,
        }
    }

    /// Adds a packet that `parts` make up. When nobody drained the queue it is dropped and counted: old audio is worth
    /// nothing.
    pub(super) fn push(
        &mut self,
        channel: Channel,
        destination: SocketAddr,
        parts: [&[u8]; 2],
    ) -> bool {
        if self.entries.is_empty() {
            self.bytes.clear();
        }
        let length = parts[0].len() + parts[1].len();
        if self.entries.len() == PACKETS || self.bytes.len() + length > CAPACITY {
            self.dropped += 1;
            return false;
        }
        let start = self.bytes.len() as u16;
        self.bytes.extend_from_slice(parts[0]);
        self.bytes.extend_from_slice(parts[1]);
        self.entries.push_back(Entry {
            channel,
            destination,
            start,
            length: length as u16,
        });
        true
    }

    pub(super) fn pop(&mut self) -> Option<Transmit<'_>> {
        let entry = self.entries.pop_front()?;
        let start = usize::from(entry.start);
        Some(Transmit {
            channel: entry.channel,
            destination: entry.destination,
            local: None,
            payload: self.bytes.get(start..start + usize::from(entry.length))?,
        })
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
