//! What bots and their endpoint ask of the user agent.

use std::sync::Arc;

use callbot_sip::ua::{FailedTransport, FlowId, InviteId};

use super::{Call, FAREWELL, GOODBYE, SipTask};
use crate::call::Shared;
use crate::error::Error;
use crate::signalling::sip::convert::{self, sdp};
use crate::signalling::sip::{SipHandle, ToSip, requests};
use crate::signalling::{Act, Signal};

impl SipTask {
    pub(super) fn on_command(&mut self, command: ToSip) {
        let now = self.now();
        match command {
            ToSip::Act(invite, act) => self.on_act(invite, act),
            ToSip::Invite {
                invite,
                call,
                reply,
            } => {
                let flow = invite.target.flow;
                let result = if self.refusing {
                    Err(Error::Closed)
                } else {
                    self.ua
                        .invite(now, *invite)
                        .map_err(|error| Error::Exhausted(error.to_string()))
                };
                let told = match result {
                    Ok(id) => {
                        self.adopt(id, &call, flow);
                        // Who asked for it may not want it any more.
                        if call.is_hanging_up() {
                            self.on_act(id, Act::hang_up());
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
                let _ = reply.send(told);
            }
            ToSip::Account(command) => self.registrations.command(&mut self.ua, now, command),
            ToSip::Request { request, reply } => match self.ua.request(now, *request) {
                Ok(id) => {
                    self.requests.insert(id, reply);
                }
                Err(error) => {
                    let _ = reply.send(Err(Error::Exhausted(error.to_string())));
                }
            },
            ToSip::Continue {
                invite,
                continued,
                negotiation,
            } => self.on_continue(*invite, continued, *negotiation),
            ToSip::Events(command) => self.on_events_command(command),
            ToSip::FailTransfer { continued, error } => self.on_transfer_failed(continued, error),
            ToSip::Leave(invite) => self.leave(invite),
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
                Ok(hops) => {
                    let mut hops = hops.into_iter();
                    transmit.target.remote = hops.next().map(|hop| hop.remote);
                    if let Some(transaction) = transmit.transaction {
                        self.ua.alternatives(transaction, hops);
                    }
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
                self.leave_followings(None);
                let mut ids: Vec<_> = self.calls.keys().copied().collect();
                ids.sort_unstable();
                for id in ids {
                    self.on_act(id, Act::hang_up());
                }
            }
            ToSip::Close { done } => {
                self.refusing = true;
                self.leave_subscriptions();
                self.registrations.remove_all(&mut self.ua, now);
                self.closing = Some((done, tokio::time::Instant::now() + GOODBYE));
            }
        }
    }

    pub(super) fn adopt(&mut self, id: InviteId, call: &Arc<Shared>, flow: Option<FlowId>) {
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
                _hold: flow.and_then(|flow| self.transport.hold(flow)),
            },
        );
    }

    pub(super) fn on_act(&mut self, id: InviteId, act: Act) {
        let now = self.now();
        let Some(act) = self.on_transfer_act(id, act) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let call_id = call.shared.info.call_id().to_owned();
        let result = match act {
            Act::Ring {
                status,
                headers,
                body,
            } => {
                let headers = convert::headers(headers);
                self.ua.ring(now, id, status, headers, body.map(sdp))
            }
            Act::Accept { headers, body } => {
                let headers = convert::headers(headers);
                self.ua.accept(now, id, headers, Some(sdp(body)))
            }
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
            Act::Hangup { headers } => {
                if !std::mem::replace(&mut call.hung_up, true) {
                    let until = tokio::time::Instant::now() + FAREWELL;
                    self.farewells.push_back((until, id));
                }
                call.shared.close_media();
                self.ua.bye(now, id, convert::headers(headers))
            }
            Act::Reoffer { body } => {
                let body = Some(sdp(body));
                // Before the answer there is UPDATE alone; after it a re-INVITE, which every peer knows.
                let sent = if call.shared.is_established() {
                    self.ua.reinvite(now, id, body).map(drop)
                } else {
                    self.ua.update(now, id, body).map(drop)
                };
                if let Err(error) = sent {
                    call.shared
                        .on_signal(Signal::ReofferAnswered(Err(error.to_string())));
                }
                Ok(())
            }
            Act::AnswerEarly { body } => self.ua.prack(now, id, Some(sdp(body))),
            Act::AnswerLate { body } => self.ua.ack(now, id, Some(sdp(body))),
            Act::AcceptUpdate { body } => self.ua.accept_update(now, id, Some(sdp(body))),
            Act::RejectUpdate { status } => self.ua.reject_update(now, id, status),
            Act::AcceptReoffer { body } => self.ua.accept_reinvite(now, id, Some(sdp(body))),
            Act::RejectReoffer { status } => self.ua.reject_reinvite(now, id, status),
            Act::Info { content_type, body } => {
                self.ua
                    .info(now, id, callbot_sip::ua::Body::new(content_type, body))
            }
            Act::Probe => self.ua.probe(now, id),
            // Dealt with above.
            Act::Inside { .. } | Act::Transfer { .. } | Act::RefuseTransfer { .. } => Ok(()),
        };
        if let Err(error) = result {
            // The far end was faster: its event is on its way to the call.
            tracing::debug!(call_id, %error, "not done");
        }
    }
}
