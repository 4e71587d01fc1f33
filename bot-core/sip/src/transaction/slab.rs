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
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab {
            slots: Vec::new(),
            free: Vec::new(),
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
        self.slots.push(Slot {
            generation: 0,
            tenant,
        });
        Handle {
            index,
            generation: 0,
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
}
