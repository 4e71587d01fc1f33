//! RTP and RTCP on the wire (RFC 3550).
//!
//! Purpose: read and write packets, and keep the receiver's books that the RFC asks for. Nothing here allocates, knows a
//! codec or an address.

pub mod packet;
pub mod reception;
pub mod rtcp;

pub use packet::RtpPacket;
pub use reception::{Arrival, Reception};
