//! The bytes of SIP messages: framing, unfolding, list splitting and serialising (RFC 3261 sections 7.3, 7.5, 18.3 and 25).
//!
//! Responsibility: turn a datagram or a stream into [`Message`](crate::message::Message)s and back. What a header *means* is the
//! business of [`headers`](crate::headers); this module knows only lines, names, commas, quotes and Content-Length.
//!
//! Invariants:
//! - Nothing that arrives can panic, loop or grow without bound: a message has at most [`MAX_MESSAGE_BYTES`] bytes and
//!   [`MAX_HEADER_LINES`] header lines, and every scan is linear in the input.
//! - What was received is kept: a value is a slice of the datagram, unless it was folded, in which case each fold is one space.
//! - What is written cannot be split: CR and LF in a value that a program supplied are written as spaces.

mod error;
mod limits;
mod list;
mod parse;
mod scan;
mod serialise;
mod stream;

pub use error::{ParseError, ParseErrorKind, Salvage, WireError};
pub use limits::{MAX_HEADER_LINES, MAX_MESSAGE_BYTES};
pub use list::{ListItems, split_list};
pub use stream::{Decoded, StreamDecoder};

pub(crate) use parse::parse_datagram;
pub(crate) use scan::{
    cut_at, cut_before, cut_before_far, decimal_saturating, is_lws, is_token, is_token_byte,
    percent_decode, percent_encode, trim, trim_end, trim_start,
};
pub(crate) use serialise::{write_request, write_response};
