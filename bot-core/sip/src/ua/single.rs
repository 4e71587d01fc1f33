//! Requests outside any call, ours and theirs: OPTIONS, MESSAGE and whatever else (RFC 3261 sections 8 and 11).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{
    Body, ClientUse, Core, Event, Failure, OutOfDialog, RequestId, ServerRequestId, UaError,
    UserAgent, clean, clean_body, clean_headers, cseq_value, put_body, with_tag,
};
use crate::auth::Authenticator;
use crate::headers::{Header, HeaderName, Headers};
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::Handle;

/// A request of ours that waits for its answer.
#[derive(Debug)]
pub(super) struct Single {
    auth: Authenticator,
    number: u32,
}

impl Single {
    pub(super) fn send(
        core: &mut Core,
        now: Instant,
        id: RequestId,
        request: OutOfDialog,
    ) -> Result<Self, UaError> {
        clean("from", &request.from)?;
        clean("to", request.to.as_deref().unwrap_or_default())?;
        clean_headers(&request.headers)?;
        clean_body(request.body.as_ref())?;
        if matches!(
            request.method,
            Method::Invite | Method::Ack | Method::Cancel | Method::Bye
        ) {
            return Err(UaError::Invalid {
                what: "method",
                value: request.method.to_string(),
            });
        }
        let uri = request.uri.without_headers();
        let to = request.to.unwrap_or_else(|| format!("<{uri}>"));
        let tag = core.ids.tag();
        let mut headers = Headers::with_capacity(12 + request.headers.len());
        headers.push(HeaderName::MaxForwards, Bytes::from_static(b"70"));
        headers.push(HeaderName::From, with_tag(request.from.as_bytes(), &tag));
        headers.push(HeaderName::To, to);
        headers.push(HeaderName::CallId, core.ids.call_id());
        headers.push(HeaderName::CSeq, cseq_value(1, &request.method));
        headers.push(HeaderName::UserAgent, core.user_agent.clone());
        headers.extend(request.headers);
        let body = put_body(&mut headers, request.body);
        let message = Request {
            method: request.method,
            uri,
            headers,
            body,
        };
        core.start_client(now, message, request.target, ClientUse::Request(id), 1);
        Ok(Single {
            auth: Authenticator::new(request.credentials),
            number: 1,
        })
    }

    /// Sends it again with an answer to the challenge.
    fn answer_challenge(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: RequestId,
        handle: Handle,
        response: &Response,
    ) -> bool {
        let tries = core.client_tries(handle);
        if !matches!(response.status.0, 401 | 407)
            || self.auth.challenged(&response.headers, tries).is_err()
        {
            return false;
        }
        let Some((request, target)) = core.client_request(handle) else {
            return false;
        };
        let (mut request, target) = (request.clone(), target.clone());
        self.number += 1;
        for name in [
            HeaderName::Via,
            HeaderName::Authorization,
            HeaderName::ProxyAuthorization,
        ] {
            request.headers.remove(&name);
        }
        request
            .headers
            .set(HeaderName::CSeq, cseq_value(self.number, &request.method));
        let (method, uri) = (request.method.as_str(), request.uri.as_str());
        for (name, value) in self
            .auth
            .authorize(&mut core.ids, method, uri, &request.body)
        {
            request.headers.push(name, value);
        }
        core.start_client(
            now,
            request,
            target,
            ClientUse::Request(id),
            tries.saturating_add(1),
        );
        true
    }
}

impl UserAgent {
    pub(super) fn receive_single_response(
        &mut self,
        now: Instant,
        id: RequestId,
        handle: Handle,
        response: Arc<Response>,
    ) {
        if response.status.is_provisional() {
            return;
        }
        if let Some(single) = self.requests.get_mut(&id)
            && single.answer_challenge(&mut self.core, now, id, handle, &response)
        {
            return;
        }
        self.single_finished(id, Ok(response));
    }

    pub(super) fn single_finished(
        &mut self,
        id: RequestId,
        result: Result<Arc<Response>, Failure>,
    ) {
        if self.requests.remove(&id).is_some() {
            self.core.event(Event::Response { id, result });
        }
    }
}

/// Answers a request of theirs.
pub(super) fn respond(
    core: &mut Core,
    now: Instant,
    id: ServerRequestId,
    status: u16,
    headers: Vec<Header>,
    body: Option<Body>,
) -> Result<(), UaError> {
    clean_headers(&headers)?;
    clean_body(body.as_ref())?;
    if !(100..700).contains(&status) {
        return Err(UaError::Invalid {
            what: "status",
            value: status.to_string(),
        });
    }
    let handle = Handle::from_bits(id.0);
    let transaction = core
        .server(handle)
        .filter(|transaction| transaction.is_open());
    let request = transaction
        .and_then(|transaction| transaction.request.clone())
        .ok_or(UaError::UnknownRequest)?;
    let mut response = request.response(StatusCode(status));
    core.tag_to(&mut response, None);
    let describes = status == 405 || request.method == Method::Options && status == 200;
    if describes
        && !headers
            .iter()
            .any(|header| header.name == HeaderName::Allow)
    {
        core.describe(&mut response.headers);
    }
    core.sign(&mut response);
    response.headers.extend(headers);
    response.body = put_body(&mut response.headers, body);
    core.respond(now, handle, &response);
    Ok(())
}
