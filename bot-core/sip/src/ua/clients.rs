//! The client transactions that are under way: starting, matching, repeating and ending them.

use std::time::Instant;

use bytes::Bytes;

use super::build::{derive_request, via_value};
use super::core::{Armed, Core, Owner};
use super::{
    InviteId, NotifierId, PublicationId, ReferId, RegistrationId, RequestId, SubscriptionId, Target,
};
use crate::headers::{Header, HeaderName, Headers};
use crate::message::{Method, Request, Response};
use crate::transaction::{Client, ClientInvite, Handle, Key, ResponseAction, State, TimeoutAction};

/// How many forked 2xx one INVITE answers with ACK and BYE.
const MAX_FORKS: usize = 16;

/// What a request of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientUse {
    Invite(InviteId),
    Reinvite(InviteId),
    Bye(InviteId),
    Info(InviteId),
    Prack(InviteId),
    Update(InviteId),
    Probe(InviteId),
    /// CANCEL, or a BYE to a branch or a call that is over for everybody else.
    Detached(InviteId),
    Request(RequestId),
    /// A request in a call whose answer the shell hears.
    Inside(InviteId, RequestId),
    Refer(ReferId),
    /// A NOTIFY of what became of a REFER.
    ReferNews(ReferId),
    Subscribe(SubscriptionId),
    Notify(NotifierId),
    Publish(PublicationId),
    Register(RegistrationId),
}

impl ClientUse {
    pub(crate) fn invite(self) -> Option<InviteId> {
        match self {
            ClientUse::Invite(id)
            | ClientUse::Reinvite(id)
            | ClientUse::Bye(id)
            | ClientUse::Info(id)
            | ClientUse::Prack(id)
            | ClientUse::Update(id)
            | ClientUse::Probe(id)
            | ClientUse::Inside(id, _)
            | ClientUse::Detached(id) => Some(id),
            ClientUse::Refer(refer) | ClientUse::ReferNews(refer) => Some(refer.invite),
            ClientUse::Request(_)
            | ClientUse::Subscribe(_)
            | ClientUse::Notify(_)
            | ClientUse::Publish(_)
            | ClientUse::Register(_) => None,
        }
    }
}

#[derive(Debug)]
enum Machine {
    Invite(ClientInvite),
    Other(Client),
}

/// An ACK to a 2xx, kept for retransmissions of that 2xx.
#[derive(Debug)]
struct SentAck {
    remote_tag: Box<str>,
    payload: Bytes,
    target: Target,
}

#[derive(Debug)]
pub(crate) struct ClientTransaction {
    machine: Machine,
    key: Key,
    pub(crate) usage: ClientUse,
    pub(crate) target: Target,
    /// With its Via.
    pub(crate) request: Request,
    payload: Bytes,
    /// How often this request was sent, counting those that were challenged.
    pub(crate) tries: u8,
    /// The ACK for our refusal.
    refusal_ack: Bytes,
    acks: Vec<SentAck>,
    pub(super) unanswered: bool,
    armed: Armed,
}

impl ClientTransaction {
    pub(super) fn armed(&self) -> &Armed {
        &self.armed
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Invite(machine) => machine.deadline(),
            Machine::Other(machine) => machine.deadline(),
        }
    }

    /// Lets go of what only an unanswered request needs: it may linger for 32 s.
    fn shed(&mut self) {
        self.payload = Bytes::new();
        // A 2xx of another branch still needs the INVITE.
        if self.state() == State::Completed {
            self.request.headers = Headers::new();
            self.request.body = Bytes::new();
        }
    }

    fn state(&self) -> State {
        match &self.machine {
            Machine::Invite(machine) => machine.state(),
            Machine::Other(machine) => machine.state(),
        }
    }
}

impl Core {
    /// Sends a request, which gets its Via here, and waits for the answer.
    pub(crate) fn start_client(
        &mut self,
        now: Instant,
        mut request: Request,
        target: Target,
        usage: ClientUse,
        tries: u8,
    ) -> Handle {
        let branch = self.ids.branch();
        let via = via_value(self, &target, &branch);
        request.headers.push_front(HeaderName::Via, via);
        self.start_client_with_via(now, request, target, usage, tries, &branch)
    }

    fn start_client_with_via(
        &mut self,
        now: Instant,
        request: Request,
        target: Target,
        usage: ClientUse,
        tries: u8,
        branch: &str,
    ) -> Handle {
        let reliable = target.protocol.is_reliable();
        let payload = request.to_bytes();
        let key = self.keys.client(branch, request.method.as_str());
        let machine = if request.method == Method::Invite {
            Machine::Invite(ClientInvite::new(now, &self.timings, reliable))
        } else {
            Machine::Other(Client::new(now, &self.timings, reliable))
        };
        let handle = self.clients.insert(ClientTransaction {
            machine,
            key,
            usage,
            target: target.clone(),
            request,
            payload: payload.clone(),
            tries,
            refusal_ack: Bytes::new(),
            acks: Vec::new(),
            unanswered: true,
            armed: Armed::default(),
        });
        self.unanswered += 1;
        self.client_keys.insert(key, handle);
        self.file_client(handle, &target);
        self.transmit(&target, payload, usage.invite(), Some(handle));
        self.rearm_client(handle);
        handle
    }

    /// CANCEL for an INVITE of ours: same Request-URI, Via, From, To, Call-ID, Route and CSeq number
    /// (section 9.1). The INVITE ends 64*T1 later even if the peer never answers it.
    pub(crate) fn start_cancel(&mut self, now: Instant, invite: Handle, headers: Vec<Header>) {
        let give_up = now + self.timings.timeout();
        let Some(transaction) = self.clients.get_mut(invite) else {
            return;
        };
        if let Machine::Invite(machine) = &mut transaction.machine {
            machine.give_up_at(give_up);
        }
        let original = &transaction.request;
        let (Ok(via), Ok(cseq)) = (original.headers.via(), original.headers.cseq()) else {
            return;
        };
        let branch = via.branch().unwrap_or_default().to_owned();
        let mut request = derive_request(original, Method::Cancel, cseq.number, None);
        request
            .headers
            .push(HeaderName::UserAgent, self.user_agent.clone());
        request.headers.extend(headers);
        let target = transaction.target.clone();
        let usage = transaction
            .usage
            .invite()
            .map_or(transaction.usage, ClientUse::Detached);
        self.rearm_client(invite);
        self.start_client_with_via(now, request, target, usage, 1, &branch);
    }

    /// The transaction that a response answers (section 17.1.3).
    pub(crate) fn client_of(&self, response: &Response) -> Option<Handle> {
        let via = response.headers.via().ok()?;
        let cseq = response.headers.cseq().ok()?;
        let key = self.keys.client(via.branch()?, cseq.method.as_str());
        self.client_keys.get(&key).copied()
    }

    /// Runs the state machine; what comes back with `true` is for the user of the transaction.
    pub(crate) fn client_receive(
        &mut self,
        now: Instant,
        handle: Handle,
        response: &Response,
    ) -> bool {
        let Some(transaction) = self.clients.get_mut(handle) else {
            return false;
        };
        let status = response.status;
        let action = match &mut transaction.machine {
            Machine::Invite(machine) => machine.receive(now, &self.timings, status),
            Machine::Other(machine) => machine.receive(now, &self.timings, status),
        };
        if status.is_final() {
            self.answered(handle);
        }
        match action {
            ResponseAction::Ignore => return false,
            ResponseAction::Pass => {}
            ResponseAction::PassAndAck => self.ack_refusal(handle, response),
            ResponseAction::AckAgain => {
                self.send_refusal_ack(handle);
                return false;
            }
        }
        self.rearm_client(handle);
        true
    }

    fn answered(&mut self, handle: Handle) {
        if let Some(transaction) = self.clients.get_mut(handle)
            && transaction.unanswered
        {
            transaction.unanswered = false;
            self.unanswered -= 1;
            let target = transaction.target.clone();
            self.unfile_client(handle, &target);
        }
    }

    /// ACK for a refusal: within the transaction, same branch (section 17.1.1.3).
    fn ack_refusal(&mut self, handle: Handle, response: &Response) {
        if let Some(transaction) = self.clients.get_mut(handle) {
            let number = transaction
                .request
                .headers
                .cseq()
                .map_or(1, |cseq| cseq.number);
            let to = response
                .headers
                .first(&HeaderName::To)
                .map(|header| header.value.clone());
            let ack = derive_request(&transaction.request, Method::Ack, number, to);
            transaction.refusal_ack = ack.to_bytes();
        }
        self.send_refusal_ack(handle);
    }

    fn send_refusal_ack(&mut self, handle: Handle) {
        if let Some(transaction) = self.clients.get(handle) {
            let (target, payload) = (transaction.target.clone(), transaction.refusal_ack.clone());
            let invite = transaction.usage.invite();
            self.transmit(&target, payload, invite, None);
        }
    }

    /// Keeps the ACK to a 2xx for when that 2xx comes again. `false` when too many branches answered.
    pub(crate) fn keep_ack(
        &mut self,
        handle: Handle,
        remote_tag: &str,
        payload: Bytes,
        target: Target,
    ) -> bool {
        let Some(transaction) = self.clients.get_mut(handle) else {
            return true;
        };
        if transaction.acks.len() >= MAX_FORKS {
            return false;
        }
        transaction.acks.push(SentAck {
            remote_tag: remote_tag.into(),
            payload,
            target,
        });
        true
    }

    pub(crate) fn has_room_for_ack(&self, handle: Handle) -> bool {
        self.clients
            .get(handle)
            .is_some_and(|transaction| transaction.acks.len() < MAX_FORKS)
    }

    /// Sends the ACK for this branch's 2xx again, if one was sent before.
    pub(crate) fn ack_again(&mut self, handle: Handle, remote_tag: &str) -> bool {
        let Some(transaction) = self.clients.get(handle) else {
            return false;
        };
        let Some(ack) = transaction
            .acks
            .iter()
            .find(|ack| &*ack.remote_tag == remote_tag)
        else {
            return false;
        };
        let (target, payload) = (ack.target.clone(), ack.payload.clone());
        let invite = transaction.usage.invite();
        self.transmit(&target, payload, invite, None);
        true
    }

    /// Lets a ringing INVITE wait until `end` at most.
    pub(crate) fn limit_client(&mut self, handle: Handle, end: Instant) {
        if let Some(transaction) = self.clients.get_mut(handle)
            && let Machine::Invite(machine) = &mut transaction.machine
        {
            machine.give_up_at(end);
        }
        self.rearm_client(handle);
    }

    /// Whether a provisional response came, so that CANCEL may be sent.
    pub(crate) fn is_proceeding(&self, handle: Handle) -> bool {
        self.clients
            .get(handle)
            .is_some_and(|transaction| transaction.state() == State::Proceeding)
    }

    /// The status of the timer: `Some` when the user must hear that nobody answered.
    pub(crate) fn client_timeout(&mut self, now: Instant, handle: Handle) -> Option<ClientUse> {
        let transaction = self.clients.get_mut(handle)?;
        let action = match &mut transaction.machine {
            Machine::Invite(machine) => machine.handle_timeout(now, &self.timings),
            Machine::Other(machine) => machine.handle_timeout(now, &self.timings),
        };
        match action {
            TimeoutAction::None => {}
            TimeoutAction::Retransmit => {
                let (target, payload) = (transaction.target.clone(), transaction.payload.clone());
                let invite = transaction.usage.invite();
                self.transmit(&target, payload, invite, Some(handle));
            }
            TimeoutAction::TimedOut => {
                let usage = transaction.usage;
                return Some(usage);
            }
            TimeoutAction::Terminated => {
                self.remove_client(handle);
                return None;
            }
        }
        self.rearm_client(handle);
        None
    }

    pub(crate) fn remove_client(&mut self, handle: Handle) -> Option<Box<ClientTransaction>> {
        self.answered(handle);
        let transaction = self.clients.remove(handle)?;
        self.client_keys.remove(&transaction.key);
        Some(transaction)
    }

    /// Arms the next deadline; a transaction that has none left, or whose last one is now (streams), ends.
    fn rearm_client(&mut self, handle: Handle) {
        let Some(transaction) = self.clients.get_mut(handle) else {
            return;
        };
        let deadline = transaction.deadline();
        let mut armed = transaction.armed;
        self.arm(&mut armed, deadline, Owner::Client(handle));
        if let Some(transaction) = self.clients.get_mut(handle) {
            transaction.armed = armed;
        }
    }

    pub(crate) fn client_armed(&mut self, handle: Handle) -> Option<&mut Armed> {
        self.clients
            .get_mut(handle)
            .map(|transaction| &mut transaction.armed)
    }

    /// Drops a transaction that waits for nothing any more: over streams, timers D and K are 0.
    pub(super) fn settle_client(&mut self, now: Instant, handle: Handle) {
        let Some(transaction) = self.clients.get_mut(handle) else {
            return;
        };
        if transaction.unanswered {
            // Whatever is due belongs to `handle_timeout`, which tells the user.
            return;
        }
        transaction.shed();
        if transaction.deadline().is_some_and(|at| at <= now) {
            self.client_timeout(now, handle);
        }
    }

    pub(crate) fn client_usage(&self, handle: Handle) -> Option<ClientUse> {
        self.clients
            .get(handle)
            .map(|transaction| transaction.usage)
    }

    pub(crate) fn client_target(&self, handle: Handle) -> Option<&Target> {
        self.clients
            .get(handle)
            .map(|transaction| &transaction.target)
    }

    pub(crate) fn client_request(&self, handle: Handle) -> Option<(&Request, &Target)> {
        self.clients
            .get(handle)
            .map(|transaction| (&transaction.request, &transaction.target))
    }

    pub(crate) fn client_invite(&self, handle: Handle) -> Option<InviteId> {
        self.clients.get(handle)?.usage.invite()
    }

    /// How often the request was sent, counting those that were challenged.
    pub(crate) fn client_tries(&self, handle: Handle) -> u8 {
        self.clients
            .get(handle)
            .map_or(1, |transaction| transaction.tries)
    }

    /// What the request answered challenges with.
    pub(crate) fn client_credentials(&self, handle: Handle) -> Vec<Header> {
        let Some(transaction) = self.clients.get(handle) else {
            return Vec::new();
        };
        let is_answer = |name: &HeaderName| {
            matches!(
                name,
                HeaderName::Authorization | HeaderName::ProxyAuthorization
            )
        };
        transaction
            .request
            .headers
            .iter()
            .filter(|header| is_answer(&header.name))
            .cloned()
            .collect()
    }
}
