//! Subscriptions, publications and requests outside calls, as they are asked of the task.

use std::sync::Arc;
use std::time::Duration;

use callbot_sip::ua;
use tokio::sync::{oneshot, watch};

use super::convert;
use super::place::{Outset, outset};
use crate::endpoint::{
    EndpointShared, PublicationStatus, Published, SubscriptionTold, SubscriptionWanted,
};
use crate::error::Result;
use crate::package::Document;

pub(crate) use callbot_sip::ua::{NotifierId, PublicationId, SubscriptionId};

/// What is asked of the task about subscriptions and publications.
pub(crate) enum EventsCommand {
    Subscribe {
        subscribe: Box<ua::Subscribe>,
        told: SubscriptionTold,
        reply: oneshot::Sender<Result<SubscriptionId>>,
    },
    Unsubscribe(SubscriptionId),
    Publish {
        publish: Box<ua::Publish>,
        status: watch::Sender<PublicationStatus>,
        reply: oneshot::Sender<Result<PublicationId>>,
    },
    Republish(PublicationId, Document),
    Unpublish(PublicationId),
    Accept {
        id: NotifierId,
        longest: Duration,
        pending: bool,
        state: Option<Document>,
    },
    Reject {
        id: NotifierId,
        status: u16,
        headers: Vec<(String, String)>,
    },
    Notify {
        id: NotifierId,
        state: Document,
    },
    End(NotifierId),
}

pub(super) fn body(document: Document) -> Option<ua::Body> {
    (!document.body.is_empty()).then(|| ua::Body::new(document.content_type, document.body))
}

/// What to subscribe to, with the way found.
pub(crate) async fn subscribe(
    endpoint: &Arc<EndpointShared>,
    wanted: SubscriptionWanted,
) -> Result<ua::Subscribe> {
    let Outset {
        target,
        uri,
        from,
        contact_user,
        credentials,
        route,
    } = outset(endpoint, &wanted.uri, &wanted.sender, None).await?;
    let mut subscribe = ua::Subscribe::new(target, uri, from, wanted.package);
    subscribe.accept = wanted.accept;
    subscribe.expires = wanted.expires;
    subscribe.contact_user = contact_user;
    subscribe.credentials = credentials;
    subscribe.route = route;
    subscribe.headers = convert::headers(wanted.headers);
    Ok(subscribe)
}

/// What to publish, with the way found.
pub(crate) async fn publish(
    endpoint: &Arc<EndpointShared>,
    state: Published,
) -> Result<ua::Publish> {
    let out = outset(endpoint, &state.uri, &state.sender, None).await?;
    let document = state.document;
    let body = ua::Body::new(document.content_type, document.body);
    let mut publish = ua::Publish::new(out.target, out.uri, state.package, body);
    publish.expires = state.expires;
    publish.credentials = out.credentials;
    publish.route = out.route;
    Ok(publish)
}
