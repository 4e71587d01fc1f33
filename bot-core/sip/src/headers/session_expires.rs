//! Session-Expires and Min-SE (RFC 4028 sections 4 and 5).

use std::fmt;

use super::{HeaderError, HeaderName, Headers, Params};
use crate::wire::{cut_before, decimal_saturating, is_lws, trim};

/// Who refreshes a session, in the words of one transaction: its client or its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refresher {
    /// Who sent this request.
    Uac,
    /// Who answers it.
    Uas,
}

impl Refresher {
    fn as_str(self) -> &'static str {
        match self {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        }
    }
}

/// How long a session lasts without a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// In seconds.
    pub seconds: u32,
    /// Who refreshes it; left open in requests mostly.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads a Session-Expires value.
    ///
    /// # Errors
    /// A [`HeaderError`] when it does not begin with a number, or is followed by something other than parameters.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        let malformed = |why| HeaderError::malformed(HeaderName::SessionExpires, why);
        let (number, rest) = cut_before(trim(value), |byte| byte == b';' || is_lws(byte));
        let seconds = decimal_saturating(number).ok_or(malformed("it is not a number"))?;
        let params = Params::parse(trim(rest)).map_err(malformed)?;
        let refresher = match params.get("refresher") {
            Some(who) if who.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(who) if who.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        };
        Ok(SessionExpires { seconds, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        match self.refresher {
            Some(refresher) => write!(f, ";refresher={}", refresher.as_str()),
            None => Ok(()),
        }
    }
}

impl Headers {
    /// Session-Expires; `None` when there is none or it is malformed.
    pub fn session_expires(&self) -> Option<SessionExpires> {
        SessionExpires::parse(self.get(&HeaderName::SessionExpires)?).ok()
    }

    /// Min-SE, in seconds; `None` when there is none or it does not begin with a number.
    pub fn min_se(&self) -> Option<u32> {
        let value = self.get(&HeaderName::MinSe)?;
        let (number, _) = cut_before(trim(value), |byte| !byte.is_ascii_digit());
        decimal_saturating(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_expires_is_read_with_and_without_a_refresher() {
        for (text, seconds, refresher) in [
            ("1800", 1800, None),
            ("1800;refresher=uac", 1800, Some(Refresher::Uac)),
            (" 90 ; x=y ; Refresher=UAS", 90, Some(Refresher::Uas)),
            ("90;refresher=proxy", 90, None),
            ("99999999999", u32::MAX, None),
        ] {
            let read = SessionExpires::parse(text).unwrap();
            assert_eq!(
                (read.seconds, read.refresher),
                (seconds, refresher),
                "{text}"
            );
        }
        for wrong in ["", ";refresher=uac", "soon", "90 refresher"] {
            assert!(SessionExpires::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
