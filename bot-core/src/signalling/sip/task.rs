//! The task that owns the user agent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callbot_sip::ids::Ids;
use callbot_sip::ua::{
    Config, EndCause, Event, FailedTransport, InviteId, Output, Protocol, RegistrationId,
    RegistrationState, RequestId, Source, Transmit, UserAgent,
};
use callbot_sip::{HeaderName, Method};
use tokio::sync::{mpsc, oneshot, watch};

use super::convert::{self, description, response_description, sdp};
use super::transport::Transport;
use super::{Arrival, Inbound, Locator, PendingRequest, SipHandle, ToSip, requests};
use crate::account::RegistrationStatus;
use crate::call::{HangupCause, Shared};
use crate::endpoint::EndpointShared;
use crate::error::{Error, Result};
use crate::service::Reply;
use crate::signalling::{Act, Signal};
use crate::trace::{MessageDirection, MessageObserver, SipMessage};

/// Things handled before what they caused is sent; bounds the wait of the first.
const BATCH: usize = 64;
/// How long an endpoint waits for answers to its last requests.
const GOODBYE: Duration = Duration::from_secs(4);

/// Everything the task owns.
struct SipTask {
    ua: UserAgent,
    transport: Transport,
    locator: Locator,
    endpoint: Arc<EndpointShared>,
    calls: HashMap<InviteId, Call>,
    registrations: HashMap<RegistrationId, watch::Sender<RegistrationStatus>>,
    requests: HashMap<RequestId, oneshot::Sender<Result<Reply>>>,
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
}

/// What can be set about the user agent.
pub(crate) struct Settings {
    pub(crate) user_agent: String,
    pub(crate) max_calls: usize,
    /// For runs that must repeat; random otherwise.
    pub(crate) seed: Option<u64>,
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
            registrations: HashMap::new(),
            requests: HashMap::new(),
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

    // ---- from bots ---------------------------------------------------------

    fn on_command(&mut self, command: ToSip) {
        let now = self.now();
        match command {
            ToSip::Act(invite, act) => self.on_act(invite, act),
            ToSip::Invite {
                invite,
                call,
                reply,
            } => {
                let result = if self.refusing {
                    Err(Error::Closed)
                } else {
                    self.ua
                        .invite(now, *invite)
                        .map_err(|error| Error::Exhausted(error.to_string()))
                };
                let told = match result {
                    Ok(id) => {
                        self.adopt(id, &call);
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
                let _ = reply.send(told);
            }
            ToSip::Register {
                registration,
                status,
            } => match self.ua.register(now, *registration) {
                Ok(id) => {
                    self.registrations.insert(id, status);
                }
                Err(error) => {
                    status.send_replace(RegistrationStatus::Failed {
                        why: error.to_string(),
                    });
                }
            },
            ToSip::Request { request, reply } => match self.ua.request(now, *request) {
                Ok(id) => {
                    self.requests.insert(id, reply);
                }
                Err(error) => {
                    let _ = reply.send(Err(Error::Exhausted(error.to_string())));
                }
            },
            ToSip::Respond { id, reply } => {
                let body = requests::body(&reply);
                let headers = convert::headers(reply.headers);
                if let Err(error) = self.ua.respond(now, id, reply.status, headers, body) {
                    tracing::debug!(%error, "a reply came too late");
                }
            }
            ToSip::Resolved {
                mut transmit,
                result,
            } => match result {
                Ok(remote) => {
                    transmit.target.remote = Some(remote);
                    self.transmit(*transmit);
                }
                Err(error) => {
                    let why = format!("{}: {error}", transmit.target.host);
                    self.ua
                        .transport_failed(now, &FailedTransport::of(&transmit), why);
                }
            },
            ToSip::MaxCalls(calls) => self.ua.set_max_calls(calls),
            ToSip::Refuse => self.refusing = true,
            ToSip::HangUpAll => {
                let mut ids: Vec<_> = self.calls.keys().copied().collect();
                ids.sort_unstable();
                for id in ids {
                    self.on_act(id, Act::Hangup);
                }
            }
            ToSip::Close { done } => {
                self.refusing = true;
                let mut ids: Vec<_> = self.registrations.keys().copied().collect();
                ids.sort_unstable();
                for id in ids {
                    if let Err(error) = self.ua.unregister(now, id) {
                        tracing::debug!(%error, "unregister");
                    }
                }
                self.closing = Some((done, tokio::time::Instant::now() + GOODBYE));
            }
        }
    }

    fn adopt(&mut self, id: InviteId, call: &Arc<Shared>) {
        call.bind(SipHandle {
            invite: id,
            commands: self.endpoint.commands.clone(),
        });
        self.endpoint.active.send_modify(|calls| *calls += 1);
        self.calls.insert(
            id,
            Call {
                shared: call.clone(),
                failure: None,
                hung_up: false,
            },
        );
    }

    fn on_act(&mut self, id: InviteId, act: Act) {
        let now = self.now();
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let call_id = call.shared.info.call_id().to_owned();
        let result = match act {
            Act::Ring { status, body } => self.ua.ring(now, id, status, Vec::new(), body.map(sdp)),
            Act::Accept { body } => self.ua.accept(now, id, Vec::new(), Some(sdp(body))),
            Act::Reject {
                status,
                reason,
                headers,
            } => self.ua.reject(
                now,
                id,
                status,
                reason.as_deref(),
                convert::headers(headers),
            ),
            Act::Hangup => {
                call.hung_up = true;
                call.shared.close_media();
                self.ua.bye(now, id, Vec::new())
            }
            Act::HangupBecause { reason } => {
                call.hung_up = true;
                call.shared.close_media();
                let reason = convert::headers(vec![("Reason".to_owned(), reason)]);
                self.ua.bye(now, id, reason)
            }
            Act::Reoffer { body } => match self.ua.reinvite(now, id, Some(sdp(body))) {
                Ok(_) => Ok(()),
                Err(error) => {
                    call.shared
                        .on_signal(Signal::ReofferAnswered(Err(error.to_string())));
                    Ok(())
                }
            },
            Act::AcceptReoffer { body } => self.ua.accept_reinvite(now, id, Some(sdp(body))),
            Act::RejectReoffer { status } => self.ua.reject_reinvite(now, id, status),
            Act::Info { content_type, body } => {
                self.ua
                    .info(now, id, callbot_sip::ua::Body::new(content_type, body))
            }
            Act::Probe => self.ua.probe(now, id),
        };
        if let Err(error) = result {
            // The far end was faster: its event is on its way to the call.
            tracing::debug!(call_id, %error, "not done");
        }
    }

    // ---- from the user agent -------------------------------------------------

    /// Sends and tells everything; returns when the user agent wants to be woken.
    fn drain(&mut self) -> Option<tokio::time::Instant> {
        let deadline = self.drain_events();
        let goodbye = self.closing.as_ref().map(|(_, until)| *until);
        match (deadline.map(tokio::time::Instant::from_std), goodbye) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
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
        tracing::trace!(target: "callbot::sip", ?direction, %local, %remote, text = %String::from_utf8_lossy(text));
        if let Some(observer) = &self.observer {
            observer(&SipMessage {
                at: self.endpoint.clock.now().wall,
                direction,
                transport: protocol.via_name(),
                local,
                remote,
                bytes: text.clone(),
            });
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Incoming {
                invite,
                request,
                source,
            } => self.on_incoming(invite, &request, &source),
            Event::Cancelled { .. } | Event::ReinviteCancelled { .. } => {}
            Event::Acknowledged { invite, body, .. } => {
                self.tell(invite, Signal::Acknowledged { body })
            }
            Event::Progress {
                invite, response, ..
            } => self.tell(
                invite,
                Signal::Progress {
                    status: response.status.0,
                    body: response_description(&response),
                },
            ),
            Event::Accepted {
                invite,
                response,
                needs_ack,
            } => {
                let body = response_description(&response).unwrap_or_default();
                if needs_ack {
                    tracing::warn!("an offer in a 200 that we never asked for");
                }
                self.tell(
                    invite,
                    Signal::Answered {
                        body,
                        info: convert::peer_info(&response),
                    },
                );
            }
            Event::Rejected { invite, cause } => {
                if let Some(call) = self.calls.get_mut(&invite) {
                    call.failure = Some(convert::failure_cause(&cause));
                }
            }
            Event::Reinvite { invite, request } => {
                match description(&request.headers, &request.body) {
                    Ok(body) => self.tell(
                        invite,
                        Signal::Reoffer {
                            body: body.unwrap_or_default(),
                        },
                    ),
                    Err(_) => self.on_act(invite, Act::RejectReoffer { status: 415 }),
                }
            }
            Event::ReinviteAcknowledged { invite, body } => {
                self.tell(invite, Signal::ReofferAcknowledged { body })
            }
            Event::ReinviteAnswered { invite, result, .. } => {
                let result = match result {
                    Ok(response) => Ok(response_description(&response).unwrap_or_default()),
                    Err(failure) => Err(failure.to_string()),
                };
                self.tell(invite, Signal::ReofferAnswered(result));
            }
            Event::Info { invite, request } | Event::MessageInCall { invite, request } => self
                .tell(
                    invite,
                    Signal::Info {
                        content_type: request
                            .headers
                            .content_type()
                            .unwrap_or_default()
                            .to_owned(),
                        body: request.body.clone(),
                    },
                ),
            Event::InfoAnswered { result, .. } => {
                if let Err(failure) = result {
                    tracing::info!(%failure, "an INFO was refused");
                }
            }
            Event::ProbeAnswered { invite } => self.tell(invite, Signal::Alive),
            Event::Ended { invite, cause } => self.on_ended(invite, &cause),
            Event::Request {
                id,
                request,
                source,
            } => self.on_request(id, &request, &source),
            Event::Response { id, result } => {
                if let Some(reply) = self.requests.remove(&id) {
                    let _ = reply.send(match result {
                        Ok(response) => Ok(requests::reply(&response)),
                        Err(failure) => Err(Error::HungUp(convert::failure_cause(&failure))),
                    });
                }
            }
            Event::Registration { id, state } => self.on_registration(id, state),
        }
    }

    fn tell(&mut self, invite: InviteId, signal: Signal) {
        let Some(call) = self.calls.get(&invite) else {
            return;
        };
        if let Some(act) = call.shared.on_signal(signal) {
            self.on_act(invite, act);
        }
    }

    fn on_incoming(&mut self, invite: InviteId, request: &callbot_sip::Request, source: &Source) {
        let now = self.now();
        let refuse = |ua: &mut UserAgent, status: u16, headers: Vec<(String, String)>| {
            if let Err(error) = ua.reject(now, invite, status, None, convert::headers(headers)) {
                tracing::debug!(%error, "not refused");
            }
        };
        if self.refusing || self.locator.is_retiring(source.protocol, source.local) {
            let retry = vec![("Retry-After".to_owned(), "30".to_owned())];
            refuse(&mut self.ua, 503, retry);
            return;
        }
        let offer = match description(&request.headers, &request.body) {
            Ok(offer) => offer,
            Err(content_type) => {
                tracing::info!(
                    content_type,
                    "call refused: its body is no session description"
                );
                refuse(
                    &mut self.ua,
                    415,
                    vec![("Accept".to_owned(), convert::SDP.to_owned())],
                );
                return;
            }
        };
        let media = self.locator.media_for(source);
        let mut info = convert::call_info(request, source, media);
        info.line = self.locator.line(source.protocol, source.local);
        let info = Arc::new(info);
        tracing::info!(call_id = info.call_id(), from = info.from(), to = info.target(), remote = %source.remote, "call comes in");
        let shared = Shared::new(info, self.endpoint.clone(), offer);
        self.adopt(invite, &shared);
        if let Err(error) = self.arrivals.try_send(Arrival::Call(shared)) {
            // A full queue is an answer, not memory.
            tracing::warn!(%error, "call refused: nobody takes calls fast enough");
            let retry = vec![("Retry-After".to_owned(), "5".to_owned())];
            self.on_act(
                invite,
                Act::Reject {
                    status: 503,
                    reason: None,
                    headers: retry,
                },
            );
        }
    }

    fn on_ended(&mut self, invite: InviteId, cause: &EndCause) {
        let Some(call) = self.calls.remove(&invite) else {
            return;
        };
        self.endpoint
            .active
            .send_modify(|calls| *calls = calls.saturating_sub(1));
        let cause = match (call.failure, cause) {
            (Some(failure), EndCause::Rejected) => failure,
            (_, EndCause::Transport(_) | EndCause::Timeout | EndCause::DialogGone(_))
                if call.hung_up =>
            {
                convert::end_cause(&EndCause::LocalBye)
            }
            (_, cause) => convert::end_cause(cause),
        };
        call.shared.on_signal(Signal::Ended(cause));
    }

    fn on_request(
        &mut self,
        id: callbot_sip::ua::ServerRequestId,
        request: &callbot_sip::Request,
        source: &Source,
    ) {
        let now = self.now();
        if request.method == Method::Options {
            let accept = callbot_sip::Header::new(HeaderName::Accept, convert::SDP);
            if let Err(error) = self.ua.respond(now, id, 200, vec![accept], None) {
                tracing::debug!(%error, "OPTIONS not answered");
            }
            return;
        }
        let pending = PendingRequest::new(id, self.endpoint.commands.clone());
        let request = requests::request(request, source);
        // A full queue drops the pending request, which answers 500.
        let _ = self.arrivals.try_send(Arrival::Request(pending, request));
    }

    fn on_registration(&mut self, id: RegistrationId, state: RegistrationState) {
        let Some(status) = self.registrations.get(&id) else {
            return;
        };
        let new = match state {
            RegistrationState::Registering => RegistrationStatus::Registering,
            RegistrationState::Registered { expires } => RegistrationStatus::Registered { expires },
            RegistrationState::Failed { why, retry_in } => {
                tracing::warn!(why, retry_in_s = retry_in.as_secs(), "registration failed");
                RegistrationStatus::Failed { why }
            }
            RegistrationState::Unregistered => RegistrationStatus::Unregistered,
        };
        let ended = new == RegistrationStatus::Unregistered;
        status.send_replace(new);
        if ended {
            self.registrations.remove(&id);
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
