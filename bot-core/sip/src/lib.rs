//! A SIP user agent without sockets, threads or a clock of its own (RFC 3261).
//!
//! [`message`] and [`wire`] read and write messages, [`uri`] addresses, [`headers`] the headers that a user agent acts on.
//! With the feature `rsip`, on by default, the conversions `to_rsip` and `from_rsip` stand beside them.

pub mod auth;
mod dialog;
pub mod headers;
pub mod ids;
mod invite;
pub mod message;
mod outbound;
mod publication;
mod registration;
#[cfg(feature = "rsip")]
pub mod rsip_interop;
mod subscription;
pub mod timers;
pub mod transaction;
pub mod ua;
pub mod uri;
pub mod wire;

pub use headers::{
    CSeq, Header, HeaderError, HeaderName, Headers, Host, NameAddr, Param, Params, RAck, Refresher,
    SessionExpires, Via,
};
pub use message::{Message, Method, Request, Response, StatusCode};
pub use uri::{Scheme, Uri, UriError};
pub use wire::{Decoded, ParseError, StreamDecoder, WireError};
