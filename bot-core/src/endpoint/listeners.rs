//! Listeners that come and go while the endpoint runs.
//!
//! Responsibility: what a reload of a program's configuration asks of its
//! listeners and limits.
//!
//! Invariants: a listener that is removed takes no new calls from then on, but
//! is there for its calls until the last of them has ended and what they left
//! unanswered has timed out (64*T1, RFC 3261 17); then its connections and its
//! socket are closed.

use std::time::Duration;

use super::Endpoint;
use crate::error::{Error, Result, StartError};
use crate::signalling::sip::{self, ListenerState, ToSip, Wanted};

/// How long the last transactions of a listener may take: 64*T1.
const TRANSACTIONS: Duration = Duration::from_secs(32);

impl Endpoint {
    /// Whether `url` names a listener, as [`add_listener`](Self::add_listener) takes it; nothing is bound.
    ///
    /// # Errors
    /// [`StartError::Listen`] says what is wrong with it.
    pub fn check_listener(url: &str) -> Result<(), StartError> {
        Wanted::parse(url).map(drop)
    }

    /// Listens on one more address, `udp://ADDRESS:PORT` and its like; gives
    /// it as it is bound. One that is being removed is taken back. Not cancel
    /// safe: the listener may stand all the same.
    ///
    /// # Errors
    /// [`StartError::Listen`] when it cannot be bound, or is a TLS or WSS
    /// listener of an endpoint that was started without one, and so has no
    /// certificate to show.
    pub async fn add_listener(&self, url: &str) -> Result<String, StartError> {
        let wanted = Wanted::parse(url)?;
        let shared = self.shared();
        let fail = |why: &str| StartError::Listen {
            listen: url.to_owned(),
            why: why.to_owned(),
        };
        if wanted.protocol.is_secure() && shared.links.tls.fingerprint().is_none() {
            return Err(fail(
                "this endpoint was started without a certificate: start it again",
            ));
        }
        let taken_back = shared.locator.change_listeners(|listeners| {
            let listener = listeners.iter_mut().find(|listener| {
                listener.state == ListenerState::Retiring
                    && listener.socket.is_some()
                    && listener.protocol == wanted.protocol
                    && listener.local == wanted.address
            })?;
            listener.state = ListenerState::Open;
            Some(listener.to_string())
        });
        if let Some(bound) = taken_back {
            return Ok(bound);
        }
        // The place in the list is part of what the listener's task tells, so
        // one listener is bound at a time.
        let _one = shared.binding.lock().await;
        let index = shared.locator.listeners().len();
        let memory = shared.memory.as_ref();
        let listener =
            sip::bind(&wanted, memory, index, &shared.links.inbound, &shared.links).await?;
        let bound = listener.to_string();
        shared
            .locator
            .change_listeners(|listeners| listeners.push(listener));
        Ok(bound)
    }

    /// Stops to listen on an address, as [`listeners`](Self::listeners) gives
    /// it: new calls are no longer taken there, those that stand go on, and
    /// then it is closed. False when there is no such listener.
    pub fn remove_listener(&self, bound: &str) -> bool {
        let shared = self.shared();
        let removed = shared.locator.change_listeners(|listeners| {
            let index = listeners
                .iter()
                .position(|listener| listener.is_open() && listener.to_string() == bound)?;
            let listener = listeners.get_mut(index)?;
            listener.state = ListenerState::Retiring;
            Some((index, listener.clone()))
        });
        let Some((index, listener)) = removed else {
            return false;
        };
        // A stream's port is free at once; its connections stay.
        if listener.socket.is_none() {
            listener.doors.shut.cancel();
        }
        let (locator, closing) = (shared.locator.clone(), shared.closing.clone());
        tokio::spawn(async move {
            let over = async {
                listener.users.close();
                listener.users.wait().await;
                tokio::time::sleep(TRANSACTIONS).await;
            };
            tokio::select! {
                () = closing.cancelled() => return,
                () = over => {}
            }
            let closed = locator.change_listeners(|listeners| {
                let listener = listeners.get_mut(index)?;
                // Taken back and removed again meanwhile: whoever removed it later closes it.
                if listener.state != ListenerState::Retiring || !listener.users.is_empty() {
                    return None;
                }
                listener.state = ListenerState::Closed;
                listener.socket = None;
                Some(listener.to_string())
            });
            if let Some(closed) = closed {
                listener.doors.emptied.cancel();
                tracing::info!("listener {closed} is closed");
            }
        });
        true
    }

    /// Calls at once, from now on; those beyond it that stand go on. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Closed`] after a shutdown.
    pub async fn set_max_calls(&self, calls: usize) -> Result<()> {
        self.shared()
            .commands
            .send(ToSip::MaxCalls(calls))
            .await
            .map_err(|_| Error::Closed)
    }
}
