//! Parameters behind a header value: `;branch=z9hG4bK1;rport` (RFC 3261 section 7.3.1).

use std::fmt;

use crate::wire::{is_token, trim};

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
        let mut rest = raw;
        while let Some((segment, behind)) = next_segment(rest)? {
            rest = behind;
            if trim(segment).is_empty() {
                if rest.is_empty() {
                    break;
                }
                return Err("a parameter is empty");
            }
            let param = Param::read(segment);
            if !is_token(param.name.as_bytes()) {
                return Err("the name of a parameter is not a token");
            }
        }
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
            let (segment, behind) = next_segment(rest).ok().flatten()?;
            rest = behind;
            (!trim(segment).is_empty()).then(|| Param::read(segment))
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
        match segment.split_once('=') {
            None => Param {
                name: trim(segment),
                value: None,
                quoted: false,
            },
            Some((name, value)) => {
                let value = trim(value);
                let inner = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'));
                Param {
                    name: trim(name),
                    value: Some(inner.unwrap_or(value)),
                    quoted: inner.is_some(),
                }
            }
        }
    }
}

/// Splits `;segment` off the front of `text`. Semicolons in quoted strings belong to the segment.
fn next_segment(text: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let Some(text) = text.strip_prefix(';') else {
        return Ok(None);
    };
    let bytes = text.as_bytes();
    let mut quoted = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b';' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    if quoted {
        return Err("a quoted string in the parameters is not closed");
    }
    Ok(text.split_at_checked(at).or(Some((text, ""))))
}
