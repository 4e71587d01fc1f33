//! Payloads in order of their timestamps, in memory that is taken once.
//!
//! Invariant: packets are sorted by timestamp, and no two have the same.

use crate::codec::Codec;

/// Packets in all: nearly a second of packets of 20 ms, a quarter of one of packets of 5 ms.
const SLOTS: usize = 48;

/// The most blocks that a store may have: one bit each.
const MOST_BLOCKS: usize = 128;

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

/// The store. Its memory is divided into blocks, of which a payload takes as many as it needs, side by side: the packets of
/// a codec without a fixed size are mostly short, and now and then long.
pub(crate) struct PacketStore {
    bytes: Box<[u8]>,
    block: usize,
    lengths: [u16; SLOTS],
    /// The first block of each slot.
    blocks: [u8; SLOTS],
    packets: [Stored; SLOTS],
    /// The slots in use, in order of their packets' timestamps.
    order: [u8; SLOTS],
    count: usize,
    /// One bit a slot.
    used: u64,
    /// One bit a block: those in use, and those that do not exist.
    taken: u128,
    /// The blocks that do not exist.
    absent: u128,
}

impl PacketStore {
    /// A store of so many blocks, at most 128, of so many bytes.
    pub(crate) fn new(block: usize, blocks: usize) -> Self {
        let empty = Stored {
            timestamp: 0,
            sequence: 0,
            samples: 0,
            codec: Codec::Pcmu,
            after_pause: false,
        };
        let blocks = blocks.clamp(1, MOST_BLOCKS);
        let absent = u128::MAX.checked_shl(blocks as u32).unwrap_or(0);
        Self {
            bytes: vec![0; blocks * block.max(1)].into_boxed_slice(),
            block: block.max(1),
            lengths: [0; SLOTS],
            blocks: [0; SLOTS],
            packets: [empty; SLOTS],
            order: [0; SLOTS],
            count: 0,
            used: 0,
            taken: absent,
            absent,
        }
    }

    /// Puts a payload in its place. `false` when there is one with this timestamp already, or it is too long for the store.
    /// A full store gives up its oldest packets, and counts them in `evicted`.
    pub(crate) fn insert(&mut self, packet: Stored, payload: &[u8], evicted: &mut u64) -> bool {
        let needed = self.blocks_of(payload.len());
        if payload.len() > self.bytes.len() || payload.len() > usize::from(u16::MAX) {
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
        let first = loop {
            match self.free_run(needed) {
                Some(first) if self.count < SLOTS => break first,
                _ => {}
            }
            *evicted += 1;
            if place == 0 {
                // The newcomer itself is the oldest.
                return false;
            }
            self.pop();
            place -= 1;
        };
        let slot = self.used.trailing_ones() as usize;
        self.used |= 1 << slot;
        self.taken |= run(first, needed);
        self.packets[slot] = packet;
        self.lengths[slot] = payload.len() as u16;
        self.blocks[slot] = first as u8;
        self.bytes[first * self.block..][..payload.len()].copy_from_slice(payload);
        self.order.copy_within(place..self.count, place + 1);
        self.order[place] = slot as u8;
        self.count += 1;
        true
    }

    /// The blocks that a payload of so many bytes takes.
    fn blocks_of(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.block).max(1)
    }

    /// The first of so many free blocks that lie side by side.
    fn free_run(&self, length: usize) -> Option<usize> {
        if length > MOST_BLOCKS {
            return None;
        }
        // Bit `n` of what remains says that the blocks from `n` on are free.
        let free = !self.taken;
        let mut runs = free;
        for shift in 1..length {
            runs &= free >> shift;
        }
        (runs != 0).then(|| runs.trailing_zeros() as usize)
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
        let start = usize::from(self.blocks[slot]) * self.block;
        &self.bytes[start..][..usize::from(self.lengths[slot])]
    }

    /// Gives up the oldest packet.
    pub(crate) fn pop(&mut self) {
        if self.count > 0 {
            let slot = usize::from(self.order[0]);
            self.used &= !(1 << slot);
            let length = self.blocks_of(usize::from(self.lengths[slot]));
            self.taken &= !run(usize::from(self.blocks[slot]), length);
            self.count -= 1;
            self.order.copy_within(1..=self.count, 0);
        }
    }

    /// Gives up every packet.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.used = 0;
        self.taken = self.absent;
    }

    /// How many packets there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

/// The bits of so many blocks from `first` on.
fn run(first: usize, length: usize) -> u128 {
    let bits = u128::MAX
        .checked_shr((MOST_BLOCKS - length.min(MOST_BLOCKS)) as u32)
        .unwrap_or(0);
    bits << first
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
        let mut store = PacketStore::new(160, 48);
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
        let mut store = PacketStore::new(160, 48);
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
        let mut store = PacketStore::new(160, 48);
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
        assert!(!store.insert(packet(0), &[0; 160 * 48 + 1], &mut evicted));
    }

    #[test]
    fn packets_of_any_length_share_the_blocks() {
        let mut store = PacketStore::new(100, 20);
        let (mut evicted, mut random) = (0, 1_u32);
        for n in 0..5_000_i64 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = (random >> 20) as usize % 1_276;
            let payload = vec![n as u8; length];
            assert!(store.insert(packet(n * 160), &payload, &mut evicted));
            let front = store.front().unwrap();
            assert!(
                store
                    .front_payload()
                    .iter()
                    .all(|byte| *byte == (front.timestamp / 160) as u8),
                "packets overlap"
            );
            assert!(store.len() <= 20);
        }
        assert!(evicted > 4_000, "{evicted}");
        store.clear();
        assert!(
            store.insert(packet(0), &[7; 2_000], &mut evicted),
            "all of it"
        );
    }
}
