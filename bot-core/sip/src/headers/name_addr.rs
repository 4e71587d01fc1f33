//! Addresses with a name and parameters: From, To, Contact, Route, Record-Route, Refer-To (RFC 3261 section 20.10).

use std::borrow::Cow;
use std::fmt;

use super::{HeaderError, HeaderName, Params};
use crate::uri::{Uri, UriError};
use crate::wire::{cut_before, cut_before_far, is_lws, trim, trim_end, trim_start};

/// One `"Display Name" <uri>;params` value, or the bare `uri;params` form.
///
/// In the bare form the parameters belong to the header, not to the URI (RFC 3261 section 20). A name in quotes is a name:
/// of `"A <sip:evil@x>" <sip:a@b>` the URI is `sip:a@b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The name, without quotes and escapes; `None` when there is none or an empty one.
    pub display_name: Option<Cow<'a, str>>,
    /// The URI as written, or `*` in the Contact of a REGISTER that removes every binding.
    pub uri: &'a str,
    /// tag, expires, q and the like.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value of the header `name` (a list must be split before).
    ///
    /// # Errors
    /// A [`HeaderError`] that says what part of the value is malformed. The URI is not looked into: see
    /// [`uri`](Self::uri).
    pub fn parse(name: &HeaderName, value: &'a str) -> Result<Self, HeaderError> {
        Self::read(trim(value)).map_err(|why| HeaderError::malformed(name.clone(), why))
    }

    fn read(value: &'a str) -> Result<Self, &'static str> {
        let (display_name, rest) = read_display_name(value)?;
        let Some(rest) = rest else {
            return Self::read_bare(value);
        };
        let (uri, params) = cut_before_far(rest, b'>');
        let params = params
            .strip_prefix('>')
            .ok_or("the angle bracket is not closed")?;
        let uri = trim(uri);
        if uri.is_empty() {
            return Err("the address is empty");
        }
        Ok(NameAddr {
            display_name,
            uri,
            params: Params::parse(params)?,
        })
    }

    fn read_bare(value: &'a str) -> Result<Self, &'static str> {
        let (uri, params) = cut_before(value, |byte| byte == b';');
        let uri = trim_end(uri);
        if uri.is_empty() {
            return Err("the address is empty");
        }
        // RFC 3261 section 20: an address with one of these must stand in angle brackets.
        if uri
            .bytes()
            .any(|byte| matches!(byte, b'?' | b',') || is_lws(byte))
        {
            return Err(
                "an address with a comma, a question mark or a space must stand in angle brackets",
            );
        }
        Ok(NameAddr {
            display_name: None,
            uri,
            params: Params::parse(params)?,
        })
    }

    /// The URI.
    ///
    /// # Errors
    /// A [`UriError`] when it is not one.
    pub fn uri(&self) -> Result<Uri, UriError> {
        self.uri.parse()
    }

    /// Whether the URI is one, without making it.
    ///
    /// # Errors
    /// The [`UriError`] that [`uri`](Self::uri) would return.
    pub fn check_uri(&self) -> Result<(), UriError> {
        Uri::validate(self.uri)
    }

    /// The tag of a From or To.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    /// The value of a parameter behind the address.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }

    /// Whether this is the `*` of a REGISTER that removes every binding.
    pub fn is_star(&self) -> bool {
        self.uri == "*" && self.display_name.is_none() && self.params.is_empty()
    }
}

impl fmt::Display for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_star() {
            return f.write_str("*");
        }
        if let Some(name) = &self.display_name {
            f.write_str("\"")?;
            for character in name.chars() {
                if matches!(character, '"' | '\\') {
                    f.write_str("\\")?;
                }
                fmt::Write::write_char(f, character)?;
            }
            f.write_str("\" ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// The display name, and what stands behind the `<`; `None` in place of the latter when there is no `<`.
type NameAndRest<'a> = (Option<Cow<'a, str>>, Option<&'a str>);

fn read_display_name(value: &str) -> Result<NameAndRest<'_>, &'static str> {
    if let Some(quoted) = value.strip_prefix('"') {
        let (name, rest) = read_quoted(quoted)?;
        let rest = trim_start(rest);
        let rest = rest
            .strip_prefix('<')
            .ok_or("no angle bracket behind the quoted name")?;
        return Ok((Some(name).filter(|name| !name.is_empty()), Some(rest)));
    }
    let (name, rest) = cut_before(value, |byte| matches!(byte, b'<' | b';' | b'"' | b'>'));
    match rest.strip_prefix('<') {
        Some(rest) => {
            let name = trim(name);
            Ok((
                (!name.is_empty()).then_some(Cow::Borrowed(name)),
                Some(rest),
            ))
        }
        None if rest.is_empty() || rest.starts_with(';') => Ok((None, None)),
        None => Err("a quote or bracket is out of place in front of the address"),
    }
}

/// The text of a quoted string whose opening quote is gone, and what follows its closing quote.
fn read_quoted(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let bytes = text.as_bytes();
    let mut escaped = false;
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None => return Err("the quoted name is not closed"),
            Some(b'"') => break,
            Some(b'\\') => {
                escaped = true;
                at += 2;
            }
            Some(_) => at += 1,
        }
    }
    // A quote is one byte of its own in UTF-8, so both cuts are between characters.
    let (name, rest) = text
        .split_at_checked(at)
        .ok_or("the quoted name is not closed")?;
    let rest = rest.strip_prefix('"').unwrap_or(rest);
    if !escaped {
        return Ok((Cow::Borrowed(name), rest));
    }
    let mut plain = String::with_capacity(name.len());
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    Ok((Cow::Owned(plain), rest))
}
