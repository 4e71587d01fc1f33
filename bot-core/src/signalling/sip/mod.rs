//! SIP behind the signalling seam: one task owns the user agent.
//!
//! Everything that reaches the [`UserAgent`](callbot_sip::ua::UserAgent), be it
//! a datagram, a message of a connection, a command of a bot or a timer, goes
//! through the bounded queues of that task; events go straight to the calls
//! they belong to.

mod accounts;
mod convert;
mod digest;
mod follow;
mod identity;
mod listen;
mod locate;
mod place;
mod requests;
mod subscriptions;
mod task;
mod transport;
mod way;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use callbot_sip::ua::{FlowId, Invite, InviteId, Protocol};
use tokio::sync::{mpsc, oneshot};

use super::Act;
use crate::call::negotiate::Negotiation;
use crate::call::{Continued, Shared};
use crate::driver::connection::Connection;
use crate::endpoint::IncomingSubscription;
use crate::error::{Error, Result};
use crate::service::{Reply, Request};

pub(crate) use accounts::{
    AccountCommand, Accounts, check as check_account, remove as remove_account,
};
pub(crate) use callbot_sip::ua::ReferId;
pub(crate) use digest::Gate;
pub(crate) use follow::{check_uri, follow};
pub(crate) use identity::{asserted_identity, diversions, history};
pub(crate) use listen::{Listener, ListenerState, Wanted, bind};
pub(crate) use locate::Locator;
pub(crate) use place::{ask, leads_here, options, place, register};
pub(crate) use requests::PendingRequest;
pub(crate) use subscriptions::{
    EventsCommand, NotifierId, PublicationId, SubscriptionId, publish, subscribe,
};
pub(crate) use task::{Parts, Settings, spawn};
pub use way::Way;

/// Commands of bots that wait for the task.
pub(crate) const COMMANDS: usize = 8192;
/// Messages from the network that wait for the task.
pub(crate) const INBOUND: usize = 4096;

/// What the network brings to the task.
pub(crate) enum Inbound {
    Datagram {
        listener: usize,
        remote: SocketAddr,
        payload: Bytes,
    },
    Message {
        flow: FlowId,
        message: callbot_sip::Message,
    },
    Opened {
        flow: FlowId,
        protocol: Protocol,
        listener: Option<usize>,
        local: SocketAddr,
        remote: SocketAddr,
        connection: Connection,
    },
    Closed {
        flow: FlowId,
        protocol: Protocol,
        remote: SocketAddr,
        why: String,
    },
}

/// What the endpoint and its calls ask of the task.
pub(crate) enum ToSip {
    Act(InviteId, Act),
    Invite {
        invite: Box<Invite>,
        call: Arc<Shared>,
        reply: oneshot::Sender<Result<()>>,
    },
    Account(AccountCommand),
    Request {
        request: Box<callbot_sip::ua::OutOfDialog>,
        reply: oneshot::Sender<Result<Reply>>,
    },
    Events(EventsCommand),
    /// A call goes on with somebody else if this is answered.
    Continue {
        invite: Box<Invite>,
        continued: Continued,
        negotiation: Box<Negotiation>,
    },
    /// What was asked for by a REFER cannot even be tried.
    FailTransfer {
        continued: Continued,
        error: Error,
    },
    /// Ends a dialog whose call goes on elsewhere.
    Leave(InviteId),
    Respond {
        id: callbot_sip::ua::ServerRequestId,
        reply: Reply,
    },
    /// A name was resolved, or was not.
    Resolved {
        transmit: Box<callbot_sip::ua::Transmit>,
        result: std::result::Result<Vec<callbot_sip::ua::Hop>, String>,
    },
    /// So many calls at once, from now on.
    MaxCalls(usize),
    /// New calls are refused from now on.
    Refuse,
    /// Hangs all calls up.
    HangUpAll,
    /// Unregisters, waits for what is unanswered, and ends.
    Close {
        done: oneshot::Sender<()>,
    },
}

/// What arrives for the bots of an endpoint.
pub(crate) enum Arrival {
    Call(Arc<Shared>),
    Request(PendingRequest, Box<Request>),
    Subscription(Box<IncomingSubscription>),
}

/// One call's way to the task.
#[derive(Clone)]
pub(crate) struct SipHandle {
    invite: InviteId,
    commands: mpsc::Sender<ToSip>,
}

impl SipHandle {
    pub(crate) fn invite(&self) -> InviteId {
        self.invite
    }

    pub(crate) fn act(&self, act: Act) -> Result<()> {
        self.commands
            .try_send(ToSip::Act(self.invite, act))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    Error::Exhausted("the signalling task is overloaded".to_owned())
                }
                mpsc::error::TrySendError::Closed(_) => Error::Closed,
            })
    }

    /// Hangs up, even when the queue is full: a call must not be left behind.
    pub(crate) fn hang_up(&self, headers: Vec<(String, String)>) {
        let hangup = ToSip::Act(self.invite, Act::Hangup { headers });
        if let Err(mpsc::error::TrySendError::Full(hangup)) = self.commands.try_send(hangup) {
            let commands = self.commands.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { commands.send(hangup).await });
            }
        }
    }
}
