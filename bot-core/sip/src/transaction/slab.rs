//! A table of transactions whose handles are never mistaken for those of earlier tenants.

/// Names one entry of a [`Slab`]; outlives it harmlessly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    index: u32,
    generation: u32,
}

impl Handle {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Handle {
            index: (bits >> 32) as u32,
            generation: bits as u32,
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    // Boxed, so that the table grows by copying pointers.
    tenant: Option<Box<T>>,
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// What new slots begin with: above all that were given back.
    first: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab {
            slots: Vec::new(),
            free: Vec::new(),
            first: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, tenant: T) -> Handle {
        let tenant = Some(Box::new(tenant));
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.tenant = tenant;
            return Handle {
                index,
                generation: slot.generation,
            };
        }
        // Config::max_transactions keeps the table far below 2^32 entries.
        let index = self.slots.len() as u32;
        let generation = self.first;
        self.slots.push(Slot { generation, tenant });
        Handle { index, generation }
    }

    /// Slots, used or free.
    pub(crate) fn room(&self) -> usize {
        self.slots.len()
    }

    /// Gives the room of a slab without tenants back; old handles stay strangers to new tenants.
    pub(crate) fn rest(&mut self) {
        if self.len() == 0 {
            let last = self.slots.iter().map(|slot| slot.generation).max();
            self.first = self.first.max(last.unwrap_or_default().wrapping_add(1));
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        self.slots
            .get(handle.index as usize)
            .filter(|slot| slot.generation == handle.generation)?
            .tenant
            .as_deref()
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        self.slots
            .get_mut(handle.index as usize)
            .filter(|slot| slot.generation == handle.generation)?
            .tenant
            .as_deref_mut()
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Box<T>> {
        let slot = self
            .slots
            .get_mut(handle.index as usize)
            .filter(|slot| slot.generation == handle.generation)?;
        let tenant = slot.tenant.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(handle.index);
        Some(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_handle_does_not_reach_the_new_tenant() {
        let mut slab = Slab::new();
        let old = slab.insert('a');
        assert_eq!(slab.remove(old).as_deref(), Some(&'a'));
        let new = slab.insert('b');
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&'b'));
        assert_eq!(Handle::from_bits(new.to_bits()), new);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn nor_does_it_after_a_rest() {
        let mut slab = Slab::new();
        let old = slab.insert('a');
        slab.rest();
        assert_eq!((slab.len(), slab.get(old)), (1, Some(&'a')), "tenants stay");
        slab.remove(old);
        slab.rest();
        assert_eq!((slab.len(), slab.room()), (0, 0));
        let new = slab.insert('b');
        assert_eq!((slab.get(old), slab.get(new)), (None, Some(&'b')));
    }
}
