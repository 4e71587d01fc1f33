//! STUN and TURN servers: the addresses that a call has beyond the machine's own, and media by way of a relay.
//!
//! Purpose: before a description with ICE is written, ask the configured servers what the leg's socket looks like from
//! outside (RFC 8489) and for an address on a TURN server (RFC 8656), and carry datagrams to and from the latter.
//!
//! Responsibility: `server` reads URIs, `binding` asks by STUN and `allocation` keeps an address on a TURN server (both are
//! told the time and touch no socket); `relay` is the task that owns a connection to a TURN server, `pipe` the bounded
//! queues between it and the media threads, `absent` remembers who did not answer, and `gather` does all of it within a time
//! limit.
//!
//! Invariants:
//! - a server that is wrong, slow or gone costs a call at most the time limit, and never the call: one line in the log
//!   says why. One that did not answer costs the calls of the next half minute nothing;
//! - nothing on a media thread waits for a TURN server, and a full queue loses packets as a network does;
//! - an allocation is freed when its session is gone, whichever way that came about.

mod absent;
mod allocation;
mod binding;
mod frames;
mod gather;
mod pipe;
mod relay;
mod server;

pub(crate) use gather::{IceOptions, Means, gather};
pub(crate) use pipe::Pipe;
pub(crate) use relay::Relay;
pub use server::{IceServer, IceServerError};
