//! How many connections a listener holds: in all, and from one address.
//!
//! Invariants: never more than the limits, and a place is given back when its [`Place`] is dropped, whatever ends the
//! connection. An IPv6 peer counts by its /64, of which it has every address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections that one listener holds at once.
pub(super) const CONNECTIONS: usize = 10_000;

/// The connections of one listener. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    standing: Arc<Mutex<Standing>>,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Standing {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The listener holds too many.
    Full,
    /// Too many come from this address.
    Address,
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    /// A listener that takes so many from one address.
    pub(super) fn new(per_address: usize) -> Self {
        Self {
            standing: Arc::default(),
            per_address: per_address.max(1),
        }
    }

    /// A place for one more connection from there.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, Refused> {
        let address = counted(address);
        let mut standing = self.lock();
        if standing.all >= CONNECTIONS {
            return Err(Refused::Full);
        }
        let of_address = standing.by_address.entry(address).or_default();
        if *of_address >= self.per_address {
            return Err(Refused::Address);
        }
        *of_address += 1;
        standing.all += 1;
        Ok(Place {
            admission: self.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut standing = self.admission.lock();
        standing.all = standing.all.saturating_sub(1);
        if let Some(count) = standing.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                standing.by_address.remove(&self.address);
            }
        }
    }
}

/// What is counted as one address.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_share_and_gives_it_back() {
        let admission = Admission::new(2);
        let from = |text: &str| admission.enter(text.parse().unwrap());
        let first = from("192.0.2.1").unwrap();
        let _second = from("::ffff:192.0.2.1").unwrap();
        assert_eq!(from("192.0.2.1").unwrap_err(), Refused::Address);
        let _other = from("192.0.2.2").unwrap();
        drop(first);
        let _again = from("192.0.2.1").unwrap();
        // One network of IPv6 counts as one peer.
        let _six = [from("2001:db8::1").unwrap(), from("2001:db8::2").unwrap()];
        assert_eq!(from("2001:db8::3").unwrap_err(), Refused::Address);
        assert!(from("2001:db8:0:1::3").is_ok());
    }

    #[test]
    fn all_together_have_a_limit_and_nothing_is_remembered_of_those_that_left() {
        let admission = Admission::new(CONNECTIONS);
        let address = IpAddr::from([192, 0, 2, 1]);
        let places: Vec<_> = (0..CONNECTIONS)
            .map(|_| admission.enter(address).unwrap())
            .collect();
        let other = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(admission.enter(other).unwrap_err(), Refused::Full);
        drop(places);
        assert!(admission.lock().by_address.is_empty());
        assert_eq!(admission.lock().all, 0);
    }
}
