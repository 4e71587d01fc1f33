//! A call that we place.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::recording::Record;
use super::{Call, CallEvent, CallMonitor, Guard, HangupCause, Phase, Shared};
use crate::endpoint::EndpointShared;
use crate::error::{Error, Result};
use crate::signalling::sip::Way;
use crate::signalling::{CallInfo, Privacy, sip};

/// What a call is placed with.
#[derive(Clone, Debug, Default)]
pub(crate) struct DialRequest {
    pub(crate) uri: String,
    pub(crate) from: Option<String>,
    pub(crate) from_display: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) proxy: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) follow_redirects: bool,
    pub(crate) max_forwards: Option<u8>,
    /// The call of ours that goes on with whom this reaches.
    pub(crate) continues: Option<Arc<Shared>>,
    pub(crate) way: Option<Way>,
    pub(crate) session_timer: Option<Duration>,
    pub(crate) require_reliable: bool,
    pub(crate) privacy: Option<Privacy>,
    pub(crate) late_offer: bool,
}

/// A call about to be placed; await it for the answered [`Call`], or
/// [`start`](Dial::start) it for an [`OutgoingCall`] that rings.
///
/// Dropping the future gives the call up (CANCEL).
#[must_use = "a call is placed when this is awaited or started"]
#[derive(Debug)]
pub struct Dial {
    endpoint: Arc<EndpointShared>,
    request: DialRequest,
    timeout: Option<Duration>,
}

impl Dial {
    pub(crate) fn new(endpoint: Arc<EndpointShared>, uri: String) -> Self {
        Self {
            endpoint,
            request: DialRequest {
                uri,
                follow_redirects: true,
                ..DialRequest::default()
            },
            timeout: None,
        }
    }

    /// Goes by this way, whatever host the URI names: to whom a request came from.
    pub fn by(mut self, way: &Way) -> Self {
        self.request.way = Some(way.clone());
        self
    }

    /// The caller's URI; the account's, or `sip:callbot@` our address, by default.
    pub fn from(mut self, uri: impl Into<String>) -> Self {
        self.request.from = Some(uri.into());
        self
    }

    /// The caller's display name.
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.request.from_display = Some(name.into());
        self
    }

    /// The account to call from, by its address of record. Without it, it is
    /// the account whose domain is called.
    pub fn account(mut self, aor: impl Into<String>) -> Self {
        self.request.account = Some(aor.into());
        self
    }

    /// User name and password for a challenge (401, 407).
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.request.credentials = Some((username.into(), password.into()));
        self
    }

    /// Sends the INVITE there, whatever the URI's host says.
    pub fn proxy(mut self, uri: impl Into<String>) -> Self {
        self.request.proxy = Some(uri.into());
        self
    }

    /// Adds a header to the INVITE.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.headers.push((name.into(), value.into()));
        self
    }

    /// Whether a 3xx is followed; it is by default.
    pub fn follow_redirects(mut self, follow: bool) -> Self {
        self.request.follow_redirects = follow;
        self
    }

    /// How many hops the INVITE may take, 70 by default. Who passes a call on
    /// gives one less than came, so that a loop ends (RFC 3261 8.1.1.6).
    pub fn max_forwards(mut self, hops: u8) -> Self {
        self.request.max_forwards = Some(hops);
        self
    }

    /// How long this call lasts without being refreshed (RFC 4028), in whole
    /// seconds, instead of the endpoint's interval.
    pub fn session_timer(mut self, interval: Duration) -> Self {
        self.request.session_timer = Some(interval);
        self
    }

    /// Whether the callee must send its provisional responses reliably
    /// (RFC 3262), or refuse the call with 420.
    pub fn require_reliable_provisionals(mut self, require: bool) -> Self {
        self.request.require_reliable = require;
        self
    }

    /// What is kept from the callee (RFC 3323): a Privacy header, and, where it
    /// hides the caller, a From that says Anonymous. Who the caller is, says
    /// [`asserted_identity`](Self::asserted_identity) to the network.
    pub fn privacy(mut self, privacy: Privacy) -> Self {
        self.request.privacy = Some(privacy);
        self
    }

    /// Says who the caller is to a network that trusts us
    /// (P-Asserted-Identity, RFC 3325): a `sip:` or `tel:` URI.
    pub fn asserted_identity(self, uri: impl AsRef<str>) -> Self {
        let uri = uri.as_ref().replace(['<', '>', '\r', '\n'], "");
        self.header("P-Asserted-Identity", format!("<{uri}>"))
    }

    /// Makes no offer: the callee offers media, and our answer goes in the ACK
    /// (RFC 3261 13.2.1), as some systems do.
    pub fn late_offer(mut self, late: bool) -> Self {
        self.request.late_offer = late;
        self
    }

    /// Gives up when there is no answer in this time from the INVITE on; for as long as it rings
    /// (3 minutes at most) by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Places the call and returns as soon as the INVITE is out.
    ///
    /// # Errors
    /// [`Error::Uri`] when the URI cannot be called, [`Error::Exhausted`] when
    /// there is no room for another call.
    pub async fn start(self) -> Result<OutgoingCall> {
        let guard = Arc::new(sip::place(&self.endpoint, self.request).await?);
        let shared = guard.0.clone();
        Ok(OutgoingCall {
            shared,
            guard,
            give_up: self
                .timeout
                .map(|timeout| (Instant::now() + timeout, timeout)),
        })
    }
}

impl IntoFuture for Dial {
    type Output = Result<Call>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Call>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().await?.answered().await })
    }
}

/// A call that we placed and that is not answered yet. Dropping it gives it
/// up (CANCEL).
#[derive(Debug)]
pub struct OutgoingCall {
    pub(super) shared: Arc<Shared>,
    guard: Arc<Guard>,
    /// When to give up, and after how long that is.
    give_up: Option<(Instant, Duration)>,
}

impl OutgoingCall {
    /// Who calls whom.
    pub fn info(&self) -> &CallInfo {
        &self.shared.info
    }

    /// Waits for a provisional response and gives its status: 180 rings, 183
    /// says more and usually bears early media. Cancel safe.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call is refused before one came; an answer
    /// without one gives 200.
    pub async fn ringing(&self) -> Result<u16> {
        let mut phase = self.shared.phase();
        let reached = phase
            .wait_for(|phase| !matches!(phase, Phase::Trying))
            .await
            .map_err(|_| Error::Closed)?
            .clone();
        match reached {
            Phase::Ringing(status) => Ok(status),
            Phase::Ended(cause) => Err(Error::HungUp(cause)),
            _ => Ok(200),
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// [`Error::HungUp`] with the cause when it is refused or not answered.
    pub async fn answered(self) -> Result<Call> {
        let wait = async {
            let mut phase = self.shared.phase();
            let reached = phase
                .wait_for(|phase| matches!(phase, Phase::Established | Phase::Ended(_)))
                .await
                .map_err(|_| Error::Closed)?
                .clone();
            match reached {
                // An answer that was taken back at once is an answer all the same.
                Phase::Ended(cause) if self.shared.lock().answered_at.is_none() => {
                    Err(Error::HungUp(cause))
                }
                _ => Ok(()),
            }
        };
        match self.give_up {
            None => wait.await?,
            Some((at, timeout)) => match tokio::time::timeout_at(at, wait).await {
                Ok(result) => result?,
                Err(_) => {
                    return Err(Error::HungUp(HangupCause::new(
                        super::Cause::NoAnswer,
                        super::Party::Local,
                        format!("no answer within {} s", timeout.as_secs_f32()),
                    )));
                }
            },
        }
        Ok(Call::new(self.shared, self.guard))
    }

    /// Whether the far end has agreed on media already: then what it says
    /// before the answer can be heard.
    pub fn has_early_media(&self) -> bool {
        let state = self.shared.lock();
        let current = state.negotiation.as_ref().and_then(|n| n.current());
        current.is_some()
    }

    /// The newest provisional status, 101 to 199; `None` before the first and
    /// once the call is decided.
    pub fn progress(&self) -> Option<u16> {
        match *self.shared.phase().borrow() {
            Phase::Ringing(status) => Some(status),
            _ => None,
        }
    }

    /// Waits until the call is answered, refused or given up;
    /// [`answered`](OutgoingCall::answered) then says which. Cancel safe.
    pub async fn decided(&self) {
        let mut phase = self.shared.phase();
        // The call itself is the sender, so this cannot fail.
        let _ = phase
            .wait_for(|phase| matches!(phase, Phase::Established | Phase::Ended(_)))
            .await;
    }

    /// Records from now on, early media included.
    pub fn record(&self, name: impl Into<String>) -> Record {
        Record::new(self.shared.clone(), name.into())
    }

    /// Watches the call without holding it.
    pub fn monitor(&self) -> CallMonitor {
        CallMonitor::new(self.shared.clone())
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<CallEvent> {
        self.shared.events()
    }

    /// The first header of this name in the newest provisional response.
    pub fn header(&self, name: &str) -> Option<String> {
        let state = self.shared.lock();
        let headers = &state.progress.as_ref()?.headers;
        let mut named = headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.clone())
    }

    /// Gives the call up for a reason (RFC 3326), such as
    /// `SIP;cause=200;text="Call completed elsewhere"`, and waits for its end.
    pub async fn cancel_because(self, reason: impl Into<String>) -> HangupCause {
        self.shared
            .finish_with(vec![("Reason".to_owned(), reason.into())]);
        self.shared.ended().await
    }

    /// Gives the call up (CANCEL) and waits for its end.
    pub async fn cancel(self) -> HangupCause {
        self.shared.finish();
        self.shared.ended().await
    }
}
