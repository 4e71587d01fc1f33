//! The server transactions that are under way: matching, answering, repeating and ending them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::core::{Armed, Core, Owner};
use super::{InviteId, PeerHost, Source, Target};
use crate::headers::{HeaderName, Via};
use crate::ids::MAGIC_COOKIE;
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::{
    Handle, Key, RequestAction, Server, ServerInvite, State, TimeoutAction, earlier,
};

/// What a request to us is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerUse {
    Invite(InviteId),
    Reinvite(InviteId),
    /// Answered here at once, or by `respond`.
    Other(Option<InviteId>),
}

impl ServerUse {
    fn invite(self) -> Option<InviteId> {
        match self {
            ServerUse::Invite(id) | ServerUse::Reinvite(id) => Some(id),
            ServerUse::Other(id) => id,
        }
    }
}

#[derive(Debug)]
enum Machine {
    Invite(ServerInvite),
    Other(Server),
}

#[derive(Debug)]
pub(crate) struct ServerTransaction {
    machine: Machine,
    key: Key,
    merged: Option<Key>,
    pub(crate) usage: ServerUse,
    pub(crate) target: Target,
    /// Until the final answer.
    pub(crate) request: Option<Arc<Request>>,
    last: Option<Bytes>,
    /// When 100 goes out by itself.
    trying_at: Option<Instant>,
    armed: Armed,
}

impl ServerTransaction {
    pub(super) fn armed(&self) -> &Armed {
        &self.armed
    }

    fn deadline(&self) -> Option<Instant> {
        let machine = match &self.machine {
            Machine::Invite(machine) => machine.deadline(),
            Machine::Other(machine) => machine.deadline(),
        };
        earlier(machine, self.trying_at)
    }

    /// Whether a final answer may still be given.
    pub(crate) fn is_open(&self) -> bool {
        let state = match &self.machine {
            Machine::Invite(machine) => machine.state(),
            Machine::Other(machine) => machine.state(),
        };
        matches!(state, State::Trying | State::Proceeding)
    }
}

impl Core {
    /// The key of the transaction that a request belongs to (section 17.2.3). ACK and CANCEL belong to the
    /// INVITE, so they ask with its method.
    pub(crate) fn server_key(&self, request: &Request, via: &Via<'_>, method: &Method) -> Key {
        let branch = via.branch().unwrap_or_default();
        if branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE) {
            return self.keys.server(
                branch,
                via.host.as_str(),
                via.port.unwrap_or(0),
                method.as_str(),
            );
        }
        let headers = &request.headers;
        let from_tag = headers
            .from()
            .ok()
            .and_then(|from| from.tag())
            .unwrap_or_default();
        let via = headers.get(&HeaderName::Via).unwrap_or_default();
        let number = headers.cseq().map_or(0, |cseq| cseq.number);
        let call_id = headers.call_id().unwrap_or_default();
        self.keys.server_2543(
            [request.uri.as_str(), from_tag, call_id, via],
            number,
            method.as_str(),
        )
    }

    pub(crate) fn find_server(&self, key: Key) -> Option<Handle> {
        self.server_keys.get(&key).copied()
    }

    pub(crate) fn server(&self, handle: Handle) -> Option<&ServerTransaction> {
        self.servers.get(handle)
    }

    /// The key under which copies of a request that came by other ways are known.
    pub(crate) fn merged_key(&self, request: &Request) -> Option<Key> {
        let headers = &request.headers;
        let from = headers.from().ok()?;
        let cseq = headers.cseq().ok()?;
        let tag = from.tag().unwrap_or_default();
        Some(self.keys.merged(
            headers.call_id().ok()?,
            tag,
            cseq.number,
            cseq.method.as_str(),
        ))
    }

    pub(crate) fn is_merged(&self, key: Key) -> bool {
        self.merged.contains_key(&key)
    }

    /// A new request.
    pub(crate) fn start_server(
        &mut self,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
        merged: Option<Key>,
        usage: ServerUse,
    ) -> Handle {
        let reliable = source.protocol.is_reliable();
        let (machine, trying_at) = if request.method == Method::Invite {
            (
                Machine::Invite(ServerInvite::new(reliable)),
                Some(now + self.config.trying_after),
            )
        } else {
            (
                Machine::Other(Server::new(now, &self.timings, reliable)),
                None,
            )
        };
        let handle = self.servers.insert(ServerTransaction {
            machine,
            key,
            merged,
            usage,
            target: response_target(source, request),
            request: Some(request.clone()),
            last: None,
            trying_at,
            armed: Armed::default(),
        });
        self.server_keys.insert(key, handle);
        if let Some(merged) = merged {
            self.merged.insert(merged, handle);
        }
        handle
    }

    /// The request came again.
    pub(crate) fn server_again(&mut self, handle: Handle) {
        let Some(transaction) = self.servers.get_mut(handle) else {
            return;
        };
        let action = match &mut transaction.machine {
            Machine::Invite(machine) => machine.receive_again(),
            Machine::Other(machine) => machine.receive_again(),
        };
        if action == RequestAction::RespondAgain
            && let Some(payload) = transaction.last.clone()
        {
            let (target, invite) = (transaction.target.clone(), transaction.usage.invite());
            self.transmit(&target, payload, invite, None);
        }
    }

    /// An ACK came for this INVITE; whether it was for a refusal and so is dealt with.
    pub(crate) fn server_ack(&mut self, now: Instant, handle: Handle) -> bool {
        let Some(transaction) = self.servers.get_mut(handle) else {
            return false;
        };
        let Machine::Invite(machine) = &mut transaction.machine else {
            return false;
        };
        let taken = machine.receive_ack(now, &self.timings);
        if taken {
            transaction.last = None;
        }
        self.rearm_server(now, handle);
        taken
    }

    /// Answers. `None` when the state does not allow it, else the bytes that went out.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        handle: Handle,
        response: &Response,
    ) -> Option<Bytes> {
        let status = response.status;
        let transaction = self.servers.get_mut(handle)?;
        let allowed = match &mut transaction.machine {
            Machine::Invite(machine) => machine.respond(now, &self.timings, status),
            Machine::Other(machine) => machine.respond(now, &self.timings, status),
        };
        if !allowed {
            return None;
        }
        let payload = response.to_bytes();
        transaction.trying_at = None;
        let repeats_here =
            !(status.is_success() && matches!(transaction.machine, Machine::Invite(_)));
        transaction.last = repeats_here.then(|| payload.clone());
        if status.is_final() {
            transaction.request = None;
        }
        let (target, invite) = (transaction.target.clone(), transaction.usage.invite());
        self.transmit(&target, payload.clone(), invite, None);
        self.rearm_server(now, handle);
        Some(payload)
    }

    /// Arms what a new transaction waits for; to be called when nothing answered it at once.
    pub(crate) fn rearm_server(&mut self, now: Instant, handle: Handle) {
        let Some(transaction) = self.servers.get_mut(handle) else {
            return;
        };
        let deadline = transaction.deadline();
        if deadline.is_some_and(|at| at <= now) {
            // Timers I and J are 0 on streams: over at once.
            self.server_timeout(now, handle);
            return;
        }
        let mut armed = transaction.armed;
        self.arm(&mut armed, deadline, Owner::Server(handle));
        if let Some(transaction) = self.servers.get_mut(handle) {
            transaction.armed = armed;
        }
    }

    pub(crate) fn server_armed(&mut self, handle: Handle) -> Option<&mut Armed> {
        self.servers
            .get_mut(handle)
            .map(|transaction| &mut transaction.armed)
    }

    pub(crate) fn server_timeout(&mut self, now: Instant, handle: Handle) {
        let Some(transaction) = self.servers.get_mut(handle) else {
            return;
        };
        if transaction.trying_at.is_some_and(|at| at <= now) {
            transaction.trying_at = None;
            if let Some(request) = transaction.request.clone() {
                let trying = request.response(StatusCode(100));
                self.respond(now, handle, &trying);
            }
            return;
        }
        let action = match &mut transaction.machine {
            Machine::Invite(machine) => machine.handle_timeout(now, &self.timings),
            Machine::Other(machine) => machine.handle_timeout(now),
        };
        match action {
            TimeoutAction::None => {}
            TimeoutAction::Retransmit => {
                if let Some(payload) = transaction.last.clone() {
                    let (target, invite) = (transaction.target.clone(), transaction.usage.invite());
                    self.transmit(&target, payload, invite, None);
                }
            }
            TimeoutAction::TimedOut | TimeoutAction::Terminated => {
                self.remove_server(handle);
                return;
            }
        }
        self.rearm_server(now, handle);
    }

    fn remove_server(&mut self, handle: Handle) {
        if let Some(transaction) = self.servers.remove(handle) {
            self.server_keys.remove(&transaction.key);
            if let Some(merged) = transaction.merged {
                self.merged.remove(&merged);
            }
        }
    }

    /// Answers without remembering anything: a copy of the request gets the same answer (section 8.2.7).
    pub(crate) fn respond_stateless(
        &mut self,
        source: &Source,
        request: &Request,
        mut response: Response,
    ) {
        if request.method == Method::Ack {
            return;
        }
        self.tag_to(&mut response, None);
        self.sign(&mut response);
        let target = response_target(source, request);
        self.transmit(&target, response.to_bytes(), None, None);
    }

    /// Answers where the request came from, whatever its Via says.
    pub(crate) fn respond_to_source(&mut self, source: &Source, mut response: Response) {
        self.tag_to(&mut response, None);
        self.sign(&mut response);
        self.transmit(&Target::back_to(source), response.to_bytes(), None, None);
    }

    /// Too much to do: 503, and when to come back.
    pub(crate) fn respond_busy(&mut self, source: &Source, request: &Request) {
        let mut response = request.response(StatusCode(503));
        let seconds = self.config.retry_after.as_secs().max(1);
        response
            .headers
            .push(HeaderName::RetryAfter, seconds.to_string());
        self.respond_stateless(source, request, response);
    }

    /// Gives the To a tag if it has none: `tag`, or one that copies of the request get too.
    pub(crate) fn tag_to(&self, response: &mut Response, tag: Option<&str>) {
        let headers = &response.headers;
        let Ok(to) = headers.to() else {
            return;
        };
        if to.tag().is_some() {
            return;
        }
        let made;
        let tag = match tag {
            Some(tag) => tag,
            None => {
                let from_tag = headers
                    .from()
                    .ok()
                    .and_then(|from| from.tag())
                    .unwrap_or_default();
                let branch = headers
                    .via()
                    .ok()
                    .and_then(|via| via.branch())
                    .unwrap_or_default();
                made = self.keys.stateless_tag(
                    headers.call_id().unwrap_or_default(),
                    from_tag,
                    branch,
                );
                &made
            }
        };
        let Some(old) = headers
            .first(&HeaderName::To)
            .map(|header| header.value.clone())
        else {
            return;
        };
        response.headers.set(HeaderName::To, with_tag(&old, tag));
    }
}

/// A From or To value with a tag behind it.
pub(crate) fn with_tag(value: &[u8], tag: &str) -> Bytes {
    let mut text = Vec::with_capacity(value.len() + 5 + tag.len());
    text.extend_from_slice(value);
    text.extend_from_slice(b";tag=");
    text.extend_from_slice(tag.as_bytes());
    Bytes::from(text)
}

/// Where the responses to a request go (section 18.2.2, RFC 3581 section 4).
pub(crate) fn response_target(source: &Source, request: &Request) -> Target {
    let via = request.headers.via().ok();
    let ip = source.remote.ip();
    let sent_by_port = via
        .and_then(|via| via.port)
        .unwrap_or(source.protocol.default_port());
    let mut target = Target::back_to(source);
    if source.protocol.is_websocket() {
        // The peer listens nowhere (RFC 7118 section 5): by the connection or not at all.
        return target;
    }
    if source.protocol.is_reliable() {
        // By the connection; if that is gone, to where the sender says that it listens.
        target.remote = Some(SocketAddr::new(ip, sent_by_port));
        target.port = sent_by_port;
        return target;
    }
    let Some(via) = via else {
        return target;
    };
    let multicast = via.params.get("maddr").and_then(|maddr| maddr.parse().ok());
    let (ip, port) = match (multicast, via.rport()) {
        (Some(maddr), _) => (maddr, sent_by_port),
        (None, Some(_)) => (ip, source.remote.port()),
        (None, None) => (ip, sent_by_port),
    };
    target.remote = Some(SocketAddr::new(ip, port));
    target.host = PeerHost::Ip(ip);
    target.port = port;
    target
}
