//! Legs: how a session's packets reach the far end.
//!
//! Purpose: what differs from one kind of peer to another (addresses, keys, reports) lives here; sessions, codecs and
//! digits know nothing of it. [`rtp`] is plain RTP over UDP; [`transport`] is what secures it and finds its path.

pub mod latch;
mod reports;
pub mod rtp;
pub mod transport;
