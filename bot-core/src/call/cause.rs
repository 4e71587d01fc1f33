//! Why a call ended, in the words of ITU-T Q.850 and the status codes of SIP.

use std::fmt;

use super::Reason;

/// Which side ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// This endpoint: a bot, its time-out, or the endpoint's shutdown.
    Local,
    /// The far end.
    Remote,
    /// Nobody: a time-out or an error on the way.
    Network,
}

/// Why a call ended. The names are those of ITU-T Q.850 where it has one;
/// status codes are mapped as RFC 3398 section 8.2.6.1 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Somebody hung up (Q.850 16).
    NormalClearing,
    /// 486, 600 (Q.850 17).
    UserBusy,
    /// 408, or no answer at all (Q.850 18).
    NoUserResponse,
    /// 480: it rang, and nobody answered (Q.850 19).
    NoAnswer,
    /// 603, 401, 403, 407 and what else refuses (Q.850 21).
    CallRejected,
    /// 404, 410, 604 (Q.850 1).
    UnallocatedNumber,
    /// 484 (Q.850 28).
    InvalidNumberFormat,
    /// 488, 606, 415: no media in common (Q.850 88).
    IncompatibleDestination,
    /// 3xx that was not followed (Q.850 23).
    Redirected,
    /// 5xx and broken transports (Q.850 41).
    TemporaryFailure,
    /// Other refusals (Q.850 127).
    Interworking,
    /// The caller cancelled before the answer (SIP 487).
    OriginatorCancel,
    /// Our answer was never acknowledged (Q.850 102).
    AckTimeout,
    /// The media could not be secured, no path was found for it, or the far end's
    /// consent to it ran out (Q.850 111).
    MediaFailed,
    /// The far end is gone: no media, and no answer in the dialog (Q.850 102).
    PeerVanished,
}

impl Cause {
    /// The cause code of ITU-T Q.850, 1 to 127.
    pub fn q850(self) -> u8 {
        match self {
            Self::UnallocatedNumber => 1,
            Self::NormalClearing | Self::OriginatorCancel => 16,
            Self::UserBusy => 17,
            Self::NoUserResponse => 18,
            Self::NoAnswer => 19,
            Self::CallRejected => 21,
            Self::Redirected => 23,
            Self::InvalidNumberFormat => 28,
            Self::TemporaryFailure => 41,
            Self::IncompatibleDestination => 88,
            Self::AckTimeout | Self::PeerVanished => 102,
            Self::MediaFailed => 111,
            Self::Interworking => 127,
        }
    }

    /// The cause that a final status stands for.
    pub fn from_status(status: u16) -> Self {
        match status {
            300..=399 => Self::Redirected,
            486 | 600 => Self::UserBusy,
            408 => Self::NoUserResponse,
            480 => Self::NoAnswer,
            401 | 403 | 407 | 603 | 607 => Self::CallRejected,
            404 | 410 | 604 => Self::UnallocatedNumber,
            484 => Self::InvalidNumberFormat,
            415 | 488 | 606 => Self::IncompatibleDestination,
            487 => Self::OriginatorCancel,
            500..=599 => Self::TemporaryFailure,
            _ => Self::Interworking,
        }
    }
}

/// Why and by whom a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HangupCause {
    pub(crate) cause: Cause,
    pub(crate) by: Party,
    pub(crate) status: Option<u16>,
    pub(crate) text: String,
    /// The far end's Reason header, as it came.
    pub(crate) reason: Option<String>,
    /// The headers of the message that ended the call, when it was the far end's.
    pub(crate) headers: Vec<(String, String)>,
}

impl HangupCause {
    pub(crate) fn new(cause: Cause, by: Party, text: impl Into<String>) -> Self {
        Self {
            cause,
            by,
            status: None,
            text: text.into(),
            reason: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn refused(by: Party, status: u16, reason: impl Into<String>) -> Self {
        Self {
            cause: Cause::from_status(status),
            by,
            status: Some(status),
            text: reason.into(),
            reason: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn with_reason(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }

    pub(crate) fn with_headers(mut self, headers: Vec<(String, String)>) -> Self {
        self.headers = headers;
        self
    }

    /// The first header of this name in the far end's BYE, CANCEL or refusal;
    /// the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self
            .headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    /// Why the far end ended the call, in its own words (RFC 3326): often one
    /// reason of SIP's and one of Q.850.
    pub fn reason(&self) -> Vec<Reason> {
        self.reason
            .as_deref()
            .map(Reason::parse)
            .unwrap_or_default()
    }

    /// The cause as the value of a Reason header (RFC 3326), to be passed on to
    /// another call: the far end's own where it gave one, else that of Q.850.
    pub fn reason_header(&self) -> String {
        match &self.reason {
            Some(reason) => reason.clone(),
            None => format!("Q.850;cause={}", self.cause.q850()),
        }
    }

    /// The cause, for `match`.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Who ended the call.
    pub fn by(&self) -> Party {
        self.by
    }

    /// The SIP status that refused the call; `None` once it was answered.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// What was said or went wrong, in words; may be empty.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for HangupCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.cause) {
            (Some(status), _) => write!(f, "{status} {}", self.text),
            (None, Cause::NormalClearing) => match self.by {
                Party::Local => f.write_str("we hung up"),
                _ => f.write_str("the far end hung up"),
            },
            (None, _) => f.write_str(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_cause() {
        assert_eq!(Cause::from_status(486), Cause::UserBusy);
        assert_eq!(Cause::from_status(503).q850(), 41);
        assert_eq!(
            HangupCause::refused(Party::Remote, 486, "Busy Here").to_string(),
            "486 Busy Here"
        );
    }
}
