//! Publishing our own state, so that others may watch it (PUBLISH, RFC 3903).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::message::Sender;
use super::subscription::send;
use super::{Endpoint, EndpointShared};
use crate::error::{Error, Result};
use crate::package::Document;
use crate::signalling::sip::{self, EventsCommand, PublicationId, ToSip};

impl Endpoint {
    /// Publishes the state of `uri`, usually an account's address of record, for others to watch: in the package
    /// `presence` unless another is named. [`start`](Publish::start) it; it is kept published for as long as it is
    /// held.
    ///
    /// ```no_run
    /// # use callbot_core::package::Presence;
    /// # async fn publish(endpoint: &callbot_core::Endpoint) -> callbot_core::Result<()> {
    /// let me = "sip:bot@pbx.example";
    /// let published = endpoint.publish(me, Presence::new(me, true)).start().await?;
    /// published.update(Presence::new(me, true).note("in a call")).await?;
    /// published.remove().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, uri: impl Into<String>, state: impl Into<Document>) -> Publish {
        Publish {
            endpoint: self.shared().clone(),
            state: Published {
                uri: uri.into(),
                package: "presence".to_owned(),
                document: state.into(),
                expires: Duration::from_secs(3600),
                sender: Sender::default(),
            },
        }
    }
}

/// What is to be published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) uri: String,
    pub(crate) package: String,
    pub(crate) document: Document,
    pub(crate) expires: Duration,
    pub(crate) sender: Sender,
}

/// A state about to be published.
#[must_use = "nothing is published before start() is awaited"]
#[derive(Debug)]
pub struct Publish {
    endpoint: Arc<EndpointShared>,
    state: Published,
}

impl Publish {
    /// The event package; `presence` by default.
    pub fn package(mut self, package: impl Into<String>) -> Self {
        self.state.package = package.into();
        self
    }

    /// The account to publish as, by its address of record. Without it, it is the account whose domain is meant.
    pub fn account(mut self, aor: impl Into<String>) -> Self {
        self.state.sender.account = Some(aor.into());
        self
    }

    /// The lifetime to ask for, one hour by default; it is refreshed before it ends.
    pub fn expires(mut self, expires: Duration) -> Self {
        self.state.expires = expires.max(Duration::from_secs(1));
        self
    }

    /// Publishes it, and waits until it is known or refused.
    ///
    /// # Errors
    /// [`Error::Uri`] when the URI cannot be reached, [`Error::Other`] when it is refused.
    pub async fn start(self) -> Result<Publication> {
        let (status, mut seen) = watch::channel(PublicationStatus::Publishing);
        let publish = sip::publish(&self.endpoint, self.state).await?;
        let (reply, id) = oneshot::channel();
        let command = EventsCommand::Publish {
            publish: Box::new(publish),
            status,
            reply,
        };
        send(&self.endpoint, command).await?;
        let publication = Publication {
            id: id.await.map_err(|_| Error::Closed)??,
            endpoint: self.endpoint,
            status: seen.clone(),
        };
        let decided = |status: &PublicationStatus| *status != PublicationStatus::Publishing;
        let reached = seen.wait_for(decided).await.map_err(|_| Error::Closed)?;
        match &*reached {
            PublicationStatus::Failed { why } => {
                Err(Error::other(format!("cannot publish: {why}")))
            }
            _ => Ok(publication),
        }
    }
}

/// What became of a publication so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicationStatus {
    /// The first answer is still to come.
    Publishing,
    /// It is known.
    Published,
    /// It failed, and is tried again.
    Failed {
        /// Why.
        why: String,
    },
    /// It was taken back.
    Removed,
}

/// A state that is published for as long as this is held.
#[derive(Debug)]
pub struct Publication {
    id: PublicationId,
    endpoint: Arc<EndpointShared>,
    status: watch::Receiver<PublicationStatus>,
}

impl Publication {
    /// Publishes a newer state. It returns when that is on its way; of several the newest wins.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn update(&self, state: impl Into<Document>) -> Result<()> {
        send(
            &self.endpoint,
            EventsCommand::Republish(self.id, state.into()),
        )
        .await
    }

    /// What became of it so far.
    pub fn status(&self) -> PublicationStatus {
        self.status.borrow().clone()
    }

    /// Takes it back, and waits until that is known. Dropping it takes it back too.
    pub async fn remove(mut self) {
        let _ = send(&self.endpoint, EventsCommand::Unpublish(self.id)).await;
        let removed = |status: &PublicationStatus| *status == PublicationStatus::Removed;
        let _ = self.status.wait_for(removed).await;
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let command = ToSip::Events(EventsCommand::Unpublish(self.id));
        let _ = self.endpoint.commands.try_send(command);
    }
}
