//! UPDATE both ways (RFC 3311): offers in early dialogs, and the refresh of a session timer.
//!
//! Invariant: of each side at most one UPDATE is under way, and none brings an offer while another offer, by whatever
//! method, is not answered (section 5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::check_refusal;
use super::{Phase, Session};
use crate::headers::HeaderName;
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::{Handle, Key};
use crate::ua::{
    Body, ClientUse, Core, Event, Failure, ServerUse, Source, UaError, UpdateId, clean_body,
    put_body,
};

/// How often a 491 or a 500 with Retry-After is met with another try.
const MAX_RETRIES: u8 = 5;
/// The longest Retry-After that is waited for.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// An UPDATE of ours.
#[derive(Debug)]
pub(super) struct Update {
    /// `None` for a refresh, of which only a failure is told.
    id: Option<UpdateId>,
    body: Option<Body>,
    /// When it is sent again; `None` while it is out.
    retry_at: Option<Instant>,
    retries: u8,
}

impl Update {
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    fn is_open_offer(&self) -> bool {
        self.body.is_some() && self.retry_at.is_none()
    }
}

/// An offer of theirs, in UPDATE or PRACK, that waits for our answer.
#[derive(Debug)]
pub(super) struct PeerUpdate {
    pub(super) handle: Handle,
    pub(super) request: Arc<Request>,
}

impl Session {
    /// Whether an offer of ours is out and not answered.
    fn has_offered(&self) -> bool {
        let calling = self.phase == Phase::Calling
            && self
                .outgoing
                .as_ref()
                .is_some_and(|outgoing| outgoing.invite.body.is_some())
            && self
                .current_branch()
                .is_none_or(|branch| branch.answer.is_none());
        calling
            || self.has_open_update()
            || self
                .extensions
                .provisionals
                .as_ref()
                .is_some_and(|provisionals| provisionals.has_open_offer())
            || self
                .unacknowledged
                .as_ref()
                .is_some_and(|waiting| !waiting.had_offer)
            || self.is_reinviting()
    }

    /// Whether an UPDATE of ours with an offer is not answered.
    pub(super) fn has_open_update(&self) -> bool {
        let update = self.extensions.update.as_ref();
        update.is_some_and(|update| update.is_open_offer())
    }

    /// Whether an offer of theirs waits for our answer, or none may be made yet.
    fn owes_answer(&self) -> bool {
        let ringing = self.phase == Phase::Ringing
            && !self
                .extensions
                .provisionals
                .as_ref()
                .is_some_and(|provisionals| {
                    provisionals.described || provisionals.has_open_description()
                });
        // Before our INVITE without an offer got one, there is nothing to change.
        let calling = self.phase == Phase::Calling
            && self
                .outgoing
                .as_ref()
                .is_some_and(|outgoing| outgoing.invite.body.is_none())
            && self.current_branch().is_none_or(|branch| !branch.answered);
        ringing || calling || self.peer_modification.is_some() || self.ack_due.is_some()
    }

    /// Whether an UPDATE of theirs with an offer waits for our answer; one that nobody answered in time does not.
    pub(super) fn has_waiting_update(&self, core: &Core) -> bool {
        self.extensions.peer_update.as_ref().is_some_and(|update| {
            core.server(update.handle)
                .is_some_and(|transaction| transaction.is_open())
        })
    }

    /// Why an offer of theirs cannot be taken now: the status of section 5.2.
    pub(super) fn offer_obstacle(&self, core: &Core) -> Option<u16> {
        if self.has_waiting_update(core) {
            return Some(500);
        }
        if self.has_offered() {
            return Some(491);
        }
        self.owes_answer().then_some(500)
    }

    /// The refusal of an offer that came at the wrong time.
    pub(super) fn obstructed(&self, core: &mut Core, request: &Request, status: u16) -> Response {
        let mut response = self.response(core, request, StatusCode(status));
        if status == 500 {
            let seconds = core.ids.below(11);
            response
                .headers
                .push(HeaderName::RetryAfter, seconds.to_string());
        }
        response
    }

    // ---- ours --------------------------------------------------------------

    /// Sends an UPDATE: with an offer, or without one to refresh.
    pub(crate) fn update(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: Option<UpdateId>,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        let early = matches!(self.phase, Phase::Calling | Phase::Ringing);
        let is_ready = self.dialog.is_some()
            && (early || self.phase == Phase::Established)
            && self.hang_up.is_none()
            && self.extensions.update.is_none()
            && self.extensions.updates;
        let is_blocked =
            body.is_some() && (self.has_offered() || self.offer_obstacle(core).is_some());
        // The callee may not until its answer has arrived (section 5.1).
        let is_unsure = self.phase == Phase::Ringing
            && body.is_some()
            && !self
                .extensions
                .provisionals
                .as_ref()
                .is_some_and(|provisionals| provisionals.described && !provisionals.holds_accept());
        if !is_ready || is_blocked || is_unsure {
            return Err(self.wrong("send UPDATE"));
        }
        self.extensions.update = Some(Box::new(Update {
            id,
            body,
            retry_at: None,
            retries: 0,
        }));
        self.send_update(core, now);
        Ok(())
    }

    fn send_update(&mut self, core: &mut Core, now: Instant) {
        let Some((mut request, target)) = self.request(core, Method::Update) else {
            return self.forget_update(core);
        };
        let Some(update) = &mut self.extensions.update else {
            return;
        };
        update.retry_at = None;
        request.body = put_body(&mut request.headers, update.body.clone());
        self.authorize(core, &mut request);
        core.start_client(now, request, target, ClientUse::Update(self.id), 1);
    }

    /// The dialog that our UPDATE belonged to is gone, and with it what a PRACK was to say there.
    pub(super) fn forget_update(&mut self, core: &mut Core) {
        self.extensions.prack_due = None;
        let update = self.extensions.update.take();
        if let Some(update) = update.and_then(|update| update.id) {
            core.event(Event::UpdateAnswered {
                invite: self.id,
                update,
                result: Err(Failure::Cancelled),
            });
        }
    }

    pub(super) fn retry_update(&mut self, core: &mut Core, now: Instant) {
        let due = |update: &Update| update.retry_at.is_some_and(|at| at <= now);
        if self.extensions.update.as_deref().is_some_and(due) {
            self.send_update(core, now);
        }
    }

    /// Our UPDATE is finished, or is to be tried again.
    pub(super) fn update_finished(
        &mut self,
        core: &mut Core,
        now: Instant,
        result: Result<Arc<Response>, Failure>,
    ) {
        if let Err(Failure::Response(response)) = &result
            && self.wait_to_update(core, now, response)
        {
            return;
        }
        let Some(update) = self.extensions.update.take() else {
            return;
        };
        if let Ok(response) = &result {
            if let Some(dialog) = &mut self.dialog {
                dialog.refresh_target(&response.headers);
            }
            self.learn(&response.headers);
            self.timer_answered(core, now, &response.headers);
        }
        match update.id {
            Some(update) => core.event(Event::UpdateAnswered {
                invite: self.id,
                update,
                result: result.clone(),
            }),
            None => self.refreshed(core, &result),
        }
        self.judge(core, now, &result);
    }

    /// Whether a refusal is met with another try.
    fn wait_to_update(&mut self, core: &mut Core, now: Instant, response: &Response) -> bool {
        let raised = self.raise_interval(core, response);
        let wait = match response.status.0 {
            422 if raised => Duration::ZERO,
            491 => self.glare_wait(core),
            500 => match response.headers.retry_after() {
                Some(seconds) => Duration::from_secs(u64::from(seconds)).min(MAX_WAIT),
                None => return false,
            },
            _ => return false,
        };
        let Some(update) = &mut self.extensions.update else {
            return false;
        };
        if update.retries >= MAX_RETRIES {
            return false;
        }
        update.retries += 1;
        update.retry_at = Some(now + wait);
        true
    }

    // ---- theirs ------------------------------------------------------------

    /// An UPDATE in the dialog.
    pub(super) fn receive_update(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        let obstacle = if matches!(self.phase, Phase::Closing | Phase::Lingering | Phase::Over) {
            Some(481)
        } else if self.has_waiting_update(core) {
            Some(500)
        } else if request.body.is_empty() {
            None
        } else {
            self.offer_obstacle(core)
        };
        if let Some(status) = obstacle {
            let response = self.obstructed(core, request, status);
            return self.answer_inside(core, now, source, request, key, response);
        }
        if let Some(response) = self.too_brief(core, request) {
            return self.answer_inside(core, now, source, request, key, response);
        }
        if request.body.is_empty() {
            if let Some(dialog) = &mut self.dialog {
                dialog.refresh_target(&request.headers);
            }
            let mut response = self.response(core, request, StatusCode(200));
            self.answer_timer(core, now, request, &mut response);
            return self.answer_inside(core, now, source, request, key, response);
        }
        let usage = ServerUse::Other(Some(self.id));
        let handle = core.start_server(now, source, request, key, None, usage);
        core.rearm_server(now, handle);
        self.extensions.peer_update = Some(Box::new(PeerUpdate {
            handle,
            request: request.clone(),
        }));
        core.event(Event::Update {
            invite: self.id,
            request: request.clone(),
        });
    }

    pub(crate) fn accept_update(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        let theirs = self.extensions.peer_update.take();
        let theirs = theirs.ok_or(self.wrong("accept an update"))?;
        let is_update = theirs.request.method == Method::Update;
        if let Some(dialog) = self.dialog.as_mut().filter(|_| is_update) {
            dialog.refresh_target(&theirs.request.headers);
        }
        let mut response = self.response(core, &theirs.request, StatusCode(200));
        if is_update {
            self.answer_timer(core, now, &theirs.request, &mut response);
        }
        response.body = put_body(&mut response.headers, body);
        core.respond(now, theirs.handle, &response);
        self.provisional_done(core, now);
        Ok(())
    }

    pub(crate) fn reject_update(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
    ) -> Result<(), UaError> {
        check_refusal(status)?;
        let theirs = self.extensions.peer_update.take();
        let theirs = theirs.ok_or(self.wrong("reject an update"))?;
        let response = self.response(core, &theirs.request, StatusCode(status));
        core.respond(now, theirs.handle, &response);
        self.provisional_done(core, now);
        Ok(())
    }

    /// The call ends: an offer that waits is refused.
    pub(super) fn abandon_updates(&mut self, core: &mut Core, now: Instant) {
        self.extensions.update = None;
        if let Some(theirs) = self.extensions.peer_update.take() {
            let response = self.response(core, &theirs.request, StatusCode(487));
            core.respond(now, theirs.handle, &response);
        }
    }
}
