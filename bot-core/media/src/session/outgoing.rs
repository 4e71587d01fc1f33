//! Frames into packets: encoding, packing to the length that the peer asked for, and the marker.

use crate::codec::{Codec, Encoder};
use crate::frame::{FRAME_MS, Frame};

/// The longest packet, in milliseconds.
const LONGEST_MS: usize = 120;

/// Encodes frames and cuts what comes out into packets.
///
/// The cut assumes a codec whose payload has the same number of bytes for every millisecond, as G.711 has.
pub(super) struct Packer {
    codec: Codec,
    encoder: Box<dyn Encoder>,
    ptime_ms: u32,
    pending: Vec<u8>,
    /// Bytes of `pending` that were taken already.
    taken: usize,
    /// The timestamp of the first byte that is not taken.
    timestamp: u32,
}

impl Packer {
    pub(super) fn new(codec: Codec, ptime_ms: u32) -> Self {
        Self {
            codec,
            encoder: codec.encoder(),
            ptime_ms,
            // One frame may lie there while the next one comes.
            pending: Vec::with_capacity(8 * (ptime_ms.max(FRAME_MS) + FRAME_MS) as usize),
            taken: 0,
            timestamp: 0,
        }
    }

    /// Takes in a frame, whose first sample has this timestamp.
    pub(super) fn push(&mut self, frame: &Frame, timestamp: u32) {
        if self.taken == self.pending.len() {
            self.pending.clear();
            self.taken = 0;
            self.timestamp = timestamp;
        }
        self.encoder.encode(frame.samples(), &mut self.pending);
    }

    /// The next whole packet, with its timestamp.
    pub(super) fn next(&mut self) -> Option<(u32, &[u8])> {
        let bytes = self.bytes_of(self.ptime_ms);
        if self.pending.len() - self.taken < bytes {
            self.compact();
            return None;
        }
        Some(self.take(bytes))
    }

    /// What does not fill a packet any more, because something else comes in between.
    pub(super) fn rest(&mut self) -> Option<(u32, &[u8])> {
        let bytes = self.pending.len() - self.taken;
        (bytes > 0).then(|| self.take(bytes))
    }

    /// Throws away what waits.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.taken = 0;
    }

    fn take(&mut self, bytes: usize) -> (u32, &[u8]) {
        let timestamp = self.timestamp;
        let units = bytes as u32 * self.codec.clock_rate() / (self.bytes_of(1000).max(1) as u32);
        self.timestamp = timestamp.wrapping_add(units);
        let start = self.taken;
        self.taken += bytes;
        (timestamp, &self.pending[start..self.taken])
    }

    /// Moves what waits to the front, so that the vector does not grow.
    fn compact(&mut self) {
        if self.taken > 0 {
            self.pending.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// The payload bytes of this many milliseconds.
    fn bytes_of(&self, milliseconds: u32) -> usize {
        match self.codec {
            Codec::Pcmu | Codec::Pcma => 8 * milliseconds.min(LONGEST_MS.max(1000) as u32) as usize,
        }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Packer")
            .field("codec", &self.codec)
            .field("ptime_ms", &self.ptime_ms)
            .finish_non_exhaustive()
    }
}
