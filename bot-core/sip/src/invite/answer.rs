//! The callee's side up to the final response (RFC 3261 section 13.3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Extensions, Phase, Session};
use crate::auth::Authenticator;
use crate::dialog::{Dialog, Peer};
use crate::headers::{Header, HeaderError, HeaderName};
use crate::message::{Request, Response, StatusCode};
use crate::transaction::{Handle, earlier};
use crate::ua::{
    Armed, Body, Core, EndCause, InviteId, Source, UaError, clean, clean_body, clean_headers,
    contact_value, put_body,
};

/// Proxies drop an INVITE that rings for three minutes without a sign of life (section 13.3.1.1).
const RING_AGAIN: Duration = Duration::from_secs(60);

/// An INVITE of theirs, until our final response.
#[derive(Debug)]
pub(super) struct Incoming {
    handle: Handle,
    request: Arc<Request>,
    /// The provisional response to repeat, and when.
    ringing: Option<(Response, Instant)>,
    expires_at: Option<Instant>,
}

impl Incoming {
    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earlier(self.ringing.as_ref().map(|(_, at)| *at), self.expires_at)
    }
}

impl Session {
    /// A new call of theirs.
    ///
    /// # Errors
    /// When the request cannot make a dialog; it is to be answered with 400.
    pub(crate) fn incoming(
        core: &mut Core,
        now: Instant,
        id: InviteId,
        handle: Handle,
        request: &Arc<Request>,
        source: &Source,
    ) -> Result<Box<Self>, HeaderError> {
        let headers = &request.headers;
        let local_tag = core.ids.tag();
        let remote_tag = headers.from()?.tag().unwrap_or_default();
        let key = core.keys.dialog(headers.call_id()?, &local_tag, remote_tag);
        let dialog =
            Dialog::from_request(request, &local_tag, key, Peer::of_request(source, request))?;
        let contact = contact_value(
            core,
            request.uri.user(),
            source.advertised,
            source.protocol,
            request.uri.is_sips(),
        );
        let mut session = Box::new(Session {
            id,
            phase: Phase::Ringing,
            call_id: headers
                .first(&HeaderName::CallId)
                .map(|header| header.value.clone())
                .unwrap_or_default(),
            dialog: None,
            auth: Authenticator::default(),
            contact,
            outgoing: None,
            incoming: Some(Box::new(Incoming {
                handle,
                request: request.clone(),
                ringing: None,
                expires_at: headers
                    .expires()
                    .map(|seconds| now + Duration::from_secs(u64::from(seconds))),
            })),
            unacknowledged: None,
            ack_due: None,
            modification: None,
            peer_modification: None,
            refers: Default::default(),
            owns_call_id: false,
            hang_up: None,
            end_cause: None,
            extensions: Extensions::default(),
            armed: Armed::default(),
        });
        session.set_dialog(core, dialog);
        session.learn(headers);
        Ok(session)
    }

    /// A response to their INVITE or re-INVITE, with our tag.
    pub(super) fn response(&self, core: &Core, request: &Request, status: StatusCode) -> Response {
        let mut response = request.response(status);
        if let Some(dialog) = &self.dialog {
            response.headers.set(HeaderName::To, dialog.local().clone());
        }
        if status.0 > 100 && status.0 < 300 {
            for header in request
                .headers
                .iter()
                .filter(|header| header.name == HeaderName::RecordRoute)
            {
                response.headers.push_header(header.clone());
            }
            response
                .headers
                .push(HeaderName::Contact, self.contact.clone());
        }
        if status.is_success() {
            core.describe(&mut response.headers);
        }
        core.sign(&mut response);
        response
    }

    pub(crate) fn ring(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
        headers: Vec<Header>,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_headers(&headers)?;
        clean_body(body.as_ref())?;
        if !(101..200).contains(&status) {
            return Err(UaError::Invalid {
                what: "status",
                value: status.to_string(),
            });
        }
        if self.is_accepting() {
            return Err(self.wrong("ring"));
        }
        let Some(mut incoming) = self.incoming.take() else {
            return Err(self.wrong("ring"));
        };
        let mut response = self.response(core, &incoming.request, StatusCode(status));
        response.headers.extend(headers);
        response.body = put_body(&mut response.headers, body);
        let (handle, request) = (incoming.handle, incoming.request.clone());
        incoming.ringing = Some((response.clone(), now + RING_AGAIN));
        self.incoming = Some(incoming);
        self.send_provisional(core, now, handle, &request, response);
        Ok(())
    }

    pub(crate) fn accept(
        &mut self,
        core: &mut Core,
        now: Instant,
        headers: Vec<Header>,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_headers(&headers)?;
        clean_body(body.as_ref())?;
        if self.phase != Phase::Ringing || self.incoming.is_none() || self.is_accepting() {
            return Err(self.wrong("accept"));
        }
        if !self.hold_accept(&headers, body.as_ref()) {
            self.accept_now(core, now, headers, body);
        }
        Ok(())
    }

    /// Whether a 2xx of ours waits for a PRACK.
    fn is_accepting(&self) -> bool {
        let provisionals = self.extensions.provisionals.as_ref();
        provisionals.is_some_and(|provisionals| provisionals.holds_accept())
    }

    pub(super) fn accept_now(
        &mut self,
        core: &mut Core,
        now: Instant,
        headers: Vec<Header>,
        body: Option<Body>,
    ) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        self.stop_provisionals();
        let described = self
            .extensions
            .provisionals
            .as_ref()
            .is_some_and(|provisionals| provisionals.described);
        let mut response = self.response(core, &incoming.request, StatusCode(200));
        self.answer_timer(core, now, &incoming.request, &mut response);
        response.headers.extend(headers);
        // What was agreed in a reliable response is not said again (RFC 6337 section 2.2).
        response.body = put_body(&mut response.headers, body.filter(|_| !described));
        let target = core
            .server(incoming.handle)
            .map(|transaction| transaction.target.clone());
        let payload = core.respond(now, incoming.handle, &response);
        self.enter(Phase::Accepted);
        if let (Some(target), Some(payload)) = (target, payload) {
            self.await_ack(core, now, &incoming.request, payload, target, false);
        }
        if let Some(waiting) = &mut self.unacknowledged {
            waiting.had_offer |= described;
        }
    }

    pub(crate) fn reject(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
        reason: Option<&str>,
        headers: Vec<Header>,
    ) -> Result<(), UaError> {
        clean_headers(&headers)?;
        clean("reason", reason.unwrap_or_default())?;
        check_refusal(status)?;
        if self.phase != Phase::Ringing {
            return Err(self.wrong("reject"));
        }
        let Some(incoming) = self.incoming.take() else {
            return Err(self.wrong("reject"));
        };
        let mut response = self.response(core, &incoming.request, StatusCode(status));
        if let Some(reason) = reason {
            response.reason = Bytes::copy_from_slice(reason.as_bytes());
        }
        response.headers.extend(headers);
        core.respond(now, incoming.handle, &response);
        self.end(core, EndCause::LocalReject(status));
        Ok(())
    }

    /// A refusal without anything special about it.
    pub(super) fn answer_final(&mut self, core: &mut Core, now: Instant, status: StatusCode) {
        if let Some(incoming) = self.incoming.take() {
            let response = self.response(core, &incoming.request, status);
            core.respond(now, incoming.handle, &response);
        }
    }

    pub(super) fn ringing_timeout(&mut self, core: &mut Core, now: Instant) {
        let Some(incoming) = &mut self.incoming else {
            return;
        };
        if incoming.expires_at.is_some_and(|at| at <= now) {
            let request = incoming.request.clone();
            return self.give_up_incoming(core, now, request);
        }
        if let Some((response, at)) = &mut incoming.ringing
            && *at <= now
        {
            *at = now + RING_AGAIN;
            let (handle, request, mut again) =
                (incoming.handle, incoming.request.clone(), response.clone());
            let is_reliable = self.extensions.provisionals.is_some();
            if is_reliable {
                // Another number makes it another response, and a description in it would be another answer.
                again.headers.remove(&HeaderName::ContentType);
                again.body = Bytes::new();
            }
            self.send_provisional(core, now, handle, &request, again);
        }
    }
}

pub(super) fn check_refusal(status: u16) -> Result<(), UaError> {
    if (300..700).contains(&status) {
        return Ok(());
    }
    Err(UaError::Invalid {
        what: "status",
        value: status.to_string(),
    })
}
