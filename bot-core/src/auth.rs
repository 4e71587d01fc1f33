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
    gate: Arc<Mutex<Option<Gate>>>,
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

    /// Clones made before keep their settings.
    fn anew(mut self) -> Self {
        self.gate = Arc::default();
        self
    }

    /// Judges a request outside calls: the user that it proves to come from, or the 401 to answer it with.
    ///
    /// # Errors
    /// The reply that asks for credentials.
    pub fn check(&self, request: &Request) -> Result<String, Reply> {
        let values = request.headers.iter();
        let values = values
            .filter(|(name, _)| name.eq_ignore_ascii_case("Authorization"))
            .map(|(_, value)| value.as_str());
        self.judge(&request.method, &request.body, values)
            .map_err(|challenges| {
                let reply = Reply::status(401);
                challenges.into_iter().fold(reply, |reply, value| {
                    reply.header("WWW-Authenticate", value)
                })
            })
    }

    /// The user, or the values of WWW-Authenticate.
    pub(crate) fn judge<'v>(
        &self,
        method: &str,
        body: &[u8],
        authorizations: impl Iterator<Item = &'v str>,
    ) -> Result<String, Vec<String>> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gate.get_or_insert_with(|| {
            Gate::new(&self.realm, &self.algorithms, self.integrity, self.lifetime)
        });
        gate.judge(method, body, authorizations, |user| match &self.passwords {
            Passwords::Listed(users) => users.get(user).cloned(),
            Passwords::Asked(of) => of(user),
        })
    }
}
