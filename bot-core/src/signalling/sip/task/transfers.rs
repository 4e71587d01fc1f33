//! Transfers, as the task sees them: which REFER is whose, and which call goes on in which dialog.
//!
//! A call that follows a transfer has two dialogs for a while. The new one belongs to no call until it is answered;
//! then it takes the old one's place, whose end nobody hears of any more. If the old one ends first, its call waits for
//! what becomes of the new one.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use callbot_sip::ua::{
    Body, EndCause, Event, Failure, Inside, Invite, InviteId, Refer, ReferId, ReferOutcome, Source,
};
use callbot_sip::{HeaderName, Method, NameAddr, Request};
use tokio::sync::mpsc;

use super::{Call, SipTask};
use crate::call::negotiate::Negotiation;
use crate::call::{CallEvent, Cause, Continued, HangupCause};
use crate::error::Error;
use crate::signalling::sip::convert::{self, description, response_description, sdp};
use crate::signalling::sip::locate::parse_uri;
use crate::signalling::sip::{SipHandle, ToSip};
use crate::signalling::{Act, Signal, TransferAsked, TransferNews, TransferTo};

/// How long the far end of a call that went on elsewhere may take to hang up, which is its part (RFC 5589 section 6.1).
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a dialog stays whose call goes on with somebody else. A far end that closes its media would otherwise say so to
/// the port on which keys are just being agreed on with the new one.
const OVERLAP: Duration = Duration::from_millis(500);

/// The transfers that are under way.
#[derive(Default)]
pub(super) struct Transfers {
    /// Ours, and who hears of them.
    asked: HashMap<ReferId, mpsc::Sender<TransferNews>>,
    /// Theirs that are followed, by the new dialog.
    following: HashMap<InviteId, Following>,
    /// Dialogs whose calls go on elsewhere, until they are ended.
    left: BTreeSet<InviteId>,
}

struct Following {
    continued: Continued,
    negotiation: Negotiation,
    /// The dialog in which it was asked for.
    old: InviteId,
    /// Whom the new call reaches.
    with: String,
    failure: Option<HangupCause>,
    /// The call, when its old dialog has ended.
    kept: Option<(Call, HangupCause)>,
}

impl SipTask {
    /// Does what concerns transfers and requests in calls; what is given back is something else.
    pub(super) fn on_transfer_act(&mut self, id: InviteId, act: Act) -> Option<Act> {
        let now = self.now();
        match act {
            Act::Inside {
                method,
                content_type,
                body,
                reply,
            } => {
                let inside = Inside {
                    method: method.parse().unwrap_or(Method::Message),
                    headers: Vec::new(),
                    body: Some(Body::new(content_type, body)),
                };
                match self.ua.request_inside(now, id, inside) {
                    Ok(request) => drop(self.requests.insert(request, reply)),
                    Err(error) => drop(reply.send(Err(Error::other(error)))),
                }
            }
            Act::Transfer {
                to,
                referred_by,
                news,
            } => {
                if let Err(why) = self.ask(id, &to, referred_by, &news) {
                    let _ = news.try_send(TransferNews::NotAsked(why));
                }
            }
            Act::RefuseTransfer { refer, status } => {
                if let Err(error) = self.ua.reject_refer(now, refer, status) {
                    tracing::debug!(%error, "a REFER was not refused in time");
                }
            }
            Act::Hangup { .. } => {
                // Who is called in its place is not wanted any more either.
                self.leave_followings(Some(id));
                self.end_kept(Some(id));
                return Some(act);
            }
            _ => return Some(act),
        }
        None
    }

    /// Gives up the calls that are placed for a call to go on with; for any call, when none is named.
    pub(super) fn leave_followings(&mut self, old: Option<InviteId>) {
        let now = self.now();
        let following = self.transfers.following.iter();
        let mut new: Vec<InviteId> = following
            .filter(|(_, following)| old.is_none_or(|old| old == following.old))
            .map(|(id, _)| *id)
            .collect();
        new.sort_unstable();
        for id in new {
            let _ = self.ua.bye(now, id, Vec::new());
        }
        if old.is_none() {
            for left in self.transfers.left.clone() {
                self.leave(left);
            }
        }
    }

    /// Sends a REFER.
    fn ask(
        &mut self,
        id: InviteId,
        to: &TransferTo,
        referred_by: Option<String>,
        news: &mpsc::Sender<TransferNews>,
    ) -> Result<(), String> {
        let now = self.now();
        let refer_to = match to {
            TransferTo::Uri(uri) => {
                let uri = parse_uri(uri).map_err(|error| error.to_string())?;
                format!("<{uri}>")
            }
            TransferTo::Call(other) => other
                .signalling()
                .and_then(|other| self.ua.refer_to(other.invite()))
                .ok_or("the other call is not established")?,
        };
        let own = self.calls.get(&id).and_then(|call| call.shared.local_uri());
        let refer = Refer {
            refer_to,
            referred_by: referred_by.or(own).map(|uri| format!("<{uri}>")),
            ..Refer::default()
        };
        let refer = self
            .ua
            .refer(now, id, refer)
            .map_err(|error| error.to_string())?;
        self.transfers.asked.insert(refer, news.clone());
        Ok(())
    }

    /// Deals with what concerns transfers; what is given back is something else.
    pub(super) fn on_transfer_event(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::MessageInCall { invite, request } => {
                let content_type = request.headers.content_type().unwrap_or_default();
                let message = Signal::Message {
                    content_type: content_type.to_owned(),
                    body: request.body.clone(),
                };
                self.tell(invite, message);
            }
            Event::Refer { refer, request } => self.on_refer(refer, &request),
            Event::ReferProgress { refer, status, .. } => {
                self.progressed(refer, status);
                if let Some(news) = self.transfers.asked.get(&refer) {
                    let _ = news.try_send(TransferNews::Progress(status));
                }
            }
            Event::ReferFinished { refer, outcome } => {
                let news = match outcome {
                    ReferOutcome::Decided { status, reason } => {
                        self.progressed(refer, status);
                        TransferNews::Decided { status, reason }
                    }
                    ReferOutcome::Refused(Failure::Response(response)) => TransferNews::Decided {
                        status: response.status.0,
                        reason: format!("{}: it was refused", response.reason_phrase()),
                    },
                    ReferOutcome::Refused(failure) => TransferNews::NotAsked(failure.to_string()),
                    ReferOutcome::Untold => TransferNews::Untold,
                    ReferOutcome::Lost(why) => TransferNews::Lost(why),
                };
                if let Some(asked) = self.transfers.asked.remove(&refer) {
                    let _ = asked.try_send(news);
                }
            }
            Event::Progress {
                invite, response, ..
            } if self.transfers.following.contains_key(&invite) => {
                let reason = response.reason_phrase().into_owned();
                self.tell_asker(invite, response.status.0, &reason);
            }
            Event::OfferReplaced { invite, .. }
                if self.transfers.following.contains_key(&invite) =>
            {
                if let Some(following) = self.transfers.following.get_mut(&invite) {
                    following.negotiation.fall_back();
                }
            }
            Event::Accepted {
                invite,
                response,
                early_answer,
                ..
            } if self.transfers.following.contains_key(&invite) => {
                let body = response_description(&response).or(early_answer);
                let body = body.unwrap_or_default();
                self.on_followed(invite, &body);
            }
            Event::Rejected { invite, cause } if self.transfers.following.contains_key(&invite) => {
                if let Some(following) = self.transfers.following.get_mut(&invite) {
                    following.failure = Some(convert::failure_cause(&cause));
                }
            }
            Event::Ended { invite, cause } if self.transfers.following.contains_key(&invite) => {
                self.on_not_followed(invite, &cause);
            }
            Event::Ended { invite, cause } => {
                self.transfers.left.remove(&invite);
                let following = self
                    .transfers
                    .following
                    .values_mut()
                    .find(|following| following.old == invite);
                match (following, self.calls.remove(&invite)) {
                    (Some(following), Some(call)) if !call.hung_up => {
                        following.kept = Some((call, convert::end_cause(&cause)));
                    }
                    (_, Some(call)) => {
                        self.calls.insert(invite, call);
                        return Some(Event::Ended { invite, cause });
                    }
                    (_, None) => return Some(Event::Ended { invite, cause }),
                }
            }
            other => return Some(other),
        }
        None
    }

    fn progressed(&self, refer: ReferId, status: u16) {
        if let Some(call) = self.calls.get(&refer.invite) {
            call.shared.emit(CallEvent::TransferProgress { status });
        }
    }

    // ---- being sent ----------------------------------------------------------

    fn on_refer(&mut self, refer: ReferId, request: &Request) {
        let now = self.now();
        let asked = asked(refer, request);
        let (Some(call), Some(asked)) = (self.calls.get(&refer.invite), asked) else {
            // Without a call there is nothing to go on; what cannot be called is no place to go.
            let _ = self.ua.reject_refer(now, refer, 400);
            return;
        };
        tracing::info!(
            call_id = call.shared.info.call_id(),
            to = asked.target,
            "the far end asks for a transfer"
        );
        let call = call.shared.clone();
        if let Some(act) = call.on_transfer_asked(asked) {
            self.on_act(refer.invite, act);
        }
    }

    /// A transfer is to be followed, and all that its call needs is there.
    pub(super) fn on_continue(
        &mut self,
        invite: Invite,
        continued: Continued,
        negotiation: Negotiation,
    ) {
        let now = self.now();
        let old = continued.asked.refer.invite;
        let with = continued.asked.target.clone();
        let stands = self.calls.get(&old).is_some_and(|call| !call.hung_up) && !self.refusing;
        let accepted = stands && self.ua.accept_refer(now, continued.asked.refer).is_ok();
        if !accepted {
            let gone = "the call ended, or the far end took its wish back";
            return continued.finish(Err(Error::State(gone)));
        }
        match self.ua.invite(now, invite) {
            Ok(new) => {
                let following = Following {
                    continued,
                    negotiation,
                    old,
                    with,
                    failure: None,
                    kept: None,
                };
                self.transfers.following.insert(new, following);
            }
            Err(error) => {
                let refer = continued.asked.refer;
                let _ = self.ua.notify_refer(now, refer, 503, "Service Unavailable");
                continued.finish(Err(Error::Exhausted(error.to_string())));
            }
        }
    }

    /// Whom the far end named cannot even be called.
    pub(super) fn on_transfer_failed(&mut self, continued: Continued, error: Error) {
        let now = self.now();
        let _ = self.ua.reject_refer(now, continued.asked.refer, 404);
        continued.finish(Err(error));
    }

    fn tell_asker(&mut self, new: InviteId, status: u16, reason: &str) {
        let now = self.now();
        if let Some(following) = self.transfers.following.get(&new) {
            let refer = following.continued.asked.refer;
            // Who asked may be gone.
            let _ = self.ua.notify_refer(now, refer, status, reason);
        }
    }

    /// Whom the far end named has answered: the call goes on there.
    fn on_followed(&mut self, new: InviteId, answer: &[u8]) {
        let now = self.now();
        let Some(following) = self.transfers.following.remove(&new) else {
            return;
        };
        let Following {
            continued,
            negotiation,
            old,
            with,
            kept,
            ..
        } = following;
        let refer = continued.asked.refer;
        let was_kept = kept.is_some();
        let entry = self.calls.remove(&old).or(kept.map(|(call, _)| call));
        let Some(mut entry) = entry else {
            let _ = self.ua.bye(now, new, Vec::new());
            return continued.finish(Err(Error::Closed));
        };
        if entry.hung_up {
            self.calls.insert(old, entry);
            let _ = self.ua.bye(now, new, Vec::new());
            let _ = self.ua.notify_refer(now, refer, 487, "Request Terminated");
            return continued.finish(Err(Error::State("the call was hung up")));
        }
        let result = entry.shared.continue_with(negotiation, answer, with);
        if let Err(why) = result {
            let _ = self.ua.bye(now, new, Vec::new());
            let _ = self.ua.notify_refer(now, refer, 488, "Not Acceptable Here");
            let shared = entry.shared.clone();
            if was_kept {
                let cause = convert::end_cause(&EndCause::Rejected);
                self.end_call(&shared, cause);
            } else {
                self.calls.insert(old, entry);
            }
            return continued.finish(Err(Error::Media(why)));
        }
        let _ = self.ua.notify_refer(now, refer, 200, "OK");
        entry.failure = None;
        self.move_call(entry, new);
        continued.finish(Ok(()));
        if !was_kept {
            self.leave_after(old, FAREWELL);
        }
    }

    /// Ends a dialog whose call goes on elsewhere, unless its far end does so before.
    fn leave_after(&mut self, old: InviteId, wait: Duration) {
        self.transfers.left.insert(old);
        let commands = self.endpoint.commands.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = commands.send(ToSip::Leave(old)).await;
        });
    }

    pub(super) fn leave(&mut self, old: InviteId) {
        if self.transfers.left.remove(&old) {
            // The far end may be faster.
            let _ = self.ua.bye(self.now(), old, Vec::new());
        }
    }

    /// A call goes on in another dialog.
    fn move_call(&mut self, call: Call, new: InviteId) {
        let shared = call.shared.clone();
        shared.bind(SipHandle {
            invite: new,
            commands: self.endpoint.commands.clone(),
        });
        self.calls.insert(new, call);
        // Its bot may have hung up the old dialog a moment ago.
        if shared.is_hanging_up() {
            self.on_act(new, Act::hang_up());
        }
    }

    /// The calls whose end waits for a transfer end now.
    pub(super) fn end_kept(&mut self, old: Option<InviteId>) {
        let following = self.transfers.following.values_mut();
        let kept: Vec<_> = following
            .filter(|following| old.is_none_or(|old| old == following.old))
            .filter_map(|following| following.kept.take())
            .collect();
        for (call, cause) in kept {
            self.end_call(&call.shared, cause);
        }
    }

    fn end_call(&mut self, call: &crate::call::Shared, cause: HangupCause) {
        self.endpoint
            .active
            .send_modify(|calls| *calls = calls.saturating_sub(1));
        call.on_signal(Signal::Ended(cause));
    }

    /// Whom the far end named does not answer.
    fn on_not_followed(&mut self, new: InviteId, cause: &EndCause) {
        let now = self.now();
        let Some(following) = self.transfers.following.remove(&new) else {
            return;
        };
        let refer = following.continued.asked.refer;
        let cause = following
            .failure
            .unwrap_or_else(|| convert::end_cause(cause));
        let status = cause.status().unwrap_or(match cause.cause() {
            Cause::OriginatorCancel => 487,
            Cause::NoUserResponse => 408,
            _ => 503,
        });
        let reason = callbot_sip::StatusCode(status).reason();
        let _ = self.ua.notify_refer(now, refer, status, reason);
        if let Some((call, ended)) = following.kept {
            self.end_call(&call.shared, ended);
        }
        following.continued.finish(Err(Error::HungUp(cause)));
    }

    // ---- being replaced --------------------------------------------------------

    /// An INVITE takes a call's place (RFC 3891): its bot goes on with who sent it.
    pub(super) fn on_replacing(
        &mut self,
        new: InviteId,
        old: InviteId,
        request: &Request,
        source: &Source,
    ) {
        let now = self.now();
        let with = request.headers.from().ok();
        let with = with.map(|from| from.uri.to_owned()).unwrap_or_default();
        let body = match (
            self.calls.get(&old).filter(|call| !call.hung_up),
            description(&request.headers, &request.body),
        ) {
            (None, _) => Err(481),
            // Who proved who they are is not replaced by somebody who did not.
            (Some(call), _) if call.shared.info.user().is_some() => Err(403),
            (_, Err(_)) => Err(415),
            (Some(call), Ok(offer)) => call.shared.replace_with(offer.as_ref(), with.clone()),
        };
        match body {
            Ok(body) => {
                tracing::info!(%with, remote = %source.remote, "a call is replaced");
                if let Err(error) = self.ua.accept(now, new, Vec::new(), Some(sdp(body))) {
                    tracing::debug!(%error, "not replaced");
                    return;
                }
                if let Some(mut call) = self.calls.remove(&old) {
                    call.failure = None;
                    self.move_call(call, new);
                }
                self.leave_after(old, OVERLAP);
            }
            Err(status) => {
                if let Err(error) = self.ua.reject(now, new, status, None, Vec::new()) {
                    tracing::debug!(%error, "not refused");
                }
            }
        }
    }
}

/// What a REFER asks for; `None` when it names nothing that can be called.
fn asked(refer: ReferId, request: &Request) -> Option<TransferAsked> {
    let headers = &request.headers;
    let name = HeaderName::ReferTo;
    let target = NameAddr::parse(&name, headers.get(&name)?).ok()?;
    let uri = target.uri().ok()?;
    // Of the headers in the address only this one is obeyed: others could say anything in our name (RFC 3261 19.1.5).
    let replaces = uri.header("Replaces").map(|value| value.into_owned());
    let method = uri.param("method").unwrap_or("INVITE");
    method.eq_ignore_ascii_case("INVITE").then_some(())?;
    let referred_by = headers.get(&HeaderName::ReferredBy).map(str::to_owned);
    let plain = uri.without_headers().without_param("method");
    parse_uri(plain.as_str()).ok()?;
    Some(TransferAsked {
        refer,
        target: plain.as_str().to_owned(),
        replaces,
        referred_by,
    })
}
