//! The notifier's side (RFC 6665 section 4.2): one subscription of theirs, from its SUBSCRIBE to its last NOTIFY.
//!
//! Invariants: one NOTIFY is under way at a time, so that they arrive in the order in which they were made; at
//! most [`MAX_QUEUED`] wait, of which the oldest go first; a subscription that is not refreshed ends with a NOTIFY
//! that says so, and one whose NOTIFY is refused or not answered ends at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{DEFAULT_EXPIRES, EventName, NotifierId, Reason, SubscriptionState, whole_seconds};
use crate::dialog::{Dialog, Peer};
use crate::headers::{Header, HeaderError, HeaderName};
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::{Handle, Key};
use crate::ua::{
    Armed, Body, ClientUse, Core, Event, Owner, ServerUse, Source, UaError, clean_body,
    clean_headers, contact_value, put_body,
};

/// States that wait for the NOTIFY before them.
const MAX_QUEUED: usize = 32;

/// What a subscription of theirs is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The SUBSCRIBE waits for our decision.
    Asked,
    Pending,
    Active,
    /// The last NOTIFY is out or queued.
    Ending,
    Over,
}

/// A subscription of theirs.
#[derive(Debug)]
pub(crate) struct Notifier {
    id: NotifierId,
    event: EventName,
    dialog: Dialog,
    contact: Bytes,
    phase: Phase,
    /// The first SUBSCRIBE, until it is answered.
    asked: Option<(Handle, Arc<Request>)>,
    /// Where the lifetime is granted up to.
    longest: u32,
    expires_at: Instant,
    /// The newest state, which a refresh is told again.
    current: Option<Body>,
    queued: VecDeque<Notice>,
    handle: Option<Handle>,
    /// `Unsubscribed` is out.
    told: bool,
    armed: Armed,
}

/// A NOTIFY that waits.
#[derive(Debug)]
struct Notice {
    body: Option<Body>,
    end: Option<(Reason, Option<Duration>)>,
}

impl Notifier {
    /// A new subscription of theirs.
    ///
    /// # Errors
    /// When the request cannot make a dialog; it is to be answered with 400.
    pub(crate) fn incoming(
        core: &mut Core,
        now: Instant,
        id: NotifierId,
        handle: Handle,
        request: &Arc<Request>,
        source: &Source,
    ) -> Result<Self, HeaderError> {
        let headers = &request.headers;
        let event = EventName::of(headers).ok_or(HeaderError::Missing(HeaderName::Event))?;
        let local_tag = core.ids.tag();
        let remote_tag = headers.from()?.tag().unwrap_or_default();
        let key = core.keys.dialog(headers.call_id()?, &local_tag, remote_tag);
        let peer = Peer::of_request(source, request);
        let mut dialog = Dialog::from_request(request, &local_tag, key, peer)?;
        dialog.accept_number(headers.cseq()?.number);
        core.notifiers.insert(key, id);
        Ok(Notifier {
            id,
            event,
            contact: contact_value(
                core,
                request.uri.user(),
                source.advertised,
                source.protocol,
                request.uri.is_sips(),
            ),
            dialog,
            phase: Phase::Asked,
            asked: Some((handle, request.clone())),
            longest: DEFAULT_EXPIRES,
            // Who asked has given up by then.
            expires_at: now + core.timings.timeout(),
            current: None,
            queued: VecDeque::new(),
            handle: None,
            told: false,
            armed: Armed::default(),
        })
    }

    fn wrong(&self, command: &'static str) -> UaError {
        UaError::WrongState {
            command,
            state: match self.phase {
                Phase::Asked => "waiting for our answer",
                Phase::Pending => "pending",
                Phase::Active => "active",
                Phase::Ending => "being ended",
                Phase::Over => "over",
            },
        }
    }

    /// A response to a SUBSCRIBE in this dialog.
    fn response(&self, core: &Core, request: &Request, status: u16) -> Response {
        let mut response = request.response(StatusCode(status));
        response
            .headers
            .set(HeaderName::To, self.dialog.local().clone());
        if (200..300).contains(&status) {
            for header in request
                .headers
                .iter()
                .filter(|header| header.name == HeaderName::RecordRoute)
            {
                response.headers.push_header(header.clone());
            }
            response
                .headers
                .push(HeaderName::Contact, self.contact.clone());
        }
        core.sign(&mut response);
        response
    }

    /// What they asked for, as far as it is granted.
    fn granted(&self, request: &Request) -> u32 {
        request
            .headers
            .expires()
            .unwrap_or(DEFAULT_EXPIRES)
            .min(self.longest)
    }

    /// Answers 200 and tells the state.
    pub(crate) fn accept(
        &mut self,
        core: &mut Core,
        now: Instant,
        longest: Option<Duration>,
        pending: bool,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        let Some((handle, request)) = self.asked.take() else {
            return Err(self.wrong("accept a subscription"));
        };
        if let Some(longest) = longest {
            self.longest = whole_seconds(longest).max(1);
        }
        let granted = self.granted(&request);
        let mut response = self.response(core, &request, 200);
        response
            .headers
            .push(HeaderName::Expires, granted.to_string());
        core.respond(now, handle, &response);
        self.phase = if pending {
            Phase::Pending
        } else {
            Phase::Active
        };
        self.grant(core, now, granted, body);
        Ok(())
    }

    /// Tells the state to who has just asked, for so many seconds: none for a fetch or a farewell.
    fn grant(&mut self, core: &mut Core, now: Instant, granted: u32, body: Option<Body>) {
        if granted == 0 {
            return self.finish(core, now, Reason::Timeout, None, body);
        }
        self.expires_at = now + Duration::from_secs(u64::from(granted));
        self.enqueue(core, now, Notice { body, end: None });
    }

    pub(crate) fn reject(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
        headers: Vec<Header>,
    ) -> Result<(), UaError> {
        clean_headers(&headers)?;
        if !(300..700).contains(&status) {
            return Err(UaError::Invalid {
                what: "status",
                value: status.to_string(),
            });
        }
        let Some((handle, request)) = self.asked.take() else {
            return Err(self.wrong("refuse a subscription"));
        };
        let mut response = self.response(core, &request, status);
        if status == 489 {
            core.allow_events(&mut response.headers);
        }
        response.headers.extend(headers);
        core.respond(now, handle, &response);
        self.end(core);
        Ok(())
    }

    /// Tells a new state.
    pub(crate) fn notify(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        if !matches!(self.phase, Phase::Pending | Phase::Active) {
            return Err(self.wrong("notify"));
        }
        self.phase = Phase::Active;
        self.enqueue(core, now, Notice { body, end: None });
        Ok(())
    }

    /// Ends the subscription with a last NOTIFY.
    pub(crate) fn terminate(
        &mut self,
        core: &mut Core,
        now: Instant,
        reason: Reason,
        retry_after: Option<Duration>,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        clean_body(body.as_ref())?;
        if !matches!(self.phase, Phase::Pending | Phase::Active) {
            return Err(self.wrong("end a subscription"));
        }
        self.finish(core, now, reason, retry_after, body);
        Ok(())
    }

    fn finish(
        &mut self,
        core: &mut Core,
        now: Instant,
        reason: Reason,
        retry_after: Option<Duration>,
        body: Option<Body>,
    ) {
        self.phase = Phase::Ending;
        // A subscriber that answers no NOTIFY is not waited for.
        self.expires_at = now + core.timings.timeout() + core.timings.timeout();
        self.say_over(core);
        let end = Some((reason, retry_after));
        self.enqueue(core, now, Notice { body, end });
    }

    fn enqueue(&mut self, core: &mut Core, now: Instant, notice: Notice) {
        if notice.body.is_some() {
            self.current.clone_from(&notice.body);
        }
        if self.queued.len() >= MAX_QUEUED {
            self.queued.pop_front();
        }
        self.queued.push_back(notice);
        self.send_next(core, now);
    }

    fn send_next(&mut self, core: &mut Core, now: Instant) {
        if self.handle.is_some() {
            return;
        }
        let Some(notice) = self.queued.pop_front() else {
            return;
        };
        let state = match notice.end {
            Some((reason, retry_after)) => SubscriptionState::Terminated {
                reason: Some(reason),
                retry_after,
            },
            None => {
                let left = self.expires_at.saturating_duration_since(now);
                let expires = Some(left);
                match self.phase {
                    Phase::Pending => SubscriptionState::Pending { expires },
                    _ => SubscriptionState::Active { expires },
                }
            }
        };
        let is_live = self.dialog.peer.flow.is_some_and(|flow| core.is_live(flow));
        let (mut request, target) = self.dialog.request(Method::Notify, is_live);
        let headers = &mut request.headers;
        headers.push(HeaderName::Contact, self.contact.clone());
        headers.push(HeaderName::Event, self.event.value());
        headers.push(HeaderName::SubscriptionState, state.value());
        headers.push(HeaderName::UserAgent, core.user_agent.clone());
        request.body = put_body(&mut request.headers, notice.body);
        let usage = ClientUse::Notify(self.id);
        self.handle = Some(core.start_client(now, request, target, usage, 1));
    }

    /// A NOTIFY was answered, or not: `None`.
    pub(crate) fn notified(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: Option<&Response>,
    ) {
        if self.handle != Some(handle) {
            return;
        }
        if response.is_some_and(|response| response.status.is_provisional()) {
            return;
        }
        self.handle = None;
        // What may pass is let pass; all else ends the subscription (section 4.2.2).
        let stands = response.is_some_and(|response| {
            response.status.is_success()
                || response.headers.contains(&HeaderName::RetryAfter) && response.status.0 >= 500
        });
        if !stands || self.phase == Phase::Ending && self.queued.is_empty() {
            return self.end(core);
        }
        self.send_next(core, now);
    }

    /// A SUBSCRIBE in the dialog: a refresh, or the end.
    pub(crate) fn receive(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let status = if !self.dialog.accept_number(number) {
            500
        } else if EventName::of(&request.headers).as_ref() != Some(&self.event) {
            489
        } else if matches!(self.phase, Phase::Ending | Phase::Over) {
            481
        } else if self.phase == Phase::Asked {
            // The copy that a proxy made is another transaction; the first is not decided yet.
            491
        } else {
            200
        };
        let mut response = self.response(core, request, status);
        if status == 489 {
            core.allow_events(&mut response.headers);
        }
        let granted = self.granted(request);
        if status == 200 {
            self.dialog.refresh_target(&request.headers);
            response
                .headers
                .push(HeaderName::Expires, granted.to_string());
        }
        let usage = ServerUse::Other(None);
        let handle = core.start_server(now, source, request, key, None, usage);
        core.respond(now, handle, &response);
        if status == 200 {
            let body = self.current.clone();
            self.grant(core, now, granted, body);
        }
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if self.expires_at > now {
            return;
        }
        match self.phase {
            Phase::Pending | Phase::Active => {
                let body = self.current.clone();
                self.finish(core, now, Reason::Timeout, None, body);
            }
            Phase::Asked | Phase::Ending | Phase::Over => self.end(core),
        }
    }

    fn end(&mut self, core: &mut Core) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        core.notifiers.remove(&self.dialog.key);
        self.say_over(core);
    }

    /// Says that states are of no use any more, once.
    fn say_over(&mut self, core: &mut Core) {
        if !std::mem::replace(&mut self.told, true) {
            core.event(Event::Unsubscribed { id: self.id });
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(crate) fn arm(&mut self, core: &mut Core) {
        let mut armed = self.armed;
        // A timer that is armed for earlier is armed anew when it falls due: each refresh would leave one behind else.
        let at = armed
            .at()
            .map_or(self.expires_at, |at| at.min(self.expires_at));
        core.arm(&mut armed, Some(at), Owner::Notifier(self.id));
        self.armed = armed;
    }

    pub(crate) fn armed(&self) -> &Armed {
        &self.armed
    }

    pub(crate) fn armed_mut(&mut self) -> &mut Armed {
        &mut self.armed
    }
}
