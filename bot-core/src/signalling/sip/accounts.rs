//! The accounts of an endpoint: which there are, how they stand, and which way their calls go.
//!
//! Responsibility: the list that bots see ([`Accounts`]), and its counterpart at the task that owns the user agent
//! ([`Registrations`]). The user agent keeps each registered; here it is only known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use callbot_sip::Uri;
use callbot_sip::auth::Credentials;
use callbot_sip::ua::{Binding, Bound, RegistrationId, RegistrationState, UserAgent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::ToSip;
use super::locate::parse_uri;
use super::transport::Transport;
use crate::account::{self, Account, RegistrationStatus};
use crate::error::{Error, Result};

/// The accounts of an endpoint, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Accounts {
    entries: Mutex<Vec<Arc<AccountEntry>>>,
}

/// One account, as the endpoint and the task share it.
pub(crate) struct AccountEntry {
    pub(crate) account: Account,
    aor: Uri,
    pub(crate) status: watch::Sender<RegistrationStatus>,
    state: Mutex<State>,
    /// It was removed.
    pub(crate) removed: CancellationToken,
}

#[derive(Default)]
struct State {
    id: Option<RegistrationId>,
    binding: Option<(Arc<Binding>, tokio::time::Instant)>,
    last_error: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Accounts {
    /// Adds an account; nothing is sent here.
    ///
    /// # Errors
    /// When its words are wrong, or there is one of this address and flow already.
    pub(crate) fn add(&self, account: Account) -> Result<Arc<AccountEntry>> {
        let aor = check(&account)?;
        let mut entries = lock(&self.entries);
        let is_there = entries.iter().any(|entry| {
            entry.account.aor == account.aor
                && (entry.account.instance.is_none() || entry.account.reg_id == account.reg_id)
        });
        if is_there {
            return Err(Error::Uri {
                uri: account.aor,
                why: "this endpoint has the account already: remove it first".to_owned(),
            });
        }
        let status = if account.registers {
            RegistrationStatus::Registering
        } else {
            RegistrationStatus::Unregistered
        };
        let entry = Arc::new(AccountEntry {
            account,
            aor,
            status: watch::Sender::new(status),
            state: Mutex::default(),
            removed: CancellationToken::new(),
        });
        entries.push(entry.clone());
        Ok(entry)
    }

    /// Takes an account off the list.
    pub(crate) fn remove(&self, aor: &str) -> Option<Arc<AccountEntry>> {
        let mut entries = lock(&self.entries);
        let index = entries.iter().position(|entry| entry.account.aor == aor)?;
        Some(entries.remove(index))
    }

    pub(crate) fn all(&self) -> Vec<Arc<AccountEntry>> {
        lock(&self.entries).clone()
    }

    /// The account of that address; of several flows the first that is registered.
    pub(crate) fn find(&self, aor: &str) -> Option<Arc<AccountEntry>> {
        let entries = lock(&self.entries);
        let named = || entries.iter().filter(|entry| entry.account.aor == aor);
        named()
            .find(|entry| entry.binding().is_some())
            .or_else(|| named().next())
            .cloned()
    }

    /// The first account of the domain that `uri` is in.
    pub(crate) fn of_domain(&self, uri: &Uri) -> Option<Arc<AccountEntry>> {
        let entries = lock(&self.entries);
        let found = entries
            .iter()
            .find(|entry| entry.aor.host().eq_ignore_ascii_case(uri.host()));
        found.cloned()
    }
}

/// Which way a call of an account goes.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// The first hop, where it is not the called URI's own.
    pub(crate) hop: Option<Uri>,
    /// What stands in Route.
    pub(crate) route: Vec<String>,
    /// What is known of the hop from the registration, so that nobody need look it up.
    pub(crate) known: Option<Arc<Binding>>,
    pub(crate) registration: Option<RegistrationId>,
}

impl AccountEntry {
    fn binding(&self) -> Option<Arc<Binding>> {
        let state = lock(&self.state);
        state.binding.as_ref().map(|(binding, _)| binding.clone())
    }

    /// A Contact that does not tell whose it is.
    pub(crate) fn temporary_gruu(&self) -> Option<Uri> {
        self.binding()?.temp_gruu.clone()
    }

    /// What the account sends is authenticated by.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        let account = &self.account;
        let user = account.username.as_deref().or(self.aor.user())?;
        let mut credentials = Credentials::new(user, account.password.clone()?);
        credentials.realm = account.realm.clone();
        credentials.least = account.least_digest.map(Into::into);
        Some(credentials)
    }

    /// The user part of our Contact.
    pub(crate) fn contact_user(&self) -> Option<String> {
        let user = self.account.contact_user.as_deref();
        user.or(self.aor.user()).map(str::to_owned)
    }

    /// The URI that REGISTER is sent to: the registrar's, else the domain's.
    pub(crate) fn registrar(&self) -> Result<Uri> {
        let named = self
            .account
            .registrar
            .as_deref()
            .map(parse_uri)
            .transpose()?;
        let at = named.as_ref().unwrap_or(&self.aor);
        let bad = |error: callbot_sip::UriError| Error::Uri {
            uri: at.as_str().to_owned(),
            why: error.to_string(),
        };
        let text = format!(
            "{}:{}{}",
            if at.is_sips() { "sips" } else { "sip" },
            // An IPv6 address is given without its brackets.
            if at.host().contains(':') {
                format!("[{}]", at.host())
            } else {
                at.host().to_owned()
            },
            at.port()
                .map_or_else(String::new, |port| format!(":{port}"))
        );
        let mut registrar: Uri = text.parse().map_err(bad)?;
        if let Some(transport) = at.transport() {
            registrar = registrar.with_param("transport", Some(transport));
        }
        Ok(registrar)
    }

    /// The outbound proxy, and its Route value.
    pub(crate) fn outbound_proxy(&self) -> Result<Option<(Uri, String)>> {
        let Some(proxy) = &self.account.outbound_proxy else {
            return Ok(None);
        };
        let mut uri = parse_uri(proxy)?;
        if !uri.is_loose_router() {
            uri = uri.with_param("lr", None);
        }
        let route = format!("<{uri}>");
        Ok(Some((uri, route)))
    }

    /// The way of a call to `uri`, which went by `proxy` if one was named for it.
    pub(crate) fn course(&self, uri: &Uri, proxy: Option<Uri>) -> Result<Course> {
        let binding = self.binding();
        let mut course = Course {
            registration: lock(&self.state).id,
            ..Course::default()
        };
        if proxy.is_some() {
            course.hop = proxy;
            return Ok(course);
        }
        if let Some((hop, route)) = self.outbound_proxy()? {
            course.hop = Some(hop);
            course.route.push(route);
            course.known = binding.clone();
        }
        let service_route = binding
            .as_ref()
            .map(|binding| binding.service_route.as_slice())
            .unwrap_or_default();
        let first = service_route.first().and_then(|route| route_uri(route));
        if let (Some(first), Some(binding)) = (&first, &binding) {
            let proxy_is_first = course.hop.as_ref().is_some_and(|hop| {
                hop.host().eq_ignore_ascii_case(first.host()) && hop.port() == first.port()
            });
            if proxy_is_first {
                // The registrar names the proxy itself.
                course.route.clear();
            }
            course.route.extend(service_route.iter().cloned());
            if course.hop.is_none() {
                course.known = is_far_end(binding, first).then(|| binding.clone());
                course.hop = Some(first.clone());
            }
        }
        if course.hop.is_none() && self.leads_by_registrar(uri) {
            course.hop = Some(self.registrar()?);
            course.known = binding;
        }
        Ok(course)
    }

    /// Whether a URI that names no proxy goes where the account is registered: one in its domain does, and one that
    /// leaves the way open where a registrar was named.
    fn leads_by_registrar(&self, uri: &Uri) -> bool {
        let in_domain =
            uri.host().eq_ignore_ascii_case(self.aor.host()) && uri.port() == self.aor.port();
        let is_open = uri.port().is_none() && self.account.registrar.is_some();
        (in_domain || is_open) && uri.transport().is_none() && !uri.is_sips()
    }

    /// How it stands.
    pub(crate) fn show(&self) -> account::Registration {
        let state = lock(&self.state);
        let binding = state.binding.as_ref();
        let text = |uri: &Uri| uri.as_str().to_owned();
        account::Registration {
            aor: self.account.aor.clone(),
            status: self.status.borrow().clone(),
            expires_in: binding.map(|(binding, at)| binding.expires.saturating_sub(at.elapsed())),
            contact: binding.map(|(binding, _)| text(&binding.contact)),
            gruu: binding.and_then(|(binding, _)| binding.pub_gruu.as_ref().map(text)),
            service_route: binding
                .map(|(binding, _)| binding.service_route.clone())
                .unwrap_or_default(),
            outbound: binding.is_some_and(|(binding, _)| binding.outbound),
            transport: binding.map(|(binding, _)| binding.target.protocol.via_name()),
            last_error: state.last_error.clone(),
        }
    }

    pub(crate) fn failed(&self, why: String) {
        {
            let mut state = lock(&self.state);
            state.binding = None;
            state.last_error = Some(why.clone());
        }
        self.set(RegistrationStatus::Failed { why });
    }

    fn set(&self, status: RegistrationStatus) {
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

/// The URI of a Route value.
fn route_uri(route: &str) -> Option<Uri> {
    callbot_sip::NameAddr::parse(&callbot_sip::HeaderName::Route, route)
        .ok()?
        .uri()
        .ok()
}

/// Whether a route's first hop is whom we are registered with already.
fn is_far_end(binding: &Binding, first: &Uri) -> bool {
    let target = &binding.target;
    let same_host = first.host().eq_ignore_ascii_case(&target.host.to_string())
        || target
            .remote
            .is_some_and(|remote| first.host_ip() == Some(remote.ip()));
    same_host && first.port().is_none_or(|port| port == target.port)
}

/// Checks an account's words; gives its address of record.
pub(crate) fn check(account: &Account) -> Result<Uri> {
    let aor = parse_uri(&account.aor)?;
    if aor.user().is_none() {
        return Err(Error::Uri {
            uri: account.aor.clone(),
            why: "an account has a user: write sip:user@domain".to_owned(),
        });
    }
    account.registrar.as_deref().map(parse_uri).transpose()?;
    account
        .outbound_proxy
        .as_deref()
        .map(parse_uri)
        .transpose()?;
    if let Some(instance) = &account.instance
        && !(instance.starts_with("urn:")
            && instance
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"<>\"\\;,".contains(&byte)))
    {
        return Err(Error::Uri {
            uri: instance.clone(),
            why: "an instance is a URN: write urn:uuid: and a UUID".to_owned(),
        });
    }
    Ok(aor)
}

/// What the endpoint asks for an account.
pub(crate) enum AccountCommand {
    Register {
        registration: Box<callbot_sip::ua::Registration>,
        entry: Arc<AccountEntry>,
    },
    /// Takes the registration back; with `all`, everybody's.
    Remove { entry: Arc<AccountEntry>, all: bool },
    Fetch {
        entry: Arc<AccountEntry>,
        reply: oneshot::Sender<Result<Vec<account::Binding>>>,
    },
}

/// The registrations of the user agent, at the task that owns it.
#[derive(Default)]
pub(super) struct Registrations {
    entries: HashMap<RegistrationId, Arc<AccountEntry>>,
    fetches: HashMap<RegistrationId, Vec<oneshot::Sender<Result<Vec<account::Binding>>>>>,
}

impl Registrations {
    pub(super) fn command(&mut self, ua: &mut UserAgent, now: Instant, command: AccountCommand) {
        match command {
            AccountCommand::Register {
                registration,
                entry,
            } => {
                if entry.removed.is_cancelled() {
                    return entry.set(RegistrationStatus::Unregistered);
                }
                match ua.register(now, *registration) {
                    Ok(id) => {
                        lock(&entry.state).id = Some(id);
                        self.entries.insert(id, entry);
                    }
                    Err(error) => entry.failed(error.to_string()),
                }
            }
            AccountCommand::Remove { entry, all } => {
                let id = lock(&entry.state).id;
                let removed = id.map(|id| {
                    if all {
                        ua.unregister_all(now, id)
                    } else {
                        ua.unregister(now, id)
                    }
                });
                if !matches!(removed, Some(Ok(()))) {
                    entry.set(RegistrationStatus::Unregistered);
                }
            }
            AccountCommand::Fetch { entry, reply } => {
                let id = lock(&entry.state).id;
                let asked = id.map(|id| (id, ua.fetch_bindings(now, id)));
                match asked {
                    Some((id, Ok(()))) => self.fetches.entry(id).or_default().push(reply),
                    _ => {
                        let _ = reply.send(Err(Error::State(
                            "the account has not begun to register, or is being removed",
                        )));
                    }
                }
            }
        }
    }

    /// Takes all registrations back.
    pub(super) fn remove_all(&self, ua: &mut UserAgent, now: Instant) {
        let mut ids: Vec<_> = self.entries.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Err(error) = ua.unregister(now, id) {
                tracing::debug!(%error, "unregister");
            }
        }
    }

    /// The account of a registration.
    pub(super) fn aor(&self, id: RegistrationId) -> Option<String> {
        Some(self.entries.get(&id)?.account.aor.clone())
    }

    pub(super) fn on_state(
        &mut self,
        transport: &Transport,
        id: RegistrationId,
        state: RegistrationState,
    ) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        match state {
            RegistrationState::Registering => entry.set(RegistrationStatus::Registering),
            RegistrationState::Registered { binding } => {
                if let (Some(flow), Some(timer)) = (binding.flow, binding.flow_timer) {
                    transport.keep_alive(flow, timer);
                }
                let expires = binding.expires;
                lock(&entry.state).binding = Some((binding, tokio::time::Instant::now()));
                entry.set(RegistrationStatus::Registered { expires });
            }
            RegistrationState::Failed { why, retry_in } => {
                let account = &entry.account.aor;
                let retry_in_s = retry_in.as_secs();
                tracing::warn!(account, why, retry_in_s, "registration failed");
                entry.failed(why);
            }
            RegistrationState::Unregistered => {
                let entry = self.entries.remove(&id);
                self.fetches.remove(&id);
                if let Some(entry) = entry {
                    *lock(&entry.state) = State::default();
                    entry.set(RegistrationStatus::Unregistered);
                }
            }
        }
    }

    pub(super) fn on_bindings(
        &mut self,
        id: RegistrationId,
        result: &std::result::Result<Vec<Bound>, String>,
    ) {
        for reply in self.fetches.remove(&id).unwrap_or_default() {
            let _ = reply.send(match result {
                Ok(bound) => Ok(bound.iter().map(shown).collect()),
                Err(why) => Err(Error::other(format!(
                    "the registrar does not tell its bindings: {why}"
                ))),
            });
        }
    }
}

fn shown(bound: &Bound) -> account::Binding {
    account::Binding {
        contact: bound.contact.clone(),
        expires: bound.expires,
        quality: f32::from(bound.quality) / 1000.0,
        instance: bound.instance.clone(),
    }
}

/// Takes an account's registration back and waits until that is done. Cancel safe: the removal goes on.
pub(crate) async fn remove(
    commands: &mpsc::Sender<ToSip>,
    entry: Arc<AccountEntry>,
    all: bool,
) -> Result<()> {
    /// Timer F, and some more.
    const PATIENCE: Duration = Duration::from_secs(40);
    entry.removed.cancel();
    let mut status = entry.status.subscribe();
    let command = AccountCommand::Remove { entry, all };
    commands
        .send(ToSip::Account(command))
        .await
        .map_err(|_| Error::Closed)?;
    let gone = status.wait_for(|status| *status == RegistrationStatus::Unregistered);
    match tokio::time::timeout(PATIENCE, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => Err(Error::other("the registrar does not answer")),
    }
}
