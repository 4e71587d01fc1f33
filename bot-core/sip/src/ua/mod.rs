//! The user agent: requests and responses in, commands in, messages and events out.
//!
//! Responsibility: RFC 3261 as a client and as a server (sections 8 to 15), without sockets and without a
//! clock. The shell calls [`UserAgent::receive_datagram`] and the commands, each with the time, then drains
//! [`UserAgent::poll_output`] until it says `Timeout`, and calls [`UserAgent::handle_timeout`] at that time.

mod address;
mod command;
mod config;
mod event;

use std::time::Instant;

use bytes::Bytes;

pub use address::{FailedTransport, FlowId, PeerHost, Protocol, Source, Target, Transmit};
pub use command::{
    Body, Invite, InviteId, OutOfDialog, Registration, RegistrationId, ReinviteId, RequestId,
    ServerRequestId, UaError,
};
pub use config::{Config, Counts};
pub use event::{EndCause, Event, Failure, Output, RegistrationState};

use crate::ids::Ids;
use crate::headers::Header;
use crate::message::Message;

/// One unanswered request of ours, as [`Transmit`] names it to [`FailedTransport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub(crate) u64);

/// A SIP user agent.
#[derive(Debug)]
pub struct UserAgent {
    config: Config,
    ids: Ids,
}

impl UserAgent {
    /// A user agent without calls.
    #[must_use]
    pub fn new(config: Config, ids: Ids) -> Self {
        UserAgent { config, ids }
    }

    /// A datagram came, or a whole message over a stream. What cannot be read is answered with 400 when it
    /// names enough to answer, and is dropped in silence otherwise.
    pub fn receive_datagram(&mut self, now: Instant, source: &Source, datagram: Bytes) {
        let _ = (now, source, datagram);
    }

    /// A message came that the shell has parsed.
    pub fn receive_message(&mut self, now: Instant, source: &Source, message: Message) {
        let _ = (now, source, message);
    }

    /// A connection closed, or a message could not be sent; `why` ends up in the events.
    pub fn transport_failed(&mut self, now: Instant, failed: &FailedTransport, why: String) {
        let _ = (now, failed, why);
    }

    /// Time has passed: to be called at the time of [`Output::Timeout`], harmless at any other.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// What to do next; call it until it gives [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        Output::Timeout(None)
    }

    /// What is held at the moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The Call-ID of a call.
    #[must_use]
    pub fn call_id(&self, invite: InviteId) -> Option<&str> {
        let _ = invite;
        None
    }

    /// Sends an INVITE.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn invite(&mut self, now: Instant, invite: Invite) -> Result<InviteId, UaError> {
        let _ = (now, invite, &mut self.ids);
        Ok(InviteId(0))
    }

    /// Acknowledges a 2xx that carried an offer, with our answer: after [`Event::Accepted`] with `needs_ack`, or
    /// after the 2xx to a re-INVITE without a body. In every other case ACKs go out by themselves.
    ///
    /// # Errors
    /// When no 2xx waits for it.
    pub fn ack(&mut self, now: Instant, invite: InviteId, body: Option<Body>) -> Result<(), UaError> {
        let _ = (now, invite, body);
        Ok(())
    }

    /// Gives up an INVITE before its final response: CANCEL, as soon as a provisional response allows it. A 2xx
    /// that crosses it is acknowledged and ended with BYE. `Rejected` with [`Failure::Cancelled`] follows.
    ///
    /// # Errors
    /// When the call is not being set up by us.
    pub fn cancel(&mut self, now: Instant, invite: InviteId) -> Result<(), UaError> {
        let _ = (now, invite);
        Ok(())
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
        let _ = (now, invite, status, headers, body);
        Ok(())
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
        let _ = (now, invite, headers, body);
        Ok(())
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
        let _ = (now, invite, status, reason, headers);
        Ok(())
    }

    /// Ends a call in whatever state it is: BYE, CANCEL, 480, or BYE as soon as the ACK has come (RFC 3261
    /// section 15). `Ended` follows when the peer has answered, or does not answer. Harmless when repeated.
    ///
    /// # Errors
    /// When the call is unknown.
    pub fn bye(&mut self, now: Instant, invite: InviteId, headers: Vec<Header>) -> Result<(), UaError> {
        let _ = (now, invite, headers);
        Ok(())
    }

    /// Offers a change of the session, or with no body asks the peer for an offer. 491 is tried again by itself
    /// (RFC 3261 section 14.1). [`Event::ReinviteAnswered`] follows.
    ///
    /// # Errors
    /// When the call is not established or another re-INVITE is under way.
    pub fn reinvite(&mut self, now: Instant, invite: InviteId, body: Option<Body>) -> Result<ReinviteId, UaError> {
        let _ = (now, invite, body);
        Ok(ReinviteId(0))
    }

    /// Answers 200 to the peer's re-INVITE.
    ///
    /// # Errors
    /// When none waits.
    pub fn accept_reinvite(&mut self, now: Instant, invite: InviteId, body: Option<Body>) -> Result<(), UaError> {
        let _ = (now, invite, body);
        Ok(())
    }

    /// Refuses the peer's re-INVITE, e.g. with 488; the session stays as it was.
    ///
    /// # Errors
    /// When none waits, or the status is not 300 to 699.
    pub fn reject_reinvite(&mut self, now: Instant, invite: InviteId, status: u16) -> Result<(), UaError> {
        let _ = (now, invite, status);
        Ok(())
    }

    /// Sends an INFO in the call. [`Event::InfoAnswered`] follows.
    ///
    /// # Errors
    /// When there is no dialog yet or no longer.
    pub fn info(&mut self, now: Instant, invite: InviteId, body: Body) -> Result<(), UaError> {
        let _ = (now, invite, body);
        Ok(())
    }

    /// Asks whether the peer still has the call (OPTIONS in the dialog). [`Event::ProbeAnswered`] follows, or
    /// `Ended` when the answer is 408 or 481, or does not come.
    ///
    /// # Errors
    /// When the call is not established.
    pub fn probe(&mut self, now: Instant, invite: InviteId) -> Result<(), UaError> {
        let _ = (now, invite);
        Ok(())
    }

    /// Sends a request outside any call. [`Event::Response`] follows.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn request(&mut self, now: Instant, request: OutOfDialog) -> Result<RequestId, UaError> {
        let _ = (now, request);
        Ok(RequestId(0))
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
        let _ = (now, id, status, headers, body);
        Ok(())
    }

    /// Registers an address of record and keeps it registered until `unregister`.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn register(&mut self, now: Instant, registration: Registration) -> Result<RegistrationId, UaError> {
        let _ = (now, registration);
        Ok(RegistrationId(0))
    }

    /// Removes a registration from the registrar. [`RegistrationState::Unregistered`] follows.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn unregister(&mut self, now: Instant, id: RegistrationId) -> Result<(), UaError> {
        let _ = (now, id);
        Ok(())
    }
}
