//! REFER in a call, both ways, with the subscription that it makes (RFC 3515, 4488, 3892).
//!
//! Responsibility: the transferor's REFER, the NOTIFYs that tell it what became of it, and the transferee's side of
//! the same. The subscription lives in the call's dialog, so that the dialog outlives the call while news are due
//! (RFC 5057 section 3.1): the session is then [`Phase::Lingering`].
//!
//! Invariants: each REFER of ours ends with one `ReferFinished`; each side holds at most [`MAX_REFERS`], and each has
//! a limit; one NOTIFY is under way for each REFER.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Phase, Session};
use crate::headers::{Header, HeaderName};
use crate::message::{Method, Request, Response, StatusCode};
use crate::subscription::{EventName, Reason, SubscriptionState};
use crate::transaction::{Handle, Key};
use crate::ua::{
    Body, ClientUse, Core, Event, Failure, InviteId, ServerUse, Source, UaError, clean,
    clean_headers, put_body,
};

/// How many REFERs one call holds in each direction.
const MAX_REFERS: usize = 4;
/// How long a transfer may take when nobody says: as long as it may ring.
const LIFETIME: Duration = Duration::from_secs(180);
/// The longest that the peer may ask us to wait.
const LONGEST: Duration = Duration::from_secs(600);
/// NOTIFYs that wait for the one before them.
const MAX_QUEUED: usize = 8;

/// One REFER, of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReferId {
    /// The call that it was sent in.
    pub invite: InviteId,
    pub(crate) number: u64,
}

/// A REFER to send.
#[derive(Clone, Debug, Default)]
pub struct Refer {
    /// The Refer-To, a name-addr: whom the peer shall call, e.g. `<sip:carol@example.org>`.
    pub refer_to: String,
    /// The Referred-By, a name-addr (RFC 3892).
    pub referred_by: Option<String>,
    /// Asks for no news (RFC 4488): `ReferFinished` then follows the 2xx.
    pub without_news: bool,
    /// More headers, written as given.
    pub headers: Vec<Header>,
}

/// What became of a REFER of ours.
#[derive(Clone, Debug)]
pub enum ReferOutcome {
    /// The peer reached whom it was sent to, or did not: the final status that it got.
    Decided {
        /// The status, 200 to 699.
        status: u16,
        /// Its phrase.
        reason: String,
    },
    /// The REFER itself was refused, or not answered.
    Refused(Failure),
    /// The peer took it, and no news will come.
    Untold,
    /// The peer took it, and the news ended before the end.
    Lost(String),
}

/// The REFERs of a call.
#[derive(Debug, Default)]
pub(super) struct Refers {
    sent: Vec<SentRefer>,
    received: Vec<ReceivedRefer>,
}

/// A REFER of ours.
#[derive(Debug)]
struct SentRefer {
    id: ReferId,
    /// Its CSeq, which is the id of its Event.
    number: u32,
    handle: Option<Handle>,
    without_news: bool,
    /// The peer took it: a 2xx, or a NOTIFY that was faster.
    taken: bool,
    ends_at: Instant,
}

/// A REFER of theirs.
#[derive(Debug)]
struct ReceivedRefer {
    id: ReferId,
    number: u32,
    /// Until it is answered.
    asked: Option<(Handle, Arc<Request>)>,
    /// Whether NOTIFYs are wanted.
    told: bool,
    queued: VecDeque<(u16, String)>,
    newest: (u16, String),
    handle: Option<Handle>,
    /// The final status is queued or out.
    decided: bool,
    ends_at: Instant,
}

impl Refers {
    /// Whether news are due in the dialog, so that it must stay.
    pub(super) fn keep_dialog(&self) -> bool {
        self.sent.iter().any(|refer| refer.taken)
            || self.received.iter().any(|refer| refer.asked.is_none())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let sent = self.sent.iter().map(|refer| refer.ends_at);
        let received = self.received.iter().map(|refer| refer.ends_at);
        sent.chain(received).min()
    }
}

impl Session {
    pub(crate) fn refer(
        &mut self,
        core: &mut Core,
        now: Instant,
        number: u64,
        refer: Refer,
    ) -> Result<ReferId, UaError> {
        clean("refer-to", &refer.refer_to)?;
        clean(
            "referred-by",
            refer.referred_by.as_deref().unwrap_or_default(),
        )?;
        clean_headers(&refer.headers)?;
        if self.phase != Phase::Established || self.refers.sent.len() >= MAX_REFERS {
            return Err(self.wrong("transfer"));
        }
        let (mut request, target) = self
            .request(core, Method::Refer)
            .ok_or(self.wrong("transfer"))?;
        let headers = &mut request.headers;
        headers.push(HeaderName::Contact, self.contact.clone());
        headers.push(HeaderName::ReferTo, refer.refer_to);
        if let Some(referred_by) = refer.referred_by {
            headers.push(HeaderName::ReferredBy, referred_by);
        }
        if refer.without_news {
            headers.push(HeaderName::ReferSub, "false");
            headers.push(HeaderName::Supported, "norefersub");
        } else {
            core.describe(headers);
        }
        headers.extend(refer.headers);
        self.authorize(core, &mut request);
        let id = ReferId {
            invite: self.id,
            number,
        };
        let handle = core.start_client(now, request, target, ClientUse::Refer(id), 1);
        self.refers.sent.push(SentRefer {
            id,
            number: self.last_number(),
            handle: Some(handle),
            without_news: refer.without_news,
            taken: false,
            ends_at: now + LIFETIME,
        });
        Ok(id)
    }

    fn last_number(&self) -> u32 {
        self.dialog
            .as_ref()
            .map_or(0, |dialog| dialog.local_number())
    }

    fn sent_refer(&mut self, id: ReferId) -> Option<&mut SentRefer> {
        self.refers.sent.iter_mut().find(|refer| refer.id == id)
    }

    /// A response to our REFER.
    pub(crate) fn receive_refer_response(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        id: ReferId,
        response: Arc<Response>,
    ) {
        if response.status.is_provisional() {
            return;
        }
        if self.answer_challenge(core, now, handle, &response, ClientUse::Refer(id)) {
            let number = self.last_number();
            if let Some(refer) = self.sent_refer(id) {
                refer.number = number;
            }
            return;
        }
        if !response.status.is_success() {
            self.refer_failed(core, now, id, Failure::Response(response));
            return self.settle_refers(core);
        }
        let limit = now + core.timings.timeout();
        let refused_news = response
            .headers
            .get(&HeaderName::ReferSub)
            .is_some_and(|text| text.trim().eq_ignore_ascii_case("false"));
        if let Some(refer) = self.sent_refer(id) {
            refer.handle = None;
            if refused_news || refer.without_news {
                self.finish_refer(core, id, ReferOutcome::Untold);
            } else if !std::mem::replace(&mut refer.taken, true) {
                // The first NOTIFY follows at once (RFC 3515 section 2.4.4).
                refer.ends_at = limit;
            }
        }
        self.settle_refers(core);
    }

    /// Our REFER was refused, or got no answer.
    pub(crate) fn refer_failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ReferId,
        failure: Failure,
    ) {
        self.finish_refer(core, id, ReferOutcome::Refused(failure.clone()));
        self.judge(core, now, &Err(failure));
        self.settle_refers(core);
    }

    fn finish_refer(&mut self, core: &mut Core, id: ReferId, outcome: ReferOutcome) {
        let before = self.refers.sent.len();
        self.refers.sent.retain(|refer| refer.id != id);
        if self.refers.sent.len() < before {
            core.event(Event::ReferFinished { refer: id, outcome });
        }
    }

    /// A NOTIFY in the dialog of a call: news of a REFER of ours, or something that nobody asked for.
    pub(super) fn receive_notify(
        &mut self,
        core: &mut Core,
        now: Instant,
        request: &Request,
    ) -> u16 {
        let Some(event) = EventName::of(&request.headers) else {
            return 400;
        };
        if event.package != "refer" {
            return 489;
        }
        let wanted = event.id.as_deref().map(str::parse::<u32>);
        let found = self.refers.sent.iter_mut().find(|refer| match &wanted {
            // The first REFER of a dialog may go without (RFC 3515 section 2.4.6).
            None => true,
            Some(number) => number.as_ref() == Ok(&refer.number),
        });
        let Some(refer) = found else {
            return 481;
        };
        let id = refer.id;
        refer.taken = true;
        let state = SubscriptionState::of(&request.headers);
        if let SubscriptionState::Active { expires } | SubscriptionState::Pending { expires } =
            &state
        {
            refer.ends_at = now + expires.unwrap_or(LIFETIME).min(LONGEST);
        }
        let news = sipfrag(&request.body);
        match (news, state) {
            (Some((status, reason)), _) if status >= 200 => {
                self.finish_refer(core, id, ReferOutcome::Decided { status, reason });
            }
            (news, SubscriptionState::Terminated { reason, .. }) => {
                let last = news.map_or(String::new(), |(status, reason)| {
                    format!(" after {status} {reason}")
                });
                let why = reason.map_or(String::new(), |reason| format!(": {reason}"));
                let why = format!("the peer ended its news{last}{why}");
                self.finish_refer(core, id, ReferOutcome::Lost(why));
            }
            (Some((status, reason)), _) => core.event(Event::ReferProgress {
                refer: id,
                status,
                reason,
            }),
            (None, _) => {}
        }
        200
    }

    /// Their REFER in the call.
    pub(super) fn receive_refer(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        let targets = request.headers.get_all(&HeaderName::ReferTo).count();
        let status = if targets != 1 {
            400
        } else if self.phase != Phase::Established {
            481
        } else if self.refers.received.len() >= MAX_REFERS {
            486
        } else {
            0
        };
        let usage = ServerUse::Other(Some(self.id));
        let handle = core.start_server(now, source, request, key, None, usage);
        if status != 0 {
            let response = self.response(core, request, StatusCode(status));
            core.respond(now, handle, &response);
            return;
        }
        core.rearm_server(now, handle);
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let id = ReferId {
            invite: self.id,
            // Apart from those that this side numbers.
            number: u64::from(number) | 1 << 63,
        };
        let told = !request
            .headers
            .get(&HeaderName::ReferSub)
            .is_some_and(|text| text.trim().eq_ignore_ascii_case("false"));
        self.refers.received.push(ReceivedRefer {
            id,
            number,
            asked: Some((handle, request.clone())),
            told,
            queued: VecDeque::new(),
            newest: (100, "Trying".to_owned()),
            handle: None,
            decided: false,
            // Their transaction ends then.
            ends_at: now + core.timings.timeout(),
        });
        core.event(Event::Refer {
            refer: id,
            request: request.clone(),
        });
    }

    fn received_refer(&mut self, id: ReferId) -> Result<&mut ReceivedRefer, UaError> {
        self.refers
            .received
            .iter_mut()
            .find(|refer| refer.id == id)
            .ok_or(UaError::UnknownRequest)
    }

    /// Answers 202, and tells that their wish is being tried.
    pub(crate) fn accept_refer(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ReferId,
    ) -> Result<(), UaError> {
        let refer = self.received_refer(id)?;
        let (handle, request) = refer.asked.take().ok_or(UaError::UnknownRequest)?;
        refer.ends_at = now + LIFETIME;
        let told = refer.told;
        let mut response = self.response(core, &request, StatusCode(202));
        if !told {
            response.headers.push(HeaderName::ReferSub, "false");
        }
        core.respond(now, handle, &response);
        self.notify_refer(core, now, id, 100, "Trying")
    }

    pub(crate) fn reject_refer(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ReferId,
        status: u16,
    ) -> Result<(), UaError> {
        super::answer::check_refusal(status)?;
        let refer = self.received_refer(id)?;
        let (handle, request) = refer.asked.take().ok_or(UaError::UnknownRequest)?;
        self.refers.received.retain(|refer| refer.id != id);
        let response = self.response(core, &request, StatusCode(status));
        core.respond(now, handle, &response);
        self.settle_refers(core);
        Ok(())
    }

    /// Tells what became of their wish so far; a final status is the last.
    pub(crate) fn notify_refer(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ReferId,
        status: u16,
        reason: &str,
    ) -> Result<(), UaError> {
        clean("reason", reason)?;
        if !(100..700).contains(&status) {
            return Err(UaError::Invalid {
                what: "status",
                value: status.to_string(),
            });
        }
        let refer = self.received_refer(id)?;
        if refer.decided || refer.asked.is_some() {
            return Err(UaError::UnknownRequest);
        }
        refer.decided = status >= 200;
        refer.newest = (status, reason.to_owned());
        if refer.told {
            if refer.queued.len() >= MAX_QUEUED {
                refer.queued.pop_front();
            }
            refer.queued.push_back((status, reason.to_owned()));
            if status >= 200 {
                refer.ends_at = now + core.timings.timeout() + core.timings.timeout();
            }
            self.send_news(core, now, id);
        }
        self.settle_refers(core);
        Ok(())
    }

    fn send_news(&mut self, core: &mut Core, now: Instant, id: ReferId) {
        let Ok(refer) = self.received_refer(id) else {
            return;
        };
        if refer.handle.is_some() {
            return;
        }
        let Some((status, reason)) = refer.queued.pop_front() else {
            return;
        };
        let event = EventName {
            package: "refer".to_owned(),
            id: Some(refer.number.to_string()),
        };
        let state = if status >= 200 {
            SubscriptionState::Terminated {
                reason: Some(Reason::NoResource),
                retry_after: None,
            }
        } else {
            SubscriptionState::Active {
                expires: Some(refer.ends_at.saturating_duration_since(now)),
            }
        };
        let Some((mut request, target)) = self.request(core, Method::Notify) else {
            return;
        };
        let headers = &mut request.headers;
        headers.push(HeaderName::Contact, self.contact.clone());
        headers.push(HeaderName::Event, event.value());
        headers.push(HeaderName::SubscriptionState, state.value());
        let text = format!("SIP/2.0 {status} {reason}\r\n");
        let body = Body::new("message/sipfrag;version=2.0", text);
        request.body = put_body(&mut request.headers, Some(body));
        self.authorize(core, &mut request);
        let handle = core.start_client(now, request, target, ClientUse::ReferNews(id), 1);
        if let Ok(refer) = self.received_refer(id) {
            refer.handle = Some(handle);
        }
    }

    /// A NOTIFY of ours was answered, or not.
    pub(crate) fn news_told(
        &mut self,
        core: &mut Core,
        now: Instant,
        handle: Handle,
        id: ReferId,
        response: Option<&Response>,
    ) {
        if response.is_some_and(|response| response.status.is_provisional()) {
            return;
        }
        if let Some(response) = response
            && self.answer_challenge(core, now, handle, response, ClientUse::ReferNews(id))
        {
            return;
        }
        let Ok(refer) = self.received_refer(id) else {
            return;
        };
        refer.handle = None;
        if !response.is_some_and(|response| response.status.is_success()) {
            // Nobody listens any more; what was begun goes on.
            refer.told = false;
            refer.queued.clear();
        }
        self.send_news(core, now, id);
        self.settle_refers(core);
    }

    /// A SUBSCRIBE in the dialog of a call: a refresh, or the end, of the news of a REFER of theirs.
    pub(super) fn receive_news_refresh(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        let event = EventName::of(&request.headers);
        let number = event
            .as_ref()
            .and_then(|event| event.id.as_deref()?.parse().ok());
        let found =
            self.refers.received.iter_mut().find(|refer| {
                refer.asked.is_none() && number.is_none_or(|n: u32| n == refer.number)
            });
        let is_refer = event.is_some_and(|event| event.package == "refer");
        let (status, expires, refer) = match found {
            _ if !is_refer => (489, 0, None),
            None => (481, 0, None),
            Some(refer) => {
                let asked = request.headers.expires().map(u64::from);
                let lifetime = asked.map_or(LIFETIME, Duration::from_secs).min(LONGEST);
                refer.told = !lifetime.is_zero();
                if refer.told && !refer.decided {
                    refer.ends_at = now + lifetime;
                }
                (
                    200,
                    lifetime.as_secs(),
                    Some((refer.id, refer.newest.clone())),
                )
            }
        };
        let mut response = self.response(core, request, StatusCode(status));
        match status {
            200 => response
                .headers
                .push(HeaderName::Expires, expires.to_string()),
            489 => core.allow_events(&mut response.headers),
            _ => {}
        }
        let usage = ServerUse::Other(Some(self.id));
        let handle = core.start_server(now, source, request, key, None, usage);
        core.respond(now, handle, &response);
        if let Some((id, newest)) = refer {
            // One that waits says it all.
            if let Ok(refer) = self.received_refer(id)
                && refer.queued.is_empty()
            {
                refer.queued.push_back(newest);
            }
            self.send_news(core, now, id);
        }
        self.settle_refers(core);
    }

    pub(super) fn refers_timeout(&mut self, core: &mut Core, now: Instant) {
        let late: Vec<ReferId> = self
            .refers
            .sent
            .iter()
            .filter(|refer| refer.ends_at <= now)
            .map(|refer| refer.id)
            .collect();
        for id in late {
            let why = "no news of the transfer came in time".to_owned();
            self.finish_refer(core, id, ReferOutcome::Lost(why));
        }
        self.refers.received.retain(|refer| refer.ends_at > now);
        self.settle_refers(core);
    }

    /// Drops what is decided and told; a dialog that stayed for news alone goes with the last of them.
    pub(super) fn settle_refers(&mut self, core: &mut Core) {
        self.refers.received.retain(|refer| {
            let silent = refer.handle.is_none() && refer.queued.is_empty();
            !(refer.decided && silent)
        });
        if self.phase == Phase::Lingering && !self.refers.keep_dialog() {
            self.abandon_refers(core, "the call is over");
            self.enter(Phase::Over);
            self.drop_dialog(core);
        }
    }

    /// No news can come or go any more.
    pub(super) fn abandon_refers(&mut self, core: &mut Core, why: &str) {
        for refer in std::mem::take(&mut self.refers.sent) {
            let outcome = if refer.taken {
                ReferOutcome::Lost(why.to_owned())
            } else {
                ReferOutcome::Refused(Failure::Cancelled)
            };
            core.event(Event::ReferFinished {
                refer: refer.id,
                outcome,
            });
        }
        self.refers.received.clear();
    }
}

/// The status line that a body of type message/sipfrag begins with.
fn sipfrag(body: &Bytes) -> Option<(u16, String)> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.splitn(3, ' ');
    words
        .next()
        .filter(|version| version.eq_ignore_ascii_case("SIP/2.0"))?;
    let status = words.next()?.parse().ok()?;
    let reason = words.next().unwrap_or_default().trim().to_owned();
    (100..700).contains(&status).then_some((status, reason))
}
