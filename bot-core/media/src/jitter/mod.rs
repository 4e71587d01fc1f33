//! The jitter buffer: packets put in order, and the delay at which they are best played.
//!
//! Purpose: three things that know nothing of audio. `Timeline` turns the wrapping numbers of RTP (RFC 3550 section 5.1)
//! into ones that only grow, and tells the new from the late, the repeated and the absurd. `PacketStore` keeps payloads in
//! order of their timestamps. `DelayEstimator` measures how late packets come and says which delay would have caught
//! nearly all of them. [`receive`](crate::receive) puts them to use.
//!
//! Invariants: all memory is taken when a stream is made; a packet is placed by its timestamp and judged lost by its
//! sequence number, never the other way round; whatever numbers a sender makes up, nothing grows and nothing stalls.

mod delay;
mod store;
mod timeline;

pub(crate) use delay::DelayEstimator;
pub(crate) use store::{PacketStore, Stored};
pub(crate) use timeline::{Placed, Timeline};
