//! What signalling says to a call: offers and answers, its progress, its end.

use bytes::Bytes;
use callbot_media::dtmf;
use callbot_media::session::Command;
use tokio::time::Instant;

use super::{Phase, Shared, State};
use crate::call::negotiate::Negotiation;
use crate::call::{CallEvent, Cause, HangupCause, Party};
use crate::error::Error;
use crate::signalling::{Act, Signal};

impl Shared {
    /// Takes what signalling says; what is returned is asked of it in turn.
    pub(crate) fn on_signal(&self, signal: Signal) -> Option<Act> {
        match signal {
            Signal::Progress {
                status,
                body,
                is_offer,
                info,
            } => {
                self.lock().progress = Some(info);
                let act = match body {
                    Some(body) if is_offer => Some(match self.take_offer(&body) {
                        Ok(body) => Act::AnswerEarly { body },
                        Err(why) => self.give_up(&why),
                    }),
                    Some(body) => {
                        if let Err(why) = self.take_answer(&body, true) {
                            tracing::info!(call_id = self.info.call_id(), %why, "early media cannot be used");
                        }
                        None
                    }
                    None => None,
                };
                self.advance(Phase::Ringing(status));
                self.emit(CallEvent::Progress { status });
                act
            }
            Signal::ProgressAcknowledged { body } => {
                if let Err(why) = self.take_answer(&body, true) {
                    tracing::info!(call_id = self.info.call_id(), %why, "the PRACK's answer cannot be used");
                }
                None
            }
            Signal::OfferReplaced { why } => {
                tracing::warn!(
                    call_id = self.info.call_id(),
                    why,
                    "the far end takes no secured media: plain RTP is offered; require SRTP to give up instead"
                );
                if let Some(negotiation) = &mut self.lock().negotiation {
                    negotiation.fall_back();
                }
                None
            }
            Signal::Answered {
                body,
                is_offer,
                info,
            } => {
                {
                    let mut state = self.lock();
                    state.peer = Some(info);
                    state.answered_at = Some(Instant::now());
                }
                let act = if is_offer {
                    match self.take_offer(&body) {
                        Ok(body) => Some(Act::AnswerLate { body }),
                        Err(why) => return Some(self.give_up(&why)),
                    }
                } else {
                    if let Err(why) = self.take_answer(&body, false) {
                        return Some(self.give_up(&why));
                    }
                    None
                };
                self.retry_early_media();
                self.advance(Phase::Established);
                self.emit(CallEvent::Answered);
                act
            }
            Signal::Acknowledged { body } => {
                if let Err(why) = self.take_answer(&body, false) {
                    tracing::warn!(call_id = self.info.call_id(), %why, "the ACK's answer cannot be used");
                    return Some(Act::hang_up());
                }
                self.retry_early_media();
                // A call that took another's place was answered before.
                let is_new = !matches!(*self.phase.borrow(), Phase::Established);
                self.advance(Phase::Established);
                if is_new {
                    self.emit(CallEvent::Answered);
                }
                None
            }
            Signal::Reoffer { body } => Some(match self.on_reoffer(&body) {
                Ok(body) => Act::AcceptReoffer { body },
                Err(status) => Act::RejectReoffer { status },
            }),
            Signal::Update { body } => Some(match self.on_reoffer(&body) {
                Ok(body) => Act::AcceptUpdate { body },
                Err(status) => Act::RejectUpdate { status },
            }),
            Signal::RefreshDue => self.refresh(),
            Signal::ReofferAcknowledged { body } => {
                if let Err(why) = self.take_answer(&body, false) {
                    tracing::warn!(call_id = self.info.call_id(), %why, "the ACK's answer cannot be used");
                }
                None
            }
            Signal::ReofferAnswered(result) => {
                if result.is_err()
                    && let Some(negotiation) = &mut self.lock().negotiation
                {
                    negotiation.refused();
                }
                let result = result.and_then(|body| self.take_answer(&body, false));
                if let Some(waiting) = self.lock().reoffer.take() {
                    let _ = waiting.send(result.map_err(Error::Media));
                }
                None
            }
            Signal::Info { content_type, body } => {
                self.on_info(content_type, &body);
                None
            }
            Signal::Message { content_type, body } => {
                self.emit(CallEvent::Message {
                    content_type,
                    body: body.to_vec(),
                });
                None
            }
            Signal::Alive => None,
            Signal::Ended(cause) => {
                self.end(cause);
                None
            }
        }
    }

    /// Answers an offer of the far end, or makes one where it asks for that; else the status to refuse with.
    fn on_reoffer(&self, body: &[u8]) -> Result<Bytes, u16> {
        let mut state = self.lock();
        let State {
            negotiation, media, ..
        } = &mut *state;
        let (Some(negotiation), Some(media)) = (negotiation, media) else {
            return Err(488);
        };
        if body.is_empty() {
            let direction = negotiation.direction();
            return Ok(negotiation.offer(direction));
        }
        let (answer, negotiated) = negotiation.answer(body).map_err(|error| {
            tracing::info!(call_id = self.info.call_id(), %error, "new offer refused");
            error.status()
        })?;
        media.apply(negotiated).map_err(|_| 500_u16)?;
        self.note_hold(&mut state);
        Ok(answer)
    }

    /// Answers the offer of a far end that got none from us.
    fn take_offer(&self, body: &[u8]) -> Result<Bytes, String> {
        if body.is_empty() {
            return Err("it bears no session description".to_owned());
        }
        self.on_reoffer(body)
            .map_err(|status| format!("its offer has nothing that we can take ({status})"))
    }

    /// The far end's description is of no use, so the call is none either.
    fn give_up(&self, why: &str) -> Act {
        tracing::warn!(call_id = self.info.call_id(), %why, "the answer cannot be used: hanging up");
        self.advance(Phase::Ended(HangupCause::new(
            Cause::IncompatibleDestination,
            Party::Local,
            format!("the answer cannot be used: {why}"),
        )));
        Act::hang_up()
    }

    /// An offer that changes nothing, unless one is on its way already.
    fn refresh(&self) -> Option<Act> {
        let mut state = self.lock();
        if state.reoffer.is_some() {
            return None;
        }
        let negotiation = state.negotiation.as_mut()?;
        let direction = negotiation.direction();
        Some(Act::Reoffer {
            body: negotiation.offer(direction),
        })
    }

    /// Takes an answer to our offer, if one waits.
    fn take_answer(&self, body: &[u8], early: bool) -> Result<(), String> {
        let mut state = self.lock();
        let State {
            negotiation, media, ..
        } = &mut *state;
        let (Some(negotiation), Some(media)) = (negotiation, media) else {
            return Ok(());
        };
        let answered = if early {
            negotiation.answered_early(body)
        } else {
            negotiation.answered(body)
        };
        match answered {
            None if negotiation.current().is_none() && !early => {
                Err("it bears no session description".to_owned())
            }
            None => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(negotiated)) => {
                media.apply(negotiated).map_err(|error| error.to_string())?;
                self.note_hold(&mut state);
                Ok(())
            }
        }
    }

    /// What was agreed on with somebody else counts from now on.
    pub(in crate::call) fn take_negotiation(&self, state: &mut State, negotiation: Negotiation) {
        if let Some(waiting) = state.reoffer.take() {
            let why = "the call goes on with somebody else".to_owned();
            let _ = waiting.send(Err(Error::Media(why)));
        }
        state.negotiation = Some(negotiation);
        self.note_hold(state);
    }

    /// Tells what an exchange has changed about who holds whom.
    fn note_hold(&self, state: &mut State) {
        let Some(negotiation) = &state.negotiation else {
            return;
        };
        let (held, by) = (negotiation.held(), negotiation.held_by());
        if state.held != held {
            state.held = held;
            self.changed.notify_waiters();
        }
        let before = std::mem::replace(&mut state.held_by, by);
        for (by, before, now) in [
            (Party::Local, before.0, by.0),
            (Party::Remote, before.1, by.1),
        ] {
            match (before, now) {
                (false, true) => self.emit(CallEvent::Held { by }),
                (true, false) => self.emit(CallEvent::Resumed { by }),
                _ => {}
            }
        }
    }

    fn on_info(&self, content_type: String, body: &[u8]) {
        match dtmf::info::parse(&content_type, body) {
            // The session sees both ways that a digit can come, and tells duplicates apart.
            Ok(press) => {
                let _ = self.media(Command::InfoDigit {
                    digit: press.digit,
                    duration: press.duration,
                });
            }
            Err(_) => self.emit(CallEvent::Info {
                content_type,
                body: body.to_vec(),
            }),
        }
    }

    fn end(&self, cause: HangupCause) {
        {
            let mut state = self.lock();
            if std::mem::replace(&mut state.ended, true) {
                return;
            }
            state.ended_at = Some(Instant::now());
            state.reoffer = None;
        }
        self.close_media();
        self.advance(Phase::Ended(cause.clone()));
        self.changed.notify_waiters();
        let cause = self.cause().unwrap_or(cause);
        tracing::info!(call_id = self.info.call_id(), %cause, "call ended");
        self.emit(CallEvent::Ended(cause));
    }
}
