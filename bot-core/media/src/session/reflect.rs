//! Packets sent back as they came.
//!
//! Responsibility: carry the place of each packet over into our own stream. Sequence numbers and timestamps move by a
//! constant, so what was lost, late or reordered on the way here looks the same on the way back, and the far end can put
//! it in order; when its stream starts anew, ours goes on without a break.
//!
//! Invariant: packets of one stream move by one constant from its first packet on, also while that was still a stray: the
//! packets of a pressed key keep one timestamp, by which the far end knows them as one.

use std::time::Instant;

use crate::leg::rtp::RtpLeg;
use crate::rtp::{Arrival, RtpPacket};

/// What is added to the numbers of a packet.
#[derive(Debug, Clone, Copy)]
struct Offsets {
    sequence: u16,
    timestamp: u32,
}

impl Offsets {
    /// Those that put a packet next in our stream.
    fn next(at: Instant, leg: &RtpLeg, packet: &RtpPacket<'_>) -> Self {
        Self {
            sequence: leg.next_sequence().wrapping_sub(packet.sequence),
            timestamp: leg.next_timestamp(at).wrapping_sub(packet.timestamp),
        }
    }

    fn apply(self, packet: &RtpPacket<'_>) -> (u16, u32) {
        (
            packet.sequence.wrapping_add(self.sequence),
            packet.timestamp.wrapping_add(self.timestamp),
        )
    }
}

/// The relation of the far end's streams to ours.
#[derive(Debug, Default)]
pub(super) struct Reflector {
    current: Option<Offsets>,
    /// A stream that may follow, or run beside: its SSRC, and the offset of its timestamps.
    other: Option<(u32, u32)>,
}

impl Reflector {
    /// Forgets the relation: something else was sent in between.
    pub(super) fn interrupt(&mut self) {
        self.current = None;
        self.other = None;
    }

    /// The sequence number and timestamp under which this packet goes back.
    pub(super) fn place(
        &mut self,
        at: Instant,
        leg: &RtpLeg,
        packet: &RtpPacket<'_>,
        arrival: Arrival,
    ) -> (u16, u32) {
        if let (Some(current), Arrival::Next | Arrival::Reordered) = (self.current, arrival) {
            return current.apply(packet);
        }
        let mut offsets = Offsets::next(at, leg, packet);
        if let Some((ssrc, timestamp)) = self.other
            && ssrc == packet.ssrc
        {
            offsets.timestamp = timestamp;
        }
        if arrival == Arrival::Stray {
            // It takes the next place; should the stream before go on, that moves up by one.
            self.other = Some((packet.ssrc, offsets.timestamp));
            if let Some(current) = &mut self.current {
                current.sequence = current.sequence.wrapping_add(1);
            }
        } else {
            self.other = None;
            self.current = Some(offsets);
        }
        offsets.apply(packet)
    }
}
