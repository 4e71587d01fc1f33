//! Dialogs: who the peers are, what number the next request gets, and where it goes (RFC 3261 section 12).
//!
//! Invariants: what identifies a dialog (Call-ID, tags) and its route set never changes after it is made;
//! only the remote target does, by a target refresh. Our own From, Call-ID and tags come from our own
//! messages, never from what a peer sent back, so a mangled response cannot mislead later requests.

mod route;

use bytes::Bytes;

pub(crate) use route::{Peer, next_hop, split_route};

use crate::headers::{HeaderError, HeaderName, Headers};
use crate::message::{Method, Request, Response};
use crate::transaction::Key;
use crate::ua::Target;
use crate::ua::{cseq_value, with_tag};
use crate::uri::Uri;

/// Longest route set that is kept; a message of 64 KB could name thousands.
const MAX_ROUTES: usize = 32;

/// One side's view of a call.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) key: Key,
    call_id: Bytes,
    /// Our name-addr with our tag.
    local: Bytes,
    /// Theirs, with theirs.
    remote: Bytes,
    pub(crate) remote_tag: Box<str>,
    local_number: u32,
    remote_number: Option<u32>,
    target: Uri,
    /// Name-addrs, the next hop first.
    routes: Vec<Bytes>,
    pub(crate) peer: Peer,
}

/// What a dialog is made of when we are the caller.
#[derive(Debug)]
pub(crate) struct CallerSide<'a> {
    pub(crate) call_id: &'a Bytes,
    /// Our From with our tag.
    pub(crate) local: &'a Bytes,
    pub(crate) number: u32,
    pub(crate) request_uri: &'a Uri,
}

impl Dialog {
    /// The callee's side, made from the INVITE (section 12.1.1).
    ///
    /// # Errors
    /// When From, To or Contact cannot be used. A peer of RFC 2543 need not send a Contact: its From is the
    /// address then (RFC 4475 section 3.4.1).
    pub(crate) fn from_request(
        request: &Request,
        local_tag: &str,
        key: Key,
        peer: Peer,
    ) -> Result<Self, HeaderError> {
        let headers = &request.headers;
        let target = match headers.contact() {
            Some(contact) => contact?.uri()?,
            None => headers.from()?.uri()?,
        };
        let value = |name: HeaderName| {
            headers
                .first(&name)
                .map(|header| header.value.clone())
                .ok_or(HeaderError::Missing(name))
        };
        Ok(Dialog {
            key,
            call_id: value(HeaderName::CallId)?,
            local: with_tag(&value(HeaderName::To)?, local_tag),
            remote: value(HeaderName::From)?,
            remote_tag: headers.from()?.tag().unwrap_or_default().into(),
            local_number: 0,
            remote_number: Some(headers.cseq()?.number),
            target: target.without_headers(),
            routes: record_routes(headers, false),
            peer,
        })
    }

    /// The caller's side, made from a response that has a To tag (section 12.1.2).
    pub(crate) fn from_response(
        caller: &CallerSide<'_>,
        response: &Response,
        key: Key,
        peer: Peer,
    ) -> Self {
        let headers = &response.headers;
        let to = headers
            .first(&HeaderName::To)
            .map(|header| header.value.clone());
        let contact = headers.contact().and_then(Result::ok);
        Dialog {
            key,
            call_id: caller.call_id.clone(),
            local: caller.local.clone(),
            remote: to.unwrap_or_default(),
            remote_tag: headers
                .to()
                .ok()
                .and_then(|to| to.tag())
                .unwrap_or_default()
                .into(),
            local_number: caller.number,
            remote_number: None,
            // A 2xx must have a Contact; without one the address that we called is the best guess.
            target: contact
                .and_then(|contact| contact.uri().ok())
                .map_or_else(|| caller.request_uri.clone(), |uri| uri.without_headers()),
            routes: record_routes(headers, true),
            peer,
        }
    }

    /// The subscriber's side, made from a NOTIFY that answers our SUBSCRIBE (RFC 6665 section 4.4.1): its From is
    /// the notifier, whose first request has shown the route.
    pub(crate) fn from_notify(
        caller: &CallerSide<'_>,
        request: &Request,
        key: Key,
        peer: Peer,
    ) -> Self {
        let headers = &request.headers;
        let remote = headers
            .first(&HeaderName::From)
            .map(|header| header.value.clone());
        let contact = headers.contact().and_then(Result::ok);
        Dialog {
            key,
            call_id: caller.call_id.clone(),
            local: caller.local.clone(),
            remote: remote.unwrap_or_default(),
            remote_tag: headers
                .from()
                .ok()
                .and_then(|from| from.tag())
                .unwrap_or_default()
                .into(),
            local_number: caller.number,
            remote_number: None,
            target: contact
                .and_then(|contact| contact.uri().ok())
                .map_or_else(|| caller.request_uri.clone(), |uri| uri.without_headers()),
            routes: record_routes(headers, false),
            peer,
        }
    }

    /// Takes the next number and makes a request with it.
    pub(crate) fn request(&mut self, method: Method, is_live: bool) -> (Request, Target) {
        self.local_number = self.local_number.wrapping_add(1);
        self.request_numbered(method, self.local_number, is_live)
    }

    /// A request with a number of its own: an ACK has that of its INVITE.
    pub(crate) fn request_numbered(
        &self,
        method: Method,
        number: u32,
        is_live: bool,
    ) -> (Request, Target) {
        let (uri, routes) = split_route(&self.target, &self.routes);
        let target = self.hop(&uri, &routes, is_live);
        let mut headers = Headers::with_capacity(12 + routes.len());
        // The place of the Via, which comes last and goes to the front.
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::MaxForwards, Bytes::from_static(b"70"));
        headers.push(HeaderName::From, self.local.clone());
        headers.push(HeaderName::To, self.remote.clone());
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, cseq_value(number, &method));
        (
            Request {
                method,
                uri,
                headers,
                body: Bytes::new(),
            },
            target,
        )
    }

    fn hop(&self, uri: &Uri, routes: &[Bytes], is_live: bool) -> Target {
        let first = routes.first().and_then(route::route_uri);
        let strict = self
            .routes
            .first()
            .is_some_and(|route| !route::is_loose(route));
        // Towards a strict router the Request-URI itself names the next hop (section 12.2.1.1).
        let next = if strict { None } else { first };
        self.peer.target(
            next.as_ref().unwrap_or(uri),
            !self.routes.is_empty(),
            is_live,
        )
    }

    /// Whether the request's number is in order; if so it is the last one from now on (section 12.2.2).
    pub(crate) fn accept_number(&mut self, number: u32) -> bool {
        if self.remote_number.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_number = Some(number);
        true
    }

    /// The early dialog of the same branch has used numbers already.
    pub(crate) fn continue_numbers(&mut self, early: &Dialog) {
        if self.key == early.key {
            self.local_number = self.local_number.max(early.local_number);
            self.remote_number = early.remote_number;
        }
    }

    /// A target refresh: re-INVITE and its 2xx.
    pub(crate) fn refresh_target(&mut self, headers: &Headers) {
        if let Some(Ok(contact)) = headers.contact()
            && let Ok(uri) = contact.uri()
        {
            self.target = uri.without_headers();
        }
    }

    pub(crate) fn local(&self) -> &Bytes {
        &self.local
    }

    pub(crate) fn local_number(&self) -> u32 {
        self.local_number
    }

    /// Whom the far end says to be, with its tag.
    pub(crate) fn remote(&self) -> &Bytes {
        &self.remote
    }

    /// Where requests are addressed to.
    pub(crate) fn remote_target(&self) -> &Uri {
        &self.target
    }

    /// Whether proxies stay in the way.
    pub(crate) fn is_routed(&self) -> bool {
        !self.routes.is_empty()
    }
}

/// The route set: of a request in its order, of a response reversed (sections 12.1.1 and 12.1.2).
fn record_routes(headers: &Headers, reversed: bool) -> Vec<Bytes> {
    let mut routes: Vec<Bytes> = headers
        .values(&HeaderName::RecordRoute)
        .take(MAX_ROUTES)
        .map(|route| Bytes::copy_from_slice(route.as_bytes()))
        .collect();
    if reversed {
        routes.reverse();
    }
    routes
}
