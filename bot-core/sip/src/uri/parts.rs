//! Where the parts of a URI are.

use std::borrow::Cow;

use super::{Scheme, UriError};
use crate::headers::Host;
use crate::wire::{MAX_MESSAGE_BYTES, percent_decode};

/// For each byte, whether it may stand in any URI. Bytes above ASCII are let pass: user parts with them are in use.
const ALLOWED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte > 0x20 && byte != 0x7f && !matches!(byte as u8, b'<' | b'>' | b'"');
        byte += 1;
    }
    table
};

/// A start and an end in the text, in bytes. No URI is longer than 65535 bytes.
pub(super) type Span = (u16, u16);

/// The span from `start` to `end`, which are at most [`MAX_MESSAGE_BYTES`].
fn span(start: usize, end: usize) -> Span {
    (start as u16, end as u16)
}

/// Where the parts are in the text. Small, because every message carries one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) kind: Scheme,
    pub(super) scheme: Span,
    pub(super) user: Option<Span>,
    pub(super) password: Option<Span>,
    /// With the brackets of an IPv6 address.
    pub(super) host: Span,
    pub(super) port: Option<u16>,
    /// From the first semicolon to the question mark or the end.
    pub(super) params: Span,
}

impl Parts {
    pub(super) fn parse(text: &str) -> Result<Parts, UriError> {
        let bytes = text.as_bytes();
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(UriError::TooLong);
        }
        if !bytes.iter().all(|byte| ALLOWED[usize::from(*byte)]) {
            return Err(UriError::Character);
        }
        let scheme = memchr::memchr(b':', bytes).ok_or(UriError::Scheme)?;
        let name = &bytes[..scheme];
        if !name.first().is_some_and(u8::is_ascii_alphabetic)
            || !name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        {
            return Err(UriError::Scheme);
        }
        let kind = match name.len() {
            3 if name.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            4 if name.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            3 if name.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            _ => Scheme::Other,
        };
        let end = bytes.len();
        let mut parts = Parts {
            kind,
            scheme: span(0, scheme),
            user: None,
            password: None,
            host: span(end, end),
            port: None,
            params: span(end, end),
        };
        match kind {
            Scheme::Sip | Scheme::Sips => parts.read_sip(text, scheme + 1)?,
            Scheme::Tel => parts.read_tel(bytes, scheme + 1)?,
            Scheme::Other => {}
        }
        Ok(parts)
    }

    fn read_sip(&mut self, text: &str, start: usize) -> Result<(), UriError> {
        let bytes = text.as_bytes();
        let mut host = start;
        // Neither parameters nor headers may hold a bare @, so the first one ends the user, whatever stands before it.
        if let Some(at) = memchr::memchr(b'@', &bytes[start..]) {
            let at = start + at;
            let colon = memchr::memchr(b':', &bytes[start..at]).map(|colon| start + colon);
            let user_end = colon.unwrap_or(at);
            if user_end == start {
                return Err(UriError::User);
            }
            self.user = Some(span(start, user_end));
            self.password = colon.map(|colon| span(colon + 1, at));
            host = at + 1;
        }
        let host_end = find(bytes, host, |byte| matches!(byte, b';' | b'?'));
        let host_port = text.get(host..host_end).ok_or(UriError::Character)?;
        let (name, port) = Host::split_port(host_port).map_err(UriError::Host)?;
        self.host = span(host, host + name.written_len());
        self.port = port;
        self.params = span(host_end, find(bytes, host_end, |byte| byte == b'?'));
        Ok(())
    }

    fn read_tel(&mut self, bytes: &[u8], start: usize) -> Result<(), UriError> {
        let end = find(bytes, start, |byte| matches!(byte, b';' | b'?'));
        let number = &bytes[start..end];
        let written = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.()*#%".contains(byte);
        if !number
            .iter()
            .any(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#'))
            || !number.iter().all(written)
        {
            return Err(UriError::Number);
        }
        self.user = Some(span(start, end));
        self.params = span(end, find(bytes, end, |byte| byte == b'?'));
        Ok(())
    }
}

/// The first index from `from` on whose byte `wanted` accepts, or the length.
fn find(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes[from..]
        .iter()
        .position(|byte| wanted(*byte))
        .map_or(bytes.len(), |found| from + found)
}

/// The parameters of a URI: name, and value when there is one; escapes kept.
#[derive(Debug, Clone)]
pub struct UriParams<'a> {
    rest: &'a str,
}

impl<'a> UriParams<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        UriParams { rest: text }
    }
}

impl<'a> Iterator for UriParams<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.strip_prefix(';').unwrap_or(self.rest);
            if rest.is_empty() {
                return None;
            }
            let (param, behind) = rest.split_once(';').unwrap_or((rest, ""));
            self.rest = behind;
            if !param.is_empty() {
                return Some(match param.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (param, None),
                });
            }
        }
    }
}

/// The headers behind the `?` of a URI, names and values decoded.
#[derive(Debug, Clone)]
pub struct UriHeaders<'a> {
    rest: &'a str,
}

impl<'a> UriHeaders<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        UriHeaders {
            rest: text.strip_prefix('?').unwrap_or(text),
        }
    }
}

impl<'a> Iterator for UriHeaders<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (header, behind) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = behind;
            if !header.is_empty() {
                let (name, value) = header.split_once('=').unwrap_or((header, ""));
                return Some((percent_decode(name), percent_decode(value)));
            }
        }
        None
    }
}
