//! Accounts: addresses of record that an endpoint registers (RFC 3261 10).

use std::time::Duration;

/// An address of record to be registered while the endpoint runs.
#[derive(Clone)]
pub struct Account {
    pub(crate) aor: String,
    pub(crate) registrar: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) expires: Duration,
}

impl Account {
    /// The account `sip:user@domain`; the domain is the registrar.
    pub fn new(aor: impl Into<String>) -> Self {
        Self {
            aor: aor.into(),
            registrar: None,
            username: None,
            password: None,
            expires: Duration::from_secs(300),
        }
    }

    /// The password for digest authentication; it never reaches a log or a trace.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The user name for digest authentication; the user part by default.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Where to register, `sip:host:port;transport=tcp` (or `tls`, `ws`, `wss`); the account's domain by default.
    /// Calls from the account to URIs without port and transport go there too, over the same connection.
    pub fn registrar(mut self, registrar: impl Into<String>) -> Self {
        self.registrar = Some(registrar.into());
        self
    }

    /// How long a registration lasts, 300 s by default; it is refreshed before it ends.
    pub fn expires(mut self, expires: Duration) -> Self {
        self.expires = expires.clamp(Duration::from_secs(10), Duration::from_secs(86_400));
        self
    }

    /// Checks the words of the account, as starting an endpoint with it does.
    ///
    /// # Errors
    /// [`Error::Uri`](crate::Error::Uri) when its address or its registrar is none.
    pub fn check(&self) -> crate::Result<()> {
        crate::signalling::sip::check_account(self)
    }

    /// The address of record.
    pub fn aor(&self) -> &str {
        &self.aor
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("aor", &self.aor)
            .field("registrar", &self.registrar)
            .finish_non_exhaustive()
    }
}

/// What became of a registration so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationStatus {
    /// The first answer is still to come.
    Registering,
    /// Calls to the account reach this endpoint.
    Registered {
        /// How long, before it is refreshed.
        expires: Duration,
    },
    /// It failed, and is tried again.
    Failed {
        /// Why.
        why: String,
    },
    /// It was taken back, at the endpoint's end.
    Unregistered,
}
