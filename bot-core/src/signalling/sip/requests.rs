//! Requests that belong to no call: who answers them, and how they are asked.

use callbot_sip::Headers;
use callbot_sip::ua::{Body, ServerRequestId, Source};
use tokio::sync::mpsc;

use super::{ToSip, Way, convert};
use crate::service::{Contact, Reply, Request};

/// A request that waits for the service's reply; unanswered it is 500.
pub(crate) struct PendingRequest {
    id: Option<ServerRequestId>,
    commands: mpsc::Sender<ToSip>,
}

impl PendingRequest {
    pub(crate) fn new(id: ServerRequestId, commands: mpsc::Sender<ToSip>) -> Self {
        Self {
            id: Some(id),
            commands,
        }
    }

    pub(crate) async fn reply(mut self, reply: Reply) {
        if let Some(id) = self.id.take() {
            let _ = self.commands.send(ToSip::Respond { id, reply }).await;
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let _ = self.commands.try_send(ToSip::Respond {
                id,
                reply: Reply::status(500),
            });
        }
    }
}

/// A request as a service sees it.
pub(crate) fn request(
    request: &callbot_sip::Request,
    source: &Source,
    account: Option<String>,
) -> Request {
    let headers = &request.headers;
    Request {
        from: convert::uri_of(headers.from().ok().as_ref()),
        to: convert::uri_of(headers.to().ok().as_ref()),
        contacts: contacts(headers),
        way: Way::of(source),
        method: request.method.as_str().to_owned(),
        uri: request.uri.as_str().to_owned(),
        headers: convert::pairs(&request.headers),
        body: request.body.clone(),
        source: source.remote,
        account,
    }
}

/// What Contact says; a value that is no address was refused before it came here.
fn contacts(headers: &Headers) -> Vec<Contact> {
    headers
        .contacts()
        .flatten()
        .map(|contact| Contact {
            uri: contact.uri.to_owned(),
            params: contact
                .params
                .iter()
                .map(|param| {
                    (
                        param.name.to_owned(),
                        param.value.unwrap_or_default().to_owned(),
                    )
                })
                .collect(),
        })
        .collect()
}

/// A reply's body with its type.
pub(crate) fn body(reply: &Reply) -> Option<Body> {
    let (content_type, bytes) = reply.body.clone()?;
    Some(Body::new(content_type, bytes))
}

/// A response to a request of ours, as its asker sees it.
pub(crate) fn reply(response: &callbot_sip::Response) -> Reply {
    let content_type = response
        .headers
        .content_type()
        .unwrap_or_default()
        .to_owned();
    let body = (!response.body.is_empty()).then(|| (content_type, response.body.clone()));
    Reply::of(response.status.0, convert::pairs(&response.headers), body)
}
