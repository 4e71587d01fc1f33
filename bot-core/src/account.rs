//! Accounts: addresses of record that an endpoint registers and calls from (RFC 3261 10).

use std::time::Duration;

use crate::auth::DigestAlgorithm;

/// An address of record to be registered while the endpoint runs.
#[derive(Clone)]
pub struct Account {
    pub(crate) aor: String,
    pub(crate) registrar: Option<String>,
    pub(crate) outbound_proxy: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) realm: Option<String>,
    pub(crate) least_digest: Option<DigestAlgorithm>,
    pub(crate) display_name: Option<String>,
    pub(crate) contact_user: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) reg_id: u32,
    pub(crate) expires: Duration,
    pub(crate) registers: bool,
}

impl Account {
    /// The account `sip:user@domain`; the domain is the registrar.
    pub fn new(aor: impl Into<String>) -> Self {
        Self {
            aor: aor.into(),
            registrar: None,
            outbound_proxy: None,
            username: None,
            password: None,
            realm: None,
            least_digest: None,
            display_name: None,
            contact_user: None,
            instance: None,
            reg_id: 1,
            expires: Duration::from_secs(300),
            registers: true,
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

    /// The only realm that the password is for; a challenge of any other is not answered. Every realm by default.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// The weakest digest that the password is used with. A server that offers several is answered by the strongest
    /// in any case (RFC 8760); one that offers only weaker ones is then told nothing, so that nobody on the way can
    /// talk us down to MD5.
    pub fn digest_at_least(mut self, algorithm: DigestAlgorithm) -> Self {
        self.least_digest = Some(algorithm);
        self
    }

    /// Where to register, `sip:host:port;transport=tcp` (or `tls`, `ws`, `wss`); the account's domain by default.
    /// Calls from the account to URIs without port and transport go there too, over the same connection.
    pub fn registrar(mut self, registrar: impl Into<String>) -> Self {
        self.registrar = Some(registrar.into());
        self
    }

    /// Sends everything by way of this proxy: REGISTER and calls.
    pub fn outbound_proxy(mut self, uri: impl Into<String>) -> Self {
        self.outbound_proxy = Some(uri.into());
        self
    }

    /// The display name in what the account sends.
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = Some(name.into());
        self
    }

    /// The user part of our Contact; that of the address of record by default. Where two accounts have the same user
    /// at different registrars, another one here makes sure which of them is called.
    pub fn contact_user(mut self, user: impl Into<String>) -> Self {
        self.contact_user = Some(user.into());
        self
    }

    /// Who this device is across restarts: a URN such as `urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6`, the same
    /// each time (RFC 5626 4.1). A registrar that knows RFC 5626 then replaces our binding of before a restart, keeps
    /// to the connection that we registered by, and has us keep it alive; one that knows RFC 5627 gives us a GRUU,
    /// which calls of the account then have as their Contact.
    pub fn instance(mut self, urn: impl Into<String>) -> Self {
        self.instance = Some(urn.into());
        self
    }

    /// The number of this flow of the [`instance`](Account::instance), 1 by default (`reg-id`, RFC 5626 4.2). Two
    /// accounts of one address with the same instance and different numbers are two ways to the same device.
    pub fn flow_number(mut self, number: u32) -> Self {
        self.reg_id = number.max(1);
        self
    }

    /// How long a registration lasts, 300 s by default; it is refreshed before it ends.
    pub fn expires(mut self, expires: Duration) -> Self {
        self.expires = expires.clamp(Duration::from_secs(10), Duration::from_secs(86_400));
        self
    }

    /// Does not register: the account is only who calls are placed from, and what they are authenticated with.
    pub fn without_registration(mut self) -> Self {
        self.registers = false;
        self
    }

    /// Checks the words of the account, as starting an endpoint with it does.
    ///
    /// # Errors
    /// [`Error::Uri`](crate::Error::Uri) when its address or its registrar is none.
    pub fn check(&self) -> crate::Result<()> {
        crate::signalling::sip::check_account(self).map(drop)
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
    /// There is none: it was taken back, at the endpoint's end or with its account, or the account never registers.
    Unregistered,
}

/// One account of an endpoint as it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Registration {
    /// The address of record.
    pub aor: String,
    /// What became of it.
    pub status: RegistrationStatus,
    /// How long it still lasts; refreshes come before that. `None` when it does not hold.
    pub expires_in: Option<Duration>,
    /// The Contact that the registrar calls.
    pub contact: Option<String>,
    /// The public GRUU that the registrar gave (RFC 5627).
    pub gruu: Option<String>,
    /// The routes that it wants our calls to take (RFC 3608).
    pub service_route: Vec<String>,
    /// Whether calls to us come by the connection that we registered over (RFC 5626).
    pub outbound: bool,
    /// `UDP`, `TCP`, `TLS`, `WS` or `WSS`.
    pub transport: Option<&'static str>,
    /// Why it failed the last time, also when it holds again.
    pub last_error: Option<String>,
}

/// One binding at a registrar, whoever registered it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Binding {
    /// The URI that the registrar calls.
    pub contact: String,
    /// How long it lasts, where the registrar says so.
    pub expires: Option<Duration>,
    /// Which is preferred: 0 to 1.
    pub quality: f32,
    /// The instance that registered it, where it named itself.
    pub instance: Option<String>,
}
