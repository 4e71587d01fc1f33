//! Requests that belong to no call, as a bot sends them: texts (MESSAGE, RFC 3428) and whatever else.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use super::{Endpoint, EndpointShared};
use crate::call::{HangupCause, Party};
use crate::error::{Error, Result};
use crate::package::Document;
use crate::service::Reply;
use crate::signalling::sip;

impl Endpoint {
    /// Sends a text (MESSAGE, RFC 3428) outside any call; await it. Texts that come in are a
    /// [`Service`](crate::Service)'s to answer.
    ///
    /// ```no_run
    /// # async fn remind(endpoint: &callbot_core::Endpoint) -> callbot_core::Result<()> {
    /// endpoint.message("sip:alice@pbx.example", "your table is ready").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn message(&self, uri: impl Into<String>, text: impl Into<String>) -> OutgoingRequest {
        let text = Document::new("text/plain;charset=UTF-8", text.into());
        self.request("MESSAGE", uri).document(text)
    }

    /// Sends a request of any method but those that calls are made of; await it for the answer.
    pub fn request(&self, method: impl Into<String>, uri: impl Into<String>) -> OutgoingRequest {
        OutgoingRequest {
            endpoint: self.shared().clone(),
            method: method.into(),
            uri: uri.into(),
            sender: Sender::default(),
            headers: Vec::new(),
            body: None,
        }
    }
}

/// From whom a request goes out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    pub(crate) account: Option<String>,
    pub(crate) from: Option<String>,
}

/// A request about to be sent; await it for the answer. Dropping the future does not take it back.
///
/// # Errors
/// [`Error::HungUp`] with the cause when it is refused or not answered, [`Error::Uri`] when the URI cannot be reached.
#[must_use = "a request is sent when this is awaited"]
#[derive(Debug)]
pub struct OutgoingRequest {
    endpoint: Arc<EndpointShared>,
    method: String,
    uri: String,
    sender: Sender,
    headers: Vec<(String, String)>,
    body: Option<Document>,
}

impl OutgoingRequest {
    /// The account to send from, by its address of record. Without it, it is the account whose domain is meant.
    pub fn account(mut self, aor: impl Into<String>) -> Self {
        self.sender.account = Some(aor.into());
        self
    }

    /// The sender's URI; the account's, or `sip:callbot@` our address, by default.
    pub fn from(mut self, uri: impl Into<String>) -> Self {
        self.sender.from = Some(uri.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The body.
    pub fn document(mut self, body: impl Into<Document>) -> Self {
        self.body = Some(body.into());
        self
    }

    async fn send(self) -> Result<Reply> {
        let method = self.method.clone();
        let reply = sip::request(
            &self.endpoint,
            &self.uri,
            &self.sender,
            &self.method,
            self.headers,
            self.body,
        )
        .await?;
        match reply.code() {
            200..300 => Ok(reply),
            status => Err(Error::HungUp(HangupCause::refused(
                Party::Remote,
                status,
                format!("the {method} was refused"),
            ))),
        }
    }
}

impl IntoFuture for OutgoingRequest {
    type Output = Result<Reply>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
