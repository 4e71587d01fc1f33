//! Headers: their names, their order, and typed views of those that a user agent acts on (RFC 3261 section 20).
//!
//! Responsibility: [`Headers`] keeps what came, in its order and with its bytes; [`Via`], [`NameAddr`], [`CSeq`] and the
//! rest are read from it on demand and borrow from it.
//!
//! Invariants: a value that is malformed or not UTF-8 is an error of that header alone; nothing is looked up by position.

mod cseq;
mod error;
mod host;
mod list;
mod name;
mod name_addr;
mod params;
mod rack;
mod session_expires;
mod typed;
mod via;

pub use cseq::CSeq;
pub use error::HeaderError;
pub use host::Host;
pub use list::{Header, Headers};
pub use name::HeaderName;
pub use name_addr::NameAddr;
pub use params::{Param, Params};
pub use rack::RAck;
pub use session_expires::{Refresher, SessionExpires};
pub use via::Via;

pub(crate) use host::{parse_ip, without_brackets};
