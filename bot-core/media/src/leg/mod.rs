//! Legs: how a session's packets reach the far end.
//!
//! Purpose: what differs from one kind of peer to another (addresses, keys, reports) lives here; sessions, codecs and
//! digits know nothing of it. [`rtp`] is plain RTP over UDP; [`srtp`], [`dtls`] and [`ice`] are the layers below it where a
//! call is encrypted or its path has to be found, and [`transport`] puts them together.

pub mod dtls;
pub mod ice;
pub mod latch;
mod reports;
pub mod rtp;
pub mod srtp;
pub mod transport;
