//! Packets sent back as they came.
//!
//! Responsibility: carry the place of each packet over into our own stream. Sequence numbers and timestamps move by a
//! constant, so what was lost, late or reordered on the way here looks the same on the way back, and the far end can put
//! it in order; when its stream starts anew, ours goes on without a break.

use std::time::Instant;

use crate::leg::rtp::RtpLeg;
use crate::rtp::{Arrival, RtpPacket};

#[derive(Debug, Default)]
pub(super) struct Reflector {
    offsets: Option<(u16, u32)>,
}

impl Reflector {
    /// Forgets the relation: something else was sent in between.
    pub(super) fn interrupt(&mut self) {
        self.offsets = None;
    }

    /// The sequence number and timestamp under which this packet goes back.
    pub(super) fn place(
        &mut self,
        at: Instant,
        leg: &RtpLeg,
        packet: &RtpPacket<'_>,
        arrival: Arrival,
    ) -> (u16, u32) {
        let offsets = match (self.offsets, arrival) {
            (Some((sequence, timestamp)), Arrival::Next | Arrival::Reordered) => {
                (sequence, timestamp)
            }
            (Some((sequence, timestamp)), Arrival::Stray) => {
                // It goes back at once, in the next place; if its stream goes on, the next packet starts over, and if the
                // old one does, that moves up by this one.
                self.offsets = Some((sequence.wrapping_add(1), timestamp));
                return (leg.next_sequence(), leg.next_timestamp(at));
            }
            _ => (
                leg.next_sequence().wrapping_sub(packet.sequence),
                leg.next_timestamp(at).wrapping_sub(packet.timestamp),
            ),
        };
        self.offsets = Some(offsets);
        (
            packet.sequence.wrapping_add(offsets.0),
            packet.timestamp.wrapping_add(offsets.1),
        )
    }
}
