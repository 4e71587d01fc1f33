//! Who is where: the bindings of each user, for as long as they last (RFC 3261 10.3).
//!
//! Pure: told the time. Bounded: so many bindings a user, and users are those
//! that the program was given.

use std::time::Duration;

use callbot_core::Way;
use tokio::time::Instant;

/// Bindings of one user; the oldest makes room.
pub(super) const BINDINGS: usize = 10;
/// The shortest lifetime that is taken; less is 423.
pub(super) const SHORTEST: Duration = Duration::from_secs(10);
/// The longest lifetime that is given.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// One place where a user is.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// What the phone calls itself.
    pub(super) contact: String,
    /// How it is reached: by the way that its REGISTER came.
    pub(super) way: Way,
    /// `+sip.instance` and `reg-id` (RFC 5626), which outlive a changed contact.
    pub(super) outbound: Option<(String, String)>,
    pub(super) until: Instant,
    /// Which REGISTER made it: a later one of the same Call-ID has a higher number.
    pub(super) call_id: String,
    pub(super) cseq: u32,
}

impl Binding {
    /// Whether both are the same phone.
    fn is_same(&self, other: &Self) -> bool {
        match (&self.outbound, &other.outbound) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.contact == other.contact,
        }
    }
}

/// The bindings of one user.
#[derive(Debug, Default)]
pub(super) struct Bindings(Vec<Binding>);

/// A REGISTER that came out of order: it changes nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder;

impl Bindings {
    /// Those that stand, the newest first.
    pub(super) fn at(&mut self, now: Instant) -> &[Binding] {
        self.0.retain(|binding| binding.until > now);
        &self.0
    }

    /// Adds, renews or (with no time left) removes bindings: all of them, or none.
    pub(super) fn change(&mut self, new: Vec<Binding>, now: Instant) -> Result<(), OutOfOrder> {
        let stale = |new: &Binding| {
            self.0
                .iter()
                .any(|old| old.is_same(new) && old.call_id == new.call_id && old.cseq >= new.cseq)
        };
        if new.iter().any(stale) {
            return Err(OutOfOrder);
        }
        for binding in new {
            self.0.retain(|old| !old.is_same(&binding));
            if binding.until > now {
                self.0.insert(0, binding);
            }
        }
        self.0.truncate(BINDINGS);
        Ok(())
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets one that could not be reached.
    pub(super) fn lost(&mut self, way: &Way) {
        self.0.retain(|binding| binding.way != *way);
    }
}
