//! Messages and information in a call (RFC 3428, RFC 6086).

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Call, HangupCause, Party};
use crate::error::{Error, Result};
use crate::signalling::Act;

impl Call {
    /// Sends a text to the far end (MESSAGE), and waits until it took it. What it sends is told by
    /// [`CallEvent::Message`](super::CallEvent::Message). Dropping the future does not take it back.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call has ended, or with its cause when the far end refuses: 405 says that it takes no
    /// texts.
    pub async fn message(&self, text: impl Into<String>) -> Result<()> {
        self.message_of("text/plain;charset=UTF-8", text.into())
            .await
    }

    /// Sends a MESSAGE with a body of another type.
    ///
    /// # Errors
    /// As [`Call::message`].
    pub async fn message_of(
        &self,
        content_type: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Result<()> {
        self.send_inside("MESSAGE", content_type.into(), body.into())
            .await
    }

    /// Sends an INFO with any body, and waits until the far end took it. One that bears a digit is a digit: see
    /// [`Call::send_dtmf`]. What it sends is told by [`CallEvent::Info`](super::CallEvent::Info).
    ///
    /// # Errors
    /// As [`Call::message`].
    pub async fn info_of(
        &self,
        content_type: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Result<()> {
        self.send_inside("INFO", content_type.into(), body.into())
            .await
    }

    async fn send_inside(
        &self,
        method: &'static str,
        content_type: String,
        body: Bytes,
    ) -> Result<()> {
        if let Some(cause) = self.shared.cause() {
            return Err(Error::HungUp(cause));
        }
        let (reply, answer) = oneshot::channel();
        self.shared.act(Act::Inside {
            method,
            content_type,
            body,
            reply,
        })?;
        let answer = self.shared.until_ended(answer).await?;
        let answer = answer.map_err(|_| Error::Closed)??;
        match answer.code() {
            200..300 => Ok(()),
            status => Err(Error::HungUp(HangupCause::refused(
                Party::Remote,
                status,
                format!("the {method} was refused"),
            ))),
        }
    }
}
