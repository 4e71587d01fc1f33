//! URIs made of a call: `sip:{user}@pbx.example`.

use std::fmt;
use std::str::FromStr;

use callbot_core::CallInfo;

/// A URI with fields that each call fills in.
///
/// `{user}` is the called number (the user part of the request-URI), `{host}`
/// its host, `{caller}` the caller's number and `{header:NAME}` the value of a
/// header of the INVITE. What could end the part of a URI that a field stands
/// in is escaped, so that no caller can choose another host or transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    User,
    Host,
    Caller,
    Header(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTemplate(String);

impl fmt::Display for BadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTemplate {}

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or_else(|| {
                BadTemplate(format!("{text}: a field has no end: write {{user}}"))
            })?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match field {
                "user" => Part::User,
                "host" => Part::Host,
                "caller" => Part::Caller,
                _ => match field.strip_prefix("header:") {
                    Some(name) if !name.trim().is_empty() => Part::Header(name.trim().to_owned()),
                    _ => {
                        return Err(BadTemplate(format!(
                            "{text}: there is no field {{{field}}}: use {{user}}, {{host}}, {{caller}} or {{header:NAME}}"
                        )));
                    }
                },
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self { parts };
        // Tried with a value in each field.
        let shown = template.with(|part| match part {
            Part::Text(text) => Ok(text.clone()),
            _ => Ok("1".to_owned()),
        });
        let shown = shown.unwrap_or_default();
        let uri = shown.to_ascii_lowercase();
        let address = uri
            .strip_prefix("sips:")
            .or_else(|| uri.strip_prefix("sip:"));
        if address.is_none_or(|address| address.is_empty() || address.starts_with('@')) {
            return Err(BadTemplate(format!(
                "{text} makes no SIP URI: write sip:{{user}}@HOST:PORT"
            )));
        }
        Ok(template)
    }
}

impl Template {
    /// A URI that is the same for every call, braces and all.
    pub fn literal(uri: impl Into<String>) -> Self {
        Self {
            parts: vec![Part::Text(uri.into())],
        }
    }

    /// The URI for a call; the error says what the call lacks.
    pub(crate) fn fill(&self, call: &CallInfo) -> Result<String, String> {
        self.with(|part| {
            let value = match part {
                Part::Text(text) => return Ok(text.clone()),
                Part::User => call.called(),
                Part::Caller => call.caller(),
                Part::Host => host_of(call.target()),
                Part::Header(name) => call
                    .header(name)
                    .ok_or_else(|| format!("it has no header {name}"))?
                    .trim(),
            };
            if value.is_empty() {
                return Err(format!("it has no {}", part.name()));
            }
            Ok(match part {
                Part::Host => value.to_owned(),
                _ => escaped(value),
            })
        })
    }

    fn with(&self, value: impl Fn(&Part) -> Result<String, String>) -> Result<String, String> {
        self.parts.iter().map(value).collect()
    }
}

impl Part {
    const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::User => "called number",
            Self::Host => "called host",
            Self::Caller => "caller's number",
            Self::Header(_) => "value in a header that is asked for",
        }
    }
}

/// Host and port of a URI.
fn host_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    rest.split([';', '?', '>']).next().unwrap_or_default()
}

/// Escapes what may not stand in the user part of a SIP URI (RFC 3261 25.1), and what would end it; escapes that are there
/// stay.
fn escaped(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut out = String::with_capacity(value.len());
    for (n, byte) in bytes.iter().enumerate() {
        let is_escape = *byte == b'%'
            && bytes
                .get(n + 1..n + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,".contains(byte) || is_escape {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_do_not_exist_are_named() {
        for (text, says) in [
            ("sip:{number}@pbx", "{number}"),
            ("sip:{user@pbx", "no end"),
            ("{user}", "no SIP URI"),
            ("sip:", "no SIP URI"),
            ("tel:{user}", "no SIP URI"),
            ("sip:{header:}@pbx", "{header:}"),
        ] {
            let error = text.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        for text in [
            "sip:{user}@pbx:5060",
            "sip:600@pbx;transport=tcp",
            "sips:{header:X-To}@{host}",
        ] {
            assert!(text.parse::<Template>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_a_caller_dials_cannot_leave_its_place() {
        assert_eq!(escaped("+49*30#"), "+49*30%23");
        assert_eq!(
            escaped("a@evil;transport=tcp?x:y"),
            "a%40evil%3Btransport=tcp%3Fx%3Ay"
        );
        assert_eq!(escaped("a%20b%zz"), "a%20b%25zz");
        assert_eq!(host_of("sip:u:p@[::1]:5070;transport=tcp"), "[::1]:5070");
        assert_eq!(host_of("sip:pbx"), "pbx");
    }
}
