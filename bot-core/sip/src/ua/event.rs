//! What the user agent tells the shell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    InviteId, NotifierId, Protocol, PublicationId, PublicationState, ReferId, ReferOutcome,
    RegistrationId, ReinviteId, RequestId, ServerRequestId, Source, SubscriptionId,
    SubscriptionState, SubscriptionStatus, Transmit, UpdateId,
};
use crate::headers::Header;
use crate::message::{Request, Response};
use crate::registration::{Binding, Bound};

/// What [`UserAgent::poll_output`](super::UserAgent::poll_output) gives next.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Know this.
    Event(Event),
    /// Nothing is left to send or to know: call `handle_timeout` at this time, or never if `None`.
    Timeout(Option<Instant>),
}

/// Something happened.
///
/// Every [`InviteId`], given by [`Event::Incoming`] or by `UserAgent::invite`, ends with exactly one
/// [`Event::Ended`], whatever went before: drop what belongs to the call there.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new call. 100 Trying goes out by itself; answer with `ring`, `accept` or `reject`.
    Incoming {
        /// The new call.
        invite: InviteId,
        /// The INVITE.
        request: Arc<Request>,
        /// Where it came from.
        source: Source,
        /// The call whose place it shall take (RFC 3891): end that one after accepting this one.
        replaces: Option<InviteId>,
    },
    /// The caller gave up before we answered (CANCEL, BYE or Expires). 200 and 487 are out; `Ended` follows.
    Cancelled {
        /// The call.
        invite: InviteId,
        /// The headers of the CANCEL or BYE (Reason says why, RFC 3326); those of the INVITE if it expired.
        request: Arc<Request>,
    },
    /// The ACK for our 2xx came: the call is established.
    Acknowledged {
        /// The call.
        invite: InviteId,
        /// The answer, when the INVITE carried no offer; else empty.
        body: Bytes,
        /// The body's type.
        content_type: Option<String>,
    },
    /// A provisional response other than 100.
    Progress {
        /// The call.
        invite: InviteId,
        /// The response.
        response: Arc<Response>,
        /// The To tag, which tells forked branches apart.
        tag: Option<String>,
        /// Whether it brings an offer, reliably: `prack` must bring our answer.
        needs_prack: bool,
    },
    /// The first 2xx to our INVITE. When `needs_ack`, it carries an offer and `ack` must bring the answer.
    Accepted {
        /// The call.
        invite: InviteId,
        /// The response.
        response: Arc<Response>,
        /// Whether the shell must call `ack`.
        needs_ack: bool,
        /// The answer that this branch gave in a reliable provisional response; the 2xx need not repeat it.
        early_answer: Option<Bytes>,
    },
    /// The peer refused our offer, and the INVITE went out again with [`Invite::fallback`](super::Invite::fallback).
    OfferReplaced {
        /// The call.
        invite: InviteId,
        /// Why the first was refused.
        response: Arc<Response>,
    },
    /// Our INVITE failed. `Ended` follows.
    Rejected {
        /// The call.
        invite: InviteId,
        /// Why.
        cause: Failure,
    },
    /// The peer wants to change the session: answer with `accept_reinvite` or `reject_reinvite`.
    Reinvite {
        /// The call.
        invite: InviteId,
        /// The re-INVITE; without a body it asks us for an offer.
        request: Arc<Request>,
    },
    /// The ACK for our 2xx to a re-INVITE came.
    ReinviteAcknowledged {
        /// The call.
        invite: InviteId,
        /// The answer, when our 2xx carried the offer.
        body: Bytes,
    },
    /// Our re-INVITE is finished. A 2xx to one without a body needs `ack`.
    ReinviteAnswered {
        /// The call.
        invite: InviteId,
        /// Which.
        reinvite: ReinviteId,
        /// The 2xx, or why not.
        result: Result<Arc<Response>, Failure>,
    },
    /// The peer withdrew its re-INVITE (CANCEL); 487 is out and the session stays as it was.
    ReinviteCancelled {
        /// The call.
        invite: InviteId,
    },
    /// A reliable provisional response of ours was acknowledged.
    Pracked {
        /// The call.
        invite: InviteId,
        /// The answer, when that response carried our offer; else empty.
        body: Bytes,
    },
    /// The peer offers a change of the session in UPDATE or PRACK: answer with `accept_update` or `reject_update`, at once.
    Update {
        /// The call.
        invite: InviteId,
        /// The UPDATE or PRACK.
        request: Arc<Request>,
    },
    /// Our UPDATE is finished.
    UpdateAnswered {
        /// The call.
        invite: InviteId,
        /// Which.
        update: UpdateId,
        /// The 2xx, or why not.
        result: Result<Arc<Response>, Failure>,
    },
    /// The session timer wants a refresh and the peer takes no UPDATE: send a re-INVITE that changes nothing.
    RefreshDue {
        /// The call.
        invite: InviteId,
    },
    /// An INFO in the call; 200 is out.
    Info {
        /// The call.
        invite: InviteId,
        /// The INFO.
        request: Arc<Request>,
    },
    /// A MESSAGE in the call; 200 is out.
    MessageInCall {
        /// The call.
        invite: InviteId,
        /// The MESSAGE.
        request: Arc<Request>,
    },
    /// Our INFO is finished.
    InfoAnswered {
        /// The call.
        invite: InviteId,
        /// The 2xx, or why not.
        result: Result<Arc<Response>, Failure>,
    },
    /// The call is over. Always the last event of an [`InviteId`].
    Ended {
        /// The call.
        invite: InviteId,
        /// Why.
        cause: EndCause,
    },
    /// The peer is alive: it answered a `probe`.
    ProbeAnswered {
        /// The call.
        invite: InviteId,
    },
    /// A request outside any call: answer with `respond` within 32 s.
    Request {
        /// The request.
        id: ServerRequestId,
        /// What was asked.
        request: Arc<Request>,
        /// Where it came from.
        source: Source,
    },
    /// The answer to our `request` or `request_inside`: any final response, or why there is none.
    Response {
        /// Which.
        id: RequestId,
        /// The final response (also a refusal), or why there is none.
        result: Result<Arc<Response>, Failure>,
    },
    /// The peer asks that we call somebody else: answer with `accept_refer` or `reject_refer` within 32 s. Refer-To
    /// says whom.
    Refer {
        /// Its id, which names the call too.
        refer: ReferId,
        /// The REFER.
        request: Arc<Request>,
    },
    /// The peer tells how far it came with what we asked of it by `refer`. It may follow `Ended`.
    ReferProgress {
        /// Which.
        refer: ReferId,
        /// The status that it got, 100 to 199.
        status: u16,
        /// Its phrase.
        reason: String,
    },
    /// What became of our `refer`. It may follow `Ended`.
    ReferFinished {
        /// Which; it is gone.
        refer: ReferId,
        /// What became of it.
        outcome: ReferOutcome,
    },
    /// A subscription of ours changed its state.
    Subscription {
        /// Which.
        id: SubscriptionId,
        /// The new state.
        status: SubscriptionStatus,
    },
    /// A NOTIFY of a subscription of ours; 200 is out.
    Notified {
        /// Which.
        id: SubscriptionId,
        /// The NOTIFY; its From tag tells the notifiers apart if several answered.
        request: Arc<Request>,
        /// What it says of the subscription.
        state: SubscriptionState,
    },
    /// Somebody subscribes: answer with `accept_subscription` or `reject_subscription` within 32 s.
    Subscribed {
        /// The new subscription.
        id: NotifierId,
        /// The SUBSCRIBE.
        request: Arc<Request>,
        /// Where it came from.
        source: Source,
    },
    /// A subscription of theirs is over, or refused: the last event of its id.
    Unsubscribed {
        /// Which.
        id: NotifierId,
    },
    /// A publication changed its state.
    Publication {
        /// Which.
        id: PublicationId,
        /// The new state.
        state: PublicationState,
    },
    /// A registration changed its state.
    Registration {
        /// Which.
        id: RegistrationId,
        /// The new state.
        state: RegistrationState,
    },
    /// An address did not answer, could not be reached or refused by 503, and another of the same host is tried.
    AddressFailed {
        /// The transport.
        protocol: Protocol,
        /// The address.
        remote: SocketAddr,
    },
    /// All bindings of an address of record, as `fetch_bindings` asked.
    Bindings {
        /// Which registration.
        id: RegistrationId,
        /// The bindings, or why they are not known.
        result: Result<Vec<Bound>, String>,
    },
}

/// Why a request of ours did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The peer refused.
    #[error("{} {}", .0.status.0, .0.reason_phrase())]
    Response(Arc<Response>),
    /// No answer in time (timer B, F, or the ring limit).
    #[error("no answer in time")]
    Timeout,
    /// It could not be sent, or its connection broke.
    #[error("{0}")]
    Transport(String),
    /// We withdrew it.
    #[error("cancelled")]
    Cancelled,
}

/// Why a call is over.
#[derive(Clone, Debug)]
pub enum EndCause {
    /// The peer hung up.
    Bye {
        /// The headers of its BYE that may say why: Reason (RFC 3326) and unknown ones.
        headers: Vec<Header>,
    },
    /// We hung up, and the peer answered or is gone.
    LocalBye,
    /// Our 2xx was never acknowledged; a BYE is out (RFC 3261 section 13.3.1.4).
    AckTimeout,
    /// A reliable provisional response of ours was never acknowledged; the INVITE is refused with 504 (RFC 3262).
    PrackTimeout,
    /// Nobody refreshed the session in time; a BYE is out (RFC 4028 section 10).
    SessionExpired,
    /// The peer says that it has no such call: 481 or 408 to a request of ours.
    DialogGone(u16),
    /// The peer does not answer requests in the call.
    Timeout,
    /// The peer cannot be reached.
    Transport(String),
    /// Our INVITE failed; [`Event::Rejected`] said why.
    Rejected,
    /// The caller gave up; [`Event::Cancelled`] said so.
    Cancelled,
    /// We refused the call.
    LocalReject(u16),
}

/// What a registration is in.
#[derive(Clone, Debug)]
pub enum RegistrationState {
    /// A REGISTER is out for the first time, or again after a failure.
    Registering,
    /// The registrar knows us; the refresh goes out by itself before this ends.
    Registered {
        /// What the registrar knows of us; said anew with each refresh.
        binding: Arc<Binding>,
    },
    /// It failed and is tried again by itself.
    Failed {
        /// Why, in words.
        why: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// It is over: `unregister` was answered, or nobody answered it. The id is gone.
    Unregistered,
}
