//! What the shell asks of the user agent: the parameters of its commands, and why one is refused.

use std::time::Duration;

use bytes::Bytes;

use super::Target;
use crate::auth::Credentials;
use crate::headers::Header;
use crate::message::Method;
use crate::outbound::Backoff;
use crate::uri::Uri;

/// One call leg: an INVITE that was sent or received, and the dialog that came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InviteId(pub u64);

/// A re-INVITE that this side sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReinviteId(pub u64);

/// An UPDATE that this side sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpdateId(pub u64);

/// A request outside any call that this side sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request outside any call that waits for [`UserAgent::respond`](super::UserAgent::respond).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerRequestId(pub u64);

/// One address of record that is kept registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistrationId(pub u64);

/// A message body with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The Content-Type, e.g. `application/sdp`.
    pub content_type: String,
    /// The body, opaque to this crate.
    pub bytes: Bytes,
}

impl Body {
    /// A body of any type.
    pub fn new(content_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Body {
            content_type: content_type.into(),
            bytes: bytes.into(),
        }
    }

    /// An `application/sdp` body.
    pub fn sdp(bytes: impl Into<Bytes>) -> Self {
        Body::new("application/sdp", bytes)
    }
}

/// An INVITE to send.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Where to send it; a Route with a different host does not change this.
    pub target: Target,
    /// The Request-URI.
    pub uri: Uri,
    /// The From as a name-addr without tag, e.g. `"Bot" <sip:bot@example.org>`.
    pub from: String,
    /// The To as a name-addr; the Request-URI when `None`.
    pub to: Option<String>,
    /// The Call-ID; a random one when `None`.
    pub call_id: Option<String>,
    /// The user part of our Contact.
    pub contact_user: Option<String>,
    /// More headers, written as given; not those that every request or every INVITE has.
    pub headers: Vec<Header>,
    /// The offer. Without one the answerer offers, and [`UserAgent::ack`](super::UserAgent::ack) carries our answer.
    pub body: Option<Body>,
    /// Another offer, made once in place of `body` when the peer refuses that for what it is (415, 488, 606);
    /// [`Event::OfferReplaced`](super::Event::OfferReplaced) tells.
    pub fallback: Option<Body>,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// Preloaded routes as name-addrs, e.g. `<sip:proxy.example.org;lr>`.
    pub route: Vec<String>,
    /// Whether 3xx answers are followed here, rather than reported as a refusal.
    pub follow_redirects: bool,
    /// How many hops it may take (RFC 3261 section 8.1.1.6).
    pub max_forwards: u8,
    /// The registration under which the call goes out: by its connection while that lives, and with a Contact that
    /// leads back to it (RFC 5626, RFC 5627).
    pub registration: Option<RegistrationId>,
    /// Our Contact's URI; our address when `None`.
    pub contact: Option<Uri>,
    /// Whether the callee must send its provisional responses reliably (RFC 3262), or refuse.
    pub require_reliable: bool,
    /// How long the session lasts without a refresh, instead of the interval of the settings (RFC 4028).
    pub session_interval: Option<Duration>,
}

impl Invite {
    /// An INVITE with nothing optional.
    pub fn new(target: Target, uri: Uri, from: impl Into<String>) -> Self {
        Invite {
            target,
            uri,
            from: from.into(),
            to: None,
            call_id: None,
            contact_user: None,
            headers: Vec::new(),
            body: None,
            fallback: None,
            credentials: None,
            route: Vec::new(),
            follow_redirects: false,
            max_forwards: 70,
            registration: None,
            contact: None,
            require_reliable: false,
            session_interval: None,
        }
    }
}

/// A request outside any call: OPTIONS, MESSAGE and the like.
#[derive(Clone, Debug)]
pub struct OutOfDialog {
    /// Where to send it.
    pub target: Target,
    /// Any method but INVITE, ACK, CANCEL and BYE.
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    /// The From as a name-addr without tag.
    pub from: String,
    /// The To as a name-addr; the Request-URI when `None`.
    pub to: Option<String>,
    /// More headers, written as given.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Option<Body>,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
}

impl OutOfDialog {
    /// A request with nothing optional.
    pub fn new(target: Target, method: Method, uri: Uri, from: impl Into<String>) -> Self {
        OutOfDialog {
            target,
            method,
            uri,
            from: from.into(),
            to: None,
            headers: Vec::new(),
            body: None,
            credentials: None,
        }
    }
}

/// A request in a call: MESSAGE, INFO and the like.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Any method but INVITE, ACK, CANCEL, BYE and PRACK.
    pub method: Method,
    /// More headers, written as given.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Option<Body>,
}

/// An address of record to keep registered (RFC 3261 section 10).
#[derive(Clone, Debug)]
pub struct Registration {
    /// Where to send REGISTER.
    pub target: Target,
    /// The Request-URI: the registrar's domain, without a user part.
    pub registrar: Uri,
    /// The address of record: From and To.
    pub aor: Uri,
    /// The user part of the Contact; that of the address of record when `None`.
    pub contact_user: Option<String>,
    /// The lifetime to ask for, in whole seconds; the registrar may shorten it, and 423 lengthens it.
    pub expires: Duration,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// More headers, written as given.
    pub headers: Vec<Header>,
    /// Preloaded routes as name-addrs: the outbound proxy.
    pub route: Vec<String>,
    /// The display name in From.
    pub display_name: Option<String>,
    /// Who we are across restarts, such as `urn:uuid:…` (RFC 5626 section 4.1, RFC 5627): the registrar then gives a
    /// GRUU where it can, and a new registration takes the place of our old one.
    pub instance: Option<String>,
    /// The number of our flow to the registrar (RFC 5626 section 4.2), 1 or more; used with an instance only.
    pub reg_id: Option<u32>,
    /// How long to wait after failures.
    pub backoff: Backoff,
}

impl Registration {
    /// A registration for one hour.
    #[must_use]
    pub fn new(target: Target, registrar: Uri, aor: Uri) -> Self {
        Registration {
            target,
            registrar,
            aor,
            contact_user: None,
            expires: Duration::from_secs(3600),
            credentials: None,
            headers: Vec::new(),
            route: Vec::new(),
            display_name: None,
            instance: None,
            reg_id: None,
            backoff: Backoff::default(),
        }
    }
}

/// Why a command was refused; nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UaError {
    /// The id is unknown: the call ended, and its `Ended` event is out or about to be.
    #[error("the call has ended: stop using its id")]
    UnknownCall,
    /// The id is unknown or was answered before.
    #[error("the request is unknown or was answered before")]
    UnknownRequest,
    /// The command does not fit the state of the call.
    #[error("cannot {command} while the call is {state}: wait for the event that ends this state")]
    WrongState {
        /// What was asked.
        command: &'static str,
        /// What the call is in.
        state: &'static str,
    },
    /// [`Config::max_calls`](super::Config::max_calls) is reached.
    #[error("all {0} calls are taken: end some, or raise max_calls")]
    TooManyCalls(usize),
    /// [`Config::max_transactions`](super::Config::max_transactions) is reached.
    #[error("all {0} transactions are taken: wait, or raise max_transactions")]
    TooManyTransactions(usize),
    /// A text given by the caller cannot be written into a message.
    #[error("{what} holds a line break or is not valid: {value:?}")]
    Invalid {
        /// Which parameter.
        what: &'static str,
        /// What it held.
        value: String,
    },
}
