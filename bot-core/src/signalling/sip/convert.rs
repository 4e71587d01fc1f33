//! Between SIP messages and the neutral words of a call.

use std::sync::Arc;

use bytes::Bytes;
use callbot_sip::ua::{self, Body, EndCause, Failure, Source};
use callbot_sip::{Header, HeaderName, Headers, NameAddr, Request, Response};

use crate::call::{Cause, HangupCause, Party};
use crate::endpoint::{Refresher, ReliableProvisionals, SessionTimer};
use crate::signalling::{CallInfo, MediaAddress, PeerInfo};

/// The Content-Type of session descriptions (RFC 4566).
pub(crate) const SDP: &str = "application/sdp";

/// What an INVITE says of a call.
pub(crate) fn call_info(request: &Request, source: &Source, media: MediaAddress) -> CallInfo {
    let headers = &request.headers;
    let from = headers.from().ok();
    CallInfo {
        call_id: headers.call_id().unwrap_or_default().to_owned(),
        from: uri_of(from.as_ref()),
        from_display: from.and_then(|from| from.display_name.map(std::borrow::Cow::into_owned)),
        to: uri_of(headers.to().ok().as_ref()),
        target: request.uri.as_str().to_owned(),
        remote: Some(source.remote),
        transport: source.protocol.via_name(),
        headers: pairs(headers),
        placed: false,
        media,
        account: None,
        user: std::sync::OnceLock::new(),
        line: None,
    }
}

pub(super) fn uri_of(address: Option<&NameAddr<'_>>) -> String {
    address
        .map(|address| address.uri.to_owned())
        .unwrap_or_default()
}

/// Headers as text; those that are no UTF-8 are replaced where they are not.
pub(crate) fn pairs(headers: &Headers) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|header| {
            (
                header.name.as_str().to_owned(),
                String::from_utf8_lossy(&header.value).into_owned(),
            )
        })
        .collect()
}

/// Headers that a bot gave; those that could break the message are left out.
pub(crate) fn headers(pairs: Vec<(String, String)>) -> Vec<Header> {
    pairs
        .into_iter()
        .filter(|(name, value)| {
            let fits = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
                && !value.contains(['\r', '\n', '\0']);
            if !fits {
                tracing::warn!(
                    name,
                    "header left out: its name or value cannot stand in a message"
                );
            }
            fits
        })
        .map(|(name, value)| Header::new(HeaderName::from(name.as_str()), value))
        .collect()
}

/// The session description in a message; `Err` for a body of another type.
pub(crate) fn description(headers: &Headers, body: &Bytes) -> Result<Option<Bytes>, String> {
    if body.is_empty() {
        return Ok(None);
    }
    let content_type = headers.content_type().unwrap_or(SDP);
    let essence = content_type.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case(SDP) {
        Ok(Some(body.clone()))
    } else {
        Err(essence.to_owned())
    }
}

/// The session description of a response, if it bears one.
pub(crate) fn response_description(response: &Response) -> Option<Bytes> {
    description(&response.headers, &response.body)
        .ok()
        .flatten()
}

pub(crate) fn sdp(body: Bytes) -> Body {
    Body::sdp(body)
}

pub(crate) fn peer_info(response: &Response) -> Arc<PeerInfo> {
    Arc::new(PeerInfo {
        headers: pairs(&response.headers),
    })
}

/// Why our INVITE failed.
pub(crate) fn failure_cause(failure: &Failure) -> HangupCause {
    match failure {
        Failure::Response(response) => HangupCause::refused(
            Party::Remote,
            response.status.0,
            response.reason_phrase().into_owned(),
        )
        .with_reason(reason_of(&response.headers))
        .with_headers(pairs(&response.headers)),
        Failure::Timeout => {
            HangupCause::new(Cause::NoUserResponse, Party::Network, "no answer in time")
        }
        Failure::Transport(why) => HangupCause::new(
            Cause::TemporaryFailure,
            Party::Network,
            format!("the far end cannot be reached: {why}"),
        ),
        Failure::Cancelled => HangupCause::new(
            Cause::OriginatorCancel,
            Party::Local,
            "cancelled before the answer",
        ),
    }
}

/// The Reason header (RFC 3326), as it came.
fn reason_of(headers: &Headers) -> Option<String> {
    // Each protocol may have a line of its own.
    let values: Vec<&str> = headers.get_all(&HeaderName::Reason).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Why the caller gave up: by CANCEL or BYE, perhaps with a Reason, or its Expires.
pub(crate) fn cancelled(request: &Request) -> HangupCause {
    let reason = reason_of(&request.headers);
    end_cause(&EndCause::Cancelled)
        .with_reason(reason)
        .with_headers(pairs(&request.headers))
}

/// Why a call ended that was not refused by the far end.
pub(crate) fn end_cause(cause: &EndCause) -> HangupCause {
    match cause {
        EndCause::Bye { headers } => {
            let headers: Headers = headers.iter().cloned().collect();
            let reason = reason_of(&headers);
            HangupCause::new(
                Cause::NormalClearing,
                Party::Remote,
                reason.clone().unwrap_or_default(),
            )
            .with_reason(reason)
            .with_headers(pairs(&headers))
        }
        EndCause::LocalBye => HangupCause::new(Cause::NormalClearing, Party::Local, ""),
        EndCause::AckTimeout => HangupCause::new(
            Cause::AckTimeout,
            Party::Network,
            "our answer was never acknowledged: no ACK came",
        ),
        EndCause::PrackTimeout => HangupCause::new(
            Cause::AckTimeout,
            Party::Network,
            "our provisional response was never acknowledged: no PRACK came",
        ),
        EndCause::SessionExpired => HangupCause::new(
            Cause::PeerVanished,
            Party::Network,
            "the session timer expired: the call was not refreshed in time",
        ),
        EndCause::DialogGone(status) => HangupCause::new(
            Cause::PeerVanished,
            Party::Network,
            format!("the far end does not know this call any more ({status})"),
        ),
        EndCause::Timeout => HangupCause::new(
            Cause::PeerVanished,
            Party::Network,
            "the far end is gone: it does not answer in the call",
        ),
        EndCause::Transport(why) => HangupCause::new(
            Cause::PeerVanished,
            Party::Network,
            format!("the far end cannot be reached: {why}"),
        ),
        EndCause::Rejected => {
            HangupCause::new(Cause::Interworking, Party::Remote, "the call failed")
        }
        EndCause::Cancelled => HangupCause::new(
            Cause::OriginatorCancel,
            Party::Remote,
            "the caller gave up before the answer",
        ),
        EndCause::LocalReject(status) => HangupCause::refused(
            Party::Local,
            *status,
            callbot_sip::StatusCode(*status).reason(),
        ),
    }
}

pub(crate) fn reliability(reliable: ReliableProvisionals) -> ua::Reliability {
    match reliable {
        ReliableProvisionals::Off => ua::Reliability::Off,
        ReliableProvisionals::Supported => ua::Reliability::Supported,
        ReliableProvisionals::Required => ua::Reliability::Required,
    }
}

pub(crate) fn session_timer(timer: SessionTimer) -> ua::SessionTimer {
    ua::SessionTimer {
        interval: timer.interval,
        min_se: timer.min_se,
        refresher: timer.refresher.map(|refresher| match refresher {
            Refresher::Local => ua::Refreshing::Local,
            Refresher::Remote => ua::Refreshing::Remote,
        }),
    }
}
