//! Requests outside calls, of any method, to any address.

use std::sync::Arc;

use bytes::Bytes;

use super::{Endpoint, EndpointShared, Sender};
use crate::error::Result;
use crate::service::Reply;
use crate::signalling::sip::{self, Way};

/// A request outside any call about to be sent; [`send`](Ask::send) gives its final answer.
#[must_use = "a request is sent when send() is awaited"]
#[derive(Debug)]
pub struct Ask {
    endpoint: Arc<EndpointShared>,
    request: AskRequest,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct AskRequest {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) sender: Sender,
    pub(crate) to: Option<String>,
    pub(crate) way: Option<Way>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<(String, Bytes)>,
}

impl Endpoint {
    /// A request of any method but INVITE, ACK, CANCEL and BYE, to `uri`.
    pub fn ask(&self, method: impl Into<String>, uri: impl Into<String>) -> Ask {
        Ask {
            endpoint: self.shared().clone(),
            request: AskRequest {
                method: method.into(),
                uri: uri.into(),
                sender: Sender::default(),
                to: None,
                way: None,
                headers: Vec::new(),
                body: None,
            },
        }
    }
}

impl Ask {
    /// The account to ask from, by its address of record. Without it, it is the account whose domain is meant.
    pub fn account(mut self, aor: impl Into<String>) -> Self {
        self.request.sender.account = Some(aor.into());
        self
    }

    /// Who asks; the account's URI, or `sip:callbot@` our address, by default.
    pub fn from(mut self, uri: impl Into<String>) -> Self {
        self.request.sender.from = Some(uri.into());
        self
    }

    /// Who is meant; the request-URI by default.
    pub fn to(mut self, uri: impl Into<String>) -> Self {
        self.request.to = Some(uri.into());
        self
    }

    /// By this way, whatever host the URI names.
    pub fn by(mut self, way: &Way) -> Self {
        self.request.way = Some(way.clone());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a body.
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        self.request.body = Some((content_type.into(), body.into()));
        self
    }

    /// Sends it. Cancel safe: the answer is then not told.
    ///
    /// # Errors
    /// [`Error::HungUp`](crate::Error::HungUp) when no final answer comes,
    /// [`Error::Uri`](crate::Error::Uri) for a URI or a method that cannot be asked.
    pub async fn send(self) -> Result<Reply> {
        sip::ask(&self.endpoint, self.request).await
    }
}
