//! Keeping a state published (RFC 3903): PUBLISH with entity tags, refresh, change and removal.
//!
//! Invariants: one PUBLISH is under way at a time (section 4); a refresh carries no body, a change does, and both
//! name the entity tag of the last 200; after 412 the whole state is published anew; the newest state wins over
//! those that waited.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::auth::{Authenticator, Credentials, MAX_TRIES};
use crate::dialog::split_route;
use crate::headers::{Header, HeaderName, Headers};
use crate::message::{Method, Request, Response};
use crate::subscription::{margin, wait_after, whole_seconds};
use crate::transaction::Handle;
use crate::ua::{
    Armed, Body, ClientUse, Core, Event, Owner, Target, UaError, clean, clean_body, clean_headers,
    cseq_value, put_body, with_tag,
};
use crate::uri::Uri;

/// A state that we publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicationId(pub u64);

/// A state to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where to send PUBLISH.
    pub target: Target,
    /// The Request-URI, which is the From and the To too: whose state this is.
    pub uri: Uri,
    /// The event package, e.g. `presence`.
    pub package: String,
    /// The state.
    pub body: Body,
    /// The lifetime to ask for, in whole seconds; it is refreshed before it ends.
    pub expires: Duration,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// More headers, written as given.
    pub headers: Vec<Header>,
    /// Preloaded routes as name-addrs.
    pub route: Vec<String>,
}

impl Publish {
    /// A publication for one hour with nothing optional.
    pub fn new(target: Target, uri: Uri, package: impl Into<String>, body: Body) -> Self {
        Publish {
            target,
            uri,
            package: package.into(),
            body,
            expires: Duration::from_secs(3600),
            credentials: None,
            headers: Vec::new(),
            route: Vec::new(),
        }
    }
}

/// What a publication is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicationState {
    /// A PUBLISH is out for the first time, or again after a failure.
    Publishing,
    /// The newest state is known there; the refresh goes out by itself before this ends.
    Published {
        /// The lifetime that was granted.
        expires: Duration,
    },
    /// It failed and is tried again by itself.
    Failed {
        /// Why, in words.
        why: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// It is over: `unpublish` was answered, or nobody answered it. The id is gone.
    Removed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// As soon as the PUBLISH under way is answered.
    Wanted,
    Sent,
    Gone,
}

/// A state of ours that somebody keeps for us.
#[derive(Debug)]
pub(crate) struct Publication {
    id: PublicationId,
    publish: Publish,
    call_id: Bytes,
    local: Bytes,
    number: u32,
    auth: Authenticator,
    expires: u32,
    etag: Option<Bytes>,
    /// What is known there is not the newest.
    changed: bool,
    handle: Option<Handle>,
    next_at: Option<Instant>,
    granted: Option<Duration>,
    failures: u32,
    leaving: Leaving,
    state: PublicationState,
    armed: Armed,
}

impl Publication {
    pub(crate) fn start(
        core: &mut Core,
        now: Instant,
        id: PublicationId,
        publish: Publish,
    ) -> Result<Self, UaError> {
        clean("package", &publish.package)?;
        clean_headers(&publish.headers)?;
        clean_body(Some(&publish.body))?;
        for route in &publish.route {
            clean("route", route)?;
        }
        let tag = core.ids.tag();
        let uri = publish.uri.without_headers();
        let mut publication = Publication {
            id,
            call_id: Bytes::from(core.ids.call_id()),
            local: with_tag(format!("<{uri}>").as_bytes(), &tag),
            number: 0,
            auth: Authenticator::new(publish.credentials.clone()),
            expires: whole_seconds(publish.expires).max(1),
            etag: None,
            changed: true,
            handle: None,
            next_at: None,
            granted: None,
            failures: 0,
            leaving: Leaving::No,
            state: PublicationState::Publishing,
            armed: Armed::default(),
            publish,
        };
        core.event(Event::Publication {
            id,
            state: PublicationState::Publishing,
        });
        publication.send(core, now, 1);
        Ok(publication)
    }

    fn send(&mut self, core: &mut Core, now: Instant, tries: u8) {
        self.number += 1;
        self.next_at = None;
        let removes = self.leaving != Leaving::No;
        let routes: Vec<Bytes> = self
            .publish
            .route
            .iter()
            .map(|route| Bytes::from(route.clone()))
            .collect();
        let resource = self.publish.uri.without_headers();
        let (uri, routes) = split_route(&resource, &routes);
        let mut headers = Headers::with_capacity(16);
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::MaxForwards, Bytes::from_static(b"70"));
        headers.push(HeaderName::From, self.local.clone());
        headers.push(HeaderName::To, format!("<{resource}>"));
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, cseq_value(self.number, &Method::Publish));
        headers.push(HeaderName::Event, self.publish.package.clone());
        let expires = if removes { 0 } else { self.expires };
        headers.push(HeaderName::Expires, expires.to_string());
        if let Some(etag) = &self.etag {
            headers.push(HeaderName::SipIfMatch, etag.clone());
        }
        headers.push(HeaderName::UserAgent, core.user_agent.clone());
        headers.extend(self.publish.headers.iter().cloned());
        let mut request = Request {
            method: Method::Publish,
            uri,
            headers,
            body: Bytes::new(),
        };
        if !removes && (self.changed || self.etag.is_none()) {
            request.body = put_body(&mut request.headers, Some(self.publish.body.clone()));
        }
        self.changed = false;
        let answers = self.auth.authorize(
            &mut core.ids,
            "PUBLISH",
            request.uri.as_str(),
            &request.body,
        );
        for (name, value) in answers {
            request.headers.push(name, value);
        }
        let target = self.publish.target.clone();
        let usage = ClientUse::Publish(self.id);
        self.handle = Some(core.start_client(now, request, target, usage, tries));
    }

    pub(crate) fn receive(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: &Response,
    ) {
        if self.handle != Some(handle) || response.status.is_provisional() {
            return;
        }
        let status = response.status.0;
        let tries = core.client_tries(handle);
        match status {
            200..300 => return self.succeeded(core, now, response),
            401 | 407 if self.auth.challenged(&response.headers, tries).is_ok() => {
                // What was in the refused one is still to be said.
                self.changed = self.changed || self.said_body(core, handle);
                return self.send(core, now, tries.saturating_add(1));
            }
            412 if self.leaving == Leaving::No => {
                // They have forgotten our state, or never had it (section 4.1).
                self.etag = None;
                self.granted = None;
                if self.failures == 0 {
                    self.failures = 1;
                    return self.send(core, now, 1);
                }
            }
            423 if self.leaving == Leaving::No && tries < MAX_TRIES => {
                let least = response.headers.get(&HeaderName::MinExpires);
                let least = least.and_then(|text| text.trim().parse().ok());
                if let Some(least) = least.filter(|least| *least > self.expires) {
                    self.expires = least;
                    self.changed = self.changed || self.said_body(core, handle);
                    return self.send(core, now, tries + 1);
                }
            }
            _ => {}
        }
        let why = format!("{status} {}", response.reason_phrase());
        let after = response.headers.retry_after();
        let after = after.map(|seconds| Duration::from_secs(u64::from(seconds)));
        self.failed(core, now, handle, &why, after);
    }

    /// Whether the request of this transaction carried a state.
    fn said_body(&self, core: &Core, handle: Handle) -> bool {
        core.client_request(handle)
            .is_some_and(|(request, _)| !request.body.is_empty())
    }

    fn succeeded(&mut self, core: &mut Core, now: Instant, response: &Response) {
        self.handle = None;
        self.failures = 0;
        self.etag = response
            .headers
            .first(&HeaderName::SipEtag)
            .map(|header| header.value.clone());
        match self.leaving {
            Leaving::No => {}
            Leaving::Wanted => return self.leave(core, now),
            Leaving::Sent | Leaving::Gone => return self.gone(core),
        }
        let seconds = response.headers.expires().unwrap_or(self.expires).max(1);
        let granted = Duration::from_secs(u64::from(seconds));
        self.granted = Some(granted);
        if self.changed {
            return self.send(core, now, 1);
        }
        self.next_at = Some(now + granted - margin(granted));
        self.say(core, PublicationState::Published { expires: granted });
    }

    /// The PUBLISH failed.
    pub(crate) fn failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        why: &str,
        retry_after: Option<Duration>,
    ) {
        if self.handle != Some(handle) {
            return;
        }
        self.handle = None;
        // Whether it was taken in is not known: the next one says all.
        self.changed = true;
        match self.leaving {
            Leaving::No => {
                let retry_in = wait_after(core, self.failures, retry_after);
                self.failures = self.failures.saturating_add(1);
                self.next_at = Some(now + retry_in);
                self.granted = None;
                let why = why.to_owned();
                self.say(core, PublicationState::Failed { why, retry_in });
            }
            Leaving::Wanted => self.leave(core, now),
            Leaving::Sent | Leaving::Gone => self.gone(core),
        }
    }

    /// A newer state.
    pub(crate) fn change(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Body,
    ) -> Result<(), UaError> {
        clean_body(Some(&body))?;
        if self.leaving != Leaving::No {
            return Err(UaError::UnknownRequest);
        }
        self.publish.body = body;
        self.changed = true;
        if self.handle.is_none() && self.granted.is_some() {
            self.send(core, now, 1);
        }
        Ok(())
    }

    pub(crate) fn unpublish(&mut self, core: &mut Core, now: Instant) {
        if self.leaving != Leaving::No {
            return;
        }
        if self.handle.is_some() {
            self.leaving = Leaving::Wanted;
        } else {
            self.leave(core, now);
        }
    }

    fn leave(&mut self, core: &mut Core, now: Instant) {
        if self.etag.is_none() {
            return self.gone(core);
        }
        self.leaving = Leaving::Sent;
        self.send(core, now, 1);
    }

    fn gone(&mut self, core: &mut Core) {
        self.leaving = Leaving::Gone;
        self.next_at = None;
        self.say(core, PublicationState::Removed);
    }

    fn say(&mut self, core: &mut Core, state: PublicationState) {
        if self.state != state {
            self.state = state.clone();
            core.event(Event::Publication { id: self.id, state });
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.leaving == Leaving::Gone
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if self.next_at.is_some_and(|at| at <= now)
            && self.handle.is_none()
            && self.leaving == Leaving::No
        {
            if self.granted.is_none() {
                self.say(core, PublicationState::Publishing);
            }
            self.send(core, now, 1);
        }
    }

    pub(crate) fn arm(&mut self, core: &mut Core) {
        let mut armed = self.armed;
        core.arm(&mut armed, self.next_at, Owner::Publication(self.id));
        self.armed = armed;
    }

    pub(crate) fn armed(&self) -> &Armed {
        &self.armed
    }

    pub(crate) fn armed_mut(&mut self) -> &mut Armed {
        &mut self.armed
    }
}
