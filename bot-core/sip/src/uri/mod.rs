//! SIP, SIPS and tel URIs, and any other scheme as it stands (RFC 3261 section 19.1, RFC 3966).
//!
//! Responsibility: the parts of an address, comparing addresses, and making them.
//!
//! Invariants: a [`Uri`] is text without spaces, control characters, quotes and angle brackets, so that it can be written
//! into a request line or between angle brackets as it is; what was received is kept byte for byte.

mod compare;
mod error;
mod make;
mod parts;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;

pub use error::UriError;
pub use parts::{UriHeaders, UriParams};

use crate::headers::{parse_ip, without_brackets};
use crate::wire::percent_decode;
use parts::{Parts, Span};

/// An address. Cloning it copies no text.
#[derive(Clone)]
pub struct Uri {
    /// The whole URI; always UTF-8.
    text: Bytes,
    parts: Parts,
}

/// What kind of address a URI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`: TLS on every hop.
    Sips,
    /// `tel:`, a telephone number.
    Tel,
    /// Anything else, of which only [`Uri::scheme`] and [`Uri::as_str`] are known.
    Other,
}

impl Uri {
    /// Reads a URI and keeps `text`, without copying it.
    ///
    /// # Errors
    /// A [`UriError`] that says what is malformed.
    pub fn parse(text: Bytes) -> Result<Uri, UriError> {
        let parts = Parts::parse(std::str::from_utf8(&text).map_err(|_| UriError::Character)?)?;
        Ok(Uri { text, parts })
    }

    /// The kind of address.
    pub fn kind(&self) -> Scheme {
        self.parts.kind
    }

    /// The scheme without the colon: `sip`, `sips` and `tel` in lower case, any other as written.
    pub fn scheme(&self) -> &str {
        match self.parts.kind {
            Scheme::Sip => "sip",
            Scheme::Sips => "sips",
            Scheme::Tel => "tel",
            Scheme::Other => self.part(self.parts.scheme),
        }
    }

    /// Whether the scheme is `sips`.
    pub fn is_sips(&self) -> bool {
        self.parts.kind == Scheme::Sips
    }

    /// Who is meant at the host, escapes kept and without a password; of a `tel:` URI the number. `None` when there is none.
    pub fn user(&self) -> Option<&str> {
        self.parts.user.map(|span| self.part(span))
    }

    /// [`user`](Self::user) with `%XX` decoded.
    pub fn user_decoded(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.user().map(percent_decode)
    }

    /// The password behind the user, escapes kept. RFC 3261 advises against it.
    pub fn password(&self) -> Option<&str> {
        self.parts.password.map(|span| self.part(span))
    }

    /// The host, without the brackets of an IPv6 address; empty for `tel:` and unknown schemes.
    pub fn host(&self) -> &str {
        without_brackets(self.part(self.parts.host))
    }

    /// The address, when the host is not a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        parse_ip(self.part(self.parts.host))
    }

    /// The port, when one is given.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// The value of a parameter, escapes kept and `""` when it has none; `None` when there is no such parameter. The name's
    /// case does not matter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.unwrap_or(""))
    }

    /// All parameters in their order, escapes kept; without the headers.
    pub fn params(&self) -> UriParams<'_> {
        UriParams::new(self.part(self.parts.params))
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<&str> {
        self.param("transport")
            .filter(|transport| !transport.is_empty())
    }

    /// The headers behind the `?`, names and values decoded: `?Replaces=a%40b%3Bto-tag%3D1` is `Replaces`, `a@b;to-tag=1`.
    pub fn headers(&self) -> UriHeaders<'_> {
        UriHeaders::new(self.behind(self.parts.params.1))
    }

    /// The value of the first such header behind the `?`, decoded. The name's case does not matter.
    pub fn header(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.headers()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether the URI names a loose router (parameter `lr`).
    pub fn is_loose_router(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The whole URI as it was received or made.
    pub fn as_str(&self) -> &str {
        // Checked when the URI was made.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Whether `text` is a URI, without making one.
    ///
    /// # Errors
    /// A [`UriError`] that says what is malformed.
    pub fn validate(text: &str) -> Result<(), UriError> {
        Parts::parse(text).map(|_| ())
    }

    fn part(&self, span: Span) -> &str {
        self.slice(usize::from(span.0), usize::from(span.1))
    }

    /// The text from `start` on.
    fn behind(&self, start: u16) -> &str {
        self.slice(usize::from(start), self.text.len())
    }

    fn slice(&self, start: usize, end: usize) -> &str {
        let bytes = self.text.get(start..end).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let parts = Parts::parse(text)?;
        Ok(Uri {
            text: Bytes::copy_from_slice(text.as_bytes()),
            parts,
        })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
