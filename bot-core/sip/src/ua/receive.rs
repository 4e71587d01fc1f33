//! What comes in, and whose it is: transactions first, then dialogs, then the rest (RFC 3261 sections 8.2,
//! 9.2, 12.2.2 and 18.1.2).

use std::sync::Arc;
use std::time::Instant;

use super::{
    ClientUse, Event, FailedTransport, Failure, InviteId, RELIABLE, RegistrationId, Reliability,
    ServerRequestId, ServerUse, Source, UserAgent,
};
use crate::headers::{HeaderName, Headers};
use crate::invite::{Session, acknowledge_stray, replaced, too_brief};
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::{Handle, Key};
use crate::uri::Scheme;
use crate::wire::ParseError;

impl UserAgent {
    /// What is no message gets 400 when it is plain where that goes.
    pub(super) fn receive_malformed(&mut self, source: &Source, why: &ParseError) {
        tracing::debug!(%why, remote = %source.remote, "malformed message");
        let Some(mut response) = why.answer() else {
            return;
        };
        let Some(salvage) = why.salvage() else {
            return;
        };
        if response.status == StatusCode(400) {
            response.reason = bytes::Bytes::from(format!("Bad Request: {why}"));
        }
        let request = Request {
            method: salvage.method.clone().unwrap_or(Method::Options),
            uri: match "sip:malformed.invalid".parse() {
                Ok(uri) => uri,
                Err(_) => return,
            },
            headers: salvage.headers.clone(),
            body: bytes::Bytes::new(),
        };
        if response.headers.stamp_source(source.remote).is_ok() {
            self.core.respond_stateless(source, &request, response);
        }
    }

    pub(super) fn receive_request(&mut self, now: Instant, source: &Source, mut request: Request) {
        if let Err(why) = request.check() {
            tracing::debug!(%why, remote = %source.remote, "bad request");
            return self.refuse_malformed(source, request, &why.to_string());
        }
        if request.headers.stamp_source(source.remote).is_err() {
            return;
        }
        let request = Arc::new(request);
        let Ok(via) = request.headers.via() else {
            return;
        };
        match request.method {
            Method::Ack => {
                let key = self.core.server_key(&request, &via, &Method::Invite);
                self.receive_ack(now, &request, key);
            }
            Method::Cancel => {
                let key = self.core.server_key(&request, &via, &Method::Invite);
                self.receive_cancel(now, source, &request, key);
            }
            _ => {
                let key = self.core.server_key(&request, &via, &request.method);
                match self.core.find_server(key) {
                    Some(handle) => self.core.server_again(handle),
                    None => self.receive_new(now, source, &request, key),
                }
            }
        }
    }

    /// The client knows the answer by its Via and CSeq, so those are enough (RFC 4475 section 3.3.1).
    fn refuse_malformed(&mut self, source: &Source, mut request: Request, why: &str) {
        let headers = &mut request.headers;
        if !headers.contains(&HeaderName::CSeq) || !headers.contains(&HeaderName::Via) {
            return;
        }
        let stamped = headers.stamp_source(source.remote).is_ok();
        let mut response = request.response(StatusCode(400));
        response.reason = bytes::Bytes::from(format!("Bad Request: {why}"));
        if stamped {
            self.core.respond_stateless(source, &request, response);
        } else if request.method != Method::Ack {
            // No Via says where the answer belongs, but somebody asked (RFC 4475 section 3.1.2.1).
            self.core.respond_to_source(source, response);
        }
    }

    fn receive_ack(&mut self, now: Instant, request: &Request, key: Key) {
        if let Some(handle) = self.core.find_server(key)
            && self.core.server_ack(now, handle)
        {
            return;
        }
        if let Some(id) = self.dialog_of(request) {
            self.with_session(id, |session, core| session.receive_ack(core, now, request));
        }
    }

    fn receive_cancel(&mut self, now: Instant, source: &Source, request: &Arc<Request>, key: Key) {
        let Some(handle) = self.core.find_server(key) else {
            return self.refuse(source, request, 481);
        };
        let (usage, is_open) = match self.core.server(handle) {
            Some(transaction) => (transaction.usage, transaction.is_open()),
            None => return,
        };
        // A copy of the CANCEL finds the INVITE again, so the answer needs no memory of its own.
        let mut response = request.response(StatusCode(200));
        if let ServerUse::Invite(id) = usage
            && let Some(tag) = self
                .invites
                .get(&id)
                .and_then(|session| session.local_tag())
        {
            self.core.tag_to(&mut response, Some(&tag));
        }
        self.core.respond_stateless(source, request, response);
        if !is_open {
            return;
        }
        match usage {
            ServerUse::Invite(id) => {
                self.with_session(id, |session, core| {
                    session.give_up_incoming(core, now, request.clone());
                });
            }
            ServerUse::Reinvite(id) => {
                self.with_session(id, |session, core| session.cancel_reinvite(core, now));
            }
            ServerUse::Other(_) => {}
        }
    }

    /// A request that is no copy of one that is being dealt with.
    fn receive_new(&mut self, now: Instant, source: &Source, request: &Arc<Request>, key: Key) {
        let has_tag = request.headers.to().is_ok_and(|to| to.tag().is_some());
        let merged = if has_tag {
            None
        } else {
            self.core.merged_key(request)
        };
        if merged.is_some_and(|merged| self.core.is_merged(merged)) {
            return self.refuse(source, request, 482);
        }
        if let Some(response) = self.objection(request) {
            return self.core.respond_stateless(source, request, response);
        }
        if has_tag {
            return match self.dialog_of(request) {
                Some(id) => {
                    self.with_session(id, |session, core| {
                        session.receive_request(core, now, source, request, key);
                    });
                }
                None => self.receive_in_subscription(now, source, request, key),
            };
        }
        match request.method {
            Method::Invite => self.receive_invite(now, source, request, key, merged),
            // These live in dialogs only.
            Method::Bye | Method::Info | Method::Prack | Method::Update => {
                self.refuse(source, request, 481)
            }
            _ if self.core.is_full() => self.core.respond_busy(source, request),
            Method::Subscribe if !self.core.config.packages.is_empty() => {
                self.receive_subscribe(now, source, request, key, merged);
            }
            _ => {
                let usage = ServerUse::Other(None);
                let handle = self
                    .core
                    .start_server(now, source, request, key, merged, usage);
                self.core.rearm_server(now, handle);
                self.core.event(Event::Request {
                    id: ServerRequestId(handle.to_bits()),
                    request: request.clone(),
                    source: source.clone(),
                });
            }
        }
    }

    /// What section 8.2 has a server refuse whatever the method.
    fn objection(&self, request: &Request) -> Option<Response> {
        let headers = &request.headers;
        if self.core.config.refuse_zero_hops && headers.max_forwards() == Some(0) {
            return Some(request.response(StatusCode(483)));
        }
        if request.uri.kind() == Scheme::Other {
            return Some(request.response(StatusCode(416)));
        }
        let supported = &self.core.extensions;
        let unknown: Vec<&str> = headers
            .values(&HeaderName::Require)
            .filter(|tag| {
                !tag.is_empty()
                    && !supported
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(tag))
            })
            .collect();
        if !unknown.is_empty() {
            let mut response = request.response(StatusCode(420));
            response
                .headers
                .push(HeaderName::Unsupported, unknown.join(", "));
            return Some(response);
        }
        let encoding = headers.get(&HeaderName::ContentEncoding);
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            let mut response = request.response(StatusCode(415));
            response
                .headers
                .push(HeaderName::AcceptEncoding, &b"identity"[..]);
            return Some(response);
        }
        if request.method == Method::Register
            && headers.get(&HeaderName::Contact).map(str::trim) != Some("*")
            && let Some(Err(why)) = headers.contacts().find(Result::is_err)
        {
            let mut response = request.response(StatusCode(400));
            response.reason = bytes::Bytes::from(format!("Bad Request: {why}"));
            return Some(response);
        }
        if request.method == Method::Invite && !takes_descriptions(headers) {
            let mut response = request.response(StatusCode(406));
            response.headers.push(
                HeaderName::Warning,
                &b"304 callbot \"calls are described by application/sdp\""[..],
            );
            return Some(response);
        }
        None
    }

    /// What our own settings have a caller do.
    fn missing_extension(&self, request: &Request) -> Option<Response> {
        let headers = &request.headers;
        let config = &self.core.config;
        let is_reliable = headers.contains_token(&HeaderName::Supported, RELIABLE)
            || headers.contains_token(&HeaderName::Require, RELIABLE);
        if config.reliable == Reliability::Required && !is_reliable {
            let mut response = request.response(StatusCode(421));
            response
                .headers
                .push(HeaderName::Require, RELIABLE.as_bytes());
            return Some(response);
        }
        let least = too_brief(config.session_timer.as_ref(), headers)?;
        let mut response = request.response(StatusCode(422));
        response.headers.push(HeaderName::MinSe, least.to_string());
        Some(response)
    }

    fn receive_invite(
        &mut self,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
        merged: Option<Key>,
    ) {
        if self.invites.len() >= self.core.config.max_calls || self.core.is_full() {
            return self.core.respond_busy(source, request);
        }
        let replaces = match replaced(&self.core, &self.invites, request) {
            Ok(replaces) => replaces,
            Err(status) => return self.refuse(source, request, status),
        };
        if let Some(response) = self.missing_extension(request) {
            return self.core.respond_stateless(source, request, response);
        }
        let id = InviteId(self.next_id());
        let usage = ServerUse::Invite(id);
        let handle = self
            .core
            .start_server(now, source, request, key, merged, usage);
        match Session::incoming(&mut self.core, now, id, handle, request, source) {
            Ok(mut session) => {
                if let Some(contact) = self.contact_for(request, source) {
                    session.set_contact(&contact);
                }
                self.core.rearm_server(now, handle);
                session.arm(&mut self.core);
                self.invites.insert(id, session);
                self.core.event(Event::Incoming {
                    invite: id,
                    request: request.clone(),
                    source: source.clone(),
                    replaces,
                });
            }
            Err(why) => {
                let mut response = request.response(StatusCode(400));
                response.reason = bytes::Bytes::from(format!("Bad Request: {why}"));
                self.core.tag_to(&mut response, None);
                self.core.sign(&mut response);
                self.core.respond(now, handle, &response);
            }
        }
    }

    pub(super) fn refuse(&mut self, source: &Source, request: &Request, status: u16) {
        let response = request.response(StatusCode(status));
        self.core.respond_stateless(source, request, response);
    }

    /// The call whose dialog a request names.
    fn dialog_of(&self, request: &Request) -> Option<InviteId> {
        let headers = &request.headers;
        let local_tag = headers.to().ok()?.tag().unwrap_or_default();
        let from = headers.from().ok()?;
        let key = self.core.keys.dialog(
            headers.call_id().ok()?,
            local_tag,
            from.tag().unwrap_or_default(),
        );
        self.core.dialogs.get(&key).copied()
    }

    pub(super) fn receive_response(&mut self, now: Instant, source: &Source, response: Response) {
        let Some(handle) = self.core.client_of(&response) else {
            return;
        };
        if let Err(why) = response.check() {
            tracing::debug!(%why, remote = %source.remote, "bad response");
            return;
        }
        self.core.learn_flow(handle, source);
        if !self.core.client_receive(now, handle, &response) {
            return;
        }
        let Some(usage) = self.core.client_usage(handle) else {
            return;
        };
        if response.status.0 == 503 && self.fail_over(now, handle, usage) {
            return self.core.settle_client(now, handle);
        }
        let response = Arc::new(response);
        match usage {
            ClientUse::Invite(id) if self.invites.contains_key(&id) => {
                self.with_session(id, |session, core| {
                    session.receive_invite_response(core, now, handle, response, source);
                });
            }
            ClientUse::Reinvite(id) if self.invites.contains_key(&id) => {
                self.with_session(id, |session, core| {
                    session.receive_reinvite_response(core, now, handle, response, source);
                });
            }
            ClientUse::Invite(_) | ClientUse::Reinvite(_) => {
                if response.status.is_success() {
                    let hang_up = matches!(usage, ClientUse::Invite(_));
                    acknowledge_stray(&mut self.core, now, handle, &response, source, hang_up);
                }
            }
            ClientUse::Bye(id)
            | ClientUse::Info(id)
            | ClientUse::Prack(id)
            | ClientUse::Update(id)
            | ClientUse::Probe(id)
            | ClientUse::Inside(id, _) => {
                self.with_session(id, |session, core| {
                    session.receive_inside_response(core, now, handle, usage, response);
                });
            }
            ClientUse::Refer(_)
            | ClientUse::ReferNews(_)
            | ClientUse::Subscribe(_)
            | ClientUse::Notify(_)
            | ClientUse::Publish(_) => {
                self.receive_subscription_response(now, handle, usage, response, source);
            }
            ClientUse::Detached(_) => {}
            ClientUse::Request(id) => self.receive_single_response(now, id, handle, response),
            ClientUse::Register(id) => {
                self.with_registration(now, id, |registered, core| {
                    registered.receive(core, now, handle, &response, source);
                });
            }
        }
        self.core.settle_client(now, handle);
    }

    pub(super) fn client_timeout(&mut self, now: Instant, handle: Handle) {
        if let Some(usage) = self.core.client_timeout(now, handle) {
            self.client_failed(now, handle, usage, Failure::Timeout);
        }
    }

    /// A connection closed, or a message could not be sent; `why` ends up in the events.
    pub fn transport_failed(&mut self, now: Instant, failed: &FailedTransport, why: String) {
        if let Some(flow) = failed.flow {
            self.core.forget_flow(flow);
        }
        for handle in self.core.clients_on(failed) {
            let Some(usage) = self.core.client_usage(handle) else {
                continue;
            };
            self.client_failed(now, handle, usage, Failure::Transport(why.clone()));
        }
        if let Some(flow) = failed.flow {
            let lost: Vec<RegistrationId> = self
                .registrations
                .iter()
                .filter(|(_, registered)| registered.uses(flow))
                .map(|(id, _)| *id)
                .collect();
            for id in lost {
                self.with_registration(now, id, |registered, core| {
                    registered.flow_lost(core, now, &why);
                });
            }
        }
    }

    /// A request of ours got no answer.
    fn client_failed(&mut self, now: Instant, handle: Handle, usage: ClientUse, failure: Failure) {
        if self.fail_over(now, handle, usage) {
            self.core.remove_client(handle);
            return;
        }
        match usage {
            ClientUse::Invite(id) => {
                self.with_session(id, |session, core| {
                    session.invite_failed(core, now, handle, failure)
                });
            }
            ClientUse::Reinvite(id) => {
                self.with_session(id, |session, core| {
                    session.reinvite_unanswered(core, now, handle, failure)
                });
            }
            ClientUse::Bye(id)
            | ClientUse::Info(id)
            | ClientUse::Prack(id)
            | ClientUse::Update(id)
            | ClientUse::Probe(id)
            | ClientUse::Inside(id, _) => {
                self.with_session(id, |session, core| {
                    session.inside_failed(core, now, handle, usage, failure);
                });
            }
            ClientUse::Refer(_)
            | ClientUse::ReferNews(_)
            | ClientUse::Subscribe(_)
            | ClientUse::Notify(_)
            | ClientUse::Publish(_) => self.subscription_failed(now, handle, usage, failure),
            ClientUse::Detached(_) => {}
            ClientUse::Request(id) => self.single_finished(id, Err(failure)),
            ClientUse::Register(id) => {
                self.with_registration(now, id, |registered, core| {
                    registered.failed(core, now, handle, &failure);
                });
            }
        }
        self.core.remove_client(handle);
    }
}

/// Whether an answer may hold a session description: without Accept it may (RFC 3261 section 20.1).
fn takes_descriptions(headers: &Headers) -> bool {
    let mut accepted = headers.values(&HeaderName::Accept).peekable();
    accepted.peek().is_none()
        || accepted.any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            ["application/sdp", "application/*", "*/*"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(range))
        })
}
