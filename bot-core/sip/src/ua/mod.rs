//! The user agent: requests and responses in, commands in, messages and events out.
//!
//! Responsibility: RFC 3261 as a client and as a server (sections 8 to 15), without sockets and without a
//! clock. The shell calls [`UserAgent::receive_datagram`] and the commands, each with the time, then drains
//! [`UserAgent::poll_output`] until it says `Timeout`, and calls [`UserAgent::handle_timeout`] at that time.
//!
//! Invariants: everything that a peer can make this hold is bounded by [`Config`]; outputs come in the order
//! of what caused them, the same in every run from the same [`Ids`]; a call ends with one `Event::Ended`.
//! What the shell owes in return: report a connection that closed ([`UserAgent::transport_failed`]), and say
//! which way a request went whose host it resolved ([`UserAgent::bound`]).

mod address;
mod build;
mod clients;
mod command;
mod config;
mod core;
mod event;
mod events;
mod failover;
mod receive;
mod registrations;
mod rest;
mod servers;
mod single;
mod ways;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

pub use crate::invite::{Refer, ReferId, ReferOutcome};
pub use crate::publication::{PublicationId, PublicationState, Publish};
pub use crate::subscription::{
    NotifierId, Reason, Subscribe, SubscriptionId, SubscriptionState, SubscriptionStatus,
    Termination,
};
pub use address::{FailedTransport, FlowId, Hop, PeerHost, Protocol, Source, Target, Transmit};
pub use command::{
    Body, Inside, Invite, InviteId, OutOfDialog, Registration, RegistrationId, ReinviteId,
    RequestId, ServerRequestId, UaError, UpdateId,
};
pub use config::{Config, Counts, Refreshing, Reliability, SessionTimer};
pub use event::{EndCause, Event, Failure, Output, RegistrationState};

pub use crate::outbound::Backoff;
pub use crate::registration::{Binding, Bound};

pub(crate) use self::core::{Armed, Core, Owner, RELIABLE, TIMER, Table};
pub(crate) use build::{
    clean, clean_body, clean_headers, contact_value, cseq_value, put_body, via_value,
};
pub(crate) use clients::ClientUse;
pub(crate) use servers::{ServerUse, with_tag};

use crate::headers::Header;
use crate::ids::Ids;
use crate::invite::Session;
use crate::message::Message;
use crate::outbound::is_stun;
use crate::registration::Registered;
use crate::transaction::Handle;
use events::Subscriptions;
use single::Single;

/// One unanswered request of ours, as [`Transmit`] names it to [`FailedTransport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub(crate) u64);

/// A SIP user agent.
#[derive(Debug)]
pub struct UserAgent {
    core: Core,
    invites: Table<InviteId, Box<Session>>,
    requests: Table<RequestId, Box<Single>>,
    registrations: BTreeMap<RegistrationId, Registered>,
    subscriptions: Subscriptions,
    /// Which registrations have a Contact with this user part.
    registered_users: HashMap<String, Vec<RegistrationId>>,
    /// The last number given as an id.
    last_id: u64,
}

impl UserAgent {
    /// A user agent without calls.
    #[must_use]
    pub fn new(config: Config, ids: Ids) -> Self {
        UserAgent {
            core: Core::new(config, ids),
            invites: Table::default(),
            requests: Table::default(),
            registrations: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            registered_users: HashMap::new(),
            last_id: 0,
        }
    }

    /// A datagram came, or a whole message over a stream. What cannot be read is answered with 400 when it
    /// names enough to answer, and is dropped in silence otherwise.
    pub fn receive_datagram(&mut self, now: Instant, source: &Source, datagram: Bytes) {
        if is_stun(&datagram) {
            return self.receive_stun(now, source, &datagram);
        }
        match Message::parse(datagram) {
            Ok(message) => self.receive_message(now, source, message),
            Err(why) => self.receive_malformed(source, &why),
        }
    }

    /// A message came that the shell has parsed.
    pub fn receive_message(&mut self, now: Instant, source: &Source, message: Message) {
        self.core.saw_flow(source);
        match message {
            Message::Request(request) => self.receive_request(now, source, request),
            Message::Response(response) => self.receive_response(now, source, response),
        }
    }

    /// The shell resolved a request's host or opened its connection: all that follows in its transaction, and
    /// what it leads to, goes the same way, and fails with that connection. Harmless for a transaction that is
    /// over. Without it each retransmission and CANCEL names the host again.
    pub fn bound(&mut self, transaction: TransactionId, remote: SocketAddr, flow: Option<FlowId>) {
        self.core
            .bind_client(Handle::from_bits(transaction.0), remote, flow);
    }

    /// Time has passed: to be called at the time of [`Output::Timeout`], harmless at any other.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((id, owner)) = self.core.timers.pop_due(now) {
            match owner {
                Owner::Client(handle) => {
                    if self
                        .core
                        .client_armed(handle)
                        .is_some_and(|armed| armed.take(id))
                    {
                        self.client_timeout(now, handle);
                    }
                }
                Owner::Server(handle) => {
                    if self
                        .core
                        .server_armed(handle)
                        .is_some_and(|armed| armed.take(id))
                    {
                        self.core.server_timeout(now, handle);
                    }
                }
                Owner::Invite(invite) => {
                    self.with_session(invite, |session, core| {
                        if session.armed_mut().take(id) {
                            session.handle_timeout(core, now);
                        }
                    });
                }
                Owner::Registration(registration) => {
                    self.registration_timeout(now, registration, id)
                }
                Owner::Subscription(_) | Owner::Notifier(_) | Owner::Publication(_) => {
                    self.subscription_timeout(now, owner, id);
                }
                Owner::Pace => self.pace_timeout(now, id),
            }
        }
        self.rest();
    }

    /// What to do next; call it until it gives [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.core.out.pop_front() {
            return output;
        }
        let Core {
            timers,
            clients,
            servers,
            pace,
            ..
        } = &mut self.core;
        let (invites, registrations) = (&self.invites, &self.registrations);
        let subscriptions = &self.subscriptions;
        Output::Timeout(timers.next(|id, owner| {
            match owner {
                Owner::Client(handle) => clients
                    .get(handle)
                    .is_some_and(|client| client.armed().is(id)),
                Owner::Server(handle) => servers
                    .get(handle)
                    .is_some_and(|server| server.armed().is(id)),
                Owner::Invite(invite) => invites
                    .get(&invite)
                    .is_some_and(|session| session.armed().is(id)),
                Owner::Registration(registration) => registrations
                    .get(&registration)
                    .is_some_and(|registered| registered.armed().is(id)),
                Owner::Subscription(_) | Owner::Notifier(_) | Owner::Publication(_) => {
                    subscriptions.is_armed(owner, id)
                }
                Owner::Pace => pace.armed.is(id),
            }
        }))
    }

    /// What is held at the moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            calls: self.invites.len(),
            dialogs: self.core.dialogs.len() + self.subscriptions.dialogs(),
            transactions: self.core.transactions(),
            unanswered: self.core.unanswered,
            registrations: self.registrations.len(),
            subscriptions: self.subscriptions.subscriptions(),
            publications: self.subscriptions.publications(),
            timers: self.core.timers.len(),
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// The Call-ID of a call.
    #[must_use]
    pub fn call_id(&self, invite: InviteId) -> Option<&str> {
        std::str::from_utf8(&self.invites.get(&invite)?.call_id).ok()
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Runs something on a call, then arms its timer, or drops it if it is over.
    fn with_session<R>(
        &mut self,
        id: InviteId,
        run: impl FnOnce(&mut Session, &mut Core) -> R,
    ) -> Option<R> {
        let session = self.invites.get_mut(&id)?;
        let result = run(session, &mut self.core);
        if session.is_over() {
            self.invites.remove(&id);
        } else {
            session.arm(&mut self.core);
        }
        Some(result)
    }

    fn command(
        &mut self,
        id: InviteId,
        run: impl FnOnce(&mut Session, &mut Core) -> Result<(), UaError>,
    ) -> Result<(), UaError> {
        self.with_session(id, run)
            .unwrap_or(Err(UaError::UnknownCall))
    }

    /// Calls at once, from now on; those beyond it that stand go on.
    pub fn set_max_calls(&mut self, calls: usize) {
        self.core.config.max_calls = calls;
    }

    fn check_room(&self) -> Result<(), UaError> {
        if self.core.is_full() {
            return Err(UaError::TooManyTransactions(
                self.core.config.max_transactions,
            ));
        }
        Ok(())
    }
    /// Sends an INVITE. [`Event::Progress`], then [`Event::Accepted`] or [`Event::Rejected`] follow.
    ///
    /// It goes where `target` says and by that transport, whatever its size: RFC 3261 section 18.1.1 asks for a
    /// stream beyond 1,300 bytes, which the shell decides when it makes the target.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn invite(&mut self, now: Instant, invite: Invite) -> Result<InviteId, UaError> {
        if self.invites.len() >= self.core.config.max_calls {
            return Err(UaError::TooManyCalls(self.core.config.max_calls));
        }
        self.check_room()?;
        let id = InviteId(self.next_id());
        let invite = self.under_registration(invite);
        let mut session = Session::dial(&mut self.core, now, id, invite)?;
        session.arm(&mut self.core);
        self.invites.insert(id, session);
        Ok(id)
    }

    /// Acknowledges a 2xx that carried an offer, with our answer: after [`Event::Accepted`] with `needs_ack`, or
    /// after the 2xx to a re-INVITE without a body. In every other case ACKs go out by themselves.
    ///
    /// # Errors
    /// When no 2xx waits for it.
    pub fn ack(
        &mut self,
        now: Instant,
        invite: InviteId,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        let _ = now;
        self.command(invite, |session, core| session.ack(core, body))
    }

    /// Gives up an INVITE before its final response: CANCEL, as soon as a provisional response allows it. A 2xx
    /// that crosses it is acknowledged and ended with BYE. `Rejected` with [`Failure::Cancelled`] follows.
    ///
    /// # Errors
    /// When the call is not being set up by us.
    pub fn cancel(&mut self, now: Instant, invite: InviteId) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.cancel(core, now, Vec::new())
        })
    }

    /// Sends a provisional response, 101 to 199; with a body it is early media.
    ///
    /// # Errors
    /// When the call is not an incoming one that waits for an answer, or the status is another.
    pub fn ring(
        &mut self,
        now: Instant,
        invite: InviteId,
        status: u16,
        headers: Vec<Header>,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.ring(core, now, status, headers, body)
        })
    }

    /// Answers 200 and repeats it until the ACK; see [`Event::Acknowledged`] and [`EndCause::AckTimeout`].
    ///
    /// # Errors
    /// When the call is not an incoming one that waits for an answer.
    pub fn accept(
        &mut self,
        now: Instant,
        invite: InviteId,
        headers: Vec<Header>,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.accept(core, now, headers, body)
        })
    }

    /// Answers 300 to 699; a 3xx with Contact headers redirects. `Ended` follows.
    ///
    /// # Errors
    /// When the call is not an incoming one that waits for an answer, or the status is another.
    pub fn reject(
        &mut self,
        now: Instant,
        invite: InviteId,
        status: u16,
        reason: Option<&str>,
        headers: Vec<Header>,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.reject(core, now, status, reason, headers)
        })
    }

    /// Ends a call in whatever state it is: BYE, CANCEL, 480, or BYE as soon as the ACK has come (RFC 3261
    /// section 15). `Ended` follows when the peer has answered, or does not answer. Harmless when repeated.
    ///
    /// # Errors
    /// When the call is unknown.
    pub fn bye(
        &mut self,
        now: Instant,
        invite: InviteId,
        headers: Vec<Header>,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| session.hang_up(core, now, headers))
    }

    /// Offers a change of the session, or with no body asks the peer for an offer. 491 is tried again by itself
    /// (RFC 3261 section 14.1). [`Event::ReinviteAnswered`] follows.
    ///
    /// # Errors
    /// When the call is not established or another re-INVITE is under way.
    pub fn reinvite(
        &mut self,
        now: Instant,
        invite: InviteId,
        body: Option<Body>,
    ) -> Result<ReinviteId, UaError> {
        let id = ReinviteId(self.next_id());
        self.command(invite, |session, core| {
            session.reinvite(core, now, id, body)
        })?;
        Ok(id)
    }

    /// Answers 200 to the peer's re-INVITE.
    ///
    /// # Errors
    /// When none waits.
    pub fn accept_reinvite(
        &mut self,
        now: Instant,
        invite: InviteId,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.accept_reinvite(core, now, body)
        })
    }

    /// Refuses the peer's re-INVITE, e.g. with 488; the session stays as it was.
    ///
    /// # Errors
    /// When none waits, or the status is not 300 to 699.
    pub fn reject_reinvite(
        &mut self,
        now: Instant,
        invite: InviteId,
        status: u16,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.reject_reinvite(core, now, status)
        })
    }

    /// Sends PRACK with our answer to an offer in a reliable provisional response: after [`Event::Progress`] with
    /// `needs_prack`. All other PRACKs go out by themselves.
    ///
    /// # Errors
    /// When none waits for it.
    pub fn prack(
        &mut self,
        now: Instant,
        invite: InviteId,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| session.prack(core, now, body))
    }

    /// Offers a change of the session by UPDATE (RFC 3311), which also an early dialog can bear; without a body it
    /// only refreshes. 491 and 500 with Retry-After are tried again by themselves. [`Event::UpdateAnswered`] follows.
    ///
    /// # Errors
    /// When there is no dialog, the peer does not allow UPDATE, or an offer of either side is not answered yet.
    pub fn update(
        &mut self,
        now: Instant,
        invite: InviteId,
        body: Option<Body>,
    ) -> Result<UpdateId, UaError> {
        let id = UpdateId(self.next_id());
        self.command(invite, |session, core| {
            session.update(core, now, Some(id), body)
        })?;
        Ok(id)
    }

    /// Answers 200 to the peer's UPDATE, or to its PRACK with an offer.
    ///
    /// # Errors
    /// When none waits.
    pub fn accept_update(
        &mut self,
        now: Instant,
        invite: InviteId,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.accept_update(core, now, body)
        })
    }

    /// Refuses the offer in the peer's UPDATE or PRACK, e.g. with 488; the session stays as it was.
    ///
    /// # Errors
    /// When none waits, or the status is not 300 to 699.
    pub fn reject_update(
        &mut self,
        now: Instant,
        invite: InviteId,
        status: u16,
    ) -> Result<(), UaError> {
        self.command(invite, |session, core| {
            session.reject_update(core, now, status)
        })
    }

    /// Sends an INFO in the call. [`Event::InfoAnswered`] follows.
    ///
    /// # Errors
    /// When there is no dialog yet or no longer.
    pub fn info(&mut self, now: Instant, invite: InviteId, body: Body) -> Result<(), UaError> {
        self.command(invite, |session, core| session.info(core, now, body))
    }

    /// Asks whether the peer still has the call (OPTIONS in the dialog). [`Event::ProbeAnswered`] follows, or
    /// `Ended` when the answer is 408 or 481, or does not come.
    ///
    /// # Errors
    /// When the call is not established.
    pub fn probe(&mut self, now: Instant, invite: InviteId) -> Result<(), UaError> {
        self.command(invite, |session, core| session.probe(core, now))
    }

    /// Sends a request outside any call. [`Event::Response`] follows.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn request(&mut self, now: Instant, request: OutOfDialog) -> Result<RequestId, UaError> {
        self.check_room()?;
        let id = RequestId(self.next_id());
        let single = Single::send(&mut self.core, now, id, request)?;
        self.requests.insert(id, Box::new(single));
        Ok(id)
    }

    /// Answers a request outside any call. 200 to OPTIONS and 405 get Allow by themselves.
    ///
    /// # Errors
    /// When it was answered or has timed out.
    pub fn respond(
        &mut self,
        now: Instant,
        id: ServerRequestId,
        status: u16,
        headers: Vec<Header>,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        single::respond(&mut self.core, now, id, status, headers, body)
    }
}
