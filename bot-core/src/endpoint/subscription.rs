//! Watching the state of something: subscriptions of ours (RFC 6665).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot, watch};

use super::message::Sender;
use super::{Endpoint, EndpointShared};
use crate::error::{Error, Result};
use crate::package::{
    DialogInfo, Document, DocumentError, MessageSummary, Presence, RegistrationInfo,
};
use crate::signalling::sip::{self, EventsCommand, SubscriptionId, ToSip};

/// States that wait for a slow reader before the oldest go.
const WAITING: usize = 64;

impl Endpoint {
    /// Subscribes to the state of `uri` in an event package: `presence`, `dialog`, `message-summary`, `reg` or another.
    /// [`start`](Subscribe::start) it; the subscription is refreshed for as long as it is held.
    ///
    /// ```no_run
    /// # async fn watch(endpoint: &callbot_core::Endpoint) -> callbot_core::Result<()> {
    /// let mut alice = endpoint.subscribe("sip:alice@pbx.example", "presence").start().await?;
    /// while let Some(news) = alice.next().await {
    ///     if let Ok(presence) = news.presence() {
    ///         println!("{}", if presence.is_open() { "there" } else { "gone" });
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(&self, uri: impl Into<String>, package: impl Into<String>) -> Subscribe {
        let package = package.into();
        let accept = match package.as_str() {
            "presence" => vec![Presence::CONTENT_TYPE.to_owned()],
            "dialog" => vec![DialogInfo::CONTENT_TYPE.to_owned()],
            "message-summary" => vec![MessageSummary::CONTENT_TYPE.to_owned()],
            "reg" => vec![RegistrationInfo::CONTENT_TYPE.to_owned()],
            _ => Vec::new(),
        };
        Subscribe {
            endpoint: self.shared().clone(),
            wanted: Wanted {
                uri: uri.into(),
                package,
                accept,
                expires: Duration::from_secs(3600),
                sender: Sender::default(),
                headers: Vec::new(),
            },
        }
    }
}

/// What is to be subscribed to.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) uri: String,
    pub(crate) package: String,
    pub(crate) accept: Vec<String>,
    pub(crate) expires: Duration,
    pub(crate) sender: Sender,
    pub(crate) headers: Vec<(String, String)>,
}

/// A subscription about to be asked for.
#[must_use = "nothing is subscribed to before start() is awaited"]
#[derive(Debug)]
pub struct Subscribe {
    endpoint: Arc<EndpointShared>,
    wanted: Wanted,
}

impl Subscribe {
    /// The account to subscribe as, by its address of record. Without it, it is the account whose domain is meant.
    pub fn account(mut self, aor: impl Into<String>) -> Self {
        self.wanted.sender.account = Some(aor.into());
        self
    }

    /// The watcher's URI; the account's, or `sip:callbot@` our address, by default.
    pub fn from(mut self, uri: impl Into<String>) -> Self {
        self.wanted.sender.from = Some(uri.into());
        self
    }

    /// A type of documents that is understood, beside those of the package.
    pub fn accept(mut self, content_type: impl Into<String>) -> Self {
        self.wanted.accept.push(content_type.into());
        self
    }

    /// The lifetime to ask for, one hour by default; it is refreshed before it ends.
    pub fn expires(mut self, expires: Duration) -> Self {
        self.wanted.expires = expires.max(Duration::from_secs(1));
        self
    }

    /// Adds a header to each SUBSCRIBE.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wanted.headers.push((name.into(), value.into()));
        self
    }

    /// Subscribes. A refusal or a failure is told by [`Subscription::status`].
    ///
    /// # Errors
    /// [`Error::Uri`] when the URI cannot be reached, [`Error::Closed`] when the endpoint is.
    pub async fn start(self) -> Result<Subscription> {
        let (told, heard) = broadcast::channel(WAITING);
        let (status, seen) = watch::channel(SubscriptionStatus::Subscribing);
        let subscribe = sip::subscribe(&self.endpoint, self.wanted).await?;
        let (reply, id) = oneshot::channel();
        let command = EventsCommand::Subscribe {
            subscribe: Box::new(subscribe),
            told: Told { told, status },
            reply,
        };
        send(&self.endpoint, command).await?;
        Ok(Subscription {
            id: id.await.map_err(|_| Error::Closed)??,
            endpoint: self.endpoint,
            heard,
            status: seen,
        })
    }

    /// Asks for the state once (RFC 6665 section 4.4.3).
    ///
    /// # Errors
    /// As [`Subscribe::start`], and [`Error::Other`] when it is refused or nothing is told.
    pub async fn fetch(mut self) -> Result<Notification> {
        self.wanted.expires = Duration::ZERO;
        let mut subscription = self.start().await?;
        match subscription.next().await {
            Some(news) => Ok(news),
            None => {
                let why = match subscription.status() {
                    SubscriptionStatus::Ended { why } => why,
                    _ => "nothing was told".to_owned(),
                };
                Err(Error::other(format!("the state cannot be had: {why}")))
            }
        }
    }
}

pub(super) async fn send(endpoint: &EndpointShared, command: EventsCommand) -> Result<()> {
    let command = ToSip::Events(command);
    endpoint
        .commands
        .send(command)
        .await
        .map_err(|_| Error::Closed)
}

/// What a subscription is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// The first answer is still to come.
    Subscribing,
    /// It was taken, but nobody has decided yet whether we may know.
    Pending,
    /// The state is told.
    Active,
    /// It failed, and is tried again.
    Failed {
        /// Why.
        why: String,
    },
    /// It is over for good.
    Ended {
        /// Why.
        why: String,
    },
}

/// How the signalling tells a subscription.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) told: broadcast::Sender<Notification>,
    pub(crate) status: watch::Sender<SubscriptionStatus>,
}

/// A subscription that stands for as long as this is held.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriptionId,
    endpoint: Arc<EndpointShared>,
    heard: broadcast::Receiver<Notification>,
    status: watch::Receiver<SubscriptionStatus>,
}

impl Subscription {
    /// The next state that is told; `None` when the subscription has ended. A reader that is slow misses the oldest.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Notification> {
        loop {
            match self.heard.recv().await {
                Ok(news) => return Some(news),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// What it is in.
    pub fn status(&self) -> SubscriptionStatus {
        self.status.borrow().clone()
    }

    /// Waits until it is active, or has failed.
    ///
    /// # Errors
    /// [`Error::Other`] with the reason.
    pub async fn active(&mut self) -> Result<()> {
        let reached = self
            .status
            .wait_for(|status| {
                !matches!(
                    status,
                    SubscriptionStatus::Subscribing | SubscriptionStatus::Pending
                )
            })
            .await
            .map_err(|_| Error::Closed)?
            .clone();
        match reached {
            SubscriptionStatus::Failed { why } | SubscriptionStatus::Ended { why } => {
                Err(Error::other(format!("not subscribed: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// Takes the subscription back, and waits until the notifier knows. Dropping it takes it back too.
    pub async fn unsubscribe(mut self) {
        let _ = send(&self.endpoint, EventsCommand::Unsubscribe(self.id)).await;
        let ended =
            |status: &SubscriptionStatus| matches!(status, SubscriptionStatus::Ended { .. });
        let _ = self.status.wait_for(ended).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let command = ToSip::Events(EventsCommand::Unsubscribe(self.id));
        let _ = self.endpoint.commands.try_send(command);
    }
}

/// A state that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub(crate) package: String,
    pub(crate) notifier: String,
    pub(crate) document: Document,
    pub(crate) last: bool,
}

impl Notification {
    /// The event package.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// Who tells it: the tag of the notifier. One subscription may reach several.
    pub fn notifier(&self) -> &str {
        &self.notifier
    }

    /// The document, as it came; empty when there was none.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Whether the notifier tells no more.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// The document as presence.
    ///
    /// # Errors
    /// [`DocumentError`] when it is something else.
    pub fn presence(&self) -> Result<Presence, DocumentError> {
        Presence::read(&self.document)
    }

    /// The document as what waits in a mailbox.
    ///
    /// # Errors
    /// [`DocumentError`] when it is something else.
    pub fn message_summary(&self) -> Result<MessageSummary, DocumentError> {
        MessageSummary::read(&self.document)
    }

    /// The document as somebody's calls.
    ///
    /// # Errors
    /// [`DocumentError`] when it is something else.
    pub fn dialogs(&self) -> Result<DialogInfo, DocumentError> {
        DialogInfo::read(&self.document)
    }

    /// The document as somebody's registrations.
    ///
    /// # Errors
    /// [`DocumentError`] when it is something else.
    pub fn registrations(&self) -> Result<RegistrationInfo, DocumentError> {
        RegistrationInfo::read(&self.document)
    }
}
