//! With which status a caller is refused when the callee was not reached.
//!
//! What the callee's side says of the callee crosses as it is. What it says of
//! our own request does not: that the gateway could not log in, or that its
//! message was not understood, is no fault of the caller's, who gets 502 (Bad
//! Gateway, RFC 3261 21.5.3). Where nobody answered at all, the status is that
//! of RFC 3261 16.7 and RFC 3398 8.2.6.1.

use callbot_core::{Cause, HangupCause};

/// The status and its words.
pub(super) fn of(cause: &HangupCause) -> (u16, String) {
    let Some(status) = cause.status() else {
        return match cause.cause() {
            Cause::NoUserResponse => (408, "Request Timeout".to_owned()),
            Cause::NoAnswer => (480, "No Answer".to_owned()),
            Cause::OriginatorCancel => (480, "Temporarily Unavailable".to_owned()),
            Cause::TemporaryFailure | Cause::PeerVanished => {
                (503, "Service Unavailable".to_owned())
            }
            _ => (502, "Bad Gateway".to_owned()),
        };
    };
    match passed(status) {
        same if same == status => (status, cause.text().to_owned()),
        480 => (480, "Temporarily Unavailable".to_owned()),
        other => (other, "Bad Gateway".to_owned()),
    }
}

fn passed(status: u16) -> u16 {
    match status {
        // Not followed, or led nowhere; 487 without a CANCEL of ours.
        300..=399 | 487 => 480,
        // Of our request, not of the callee: its credentials, form, extensions and dialog.
        400
        | 401
        | 402
        | 405..=407
        | 411..=412
        | 414
        | 416
        | 417
        | 420..=428
        | 436..=439
        | 469
        | 470
        | 481
        | 489
        | 491
        | 493
        | 494 => 502,
        400..=699 => status,
        _ => 502,
    }
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn what_is_said_of_the_callee_crosses_and_what_is_said_of_us_does_not() {
        for status in [
            403, 404, 408, 410, 480, 484, 486, 488, 500, 503, 600, 603, 604, 606,
        ] {
            assert_eq!(passed(status), status);
        }
        for (status, told) in [
            (401, 502),
            (407, 502),
            (420, 502),
            (302, 480),
            (487, 480),
            (200, 502),
        ] {
            assert_eq!(passed(status), told, "{status}");
        }
    }
}
