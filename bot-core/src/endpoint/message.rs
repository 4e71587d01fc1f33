//! Texts that belong to no call (MESSAGE, RFC 3428), as a bot sends them.

use std::future::IntoFuture;
use std::pin::Pin;

use super::{Ask, Endpoint};
use crate::call::{HangupCause, Party};
use crate::error::{Error, Result};

impl Endpoint {
    /// Sends a text outside any call; await it. Texts that come in are a [`Service`](crate::Service)'s to answer, by
    /// [`on_request`](crate::Service::on_request).
    ///
    /// ```no_run
    /// # async fn remind(endpoint: &callbot_core::Endpoint) -> callbot_core::Result<()> {
    /// endpoint.message("sip:alice@pbx.example", "your table is ready").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn message(&self, uri: impl Into<String>, text: impl Into<String>) -> TextMessage {
        let ask = self.ask("MESSAGE", uri);
        TextMessage(ask.body("text/plain;charset=UTF-8", text.into()))
    }
}

/// From whom a request goes out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    pub(crate) account: Option<String>,
    pub(crate) from: Option<String>,
}

/// A text about to be sent; await it until it was taken. Dropping the future does not take it back.
///
/// # Errors
/// [`Error::HungUp`] with the cause when it is refused or not answered, [`Error::Uri`] when the URI cannot be reached.
#[must_use = "a text is sent when this is awaited"]
#[derive(Debug)]
pub struct TextMessage(Ask);

impl TextMessage {
    /// The account to send from, by its address of record. Without it, it is the account whose domain is meant.
    pub fn account(self, aor: impl Into<String>) -> Self {
        Self(self.0.account(aor))
    }

    /// The sender's URI; the account's, or `sip:callbot@` our address, by default.
    pub fn from(self, uri: impl Into<String>) -> Self {
        Self(self.0.from(uri))
    }

    /// Adds a header.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self(self.0.header(name, value))
    }

    async fn send(self) -> Result<()> {
        match self.0.send().await?.code() {
            200..300 => Ok(()),
            status => Err(Error::HungUp(HangupCause::refused(
                Party::Remote,
                status,
                "the text was refused",
            ))),
        }
    }
}

impl IntoFuture for TextMessage {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
