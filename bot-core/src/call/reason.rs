//! Reason: why something was done, in the words of a protocol (RFC 3326).

use std::fmt;

/// One value of a Reason header, such as `Q.850;cause=16;text="Terminated"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Whose words these are: `SIP`, `Q.850`.
    pub protocol: String,
    /// The status or cause, where it is given.
    pub cause: Option<u16>,
    /// The same for people.
    pub text: Option<String>,
}

impl Reason {
    /// The reason that a SIP status is, such as `SIP;cause=200`: what a CANCEL
    /// says when another telephone took the call.
    pub fn sip(status: u16, text: impl Into<String>) -> Self {
        Self {
            protocol: "SIP".to_owned(),
            cause: Some(status),
            text: Some(text.into()),
        }
    }

    /// A cause of ITU-T Q.850, 1 to 127.
    pub fn q850(cause: u8) -> Self {
        Self {
            protocol: "Q.850".to_owned(),
            cause: Some(cause.into()),
            text: None,
        }
    }

    /// Reads the values of a Reason header; what cannot be read is left out.
    pub fn parse(value: &str) -> Vec<Self> {
        split(value, ',').filter_map(Self::read).collect()
    }

    fn read(value: &str) -> Option<Self> {
        let mut parts = split(value, ';').map(str::trim);
        let protocol = parts.next().filter(|protocol| !protocol.is_empty())?;
        let mut reason = Self {
            protocol: protocol.to_owned(),
            cause: None,
            text: None,
        };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            if name.trim().eq_ignore_ascii_case("cause") {
                reason.cause = value.parse().ok();
            } else if name.trim().eq_ignore_ascii_case("text") {
                let text = value.strip_prefix('"').unwrap_or(value);
                let text = text.strip_suffix('"').unwrap_or(text);
                reason.text = Some(text.replace("\\\"", "\"").replace("\\\\", "\\"));
            }
        }
        Some(reason)
    }
}

/// Splits where no quoted string is.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let is_escaped = escaped;
        escaped = quoted && !is_escaped && c == '\\';
        if c == '"' && !is_escaped {
            quoted = !quoted;
        }
        c == at && !quoted
    })
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        match &self.text {
            Some(text) => write!(
                f,
                ";text=\"{}\"",
                text.replace('\\', "\\\\").replace('"', "\\\"")
            ),
            None => Ok(()),
        }
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn values_are_read_and_written_whatever_the_text_holds() {
        let line =
            "SIP ;cause=200 ;text=\"Call, \\\"taken\\\"; elsewhere\", Q.850;cause=16, ;cause=1";
        let read = Reason::parse(line);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0], Reason::sip(200, "Call, \"taken\"; elsewhere"));
        assert_eq!(read[1], Reason::q850(16));
        let written = format!("{}, {}", read[0], read[1]);
        assert_eq!(Reason::parse(&written), read);
        assert_eq!(Reason::parse("SIP;cause=99999")[0].cause, None);
        assert!(Reason::parse("").is_empty());
    }
}
