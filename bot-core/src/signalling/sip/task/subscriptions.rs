//! Subscriptions and publications, as the task sees them: who hears of which.

use std::collections::HashMap;

use callbot_sip::HeaderName;
use callbot_sip::ua::{
    Event, NotifierId, PublicationId, PublicationState, Reason, SubscriptionId, SubscriptionState,
    SubscriptionStatus as Status,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::SipTask;
use crate::endpoint::{
    IncomingSubscription, Notification, PublicationStatus, SubscriptionStatus, SubscriptionTold,
};
use crate::error::Error;
use crate::package::Document;
use crate::signalling::sip::subscriptions::{EventsCommand, body};
use crate::signalling::sip::{Arrival, convert, requests};

/// Who hears of what.
#[derive(Default)]
pub(super) struct Subscriptions {
    ours: HashMap<SubscriptionId, SubscriptionTold>,
    publications: HashMap<PublicationId, watch::Sender<PublicationStatus>>,
    theirs: HashMap<NotifierId, CancellationToken>,
}

impl SipTask {
    pub(super) fn on_events_command(&mut self, command: EventsCommand) {
        let now = self.now();
        let done = match command {
            EventsCommand::Subscribe {
                subscribe,
                told,
                reply,
            } => {
                let result = self.ua.subscribe(now, *subscribe);
                let result = result.map_err(|error| Error::Exhausted(error.to_string()));
                if let Ok(id) = &result {
                    self.subscriptions.ours.insert(*id, told);
                }
                // Who asked may be gone already.
                if let Err(Ok(id)) = reply.send(result) {
                    let _ = self.ua.unsubscribe(now, id);
                }
                Ok(())
            }
            EventsCommand::Unsubscribe(id) => self.ua.unsubscribe(now, id),
            EventsCommand::Publish {
                publish,
                status,
                reply,
            } => {
                let result = self.ua.publish(now, *publish);
                let result = result.map_err(|error| Error::Exhausted(error.to_string()));
                if let Ok(id) = &result {
                    self.subscriptions.publications.insert(*id, status);
                }
                if let Err(Ok(id)) = reply.send(result) {
                    let _ = self.ua.unpublish(now, id);
                }
                Ok(())
            }
            EventsCommand::Republish(id, state) => {
                let state = callbot_sip::ua::Body::new(state.content_type, state.body);
                self.ua.republish(now, id, state)
            }
            EventsCommand::Unpublish(id) => self.ua.unpublish(now, id),
            EventsCommand::Accept {
                id,
                longest,
                pending,
                state,
            } => {
                let state = state.and_then(body);
                self.ua
                    .accept_subscription(now, id, Some(longest), pending, state)
            }
            EventsCommand::Reject {
                id,
                status,
                headers,
            } => self
                .ua
                .reject_subscription(now, id, status, convert::headers(headers)),
            EventsCommand::Notify { id, state } => self.ua.notify(now, id, body(state)),
            EventsCommand::End(id) => self.ua.end_subscription(now, id, Reason::NoResource, None),
        };
        if let Err(error) = done {
            // The other side was faster.
            tracing::debug!(%error, "not done");
        }
    }

    /// The endpoint ends: whoever watches or is watched is told.
    pub(super) fn leave_subscriptions(&mut self) {
        let now = self.now();
        let mut ours: Vec<_> = self.subscriptions.ours.keys().copied().collect();
        ours.sort_unstable();
        for id in ours {
            let _ = self.ua.unsubscribe(now, id);
        }
        let mut published: Vec<_> = self.subscriptions.publications.keys().copied().collect();
        published.sort_unstable();
        for id in published {
            let _ = self.ua.unpublish(now, id);
        }
        let mut theirs: Vec<_> = self.subscriptions.theirs.keys().copied().collect();
        theirs.sort_unstable();
        for id in theirs {
            let _ = self.ua.end_subscription(now, id, Reason::Deactivated, None);
        }
    }

    /// Deals with what concerns subscriptions and publications; what is given back is something else.
    pub(super) fn on_subscription_event(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Subscription { id, status } => {
                let ended = matches!(status, Status::Ended(_));
                let status = match status {
                    Status::Subscribing => SubscriptionStatus::Subscribing,
                    Status::Pending => SubscriptionStatus::Pending,
                    Status::Active => SubscriptionStatus::Active,
                    Status::Failed { why, retry_in } => {
                        tracing::info!(
                            why,
                            retry_in_s = retry_in.as_secs(),
                            "a subscription failed"
                        );
                        SubscriptionStatus::Failed { why }
                    }
                    Status::Ended(why) => SubscriptionStatus::Ended {
                        why: why.to_string(),
                    },
                };
                if let Some(told) = self.subscriptions.ours.get(&id) {
                    told.status.send_replace(status);
                }
                if ended {
                    self.subscriptions.ours.remove(&id);
                }
            }
            Event::Notified { id, request, state } => {
                let headers = &request.headers;
                let package = headers.get(&HeaderName::Event).unwrap_or_default();
                let package = package.split(';').next().unwrap_or_default().trim();
                let tag = headers.from().ok().and_then(|from| from.tag());
                let content_type = headers.content_type().unwrap_or_default();
                let news = Notification {
                    package: package.to_owned(),
                    notifier: tag.unwrap_or_default().to_owned(),
                    document: Document::new(content_type, request.body.clone()),
                    last: matches!(state, SubscriptionState::Terminated { .. }),
                };
                if let Some(told) = self.subscriptions.ours.get(&id) {
                    let _ = told.told.send(news);
                }
            }
            Event::Publication { id, state } => {
                let status = match state {
                    PublicationState::Publishing => PublicationStatus::Publishing,
                    PublicationState::Published { .. } => PublicationStatus::Published,
                    PublicationState::Failed { why, retry_in } => {
                        tracing::info!(
                            why,
                            retry_in_s = retry_in.as_secs(),
                            "a publication failed"
                        );
                        PublicationStatus::Failed { why }
                    }
                    PublicationState::Removed => PublicationStatus::Removed,
                };
                let removed = status == PublicationStatus::Removed;
                if let Some(told) = self.subscriptions.publications.get(&id) {
                    told.send_replace(status);
                }
                if removed {
                    self.subscriptions.publications.remove(&id);
                }
            }
            Event::Subscribed {
                id,
                request,
                source,
            } => {
                let over = CancellationToken::new();
                let package = request.headers.get(&HeaderName::Event).unwrap_or_default();
                let package = package.split(';').next().unwrap_or_default().trim();
                let incoming = IncomingSubscription::new(
                    id,
                    self.endpoint.commands.clone(),
                    over.clone(),
                    package.to_owned(),
                    requests::request(&request, &source, None),
                );
                self.subscriptions.theirs.insert(id, over);
                // A full queue drops it, which refuses it.
                let _ = self
                    .arrivals
                    .try_send(Arrival::Subscription(Box::new(incoming)));
            }
            Event::Unsubscribed { id } => {
                if let Some(over) = self.subscriptions.theirs.remove(&id) {
                    over.cancel();
                }
            }
            other => return Some(other),
        }
        None
    }
}
