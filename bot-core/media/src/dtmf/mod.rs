//! Digits: what they are, how they travel, how they are written down.
//!
//! Purpose: one notion of a key for every way in which it comes: telephone-events in RTP (RFC 4733, [`sender`] and
//! [`receiver`]) and SIP INFO bodies ([`info`]). Strings such as `12w#` become [`Press`]es here.
//!
//! Invariant: one press is one digit, however many packets carried it and however many of them were lost or came twice.

pub mod event;
pub mod info;
pub mod receiver;
pub mod sender;

pub use receiver::{DtmfEvent, DtmfReceiver};
pub use sender::DtmfSender;

use std::time::Duration;

/// A key: `0`-`9`, `*`, `#` or `A`-`D`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digit(char);

/// The keys by their event code in RFC 4733 section 3.2.
const KEYS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

impl Digit {
    /// The key of this character; `a`-`d` count as `A`-`D`.
    #[must_use]
    pub fn new(key: char) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        KEYS.contains(&key).then_some(Self(key))
    }

    /// The key of this event code, 0 to 15.
    #[must_use]
    pub fn from_event(code: u8) -> Option<Self> {
        KEYS.get(usize::from(code)).copied().map(Self)
    }

    /// The event code of RFC 4733.
    #[must_use]
    pub fn event(self) -> u8 {
        KEYS.iter().position(|key| *key == self.0).unwrap_or(0) as u8
    }

    /// The key as people write it.
    #[must_use]
    pub const fn as_char(self) -> char {
        self.0
    }
}

impl std::fmt::Display for Digit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl TryFrom<char> for Digit {
    type Error = DigitsError;

    fn try_from(key: char) -> Result<Self, Self::Error> {
        Self::new(key).ok_or(DigitsError { key, position: 1 })
    }
}

/// One step of a string of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// Press this key.
    Digit(Digit),
    /// Wait this long.
    Pause(Duration),
}

/// What is no digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{key}` at place {position} is no digit: use 0-9, *, #, A-D, w for half a second or W for a second"
)]
pub struct DigitsError {
    /// The character.
    pub key: char,
    /// Its place in the string, the first being 1.
    pub position: usize,
}

/// Reads a string of digits and pauses: `w` is half a second, `W` one second. Spaces count for nothing.
///
/// # Errors
/// At the first character that is neither.
pub fn parse_digits(text: &str) -> Result<Vec<Press>, DigitsError> {
    text.chars()
        .enumerate()
        .filter(|(_, key)| !key.is_whitespace())
        .map(|(index, key)| match key {
            'w' => Ok(Press::Pause(Duration::from_millis(500))),
            'W' => Ok(Press::Pause(Duration::from_secs(1))),
            _ => Digit::new(key).map(Press::Digit).ok_or(DigitsError {
                key,
                position: index + 1,
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_event_code_and_comes_back_from_it() {
        for (code, key) in "0123456789*#ABCD".chars().enumerate() {
            let digit = Digit::new(key).unwrap();
            assert_eq!(usize::from(digit.event()), code);
            assert_eq!(Digit::from_event(code as u8), Some(digit));
        }
        assert_eq!(Digit::new('d').map(Digit::as_char), Some('D'));
        assert_eq!(Digit::new('E'), None);
        assert_eq!(Digit::from_event(16), None);
    }

    #[test]
    fn pauses_stand_between_digits() {
        let presses = parse_digits("12w #W").unwrap();
        let key = |key| Press::Digit(Digit::new(key).unwrap());
        let half = Press::Pause(Duration::from_millis(500));
        let whole = Press::Pause(Duration::from_secs(1));
        assert_eq!(presses, [key('1'), key('2'), half, key('#'), whole]);
    }

    #[test]
    fn what_is_no_digit_is_named_with_its_place() {
        let error = parse_digits("12x").unwrap_err();
        assert_eq!((error.key, error.position), ('x', 3));
        assert!(error.to_string().starts_with("`x` at place 3 is no digit"));
    }
}
