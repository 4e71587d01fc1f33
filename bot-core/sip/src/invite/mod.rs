//! Calls: what an INVITE, sent or received, goes through until its end (RFC 3261 sections 13 to 15).
//!
//! Responsibility: one [`Session`] a call. `offer` is the caller's side up to the final response, `answer` the
//! callee's, `prack` the provisional responses that are made sure of, `ack` the three-way handshake, `cancel` giving up,
//! `modify` re-INVITE, `update` UPDATE, `session_timer` the refresh of a call, `end` BYE, `inside` the other requests in
//! a dialog, `refer` transfers, and `replaces` calls that take another's place.
//!
//! Invariants: `Event::Ended` goes out exactly once, in [`Session::end`], after which the session is `Over`, has
//! no dialog and is dropped by the user agent; a phase changes in one place only, by [`Session::enter`].

mod ack;
mod answer;
mod cancel;
mod end;
mod inside;
mod modify;
mod offer;
mod prack;
mod refer;
mod replaces;
mod session_timer;
mod update;

use std::time::Instant;

use bytes::Bytes;

use ack::Unacknowledged;
pub(crate) use ack::acknowledge_stray;
use answer::Incoming;
use modify::{Modification, PeerModification};
use offer::Outgoing;
use prack::{PrackDue, Provisionals};
use refer::Refers;
pub use refer::{Refer, ReferId, ReferOutcome};
pub(crate) use replaces::replaced;
pub(crate) use session_timer::too_brief;
use session_timer::{Timer, knows_timers};
use update::{PeerUpdate, Update};

use crate::auth::Authenticator;
use crate::dialog::Dialog;
use crate::headers::{Header, HeaderName, Headers, NameAddr};
use crate::message::{Method, Request};
use crate::ua::{Armed, Core, EndCause, Event, InviteId, Owner, RELIABLE, Target, UaError};

/// What a call is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Our INVITE has no final response.
    Calling,
    /// Their INVITE has none.
    Ringing,
    /// Our 2xx is not acknowledged.
    Accepted,
    /// Their 2xx waits for our answer in the ACK.
    AckDue,
    Established,
    /// Our BYE is out.
    Closing,
    /// The call is over, and `Ended` is out, but news of a transfer are due in its dialog.
    Lingering,
    Over,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Calling => "being set up by us",
            Phase::Ringing => "waiting for our answer",
            Phase::Accepted => "waiting for the peer's ACK",
            Phase::AckDue => "waiting for our ACK",
            Phase::Established => "established",
            Phase::Closing => "being ended",
            Phase::Lingering => "over but for news of a transfer",
            Phase::Over => "over",
        }
    }
}

/// One call.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: InviteId,
    phase: Phase,
    pub(crate) call_id: Bytes,
    dialog: Option<Dialog>,
    auth: Authenticator,
    /// Our Contact.
    contact: Bytes,
    outgoing: Option<Box<Outgoing>>,
    incoming: Option<Box<Incoming>>,
    unacknowledged: Option<Box<Unacknowledged>>,
    /// A 2xx of theirs that waits for `ack`.
    ack_due: Option<ack::AckDue>,
    /// Our re-INVITE.
    modification: Option<Box<Modification>>,
    /// Theirs.
    peer_modification: Option<PeerModification>,
    /// Transfers that this side or the peer asked for.
    refers: Refers,
    /// Whether this side chose the Call-ID, which decides who waits longer after a 491.
    owns_call_id: bool,
    /// BYE is wanted as soon as it is allowed, with these headers.
    hang_up: Option<Vec<Header>>,
    /// What `Ended` will say when our BYE is answered.
    end_cause: Option<EndCause>,
    /// What the extensions of the two sides are at.
    extensions: Extensions,
    armed: Armed,
}

/// Whether a peer can do something, or insists on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Support {
    #[default]
    No,
    Yes,
    Required,
}

/// What a call has of RFC 3262, 3311 and 4028.
#[derive(Debug, Default)]
struct Extensions {
    /// Whether the caller takes reliable provisional responses.
    reliable: Support,
    /// Whether the peer takes UPDATE.
    updates: bool,
    /// Whether the peer knows of session timers.
    timers: bool,
    /// The interval that this call asks for, in seconds, where it is not that of the settings.
    interval: Option<u32>,
    /// The Min-SE that a 422 told us, in seconds.
    min_se: u32,
    provisionals: Option<Box<Provisionals>>,
    prack_due: Option<PrackDue>,
    update: Option<Box<Update>>,
    peer_update: Option<Box<PeerUpdate>>,
    timer: Option<Box<Timer>>,
}

impl Session {
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Names us by another Contact than our address.
    pub(crate) fn set_contact(&mut self, contact: &crate::uri::Uri) {
        self.contact = Bytes::from(format!("<{contact}>"));
    }

    /// Our tag, once there is a dialog.
    pub(crate) fn local_tag(&self) -> Option<String> {
        let local = std::str::from_utf8(self.dialog.as_ref()?.local()).ok()?;
        Some(
            NameAddr::parse(&HeaderName::From, local)
                .ok()?
                .tag()?
                .to_owned(),
        )
    }

    fn enter(&mut self, phase: Phase) {
        tracing::trace!(invite = self.id.0, from = ?self.phase, to = ?phase, "call phase");
        self.phase = phase;
    }

    fn wrong(&self, command: &'static str) -> UaError {
        UaError::WrongState {
            command,
            state: self.phase.name(),
        }
    }

    /// The call is over: says so, once.
    fn end(&mut self, core: &mut Core, cause: EndCause) {
        if matches!(self.phase, Phase::Lingering | Phase::Over) {
            return;
        }
        // A peer that is gone has no news.
        let is_polite = matches!(cause, EndCause::Bye { .. } | EndCause::LocalBye);
        if is_polite && self.refers.keep_dialog() {
            self.enter(Phase::Lingering);
            // Nothing of the call itself is refreshed or repeated any more.
            self.extensions.timer = None;
            self.extensions.update = None;
            self.extensions.provisionals = None;
        } else {
            self.abandon_refers(core, "the call ended");
            self.enter(Phase::Over);
            self.drop_dialog(core);
        }
        core.event(Event::Ended {
            invite: self.id,
            cause,
        });
    }

    fn set_dialog(&mut self, core: &mut Core, dialog: Dialog) {
        self.drop_dialog(core);
        core.dialogs.insert(dialog.key, self.id);
        self.dialog = Some(dialog);
    }

    /// Drops the dialog, and those of other branches that an INVITE of ours still has.
    fn drop_dialog(&mut self, core: &mut Core) {
        let branches = self
            .outgoing
            .as_mut()
            .map(|outgoing| &mut outgoing.branches);
        let parked = branches
            .into_iter()
            .flat_map(std::mem::take)
            .filter_map(|branch| branch.parked);
        for dialog in parked.chain(self.dialog.take()) {
            core.dialogs.remove(&dialog.key);
        }
    }

    /// The dialog that a request of theirs belongs to: while our INVITE is forked there are several.
    fn dialog_tagged(&mut self, remote_tag: &str) -> Option<&mut Dialog> {
        let is_meant = |dialog: &&mut Dialog| *dialog.remote_tag == *remote_tag;
        let is_current = self
            .dialog
            .as_ref()
            .is_some_and(|dialog| *dialog.remote_tag == *remote_tag);
        if is_current {
            return self.dialog.as_mut();
        }
        let branches = &mut self.outgoing.as_mut()?.branches;
        branches
            .iter_mut()
            .filter_map(|branch| branch.parked.as_mut())
            .find(is_meant)
    }

    /// Takes note of what the peer can do.
    fn learn(&mut self, headers: &Headers) {
        if headers.contains(&HeaderName::Allow) {
            self.extensions.updates =
                headers.contains_token(&HeaderName::Allow, Method::Update.as_str());
        }
        self.extensions.timers |= knows_timers(headers);
        if headers.contains_token(&HeaderName::Require, RELIABLE) {
            self.extensions.reliable = Support::Required;
        } else if headers.contains_token(&HeaderName::Supported, RELIABLE) {
            self.extensions.reliable = Support::Yes;
        }
    }

    /// A request in the dialog, signed with what the realms asked for before.
    fn request(&mut self, core: &mut Core, method: Method) -> Option<(Request, Target)> {
        let dialog = self.dialog.as_mut()?;
        let is_live = dialog.peer.flow.is_some_and(|flow| core.is_live(flow));
        let (mut request, target) = dialog.request(method, is_live);
        self.finish_request(core, &mut request);
        Some((request, target))
    }

    fn finish_request(&self, core: &Core, request: &mut Request) {
        if matches!(request.method, Method::Invite | Method::Update) {
            request
                .headers
                .push(HeaderName::Contact, self.contact.clone());
            core.describe(&mut request.headers);
            self.offer_timer(core, &mut request.headers);
        }
        request
            .headers
            .push(HeaderName::UserAgent, core.user_agent.clone());
    }

    /// Adds Authorization; last, because auth-int looks at the body.
    fn authorize(&mut self, core: &mut Core, request: &mut Request) {
        if self.auth.is_empty() {
            return;
        }
        let answers = self.auth.authorize(
            &mut core.ids,
            request.method.as_str(),
            request.uri.as_str(),
            &request.body,
        );
        for (name, value) in answers {
            request.headers.push(name, value);
        }
    }

    /// Arms the earliest of what this call waits for.
    pub(crate) fn arm(&mut self, core: &mut Core) {
        let mut deadline = None;
        let mut consider =
            |at: Option<Instant>| deadline = crate::transaction::earlier(deadline, at);
        if self.phase != Phase::Over {
            consider(
                self.unacknowledged
                    .as_ref()
                    .map(|waiting| waiting.deadline()),
            );
            consider(
                self.incoming
                    .as_ref()
                    .and_then(|incoming| incoming.deadline()),
            );
            consider(
                self.outgoing
                    .as_ref()
                    .and_then(|outgoing| outgoing.ring_until),
            );
            consider(
                self.modification
                    .as_ref()
                    .and_then(|modification| modification.retry_at()),
            );
            let extensions = &self.extensions;
            let pending = extensions.provisionals.as_ref();
            consider(pending.and_then(|pending| pending.deadline()));
            let update = extensions.update.as_ref();
            consider(update.and_then(|update| update.retry_at()));
            consider(extensions.timer.as_ref().map(|timer| timer.deadline()));
        }
        let mut armed = self.armed;
        deadline = crate::transaction::earlier(deadline, self.refers.deadline());
        core.arm(&mut armed, deadline, Owner::Invite(self.id));
        self.armed = armed;
    }

    pub(crate) fn armed(&self) -> &Armed {
        &self.armed
    }

    pub(crate) fn armed_mut(&mut self) -> &mut Armed {
        &mut self.armed
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        self.repeat_success(core, now);
        self.repeat_provisional(core, now);
        self.ringing_timeout(core, now);
        self.ring_limit(core, now);
        self.retry_modification(core, now);
        self.refers_timeout(core, now);
        self.retry_update(core, now);
        self.timer_due(core, now);
    }
}
