//! Symmetric RTP: send where the peer's packets come from, once that is certain (RFC 4961 and section 2 of RFC 7362).
//!
//! Purpose: behind a NAT the address in the SDP is not where a peer can be reached; where its packets come from is. But
//! anyone can throw packets at a port, so a source has to earn the call.
//!
//! Invariants:
//! - the address of the SDP is believed at its first packet while nobody else has the call, and with two in a row otherwise;
//! - another source needs two packets in a row of one SSRC, and that nobody has the call;
//! - who has the call keeps it while his packets come. A mapping that moved shows by the SSRC and the next sequence numbers,
//!   which a stranger cannot know; anyone else must wait until the call has been silent for [`ABANDONED_AFTER`];
//! - a new address in the SDP starts over, and the old source does not come back by its last packets in flight.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A source that is silent for this long may have been given another port by its NAT.
const MOVED_AFTER: Duration = Duration::from_millis(200);

/// A source that is silent for this long has given the call up.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(10);

/// How long the former source is kept out after the SDP named another.
const FORMER_STAYS_OUT: Duration = Duration::from_secs(2);

/// How far a stream may have gone on while its mapping moved.
const MOVED_WITHIN: u16 = 1000;

/// Sources that may be on trial at once: two in each of eight rows, the address deciding on the row.
const ROWS: usize = 8;
const PLACES: usize = 2;

/// How long a source on trial keeps its place. A peer's next packet comes sooner, and noise has to leave room in between.
/// Each source has a row of its own, so that a flood delays a real peer but cannot keep it out.
const TRIAL: Duration = Duration::from_millis(80);

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It comes from the far end.
    Accept,
    /// It comes from the far end, as is known with this packet; the source before is given, if there was one.
    Confirm {
        /// Who had the call before.
        from: Option<SocketAddr>,
    },
    /// Perhaps: the next packet will tell. Keep this one until then.
    Hold,
    /// It does not belong to this call.
    Reject,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    next: u16,
    at: Instant,
}

/// Who has the call.
#[derive(Debug, Clone)]
pub struct Latch {
    signalled: SocketAddr,
    confirmed: Option<SocketAddr>,
    ssrc: u32,
    next: u16,
    last: Option<Instant>,
    former: Option<(SocketAddr, Instant)>,
    candidates: [[Option<Candidate>; PLACES]; ROWS],
}

impl Latch {
    /// A latch for a call whose SDP names this address.
    #[must_use]
    pub const fn new(signalled: SocketAddr) -> Self {
        Self {
            signalled,
            confirmed: None,
            ssrc: 0,
            next: 0,
            last: None,
            former: None,
            candidates: [[None; PLACES]; ROWS],
        }
    }

    /// Takes in the address of a newer SDP. An unspecified one only holds the call and changes nothing.
    pub fn signal(&mut self, now: Instant, signalled: SocketAddr) {
        if signalled == self.signalled || signalled.ip().is_unspecified() {
            return;
        }
        let former = self.confirmed.filter(|source| *source != signalled);
        *self = Self::new(signalled);
        self.former = former.map(|source| (source, now));
    }

    /// The address in the SDP.
    #[must_use]
    pub const fn signalled(&self) -> SocketAddr {
        self.signalled
    }

    /// Who has the call.
    #[must_use]
    pub const fn confirmed(&self) -> Option<SocketAddr> {
        self.confirmed
    }

    /// Where to send: to who has the call, else to the address in the SDP if that is one.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        self.confirmed.or_else(|| {
            let usable = !self.signalled.ip().is_unspecified() && self.signalled.port() != 0;
            usable.then_some(self.signalled)
        })
    }

    /// Judges a packet that is valid RTP of a negotiated payload type.
    pub fn judge(
        &mut self,
        arrival: Instant,
        source: SocketAddr,
        ssrc: u32,
        sequence: u16,
    ) -> Verdict {
        if self.confirmed == Some(source) {
            self.note(arrival, ssrc, sequence);
            return Verdict::Accept;
        }
        if self.confirmed.is_none() && source == self.signalled {
            return self.confirm(arrival, source, ssrc, sequence);
        }
        if !self.may_become(arrival, source, ssrc, sequence) {
            return Verdict::Reject;
        }
        let row = row(source);
        if let Some(known) = self.candidates[row]
            .iter()
            .flatten()
            .find(|known| known.source == source)
            && known.ssrc == ssrc
            && known.next == sequence
        {
            return self.confirm(arrival, source, ssrc, sequence);
        }
        let may_have = |place: &Option<Candidate>| match place {
            None => true,
            Some(old) => arrival.saturating_duration_since(old.at) >= TRIAL,
        };
        let own = |place: &Option<Candidate>| place.is_some_and(|old| old.source == source);
        let places = &mut self.candidates[row];
        let index = places
            .iter()
            .position(own)
            .or_else(|| places.iter().position(may_have));
        let Some(index) = index else {
            return Verdict::Reject;
        };
        places[index] = Some(Candidate {
            source,
            ssrc,
            next: sequence.wrapping_add(1),
            at: arrival,
        });
        Verdict::Hold
    }

    /// Whether a source other than the present one may be put on trial.
    fn may_become(&self, arrival: Instant, source: SocketAddr, ssrc: u32, sequence: u16) -> bool {
        if source == self.signalled {
            return true;
        }
        if let Some((former, until)) = self.former
            && former == source
            && arrival.saturating_duration_since(until) < FORMER_STAYS_OUT
        {
            return false;
        }
        if self.confirmed.is_none() {
            return true;
        }
        let silent = self.last.map_or(Duration::MAX, |last| {
            arrival.saturating_duration_since(last)
        });
        let moved = ssrc == self.ssrc && sequence.wrapping_sub(self.next) < MOVED_WITHIN;
        silent >= ABANDONED_AFTER || (moved && silent >= MOVED_AFTER)
    }

    fn confirm(
        &mut self,
        arrival: Instant,
        source: SocketAddr,
        ssrc: u32,
        sequence: u16,
    ) -> Verdict {
        let from = self.confirmed.replace(source);
        self.candidates = [[None; PLACES]; ROWS];
        self.note(arrival, ssrc, sequence);
        Verdict::Confirm { from }
    }

    fn note(&mut self, arrival: Instant, ssrc: u32, sequence: u16) {
        self.ssrc = ssrc;
        self.next = sequence.wrapping_add(1);
        self.last = Some(arrival);
    }
}

/// The row of a source on trial.
fn row(source: SocketAddr) -> usize {
    let address = match source.ip() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let folded = (address ^ (address >> 64)) as u64 ^ (u64::from(source.port()) << 32);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as usize % ROWS
}
