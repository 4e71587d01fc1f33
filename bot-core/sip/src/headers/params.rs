//! Parameters behind a header value: `;branch=z9hG4bK1;rport` (RFC 3261 section 7.3.1).

use std::fmt;

use crate::wire::{cut_at, is_lws, is_token_byte, trim, trim_end};

/// The parameters of a header value, borrowed from it and known to be well-formed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Params<'a> {
    /// Empty, or from the first semicolon on.
    raw: &'a str,
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, as written; compare it ignoring case.
    pub name: &'a str,
    /// Its value; of a quoted string what stands between the quotes, escapes kept. `None` when it has none.
    pub value: Option<&'a str>,
    /// Whether the value was a quoted string.
    pub quoted: bool,
}

impl fmt::Display for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            None => f.write_str(self.name),
            Some(value) if self.quoted => write!(f, "{}=\"{value}\"", self.name),
            Some(value) => write!(f, "{}={value}", self.name),
        }
    }
}

impl<'a> Params<'a> {
    /// Reads parameters. `text` must be empty or begin with a semicolon; one semicolon too many at the end is let pass.
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let raw = trim(text);
        if !raw.is_empty() && !raw.starts_with(';') {
            return Err("something other than a parameter stands behind the value");
        }
        check(raw.as_bytes())?;
        Ok(Params { raw })
    }

    /// The value of a parameter, `""` when it has none; `None` when there is no such parameter. The name's case does not matter.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|param| param.value.unwrap_or(""))
    }

    /// Whether there is such a parameter, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// All parameters in their order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let behind = rest.get(1..)?;
            let (segment, after) = behind.split_at_checked(segment_end(behind.as_bytes()))?;
            rest = after;
            let segment = trim(segment);
            (!segment.is_empty()).then(|| Param::read(segment))
        })
    }

    /// The parameters as they were received, from the first semicolon on; empty when there are none.
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    fn find(&self, name: &str) -> Option<Param<'a>> {
        self.iter()
            .find(|param| param.name.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw)
    }
}

impl<'a> Param<'a> {
    fn read(segment: &'a str) -> Self {
        let Some((name, value)) = cut_at(segment, b'=') else {
            return Param {
                name: segment,
                value: None,
                quoted: false,
            };
        };
        let value = trim(value);
        let inner = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        Param {
            name: trim_end(name),
            value: Some(inner.unwrap_or(value)),
            quoted: inner.is_some(),
        }
    }
}

/// Whether `raw` is `*(SEMI token [EQUAL value])`, where a value is anything but a semicolon outside of quotes.
fn check(raw: &[u8]) -> Result<(), &'static str> {
    let skip_lws = |mut at: usize| {
        while raw.get(at).is_some_and(|byte| is_lws(*byte)) {
            at += 1;
        }
        at
    };
    let mut at = 0;
    while at < raw.len() {
        // `at` is at a semicolon here: the first byte is one, and a segment ends at the next one.
        let name = skip_lws(at + 1);
        if name == raw.len() && at > 0 {
            return Ok(());
        }
        let name_len = raw
            .get(name..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| is_token_byte(**byte))
            .count();
        if name_len == 0 {
            return Err("a parameter has no name that is a token");
        }
        at = skip_lws(name + name_len);
        match raw.get(at) {
            None | Some(b';') => continue,
            Some(b'=') => {}
            Some(_) => return Err("the name of a parameter is not a token"),
        }
        let value = raw.get(at + 1..).unwrap_or_default();
        let len = segment_end(value);
        if len == value.len() && quote_open(value) {
            return Err("a quoted string in the parameters is not closed");
        }
        at += 1 + len;
    }
    Ok(())
}

/// Where the parameter at the front of `bytes` ends: the index of its semicolon, or the length.
fn segment_end(bytes: &[u8]) -> usize {
    match bytes.iter().position(|byte| matches!(byte, b';' | b'"')) {
        None => bytes.len(),
        Some(at) if bytes[at] == b';' => at,
        Some(at) => quoted_segment_end(bytes, at),
    }
}

/// [`segment_end`] when there is a quote, at index `at`.
fn quoted_segment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut quoted = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b';' if !quoted => return at,
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Whether `bytes` ends inside a quoted string.
fn quote_open(bytes: &[u8]) -> bool {
    let mut quoted = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            _ => {}
        }
        at += 1;
    }
    quoted
}
