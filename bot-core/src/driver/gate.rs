//! How many handshakes may be half open at once.
//!
//! Invariant: never more than [`HALF_OPEN`]. A new one that finds the gate full takes the place of the oldest: an
//! honest handshake lasts milliseconds, so those that have stood longest are those that will never end, and a
//! flood of them keeps nobody else out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Handshakes that may be under way.
pub(super) const HALF_OPEN: usize = 256;

/// Counts handshakes.
#[derive(Debug, Default)]
pub(super) struct Gate {
    standing: Mutex<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    next: u64,
    passes: BTreeMap<u64, CancellationToken>,
}

/// The right to shake hands, until it is dropped or crowded out.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    number: u64,
    crowded: CancellationToken,
}

impl Gate {
    /// A pass, at the cost of the oldest one when there are too many; says whether it was.
    pub(super) fn enter(&self) -> (Pass<'_>, bool) {
        let mut standing = self.lock();
        let crowded = standing.passes.len() >= HALF_OPEN;
        if crowded && let Some((_, oldest)) = standing.passes.pop_first() {
            oldest.cancel();
        }
        let number = standing.next;
        standing.next += 1;
        let token = CancellationToken::new();
        standing.passes.insert(number, token.clone());
        let pass = Pass {
            gate: self,
            number,
            crowded: token,
        };
        (pass, crowded)
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Resolves when newer handshakes need the place. Cancel safe.
    pub(super) async fn crowded_out(&self) {
        self.crowded.cancelled().await;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.lock().passes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_a_finished_one_frees_its_place() {
        let gate = Gate::default();
        let mut passes: Vec<_> = (0..HALF_OPEN).map(|_| gate.enter()).collect();
        assert!(passes.iter().all(|(_, crowded)| !crowded));
        let (_late, crowded) = gate.enter();
        assert!(crowded && passes[0].0.crowded.is_cancelled());
        assert!(!passes[1].0.crowded.is_cancelled());
        passes.pop();
        assert!(!gate.enter().1, "a place was free");
        assert_eq!(gate.lock().passes.len(), HALF_OPEN - 1);
    }
}
