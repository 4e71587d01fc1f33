//! To the next address of a host when one does not answer, cannot be reached or says 503 (RFC 3263 section 4.3).
//!
//! Invariants: what is sent again is the same request with a new Via, in a transaction of its own; each address of a
//! [`Target`](super::Target) is tried once. A call that was given up, and requests inside a call, stay where they are.

use std::time::Instant;

use super::{ClientUse, Event, Target, UserAgent, contact_value};
use crate::headers::HeaderName;
use crate::message::Request;
use crate::transaction::Handle;

impl UserAgent {
    /// Sends a request by the next address. `false` when there is none, or nobody wants it any more.
    pub(super) fn fail_over(&mut self, now: Instant, handle: Handle, usage: ClientUse) -> bool {
        let wanted = match usage {
            ClientUse::Invite(id) => self
                .invites
                .get(&id)
                .is_some_and(|session| session.wants_another_address(&self.core, handle)),
            ClientUse::Register(id) => self
                .registrations
                .get(&id)
                .is_some_and(|registered| registered.is_under_way(handle)),
            ClientUse::Request(id) => self.requests.contains_key(&id),
            _ => false,
        };
        if !wanted {
            return false;
        }
        let Some((request, target)) = self.core.client_request(handle) else {
            return false;
        };
        let Some(next) = target.next() else {
            return false;
        };
        tracing::debug!(host = %next.host, remote = ?next.remote, "the next address is tried");
        let failed = target.remote.map(|remote| Event::AddressFailed {
            protocol: target.protocol,
            remote,
        });
        let (mut request, target) = (request.clone(), target.clone());
        name_us_anew(self, &mut request, &target, &next);
        request.headers.remove(&HeaderName::Via);
        self.core.out.extend(failed.map(super::Output::Event));
        let tries = self.core.client_tries(handle);
        let new = self
            .core
            .start_client(now, request, next.clone(), usage, tries);
        match usage {
            ClientUse::Invite(id) => {
                self.with_session(id, |session, core| session.moved(core, new, next));
            }
            ClientUse::Register(id) => {
                self.with_registration(now, id, |registered, _| registered.moved(new));
            }
            _ => {}
        }
        true
    }

    /// The addresses of a transaction's host beside the one that it went to, as the shell has found them: to be tried
    /// if that one fails. Harmless for a transaction that is over.
    pub fn alternatives(
        &mut self,
        transaction: super::TransactionId,
        hops: impl IntoIterator<Item = super::Hop>,
    ) {
        let handle = Handle::from_bits(transaction.0);
        self.core
            .set_alternatives(handle, hops.into_iter().collect());
    }
}

/// Puts the address and transport that the next hop sees of us into a Contact that held those of the last.
fn name_us_anew(ua: &UserAgent, request: &mut Request, old: &Target, new: &Target) {
    if old.advertised == new.advertised && old.protocol == new.protocol {
        return;
    }
    let sips = request.uri.is_sips();
    let value =
        |target: &Target| contact_value(&ua.core, None, target.advertised, target.protocol, sips);
    // Without the angle brackets and the scheme: what stands behind the user part.
    let tail = |bytes: bytes::Bytes| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let text = text.trim_matches(['<', '>']);
        text.split_once(':').map(|(_, tail)| tail.to_owned())
    };
    let (Some(before), Some(after)) = (tail(value(old)), tail(value(new))) else {
        return;
    };
    for header in request.headers.iter_mut() {
        if header.name == HeaderName::Contact
            && let Ok(text) = std::str::from_utf8(&header.value)
            && text.contains(&format!("{before}>"))
        {
            header.value = text.replacen(&before, &after, 1).into();
        }
    }
}
