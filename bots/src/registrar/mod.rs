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

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callbot_core::{
    Bot, CallInfo, DigestAlgorithm, DigestAuth, Endpoint, IncomingCall, Reply, Request, Result,
    Service, async_trait,
};
use tokio::time::Instant;

use crate::gateway::{Gateway, Template};
use crate::report::Reporter;
use bindings::{Binding, Bindings, LONGEST, OutOfOrder, SHORTEST};

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
    /// What a REGISTER must prove: it is for us.
    registers: DigestAuth,
    /// What a call or a text must prove: it goes on to somebody else.
    passes: DigestAuth,
    /// Of each user that has a password, and of nobody else.
    users: Mutex<HashMap<String, Bindings>>,
}

impl Registrar {
    /// A registrar of these users, each with a password, that calls them through `endpoint`.
    pub fn new(
        endpoint: &Endpoint,
        realm: impl Into<String>,
        users: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        // Many phones give up when they see an algorithm that they do not know.
        Self::with(endpoint, realm.into(), users, &[DigestAlgorithm::Md5])
    }

    /// The same, that offers SHA-256 before MD5: for phones that know it, or know to pass over it.
    pub fn with_sha_256(
        endpoint: &Endpoint,
        realm: impl Into<String>,
        users: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let algorithms = [DigestAlgorithm::Sha256, DigestAlgorithm::Md5];
        Self::with(endpoint, realm.into(), users, &algorithms)
    }

    fn with(
        endpoint: &Endpoint,
        realm: String,
        users: impl IntoIterator<Item = (String, String)>,
        algorithms: &[DigestAlgorithm],
    ) -> Self {
        let mut auth = DigestAuth::realm(realm).algorithms(algorithms.iter().copied());
        let mut bindings = HashMap::new();
        for (user, password) in users {
            bindings.insert(user.clone(), Bindings::default());
            auth = auth.user(user, password);
        }
        Self {
            endpoint: endpoint.clone(),
            reporter: None,
            shared: Arc::new(Shared {
                registers: auth.clone(),
                passes: auth.as_proxy(),
                users: Mutex::new(bindings),
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

    fn knows(&self, user: &str) -> bool {
        self.users().contains_key(user)
    }

    fn register(&self, request: &Request) -> Reply {
        // The address of record is To; only its user may change it.
        if let Err(refusal) = admit(&self.shared.registers, request, request.to()) {
            return refusal;
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
        if let Err(refusal) = admit(&self.shared.passes, request, request.from()) {
            return refusal;
        }
        let user = user_of(request.uri());
        if !self.knows(user) {
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
        let caller = call.authenticate(&self.0.shared.passes).await?;
        if caller != user_of(info.from()) {
            return call.reject(403).await;
        }
        let user = info.called();
        if !self.0.knows(user) {
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

/// Lets a request in whose credentials prove that it comes from the user of this URI.
fn admit(auth: &DigestAuth, request: &Request, uri: &str) -> Result<(), Reply> {
    match auth.check(request)? {
        user if user == user_of(uri) => Ok(()),
        _ => Err(Reply::status(403)),
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
