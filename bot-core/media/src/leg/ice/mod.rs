//! ICE: finding a path to the peer, and knowing that it is still there (RFC 8445, RFC 7675).
//!
//! Purpose: an agent with one component (RTP and RTCP are multiplexed) around the crate `is`, full or lite, controlling or
//! controlled. It is told local candidates (gathering them, and talking to STUN and TURN servers, is done elsewhere), the
//! peer's credentials and candidates, the time and STUN packets; it gives out STUN packets and the pair of addresses that
//! media is sent on. An ICE restart is a new agent.
//!
//! Invariants:
//! - STUN without the right credentials changes nothing; packets from elsewhere cannot move the path;
//! - a peer that answers no more is noticed within [`LOST_AFTER`], and its consent ends [`CONSENT_LASTS`] after its last answer;
//! - candidates, and addresses that requests come from, are bounded in number, whatever the peer sends.

mod agent;
mod candidate;
mod credentials;

pub use agent::{CONSENT_LASTS, IceAgent, IceConfig, IceRemote, IceState, IceTransmit, LOST_AFTER};
pub use candidate::{
    CANDIDATES_MAX, CandidateHost, CandidateKind, CandidateTransport, IceCandidate,
    IceCandidateError,
};
pub use credentials::{PWD_SEED, UFRAG_SEED, credentials};
