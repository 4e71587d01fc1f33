//! Requests that belong to no call: who answers them, and how they are asked.

use callbot_sip::ua::{Body, ServerRequestId};
use tokio::sync::mpsc;

use super::{ToSip, convert};
use crate::service::{Reply, Request};

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
pub(crate) fn request(request: &callbot_sip::Request, source: std::net::SocketAddr) -> Request {
    Request {
        method: request.method.as_str().to_owned(),
        uri: request.uri.as_str().to_owned(),
        from: convert::uri_of(request.headers.from().ok().as_ref()),
        headers: convert::pairs(&request.headers),
        body: request.body.clone(),
        source,
    }
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
