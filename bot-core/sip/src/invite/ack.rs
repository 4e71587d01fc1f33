//! The three-way handshake of INVITE: our 2xx until its ACK, and our ACK to theirs (RFC 3261 sections 13.2.2.4
//! and 13.3.1.4).
//!
//! Invariants: a 2xx of ours is repeated until its ACK or 64*T1, also over streams, because a proxy may have
//! lost it behind one; every 2xx that reaches us is acknowledged, each copy, whatever became of the call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::cancel::Cancel;
use super::{Phase, Session};
use crate::dialog::{CallerSide, Dialog, Peer};
use crate::headers::HeaderName;
use crate::message::{Method, Request, Response};
use crate::transaction::Handle;
use crate::ua::{
    Body, ClientUse, Core, EndCause, Event, InviteId, Source, Target, UaError, clean_body,
    put_body, via_value,
};

/// A 2xx of ours that waits for its ACK.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    number: u32,
    payload: Bytes,
    target: Target,
    repeat_at: Instant,
    interval: Duration,
    end: Instant,
    pub(super) is_reinvite: bool,
    /// Whether the INVITE carried the offer, so that the ACK brings nothing.
    pub(super) had_offer: bool,
}

impl Unacknowledged {
    pub(super) fn deadline(&self) -> Instant {
        self.repeat_at.min(self.end)
    }
}

/// A 2xx of theirs whose ACK must carry our answer.
#[derive(Debug)]
pub(super) struct AckDue {
    handle: Handle,
    number: u32,
}

impl Session {
    /// Starts repeating a 2xx of ours.
    pub(super) fn await_ack(
        &mut self,
        core: &Core,
        now: Instant,
        request: &Request,
        payload: Bytes,
        target: Target,
        is_reinvite: bool,
    ) {
        self.unacknowledged = Some(Box::new(Unacknowledged {
            number: request.headers.cseq().map_or(0, |cseq| cseq.number),
            payload,
            target,
            repeat_at: now + core.timings.t1,
            interval: core.timings.t1,
            end: now + core.timings.timeout(),
            is_reinvite,
            had_offer: !request.body.is_empty(),
        }));
    }

    pub(super) fn repeat_success(&mut self, core: &mut Core, now: Instant) {
        let Some(waiting) = &mut self.unacknowledged else {
            return;
        };
        if waiting.end <= now {
            self.unacknowledged = None;
            self.send_detached_bye(core, now);
            let cause = match self.end_cause.take() {
                Some(cause) => cause,
                None => EndCause::AckTimeout,
            };
            return self.end(core, cause);
        }
        if waiting.repeat_at <= now {
            waiting.interval = core.timings.next_interval(waiting.interval);
            waiting.repeat_at = now + waiting.interval;
            let (target, payload) = (waiting.target.clone(), waiting.payload.clone());
            core.transmit(&target, payload, Some(self.id), None);
        }
    }

    /// An ACK in the dialog.
    pub(crate) fn receive_ack(&mut self, core: &mut Core, now: Instant, request: &Request) {
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        match &self.unacknowledged {
            Some(waiting) if waiting.number == number => {}
            // A copy, or one that came after the time.
            _ => return,
        }
        self.acknowledged(core, request.body.clone(), request.headers.content_type());
        if let Some(headers) = self.hang_up.take() {
            self.send_bye(core, now, headers, EndCause::LocalBye);
        }
    }

    /// Our 2xx arrived.
    pub(super) fn acknowledged(
        &mut self,
        core: &mut Core,
        body: Bytes,
        content_type: Option<&str>,
    ) {
        let Some(waiting) = self.unacknowledged.take() else {
            return;
        };
        if waiting.is_reinvite {
            core.event(Event::ReinviteAcknowledged {
                invite: self.id,
                body,
            });
        } else if self.phase == Phase::Accepted {
            self.enter(Phase::Established);
            core.event(Event::Acknowledged {
                invite: self.id,
                body,
                content_type: content_type.map(str::to_owned),
            });
        }
    }

    /// The first 2xx to our INVITE: this branch has won.
    pub(super) fn receive_success(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: Arc<Response>,
        source: &Source,
    ) {
        let tag = response.headers.to().ok().and_then(|to| to.tag());
        if let Some(tag) = tag.map(str::to_owned) {
            self.follow_branch(core, handle, &response, source, &tag);
        }
        let branch = self.current_branch();
        let early_answer = branch.and_then(|branch| branch.answer.clone());
        let answered = branch.is_some_and(|branch| branch.answered);
        let Some(mut dialog) = self.dialog_of(core, handle, &response, source) else {
            return;
        };
        if let Some(early) = &self.dialog {
            dialog.continue_numbers(early);
        }
        self.set_dialog(core, dialog);
        let Some(outgoing) = self.outgoing.take() else {
            return;
        };
        let number = outgoing.number;
        if outgoing.cancel != Cancel::No {
            // It crossed our CANCEL: the call stands, so it is ended like one.
            self.enter(Phase::Established);
            self.send_ack(core, handle, number, None);
            core.event(Event::Rejected {
                invite: self.id,
                cause: outgoing.give_up,
            });
            return self.send_bye(core, now, Vec::new(), EndCause::Rejected);
        }
        self.extensions.prack_due = None;
        self.learn(&response.headers);
        self.timer_answered(core, now, &response.headers);
        let needs_ack = outgoing.invite.body.is_none() && !answered;
        if needs_ack {
            self.enter(Phase::AckDue);
            self.ack_due = Some(AckDue { handle, number });
        } else {
            self.enter(Phase::Established);
            self.send_ack(core, handle, number, None);
        }
        core.event(Event::Accepted {
            invite: self.id,
            response,
            needs_ack,
            early_answer,
        });
    }

    /// A 2xx to our INVITE after the first one: a copy, or another branch.
    pub(super) fn receive_other_success(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: &Response,
        source: &Source,
    ) {
        let tag = response
            .headers
            .to()
            .ok()
            .and_then(|to| to.tag())
            .unwrap_or_default();
        let is_ours = self
            .dialog
            .as_ref()
            .is_some_and(|dialog| *dialog.remote_tag == *tag);
        if core.ack_again(handle, tag) || is_ours {
            // Ours without an ACK so far waits for `ack`.
            return;
        }
        acknowledge_stray(core, now, handle, response, source, true);
    }

    /// Brings our answer to a 2xx that carried an offer.
    pub(crate) fn ack(&mut self, core: &mut Core, body: Option<Body>) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        let due = self.ack_due.take().ok_or(self.wrong("acknowledge"))?;
        if self.phase == Phase::AckDue {
            self.enter(Phase::Established);
        }
        self.send_ack(core, due.handle, due.number, body);
        Ok(())
    }

    /// An answer is due in an ACK, but the call is being ended: the ACK goes without.
    pub(super) fn settle_ack(&mut self, core: &mut Core) {
        if let Some(due) = self.ack_due.take() {
            self.send_ack(core, due.handle, due.number, None);
        }
    }

    pub(super) fn ack_later(&mut self, handle: Handle, number: u32) {
        self.ack_due = Some(AckDue { handle, number });
    }

    /// Sends the ACK for a 2xx and keeps it for copies of that 2xx.
    pub(super) fn send_ack(
        &mut self,
        core: &mut Core,
        handle: Handle,
        number: u32,
        body: Option<Body>,
    ) {
        let Some(dialog) = &self.dialog else {
            return;
        };
        send_ack(core, dialog, handle, number, body);
    }
}

fn send_ack(core: &mut Core, dialog: &Dialog, handle: Handle, number: u32, body: Option<Body>) {
    let is_live = dialog.peer.flow.is_some_and(|flow| core.is_live(flow));
    let (mut request, target) = dialog.request_numbered(Method::Ack, number, is_live);
    // The ACK bears the credentials of its INVITE (section 22.1).
    for header in core.client_credentials(handle) {
        request.headers.push_header(header);
    }
    request
        .headers
        .push(HeaderName::UserAgent, core.user_agent.clone());
    request.body = put_body(&mut request.headers, body);
    let branch = core.ids.branch();
    request
        .headers
        .push_front(HeaderName::Via, via_value(core, &target, &branch));
    let payload = request.to_bytes();
    let invite = core.client_invite(handle);
    core.transmit(&target, payload.clone(), invite, None);
    core.keep_ack(handle, &dialog.remote_tag, payload, target);
}

/// A 2xx that no call wants: of a branch that lost, or to a re-INVITE of a call that is over. It is acknowledged,
/// and with `hang_up` the dialog that it made is ended.
pub(crate) fn acknowledge_stray(
    core: &mut Core,
    now: Instant,
    handle: Handle,
    response: &Response,
    source: &Source,
    hang_up: bool,
) {
    let tag = response
        .headers
        .to()
        .ok()
        .and_then(|to| to.tag())
        .unwrap_or_default();
    if core.ack_again(handle, tag) || !core.has_room_for_ack(handle) {
        return;
    }
    let Some((request, target)) = core.client_request(handle) else {
        return;
    };
    let headers = &request.headers;
    let (Some(call_id), Some(local)) = (
        headers
            .first(&HeaderName::CallId)
            .map(|header| &header.value),
        headers.first(&HeaderName::From).map(|header| &header.value),
    ) else {
        return;
    };
    let local_tag = headers
        .from()
        .ok()
        .and_then(|from| from.tag())
        .unwrap_or_default();
    let key = core
        .keys
        .dialog(headers.call_id().unwrap_or_default(), local_tag, tag);
    let number = headers.cseq().map_or(1, |cseq| cseq.number);
    let caller = CallerSide {
        call_id,
        local,
        number,
        request_uri: &request.uri,
    };
    let peer = Peer::of_response(target, source);
    let mut dialog = Dialog::from_response(&caller, response, key, peer);
    let invite = core.client_invite(handle).unwrap_or(InviteId(0));
    send_ack(core, &dialog, handle, number, None);
    if hang_up {
        let is_live = dialog.peer.flow.is_some_and(|flow| core.is_live(flow));
        let (mut bye, target) = dialog.request(Method::Bye, is_live);
        bye.headers
            .push(HeaderName::UserAgent, core.user_agent.clone());
        core.start_client(now, bye, target, ClientUse::Detached(invite), 1);
    }
}
