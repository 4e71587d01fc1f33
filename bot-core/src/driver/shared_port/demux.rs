//! Whose a datagram is that came to a port of many legs.
//!
//! ```text
//! STUN request   -> the user name fragment before the colon, which is ours (RFC 8445, section 7.2.2)
//! STUN response  -> the request's transaction, which is ours too
//! anything else  -> the source, once ICE has vouched for it
//! ```
//!
//! A peer that has many legs on one address of its own, as we have, cannot be told apart by its source: of those that say so in
//! their offers, the first one alone stands here, and the others have ports of their own.
//!
//! Invariants:
//! - a source belongs to a leg only after that leg's ICE found a packet from there authentic, and to one leg at a time. Who
//!   knows a leg's password can claim a source that nobody uses, and never one that another leg's media takes;
//! - every table is bounded by the number of legs and what one leg may have; nothing is kept of a leg that left.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::driver::ice::Pipe;

/// Sources of one leg: a peer behind a NAT has a few.
const SOURCES: usize = 16;
/// User name fragments of one leg: each restart of ICE brings another.
const UFRAGS: usize = 4;
/// STUN requests whose answer is waited for.
const ASKED: usize = 8192;

/// STUN's first eight bytes but for the length: type, then magic cookie (RFC 8489, section 5).
const REQUEST: [u8; 2] = [0x00, 0x01];
const SUCCESS: [u8; 2] = [0x01, 0x01];
const FAILURE: [u8; 2] = [0x01, 0x11];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: [u8; 2] = [0x00, 0x06];

type Transaction = [u8; 12];

/// The tables of one port.
#[derive(Default)]
pub(super) struct Demux {
    legs: HashMap<u64, Entry>,
    by_ufrag: HashMap<String, u64>,
    by_source: HashMap<SocketAddr, Claim>,
    /// The addresses that the offers of standing legs named.
    offered: HashMap<SocketAddr, u64>,
    asked: HashMap<Transaction, u64>,
    asked_order: VecDeque<Transaction>,
}

struct Entry {
    inbox: Pipe,
    ufrags: VecDeque<String>,
    sources: VecDeque<SocketAddr>,
    offered: Vec<SocketAddr>,
}

#[derive(Clone, Copy)]
struct Claim {
    leg: u64,
    /// The leg's media goes there.
    selected: bool,
}

impl Demux {
    /// A leg comes, whose offer names these addresses; what is for it goes into `inbox`. `false` when another one has an
    /// address of them already.
    pub(super) fn enter(&mut self, leg: u64, inbox: Pipe, offered: Vec<SocketAddr>) -> bool {
        let is_taken =
            |at: &SocketAddr| self.offered.contains_key(at) || self.by_source.contains_key(at);
        if offered.iter().any(is_taken) {
            return false;
        }
        self.offered.extend(offered.iter().map(|at| (*at, leg)));
        let entry = Entry {
            inbox,
            ufrags: VecDeque::new(),
            sources: VecDeque::new(),
            offered,
        };
        self.legs.insert(leg, entry);
        true
    }

    /// A leg is gone, and all that was known of it.
    pub(super) fn leave(&mut self, leg: u64) {
        let Some(entry) = self.legs.remove(&leg) else {
            return;
        };
        for ufrag in entry.ufrags {
            self.by_ufrag.remove(&ufrag);
        }
        for source in entry.sources {
            self.by_source.remove(&source);
        }
        for address in entry.offered {
            self.offered.remove(&address);
        }
    }

    pub(super) fn legs(&self) -> usize {
        self.legs.len()
    }

    /// A leg answers checks to this user name fragment from now on.
    pub(super) fn expect(&mut self, leg: u64, ufrag: &str) {
        let Some(entry) = self.legs.get_mut(&leg) else {
            return;
        };
        // They are random; should two legs draw the same, the elder keeps it.
        if self.by_ufrag.contains_key(ufrag) {
            return;
        }
        if entry.ufrags.len() >= UFRAGS
            && let Some(oldest) = entry.ufrags.pop_front()
        {
            self.by_ufrag.remove(&oldest);
        }
        entry.ufrags.push_back(ufrag.to_owned());
        self.by_ufrag.insert(ufrag.to_owned(), leg);
    }

    /// A leg's ICE vouches for a source; `selected` when it is where its media goes.
    pub(super) fn confirm(&mut self, leg: u64, source: SocketAddr, selected: bool) {
        let Some(entry) = self.legs.get_mut(&leg) else {
            return;
        };
        match self.by_source.get_mut(&source) {
            Some(claim) if claim.leg == leg => {
                if claim.selected == selected {
                    return;
                }
                claim.selected = selected;
            }
            // What another leg's media takes is not given away, nor is anything for a mere check.
            Some(claim) if claim.selected || !selected => return,
            Some(claim) => {
                let before = std::mem::replace(claim, Claim { leg, selected });
                entry.sources.push_back(source);
                if let Some(loser) = self.legs.get_mut(&before.leg) {
                    loser.sources.retain(|known| *known != source);
                }
            }
            None => {
                self.by_source.insert(source, Claim { leg, selected });
                entry.sources.push_back(source);
            }
        }
        let Some(entry) = self.legs.get_mut(&leg) else {
            return;
        };
        if selected {
            for other in entry.sources.iter().filter(|other| **other != source) {
                if let Some(claim) = self.by_source.get_mut(other) {
                    claim.selected = false;
                }
            }
        }
        if entry.sources.len() > SOURCES {
            let unused = entry.sources.iter().position(|known| {
                *known != source && self.by_source.get(known).is_some_and(|it| !it.selected)
            });
            if let Some(unused) = unused.and_then(|at| entry.sources.remove(at)) {
                self.by_source.remove(&unused);
            }
        }
    }

    /// A leg sends this; the answer to a check must find it.
    pub(super) fn note_sent(&mut self, leg: u64, packet: &[u8]) {
        let Some(transaction) = transaction(packet).filter(|_| packet.starts_with(&REQUEST)) else {
            return;
        };
        if self.asked.insert(transaction, leg).is_none() {
            self.asked_order.push_back(transaction);
        }
        if self.asked_order.len() > ASKED
            && let Some(oldest) = self.asked_order.pop_front()
        {
            self.asked.remove(&oldest);
        }
    }

    /// The inbox of the leg that a datagram is for.
    pub(super) fn route(&self, source: SocketAddr, datagram: &[u8]) -> Option<&Pipe> {
        let leg = match datagram.first()? {
            0..=3 if datagram.starts_with(&REQUEST) => *self.by_ufrag.get(own_ufrag(datagram)?)?,
            0..=3 if datagram.starts_with(&SUCCESS) || datagram.starts_with(&FAILURE) => {
                *self.asked.get(&transaction(datagram)?)?
            }
            _ => self.by_source.get(&source)?.leg,
        };
        Some(&self.legs.get(&leg)?.inbox)
    }
}

fn transaction(packet: &[u8]) -> Option<Transaction> {
    let header: &[u8; 20] = packet.first_chunk()?;
    (header[4..8] == COOKIE).then(|| header[8..20].try_into().ok())?
}

/// The fragment of ours in a check's user name.
fn own_ufrag(packet: &[u8]) -> Option<&str> {
    transaction(packet)?;
    let mut rest = packet.get(20..)?;
    while let [kind, kind_low, length, length_low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*length, *length_low]));
        if [*kind, *kind_low] == USERNAME {
            let name = std::str::from_utf8(after.get(..length)?).ok()?;
            return Some(name.split_once(':')?.0);
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn stun(kind: [u8; 2], id: u8, username: Option<&str>) -> Vec<u8> {
        let mut packet = [&kind[..], &[0, 0], &COOKIE, &[id; 12]].concat();
        if let Some(name) = username {
            // Something of another kind stands before it.
            packet.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
            packet.extend(USERNAME);
            packet.extend((name.len() as u16).to_be_bytes());
            packet.extend(name.as_bytes());
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }

    /// Which of these legs a datagram goes to.
    fn goes_to(demux: &Demux, source: SocketAddr, datagram: &[u8]) -> Option<u64> {
        let inbox = demux.route(source, datagram)?;
        inbox.push(Instant::now(), source, datagram);
        let found = demux
            .legs
            .iter()
            .find(|(_, leg)| leg.inbox.pop(&mut [0; 2048]).is_some());
        found.map(|(id, _)| *id)
    }

    fn two() -> Demux {
        let mut demux = Demux::default();
        for (leg, ufrag) in [(1, "one"), (2, "two")] {
            assert!(demux.enter(leg, Pipe::default(), Vec::new()));
            demux.expect(leg, ufrag);
        }
        demux
    }

    #[test]
    fn checks_go_by_name_answers_by_transaction_and_media_by_source() {
        let mut demux = two();
        assert_eq!(
            goes_to(&demux, at(1), &stun(REQUEST, 1, Some("one:x"))),
            Some(1)
        );
        assert_eq!(
            goes_to(&demux, at(1), &stun(REQUEST, 1, Some("two:x"))),
            Some(2)
        );
        for nobody in [Some("three:x"), Some("one"), Some(""), None] {
            assert_eq!(goes_to(&demux, at(1), &stun(REQUEST, 1, nobody)), None);
        }
        demux.note_sent(2, &stun(REQUEST, 7, Some("x:two")));
        for answer in [SUCCESS, FAILURE] {
            assert_eq!(goes_to(&demux, at(9), &stun(answer, 7, None)), Some(2));
            assert_eq!(goes_to(&demux, at(9), &stun(answer, 8, None)), None);
        }
        for media in [
            &[0x80, 0, 0, 1][..],
            &[22, 254, 253],
            &stun([0, 0x11], 1, None),
        ] {
            assert_eq!(goes_to(&demux, at(5), media), None, "nobody vouched for it");
        }
        demux.confirm(1, at(5), false);
        demux.confirm(2, at(6), true);
        for media in [
            &[0x80, 0, 0, 1][..],
            &[22, 254, 253],
            &stun([0, 0x11], 1, None),
        ] {
            assert_eq!(goes_to(&demux, at(5), media), Some(1));
            assert_eq!(goes_to(&demux, at(6), media), Some(2));
        }
    }

    #[test]
    fn a_source_whose_media_flows_is_nobody_elses_and_one_that_is_not_used_goes_to_who_uses_it() {
        let mut demux = two();
        let media = [0x80, 0, 0, 1];
        demux.confirm(1, at(5), true);
        demux.confirm(2, at(5), false);
        demux.confirm(2, at(5), true);
        assert_eq!(goes_to(&demux, at(5), &media), Some(1));
        // The first one's path moves on.
        demux.confirm(1, at(6), true);
        demux.confirm(2, at(5), false);
        assert_eq!(
            goes_to(&demux, at(5), &media),
            Some(1),
            "a check alone takes nothing"
        );
        demux.confirm(2, at(5), true);
        assert_eq!(goes_to(&demux, at(5), &media), Some(2));
        demux.leave(1);
        assert_eq!(
            goes_to(&demux, at(5), &media),
            Some(2),
            "it is the second's now"
        );
        assert_eq!(goes_to(&demux, at(6), &media), None);
    }

    #[test]
    fn a_peer_with_two_legs_on_one_address_has_one_of_them_here() {
        let mut demux = two();
        assert!(demux.enter(3, Pipe::default(), vec![at(7), at(8)]));
        assert!(!demux.enter(4, Pipe::default(), vec![at(9), at(8)]));
        demux.confirm(1, at(5), true);
        assert!(!demux.enter(4, Pipe::default(), vec![at(5)]));
        demux.leave(3);
        demux.leave(1);
        assert!(demux.enter(4, Pipe::default(), vec![at(9), at(8), at(5)]));
        demux.leave(4);
        assert!(demux.offered.is_empty());
    }

    #[test]
    fn tables_have_an_end_and_nothing_stays_of_who_left() {
        let mut demux = two();
        demux.confirm(1, at(1), true);
        for port in 2..500 {
            demux.confirm(1, at(port), false);
        }
        assert_eq!(demux.by_source.len(), SOURCES);
        assert_eq!(
            goes_to(&demux, at(1), &[0x80, 0]),
            Some(1),
            "the path itself stays"
        );
        for restart in 0..50 {
            demux.expect(1, &format!("again{restart}"));
        }
        assert_eq!(demux.by_ufrag.len(), UFRAGS + 1);
        let mut request = stun(REQUEST, 0, Some("x:one"));
        for number in 0..20_000_u32 {
            request[8..12].copy_from_slice(&number.to_be_bytes());
            demux.note_sent(1, &request);
        }
        assert!(demux.asked.len() <= ASKED && demux.asked_order.len() <= ASKED);
        demux.leave(1);
        demux.leave(2);
        assert_eq!(
            (demux.legs(), demux.by_source.len(), demux.by_ufrag.len()),
            (0, 0, 0)
        );
        assert_eq!(
            goes_to(&demux, at(1), &stun(REQUEST, 1, Some("one:x"))),
            None
        );
    }

    #[test]
    fn damaged_packets_find_nobody_and_break_nothing() {
        let demux = two();
        let whole = stun(REQUEST, 1, Some("one:x"));
        for cut in 0..whole.len() {
            demux.route(at(1), &whole[..cut]);
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[cut] ^= 1 << bit;
                demux.route(at(1), &bent);
            }
        }
        assert!(demux.route(at(1), &[]).is_none());
    }
}
