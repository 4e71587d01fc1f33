//! Digest authentication (RFC 7616, RFC 8760), as bots see it.
//!
//! Responsibility: [`DigestAuth`] is what callers must prove. It judges, and it makes the challenges; who refuses
//! by them is an [`IncomingCall`](crate::IncomingCall), or a service behind [`guarded_by`](crate::Service::guarded_by).
//!
//! Invariant: passwords are in no `Debug` output, no log and no trace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::service::{Reply, Request};
use crate::signalling::sip::Gate;

/// A hash of digest authentication, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DigestAlgorithm {
    /// MD5 (RFC 3261): what every peer has, and what nobody should have to rely on.
    Md5,
    /// SHA-256 (RFC 8760).
    Sha256,
    /// SHA-512/256 (RFC 8760).
    Sha512_256,
}

/// Demands a user name and a password of those who call or send requests.
///
/// Clones share what they know of nonces, so that one may guard several services.
///
/// ```
/// use callbot_core::{DigestAuth, Service, answer_with};
///
/// let auth = DigestAuth::realm("bots.example.org").user("alice", "opensesame");
/// let service = answer_with(|call| async move { call.answer().await?.echo().await }).guarded_by(auth);
/// # fn is_service(_: impl Service) {}
/// # is_service(service);
/// ```
#[derive(Clone)]
pub struct DigestAuth {
    realm: String,
    passwords: Passwords,
    algorithms: Vec<DigestAlgorithm>,
    integrity: bool,
    lifetime: Duration,
    asking: &'static Asking,
    gate: Arc<Mutex<Option<Gate>>>,
}

/// In which words credentials are asked for and given.
struct Asking {
    status: u16,
    challenge: &'static str,
    credentials: &'static str,
}

/// RFC 3261 22.2.
const AS_USER_AGENT: Asking = Asking {
    status: 401,
    challenge: "WWW-Authenticate",
    credentials: "Authorization",
};

/// RFC 3261 22.3.
const AS_PROXY: Asking = Asking {
    status: 407,
    challenge: "Proxy-Authenticate",
    credentials: "Proxy-Authorization",
};

/// What asks for credentials: a status, and headers with the challenges.
pub(crate) struct Challenge {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Clone)]
enum Passwords {
    Listed(HashMap<String, String>),
    Asked(Arc<PasswordOf>),
}

/// Gives a user's password.
type PasswordOf = dyn Fn(&str) -> Option<String> + Send + Sync;

impl std::fmt::Debug for DigestAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestAuth")
            .field("realm", &self.realm)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl DigestAuth {
    /// A realm without users: what is shown to who is asked, such as `bots.example.org`. SHA-256 and MD5 are offered.
    pub fn realm(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            passwords: Passwords::Listed(HashMap::new()),
            algorithms: vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5],
            integrity: false,
            lifetime: Duration::from_secs(300),
            asking: &AS_USER_AGENT,
            gate: Arc::default(),
        }
    }

    /// Adds a user; in the place of [`passwords`](Self::passwords), if those were given.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        let mut users = match self.passwords {
            Passwords::Listed(users) => users,
            Passwords::Asked(_) => HashMap::new(),
        };
        users.insert(name.into(), password.into());
        self.passwords = Passwords::Listed(users);
        self.anew()
    }

    /// Asks a function for the password of a user, in the place of a list; `None` when there is no such user. It is
    /// called for each request that names a user of this realm, and must be quick.
    pub fn passwords(
        mut self,
        of: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.passwords = Passwords::Asked(Arc::new(of));
        self.anew()
    }

    /// The hashes that are offered, strongest first whatever the order here. Offering SHA-256 alone shuts older
    /// phones out, and shuts out who would talk newer ones down to MD5.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = DigestAlgorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self.anew()
    }

    /// Has the response cover the body too (`qop=auth-int`), so that nobody on the way can change it. Few phones can.
    pub fn with_integrity(mut self) -> Self {
        self.integrity = true;
        self.anew()
    }

    /// How long a nonce is good, 5 minutes by default; who comes later is asked once more, without a person's help.
    pub fn nonce_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self.anew()
    }

    /// Asks as a proxy does, with 407 and Proxy-Authenticate (RFC 3261 22.3): for who takes calls on to others, who
    /// may ask for a password of their own with 401. Clones made before ask as they did, and the nonces are still the
    /// same.
    pub fn as_proxy(mut self) -> Self {
        self.asking = &AS_PROXY;
        self
    }

    /// Clones made before keep their settings.
    fn anew(mut self) -> Self {
        self.gate = Arc::default();
        self
    }

    /// Judges a request outside calls: the user that it proves to come from, or the 401 to answer it with (407
    /// [as a proxy](Self::as_proxy)).
    ///
    /// # Errors
    /// The reply that asks for credentials.
    pub fn check(&self, request: &Request) -> Result<String, Reply> {
        self.judge(&request.method, &request.body, &request.headers)
            .map_err(|challenge| Reply::of(challenge.status, challenge.headers, None))
    }

    /// The user that a request of these headers comes from, or what to refuse it with.
    pub(crate) fn judge(
        &self,
        method: &str,
        body: &[u8],
        headers: &[(String, String)],
    ) -> Result<String, Challenge> {
        let Asking {
            status,
            challenge,
            credentials,
        } = *self.asking;
        let values = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(credentials))
            .map(|(_, value)| value.as_str());
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gate.get_or_insert_with(|| {
            Gate::new(&self.realm, &self.algorithms, self.integrity, self.lifetime)
        });
        let judged = gate.judge(method, body, values, |user| match &self.passwords {
            Passwords::Listed(users) => users.get(user).cloned(),
            Passwords::Asked(of) => of(user),
        });
        judged.map_err(|values| Challenge {
            status,
            headers: values
                .into_iter()
                .map(|value| (challenge.to_owned(), value))
                .collect(),
        })
    }
}
