//! The subscriber's side (RFC 6665 section 4.1): SUBSCRIBE until it is taken back, and every NOTIFY that it leads to.
//!
//! Invariants: all dialogs of one SUBSCRIBE share our Call-ID and tag, so one key finds them all, also for a
//! NOTIFY that comes before the 2xx; a fork is taken in until timer N ends, at most [`MAX_FORKS`] of them; a 2xx
//! that no NOTIFY follows within timer N (64*T1) counts for nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    EventName, Reason, Subscribe, SubscriptionId, SubscriptionState, SubscriptionStatus,
    Termination, margin, wait_after, whole_seconds,
};
use crate::auth::{Authenticator, MAX_TRIES};
use crate::dialog::{CallerSide, Dialog, Peer, split_route};
use crate::headers::{HeaderName, Headers};
use crate::message::{Method, Request, Response};
use crate::transaction::{Handle, Key, earlier};
use crate::ua::{
    Armed, ClientUse, Core, Event, Failure, Owner, Source, Target, UaError, clean, clean_body,
    clean_headers, contact_value, cseq_value, put_body, with_tag,
};

/// How many notifiers may answer one SUBSCRIBE.
const MAX_FORKS: usize = 8;
/// How long a subscription must have stood for its end to be no failure.
const STEADY: Duration = Duration::from_secs(60);

/// What the last NOTIFY gave as its reason, and when to try again.
type LastWords = (Option<Reason>, Option<Duration>);

/// One notifier that answered.
#[derive(Debug)]
struct Usage {
    dialog: Dialog,
    /// Whether a NOTIFY came; without one within timer N there is no subscription.
    notified: bool,
    notify_by: Instant,
    expires_at: Instant,
    refresh_at: Instant,
    /// The SUBSCRIBE under way in this dialog.
    handle: Option<Handle>,
}

impl Usage {
    fn lasts_until(&mut self, now: Instant, lifetime: Duration) {
        self.expires_at = now + lifetime;
        self.refresh_at = now + lifetime - margin(lifetime);
    }

    fn deadline(&self, leaving: bool) -> Option<Instant> {
        let mut at = Some(self.expires_at);
        if !self.notified || leaving {
            at = earlier(at, Some(self.notify_by));
        }
        if self.handle.is_none() && !leaving {
            at = earlier(at, Some(self.refresh_at));
        }
        at
    }
}

/// A subscription of ours.
#[derive(Debug)]
pub(crate) struct Subscriber {
    id: SubscriptionId,
    subscribe: Subscribe,
    event: EventName,
    /// What finds this by the Call-ID and the To tag of a NOTIFY.
    key: Key,
    call_id: Bytes,
    local_tag: Box<str>,
    local: Bytes,
    to: Bytes,
    contact: Bytes,
    number: u32,
    auth: Authenticator,
    /// Seconds to ask for: as configured, or longer after a 423.
    expires: u32,
    /// The SUBSCRIBE under way that has no dialog yet.
    handle: Option<Handle>,
    forks_until: Instant,
    usages: Vec<Usage>,
    /// The last NOTIFY was faster than the 2xx.
    early_end: Option<LastWords>,
    active_since: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    status: SubscriptionStatus,
    leaving: bool,
    over: bool,
    armed: Armed,
}

impl Subscriber {
    pub(crate) fn start(
        core: &mut Core,
        now: Instant,
        id: SubscriptionId,
        subscribe: Subscribe,
    ) -> Result<Self, UaError> {
        clean("from", &subscribe.from)?;
        clean("to", subscribe.to.as_deref().unwrap_or_default())?;
        clean("package", &subscribe.package)?;
        clean(
            "contact user",
            subscribe.contact_user.as_deref().unwrap_or_default(),
        )?;
        clean_headers(&subscribe.headers)?;
        clean_body(subscribe.body.as_ref())?;
        for text in subscribe.accept.iter().chain(&subscribe.route) {
            clean("accept or route", text)?;
        }
        let mut headers = Headers::new();
        headers.push(HeaderName::Event, subscribe.package.clone());
        let event = EventName::of(&headers).ok_or_else(|| UaError::Invalid {
            what: "package",
            value: subscribe.package.clone(),
        })?;
        let uri = subscribe.uri.without_headers();
        let to = subscribe.to.clone().unwrap_or_else(|| format!("<{uri}>"));
        let contact = contact_value(
            core,
            subscribe.contact_user.as_deref(),
            subscribe.target.advertised,
            subscribe.target.protocol,
            uri.is_sips(),
        );
        let mut subscriber = Subscriber {
            id,
            event,
            key: core.keys.dialog("", "", ""),
            call_id: Bytes::new(),
            local_tag: "".into(),
            local: Bytes::new(),
            to: Bytes::from(to),
            contact,
            number: 0,
            auth: Authenticator::new(subscribe.credentials.clone()),
            expires: whole_seconds(subscribe.expires),
            handle: None,
            forks_until: now,
            usages: Vec::new(),
            early_end: None,
            active_since: None,
            failures: 0,
            retry_at: None,
            status: SubscriptionStatus::Subscribing,
            leaving: subscribe.expires.is_zero(),
            over: false,
            armed: Armed::default(),
            subscribe,
        };
        core.event(Event::Subscription {
            id,
            status: SubscriptionStatus::Subscribing,
        });
        subscriber.begin(core, now);
        Ok(subscriber)
    }

    /// A SUBSCRIBE that knows of no dialog, under names of its own.
    fn begin(&mut self, core: &mut Core, now: Instant) {
        let call_id = core.ids.call_id();
        let tag = core.ids.tag();
        core.subscribers.remove(&self.key);
        self.key = core.keys.dialog(&call_id, &tag, "");
        core.subscribers.insert(self.key, self.id);
        self.local = with_tag(self.subscribe.from.as_bytes(), &tag);
        self.local_tag = tag.as_str().into();
        self.call_id = Bytes::from(call_id);
        self.number = 0;
        self.retry_at = None;
        self.send_first(core, now, 1, self.subscribe.target.clone());
    }

    fn send_first(&mut self, core: &mut Core, now: Instant, tries: u8, target: Target) {
        self.number += 1;
        let routes: Vec<Bytes> = self
            .subscribe
            .route
            .iter()
            .map(|route| Bytes::from(route.clone()))
            .collect();
        let (uri, routes) = split_route(&self.subscribe.uri.without_headers(), &routes);
        let mut headers = Headers::with_capacity(16);
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::MaxForwards, Bytes::from_static(b"70"));
        headers.push(HeaderName::From, self.local.clone());
        headers.push(HeaderName::To, self.to.clone());
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(
            HeaderName::CSeq,
            cseq_value(self.number, &Method::Subscribe),
        );
        let mut request = Request {
            method: Method::Subscribe,
            uri,
            headers,
            body: Bytes::new(),
        };
        self.finish(core, &mut request, self.expires, true);
        // Forks may answer until timer N ends (section 4.1.2.4).
        self.forks_until = now + core.timings.timeout();
        let usage = ClientUse::Subscribe(self.id);
        self.handle = Some(core.start_client(now, request, target, usage, tries));
    }

    /// What every SUBSCRIBE has.
    fn finish(&mut self, core: &mut Core, request: &mut Request, expires: u32, with_body: bool) {
        let headers = &mut request.headers;
        headers.push(HeaderName::Contact, self.contact.clone());
        headers.push(HeaderName::Event, self.event.value());
        headers.push(HeaderName::Expires, expires.to_string());
        if !self.subscribe.accept.is_empty() {
            headers.push(HeaderName::Accept, self.subscribe.accept.join(", "));
        }
        core.describe(headers);
        headers.push(HeaderName::UserAgent, core.user_agent.clone());
        headers.extend(self.subscribe.headers.iter().cloned());
        if with_body {
            request.body = put_body(&mut request.headers, self.subscribe.body.clone());
        }
        let (method, uri) = (request.method.as_str(), request.uri.as_str());
        let answers = self
            .auth
            .authorize(&mut core.ids, method, uri, &request.body);
        for (name, value) in answers {
            request.headers.push(name, value);
        }
    }

    /// A SUBSCRIBE in the dialog of one notifier: the refresh, or with nothing to ask for the end.
    fn send_in(&mut self, core: &mut Core, now: Instant, index: usize, expires: u32, tries: u8) {
        let Some(usage) = self.usages.get_mut(index) else {
            return;
        };
        let is_live = usage
            .dialog
            .peer
            .flow
            .is_some_and(|flow| core.is_live(flow));
        let (mut request, target) = usage.dialog.request(Method::Subscribe, is_live);
        self.finish(core, &mut request, expires, false);
        let handle = core.start_client(now, request, target, ClientUse::Subscribe(self.id), tries);
        if let Some(usage) = self.usages.get_mut(index) {
            usage.handle = Some(handle);
        }
    }

    fn wanted_expires(&self) -> u32 {
        if self.leaving { 0 } else { self.expires }
    }

    pub(crate) fn receive(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: &Response,
        source: &Source,
    ) {
        if response.status.is_provisional() {
            return;
        }
        let index = self
            .usages
            .iter()
            .position(|usage| usage.handle == Some(handle));
        let is_first = self.handle == Some(handle);
        if !is_first && index.is_none() {
            return;
        }
        let tries = core.client_tries(handle);
        let status = response.status.0;
        match status {
            401 | 407 if self.auth.challenged(&response.headers, tries).is_ok() => {
                let tries = tries.saturating_add(1);
                return match index {
                    Some(index) => self.send_in(core, now, index, self.wanted_expires(), tries),
                    None => {
                        let target = core.client_target(handle).cloned();
                        let target = target.unwrap_or_else(|| self.subscribe.target.clone());
                        self.send_first(core, now, tries, target);
                    }
                };
            }
            423 if !self.leaving && tries < MAX_TRIES => {
                let least = response.headers.get(&HeaderName::MinExpires);
                let least = least.and_then(|text| text.trim().parse().ok());
                if let Some(least) = least.filter(|least| *least > self.expires) {
                    self.expires = least;
                    return match index {
                        Some(index) => self.send_in(core, now, index, least, tries + 1),
                        None => {
                            let target = self.subscribe.target.clone();
                            self.send_first(core, now, tries + 1, target);
                        }
                    };
                }
            }
            _ => {}
        }
        let granted = response.headers.expires();
        match index {
            Some(index) if response.status.is_success() => {
                let seconds = granted.unwrap_or_else(|| self.wanted_expires());
                self.refreshed(core, now, index, seconds);
            }
            Some(index) => {
                let why = format!("{status} {}", response.reason_phrase());
                self.refresh_failed(core, now, index, Some(status), why);
            }
            None if response.status.is_success() => {
                self.handle = None;
                self.answered(core, now, handle, response, source);
            }
            None => {
                self.handle = None;
                let why = format!("{status} {}", response.reason_phrase());
                let after = response.headers.retry_after();
                let after = after.map(|seconds| Duration::from_secs(u64::from(seconds)));
                self.refused(core, now, Some(status), why, after);
            }
        }
    }

    /// The 2xx to the first SUBSCRIBE.
    fn answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: &Response,
        source: &Source,
    ) {
        let tag = response.headers.to().ok().and_then(|to| to.tag());
        let tag = tag.unwrap_or_default().to_owned();
        let seconds = response.headers.expires().unwrap_or(self.expires);
        let lifetime = Duration::from_secs(u64::from(seconds));
        let known = self
            .usages
            .iter_mut()
            .find(|usage| *usage.dialog.remote_tag == *tag);
        match known {
            // Its NOTIFY was faster.
            Some(usage) => {
                if seconds > 0 && now + lifetime < usage.expires_at {
                    usage.lasts_until(now, lifetime);
                }
            }
            None if self.early_end.is_some() => {
                let words = self.early_end.take().unwrap_or_default();
                let why = Termination::Notified {
                    reason: words.0.clone(),
                    retry_after: words.1,
                };
                return self.lost(core, now, why.to_string(), Some(words));
            }
            None => {
                let target = core.client_target(handle).unwrap_or(&self.subscribe.target);
                let peer = Peer::of_response(target, source);
                let call_id = std::str::from_utf8(&self.call_id).unwrap_or_default();
                let key = core.keys.dialog(call_id, &self.local_tag, &tag);
                let caller = self.caller_side();
                let dialog = Dialog::from_response(&caller, response, key, peer);
                self.add(core, now, dialog, lifetime, false);
            }
        }
        if self.leaving && !self.subscribe.expires.is_zero() {
            self.leave(core, now);
        }
    }

    fn caller_side(&self) -> CallerSide<'_> {
        CallerSide {
            call_id: &self.call_id,
            local: &self.local,
            number: self.number,
            request_uri: &self.subscribe.uri,
        }
    }

    fn add(
        &mut self,
        core: &mut Core,
        now: Instant,
        dialog: Dialog,
        lifetime: Duration,
        notified: bool,
    ) {
        let notify_by = now + core.timings.timeout();
        let mut usage = Usage {
            dialog,
            notified,
            notify_by,
            expires_at: now,
            refresh_at: now,
            handle: None,
        };
        // A fetch ends with its NOTIFY, which has its own limit.
        let lifetime = if lifetime.is_zero() {
            core.timings.timeout()
        } else {
            lifetime
        };
        usage.lasts_until(now, lifetime);
        self.usages.push(usage);
    }

    fn refreshed(&mut self, core: &mut Core, now: Instant, index: usize, seconds: u32) {
        let leaving = self.leaving;
        let Some(usage) = self.usages.get_mut(index) else {
            return;
        };
        usage.handle = None;
        if leaving {
            // The last NOTIFY may still be on its way.
            usage.notify_by = now + core.timings.timeout();
        } else if seconds > 0 {
            usage.lasts_until(now, Duration::from_secs(u64::from(seconds)));
        } else {
            self.usages.remove(index);
            self.lost(core, now, "the notifier granted no time".to_owned(), None);
        }
    }

    /// A refresh failed. 481 ends this dialog; anything else leaves it until it runs out (section 4.1.2.2).
    fn refresh_failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        index: usize,
        status: Option<u16>,
        why: String,
    ) {
        let leaving = self.leaving;
        let Some(usage) = self.usages.get_mut(index) else {
            return;
        };
        usage.handle = None;
        if leaving
            || matches!(
                status,
                Some(404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
            )
        {
            self.usages.remove(index);
            return self.lost(core, now, why, None);
        }
        let left = usage.expires_at.saturating_duration_since(now);
        usage.refresh_at = now + (left / 2).max(Duration::from_secs(1));
    }

    /// The SUBSCRIBE under way got no answer.
    pub(crate) fn failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        failure: &Failure,
    ) {
        let why = failure.to_string();
        if self.handle == Some(handle) {
            self.handle = None;
            return self.refused(core, now, None, why, None);
        }
        let index = self
            .usages
            .iter()
            .position(|usage| usage.handle == Some(handle));
        if let Some(index) = index {
            self.refresh_failed(core, now, index, None, why);
        }
    }

    /// The first SUBSCRIBE came to nothing.
    fn refused(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: Option<u16>,
        why: String,
        retry_after: Option<Duration>,
    ) {
        // What will be the same tomorrow is not asked again.
        let for_good = matches!(
            status,
            Some(400 | 401 | 403 | 404..=407 | 410 | 414..=421 | 484 | 485 | 489 | 501 | 603 | 604)
        );
        if self.leaving || for_good {
            return self.end(core, Termination::Refused { status, why });
        }
        if self.usages.is_empty() {
            self.retry(core, now, why, retry_after);
        }
    }

    /// One notifier is gone.
    fn lost(&mut self, core: &mut Core, now: Instant, why: String, notified: Option<LastWords>) {
        if self.handle.is_some() {
            self.early_end = notified;
            return;
        }
        if !self.usages.is_empty() {
            return;
        }
        if self.leaving {
            return self.end(core, Termination::Unsubscribed);
        }
        match notified {
            Some((reason, retry_after))
                if reason
                    .as_ref()
                    .is_some_and(|reason| !reason.invites_another_try()) =>
            {
                self.end(
                    core,
                    Termination::Notified {
                        reason,
                        retry_after,
                    },
                );
            }
            Some((reason, retry_after)) => {
                let at_once = matches!(reason, Some(Reason::Deactivated | Reason::Timeout));
                let steady = self.active_since.is_some_and(|since| now - since >= STEADY);
                if at_once && steady {
                    self.failures = 0;
                    return self.begin(core, now);
                }
                self.retry(core, now, why, retry_after);
            }
            None => self.retry(core, now, why, None),
        }
    }

    fn retry(&mut self, core: &mut Core, now: Instant, why: String, retry_after: Option<Duration>) {
        if self
            .active_since
            .take()
            .is_some_and(|since| now - since >= STEADY)
        {
            self.failures = 0;
        }
        let retry_in = wait_after(core, self.failures, retry_after);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + retry_in);
        core.subscribers.remove(&self.key);
        self.say(core, SubscriptionStatus::Failed { why, retry_in });
    }

    /// A NOTIFY with our Call-ID and tag; the status that answers it.
    pub(crate) fn receive_notify(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
    ) -> u16 {
        let headers = &request.headers;
        let Some(event) = EventName::of(headers) else {
            return 400;
        };
        if event != self.event {
            return 489;
        }
        let tag = headers.from().ok().and_then(|from| from.tag());
        let tag = tag.unwrap_or_default();
        let number = headers.cseq().map_or(0, |cseq| cseq.number);
        let index = self
            .usages
            .iter()
            .position(|usage| *usage.dialog.remote_tag == *tag);
        let index = match index {
            Some(index) => index,
            None if now > self.forks_until || self.usages.len() >= MAX_FORKS => return 481,
            None => {
                let call_id = std::str::from_utf8(&self.call_id).unwrap_or_default();
                let key = core.keys.dialog(call_id, &self.local_tag, tag);
                let peer = Peer::of_request(source, request);
                let dialog = Dialog::from_notify(&self.caller_side(), request, key, peer);
                let lifetime = Duration::from_secs(u64::from(self.expires.max(1)));
                self.add(core, now, dialog, lifetime, true);
                self.usages.len() - 1
            }
        };
        let Some(usage) = self.usages.get_mut(index) else {
            return 481;
        };
        if !usage.dialog.accept_number(number) {
            return 500;
        }
        usage.notified = true;
        usage.dialog.refresh_target(headers);
        let state = SubscriptionState::of(headers);
        core.event(Event::Notified {
            id: self.id,
            request: request.clone(),
            state: state.clone(),
        });
        let expires = match &state {
            SubscriptionState::Active { expires } | SubscriptionState::Pending { expires } => {
                *expires
            }
            SubscriptionState::Terminated {
                reason,
                retry_after,
            } => {
                self.usages.remove(index);
                self.active_since.get_or_insert(now);
                let why = Termination::Notified {
                    reason: reason.clone(),
                    retry_after: *retry_after,
                };
                self.lost(
                    core,
                    now,
                    why.to_string(),
                    Some((reason.clone(), *retry_after)),
                );
                return 200;
            }
        };
        // The notifier may shorten what is left, never lengthen it.
        let until = expires.map(|expires| now + expires);
        if let Some(until) = until.filter(|until| *until < usage.expires_at) {
            usage.lasts_until(now, until - now);
        }
        self.active_since.get_or_insert(now);
        self.say(
            core,
            match state {
                SubscriptionState::Pending { .. } => SubscriptionStatus::Pending,
                _ => SubscriptionStatus::Active,
            },
        );
        200
    }

    pub(crate) fn unsubscribe(&mut self, core: &mut Core, now: Instant) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        self.retry_at = None;
        if self.handle.is_none() {
            self.leave(core, now);
        }
    }

    fn leave(&mut self, core: &mut Core, now: Instant) {
        if self.usages.is_empty() {
            return self.end(core, Termination::Unsubscribed);
        }
        for index in 0..self.usages.len() {
            let end = now + core.timings.timeout() + core.timings.timeout();
            if let Some(usage) = self.usages.get_mut(index) {
                usage.notify_by = end;
            }
            self.send_in(core, now, index, 0, 1);
        }
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.say(core, SubscriptionStatus::Subscribing);
            self.begin(core, now);
        }
        let leaving = self.leaving;
        let before = self.usages.len();
        self.usages.retain(|usage| {
            let silent = (!usage.notified || leaving) && usage.notify_by <= now;
            !silent && usage.expires_at > now
        });
        if self.usages.len() < before {
            let why = "no NOTIFY came in time".to_owned();
            if self.subscribe.expires.is_zero() && self.usages.is_empty() {
                return self.end(core, Termination::Refused { status: None, why });
            }
            self.lost(core, now, why, None);
        }
        if !leaving {
            for index in 0..self.usages.len() {
                let due = self
                    .usages
                    .get(index)
                    .is_some_and(|usage| usage.handle.is_none() && usage.refresh_at <= now);
                if due {
                    self.send_in(core, now, index, self.expires, 1);
                }
            }
        }
    }

    fn say(&mut self, core: &mut Core, status: SubscriptionStatus) {
        if self.status != status {
            self.status = status.clone();
            core.event(Event::Subscription {
                id: self.id,
                status,
            });
        }
    }

    fn end(&mut self, core: &mut Core, why: Termination) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        core.subscribers.remove(&self.key);
        self.usages.clear();
        self.retry_at = None;
        self.say(core, SubscriptionStatus::Ended(why));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// How many dialogs it has.
    pub(crate) fn dialogs(&self) -> usize {
        self.usages.len()
    }

    pub(crate) fn arm(&mut self, core: &mut Core) {
        let mut deadline = self.retry_at;
        for usage in &self.usages {
            deadline = earlier(deadline, usage.deadline(self.leaving));
        }
        let mut armed = self.armed;
        core.arm(&mut armed, deadline, Owner::Subscription(self.id));
        self.armed = armed;
    }

    pub(crate) fn armed(&self) -> &Armed {
        &self.armed
    }

    pub(crate) fn armed_mut(&mut self) -> &mut Armed {
        &mut self.armed
    }
}
