//! A service: makes a bot for each call, and answers what belongs to no call.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;

use crate::auth::DigestAuth;
use crate::bot::Bot;
use crate::call::IncomingCall;
use crate::endpoint::IncomingSubscription;
use crate::error::Result;
use crate::guard::Guarded;
use crate::signalling::CallInfo;
use crate::signalling::sip::Way;

/// Makes a [`Bot`] for each call, and answers requests outside calls.
///
/// A closure that makes a bot is a service: `endpoint.serve(|| MyBot::default())`.
/// For a bot that is only a function, see [`answer_with`].
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve calls",
    note = "give a closure that makes a bot, `|| MyBot::default()`, or `answer_with(|call| async move {{ .. }})`, or implement `Service`"
)]
pub trait Service: Send + Sync + 'static {
    /// A fresh bot for this call.
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot>;

    /// Answers a request that belongs to no call, such as MESSAGE. OPTIONS is
    /// answered before it comes here. The default is 405 (Method Not Allowed).
    async fn on_request(&self, request: Request) -> Reply {
        let _ = request;
        Reply::status(405)
    }

    /// Somebody wants to be told a state, in a package that
    /// [`EndpointBuilder::packages`](crate::EndpointBuilder::packages) names. The default refuses (489).
    async fn on_subscribe(&self, subscription: IncomingSubscription) {
        // An endpoint that is gone needs no answer.
        let _ = subscription.reject(489).await;
    }

    /// Lets in only callers and senders who prove who they are (401 otherwise). A bot reads who it was from
    /// [`CallInfo::user`].
    fn guarded_by(self, auth: DigestAuth) -> Guarded<Self>
    where
        Self: Sized,
    {
        Guarded::new(self, auth)
    }
}

impl<F, B> Service for F
where
    F: Fn() -> B + Send + Sync + 'static,
    B: Bot + 'static,
{
    fn bot(&self, _call: &CallInfo) -> Box<dyn Bot> {
        Box::new(self())
    }
}

/// A service whose bot is an async closure.
///
/// ```
/// use callbot_core::answer_with;
///
/// let service = answer_with(|call| async move {
///     let call = call.answer().await?;
///     call.echo().await
/// });
/// # fn is_service(_: impl callbot_core::Service) {}
/// # is_service(service);
/// ```
pub fn answer_with<F, Fut>(on_call: F) -> impl Service
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    move || FnBot(on_call.clone())
}

struct FnBot<F>(F);

impl<F, Fut> Bot for FnBot<F>
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    fn on_call<'a, 'b>(
        &'a mut self,
        call: IncomingCall,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin((self.0)(call))
    }
}

/// A request that belongs to no call.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) source: SocketAddr,
    pub(crate) account: Option<String>,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) contacts: Vec<Contact>,
    pub(crate) way: Way,
}

/// One address of a Contact header (RFC 3261 20.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    pub(crate) uri: String,
    pub(crate) params: Vec<(String, String)>,
}

impl Contact {
    /// The URI, without brackets.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A parameter of the header, such as `expires`; empty when it has no value.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

impl Request {
    /// The method, such as `MESSAGE`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request-URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The first header of this name; the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The URI in the From header. Nothing vouches for it.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The text of a MESSAGE; `None` for another method, and for a body that is no text.
    pub fn text(&self) -> Option<&str> {
        let content_type = self.header("Content-Type").unwrap_or("text/plain");
        let is_text = content_type
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case("text/"));
        (self.method == "MESSAGE" && is_text)
            .then(|| std::str::from_utf8(&self.body).ok())
            .flatten()
    }

    /// The URI in the To header.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// The addresses of its Contact headers; `*` (RFC 3261 10.2.2) is none, and stands in the header only.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The way back to where it came from, for later calls and requests.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// The body, as it came.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The account that it is for, by its address of record; `None` when no registration of this endpoint brought it.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Where it came from.
    pub fn source(&self) -> SocketAddr {
        self.source
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<(String, Bytes)>,
}

impl Reply {
    /// A reply with this final status, 200 to 699; others become 500.
    pub fn status(status: u16) -> Self {
        Self {
            status: if (200..700).contains(&status) {
                status
            } else {
                500
            },
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a body.
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        self.body = Some((content_type.into(), body.into()));
        self
    }

    /// The status.
    pub fn code(&self) -> u16 {
        self.status
    }

    pub(crate) fn of(
        status: u16,
        headers: Vec<(String, String)>,
        body: Option<(String, Bytes)>,
    ) -> Self {
        Self {
            status,
            headers,
            body,
        }
    }
}
