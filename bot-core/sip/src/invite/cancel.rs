//! Giving up an INVITE: our CANCEL and theirs (RFC 3261 section 9).

use std::sync::Arc;
use std::time::Instant;

use super::{Phase, Session};
use crate::headers::Header;
use crate::message::{Request, StatusCode};
use crate::ua::{Core, EndCause, Event, UaError, clean_headers};

/// How far our CANCEL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// As soon as a provisional response allows it.
    Wanted,
    Sent,
}

impl Session {
    /// Gives up our INVITE.
    pub(crate) fn cancel(
        &mut self,
        core: &mut Core,
        now: Instant,
        headers: Vec<Header>,
    ) -> Result<(), UaError> {
        clean_headers(&headers)?;
        if self.phase != Phase::Calling {
            return Err(self.wrong("cancel"));
        }
        let Some(outgoing) = &mut self.outgoing else {
            return Err(self.wrong("cancel"));
        };
        if outgoing.cancel != Cancel::No {
            return Ok(());
        }
        outgoing.cancel = Cancel::Wanted;
        outgoing.cancel_headers = headers;
        if outgoing
            .handle
            .is_some_and(|handle| core.is_proceeding(handle))
        {
            self.send_cancel(core, now);
        }
        Ok(())
    }

    pub(super) fn send_cancel(&mut self, core: &mut Core, now: Instant) {
        if let Some(outgoing) = &mut self.outgoing
            && let Some(handle) = outgoing.handle
        {
            outgoing.cancel = Cancel::Sent;
            outgoing.ring_until = None;
            let headers = std::mem::take(&mut outgoing.cancel_headers);
            core.start_cancel(now, handle, headers);
        }
    }

    /// The caller gave up before we answered: by CANCEL, by BYE in the early dialog, or because Expires passed.
    pub(crate) fn give_up_incoming(&mut self, core: &mut Core, now: Instant, why: Arc<Request>) {
        if self.phase != Phase::Ringing {
            return;
        }
        self.answer_final(core, now, StatusCode(487));
        core.event(Event::Cancelled {
            invite: self.id,
            request: why,
        });
        self.end(core, EndCause::Cancelled);
    }
}
