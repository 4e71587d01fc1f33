//! Changing a session: re-INVITE both ways (RFC 3261 section 14).
//!
//! Invariant: at most one INVITE transaction is under way in a dialog, in either direction; a second one is
//! answered with 491 or 500, and ours is tried again after the random wait of section 14.1.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer::check_refusal;
use super::{Phase, Session};
use crate::auth::MAX_TRIES;
use crate::headers::HeaderName;
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::{Handle, Key};
use crate::ua::{
    Body, ClientUse, Core, EndCause, Event, Failure, ReinviteId, ServerUse, Source, UaError,
    clean_body, put_body,
};

/// How often a 491 is met with another try.
const MAX_RETRIES: u8 = 5;

/// A re-INVITE of ours.
#[derive(Debug)]
pub(super) struct Modification {
    id: ReinviteId,
    body: Option<Body>,
    /// The transaction, or `None` while waiting after a 491.
    handle: Option<Handle>,
    number: u32,
    retry_at: Option<Instant>,
    retries: u8,
}

impl Modification {
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

/// A re-INVITE of theirs that waits for our answer.
#[derive(Debug)]
pub(super) struct PeerModification {
    handle: Handle,
    request: Arc<Request>,
}

impl Session {
    pub(crate) fn reinvite(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ReinviteId,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        if self.phase != Phase::Established
            || self.modification.is_some()
            || self.is_modifying()
            || self.has_open_update()
            || self.has_waiting_update(core)
        {
            return Err(self.wrong("modify"));
        }
        self.modification = Some(Box::new(Modification {
            id,
            body,
            handle: None,
            number: 0,
            retry_at: None,
            retries: 0,
        }));
        self.send_reinvite(core, now, 1);
        Ok(())
    }

    /// Whether an INVITE transaction is under way that is not a re-INVITE of ours.
    pub(super) fn is_modifying(&self) -> bool {
        self.peer_modification.is_some() || self.unacknowledged.is_some() || self.ack_due.is_some()
    }

    /// Whether an offer in a re-INVITE of ours is not answered.
    pub(super) fn is_reinviting(&self) -> bool {
        self.modification
            .as_ref()
            .is_some_and(|ours| ours.handle.is_some())
    }

    fn send_reinvite(&mut self, core: &mut Core, now: Instant, tries: u8) {
        let Some(mut modification) = self.modification.take() else {
            return;
        };
        if let Some((mut request, target)) = self.request(core, Method::Invite) {
            request.body = put_body(&mut request.headers, modification.body.clone());
            self.authorize(core, &mut request);
            modification.number = self
                .dialog
                .as_ref()
                .map_or(0, |dialog| dialog.local_number());
            modification.retry_at = None;
            modification.handle =
                Some(core.start_client(now, request, target, ClientUse::Reinvite(self.id), tries));
            self.modification = Some(modification);
        }
    }

    pub(super) fn retry_modification(&mut self, core: &mut Core, now: Instant) {
        let busy = self.is_modifying();
        let Some(modification) = &mut self.modification else {
            return;
        };
        if modification.retry_at.is_none_or(|at| at > now) {
            return;
        }
        if busy {
            modification.retry_at = Some(now + core.timings.t1);
        } else {
            self.send_reinvite(core, now, 1);
        }
    }

    /// A response to our re-INVITE.
    pub(crate) fn receive_reinvite_response(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: Arc<Response>,
        source: &Source,
    ) {
        let current = self
            .modification
            .as_ref()
            .filter(|current| current.handle == Some(handle));
        let Some(current) = current else {
            if response.status.is_success() && self.ack_due.is_none() {
                super::acknowledge_stray(core, now, handle, &response, source, false);
            }
            return;
        };
        let (id, number, had_offer) = (current.id, current.number, current.body.is_some());
        if response.status.is_provisional() {
            core.limit_client(handle, now + core.config.timer_c);
            return;
        }
        if response.status.is_success() {
            self.auth.answered(&response.headers);
            self.modification = None;
            if let Some(dialog) = &mut self.dialog {
                dialog.refresh_target(&response.headers);
            }
            self.learn(&response.headers);
            self.timer_answered(core, now, &response.headers);
            if had_offer {
                self.send_ack(core, handle, number, None);
            } else {
                self.ack_later(handle, number);
            }
            let result = Ok(response);
            core.event(Event::ReinviteAnswered {
                invite: self.id,
                reinvite: id,
                result,
            });
            return;
        }
        if matches!(response.status.0, 401 | 407) {
            let tries = core.client_tries(handle);
            if self.auth.challenged(&response.headers, tries).is_ok() {
                return self.send_reinvite(core, now, tries.saturating_add(1));
            }
        }
        if response.status.0 == 491 && self.wait_after_glare(core, now) {
            return;
        }
        if self.raise_interval(core, &response) {
            let tries = core.client_tries(handle);
            if tries < MAX_TRIES {
                return self.send_reinvite(core, now, tries.saturating_add(1));
            }
        }
        self.reinvite_failed(core, now, handle, Failure::Response(response));
    }

    /// Sets the random wait of section 14.1. `false` when there were enough tries.
    fn wait_after_glare(&mut self, core: &mut Core, now: Instant) -> bool {
        let wait = self.glare_wait(core);
        let Some(modification) = &mut self.modification else {
            return false;
        };
        if modification.retries >= MAX_RETRIES {
            return false;
        }
        modification.retries += 1;
        modification.handle = None;
        modification.retry_at = Some(now + wait);
        true
    }

    /// In steps of 10 ms: 2.1 to 4 s for who made the Call-ID, 0 to 2 s for the other.
    pub(super) fn glare_wait(&self, core: &mut Core) -> Duration {
        let steps = if self.owns_call_id {
            210 + core.ids.below(191)
        } else {
            core.ids.below(201)
        };
        Duration::from_millis(10 * steps)
    }

    /// Our re-INVITE got no answer.
    pub(crate) fn reinvite_unanswered(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        failure: Failure,
    ) {
        let is_current = |current: &Modification| current.handle == Some(handle);
        if !self.modification.as_deref().is_some_and(is_current) {
            return;
        }
        // A broken connection says nothing about the peer: the address is tried before it is given up.
        let flow = core.client_target(handle).and_then(|target| target.flow);
        let tries = core.client_tries(handle);
        if matches!(failure, Failure::Transport(_))
            && flow.is_some_and(|flow| !core.is_live(flow))
            && tries < MAX_TRIES
        {
            return self.send_reinvite(core, now, tries.saturating_add(1));
        }
        self.reinvite_failed(core, now, handle, failure);
    }

    /// Our re-INVITE has come to nothing.
    fn reinvite_failed(&mut self, core: &mut Core, now: Instant, handle: Handle, failure: Failure) {
        let current = self
            .modification
            .take_if(|current| current.handle == Some(handle));
        let Some(current) = current else {
            return;
        };
        core.event(Event::ReinviteAnswered {
            invite: self.id,
            reinvite: current.id,
            result: Err(failure.clone()),
        });
        self.judge(core, now, &Err(failure));
    }

    /// Their re-INVITE.
    pub(super) fn receive_reinvite(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        // Whoever sends a re-INVITE has seen our 2xx, so its ACK was lost. Only if that ACK had to bring an
        // answer is the session unfinished (RFC 5407 section 3.1.4).
        if self
            .unacknowledged
            .as_ref()
            .is_some_and(|waiting| waiting.had_offer)
        {
            self.acknowledged(core, Bytes::new(), None);
        }
        let status = match self.phase {
            Phase::Ringing => 500,
            Phase::Established if self.peer_modification.is_some() => 500,
            Phase::Established if self.hang_up.is_some() => 481,
            Phase::Established => {
                let ours = self
                    .modification
                    .as_ref()
                    .is_some_and(|ours| ours.handle.is_some());
                let offered = self.has_open_update();
                if self.has_waiting_update(core) {
                    500
                } else if ours || offered || self.is_modifying() {
                    491
                } else {
                    0
                }
            }
            Phase::Closing | Phase::Lingering | Phase::Over => 481,
            Phase::Calling | Phase::Accepted | Phase::AckDue => 491,
        };
        // A refusal has a transaction too: a copy of the INVITE must not look like one out of order.
        let usage = ServerUse::Reinvite(self.id);
        let handle = core.start_server(now, source, request, key, None, usage);
        if status == 0
            && let Some(response) = self.too_brief(core, request)
        {
            core.respond(now, handle, &response);
            return;
        }
        if status == 0 {
            core.rearm_server(now, handle);
            self.peer_modification = Some(PeerModification {
                handle,
                request: request.clone(),
            });
            core.event(Event::Reinvite {
                invite: self.id,
                request: request.clone(),
            });
            return;
        }
        let mut response = self.response(core, request, StatusCode(status));
        if status == 500 {
            let seconds = core.ids.below(11);
            response
                .headers
                .push(HeaderName::RetryAfter, seconds.to_string());
        }
        core.respond(now, handle, &response);
        // The ACK for which our BYE waited will not come.
        if self.phase == Phase::Established
            && let Some(headers) = self.hang_up.take()
        {
            self.send_bye(core, now, headers, EndCause::LocalBye);
        }
    }

    pub(crate) fn accept_reinvite(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        let theirs = self
            .peer_modification
            .take()
            .ok_or(self.wrong("accept a re-invite"))?;
        if let Some(dialog) = &mut self.dialog {
            dialog.refresh_target(&theirs.request.headers);
        }
        let mut response = self.response(core, &theirs.request, StatusCode(200));
        self.learn(&theirs.request.headers);
        self.answer_timer(core, now, &theirs.request, &mut response);
        response.body = put_body(&mut response.headers, body);
        let target = core
            .server(theirs.handle)
            .map(|transaction| transaction.target.clone());
        let payload = core.respond(now, theirs.handle, &response);
        if let (Some(target), Some(payload)) = (target, payload) {
            self.await_ack(core, now, &theirs.request, payload, target, true);
        }
        Ok(())
    }

    pub(crate) fn reject_reinvite(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
    ) -> Result<(), UaError> {
        check_refusal(status)?;
        let theirs = self
            .peer_modification
            .take()
            .ok_or(self.wrong("reject a re-invite"))?;
        let response = self.response(core, &theirs.request, StatusCode(status));
        core.respond(now, theirs.handle, &response);
        Ok(())
    }

    /// The peer withdrew its re-INVITE.
    pub(crate) fn cancel_reinvite(&mut self, core: &mut Core, now: Instant) {
        if self.refuse_peer_modification(core, now) {
            core.event(Event::ReinviteCancelled { invite: self.id });
        }
    }

    fn refuse_peer_modification(&mut self, core: &mut Core, now: Instant) -> bool {
        let Some(theirs) = self.peer_modification.take() else {
            return false;
        };
        let response = self.response(core, &theirs.request, StatusCode(487));
        core.respond(now, theirs.handle, &response);
        true
    }

    /// The call ends: what is under way is not any more. A 2xx to ours is still acknowledged when it comes.
    pub(super) fn abandon_modifications(&mut self, core: &mut Core, now: Instant) {
        self.refuse_peer_modification(core, now);
        self.modification = None;
        self.abandon_updates(core, now);
    }
}
