//! Digits in SIP INFO bodies: `application/dtmf-relay` and `application/dtmf`.
//!
//! No RFC defines the two; this follows what Cisco began and everyone copied. Readers are lenient: spaces anywhere,
//! event codes instead of characters, a missing duration.

use std::time::Duration;

use super::Digit;

/// The content type with `Signal=` and `Duration=` lines.
pub const DTMF_RELAY: &str = "application/dtmf-relay";

/// The content type whose body is the key alone.
pub const DTMF: &str = "application/dtmf";

/// The duration of a press whose body gives none.
pub const DEFAULT_DURATION: Duration = Duration::from_millis(250);

/// A press that came in an INFO body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfoPress {
    /// The key.
    pub digit: Digit,
    /// How long it was held.
    pub duration: Duration,
}

/// Why an INFO body gives no digit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// The content type is neither of the two.
    #[error("`{0}` carries no digit: send application/dtmf-relay or application/dtmf")]
    ContentType(String),
    /// The body names no key.
    #[error("the INFO body names no key: write `Signal=5` and `Duration=160`, each on its line")]
    NoKey,
}

/// Whether INFO bodies of this content type carry digits. Parameters such as `;charset` do not matter.
#[must_use]
pub fn is_digits(content_type: &str) -> bool {
    let kind = media_type(content_type);
    kind.eq_ignore_ascii_case(DTMF_RELAY) || kind.eq_ignore_ascii_case(DTMF)
}

/// Reads an INFO body.
///
/// # Errors
/// When the content type is another one, or the body names no key.
pub fn parse(content_type: &str, body: &[u8]) -> Result<InfoPress, InfoError> {
    if !is_digits(content_type) {
        let shown = content_type.chars().filter(|c| !c.is_control());
        return Err(InfoError::ContentType(shown.take(80).collect()));
    }
    let body = std::str::from_utf8(body).map_err(|_| InfoError::NoKey)?;
    let mut digit = None;
    let mut duration = DEFAULT_DURATION;
    for line in body.lines() {
        match line.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("signal") => {
                digit = digit.or(key(value));
            }
            Some((name, value)) if name.trim().eq_ignore_ascii_case("duration") => {
                if let Ok(milliseconds) = value.trim().parse::<u32>() {
                    // A press of more than a minute is a typing error of the sender.
                    duration = Duration::from_millis(u64::from(milliseconds.min(60_000)));
                }
            }
            Some(_) => {}
            // Some send the key alone under either content type.
            None => digit = digit.or(key(line)),
        }
    }
    digit
        .map(|digit| InfoPress { digit, duration })
        .ok_or(InfoError::NoKey)
}

/// Writes a body of `application/dtmf-relay`.
#[must_use]
pub fn write_relay(digit: Digit, duration: Duration) -> String {
    format!("Signal={digit}\r\nDuration={}\r\n", duration.as_millis())
}

/// Writes a body of `application/dtmf`.
#[must_use]
pub fn write_plain(digit: Digit) -> String {
    digit.to_string()
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// One key, or its event code from 10 to 15.
fn key(text: &str) -> Option<Digit> {
    let text = text.trim().trim_matches('"');
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Digit::new(only),
        _ => text
            .parse()
            .ok()
            .filter(|code| *code >= 10)
            .and_then(Digit::from_event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(key: char, milliseconds: u64) -> InfoPress {
        InfoPress {
            digit: Digit::new(key).unwrap(),
            duration: Duration::from_millis(milliseconds),
        }
    }

    #[test]
    fn relay_bodies_are_read_as_peers_write_them() {
        for (body, expected) in [
            ("Signal=5\r\nDuration=160\r\n", press('5', 160)),
            ("Signal= #\nDuration= 100", press('#', 100)),
            ("signal=11\r\nduration=250", press('#', 250)),
            ("Duration=90\r\nSignal=*\r\n", press('*', 90)),
            ("Signal=d", press('D', 250)),
            ("7", press('7', 250)),
        ] {
            assert_eq!(
                parse("application/dtmf-relay", body.as_bytes()),
                Ok(expected),
                "{body}"
            );
        }
    }

    #[test]
    fn plain_bodies_are_the_key_alone() {
        assert_eq!(
            parse("Application/DTMF; x=y", b" 9\r\n"),
            Ok(press('9', 250))
        );
        assert_eq!(parse("application/dtmf", b"10"), Ok(press('*', 250)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for code in 0..16 {
            let digit = Digit::from_event(code).unwrap();
            let duration = Duration::from_millis(120);
            let relay = write_relay(digit, duration);
            assert_eq!(
                parse(DTMF_RELAY, relay.as_bytes()),
                Ok(InfoPress { digit, duration })
            );
            let plain = parse(DTMF, write_plain(digit).as_bytes()).unwrap();
            assert_eq!(plain.digit, digit);
        }
    }

    #[test]
    fn other_bodies_are_refused_in_words() {
        assert_eq!(parse("application/dtmf", b"E"), Err(InfoError::NoKey));
        assert_eq!(
            parse("application/dtmf-relay", b"\xff\xfe"),
            Err(InfoError::NoKey)
        );
        assert_eq!(
            parse("application/dtmf-relay", b"Signal=\r\n"),
            Err(InfoError::NoKey)
        );
        let error = parse("text/plain", b"5").unwrap_err();
        assert!(error.to_string().contains("send application/dtmf-relay"));
    }
}
