//! Keeping an address of record registered (RFC 3261 section 10).
//!
//! Responsibility: REGISTER with digest, the refresh before the registrar's lifetime ends, a longer lifetime
//! after 423, another try after a failure with growing waits, the query of all bindings, and the removal of ours
//! or of all at the end. `pace` says when a REGISTER may leave, `contact` who we say that we are, `binding` reads what
//! a registrar answers; the flow that requests to us come by is kept alive by [`crate::outbound`].
//!
//! Invariants: one REGISTER is under way at a time (section 10.2); all of them share a Call-ID, with growing
//! CSeq numbers; each leaves by the pace that all registrations of a user agent share.

mod binding;
mod contact;
mod pace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use binding::{Binding, Bound};
pub(crate) use pace::Pace;

use crate::auth::Authenticator;
use crate::dialog::split_route;
use crate::headers::{HeaderName, Headers};
use crate::message::{Method, Request, Response};
use crate::outbound::{Answer, KeepAlive, Pulse};
use crate::transaction::{Handle, earlier};
use crate::ua::{
    Armed, ClientUse, Core, Event, Failure, FlowId, Owner, PeerHost, Protocol, Registration,
    RegistrationId, RegistrationState, Source, UaError, clean, clean_headers, contact_value,
    cseq_value, with_tag,
};
use crate::uri::Uri;

/// The longest Retry-After that is obeyed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// When a lost connection is noticed by many registrations at once, each stands in line within this time.
const AFTER_LOSS: u64 = 500;

/// The longest Flow-Timer that is believed, in seconds: a day.
const LONGEST_FLOW_TIMER: u32 = 86_400;

/// One address of record.
#[derive(Debug)]
pub(crate) struct Registered {
    id: RegistrationId,
    registration: Registration,
    call_id: Bytes,
    local: Bytes,
    /// Our Contact's URI.
    contact: Option<Uri>,
    /// The Contact header, with the parameters of instance and flow.
    contact_header: Bytes,
    number: u32,
    auth: Authenticator,
    /// Seconds to ask for: as configured, or longer after a 423.
    expires: u32,
    /// The REGISTER under way, and what it is for.
    handle: Option<Handle>,
    purpose: Purpose,
    /// It stands in line to send, and how often it was sent already.
    waiting: Option<u8>,
    /// When the next one is due.
    next_at: Option<Instant>,
    /// The lifetime that the registrar gave, while it holds.
    granted: Option<Duration>,
    /// What the registrar knows of us.
    binding: Option<Arc<Binding>>,
    /// Whether the registrar may know us, though a refresh has failed.
    held: bool,
    /// Whether the first hop does without `reg-id`: it said that it cannot do it (439).
    without_flows: bool,
    fetch_wanted: bool,
    failures: u32,
    leaving: Leaving,
    flow: Option<FlowId>,
    keep_alive: KeepAlive,
    armed: Armed,
}

/// What a REGISTER is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Bind,
    /// To see all bindings.
    Fetch,
    /// To remove ours.
    Remove,
    /// To remove those of everybody.
    RemoveAll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// As soon as the REGISTER under way is answered.
    Wanted(Purpose),
    /// The removal is under way.
    Sent,
    Gone,
}

impl Registered {
    pub(crate) fn start(
        core: &mut Core,
        id: RegistrationId,
        registration: Registration,
    ) -> Result<Self, UaError> {
        clean_headers(&registration.headers)?;
        for (what, text) in [
            ("contact user", &registration.contact_user),
            ("instance", &registration.instance),
            ("display name", &registration.display_name),
        ] {
            clean(what, text.as_deref().unwrap_or_default())?;
        }
        for route in &registration.route {
            clean("route", route)?;
        }
        let tag = core.ids.tag();
        let aor = registration.aor.without_headers();
        let target = &registration.target;
        let user = registration.contact_user.as_deref().or(aor.user());
        let seconds = u32::try_from(registration.expires.as_secs()).unwrap_or(u32::MAX);
        let address = contact_value(
            core,
            user,
            target.advertised,
            target.protocol,
            registration.registrar.is_sips(),
        );
        let contact = std::str::from_utf8(&address)
            .ok()
            .and_then(|text| text.trim_matches(['<', '>']).parse().ok());
        let name = registration.display_name.as_deref();
        let name = name.map_or_else(String::new, |name| {
            format!("\"{}\" ", name.replace(['"', '\\'], ""))
        });
        let mut registered = Registered {
            id,
            call_id: Bytes::from(core.ids.call_id()),
            local: with_tag(format!("{name}<{aor}>").as_bytes(), &tag),
            contact,
            contact_header: address,
            number: 0,
            auth: Authenticator::new(registration.credentials.clone()),
            expires: seconds.max(1),
            handle: None,
            purpose: Purpose::Bind,
            waiting: None,
            next_at: None,
            granted: None,
            binding: None,
            held: false,
            without_flows: false,
            fetch_wanted: false,
            failures: 0,
            leaving: Leaving::No,
            flow: None,
            keep_alive: KeepAlive::default(),
            armed: Armed::default(),
            registration,
        };
        registered.describe_contact();
        registered.say(core, RegistrationState::Registering);
        registered.stand_in_line(core, Purpose::Bind, 1, false);
        Ok(registered)
    }

    fn say(&self, core: &mut Core, state: RegistrationState) {
        core.event(Event::Registration { id: self.id, state });
    }

    /// Whether a REGISTER is under way or stands in line.
    fn is_busy(&self) -> bool {
        self.handle.is_some() || self.waiting.is_some()
    }

    fn stand_in_line(&mut self, core: &mut Core, purpose: Purpose, tries: u8, urgent: bool) {
        self.purpose = purpose;
        if purpose != Purpose::Fetch {
            self.next_at = None;
        }
        if self.waiting.replace(tries).is_none() {
            core.pace.push(self.id, urgent);
        }
    }

    /// Whether this is the REGISTER under way.
    pub(crate) fn is_under_way(&self, handle: Handle) -> bool {
        self.handle == Some(handle)
    }

    /// It was sent to another address.
    pub(crate) fn moved(&mut self, handle: Handle) {
        self.handle = Some(handle);
    }

    /// Whether it still wants to send when its turn comes.
    pub(crate) fn wants_turn(&self) -> bool {
        self.waiting.is_some()
    }

    /// Its turn has come.
    pub(crate) fn take_turn(&mut self, core: &mut Core, now: Instant) {
        if let Some(tries) = self.waiting.take() {
            self.send(core, now, tries);
        }
    }

    fn send(&mut self, core: &mut Core, now: Instant, tries: u8) {
        self.number += 1;
        let routes: Vec<Bytes> = self
            .registration
            .route
            .iter()
            .map(|route| Bytes::from(route.clone()))
            .collect();
        let (uri, routes) = split_route(&self.registration.registrar, &routes);
        let mut headers = Headers::with_capacity(14);
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::MaxForwards, Bytes::from_static(b"70"));
        headers.push(HeaderName::From, self.local.clone());
        headers.push(
            HeaderName::To,
            format!("<{}>", self.registration.aor.without_headers()),
        );
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, cseq_value(self.number, &Method::Register));
        match self.purpose {
            Purpose::Bind => {
                headers.push(HeaderName::Contact, self.contact_header.clone());
                headers.push(HeaderName::Expires, self.expires.to_string());
            }
            Purpose::Remove => {
                headers.push(HeaderName::Contact, self.contact_header.clone());
                headers.push(HeaderName::Expires, &b"0"[..]);
            }
            Purpose::RemoveAll => {
                headers.push(HeaderName::Contact, &b"*"[..]);
                headers.push(HeaderName::Expires, &b"0"[..]);
            }
            Purpose::Fetch => {}
        }
        headers.push(HeaderName::Allow, core.allow.clone());
        headers.push(HeaderName::Supported, self.supported(core));
        headers.push(HeaderName::UserAgent, core.user_agent.clone());
        headers.extend(self.registration.headers.iter().cloned());
        for (name, value) in self
            .auth
            .authorize(&mut core.ids, "REGISTER", uri.as_str(), b"")
        {
            headers.push(name, value);
        }
        let request = Request {
            method: Method::Register,
            uri,
            headers,
            body: Bytes::new(),
        };
        let mut target = self.registration.target.clone();
        target.flow = self.flow.filter(|flow| core.is_live(*flow)).or(target.flow);
        self.handle =
            Some(core.start_client(now, request, target, ClientUse::Register(self.id), tries));
    }

    pub(crate) fn receive(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: &Response,
        source: &Source,
    ) {
        if self.handle != Some(handle) || response.status.is_provisional() {
            return;
        }
        let status = response.status.0;
        let tries = core.client_tries(handle);
        let mut why = format!("{status} {}", response.reason_phrase());
        match status {
            200..300 => {
                self.auth.answered(&response.headers);
                return self.succeeded(core, now, handle, response, source);
            }
            401 | 407 => match self.auth.challenged(&response.headers, tries) {
                Ok(()) => {
                    self.handle = None;
                    // The same server knows the nonce.
                    self.flow = source.flow;
                    let purpose = self.purpose;
                    return self.stand_in_line(core, purpose, tries.saturating_add(1), true);
                }
                Err(problem) => why = format!("{why}: {problem}"),
            },
            423 => {
                let least = response
                    .headers
                    .get(&HeaderName::MinExpires)
                    .and_then(|text| text.parse().ok());
                if let Some(least) = least.filter(|least| *least > self.expires) {
                    self.expires = least;
                    self.handle = None;
                    return self.stand_in_line(core, Purpose::Bind, 1, true);
                }
            }
            // The first hop cannot keep flows (RFC 5626 section 11.6): a plain registration then.
            439 if self.reg_id().is_some() => {
                self.without_flows = true;
                self.describe_contact();
                self.handle = None;
                return self.stand_in_line(core, Purpose::Bind, 1, true);
            }
            _ => {}
        }
        let retry_after = response
            .headers
            .retry_after()
            .map(|seconds| Duration::from_secs(u64::from(seconds)));
        self.unsuccessful(core, now, &why, retry_after);
    }

    fn succeeded(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        response: &Response,
        source: &Source,
    ) {
        self.handle = None;
        if self.purpose == Purpose::Fetch {
            core.event(Event::Bindings {
                id: self.id,
                result: Ok(binding::bindings(response)),
            });
            return self.go_on(core);
        }
        self.failures = 0;
        self.held = true;
        self.flow = source.flow;
        if let Some(target) = core.client_target(handle) {
            // The candidate that answered is the one to keep to.
            self.registration.target.remote = target.remote;
            self.registration.target.protocol = target.protocol;
            self.registration.target.local = target.local;
            self.registration.target.advertised = target.advertised;
        }
        match self.leaving {
            Leaving::No => {}
            Leaving::Wanted(purpose) => return self.leave(core, purpose),
            Leaving::Sent | Leaving::Gone => return self.gone(core),
        }
        let headers = &response.headers;
        let instance = self.registration.instance.as_deref();
        let ours = binding::ours(headers, self.contact.as_ref(), instance, self.reg_id());
        let seconds = ours
            .as_ref()
            .and_then(|ours| ours.expires)
            .or(headers.expires())
            .unwrap_or(self.expires);
        let granted = Duration::from_secs(u64::from(seconds));
        if granted.is_zero() {
            return self.retry(core, now, "the registrar granted no time", None);
        }
        self.next_at = Some(now + granted - margin(granted, core));
        self.granted = Some(granted);
        let outbound = headers.contains_token(&HeaderName::Require, "outbound");
        let flow_timer = headers
            .get(&HeaderName::FlowTimer)
            .and_then(|text| text.trim().parse::<u32>().ok())
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(u64::from(seconds.min(LONGEST_FLOW_TIMER))));
        if source.protocol == Protocol::Udp && (outbound || flow_timer.is_some()) {
            self.keep_alive.run(now, flow_timer, &mut core.ids);
        } else {
            self.keep_alive.stop();
        }
        let Some(contact) = self.contact.clone() else {
            return;
        };
        let (pub_gruu, temp_gruu) =
            ours.map_or((None, None), |ours| (ours.pub_gruu, ours.temp_gruu));
        let binding = Arc::new(Binding {
            contact,
            expires: granted,
            service_route: binding::routes(headers, &HeaderName::ServiceRoute),
            path: binding::routes(headers, &HeaderName::Path),
            pub_gruu,
            temp_gruu,
            outbound,
            flow_timer,
            target: self.registration.target.clone(),
            flow: source.flow,
        });
        self.binding = Some(binding.clone());
        self.say(core, RegistrationState::Registered { binding });
        self.go_on(core);
    }

    /// What was asked for while a REGISTER was under way.
    fn go_on(&mut self, core: &mut Core) {
        match self.leaving {
            Leaving::Wanted(purpose) => self.leave(core, purpose),
            Leaving::No if self.fetch_wanted => {
                self.fetch_wanted = false;
                self.stand_in_line(core, Purpose::Fetch, 1, true);
            }
            _ => {}
        }
    }

    /// A REGISTER was not answered.
    pub(crate) fn failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        failure: &Failure,
    ) {
        if self.handle == Some(handle) {
            if matches!(self.registration.target.host, PeerHost::Name(_)) {
                // Its name is looked up anew: it may have moved.
                self.registration.target.remote = None;
            }
            self.unsuccessful(core, now, &failure.to_string(), None);
        }
    }

    fn unsuccessful(
        &mut self,
        core: &mut Core,
        now: Instant,
        why: &str,
        retry_after: Option<Duration>,
    ) {
        self.handle = None;
        if self.purpose == Purpose::Fetch {
            core.event(Event::Bindings {
                id: self.id,
                result: Err(why.to_owned()),
            });
            return self.go_on(core);
        }
        match self.leaving {
            Leaving::No => self.retry(core, now, why, retry_after),
            // It may have reached the registrar all the same.
            Leaving::Wanted(purpose) => self.leave(core, purpose),
            Leaving::Sent | Leaving::Gone => self.gone(core),
        }
    }

    fn retry(&mut self, core: &mut Core, now: Instant, why: &str, retry_after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let wait = self
            .registration
            .backoff
            .wait(self.failures, &mut core.ids)
            .max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        self.try_again(core, now, why, wait);
    }

    fn try_again(&mut self, core: &mut Core, now: Instant, why: &str, wait: Duration) {
        self.next_at = Some(now + wait);
        self.granted = None;
        self.binding = None;
        self.keep_alive.stop();
        self.say(
            core,
            RegistrationState::Failed {
                why: why.to_owned(),
                retry_in: wait,
            },
        );
    }

    /// Asks for all bindings, as soon as no other REGISTER is under way.
    pub(crate) fn fetch(&mut self, core: &mut Core) -> Result<(), UaError> {
        if self.leaving != Leaving::No {
            return Err(UaError::UnknownRequest);
        }
        if self.is_busy() {
            self.fetch_wanted = true;
        } else {
            self.stand_in_line(core, Purpose::Fetch, 1, true);
        }
        Ok(())
    }

    /// Removes our binding, or those of everybody.
    pub(crate) fn unregister(&mut self, core: &mut Core, all: bool) {
        let purpose = if all {
            Purpose::RemoveAll
        } else {
            Purpose::Remove
        };
        if self.leaving != Leaving::No {
            return;
        }
        if self.handle.is_some() {
            self.leaving = Leaving::Wanted(purpose);
        } else if self.held || all {
            self.leave(core, purpose);
        } else {
            self.gone(core);
        }
    }

    fn leave(&mut self, core: &mut Core, purpose: Purpose) {
        self.leaving = Leaving::Sent;
        self.keep_alive.stop();
        self.waiting = None;
        self.stand_in_line(core, purpose, 1, true);
    }

    fn gone(&mut self, core: &mut Core) {
        self.leaving = Leaving::Gone;
        self.next_at = None;
        self.waiting = None;
        if self.fetch_wanted {
            core.event(Event::Bindings {
                id: self.id,
                result: Err("the account was removed".to_owned()),
            });
        }
        self.say(core, RegistrationState::Unregistered);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.leaving == Leaving::Gone
    }

    pub(crate) fn uses(&self, flow: FlowId) -> bool {
        self.flow == Some(flow)
    }

    /// The registrar can no longer reach us by the connection that we registered over.
    pub(crate) fn flow_lost(&mut self, core: &mut Core, now: Instant, why: &str) {
        self.flow = None;
        if self.leaving == Leaving::No && !self.is_busy() && self.granted.is_some() {
            let wait = Duration::from_millis(core.ids.below(AFTER_LOSS));
            let why = format!("the way to the registrar is lost ({why})");
            self.try_again(core, now, &why, wait);
        }
    }

    /// A keep-alive was answered.
    pub(crate) fn stun_answered(&mut self, core: &mut Core, now: Instant, answer: &Answer) {
        if !self.keep_alive.answered(now, answer) {
            self.flow_lost(core, now, "our address has changed on the way");
        }
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        match self.keep_alive.handle_timeout(now, self.id, &mut core.ids) {
            Pulse::Nothing => {}
            Pulse::Send(request) => {
                core.transmit(&self.registration.target, request, None, None);
            }
            Pulse::Lost => self.flow_lost(core, now, "no answer to keep-alives"),
        }
        if self.next_at.is_some_and(|at| at <= now)
            && !self.is_busy()
            && self.leaving == Leaving::No
        {
            if self.granted.is_none() {
                self.say(core, RegistrationState::Registering);
            }
            let refreshes = self.granted.is_some();
            self.stand_in_line(core, Purpose::Bind, 1, refreshes);
        }
    }

    pub(crate) fn arm(&mut self, core: &mut Core) {
        let mut armed = self.armed;
        // What is due waits for the REGISTER under way, which comes back here.
        let next_at = self.next_at.filter(|_| !self.is_busy());
        let deadline = earlier(next_at, self.keep_alive.deadline());
        core.arm(&mut armed, deadline, Owner::Registration(self.id));
        self.armed = armed;
    }

    pub(crate) fn armed(&self) -> &Armed {
        &self.armed
    }

    pub(crate) fn armed_mut(&mut self) -> &mut Armed {
        &mut self.armed
    }
}

/// How long before its end a registration is refreshed: a tenth, between 5 and 60 s, and never more than half. Of
/// longer ones a part more, drawn anew each time, so that those that began together do not stay together.
fn margin(granted: Duration, core: &mut Core) -> Duration {
    let margin = (granted / 10)
        .clamp(Duration::from_secs(5), Duration::from_secs(60))
        .min(granted / 2);
    let spread = (granted / 20).min(Duration::from_secs(60));
    margin + Duration::from_millis(core.ids.below(spread.as_millis() as u64))
}
