//! The task that owns the user agent.

mod acts;
mod events;
mod subscriptions;
mod transfers;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callbot_sip::ids::Ids;
use callbot_sip::ua::{
    Config, EndCause, FailedTransport, Failure, InviteId, Output, Protocol, RequestId, Transmit,
    UserAgent,
};
use tokio::sync::{mpsc, oneshot};

use super::accounts::Registrations;
use super::convert;
use super::transport::Transport;
use super::{Arrival, Inbound, Locator, ToSip};
use crate::call::{HangupCause, Shared};
use crate::driver::connection::Hold;
use crate::endpoint::{EndpointShared, ReliableProvisionals, SessionTimer};
use crate::error::Result;
use crate::service::Reply;
use crate::signalling::Signal;
use crate::trace::{MessageDirection, MessageObserver, SipMessage};

/// Things handled before what they caused is sent; bounds the wait of the first.
const BATCH: usize = 64;
/// How long an endpoint waits for answers to its last requests.
const GOODBYE: Duration = Duration::from_secs(4);

/// How long a far end may take to answer our BYE before the call is over for us without.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// Everything the task owns.
struct SipTask {
    ua: UserAgent,
    transport: Transport,
    locator: Locator,
    endpoint: Arc<EndpointShared>,
    calls: HashMap<InviteId, Call>,
    /// Calls that we ended, and until when their end may take; the earliest first.
    farewells: VecDeque<(tokio::time::Instant, InviteId)>,
    registrations: Registrations,
    requests: HashMap<RequestId, oneshot::Sender<Result<Reply>>>,
    transfers: transfers::Transfers,
    subscriptions: subscriptions::Subscriptions,
    arrivals: mpsc::Sender<Arrival>,
    commands: mpsc::Receiver<ToSip>,
    inbound: mpsc::Receiver<Inbound>,
    observer: Option<MessageObserver>,
    /// New calls are refused: the endpoint drains.
    refusing: bool,
    closing: Option<(oneshot::Sender<()>, tokio::time::Instant)>,
}

struct Call {
    shared: Arc<Shared>,
    /// Why our INVITE failed, told before the end.
    failure: Option<HangupCause>,
    /// We asked for its end, so a crossing failure is ours.
    hung_up: bool,
    /// Keeps the connection that the call came or goes by.
    _hold: Option<Hold>,
}

/// What can be set about the user agent.
pub(crate) struct Settings {
    pub(crate) user_agent: String,
    pub(crate) max_calls: usize,
    pub(crate) reliable: ReliableProvisionals,
    pub(crate) session_timer: Option<SessionTimer>,
    pub(crate) register_rate: u32,
    /// For runs that must repeat; random otherwise.
    pub(crate) seed: Option<u64>,
    /// The event packages that are told of.
    pub(crate) packages: Vec<String>,
}

/// What a [`SipTask`] is made of.
pub(crate) struct Parts {
    pub(crate) locator: Locator,
    pub(crate) endpoint: Arc<EndpointShared>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) commands: mpsc::Receiver<ToSip>,
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) observer: Option<MessageObserver>,
}

/// Starts the task of an endpoint.
pub(crate) fn spawn(settings: Settings, parts: Parts) {
    let config = Config {
        user_agent: settings.user_agent,
        max_calls: settings.max_calls,
        packages: settings.packages,
        reliable: convert::reliability(settings.reliable),
        session_timer: settings.session_timer.map(convert::session_timer),
        register_rate: settings.register_rate,
        ..Config::default()
    };
    let ids = settings.seed.map_or_else(Ids::random, Ids::from_seed);
    tokio::spawn(SipTask::new(UserAgent::new(config, ids), parts).run());
}

impl SipTask {
    fn new(ua: UserAgent, parts: Parts) -> Self {
        let weak = parts.endpoint.commands.downgrade();
        Self {
            ua,
            transport: Transport::new(parts.locator.clone(), parts.endpoint.links.clone(), weak),
            locator: parts.locator,
            endpoint: parts.endpoint,
            calls: HashMap::new(),
            farewells: VecDeque::new(),
            registrations: Registrations::default(),
            requests: HashMap::new(),
            transfers: transfers::Transfers::default(),
            subscriptions: subscriptions::Subscriptions::default(),
            arrivals: parts.arrivals,
            commands: parts.commands,
            inbound: parts.inbound,
            observer: parts.observer,
            refusing: false,
            closing: None,
        }
    }

    /// Runs until the endpoint is closed.
    async fn run(mut self) {
        loop {
            let deadline = self.drain();
            if self.closed() {
                return;
            }
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.on_commands(command),
                    None => return,
                },
                inbound = self.inbound.recv() => if let Some(inbound) = inbound {
                    self.on_inbounds(inbound);
                },
                () = sleep_until(deadline) => {
                    let now = self.now();
                    self.ua.handle_timeout(now);
                    self.end_farewells();
                }
            }
        }
    }

    fn now(&self) -> std::time::Instant {
        self.endpoint.clock.now().instant
    }

    fn on_commands(&mut self, first: ToSip) {
        self.on_command(first);
        for _ in 0..BATCH {
            match self.commands.try_recv() {
                Ok(command) => self.on_command(command),
                Err(_) => break,
            }
        }
    }

    fn on_inbounds(&mut self, first: Inbound) {
        self.on_inbound(first);
        for _ in 0..BATCH {
            match self.inbound.try_recv() {
                Ok(inbound) => self.on_inbound(inbound),
                Err(_) => break,
            }
        }
    }

    /// True when the endpoint is closed and everything was said.
    fn closed(&mut self) -> bool {
        let Some((_, until)) = &self.closing else {
            return false;
        };
        let counts = self.ua.counts();
        let silent = counts.unanswered == 0 && self.calls.is_empty() && counts.registrations == 0;
        if silent || tokio::time::Instant::now() >= *until {
            for (_, call) in self.calls.drain() {
                let cause = convert::end_cause(&EndCause::LocalBye);
                call.shared.on_signal(Signal::Ended(cause));
            }
            self.end_kept(None);
            if let Some((done, _)) = self.closing.take() {
                let _ = done.send(());
            }
            return true;
        }
        false
    }

    // ---- from the network ------------------------------------------------

    fn on_inbound(&mut self, inbound: Inbound) {
        let now = self.now();
        match inbound {
            Inbound::Datagram {
                listener,
                remote,
                payload,
            } => {
                if let Some(source) = self.locator.datagram_source(listener, remote) {
                    self.observe(
                        MessageDirection::Received,
                        source.protocol,
                        source.local,
                        remote,
                        &payload,
                    );
                    self.ua.receive_datagram(now, &source, payload);
                }
            }
            Inbound::Message { flow, message } => {
                if let Some(source) = self.transport.source_of(flow).cloned() {
                    if self.observer.is_some() {
                        let text = message.to_bytes();
                        self.observe(
                            MessageDirection::Received,
                            source.protocol,
                            source.local,
                            source.remote,
                            &text,
                        );
                    }
                    self.ua.receive_message(now, &source, message);
                }
            }
            Inbound::Opened {
                flow,
                protocol,
                listener,
                local,
                remote,
                connection,
            } => self
                .transport
                .opened(flow, protocol, listener, local, remote, connection),
            Inbound::Closed {
                flow,
                protocol,
                remote,
                why,
            } => {
                if self.transport.closed(flow) {
                    self.ua.transport_failed(
                        now,
                        &FailedTransport::connection(flow, protocol, remote),
                        why,
                    );
                }
            }
        }
        // Events are told at once: a later message of this batch may build on them.
        self.drain_events();
    }

    // ---- from the user agent -------------------------------------------------

    /// Sends and tells everything; returns when the user agent wants to be woken.
    fn drain(&mut self) -> Option<tokio::time::Instant> {
        let deadline = self.drain_events();
        let goodbye = self.closing.as_ref().map(|(_, until)| *until);
        while let Some((_, id)) = self.farewells.front()
            && !self.calls.contains_key(id)
        {
            self.farewells.pop_front();
        }
        let farewell = self.farewells.front().map(|(until, _)| *until);
        let deadline = deadline.map(tokio::time::Instant::from_std);
        deadline.into_iter().chain(goodbye).chain(farewell).min()
    }

    /// Calls that we ended are over, though the far end has not said so; the BYE goes on being repeated.
    fn end_farewells(&mut self) {
        let now = tokio::time::Instant::now();
        while let Some((until, id)) = self.farewells.front().copied()
            && until <= now
        {
            self.farewells.pop_front();
            if let Some(call) = self.calls.get(&id) {
                let cause = if call.shared.lock().answered_at.is_some() {
                    convert::end_cause(&EndCause::LocalBye)
                } else {
                    convert::failure_cause(&Failure::Cancelled)
                };
                call.shared.on_signal(Signal::Ended(cause));
            }
        }
    }

    fn drain_events(&mut self) -> Option<std::time::Instant> {
        loop {
            match self.ua.poll_output() {
                Output::Transmit(transmit) => self.transmit(transmit),
                Output::Event(event) => self.on_event(event),
                Output::Timeout(deadline) => return deadline,
            }
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        let observed = self
            .observer
            .is_some()
            .then(|| (transmit.target.clone(), transmit.payload.clone()));
        let known = (transmit.target.remote, transmit.target.flow);
        let transaction = transmit.transaction;
        match self.transport.send(transmit) {
            Ok((remote, flow)) => {
                if let Some(transaction) = transaction
                    && known != (Some(remote), flow)
                {
                    // What follows in this transaction goes the same way.
                    self.ua.bound(transaction, remote, flow);
                }
                if let Some((target, payload)) = observed {
                    let local = target.local.unwrap_or(target.advertised);
                    self.observe(
                        MessageDirection::Sent,
                        target.protocol,
                        local,
                        remote,
                        &payload,
                    );
                }
            }
            Err(None) => {}
            Err(Some((failed, why))) => {
                let now = self.now();
                self.ua.transport_failed(now, &failed, why);
            }
        }
    }

    fn observe(
        &self,
        direction: MessageDirection,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
        text: &Bytes,
    ) {
        if !text.first().is_some_and(u8::is_ascii_alphabetic) {
            // A keep-alive (RFC 5626 4.4), which is no message.
            return;
        }
        let message = SipMessage {
            at: self.endpoint.clock.now().wall,
            direction,
            transport: protocol.via_name(),
            local,
            remote,
            bytes: text.clone(),
        };
        // Without what it authenticates by: a log is read by many.
        tracing::trace!(target: "callbot::sip", ?direction, %local, %remote, text = %message.text());
        if let Some(observer) = &self.observer {
            observer(&message);
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
