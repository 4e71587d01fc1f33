//! The seam between calls and the protocol that signals them.
//!
//! A call speaks to its signalling by [`Act`]s and hears from it by
//! [`Signal`]s. SIP stands behind this seam in [`sip`]; another signalling can
//! stand beside it. Bodies cross as opaque bytes.

mod identity;
pub(crate) mod sip;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::call::{HangupCause, Shared};
use crate::error::Result;
use crate::service::Reply;

pub use identity::{Diversion, HistoryEntry, Identity, Privacy};

/// What a call asks of its signalling.
#[derive(Debug)]
pub(crate) enum Act {
    /// A provisional response (180, 183), with an answer for early media or without.
    Ring {
        status: u16,
        headers: Vec<(String, String)>,
        body: Option<Bytes>,
    },
    Accept {
        headers: Vec<(String, String)>,
        body: Bytes,
    },
    Reject {
        status: u16,
        reason: Option<String>,
        headers: Vec<(String, String)>,
    },
    /// Ends the call whatever its state: BYE, CANCEL or 480, with these headers.
    Hangup {
        headers: Vec<(String, String)>,
    },
    Reoffer {
        body: Bytes,
    },
    AcceptReoffer {
        body: Bytes,
    },
    RejectReoffer {
        status: u16,
    },
    /// The answer to an offer in a provisional response.
    AnswerEarly {
        body: Bytes,
    },
    /// The answer to an offer in the final response.
    AnswerLate {
        body: Bytes,
    },
    /// The answer to an offer by [`Signal::Update`].
    AcceptUpdate {
        body: Bytes,
    },
    RejectUpdate {
        status: u16,
    },
    Info {
        content_type: String,
        body: Bytes,
    },
    /// Asks whether the far end still knows this dialog.
    Probe,
    /// A request in the call whose answer matters: MESSAGE, INFO.
    Inside {
        method: &'static str,
        content_type: String,
        body: Bytes,
        reply: oneshot::Sender<Result<Reply>>,
    },
    /// Asks the far end to call somebody else.
    Transfer {
        to: TransferTo,
        referred_by: Option<String>,
        news: mpsc::Sender<TransferNews>,
    },
    /// Refuses what the far end asked for by a REFER.
    RefuseTransfer {
        refer: ReferToken,
        status: u16,
    },
}

impl Act {
    /// Ends the call without a word about why.
    pub(crate) fn hang_up() -> Self {
        Self::Hangup {
            headers: Vec::new(),
        }
    }
}

/// What signalling tells a call.
#[derive(Debug)]
pub(crate) enum Signal {
    /// The call that we placed rings, or bears early media.
    Progress {
        status: u16,
        body: Option<Bytes>,
        /// The body is an offer, since we made none.
        is_offer: bool,
        info: Arc<PeerInfo>,
    },
    /// The far end refused the offer of the call that we placed, and was made our
    /// plain one.
    OfferReplaced {
        why: String,
    },
    /// The call that we placed was answered.
    Answered {
        body: Bytes,
        /// The body is an offer, since we made none.
        is_offer: bool,
        info: Arc<PeerInfo>,
    },
    /// The answer that we sent was acknowledged; a late offer's answer comes in it.
    Acknowledged {
        body: Bytes,
    },
    /// Our provisional response was acknowledged; the answer to an offer in it comes with that.
    ProgressAcknowledged {
        body: Bytes,
    },
    /// The far end offers other media, before the answer or after it.
    Update {
        body: Bytes,
    },
    /// A new offer that changes nothing is wanted, to show that we are there.
    RefreshDue,
    /// The far end offers new media, or asks for an offer (empty body).
    Reoffer {
        body: Bytes,
    },
    ReofferAcknowledged {
        body: Bytes,
    },
    /// Our own new offer was answered, or refused with a status and its words.
    ReofferAnswered(Result<Bytes, String>),
    Info {
        content_type: String,
        body: Bytes,
    },
    Message {
        content_type: String,
        body: Bytes,
    },
    /// The far end answered a probe.
    Alive,
    /// Always the last.
    Ended(HangupCause),
}

/// Whom the far end shall call.
#[derive(Debug)]
pub(crate) enum TransferTo {
    Uri(String),
    /// Whom this call is with, in our place.
    Call(Arc<Shared>),
}

/// What is heard of a transfer that we asked for.
#[derive(Debug)]
pub(crate) enum TransferNews {
    Progress(u16),
    /// A final status: of whom the far end called, or of the REFER itself.
    Decided {
        status: u16,
        reason: String,
    },
    /// The far end took it, and tells no more.
    Untold,
    /// The far end was not asked, or did not answer; says why.
    NotAsked(String),
    /// Nothing was heard any more; says why.
    Lost(String),
}

/// Names a REFER of the far end to the signalling that brought it.
pub(crate) type ReferToken = sip::ReferId;

/// What the far end asks for by a REFER.
#[derive(Clone, Debug)]
pub(crate) struct TransferAsked {
    pub(crate) refer: ReferToken,
    /// Whom to call.
    pub(crate) target: String,
    /// The call there whose place to take, as a Replaces header names it.
    pub(crate) replaces: Option<String>,
    /// Who asks, as the Referred-By header says (RFC 3892).
    pub(crate) referred_by: Option<String>,
}

/// What the far end's final answer says of itself.
#[derive(Debug, Default)]
pub(crate) struct PeerInfo {
    pub(crate) headers: Vec<(String, String)>,
}

/// Who calls whom, as the first request says.
#[derive(Clone, Debug)]
pub struct CallInfo {
    pub(crate) call_id: String,
    pub(crate) from: String,
    pub(crate) from_display: Option<String>,
    pub(crate) to: String,
    pub(crate) target: String,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) transport: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    /// We placed the call.
    pub(crate) placed: bool,
    pub(crate) media: MediaAddress,
    pub(crate) account: Option<String>,
    /// Who proved to be the caller.
    pub(crate) user: OnceLock<String>,
    /// Keeps the listener that the call came to, or goes out by.
    pub(crate) line: Option<TaskTrackerToken>,
}

/// Where this side's RTP lives for one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MediaAddress {
    /// The address that ports are bound on.
    pub(crate) bind: IpAddr,
    /// The address that the far end is told.
    pub(crate) advertised: IpAddr,
}

impl CallInfo {
    pub(crate) fn media_address(&self) -> MediaAddress {
        self.media
    }

    /// Our own URI in this call.
    pub(crate) fn own(&self) -> &str {
        if self.placed { &self.from } else { &self.to }
    }

    /// The Call-ID (RFC 3261 8.1.1.4).
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The account that is called, or that calls: its address of record as it was given to the endpoint. `None` for
    /// calls that no registration of this endpoint brought, or that go out without an account.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The user that the caller proved to be, once it was asked: by
    /// [`IncomingCall::authenticate`](crate::IncomingCall::authenticate) or a guarded service.
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(String::as_str)
    }

    /// The caller's URI, from the From header.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The caller's display name, if it gave one.
    pub fn from_display(&self) -> Option<&str> {
        self.from_display.as_deref()
    }

    /// The called party's URI, from the To header.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// The request-URI: whom the last hop meant this call for.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The user part of the request-URI: the called number.
    pub fn called(&self) -> &str {
        user_part(&self.target)
    }

    /// The user part of the caller's URI: the caller's number.
    pub fn caller(&self) -> &str {
        user_part(&self.from)
    }

    /// Where the signalling comes from or goes to; `None` for a name that is not resolved yet.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// The transport of the signalling: `"UDP"`, `"TCP"`.
    pub fn transport(&self) -> &str {
        self.transport
    }

    /// The first header of this name in the INVITE; the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The user part of a SIP or tel URI; empty when there is none.
pub(crate) fn user_part(uri: &str) -> &str {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return "";
    };
    if scheme.eq_ignore_ascii_case("tel") {
        return rest.split(';').next().unwrap_or("");
    }
    let user = rest.split_once('@').map_or("", |(user, _)| user);
    user.split([':', ';']).next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::user_part;

    #[test]
    fn the_user_part_is_the_number() {
        for (uri, user) in [
            ("sip:1000@pbx", "1000"),
            ("sip:pbx", ""),
            ("tel:+4930123;phone-context=x", "+4930123"),
            ("sip:+49;ext=3@pbx", "+49"),
            ("sips:u:secret@pbx", "u"),
            ("nonsense", ""),
        ] {
            assert_eq!(user_part(uri), user, "{uri}");
        }
    }
}
