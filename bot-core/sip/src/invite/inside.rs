//! Requests in a dialog other than INVITE, ACK and BYE: INFO (RFC 6086 legacy usage), MESSAGE (RFC 3428) and
//! OPTIONS (RFC 3261 section 11), both ways.

use std::sync::Arc;
use std::time::Instant;

use super::{Phase, Session};
use crate::headers::HeaderName;
use crate::message::{Method, Request, Response, StatusCode};
use crate::transaction::Key;
use crate::ua::{
    Body, ClientUse, Core, Event, Inside, RequestId, ServerUse, Source, UaError, clean_body,
    clean_headers, put_body,
};

impl Session {
    /// A request in the dialog that is neither ACK nor CANCEL and no copy of an earlier one.
    pub(crate) fn receive_request(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        if core.is_full() && request.method != Method::Bye {
            return core.respond_busy(source, request);
        }
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let from = request.headers.from().ok();
        let remote_tag = from.and_then(|from| from.tag()).unwrap_or_default();
        let in_order = self
            .dialog_tagged(remote_tag)
            .is_some_and(|dialog| dialog.accept_number(number));
        if !in_order {
            let mut response = request.response(StatusCode(500));
            response.reason = bytes::Bytes::from_static(b"CSeq Out Of Order");
            return core.respond_stateless(source, request, response);
        }
        match request.method {
            Method::Invite => return self.receive_reinvite(core, now, source, request, key),
            Method::Refer if core.config.allow.contains(&Method::Refer) => {
                return self.receive_refer(core, now, source, request, key);
            }
            Method::Subscribe if core.config.allow.contains(&Method::Refer) => {
                return self.receive_news_refresh(core, now, source, request, key);
            }
            _ => {}
        }
        if request.method == Method::Notify && core.config.allow.contains(&Method::Notify) {
            let status = self.receive_notify(core, now, request);
            let mut response = request.response(StatusCode(status));
            if status == 489 {
                core.allow_events(&mut response.headers);
            }
            self.answer_inside(core, now, source, request, key, response);
            return self.settle_refers(core);
        }
        let is_allowed = core.config.allow.contains(&request.method);
        match request.method {
            Method::Prack if is_allowed => {
                return self.receive_prack(core, now, source, request, key);
            }
            Method::Update if is_allowed => {
                return self.receive_update(core, now, source, request, key);
            }
            _ => {}
        }
        let status = self.status_for(core, request);
        let mut response = request.response(StatusCode(status));
        match (&request.method, status) {
            (Method::Options, 200) => {
                core.describe(&mut response.headers);
                response
                    .headers
                    .push(HeaderName::Accept, &b"application/sdp"[..]);
            }
            (_, 405 | 501) => response.headers.push(HeaderName::Allow, core.allow.clone()),
            _ => {}
        }
        self.answer_inside(core, now, source, request, key, response);
        if status != 200 {
            return;
        }
        let (invite, request) = (self.id, request.clone());
        match request.method {
            Method::Bye => self.receive_bye(core, now, &request),
            Method::Info => core.event(Event::Info { invite, request }),
            Method::Message => core.event(Event::MessageInCall { invite, request }),
            _ => {}
        }
    }

    fn status_for(&self, core: &Core, request: &Request) -> u16 {
        match &request.method {
            // A BYE that crosses ours finds the call it means.
            Method::Bye if self.phase != Phase::Lingering => 200,
            _ if matches!(self.phase, Phase::Closing | Phase::Lingering) => 481,
            Method::Options => 200,
            method @ (Method::Info | Method::Message) if core.config.allow.contains(method) => 200,
            Method::Other(_) => 501,
            _ => 405,
        }
    }

    pub(super) fn answer_inside(
        &mut self,
        core: &mut Core,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
        mut response: Response,
    ) {
        if core.is_full() {
            return core.respond_stateless(source, request, response);
        }
        core.sign(&mut response);
        let handle = core.start_server(
            now,
            source,
            request,
            key,
            None,
            ServerUse::Other(Some(self.id)),
        );
        core.respond(now, handle, &response);
    }

    pub(crate) fn info(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Body,
    ) -> Result<(), UaError> {
        clean_body(Some(&body))?;
        if matches!(self.phase, Phase::Closing | Phase::Lingering | Phase::Over) {
            return Err(self.wrong("send INFO"));
        }
        let (mut request, target) = self
            .request(core, Method::Info)
            .ok_or(self.wrong("send INFO"))?;
        request.body = put_body(&mut request.headers, Some(body));
        self.authorize(core, &mut request);
        core.start_client(now, request, target, ClientUse::Info(self.id), 1);
        Ok(())
    }

    /// A request of any other kind in the dialog; `Event::Response` tells its answer.
    pub(crate) fn request_inside(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: RequestId,
        inside: Inside,
    ) -> Result<(), UaError> {
        clean_headers(&inside.headers)?;
        clean_body(inside.body.as_ref())?;
        let is_core = matches!(
            inside.method,
            Method::Invite | Method::Ack | Method::Cancel | Method::Bye | Method::Prack
        );
        if is_core {
            return Err(UaError::Invalid {
                what: "method",
                value: inside.method.to_string(),
            });
        }
        if matches!(self.phase, Phase::Closing | Phase::Lingering | Phase::Over) {
            return Err(self.wrong("send a request"));
        }
        let (mut request, target) = self
            .request(core, inside.method)
            .ok_or(self.wrong("send a request"))?;
        request.headers.extend(inside.headers);
        request.body = put_body(&mut request.headers, inside.body);
        self.authorize(core, &mut request);
        core.start_client(now, request, target, ClientUse::Inside(self.id, id), 1);
        Ok(())
    }

    pub(crate) fn probe(&mut self, core: &mut Core, now: Instant) -> Result<(), UaError> {
        if self.phase != Phase::Established {
            return Err(self.wrong("probe"));
        }
        let (mut request, target) = self
            .request(core, Method::Options)
            .ok_or(self.wrong("probe"))?;
        request
            .headers
            .push(HeaderName::Accept, &b"application/sdp"[..]);
        self.authorize(core, &mut request);
        core.start_client(now, request, target, ClientUse::Probe(self.id), 1);
        Ok(())
    }
}
