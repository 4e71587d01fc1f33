//! Session timers (RFC 4028): who refreshes a call, when, and what becomes of it when nobody does.
//!
//! Invariant: every 2xx to INVITE or UPDATE sets the timer anew, or ends it when it names none. A refresh goes by
//! UPDATE where the peer allows it; else the shell is asked for a re-INVITE, whose description it alone knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Phase, Session};
use crate::headers::{Header, HeaderName, Headers, Refresher, SessionExpires};
use crate::message::{Request, Response, StatusCode};
use crate::ua::{Core, EndCause, Event, Failure, Refreshing, SessionTimer, TIMER};

/// The longest that the timer sleeps at once, so that calls that end leave no deadline far ahead behind.
const LOOK: Duration = Duration::from_secs(120);
/// The longest margin before the end at which the side that waits gives up (section 10).
const MARGIN: Duration = Duration::from_secs(32);
/// When a refresh that cannot go out now is tried again.
const BUSY: Duration = Duration::from_secs(2);
/// The longest Min-SE that a 422 may make us take on: a day.
const MAX_MIN_SE: u32 = 86_400;
/// The Min-SE that goes without saying (section 5), in seconds.
const LEAST: u32 = 90;
/// The shortest interval that is run, whatever was agreed, in seconds: below it calls would do nothing else.
const SHORTEST: u32 = 4;
/// What the BYE of an expired session says of itself (RFC 3326).
const REASON: &str = "SIP;cause=408;text=\"session timer expired\"";

/// A running timer.
#[derive(Debug)]
pub(super) struct Timer {
    /// In seconds, as agreed.
    interval: u32,
    refreshing: Refreshing,
    /// When we refresh, if that is our part.
    refresh_at: Option<Instant>,
    end: Instant,
    look_at: Instant,
}

impl Timer {
    fn start(now: Instant, interval: u32, refreshing: Refreshing) -> Box<Self> {
        let length = Duration::from_secs(u64::from(interval));
        let (refresh_at, end) = match refreshing {
            Refreshing::Local => (Some(now + length / 2), now + length),
            Refreshing::Remote => (None, now + length - (length / 3).min(MARGIN)),
        };
        let mut timer = Box::new(Timer {
            interval,
            refreshing,
            refresh_at,
            end,
            look_at: now,
        });
        timer.look_later(now);
        timer
    }

    pub(super) fn deadline(&self) -> Instant {
        self.look_at
    }

    fn look_later(&mut self, now: Instant) {
        let next = self.refresh_at.map_or(self.end, |at| at.min(self.end));
        self.look_at = next.min(now + LOOK);
    }
}

impl Session {
    /// What a request of ours says of the timer: INVITE, re-INVITE and UPDATE.
    pub(super) fn offer_timer(&self, core: &Core, headers: &mut Headers) {
        let Some(config) = &core.config.session_timer else {
            return;
        };
        let least = self.extensions.min_se.max(seconds(config.min_se));
        let (interval, refresher) = match &self.extensions.timer {
            Some(timer) => (timer.interval, Some(timer.refreshing.of(true))),
            // A peer that knows of no timers is not told of ours again.
            None if self.dialog.is_some() && !self.extensions.timers => return,
            None => (
                self.extensions.interval.unwrap_or(seconds(config.interval)),
                config.refresher.map(|who| who.of(true)),
            ),
        };
        let expires = SessionExpires {
            seconds: interval.max(least),
            refresher,
        };
        headers.push(HeaderName::SessionExpires, expires.to_string());
        if least > LEAST {
            headers.push(HeaderName::MinSe, least.to_string());
        }
    }

    /// A 2xx to a request of ours came.
    pub(super) fn timer_answered(&mut self, core: &Core, now: Instant, headers: &Headers) {
        if core.config.session_timer.is_none() {
            return;
        }
        self.extensions.timer = headers.session_expires().map(|expires| {
            let refreshing = match expires.refresher {
                Some(Refresher::Uas) => Refreshing::Remote,
                Some(Refresher::Uac) | None => Refreshing::Local,
            };
            let interval = expires.seconds.clamp(SHORTEST, u32::MAX / 2);
            Timer::start(now, interval, refreshing)
        });
    }

    /// Agrees on the timer in our 2xx to a request of theirs.
    pub(super) fn answer_timer(
        &mut self,
        core: &Core,
        now: Instant,
        request: &Request,
        response: &mut Response,
    ) {
        let Some(config) = &core.config.session_timer else {
            return;
        };
        let headers = &request.headers;
        let asked = headers.session_expires();
        let knows = knows_timers(headers);
        self.extensions.timers = knows;
        if !knows && asked.is_none() {
            self.extensions.timer = None;
            return;
        }
        let most = asked.map_or(u32::MAX, |asked| asked.seconds);
        let least = headers.min_se().unwrap_or(0);
        let interval = seconds(config.interval)
            .max(least)
            .min(most)
            .clamp(SHORTEST, u32::MAX / 2);
        let refresher = if knows {
            let kept = self.extensions.timer.as_ref();
            asked
                .and_then(|asked| asked.refresher)
                .or(kept.map(|timer| timer.refreshing.of(false)))
                .or(config.refresher.map(|who| who.of(false)))
                .unwrap_or(Refresher::Uac)
        } else {
            // A proxy asked for it, and the caller cannot (section 9).
            Refresher::Uas
        };
        let expires = SessionExpires {
            seconds: interval,
            refresher: Some(refresher),
        };
        response
            .headers
            .push(HeaderName::SessionExpires, expires.to_string());
        if refresher == Refresher::Uac {
            response.headers.push(HeaderName::Require, TIMER.as_bytes());
        }
        let refreshing = match refresher {
            Refresher::Uas => Refreshing::Local,
            Refresher::Uac => Refreshing::Remote,
        };
        self.extensions.timer = Some(Timer::start(now, interval, refreshing));
    }

    /// The refusal of an interval that is too short for us.
    pub(super) fn too_brief(&self, core: &Core, request: &Request) -> Option<Response> {
        let least = too_brief(core.config.session_timer.as_ref(), &request.headers)?;
        let mut response = self.response(core, request, StatusCode(422));
        response.headers.push(HeaderName::MinSe, least.to_string());
        Some(response)
    }

    /// Takes on the Min-SE of a 422. `false` when that would not help.
    pub(super) fn raise_interval(&mut self, core: &Core, response: &Response) -> bool {
        if response.status.0 != 422 || core.config.session_timer.is_none() {
            return false;
        }
        match response.headers.min_se() {
            Some(least) if least > self.extensions.min_se && least <= MAX_MIN_SE => {
                self.extensions.min_se = least;
                true
            }
            _ => false,
        }
    }

    /// Our refresh by UPDATE came to its end.
    pub(super) fn refreshed(&mut self, core: &mut Core, result: &Result<Arc<Response>, Failure>) {
        // A peer that has no such call is not asked twice; the dialog ends with that.
        let refused = matches!(
            result,
            Err(Failure::Response(response)) if !matches!(response.status.0, 408 | 481)
        );
        if refused && self.phase == Phase::Established {
            // It may still know re-INVITE.
            self.extensions.updates = false;
            core.event(Event::RefreshDue { invite: self.id });
        }
    }

    pub(super) fn timer_due(&mut self, core: &mut Core, now: Instant) {
        let Some(timer) = &mut self.extensions.timer else {
            return;
        };
        if timer.look_at > now {
            return;
        }
        if self.phase != Phase::Established {
            if matches!(self.phase, Phase::Closing | Phase::Lingering | Phase::Over) {
                self.extensions.timer = None;
            } else {
                timer.look_at = now + BUSY;
            }
            return;
        }
        if timer.end <= now {
            self.extensions.timer = None;
            let reason = Header::new(HeaderName::Reason, REASON);
            return self.send_bye(core, now, vec![reason], EndCause::SessionExpired);
        }
        let due = timer.refresh_at.is_some_and(|at| at <= now);
        if due {
            // Should this one come to nothing, there is time for others.
            timer.refresh_at = Some(now + ((timer.end - now) / 2).max(BUSY));
        }
        timer.look_later(now);
        let is_busy = self.extensions.update.is_some() || self.modification.is_some();
        if !due || is_busy {
            return;
        }
        if self.extensions.updates {
            // Only its answer counts.
            let _ = self.update(core, now, None, None);
        } else {
            core.event(Event::RefreshDue { invite: self.id });
        }
    }
}

/// The Min-SE that a request with too short an interval is told. A peer that knows of no timers cannot mend it.
pub(crate) fn too_brief(config: Option<&SessionTimer>, headers: &Headers) -> Option<u32> {
    let least = seconds(config?.min_se);
    let asked = headers.session_expires()?;
    (asked.seconds < least && knows_timers(headers)).then_some(least)
}

pub(super) fn knows_timers(headers: &Headers) -> bool {
    headers.contains_token(&HeaderName::Supported, TIMER)
        || headers.contains_token(&HeaderName::Require, TIMER)
}

pub(super) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
