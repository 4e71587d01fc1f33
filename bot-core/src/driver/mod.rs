//! What waits: sockets, connections, names, media threads and the in-memory network.
//!
//! Nothing here decides what happens in a call; it carries bytes and time to
//! the pure crates and back.

mod admission;
mod bytes_link;
pub(crate) mod certificate;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod file_stream;
mod gate;
pub(crate) mod http;
pub(crate) mod ice;
pub(crate) mod limits;
pub(crate) mod media;
pub mod memory;
pub(crate) mod ports;
pub(crate) mod recording;
pub(crate) mod resolve;
pub(crate) mod route;
pub(crate) mod shared_port;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod udp;
mod websocket;
