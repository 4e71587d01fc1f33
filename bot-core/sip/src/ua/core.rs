//! What calls, registrations and single requests share: transactions, timers, names and the output queue.
//!
//! Invariants: outputs leave in the order in which they were made; every transaction in a table has a timer
//! armed or waits for a command, so that nothing stays for ever; tables are looked up, never walked, on the
//! path of a message.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Instant;

use bytes::Bytes;

use super::clients::ClientTransaction;
use super::servers::ServerTransaction;
use super::ways::Way;
use super::{
    Config, Event, FlowId, InviteId, NotifierId, Output, PublicationId, RegistrationId,
    Reliability, Source, SubscriptionId, Target, TransactionId, Transmit,
};
use crate::headers::HeaderName;
use crate::ids::Ids;
use crate::message::Response;
use crate::registration::Pace;
use crate::timers::{TimerId, Timers, Timings};
use crate::transaction::{Handle, Key, KeyHasher, KeyMaker, Slab};

/// The option tag of reliable provisional responses (RFC 3262).
pub(crate) const RELIABLE: &str = "100rel";
/// The option tag of session timers (RFC 4028).
pub(crate) const TIMER: &str = "timer";

/// A table whose keys are random already.
pub(crate) type Table<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// Whose deadline a timer is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    Client(Handle),
    Server(Handle),
    Invite(InviteId),
    Registration(RegistrationId),
    Subscription(SubscriptionId),
    Notifier(NotifierId),
    Publication(PublicationId),
    /// The next REGISTER that stands in line.
    Pace,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) timings: Timings,
    pub(crate) ids: Ids,
    pub(crate) keys: KeyMaker,
    pub(crate) out: VecDeque<Output>,
    pub(crate) timers: Timers<Owner>,
    pub(super) clients: Slab<ClientTransaction>,
    pub(super) client_keys: Table<Key, Handle>,
    /// Unanswered requests by the way that they went out.
    pub(super) client_ways: BTreeSet<(Way, u64)>,
    pub(super) unanswered: usize,
    pub(super) servers: Slab<ServerTransaction>,
    pub(super) server_keys: Table<Key, Handle>,
    pub(super) merged: Table<Key, Handle>,
    pub(crate) dialogs: Table<Key, InviteId>,
    /// Subscriptions of ours by Call-ID and our tag: all the forks of one.
    pub(crate) subscribers: Table<Key, SubscriptionId>,
    /// Subscriptions of theirs by their dialog.
    pub(crate) notifiers: Table<Key, NotifierId>,
    pub(crate) pace: Pace,
    /// Connections that something came in on and that have not been reported as failed.
    flows: HashSet<FlowId>,
    /// What stands in Via and Contact where no address of ours can be called (RFC 7118 section 5).
    pub(crate) unreachable_host: String,
    /// Header values that every message repeats.
    pub(crate) user_agent: Bytes,
    pub(crate) allow: Bytes,
    pub(crate) supported: Option<Bytes>,
    /// The extensions that a Require may name.
    pub(super) extensions: Vec<String>,
}

impl Core {
    pub(crate) fn new(config: Config, mut ids: Ids) -> Self {
        let allow: Vec<&str> = config.allow.iter().map(|method| method.as_str()).collect();
        let keys = KeyMaker::new(&mut ids);
        let mut extensions = config.supported.clone();
        if config.reliable != Reliability::Off {
            extensions.push(RELIABLE.to_owned());
        }
        if config.session_timer.is_some() {
            extensions.push(TIMER.to_owned());
        }
        Core {
            timings: config.timings(),
            unreachable_host: format!("{}.invalid", keys.stateless_tag("host", "", "")),
            keys,
            ids,
            out: VecDeque::new(),
            timers: Timers::new(),
            clients: Slab::new(),
            client_keys: Table::default(),
            client_ways: BTreeSet::new(),
            unanswered: 0,
            servers: Slab::new(),
            server_keys: Table::default(),
            merged: Table::default(),
            dialogs: Table::default(),
            subscribers: Table::default(),
            notifiers: Table::default(),
            pace: Pace::new(config.register_rate),
            flows: HashSet::new(),
            user_agent: Bytes::from(config.user_agent.clone()),
            allow: Bytes::from(allow.join(", ")),
            supported: (!extensions.is_empty()).then(|| Bytes::from(extensions.join(", "))),
            extensions,
            config,
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    pub(crate) fn transmit(
        &mut self,
        target: &Target,
        payload: Bytes,
        invite: Option<InviteId>,
        transaction: Option<Handle>,
    ) {
        self.out.push_back(Output::Transmit(Transmit {
            target: target.clone(),
            payload,
            invite,
            transaction: transaction.map(|handle| TransactionId(handle.to_bits())),
        }));
    }

    /// Arms the one timer of an owner, unless it is armed for that time already.
    pub(crate) fn arm(&mut self, slot: &mut Armed, deadline: Option<Instant>, owner: Owner) {
        if slot.at != deadline {
            slot.at = deadline;
            slot.id = deadline.map_or(TimerId::default(), |at| self.timers.arm(at, owner));
        }
    }

    pub(crate) fn transactions(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.transactions() >= self.config.max_transactions
    }

    /// Remembers that the connection lives.
    pub(crate) fn saw_flow(&mut self, source: &Source) {
        if let Some(flow) = source.flow {
            self.flows.insert(flow);
        }
    }

    pub(crate) fn forget_flow(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
    }

    pub(crate) fn is_live(&self, flow: FlowId) -> bool {
        self.flows.contains(&flow)
    }

    /// Headers that every response of ours ends with.
    pub(crate) fn sign(&self, response: &mut Response) {
        response
            .headers
            .push(HeaderName::Server, self.user_agent.clone());
    }

    /// Allow and Supported, where RFC 3261 sections 11.2, 13.2.1 and 13.3.1.4 want them.
    pub(crate) fn describe(&self, headers: &mut crate::headers::Headers) {
        headers.push(HeaderName::Allow, self.allow.clone());
        if let Some(supported) = &self.supported {
            headers.push(HeaderName::Supported, supported.clone());
        }
    }

    /// Allow-Events, which every 489 has (RFC 6665 section 8.2.2).
    pub(crate) fn allow_events(&self, headers: &mut crate::headers::Headers) {
        let mut packages = self.config.packages.clone();
        if self.config.allow.contains(&crate::message::Method::Refer) {
            packages.push("refer".to_owned());
        }
        headers.push(HeaderName::AllowEvents, packages.join(", "));
    }
}

/// The one timer of an owner.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Armed {
    id: TimerId,
    at: Option<Instant>,
}

impl Armed {
    /// Whether an entry that falls due is still the one that counts; afterwards nothing is armed.
    pub(crate) fn take(&mut self, id: TimerId) -> bool {
        let current = self.is(id);
        if current {
            *self = Armed::default();
        }
        current
    }

    /// When it falls due; `None` when nothing is armed.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }

    pub(crate) fn is(&self, id: TimerId) -> bool {
        self.at.is_some() && self.id == id
    }
}
