//! An endpoint's accounts while it runs: added, removed and watched.

use tokio::sync::{oneshot, watch};

use super::Endpoint;
use crate::account::{Account, Binding, Registration, RegistrationStatus};
use crate::error::{Error, Result};
use crate::signalling::sip::{self, AccountCommand, ToSip};

impl Endpoint {
    /// Adds an account and begins to register it in the background. The receiver tells each change of its
    /// registration, from [`RegistrationStatus::Registering`] on.
    ///
    /// # Errors
    /// [`Error::Uri`] when its words are wrong or the endpoint has it already, [`Error::Closed`] after the shutdown.
    pub fn add_account(&self, account: Account) -> Result<watch::Receiver<RegistrationStatus>> {
        let shared = self.shared();
        if shared.closing.is_cancelled() {
            return Err(Error::Closed);
        }
        let entry = shared.accounts.add(account)?;
        let status = entry.status.subscribe();
        tokio::spawn(sip::register(shared.clone(), entry));
        Ok(status)
    }

    /// Removes an account and takes its registration back; resolves when the registrar has answered, or does not.
    /// Its calls go on. Cancel safe: the removal goes on by itself.
    ///
    /// # Errors
    /// [`Error::Uri`] when the endpoint has no such account.
    pub async fn remove_account(&self, aor: &str) -> Result<()> {
        let entry = self.shared().accounts.remove(aor);
        let entry = entry.ok_or_else(|| unknown(aor))?;
        sip::remove_account(&self.shared().commands, entry, false).await
    }

    /// Removes an account and every binding of its address at the registrar, whoever registered it: the `*` of RFC
    /// 3261 10.2.2. Cancel safe: the removal goes on by itself.
    ///
    /// # Errors
    /// [`Error::Uri`] when the endpoint has no such account.
    pub async fn remove_account_everywhere(&self, aor: &str) -> Result<()> {
        let entry = self.shared().accounts.remove(aor);
        let entry = entry.ok_or_else(|| unknown(aor))?;
        sip::remove_account(&self.shared().commands, entry, true).await
    }

    /// Tells every change of an account's registration; `None` when there is no such account.
    pub fn watch_account(&self, aor: &str) -> Option<watch::Receiver<RegistrationStatus>> {
        Some(self.shared().accounts.find(aor)?.status.subscribe())
    }

    /// How each account stands, in the order in which they were added.
    pub fn registrations(&self) -> Vec<Registration> {
        let accounts = self.shared().accounts.all();
        accounts.iter().map(|entry| entry.show()).collect()
    }

    /// Each account with a receiver that tells every change of its
    /// registration, in the order in which they were added.
    pub fn watch_registrations(&self) -> Vec<(String, watch::Receiver<RegistrationStatus>)> {
        let accounts = self.shared().accounts.all();
        accounts
            .iter()
            .map(|entry| (entry.account.aor.clone(), entry.status.subscribe()))
            .collect()
    }

    /// Asks the registrar for all bindings of an account's address, whoever registered them (RFC 3261 10.2.3).
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Uri`] when the endpoint has no such account, [`Error::Other`] with what the registrar said instead.
    pub async fn bindings(&self, aor: &str) -> Result<Vec<Binding>> {
        let shared = self.shared();
        let entry = shared.accounts.find(aor).ok_or_else(|| unknown(aor))?;
        let (reply, answer) = oneshot::channel();
        let command = AccountCommand::Fetch { entry, reply };
        let sent = shared.commands.send(ToSip::Account(command)).await;
        sent.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Waits until every account that registers is registered. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Other`] with the reason as soon as one fails; it is tried again
    /// in the background all the same.
    pub async fn registered(&self) -> Result<()> {
        for entry in self.shared().accounts.all() {
            let mut status = entry.status.subscribe();
            let reached = status
                .wait_for(|status| !matches!(status, RegistrationStatus::Registering))
                .await
                .map_err(|_| Error::Closed)?
                .clone();
            if let RegistrationStatus::Failed { why } = reached {
                let aor = &entry.account.aor;
                return Err(Error::other(format!("cannot register {aor}: {why}")));
            }
        }
        Ok(())
    }
}

fn unknown(aor: &str) -> Error {
    Error::Uri {
        uri: aor.to_owned(),
        why: "this endpoint has no such account".to_owned(),
    }
}
