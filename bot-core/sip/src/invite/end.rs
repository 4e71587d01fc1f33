//! The end of a call: our BYE, theirs, and what the peer's answers or its silence say about the dialog
//! (RFC 3261 sections 12.2.1.2, 12.3 and 15).

use std::sync::Arc;
use std::time::Instant;

use super::{Phase, Session};
use crate::auth::MAX_TRIES;
use crate::headers::{Header, HeaderName};
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::Handle;
use crate::ua::{ClientUse, Core, EndCause, Event, Failure, UaError, clean_headers};

impl Session {
    /// Ends the call in whatever way its phase allows.
    pub(crate) fn hang_up(
        &mut self,
        core: &mut Core,
        now: Instant,
        headers: Vec<Header>,
    ) -> Result<(), UaError> {
        clean_headers(&headers)?;
        match self.phase {
            Phase::Calling => self.cancel(core, now, headers)?,
            Phase::Ringing => self.reject(core, now, 480, None, headers)?,
            Phase::Accepted => {
                // Not before the ACK (section 15), or the caller might learn of the end before the beginning.
                self.end_cause = Some(EndCause::LocalBye);
                self.hang_up = Some(headers);
            }
            Phase::AckDue | Phase::Established => {
                self.settle_ack(core);
                self.send_bye(core, now, headers, EndCause::LocalBye);
            }
            Phase::Closing | Phase::Lingering | Phase::Over => {}
        }
        Ok(())
    }

    pub(super) fn send_bye(
        &mut self,
        core: &mut Core,
        now: Instant,
        headers: Vec<Header>,
        cause: EndCause,
    ) {
        self.abandon_modifications(core, now);
        self.settle_ack(core);
        self.unacknowledged = None;
        let Some((mut request, target)) = self.request(core, Method::Bye) else {
            return self.end(core, cause);
        };
        request.headers.extend(headers);
        self.authorize(core, &mut request);
        self.enter(Phase::Closing);
        self.end_cause = Some(cause);
        core.start_client(now, request, target, ClientUse::Bye(self.id), 1);
    }

    /// A BYE whose answer nobody waits for.
    pub(super) fn send_detached_bye(&mut self, core: &mut Core, now: Instant) {
        if let Some((mut request, target)) = self.request(core, Method::Bye) {
            self.authorize(core, &mut request);
            core.start_client(now, request, target, ClientUse::Detached(self.id), 1);
        }
    }

    /// Our BYE was answered or failed: either way the call is over.
    pub(crate) fn bye_finished(&mut self, core: &mut Core) {
        let cause = self.end_cause.take().unwrap_or(EndCause::LocalBye);
        self.end(core, cause);
    }

    /// Their BYE; 200 is out.
    pub(super) fn receive_bye(&mut self, core: &mut Core, now: Instant, request: &Arc<Request>) {
        match self.phase {
            Phase::Ringing => return self.give_up_incoming(core, now, request.clone()),
            Phase::Calling => {
                // A callee must not; if it does all the same, our INVITE is not wanted any more.
                let _ = self.cancel(core, now, Vec::new());
                return;
            }
            // Crossing BYEs: ours is still to be answered.
            Phase::Closing | Phase::Lingering | Phase::Over => return,
            Phase::Accepted | Phase::AckDue | Phase::Established => {}
        }
        self.abandon_modifications(core, now);
        self.settle_ack(core);
        self.unacknowledged = None;
        let headers = telling_headers(request);
        self.end(core, EndCause::Bye { headers });
    }

    /// What a final response, or none, to a request in the dialog says about the dialog. `true` when it is over.
    pub(super) fn judge(
        &mut self,
        core: &mut Core,
        now: Instant,
        result: &Result<Arc<Response>, Failure>,
    ) -> bool {
        if !matches!(
            self.phase,
            Phase::Accepted | Phase::AckDue | Phase::Established
        ) {
            // While the INVITE itself is undecided, its own answer says more.
            return false;
        }
        let cause = match result {
            Ok(response) | Err(Failure::Response(response)) => match response.status.0 {
                status @ (408 | 481) => EndCause::DialogGone(status),
                _ => return false,
            },
            Err(Failure::Timeout) => EndCause::Timeout,
            Err(Failure::Transport(why)) => EndCause::Transport(why.clone()),
            Err(Failure::Cancelled) => return false,
        };
        self.abandon_modifications(core, now);
        self.settle_ack(core);
        if !matches!(cause, EndCause::DialogGone(481)) {
            // The peer may have the call still, and only this path is broken.
            self.send_detached_bye(core, now);
        }
        self.end(core, cause);
        true
    }

    /// A challenge to a request in the dialog: sends it again, if that makes sense.
    pub(super) fn answer_challenge(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: &Response,
        usage: ClientUse,
    ) -> bool {
        if !matches!(response.status, StatusCode(401 | 407)) {
            return false;
        }
        let tries = core.client_tries(handle);
        if self.auth.challenged(&response.headers, tries).is_err() {
            return false;
        }
        self.send_again(core, now, handle, usage, tries.saturating_add(1))
    }

    /// Sends a request in the dialog again, with a new number and new credentials.
    pub(super) fn send_again(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        usage: ClientUse,
        tries: u8,
    ) -> bool {
        let Some((original, _)) = core.client_request(handle) else {
            return false;
        };
        let original = original.clone();
        let Some(dialog) = self.dialog.as_mut() else {
            return false;
        };
        let is_live = dialog.peer.flow.is_some_and(|flow| core.is_live(flow));
        let (mut request, target) = dialog.request(original.method.clone(), is_live);
        let fresh = |name: &HeaderName| {
            matches!(
                name,
                HeaderName::Via
                    | HeaderName::Route
                    | HeaderName::MaxForwards
                    | HeaderName::From
                    | HeaderName::To
                    | HeaderName::CallId
                    | HeaderName::CSeq
                    | HeaderName::Authorization
                    | HeaderName::ProxyAuthorization
            )
        };
        for header in original
            .headers
            .iter()
            .filter(|header| !fresh(&header.name))
        {
            request.headers.push_header(header.clone());
        }
        request.body = original.body;
        self.authorize(core, &mut request);
        core.start_client(now, request, target, usage, tries);
        true
    }

    /// A response to our BYE, INFO, PRACK, UPDATE or probe.
    pub(crate) fn receive_inside_response(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        usage: ClientUse,
        response: Arc<Response>,
    ) {
        if response.status.is_provisional()
            || self.answer_challenge(core, now, handle, &response, usage)
        {
            return;
        }
        let result = if response.status.is_success() {
            self.auth.answered(&response.headers);
            Ok(response)
        } else {
            Err(Failure::Response(response))
        };
        self.inside_finished(core, now, usage, result);
    }

    /// Our BYE, INFO, PRACK, UPDATE or probe got no answer.
    pub(crate) fn inside_failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        usage: ClientUse,
        failure: Failure,
    ) {
        // A broken connection says nothing about the peer: the address is tried before it is given up.
        let flow = core.client_target(handle).and_then(|target| target.flow);
        if matches!(failure, Failure::Transport(_)) && flow.is_some_and(|flow| !core.is_live(flow))
        {
            let tries = core.client_tries(handle);
            if tries < MAX_TRIES
                && self.send_again(core, now, handle, usage, tries.saturating_add(1))
            {
                return;
            }
        }
        self.inside_finished(core, now, usage, Err(failure));
    }

    /// One of our requests in the dialog came to its end.
    pub(crate) fn inside_finished(
        &mut self,
        core: &mut Core,
        now: Instant,
        usage: ClientUse,
        result: Result<Arc<Response>, Failure>,
    ) {
        match usage {
            ClientUse::Bye(_) => self.bye_finished(core),
            ClientUse::Info(invite) if self.phase != Phase::Closing => {
                core.event(Event::InfoAnswered {
                    invite,
                    result: result.clone(),
                });
                self.judge(core, now, &result);
            }
            ClientUse::Inside(_, id) => {
                core.event(Event::Response {
                    id,
                    result: match &result {
                        Err(Failure::Response(response)) => Ok(response.clone()),
                        other => other.clone(),
                    },
                });
                if self.phase != Phase::Closing {
                    self.judge(core, now, &result);
                }
            }
            ClientUse::Update(_) => self.update_finished(core, now, result),
            ClientUse::Probe(invite)
                if self.phase != Phase::Closing && !self.judge(core, now, &result) =>
            {
                core.event(Event::ProbeAnswered { invite });
            }
            _ => {}
        }
    }
}

/// The headers of a BYE that may say why: all but those that every request has.
fn telling_headers(request: &Request) -> Vec<Header> {
    request
        .headers
        .iter()
        .filter(|header| {
            matches!(
                header.name,
                HeaderName::Reason | HeaderName::Warning | HeaderName::Other(_)
            )
        })
        .cloned()
        .collect()
}
