//! What cannot be converted.

use crate::headers::HeaderName;
use crate::uri::UriError;

/// Why a message of one crate has no equal in the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RsipError {
    /// rsip's list of methods is closed.
    #[error("rsip has no method {0}: convert requests of its fourteen methods only")]
    Method(String),
    /// rsip writes any scheme but sip and sips with two slashes, which makes another address of it.
    #[error("rsip cannot hold an address with the scheme {0}: convert sip and sips addresses only")]
    Scheme(String),
    /// rsip has no place for `?name=value` behind an address.
    #[error("rsip cannot hold the headers of an address: use Uri::without_headers first")]
    UriHeaders,
    /// The address of the rsip message is not one.
    #[error("the address is malformed: {0}")]
    Uri(#[from] UriError),
    /// rsip's headers are text.
    #[error("rsip cannot hold the value of {0}, which is not utf-8")]
    NotUtf8(HeaderName),
    /// The name of a header of the rsip message is not a token.
    #[error("{0:?} is not the name of a header")]
    HeaderName(String),
    /// The value of a header of the rsip message has a line end in it.
    #[error("the value of {0} has a line end in it: write it on one line")]
    HeaderValue(HeaderName),
    /// The status of the rsip message is none.
    #[error("{0} is not a status between 100 and 699")]
    Status(u16),
    /// The rsip message is of SIP/1.0.
    #[error("the message is not of SIP/2.0")]
    Version,
}
