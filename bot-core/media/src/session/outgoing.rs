//! Frames into packets: packing to the length that the peer asked for, and encoding.
//!
//! Responsibility: gather samples until a packet is whole, and encode it in one go, since the payload of a codec with frames
//! cannot be cut. What a codec pauses in (DTX) becomes an empty payload, which is not sent; time goes on.

use crate::codec::{Codec, Encoder, SendParameters};
use crate::frame::{FRAME_MS, Frame};

/// The longest packet, in milliseconds.
const LONGEST_MS: u32 = 120;

/// The bytes of the longest payload: 40 ms of L16, or an Opus frame.
const LONGEST_PAYLOAD: usize = 1_280;

/// Gathers frames, and encodes them by the packet.
pub(super) struct Packer {
    codec: Codec,
    parameters: SendParameters,
    /// Made for the first packet: a session that only reflects never needs it.
    encoder: Option<Box<dyn Encoder>>,
    expected_loss: Option<f32>,
    ptime_ms: u32,
    pending: Vec<i16>,
    /// Samples of `pending` that were taken already.
    taken: usize,
    /// The timestamp of the first sample that is not taken.
    timestamp: u32,
    payload: Vec<u8>,
}

impl Packer {
    pub(super) fn new(codec: Codec, parameters: SendParameters, ptime_ms: u32) -> Self {
        Self {
            codec,
            parameters,
            encoder: None,
            expected_loss: None,
            ptime_ms: codec.packet_ms(ptime_ms.clamp(1, LONGEST_MS)),
            pending: Vec::new(),
            taken: 0,
            timestamp: 0,
            payload: Vec::new(),
        }
    }

    /// Takes in a frame, whose first sample has this timestamp.
    pub(super) fn push(&mut self, frame: &Frame, timestamp: u32) {
        if self.pending.capacity() == 0 {
            // One frame may lie there while the next one comes.
            let longest = self.samples_of(self.ptime_ms.max(FRAME_MS) + FRAME_MS);
            self.pending.reserve_exact(longest);
        }
        if self.taken == self.pending.len() {
            self.pending.clear();
            self.taken = 0;
            self.timestamp = timestamp;
        }
        self.pending.extend_from_slice(frame.samples());
    }

    /// The next whole packet, with its timestamp; its payload is empty where the codec pauses.
    pub(super) fn next(&mut self) -> Option<(u32, &[u8])> {
        let samples = self.samples_of(self.ptime_ms);
        if self.pending.len() - self.taken < samples {
            self.compact();
            return None;
        }
        Some(self.take(samples))
    }

    /// What does not fill a packet any more, because something else comes in between: call it until there is no more.
    pub(super) fn rest(&mut self) -> Option<(u32, &[u8])> {
        let samples = self.pending.len() - self.taken;
        let unit = self.samples_of(1).max(1);
        let packet_ms = self.codec.packet_ms((samples / unit) as u32);
        let samples = samples.min(self.samples_of(packet_ms));
        (samples > 0).then(|| self.take(samples))
    }

    /// Throws away what waits.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.taken = 0;
    }

    /// Says how many packets do not arrive, in percent.
    pub(super) fn expect_loss(&mut self, percent: f32) {
        self.expected_loss = Some(percent);
        if let Some(encoder) = &mut self.encoder {
            encoder.expect_loss(percent);
        }
    }

    fn take(&mut self, samples: usize) -> (u32, &[u8]) {
        let timestamp = self.timestamp;
        let units = self.codec.in_clock_units(samples as u32);
        self.timestamp = timestamp.wrapping_add(units);
        let start = self.taken;
        self.taken += samples;
        let encoder = self.encoder.get_or_insert_with(|| {
            let mut encoder = self.codec.encoder_with(&self.parameters);
            if let Some(percent) = self.expected_loss {
                encoder.expect_loss(percent);
            }
            encoder
        });
        self.payload.clear();
        self.payload.reserve(LONGEST_PAYLOAD);
        encoder.encode(&self.pending[start..self.taken], &mut self.payload);
        (timestamp, &self.payload)
    }

    /// Moves what waits to the front, so that the vector does not grow.
    fn compact(&mut self) {
        if self.taken > 0 {
            self.pending.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// The samples of this many milliseconds.
    fn samples_of(&self, milliseconds: u32) -> usize {
        (self.codec.audio_rate() / 1000 * milliseconds) as usize
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

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(codec: Codec, ptime_ms: u32, frames: u32) -> Vec<(u32, usize)> {
        let mut packer = Packer::new(codec, SendParameters::default(), ptime_ms);
        let frame = Frame::from_slice(codec.audio_rate(), &[1_000; 960]);
        let unit = codec.clock_rate() / 1000 * FRAME_MS;
        let mut out = Vec::new();
        for n in 0..frames {
            packer.push(&frame, 5_000 + n * unit);
            while let Some((timestamp, payload)) = packer.next() {
                out.push((timestamp - 5_000, payload.len()));
            }
        }
        while let Some((timestamp, payload)) = packer.rest() {
            out.push((timestamp - 5_000, payload.len()));
        }
        out
    }

    #[test]
    fn packets_hold_what_was_asked_for_and_time_counts_in_clock_units() {
        assert_eq!(packets(Codec::Pcmu, 30, 3), [(0, 240), (240, 240)]);
        assert_eq!(packets(Codec::G722, 20, 2), [(0, 160), (160, 160)]);
        assert_eq!(packets(Codec::G722, 30, 2), [(0, 240), (240, 80)]);
        assert_eq!(packets(Codec::G729, 20, 2), [(0, 20), (160, 20)]);
        assert_eq!(packets(Codec::G729, 60, 2), [(0, 40)]);
        assert_eq!(packets(Codec::L16, 20, 2), [(0, 640), (320, 640)]);
        assert_eq!(packets(Codec::L16, 120, 2), [(0, 1_280)]);
        let times = |ptime, frames| -> Vec<u32> {
            packets(Codec::Opus, ptime, frames)
                .iter()
                .map(|(timestamp, length)| {
                    assert!((3..=400).contains(length), "{length}");
                    *timestamp
                })
                .collect()
        };
        assert_eq!(times(20, 3), [0, 960, 1_920]);
        assert_eq!(times(10, 1), [0, 480]);
        assert_eq!(times(60, 5), [0, 2_880]);
        assert_eq!(times(30, 2), [0, 960], "30 ms is no length of Opus");
    }
}
