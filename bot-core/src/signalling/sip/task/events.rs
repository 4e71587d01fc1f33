//! What the user agent tells, brought to the calls that it concerns.

use std::sync::Arc;

use callbot_sip::ua::{EndCause, Event, InviteId, Source, UserAgent};
use callbot_sip::{HeaderName, Method};

use super::SipTask;
use crate::call::Shared;
use crate::error::Error;
use crate::signalling::sip::convert::{self, description, response_description};
use crate::signalling::sip::{Arrival, PendingRequest, requests};
use crate::signalling::{Act, Signal};

impl SipTask {
    pub(super) fn on_event(&mut self, event: Event) {
        let Some(event) = self.on_transfer_event(event) else {
            return;
        };
        let Some(event) = self.on_subscription_event(event) else {
            return;
        };
        match event {
            Event::Incoming {
                invite,
                request,
                source,
                replaces,
            } => match replaces {
                Some(replaced) => self.on_replacing(invite, replaced, &request, &source),
                None => self.on_incoming(invite, &request, &source),
            },
            Event::ReinviteCancelled { .. } => {}
            Event::Cancelled { invite, request } => {
                if let Some(call) = self.calls.get_mut(&invite) {
                    call.failure = Some(convert::cancelled(&request));
                }
            }
            Event::Acknowledged { invite, body, .. } => {
                self.tell(invite, Signal::Acknowledged { body })
            }
            Event::Progress {
                invite,
                response,
                needs_prack,
                ..
            } => self.tell(
                invite,
                Signal::Progress {
                    status: response.status.0,
                    body: response_description(&response),
                    is_offer: needs_prack,
                    info: convert::peer_info(&response),
                },
            ),
            Event::Pracked { invite, body } => {
                self.tell(invite, Signal::ProgressAcknowledged { body });
            }
            Event::Update { invite, request } => {
                match description(&request.headers, &request.body) {
                    Ok(body) => self.tell(
                        invite,
                        Signal::Update {
                            body: body.unwrap_or_default(),
                        },
                    ),
                    Err(_) => self.on_act(invite, Act::RejectUpdate { status: 415 }),
                }
            }
            Event::UpdateAnswered { invite, result, .. } => {
                let result = match result {
                    Ok(response) => Ok(response_description(&response).unwrap_or_default()),
                    Err(failure) => Err(failure.to_string()),
                };
                self.tell(invite, Signal::ReofferAnswered(result));
            }
            Event::RefreshDue { invite } => self.tell(invite, Signal::RefreshDue),
            Event::Accepted {
                invite,
                response,
                needs_ack,
                early_answer,
            } => {
                let body = response_description(&response)
                    .or(early_answer)
                    .unwrap_or_default();
                self.tell(
                    invite,
                    Signal::Answered {
                        body,
                        is_offer: needs_ack,
                        info: convert::peer_info(&response),
                    },
                );
            }
            Event::OfferReplaced { invite, response } => self.tell(
                invite,
                Signal::OfferReplaced {
                    why: format!("{} {}", response.status.0, response.reason_phrase()),
                },
            ),
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
            Event::Info { invite, request } => self.tell(
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
            Event::Registration { id, state } => {
                self.registrations.on_state(&self.transport, id, state);
            }
            Event::Bindings { id, result } => self.registrations.on_bindings(id, &result),
            Event::AddressFailed { protocol, remote } => {
                self.locator.address_failed(protocol, remote);
            }
            // Dealt with above.
            Event::MessageInCall { .. }
            | Event::Refer { .. }
            | Event::ReferProgress { .. }
            | Event::ReferFinished { .. }
            | Event::Subscription { .. }
            | Event::Notified { .. }
            | Event::Subscribed { .. }
            | Event::Unsubscribed { .. }
            | Event::Publication { .. } => {}
        }
    }

    pub(super) fn tell(&mut self, invite: InviteId, signal: Signal) {
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
        info.account = self.account_of(request, source);
        info.line = self.locator.line(source.protocol, source.local);
        let info = Arc::new(info);
        tracing::info!(call_id = info.call_id(), from = info.from(), to = info.target(), remote = %source.remote, "call comes in");
        let shared = Shared::new(info, self.endpoint.clone(), offer);
        self.adopt(invite, &shared, source.flow);
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

    /// The account that a request to us is for.
    fn account_of(&self, request: &callbot_sip::Request, source: &Source) -> Option<String> {
        let id = self.ua.registration_of(request, source)?;
        self.registrations.aor(id)
    }

    fn on_ended(&mut self, invite: InviteId, cause: &EndCause) {
        let Some(call) = self.calls.remove(&invite) else {
            return;
        };
        self.endpoint
            .active
            .send_modify(|calls| *calls = calls.saturating_sub(1));
        let cause = match (call.failure, cause) {
            (Some(failure), EndCause::Rejected | EndCause::Cancelled) => failure,
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
        let account = self.account_of(request, source);
        let request = Box::new(requests::request(request, source, account));
        // A full queue drops the pending request, which answers 500.
        let _ = self.arrivals.try_send(Arrival::Request(pending, request));
    }
}
