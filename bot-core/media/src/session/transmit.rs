//! Packets on their way out.
//!
//! Responsibility: hold what one tick or one received packet gives to send, until the driver takes it, in memory that is
//! set aside once: the session's own, or a [`TransmitMemory`] that a host of many sessions lends to each in its turn.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Bytes that may wait: some twenty packets of G.711.
const CAPACITY: usize = 4096;

/// Packets that may wait.
const PACKETS: usize = 32;

/// Which of the two sockets a packet leaves by. With rtcp-mux everything is [`Channel::Rtp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The RTP socket.
    Rtp,
    /// The RTCP socket.
    Rtcp,
}

/// A packet to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// The socket to send it by.
    pub channel: Channel,
    /// Where to.
    pub destination: SocketAddr,
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

/// Memory for the packets that wait. It is empty between a session's turns, so that one that is used by many sessions stays
/// in the processor's cache, where the memory of each would have left it.
#[derive(Debug, Default)]
pub struct TransmitMemory {
    bytes: Vec<u8>,
    entries: VecDeque<Entry>,
}

impl TransmitMemory {
    /// Memory for one host.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(CAPACITY),
            entries: VecDeque::with_capacity(PACKETS),
        }
    }
}

/// The packets that wait.
#[derive(Debug, Default)]
pub(super) struct TransmitQueue {
    memory: TransmitMemory,
    dropped: u64,
}

impl TransmitQueue {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Exchanges the memory, with whatever waits in it.
    #[inline]
    pub(super) fn swap(&mut self, memory: &mut TransmitMemory) {
        std::mem::swap(&mut self.memory, memory);
    }

    /// Adds a packet that `parts` make up. When nobody drained the queue it is dropped and counted: old audio is worth
    /// nothing.
    pub(super) fn push(
        &mut self,
        channel: Channel,
        destination: SocketAddr,
        parts: [&[u8]; 2],
    ) -> bool {
        if self.memory.bytes.capacity() == 0 {
            // Nobody lent any: the session's own, once.
            self.memory = TransmitMemory::new();
        }
        let TransmitMemory { bytes, entries } = &mut self.memory;
        if entries.is_empty() {
            bytes.clear();
        }
        let length = parts[0].len() + parts[1].len();
        if entries.len() == PACKETS || bytes.len() + length > CAPACITY {
            self.dropped += 1;
            return false;
        }
        let start = bytes.len() as u16;
        bytes.extend_from_slice(parts[0]);
        bytes.extend_from_slice(parts[1]);
        entries.push_back(Entry {
            channel,
            destination,
            start,
            length: length as u16,
        });
        true
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Transmit<'_>> {
        let TransmitMemory { bytes, entries } = &mut self.memory;
        let entry = entries.pop_front()?;
        let start = usize::from(entry.start);
        Some(Transmit {
            channel: entry.channel,
            destination: entry.destination,
            payload: bytes.get(start..start + usize::from(entry.length))?,
        })
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
