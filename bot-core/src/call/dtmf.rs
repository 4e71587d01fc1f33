//! Digits: the buffer of those that were pressed, and sending our own.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use callbot_media::dtmf::{self, Press};
use callbot_media::session::Command;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use crate::error::{Error, Result};
use crate::signalling::Act;

/// Digits kept for a bot that does not read them; more drop the oldest.
const KEPT: usize = 256;

/// Digits that were pressed and not yet read (type-ahead).
#[derive(Debug, Default)]
pub(crate) struct DigitBuffer {
    waiting: VecDeque<char>,
    pressed: bool,
    released_at: Option<Instant>,
    /// Digits of which the next one is dropped, if it is one of them.
    swallow: String,
}

impl DigitBuffer {
    pub(crate) fn press(&mut self, digit: char) {
        self.pressed = true;
        let swallow = std::mem::take(&mut self.swallow);
        if swallow.contains(digit) {
            return;
        }
        if self.waiting.len() >= KEPT {
            self.waiting.pop_front();
        }
        self.waiting.push_back(digit);
    }

    /// Drops the next digit if it is one of `digits`, be it here already or still to come.
    pub(crate) fn swallow_next(&mut self, digits: &str) {
        match self.waiting.front() {
            Some(next) if digits.contains(*next) => drop(self.waiting.pop_front()),
            Some(_) => {}
            None => self.swallow = digits.to_owned(),
        }
    }

    /// Whether the next digit may be one that is dropped.
    pub(crate) fn swallows(&self) -> bool {
        !self.swallow.is_empty()
    }

    pub(crate) fn release(&mut self, at: Instant) {
        self.pressed = false;
        self.released_at = Some(at);
    }

    pub(crate) fn take(&mut self) -> Option<char> {
        self.waiting.pop_front()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.swallow.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the key last came up; `None` while one is down.
    pub(crate) fn released_at(&self) -> Option<Instant> {
        if self.pressed { None } else { self.released_at }
    }
}

/// How digits cross to the far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtmfMethod {
    /// RFC 4733 where it was negotiated, else INFO.
    #[default]
    Auto,
    /// RTP telephone-events (RFC 4733).
    Rfc4733,
    /// SIP INFO with `application/dtmf-relay`.
    Info,
}

/// Digits to be sent; await it. Made by [`Call::send_dtmf`](super::Call::send_dtmf).
///
/// Dropping the future lets the digits already queued go out.
#[must_use = "digits are sent when this is awaited"]
#[derive(Debug)]
pub struct SendDtmf {
    call: Arc<Shared>,
    digits: String,
    method: DtmfMethod,
    tone: Duration,
    gap: Duration,
}

impl SendDtmf {
    pub(crate) fn new(call: Arc<Shared>, digits: String) -> Self {
        Self {
            call,
            digits,
            method: DtmfMethod::Auto,
            tone: Duration::from_millis(100),
            gap: Duration::from_millis(60),
        }
    }

    /// How the digits cross; RFC 4733 where it was negotiated, else INFO.
    pub fn method(mut self, method: DtmfMethod) -> Self {
        self.method = method;
        self
    }

    /// Length of each digit, 100 ms by default; 40 ms is the shortest that is heard everywhere.
    pub fn tone(mut self, tone: Duration) -> Self {
        self.tone = tone.clamp(Duration::from_millis(40), Duration::from_secs(10));
        self
    }

    /// Silence between two digits, 60 ms by default, 40 ms at least.
    pub fn gap(mut self, gap: Duration) -> Self {
        self.gap = gap.clamp(Duration::from_millis(40), Duration::from_secs(10));
        self
    }

    async fn send(self) -> Result<()> {
        let presses = dtmf::parse_digits(&self.digits).map_err(|_| Error::Digits {
            digits: self.digits.clone(),
        })?;
        let events = {
            let state = self.call.lock();
            let current = state.negotiation.as_ref().and_then(|n| n.current());
            current.is_some_and(|n| n.event_send.is_some())
        };
        match self.method {
            DtmfMethod::Rfc4733 if !events => Err(Error::State(
                "RFC 4733 digits were not negotiated: use DtmfMethod::Auto or Info",
            )),
            DtmfMethod::Rfc4733 => self.send_events(presses).await,
            DtmfMethod::Auto if events => self.send_events(presses).await,
            DtmfMethod::Auto | DtmfMethod::Info => self.send_info(presses).await,
        }
    }

    async fn send_events(self, presses: Vec<Press>) -> Result<()> {
        let id = self.call.next_id();
        let (done, sent) = oneshot::channel();
        self.call.lock().sent_digits.insert(id, done);
        self.call.media(Command::SendDigits {
            id,
            presses,
            tone_ms: millis(self.tone),
            gap_ms: millis(self.gap),
        })?;
        match self.call.until_ended(sent).await? {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::HungUp(self.call.ended().await)),
        }
    }

    async fn send_info(self, presses: Vec<Press>) -> Result<()> {
        for press in presses {
            let wait = match press {
                Press::Pause(pause) => pause,
                Press::Digit(digit) => {
                    let body = dtmf::info::write_relay(digit, self.tone);
                    self.call.act(Act::Info {
                        content_type: dtmf::info::DTMF_RELAY.to_owned(),
                        body: body.into(),
                    })?;
                    self.tone + self.gap
                }
            };
            self.call.until_ended(tokio::time::sleep(wait)).await?;
        }
        Ok(())
    }
}

impl IntoFuture for SendDtmf {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
