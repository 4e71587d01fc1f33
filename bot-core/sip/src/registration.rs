//! Keeping an address of record registered (RFC 3261 section 10).
//!
//! Responsibility: REGISTER with digest, the refresh before the registrar's lifetime ends, a longer lifetime
//! after 423, another try after a failure with growing waits, and the removal at the end.
//!
//! Invariant: one REGISTER is under way at a time (section 10.2); all of them share a Call-ID, with growing
//! CSeq numbers.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::auth::Authenticator;
use crate::dialog::split_route;
use crate::headers::{HeaderName, Headers};
use crate::message::{Method, Request, Response};
use crate::transaction::{Handle, earlier};
use crate::ua::{
    Armed, ClientUse, Core, Event, FlowId, Owner, Registration, RegistrationId, RegistrationState,
    Source, UaError, clean, clean_headers, contact_value, cseq_value, with_tag,
};
use crate::uri::Uri;

/// The first wait after a failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait after a failure, unless the registrar asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest Retry-After that is obeyed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// One address of record.
#[derive(Debug)]
pub(crate) struct Registered {
    id: RegistrationId,
    registration: Registration,
    call_id: Bytes,
    local: Bytes,
    contact: Bytes,
    number: u32,
    auth: Authenticator,
    /// Seconds to ask for: as configured, or longer after a 423.
    expires: u32,
    /// The REGISTER under way.
    handle: Option<Handle>,
    /// When the next one is due.
    next_at: Option<Instant>,
    /// The lifetime that the registrar gave, while it holds.
    granted: Option<Duration>,
    /// Whether the registrar may know us, though a refresh has failed.
    held: bool,
    failures: u32,
    leaving: Leaving,
    flow: Option<FlowId>,
    armed: Armed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// As soon as the REGISTER under way is answered.
    Wanted,
    /// The removal is under way.
    Sent,
    Gone,
}

impl Registered {
    pub(crate) fn start(
        core: &mut Core,
        now: Instant,
        id: RegistrationId,
        registration: Registration,
    ) -> Result<Self, UaError> {
        clean_headers(&registration.headers)?;
        clean(
            "contact user",
            registration.contact_user.as_deref().unwrap_or_default(),
        )?;
        for route in &registration.route {
            clean("route", route)?;
        }
        let tag = core.ids.tag();
        let aor = registration.aor.without_headers();
        let target = &registration.target;
        let user = registration.contact_user.as_deref().or(aor.user());
        let seconds = u32::try_from(registration.expires.as_secs()).unwrap_or(u32::MAX);
        let mut registered = Registered {
            id,
            call_id: Bytes::from(core.ids.call_id()),
            local: with_tag(format!("<{aor}>").as_bytes(), &tag),
            contact: contact_value(
                core,
                user,
                target.advertised,
                target.protocol,
                registration.registrar.is_sips(),
            ),
            number: 0,
            auth: Authenticator::new(registration.credentials.clone()),
            expires: seconds.max(1),
            handle: None,
            next_at: None,
            granted: None,
            held: false,
            failures: 0,
            leaving: Leaving::No,
            flow: None,
            armed: Armed::default(),
            registration,
        };
        registered.say(core, RegistrationState::Registering);
        registered.send(core, now, 1);
        Ok(registered)
    }

    fn say(&self, core: &mut Core, state: RegistrationState) {
        core.event(Event::Registration { id: self.id, state });
    }

    fn send(&mut self, core: &mut Core, now: Instant, tries: u8) {
        self.number += 1;
        self.next_at = None;
        let expires = if self.leaving == Leaving::No {
            self.expires
        } else {
            0
        };
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
        headers.push(HeaderName::Contact, self.contact.clone());
        headers.push(HeaderName::Expires, expires.to_string());
        core.describe(&mut headers);
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
            200..300 => return self.succeeded(core, now, response, source),
            401 | 407 => match self.auth.challenged(&response.headers, tries) {
                Ok(()) => return self.send(core, now, tries.saturating_add(1)),
                Err(problem) => why = format!("{why}: {problem}"),
            },
            423 => {
                let least = response
                    .headers
                    .get(&HeaderName::MinExpires)
                    .and_then(|text| text.parse().ok());
                if let Some(least) = least.filter(|least| *least > self.expires) {
                    self.expires = least;
                    return self.send(core, now, 1);
                }
            }
            _ => {}
        }
        // "120 (in a meeting);duration=60" starts with what counts.
        let retry_after = response
            .headers
            .get(&HeaderName::RetryAfter)
            .and_then(|text| {
                let digits = text
                    .trim_start()
                    .split(|letter: char| !letter.is_ascii_digit())
                    .next()?;
                digits.parse().ok().map(Duration::from_secs)
            });
        self.failed(core, now, handle, &why, retry_after);
    }

    fn succeeded(&mut self, core: &mut Core, now: Instant, response: &Response, source: &Source) {
        self.handle = None;
        self.failures = 0;
        self.held = true;
        self.flow = source.flow;
        match self.leaving {
            Leaving::No => {}
            Leaving::Wanted => return self.leave(core, now),
            Leaving::Sent | Leaving::Gone => return self.gone(core),
        }
        let granted = Duration::from_secs(u64::from(self.granted_seconds(response)));
        if granted.is_zero() {
            return self.retry(core, now, "the registrar granted no time", None);
        }
        self.next_at = Some(now + granted - margin(granted));
        if self.granted != Some(granted) {
            self.granted = Some(granted);
            self.say(core, RegistrationState::Registered { expires: granted });
        }
    }

    /// The lifetime of our Contact in the answer (section 10.2.4): its own, or Expires, or what we asked for.
    fn granted_seconds(&self, response: &Response) -> u32 {
        let ours: Option<Uri> = std::str::from_utf8(&self.contact)
            .ok()
            .and_then(|text| text.trim_matches(['<', '>']).parse().ok());
        let contacts: Vec<_> = response.headers.contacts().filter_map(Result::ok).collect();
        let matching = contacts.iter().find(|contact| {
            let theirs = contact.uri().ok();
            match (&ours, theirs) {
                (Some(ours), Some(theirs)) => {
                    ours.user() == theirs.user()
                        && ours.host().eq_ignore_ascii_case(theirs.host())
                        && ours.port() == theirs.port()
                }
                _ => false,
            }
        });
        // A registrar that rewrites Contacts (NAT) and lists one alone means ours.
        let contact = matching.or(if contacts.len() == 1 {
            contacts.first()
        } else {
            None
        });
        contact
            .and_then(|contact| contact.param("expires"))
            .and_then(|text| text.parse().ok())
            .or(response.headers.expires())
            .unwrap_or(self.expires)
    }

    /// The REGISTER failed.
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
        match self.leaving {
            Leaving::No => self.retry(core, now, why, retry_after),
            // It may have reached the registrar all the same.
            Leaving::Wanted => self.leave(core, now),
            Leaving::Sent | Leaving::Gone => self.gone(core),
        }
    }

    fn retry(&mut self, core: &mut Core, now: Instant, why: &str, retry_after: Option<Duration>) {
        let wait = FIRST_WAIT
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        // Up to a quarter more or less, so that a thousand agents do not come back at once.
        let spread = wait.as_millis() as u64 / 2;
        let wait = wait * 3 / 4 + Duration::from_millis(core.ids.below(spread + 1));
        let wait = wait.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        self.next_at = Some(now + wait);
        self.granted = None;
        self.say(
            core,
            RegistrationState::Failed {
                why: why.to_owned(),
                retry_in: wait,
            },
        );
    }

    pub(crate) fn unregister(&mut self, core: &mut Core, now: Instant) {
        if self.leaving != Leaving::No {
            return;
        }
        if self.handle.is_some() {
            self.leaving = Leaving::Wanted;
        } else if self.held {
            self.leave(core, now);
        } else {
            self.gone(core);
        }
    }

    fn leave(&mut self, core: &mut Core, now: Instant) {
        self.leaving = Leaving::Sent;
        self.send(core, now, 1);
    }

    fn gone(&mut self, core: &mut Core) {
        self.leaving = Leaving::Gone;
        self.next_at = None;
        self.say(core, RegistrationState::Unregistered);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.leaving == Leaving::Gone
    }

    pub(crate) fn uses(&self, flow: FlowId) -> bool {
        self.flow == Some(flow)
    }

    /// The registrar can no longer reach us by the connection that we registered over.
    pub(crate) fn flow_lost(&mut self, core: &mut Core, now: Instant) {
        self.flow = None;
        if self.leaving == Leaving::No && self.handle.is_none() && self.granted.is_some() {
            let soon = now + Duration::from_millis(500 + core.ids.below(1000));
            self.next_at = earlier(self.next_at, Some(soon));
        }
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if self.next_at.is_some_and(|at| at <= now)
            && self.handle.is_none()
            && self.leaving == Leaving::No
        {
            if self.granted.is_none() {
                self.say(core, RegistrationState::Registering);
            }
            self.send(core, now, 1);
        }
    }

    pub(crate) fn arm(&mut self, core: &mut Core) {
        let mut armed = self.armed;
        core.arm(&mut armed, self.next_at, Owner::Registration(self.id));
        self.armed = armed;
    }

    pub(crate) fn armed(&self) -> &Armed {
        &self.armed
    }

    pub(crate) fn armed_mut(&mut self) -> &mut Armed {
        &mut self.armed
    }
}

/// How long before its end a registration is refreshed: a tenth, between 5 and 60 s, and never more than half.
fn margin(granted: Duration) -> Duration {
    (granted / 10)
        .clamp(Duration::from_secs(5), Duration::from_secs(60))
        .min(granted / 2)
}
