//! The caller's side up to the final response: provisional responses, forks, challenges, redirects and
//! refusals (RFC 3261 sections 8.1.3 and 13.2).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::cancel::Cancel;
use super::prack::Branch;
use super::session_timer::seconds;
use super::{Extensions, Phase, Session};
use crate::auth::{Authenticator, MAX_TRIES};
use crate::dialog::{CallerSide, Dialog, Peer, next_hop, split_route};
use crate::headers::{Header, HeaderName, Headers};
use crate::ids::Token;
use crate::message::{Method, Request, Response};
use crate::transaction::Handle;
use crate::ua::{
    Armed, ClientUse, Core, EndCause, Event, Failure, Invite, InviteId, RELIABLE, Reliability,
    Source, Target, UaError, clean, clean_body, clean_headers, contact_value, cseq_value, put_body,
    with_tag,
};
use crate::uri::{Scheme, Uri};

/// Longest list of addresses that one 3xx may give.
const MAX_CONTACTS: usize = 10;

/// An INVITE of ours, until its ACK.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) invite: Invite,
    local_tag: Token,
    /// From with our tag.
    pub(super) local: Bytes,
    to: Bytes,
    pub(super) number: u32,
    /// Where the current INVITE went.
    uri: Uri,
    target: Target,
    pub(super) handle: Option<Handle>,
    pub(super) cancel: Cancel,
    /// What our CANCEL says beside what every CANCEL has, such as Reason.
    pub(super) cancel_headers: Vec<Header>,
    /// What a CANCEL is for; `Rejected` says it.
    pub(super) give_up: Failure,
    /// When ringing has been long enough.
    pub(super) ring_until: Option<Instant>,
    /// Addresses that redirects gave and that are not tried yet, best first.
    untried: Vec<Uri>,
    tried: Vec<String>,
    /// The early dialogs that came of it.
    pub(super) branches: Vec<Branch>,
}

impl Session {
    /// Sends an INVITE.
    pub(crate) fn dial(
        core: &mut Core,
        now: Instant,
        id: InviteId,
        invite: Invite,
    ) -> Result<Box<Self>, UaError> {
        clean("from", &invite.from)?;
        clean_headers(&invite.headers)?;
        clean_body(invite.body.as_ref())?;
        for (what, value) in [
            ("to", &invite.to),
            ("call id", &invite.call_id),
            ("contact user", &invite.contact_user),
        ] {
            clean(what, value.as_deref().unwrap_or_default())?;
        }
        for route in &invite.route {
            clean("route", route)?;
        }
        let local_tag = core.ids.tag();
        let call_id = invite.call_id.clone().unwrap_or_else(|| core.ids.call_id());
        let uri = invite.uri.without_headers();
        let to = invite.to.clone().unwrap_or_else(|| format!("<{uri}>"));
        let contact = match &invite.contact {
            Some(contact) => Bytes::from(format!("<{contact}>")),
            None => contact_value(
                core,
                invite.contact_user.as_deref(),
                invite.target.advertised,
                invite.target.protocol,
                uri.is_sips(),
            ),
        };
        let outgoing = Outgoing {
            local: with_tag(invite.from.as_bytes(), &local_tag),
            local_tag,
            to: Bytes::from(to),
            number: 0,
            target: invite.target.clone(),
            tried: vec![uri.as_str().to_owned()],
            uri,
            handle: None,
            cancel: Cancel::No,
            cancel_headers: Vec::new(),
            give_up: Failure::Cancelled,
            ring_until: None,
            untried: Vec::new(),
            branches: Vec::new(),
            invite,
        };
        let mut session = Box::new(Session {
            id,
            phase: Phase::Calling,
            call_id: Bytes::from(call_id),
            dialog: None,
            auth: Authenticator::new(outgoing.invite.credentials.clone()),
            contact,
            outgoing: Some(Box::new(outgoing)),
            incoming: None,
            unacknowledged: None,
            ack_due: None,
            modification: None,
            peer_modification: None,
            refers: Default::default(),
            owns_call_id: true,
            hang_up: None,
            end_cause: None,
            extensions: Extensions::default(),
            armed: Armed::default(),
        });
        let interval = session
            .outgoing
            .as_ref()
            .and_then(|outgoing| outgoing.invite.session_interval);
        session.extensions.interval = interval.map(seconds);
        session.send_invite(core, now, 1);
        Ok(session)
    }

    fn send_invite(&mut self, core: &mut Core, now: Instant, tries: u8) {
        let Some(mut outgoing) = self.outgoing.take() else {
            return;
        };
        outgoing.number += 1;
        let mut request = outgoing.request(&self.call_id);
        self.finish_request(core, &mut request);
        for header in &outgoing.invite.headers {
            request.headers.push_header(header.clone());
        }
        request.body = put_body(&mut request.headers, outgoing.invite.body.clone());
        if outgoing.invite.require_reliable || core.config.reliable == Reliability::Required {
            request
                .headers
                .push(HeaderName::Require, RELIABLE.as_bytes());
        }
        self.authorize(core, &mut request);
        let usage = ClientUse::Invite(self.id);
        outgoing.ring_until = None;
        outgoing.handle =
            Some(core.start_client(now, request, outgoing.target.clone(), usage, tries));
        self.outgoing = Some(outgoing);
    }

    /// A response to our INVITE, of whichever branch.
    pub(crate) fn receive_invite_response(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: Arc<Response>,
        source: &Source,
    ) {
        let status = response.status;
        if self.phase != Phase::Calling || self.current_invite() != Some(handle) {
            if status.is_success() {
                self.receive_other_success(core, now, handle, &response, source);
            }
            return;
        }
        if status.is_provisional() {
            self.receive_provisional(core, now, handle, response, source);
        } else if status.is_success() {
            self.auth.answered(&response.headers);
            self.receive_success(core, now, handle, response, source);
        } else {
            self.receive_refusal(core, now, handle, response);
        }
    }

    /// Whether an INVITE that failed at one address may be sent to the next (RFC 3263 section 4.3).
    /// One that rings already stays where it is: the next address would ring too.
    pub(crate) fn wants_another_address(&self, core: &Core, handle: Handle) -> bool {
        let outgoing = self.outgoing.as_ref();
        let rings = outgoing.is_some_and(|outgoing| !outgoing.branches.is_empty());
        if rings && core.is_proceeding(handle) {
            return false;
        }
        self.phase == Phase::Calling
            && self.current_invite() == Some(handle)
            && outgoing.is_some_and(|outgoing| outgoing.cancel == Cancel::No)
    }

    /// It was sent there.
    pub(crate) fn moved(&mut self, core: &mut Core, handle: Handle, target: Target) {
        self.drop_dialog(core);
        self.forget_update(core);
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.handle = Some(handle);
            outgoing.target = target;
            outgoing.ring_until = None;
        }
    }

    fn current_invite(&self) -> Option<Handle> {
        self.outgoing.as_ref()?.handle
    }

    fn receive_provisional(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: Arc<Response>,
        source: &Source,
    ) {
        if let Some(outgoing) = &mut self.outgoing {
            match outgoing.cancel {
                Cancel::Wanted => self.send_cancel(core, now),
                Cancel::No => outgoing.ring_until = Some(now + core.config.timer_c),
                Cancel::Sent => {}
            }
        }
        if response.status.0 == 100 {
            return;
        }
        let tag = response
            .headers
            .to()
            .ok()
            .and_then(|to| to.tag())
            .map(str::to_owned);
        let mut needs_prack = false;
        if let Some(tag) = &tag {
            if !self.is_in_order(core, &response, tag) {
                return;
            }
            self.follow_branch(core, handle, &response, source, tag);
            self.learn(&response.headers);
            needs_prack = self.acknowledge_provisional(core, now, &response, tag);
        }
        core.event(Event::Progress {
            invite: self.id,
            response,
            tag,
            needs_prack,
        });
    }

    /// The dialog that a response to our INVITE makes.
    pub(super) fn dialog_of(
        &self,
        core: &Core,
        handle: Handle,
        response: &Response,
        source: &Source,
    ) -> Option<Dialog> {
        let outgoing = self.outgoing.as_ref()?;
        let target = core.client_target(handle).unwrap_or(&outgoing.target);
        let peer = Peer::of_response(target, source);
        let tag = response
            .headers
            .to()
            .ok()
            .and_then(|to| to.tag())
            .unwrap_or_default();
        let call_id = std::str::from_utf8(&self.call_id).unwrap_or_default();
        let key = core.keys.dialog(call_id, &outgoing.local_tag, tag);
        let caller = CallerSide {
            call_id: &self.call_id,
            local: &outgoing.local,
            number: outgoing.number,
            request_uri: &outgoing.uri,
        };
        Some(Dialog::from_response(&caller, response, key, peer))
    }

    fn receive_refusal(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: Arc<Response>,
    ) {
        self.drop_dialog(core);
        self.forget_update(core);
        let status = response.status.0;
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        if outgoing.cancel != Cancel::No {
            let why = outgoing.give_up.clone();
            return self.fail_invite(core, why);
        }
        if matches!(status, 401 | 407) {
            let tries = core.client_tries(handle);
            match self.auth.challenged(&response.headers, tries) {
                Ok(()) => {
                    // The same server, by the same connection, knows the nonce.
                    if let Some(target) = core.client_target(handle) {
                        outgoing.target = target.clone();
                    }
                    return self.send_invite(core, now, tries.saturating_add(1));
                }
                Err(why) => tracing::debug!(invite = self.id.0, %why, "challenge not answered"),
            }
        } else if self.raise_interval(core, &response) {
            let tries = core.client_tries(handle);
            if tries < MAX_TRIES {
                return self.send_invite(core, now, tries.saturating_add(1));
            }
        } else if matches!(status, 415 | 488 | 606)
            && let Some(outgoing) = &mut self.outgoing
            && let Some(other) = outgoing.invite.fallback.take()
        {
            outgoing.invite.body = Some(other);
            if let Some(target) = core.client_target(handle) {
                outgoing.target = target.clone();
            }
            core.event(Event::OfferReplaced {
                invite: self.id,
                response,
            });
            return self.send_invite(core, now, 1);
        } else if let Some(outgoing) = &mut self.outgoing
            && response.status.is_redirect()
            && outgoing.invite.follow_redirects
        {
            outgoing.add_redirects(&response.headers, core.config.max_redirects);
        }
        // A 6xx speaks for every address (section 21.6).
        if status < 600 && self.try_next_address(core, now) {
            return;
        }
        self.fail_invite(core, Failure::Response(response));
    }

    fn try_next_address(&mut self, core: &mut Core, now: Instant) -> bool {
        let Some(outgoing) = &mut self.outgoing else {
            return false;
        };
        if outgoing.untried.is_empty() {
            return false;
        }
        let uri = outgoing.untried.remove(0);
        outgoing.tried.push(uri.as_str().to_owned());
        outgoing.target = next_hop(&uri, &outgoing.target);
        outgoing.uri = uri.without_headers();
        self.send_invite(core, now, 1);
        true
    }

    /// Nobody answered our INVITE, or it could not be sent.
    pub(crate) fn invite_failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        failure: Failure,
    ) {
        if self.phase != Phase::Calling || self.current_invite() != Some(handle) {
            return;
        }
        self.drop_dialog(core);
        let given_up = self
            .outgoing
            .as_ref()
            .filter(|outgoing| outgoing.cancel != Cancel::No)
            .map(|outgoing| outgoing.give_up.clone());
        match given_up {
            Some(why) => self.fail_invite(core, why),
            None if self.try_next_address(core, now) => {}
            None => self.fail_invite(core, failure),
        }
    }

    /// It rang for too long (timer C, which a caller without a proxy runs itself).
    pub(super) fn ring_limit(&mut self, core: &mut Core, now: Instant) {
        if let Some(outgoing) = &mut self.outgoing
            && outgoing.ring_until.is_some_and(|at| at <= now)
        {
            outgoing.ring_until = None;
            outgoing.give_up = Failure::Timeout;
            if outgoing.cancel == Cancel::No {
                self.send_cancel(core, now);
            }
        }
    }

    fn fail_invite(&mut self, core: &mut Core, cause: Failure) {
        core.event(Event::Rejected {
            invite: self.id,
            cause,
        });
        self.end(core, EndCause::Rejected);
    }
}

impl Outgoing {
    fn request(&self, call_id: &Bytes) -> Request {
        let routes: Vec<Bytes> = self
            .invite
            .route
            .iter()
            .map(|route| Bytes::from(route.clone()))
            .collect();
        let (uri, routes) = split_route(&self.uri, &routes);
        let mut headers = Headers::with_capacity(16 + routes.len());
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        let hops = Bytes::from(self.invite.max_forwards.to_string());
        headers.push(HeaderName::MaxForwards, hops);
        headers.push(HeaderName::From, self.local.clone());
        headers.push(HeaderName::To, self.to.clone());
        headers.push(HeaderName::CallId, call_id.clone());
        headers.push(HeaderName::CSeq, cseq_value(self.number, &Method::Invite));
        Request {
            method: Method::Invite,
            uri,
            headers,
            body: Bytes::new(),
        }
    }

    /// Adds the Contacts of a 3xx, by falling q, each address once (section 8.1.3.4).
    fn add_redirects(&mut self, headers: &Headers, limit: usize) {
        let mut found: Vec<(u32, Uri)> = headers
            .contacts()
            .take(MAX_CONTACTS)
            .filter_map(|contact| {
                let contact = contact.ok()?;
                let uri = contact.uri().ok()?;
                let callable = matches!(uri.kind(), Scheme::Sip | Scheme::Sips);
                callable.then(|| (quality(contact.param("q")), uri))
            })
            .collect();
        found.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
        for (_, uri) in found {
            let known = self
                .tried
                .iter()
                .map(String::as_str)
                .chain(self.untried.iter().map(Uri::as_str));
            let is_new = !known.into_iter().any(|known| known == uri.as_str());
            if is_new && self.tried.len() + self.untried.len() <= limit {
                self.untried.push(uri);
            }
        }
    }
}

/// q in thousandths; 1 when it is missing or not a number.
fn quality(q: Option<&str>) -> u32 {
    q.and_then(|q| q.trim().parse::<f32>().ok())
        .filter(|q| (0.0..=1.0).contains(q))
        .map_or(1000, |q| (q * 1000.0) as u32)
}
