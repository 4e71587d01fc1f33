//! A registrar for tests and demos: two softphones and a bot meet on a laptop.
//!
//! Responsibility: REGISTER with digest and bindings in memory, and taking
//! calls and texts from one of its users to another. It is a back-to-back user
//! agent, not a proxy: each call is answered on one leg and dialled on the
//! other, as `callbot gateway` does it, so that a browser (WebSocket, DTLS,
//! Opus) and a telephone (UDP, RTP, G.711) understand each other.
//!
//! Invariants: a user is reached by the way that its REGISTER came, whatever
//! its Contact says, so that browsers and phones behind a NAT are reached; only
//! who knows a user's password registers, calls or texts as this user; memory
//! is bounded by the users that it was given.
//!
//! Deliberately absent: storage, forking, presence, federation, and everything
//! else that a service for others needs.

mod bindings;
mod password;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callbot_core::{
    Bot, CallInfo, Endpoint, IncomingCall, Reply, Request, Result, Service, async_trait,
};
use tokio::time::Instant;

use crate::gateway::{Gateway, Template};
use crate::report::Reporter;
use bindings::{Binding, Bindings, LONGEST, OutOfOrder, SHORTEST};
use password::{Passwords, Refused};

/// How long a text may take to its reader.
const TEXT: Duration = Duration::from_secs(20);

/// A registrar that joins its users' calls.
///
/// ```no_run
/// use callbot::Registrar;
/// use callbot_core::Endpoint;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::builder().listen("udp://0.0.0.0:5060").listen("ws://0.0.0.0:8088").start().await?;
/// let users = [("1000", "secret"), ("1001", "secret")].map(|(user, word)| (user.to_owned(), word.to_owned()));
/// let registrar = Registrar::new(&endpoint, "laptop", users);
/// endpoint.serve(registrar).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registrar {
    endpoint: Endpoint,
    reporter: Option<Reporter>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    passwords: Passwords,
    /// Of the users that have a password, so bounded by them.
    users: Mutex<HashMap<String, Bindings>>,
}

impl Registrar {
    /// A registrar of these users, each with a password, that calls them through `endpoint`.
    pub fn new(
        endpoint: &Endpoint,
        realm: impl Into<String>,
        users: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut passwords = Passwords::new(realm.into());
        for (user, password) in users {
            passwords.add(user, password);
        }
        Self::with(endpoint, passwords)
    }

    /// The same, that offers SHA-256 before MD5: for phones that know it, or know to pass over it.
    pub fn with_sha_256(
        endpoint: &Endpoint,
        realm: impl Into<String>,
        users: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut passwords = Passwords::new(realm.into());
        passwords.strengthen();
        for (user, password) in users {
            passwords.add(user, password);
        }
        Self::with(endpoint, passwords)
    }

    fn with(endpoint: &Endpoint, passwords: Passwords) -> Self {
        Self {
            endpoint: endpoint.clone(),
            reporter: None,
            shared: Arc::new(Shared {
                passwords,
                users: Mutex::default(),
            }),
        }
    }

    /// Reports the callee's leg as a part of the caller's.
    pub fn report_to(mut self, reporter: &Reporter) -> Self {
        self.reporter = Some(reporter.clone());
        self
    }

    /// How many phones of a user are registered now.
    pub fn registered(&self, user: &str) -> usize {
        self.bindings(user).len()
    }

    fn bindings(&self, user: &str) -> Vec<Binding> {
        let mut users = self.users();
        let bindings = users.get_mut(user);
        bindings.map_or_else(Vec::new, |user| user.at(Instant::now()).to_vec())
    }

    fn users(&self) -> std::sync::MutexGuard<'_, HashMap<String, Bindings>> {
        self.shared
            .users
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Who sends a request, if its credentials prove that it is who From says.
    fn admit(&self, method: &str, credentials: Option<&str>, from: &str) -> Result<(), Denied> {
        let now = Instant::now();
        match self.shared.passwords.check(method, credentials, now) {
            Ok(user) if user == user_of(from) => Ok(()),
            Ok(_) => Err(Denied::Forbidden),
            Err(refused) => {
                let stale = refused == Refused::Stale;
                Err(Denied::Challenged(
                    self.shared.passwords.challenges(now, stale),
                ))
            }
        }
    }

    fn register(&self, request: &Request) -> Reply {
        let credentials = request.header("Authorization");
        // The address of record is To; only its user may change it.
        match self.admit("REGISTER", credentials, request.to()) {
            Ok(()) => {}
            Err(denied) => return denied.reply(401, "WWW-Authenticate"),
        }
        let user = user_of(request.to()).to_owned();
        let now = Instant::now();
        let new = match self.asked(request, now) {
            Ok(new) => new,
            Err(reply) => return reply,
        };
        let mut users = self.users();
        let bindings = users.entry(user.clone()).or_default();
        match new {
            None => bindings.clear(),
            Some(new) => {
                if bindings.change(new, now) == Err(OutOfOrder) {
                    return Reply::status(500).header("Retry-After", "1");
                }
            }
        }
        let standing = bindings.at(now);
        tracing::info!("{user} is registered by {} phones", standing.len());
        let mut reply = Reply::status(200);
        for binding in standing {
            let left = binding.until.duration_since(now).as_secs();
            let mut contact = format!("<{}>;expires={left}", binding.contact);
            if let Some((instance, id)) = &binding.outbound {
                contact += &format!(";+sip.instance=\"{instance}\";reg-id={id}");
            }
            reply = reply.header("Contact", contact);
        }
        let outbound = |binding: &Binding| binding.outbound.is_some();
        if standing.iter().any(outbound) {
            // RFC 5626 6: it tells the phone that calls come by this flow.
            reply = reply.header("Require", "outbound");
        }
        reply
    }

    /// The bindings that a REGISTER asks for; `None` to remove all.
    fn asked(&self, request: &Request, now: Instant) -> Result<Option<Vec<Binding>>, Reply> {
        let whole = request.header("Expires").and_then(seconds);
        if request.header("Contact").map(str::trim) == Some("*") {
            // RFC 3261 10.3: with any other expiration it is invalid.
            return match whole {
                Some(0) => Ok(None),
                _ => Err(Reply::status(400)),
            };
        }
        let cseq = request.header("CSeq").unwrap_or_default();
        let cseq = cseq.split_whitespace().next().and_then(|n| n.parse().ok());
        let mut new = Vec::new();
        for contact in request.contacts() {
            let asked = contact.param("expires").and_then(seconds).or(whole);
            let asked = asked.map_or(LONGEST, Duration::from_secs);
            if !asked.is_zero() && asked < SHORTEST {
                return Err(
                    Reply::status(423).header("Min-Expires", SHORTEST.as_secs().to_string())
                );
            }
            let instance = contact
                .param("+sip.instance")
                .map(|it| it.trim_matches('"').to_owned());
            new.push(Binding {
                contact: contact.uri().to_owned(),
                way: request.way().clone(),
                outbound: instance.zip(contact.param("reg-id").map(str::to_owned)),
                until: now + asked.min(LONGEST),
                call_id: request.header("Call-ID").unwrap_or_default().to_owned(),
                cseq: cseq.unwrap_or_default(),
            });
        }
        Ok(Some(new))
    }

    /// Takes a text on to its reader, and the reader's answer back.
    async fn text(&self, request: &Request) -> Reply {
        let credentials = request.header("Proxy-Authorization");
        if let Err(denied) = self.admit("MESSAGE", credentials, request.from()) {
            return denied.reply(407, "Proxy-Authenticate");
        }
        let user = user_of(request.uri());
        if !self.shared.passwords.knows(user) {
            return Reply::status(404);
        }
        for binding in self.bindings(user) {
            let content_type = request.header("Content-Type").unwrap_or("text/plain");
            let ask = self
                .endpoint
                .ask("MESSAGE", &binding.contact)
                .by(&binding.way)
                .from(request.from())
                .to(request.to())
                .body(content_type, request.body().to_vec());
            match tokio::time::timeout(TEXT, ask.send()).await {
                Ok(Ok(reply)) => return Reply::status(reply.code()),
                Ok(Err(error)) => {
                    tracing::info!("a text did not reach {user} by {:?}: {error}", binding.way);
                    self.lost(user, &binding);
                }
                Err(_) => return Reply::status(408),
            }
        }
        Reply::status(480)
    }

    /// A connection that fails does not come back; a phone at an address may.
    fn lost(&self, user: &str, binding: &Binding) {
        if binding.way.is_connection()
            && let Some(bindings) = self.users().get_mut(user)
        {
            bindings.lost(&binding.way);
        }
    }
}

#[async_trait]
impl Service for Registrar {
    fn bot(&self, _call: &CallInfo) -> Box<dyn Bot> {
        Box::new(Switchboard(self.clone()))
    }

    async fn on_request(&self, request: Request) -> Reply {
        match request.method() {
            "REGISTER" => self.register(&request),
            "MESSAGE" => self.text(&request).await,
            // RFC 6665 7.2.1: it has no events.
            "SUBSCRIBE" | "PUBLISH" => Reply::status(489),
            _ => Reply::status(405).header(
                "Allow",
                "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, REGISTER",
            ),
        }
    }
}

/// Takes one call on to the user that it is for.
struct Switchboard(Registrar);

#[async_trait]
impl Bot for Switchboard {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let info = call.info().clone();
        let credentials = info.header("Proxy-Authorization");
        if let Err(denied) = self.0.admit("INVITE", credentials, info.from()) {
            let (status, headers) = denied.refusal(407, "Proxy-Authenticate");
            return call.reject_with_headers(status, None, headers).await;
        }
        let user = info.called();
        if !self.0.shared.passwords.knows(user) {
            return call.reject(404).await;
        }
        // The newest phone rings.
        let Some(binding) = self.0.bindings(user).into_iter().next() else {
            return call.reject(480).await;
        };
        let to = Template::literal(&binding.contact);
        let mut gateway = Gateway::new(&self.0.endpoint, to).by(&binding.way);
        if let Some(reporter) = &self.0.reporter {
            gateway = gateway.report_to(reporter);
        }
        gateway.bot(&info).on_call(call).await
    }
}

/// Why a request goes no further.
enum Denied {
    /// It must say who it is: the challenges.
    Challenged(Vec<String>),
    /// It said so, and is another.
    Forbidden,
}

impl Denied {
    fn refusal(self, status: u16, header: &str) -> (u16, Vec<(String, String)>) {
        match self {
            Self::Forbidden => (403, Vec::new()),
            Self::Challenged(challenges) => {
                let named = |value| (header.to_owned(), value);
                (status, challenges.into_iter().map(named).collect())
            }
        }
    }

    fn reply(self, status: u16, header: &str) -> Reply {
        let (status, headers) = self.refusal(status, header);
        headers
            .into_iter()
            .fold(Reply::status(status), |reply, (name, value)| {
                reply.header(name, value)
            })
    }
}

fn seconds(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The user part of a URI.
fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let user = rest.split_once('@').map_or("", |(user, _)| user);
    user.split([':', ';']).next().unwrap_or_default()
}
