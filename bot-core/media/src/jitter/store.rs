//! Payloads in order of their timestamps, in memory that is taken once.
//!
//! Invariant: packets are sorted by timestamp, and no two have the same.

use crate::codec::Codec;

/// The most payload that one slot holds: 20 ms of G.711. Longer packets are divided before they come here.
pub(crate) const SLOT_BYTES: usize = 160;

/// Slots in all: nearly a second of packets of 20 ms, a quarter of one of packets of 5 ms.
const SLOTS: usize = 48;

/// What is known of a payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// The first sample's place in the stream, which only grows.
    pub(crate) timestamp: i64,
    /// The packet's number in the stream, which only grows.
    pub(crate) sequence: i64,
    /// How long the payload plays, in samples.
    pub(crate) samples: u32,
    /// What the payload is encoded in.
    pub(crate) codec: Codec,
    /// The sender says that it had paused before this.
    pub(crate) after_pause: bool,
}

impl Stored {
    /// The place of the first sample after this payload.
    pub(crate) fn end(&self) -> i64 {
        self.timestamp + i64::from(self.samples)
    }
}

/// The store.
pub(crate) struct PacketStore {
    bytes: Box<[u8]>,
    lengths: [u8; SLOTS],
    packets: [Stored; SLOTS],
    /// The slots in use, in order of their packets' timestamps.
    order: [u8; SLOTS],
    count: usize,
    /// One bit a slot.
    used: u64,
}

impl PacketStore {
    pub(crate) fn new() -> Self {
        let empty = Stored {
            timestamp: 0,
            sequence: 0,
            samples: 0,
            codec: Codec::Pcmu,
            after_pause: false,
        };
        Self {
            bytes: vec![0; SLOTS * SLOT_BYTES].into_boxed_slice(),
            lengths: [0; SLOTS],
            packets: [empty; SLOTS],
            order: [0; SLOTS],
            count: 0,
            used: 0,
        }
    }

    /// Puts a payload in its place. `false` when there is one with this timestamp already, or it is too long for a slot.
    /// A full store gives up its oldest packet, and says so in `evicted`.
    pub(crate) fn insert(&mut self, packet: Stored, payload: &[u8], evicted: &mut u64) -> bool {
        if payload.len() > SLOT_BYTES {
            return false;
        }
        let mut place = self.count;
        while place > 0 {
            let before = self.packets[usize::from(self.order[place - 1])].timestamp;
            if before == packet.timestamp {
                return false;
            }
            if before < packet.timestamp {
                break;
            }
            place -= 1;
        }
        if self.count == SLOTS {
            *evicted += 1;
            if place == 0 {
                // The newcomer itself is the oldest.
                return false;
            }
            self.pop();
            place -= 1;
        }
        let slot = self.used.trailing_ones() as usize;
        self.used |= 1 << slot;
        self.packets[slot] = packet;
        self.lengths[slot] = payload.len() as u8;
        self.bytes[slot * SLOT_BYTES..][..payload.len()].copy_from_slice(payload);
        self.order.copy_within(place..self.count, place + 1);
        self.order[place] = slot as u8;
        self.count += 1;
        true
    }

    /// The oldest packet.
    pub(crate) fn front(&self) -> Option<Stored> {
        (self.count > 0).then(|| self.packets[usize::from(self.order[0])])
    }

    /// The payload of the oldest packet.
    pub(crate) fn front_payload(&self) -> &[u8] {
        if self.count == 0 {
            return &[];
        }
        let slot = usize::from(self.order[0]);
        &self.bytes[slot * SLOT_BYTES..][..usize::from(self.lengths[slot])]
    }

    /// Gives up the oldest packet.
    pub(crate) fn pop(&mut self) {
        if self.count > 0 {
            self.used &= !(1 << self.order[0]);
            self.count -= 1;
            self.order.copy_within(1..=self.count, 0);
        }
    }

    /// Gives up every packet.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.used = 0;
    }

    /// How many packets there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(timestamp: i64) -> Stored {
        Stored {
            timestamp,
            sequence: timestamp / 160,
            samples: 160,
            codec: Codec::Pcmu,
            after_pause: false,
        }
    }

    fn drain(store: &mut PacketStore) -> Vec<(i64, u8)> {
        std::iter::from_fn(|| {
            let front = store.front()?;
            let first = store.front_payload().first().copied().unwrap_or(0);
            store.pop();
            Some((front.timestamp, first))
        })
        .collect()
    }

    #[test]
    fn packets_come_out_in_order_whatever_the_order_in() {
        let mut store = PacketStore::new();
        let mut evicted = 0;
        for n in [3_i64, 0, 2, 1, 4, -1] {
            assert!(store.insert(packet(n * 160), &[n as u8; 160], &mut evicted));
        }
        assert!(
            !store.insert(packet(320), &[9], &mut evicted),
            "the same timestamp twice"
        );
        let expected: Vec<(i64, u8)> = (-1..5).map(|n| (n * 160, n as u8)).collect();
        assert_eq!(drain(&mut store), expected);
        assert_eq!(
            (evicted, store.len(), store.front_payload()),
            (0, 0, &[][..])
        );
    }

    #[test]
    fn a_full_store_keeps_the_newest() {
        let mut store = PacketStore::new();
        let mut evicted = 0;
        for n in 0..100 {
            assert!(store.insert(packet(n * 160), &[n as u8], &mut evicted));
        }
        assert_eq!(evicted, 52);
        assert!(
            !store.insert(packet(0), &[0], &mut evicted),
            "older than all that is kept"
        );
        let kept = drain(&mut store);
        assert_eq!(
            (kept.len(), kept[0].0, kept[47].0),
            (48, 52 * 160, 99 * 160)
        );
    }

    #[test]
    fn slots_are_used_again() {
        let mut store = PacketStore::new();
        let mut evicted = 0;
        for n in 0..10_000 {
            store.insert(packet(n * 160), &[n as u8; 160], &mut evicted);
            if n >= 3 {
                assert_eq!(store.front_payload(), [(n - 3) as u8; 160]);
                store.pop();
            }
        }
        assert_eq!((evicted, store.len()), (0, 3));
        store.clear();
        assert!(store.front().is_none());
        assert!(!store.insert(packet(0), &[0; 161], &mut evicted));
    }
}
