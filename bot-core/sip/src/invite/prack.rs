//! Reliable provisional responses and their PRACK, both sides (RFC 3262).
//!
//! Invariants: of ours at most one waits for its PRACK, the others and a 2xx that must not overtake them wait behind
//! it; one that is never acknowledged refuses the INVITE with 504. Theirs are taken in the order of their RSeq, each
//! branch of a fork counting for itself; copies and those after a gap are dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::update::PeerUpdate;
use super::{Phase, Session, Support};
use crate::dialog::Dialog;
use crate::headers::{Header, HeaderName, RAck};
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::{Handle, Key, earlier};
use crate::ua::{
    Body, ClientUse, Core, EndCause, Event, RELIABLE, Reliability, ServerUse, Source, UaError,
    clean_body, put_body,
};

/// How many provisional responses of ours wait for the one before them.
const MAX_WAITING: usize = 8;
/// How many early dialogs one INVITE may have.
const MAX_BRANCHES: usize = 16;

/// What we send reliably as the callee.
#[derive(Debug)]
pub(super) struct Provisionals {
    /// The CSeq number of the INVITE.
    number: u32,
    invite_had_offer: bool,
    /// The newest RSeq.
    rseq: u32,
    pending: Option<Pending>,
    waiting: VecDeque<Response>,
    /// Whether descriptions were exchanged already, so that the 2xx carries none.
    pub(super) described: bool,
    /// The final response is out: what is pending is not repeated any more.
    decided: bool,
    /// A 2xx that must not overtake what is pending.
    accept: Option<(Vec<Header>, Option<Body>)>,
}

/// One that waits for its PRACK.
#[derive(Debug)]
struct Pending {
    response: Response,
    repeat_at: Instant,
    interval: Duration,
    end: Instant,
}

impl Provisionals {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let pending = self.pending.as_ref().filter(|_| !self.decided)?;
        earlier(Some(pending.repeat_at), Some(pending.end))
    }

    /// Whether a description of ours is out and not acknowledged.
    pub(super) fn has_open_description(&self) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|pending| !pending.response.body.is_empty())
    }

    /// Whether an offer of ours is out and not answered.
    pub(super) fn has_open_offer(&self) -> bool {
        !self.invite_had_offer && self.has_open_description()
    }

    pub(super) fn holds_accept(&self) -> bool {
        self.accept.is_some()
    }
}

/// One early dialog of an INVITE of ours.
#[derive(Debug)]
pub(super) struct Branch {
    tag: Box<str>,
    /// The newest RSeq that was acknowledged.
    rseq: Option<u32>,
    /// The answer that came reliably, for a 2xx that does not repeat it.
    pub(super) answer: Option<Bytes>,
    /// Whether we answered an offer of theirs in PRACK.
    pub(super) answered: bool,
    /// The dialog, while another branch's is the current one.
    pub(super) parked: Option<Dialog>,
}

/// An offer in a reliable provisional response that waits for our answer.
#[derive(Debug)]
pub(super) struct PrackDue {
    tag: Box<str>,
    rack: RAck,
}

// ---- as the callee ---------------------------------------------------------

impl Session {
    fn rings_reliably(&self, core: &Core, described: bool) -> bool {
        match (core.config.reliable, self.extensions.reliable) {
            (Reliability::Off, _) | (_, Support::No) => false,
            (_, Support::Required) | (Reliability::Required, _) => true,
            (Reliability::Supported, Support::Yes) => described,
        }
    }

    /// Sends a provisional response of ours, reliably where that is called for.
    pub(super) fn send_provisional(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        request: &Request,
        mut response: Response,
    ) {
        if !self.rings_reliably(core, !response.body.is_empty()) {
            core.respond(now, handle, &response);
            return;
        }
        // UPDATE may come in the early dialog that this makes (RFC 3311 section 5.1).
        core.describe(&mut response.headers);
        let first = || {
            Box::new(Provisionals {
                number: request.headers.cseq().map_or(0, |cseq| cseq.number),
                invite_had_offer: !request.body.is_empty(),
                rseq: core.ids.below(1 << 31) as u32,
                pending: None,
                waiting: VecDeque::new(),
                described: false,
                decided: false,
                accept: None,
            })
        };
        let provisionals = self.extensions.provisionals.get_or_insert_with(first);
        if provisionals.pending.is_some() {
            // What is newest says most; a description must not get lost.
            if provisionals.waiting.len() >= MAX_WAITING
                && let Some(at) = provisionals
                    .waiting
                    .iter()
                    .position(|waiting| waiting.body.is_empty())
            {
                provisionals.waiting.remove(at);
            }
            if provisionals.waiting.len() < MAX_WAITING {
                provisionals.waiting.push_back(response);
            }
            return;
        }
        self.send_reliable(core, now, handle, response);
    }

    fn send_reliable(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        mut response: Response,
    ) {
        let Some(provisionals) = &mut self.extensions.provisionals else {
            return;
        };
        provisionals.rseq += 1;
        response
            .headers
            .set(HeaderName::Require, RELIABLE.as_bytes());
        response
            .headers
            .set(HeaderName::RSeq, provisionals.rseq.to_string());
        core.respond(now, handle, &response);
        provisionals.pending = Some(Pending {
            response,
            repeat_at: now + core.timings.t1,
            interval: core.timings.t1,
            end: now + core.timings.timeout(),
        });
    }

    /// Repeats what is pending, without the bound of T2 (section 3), or gives the INVITE up.
    pub(super) fn repeat_provisional(&mut self, core: &mut Core, now: Instant) {
        let (Some(provisionals), Some(incoming)) =
            (&mut self.extensions.provisionals, &self.incoming)
        else {
            return;
        };
        let Some(pending) = &mut provisionals.pending else {
            return;
        };
        if pending.end <= now {
            provisionals.pending = None;
            self.answer_final(core, now, StatusCode(504));
            return self.end(core, EndCause::PrackTimeout);
        }
        if pending.repeat_at <= now {
            pending.interval *= 2;
            pending.repeat_at = now + pending.interval;
            core.respond(now, incoming.handle(), &pending.response);
        }
    }

    /// Keeps a 2xx back while a description of ours is not acknowledged (section 3). `true` when it was kept.
    pub(super) fn hold_accept(&mut self, headers: &[Header], body: Option<&Body>) -> bool {
        match &mut self.extensions.provisionals {
            Some(provisionals) if provisionals.has_open_description() => {
                provisionals.accept = Some((headers.to_vec(), body.cloned()));
                true
            }
            _ => false,
        }
    }

    /// The final response is out: nothing is repeated any more, and a PRACK on its way still finds what it means.
    pub(super) fn stop_provisionals(&mut self) {
        if let Some(provisionals) = &mut self.extensions.provisionals {
            provisionals.waiting.clear();
            provisionals.decided = true;
        }
    }

    /// A PRACK in the dialog.
    pub(super) fn receive_prack(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        let meant = match (&mut self.extensions.provisionals, request.headers.rack()) {
            (Some(provisionals), Ok(rack)) => {
                let is_meant = rack.method == Method::Invite
                    && rack.number == provisionals.number
                    && rack.rseq == provisionals.rseq;
                provisionals.pending.take_if(|_| is_meant)
            }
            _ => None,
        };
        let Some(pending) = meant else {
            let response = request.response(StatusCode(481));
            return self.answer_inside(core, now, source, request, key, response);
        };
        let described = !pending.response.body.is_empty();
        let offered = described
            && self
                .extensions
                .provisionals
                .as_ref()
                .is_some_and(|provisionals| !provisionals.invite_had_offer);
        let is_offer = !request.body.is_empty() && !offered;
        if let Some(provisionals) = &mut self.extensions.provisionals {
            provisionals.described |= described && (!offered || !request.body.is_empty());
        }
        match is_offer.then(|| self.offer_obstacle(core)) {
            Some(None) => {
                // A new offer: the shell answers it as it does that of an UPDATE.
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
                // The rest goes on when that is answered.
                return;
            }
            Some(Some(status)) => {
                let response = self.obstructed(core, request, status);
                self.answer_inside(core, now, source, request, key, response);
            }
            None => {
                let response = request.response(StatusCode(200));
                self.answer_inside(core, now, source, request, key, response);
                core.event(Event::Pracked {
                    invite: self.id,
                    body: request.body.clone(),
                });
            }
        }
        self.provisional_done(core, now);
    }

    /// What waited for an acknowledgement goes out.
    pub(super) fn provisional_done(&mut self, core: &mut Core, now: Instant) {
        let (Some(provisionals), Some(incoming)) =
            (&mut self.extensions.provisionals, &self.incoming)
        else {
            return;
        };
        if provisionals.pending.is_some() {
            return;
        }
        if let Some((headers, body)) = provisionals.accept.take() {
            return self.accept_now(core, now, headers, body);
        }
        if let Some(next) = provisionals.waiting.pop_front() {
            let handle = incoming.handle();
            self.send_reliable(core, now, handle, next);
        }
    }
}

// ---- as the caller ---------------------------------------------------------

impl Session {
    /// Whether a provisional response may be looked at: not a reliable one that is a copy, or that follows a gap
    /// (section 4).
    pub(super) fn is_in_order(&self, core: &Core, response: &Response, tag: &str) -> bool {
        let Some(rseq) = reliable_number(core, response) else {
            return true;
        };
        let known = self.branch(tag).and_then(|branch| branch.rseq);
        known.is_none_or(|last| rseq == last.wrapping_add(1))
    }

    fn branch(&self, tag: &str) -> Option<&Branch> {
        let branches = &self.outgoing.as_ref()?.branches;
        branches.iter().find(|branch| *branch.tag == *tag)
    }

    fn branch_mut(&mut self, tag: &str) -> Option<&mut Branch> {
        let branches = &mut self.outgoing.as_mut()?.branches;
        branches.iter_mut().find(|branch| *branch.tag == *tag)
    }

    /// Makes the early dialog of a branch the current one; makes that dialog when it is new.
    pub(super) fn follow_branch(
        &mut self,
        core: &mut Core,
        handle: Handle,
        response: &Response,
        source: &Source,
        tag: &str,
    ) {
        if self.focus(tag) {
            return;
        }
        let Some(dialog) = self.dialog_of(core, handle, response, source) else {
            return;
        };
        self.park();
        core.dialogs.insert(dialog.key, self.id);
        self.dialog = Some(dialog);
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        if outgoing.branches.len() >= MAX_BRANCHES {
            let oldest = outgoing.branches.remove(0);
            if let Some(dialog) = oldest.parked {
                core.dialogs.remove(&dialog.key);
            }
        }
        outgoing.branches.push(Branch {
            tag: tag.into(),
            rseq: None,
            answer: None,
            answered: false,
            parked: None,
        });
    }

    /// Makes a known branch's dialog the current one. `false` when it is not known.
    fn focus(&mut self, tag: &str) -> bool {
        let is_current = |dialog: &Dialog| *dialog.remote_tag == *tag;
        if self.dialog.as_ref().is_some_and(is_current) {
            return true;
        }
        let found = self.branch_mut(tag).and_then(|branch| branch.parked.take());
        match found {
            Some(dialog) => {
                self.park();
                self.dialog = Some(dialog);
                true
            }
            None => false,
        }
    }

    fn park(&mut self) {
        if let Some(dialog) = self.dialog.take() {
            let tag = dialog.remote_tag.clone();
            if let Some(branch) = self.branch_mut(&tag) {
                branch.parked = Some(dialog);
            }
        }
    }

    /// Acknowledges a provisional response that asks for it. `true` when it brings an offer, whose answer `prack` must
    /// bring.
    pub(super) fn acknowledge_provisional(
        &mut self,
        core: &mut Core,
        now: Instant,
        response: &Response,
        tag: &str,
    ) -> bool {
        let Some(rseq) = reliable_number(core, response) else {
            return false;
        };
        let number = response.headers.cseq().map_or(0, |cseq| cseq.number);
        let offered = self
            .outgoing
            .as_ref()
            .is_some_and(|outgoing| outgoing.invite.body.is_some());
        let Some(branch) = self.branch_mut(tag) else {
            return false;
        };
        branch.rseq = Some(rseq);
        let described = !response.body.is_empty();
        if described && offered && branch.answer.is_none() {
            branch.answer = Some(response.body.clone());
        }
        let needs_answer = described && !offered && !branch.answered;
        let due = PrackDue {
            tag: tag.into(),
            rack: RAck {
                rseq,
                number,
                method: Method::Invite,
            },
        };
        if needs_answer {
            self.extensions.prack_due = Some(due);
        } else {
            self.send_prack(core, now, &due, None);
        }
        needs_answer
    }

    /// Brings our answer to an offer in a reliable provisional response.
    pub(crate) fn prack(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        if self.phase != Phase::Calling {
            return Err(self.wrong("send PRACK"));
        }
        let due = self.extensions.prack_due.take();
        let due = due.ok_or(self.wrong("send PRACK"))?;
        if let Some(branch) = self.branch_mut(&due.tag) {
            branch.answered = body.is_some();
        }
        self.send_prack(core, now, &due, body);
        Ok(())
    }

    fn send_prack(&mut self, core: &mut Core, now: Instant, due: &PrackDue, body: Option<Body>) {
        if !self.focus(&due.tag) {
            return;
        }
        let Some((mut request, target)) = self.request(core, Method::Prack) else {
            return;
        };
        request.headers.push(HeaderName::RAck, due.rack.to_string());
        request.body = put_body(&mut request.headers, body);
        self.authorize(core, &mut request);
        core.start_client(now, request, target, ClientUse::Prack(self.id), 1);
    }

    /// The current branch, while our INVITE is out.
    pub(super) fn current_branch(&self) -> Option<&Branch> {
        self.branch(&self.dialog.as_ref()?.remote_tag)
    }
}

/// The RSeq of a provisional response that wants PRACK.
fn reliable_number(core: &Core, response: &Response) -> Option<u32> {
    let headers = &response.headers;
    let wants = core.config.reliable != Reliability::Off
        && headers.contains_token(&HeaderName::Require, RELIABLE);
    headers.rseq().filter(|_| wants)
}
