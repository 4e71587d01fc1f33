//! Telling others our state: subscriptions of theirs (RFC 6665).

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::package::Document;
use crate::service::{Reply, Request};
use crate::signalling::sip::{EventsCommand, NotifierId, ToSip};

/// Somebody wants to be told a state, in a package that
/// [`EndpointBuilder::packages`](crate::EndpointBuilder::packages) names. Dropping it refuses it (480).
#[derive(Debug)]
pub struct IncomingSubscription {
    link: Option<Link>,
    package: String,
    request: Request,
}

/// The way to the subscription.
#[derive(Debug)]
struct Link {
    id: NotifierId,
    commands: mpsc::Sender<ToSip>,
    over: CancellationToken,
}

impl Link {
    async fn send(&self, command: EventsCommand) -> Result<()> {
        let command = ToSip::Events(command);
        self.commands.send(command).await.map_err(|_| Error::Closed)
    }
}

impl IncomingSubscription {
    pub(crate) fn new(
        id: NotifierId,
        commands: mpsc::Sender<ToSip>,
        over: CancellationToken,
        package: String,
        request: Request,
    ) -> Self {
        Self {
            link: Some(Link { id, commands, over }),
            package,
            request,
        }
    }

    /// The event package, such as `presence`.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The SUBSCRIBE: its URI says whose state is wanted, its From by whom.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Accepts it, and tells the state as it is now.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn accept(self, state: impl Into<Document>) -> Result<Subscriber> {
        self.accept_for(Duration::from_secs(3600), Some(state.into()), false)
            .await
    }

    /// Takes it without deciding: the subscriber is told that it has to wait. The first
    /// [`notify`](Subscriber::notify) decides well, [`end`](Subscriber::end) badly.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn accept_pending(self) -> Result<Subscriber> {
        self.accept_for(Duration::from_secs(3600), None, true).await
    }

    async fn accept_for(
        mut self,
        longest: Duration,
        state: Option<Document>,
        pending: bool,
    ) -> Result<Subscriber> {
        let link = self.link.take().ok_or(Error::Closed)?;
        link.send(EventsCommand::Accept {
            id: link.id,
            longest,
            pending,
            state,
        })
        .await?;
        Ok(Subscriber { link })
    }

    /// Accepts it, and tells each state that `states` takes, until either side ends it.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn follow(self, mut states: watch::Receiver<Document>) -> Result<()> {
        let state = states.borrow_and_update().clone();
        let subscriber = self.accept(state).await?;
        loop {
            tokio::select! {
                biased;
                () = subscriber.ended() => return Ok(()),
                changed = states.changed() => {
                    if changed.is_err() {
                        return subscriber.end().await;
                    }
                    let state = states.borrow_and_update().clone();
                    subscriber.notify(state).await?;
                }
            }
        }
    }

    /// Refuses it with a status from 400 to 699, such as 403 or 404.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn reject(self, status: u16) -> Result<()> {
        self.reject_with(Reply::status(status)).await
    }

    /// Refuses it with the status and headers of a reply; a status outside 400 to 699 becomes 480.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn reject_with(mut self, reply: Reply) -> Result<()> {
        let status = if (400..700).contains(&reply.status) {
            reply.status
        } else {
            480
        };
        match self.link.take() {
            Some(link) => {
                link.send(EventsCommand::Reject {
                    id: link.id,
                    status,
                    headers: reply.headers,
                })
                .await
            }
            None => Ok(()),
        }
    }
}

impl Drop for IncomingSubscription {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            let reject = EventsCommand::Reject {
                id: link.id,
                status: 480,
                headers: Vec::new(),
            };
            let _ = link.commands.try_send(ToSip::Events(reject));
        }
    }
}

/// Somebody who is told a state for as long as this is held. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscriber {
    link: Link,
}

impl Subscriber {
    /// Tells a new state. States arrive in their order; a subscriber that is slow misses the oldest of more than 32.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn notify(&self, state: impl Into<Document>) -> Result<()> {
        self.link
            .send(EventsCommand::Notify {
                id: self.link.id,
                state: state.into(),
            })
            .await
    }

    /// Waits until the subscriber has left, or is gone. Cancel safe.
    pub async fn ended(&self) {
        self.link.over.cancelled().await;
    }

    /// Whether the subscriber has left, or is gone.
    pub fn is_over(&self) -> bool {
        self.link.over.is_cancelled()
    }

    /// Ends the subscription. The same as dropping it.
    ///
    /// # Errors
    /// [`Error::Closed`] when the endpoint is.
    pub async fn end(self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if !self.link.over.is_cancelled() {
            let end = ToSip::Events(EventsCommand::End(self.link.id));
            let _ = self.link.commands.try_send(end);
        }
    }
}
