//! The state of one call, and what signalling and media do to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use callbot_media::dtmf;
use callbot_media::sdp::Direction as MediaDirection;
use callbot_media::session::{
    Command, MediaEvent, MediaSession, PlayEnd as EndReason, SessionConfig, Statistics,
};
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;

use super::dtmf::DigitBuffer;
use super::negotiate::{Negotiation, Place};
use super::playback::PlayEnd;
use super::{CallEvent, Cause, HangupCause, Party};
use crate::driver::ice::{self, Means};
use crate::driver::media::{FromSweep, Leg, MediaHandle};
use crate::endpoint::EndpointShared;
use crate::error::{Error, Result};
use crate::signalling::sip::SipHandle;
use crate::signalling::{Act, CallInfo, PeerInfo, Signal};

/// Events that wait for a slow watcher before it misses some.
const EVENTS: usize = 256;

/// How far a call has come. It only moves forward.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// The INVITE is out or in; nothing was said yet.
    Trying,
    /// A provisional answer was given; the status of the newest one.
    Ringing(u16),
    /// Answered, and its ACK still to come.
    Answered,
    Established,
    Ended(HangupCause),
}

/// A call. It lives as long as signalling, a bot or a handle needs it.
pub(crate) struct Shared {
    pub(crate) info: Arc<CallInfo>,
    pub(crate) endpoint: Arc<EndpointShared>,
    signalling: OnceLock<SipHandle>,
    phase: watch::Sender<Phase>,
    events: OnceLock<broadcast::Sender<CallEvent>>,
    state: Mutex<State>,
    /// Wakes those who wait for digits, voice or hold.
    changed: Notify,
    next_id: AtomicU64,
}

/// What the lock protects; nobody waits while holding it.
pub(crate) struct State {
    pub(crate) negotiation: Option<Negotiation>,
    pub(crate) media: Option<MediaHandle>,
    /// The offer in the INVITE that we received, until it is answered.
    pub(crate) offer: Option<Bytes>,
    /// What we said of our media in 183 or 200; the same in both.
    pub(crate) local_description: Option<Bytes>,
    pub(crate) digits: DigitBuffer,
    pub(crate) playbacks: BTreeMap<u64, oneshot::Sender<PlayEnd>>,
    pub(crate) sent_digits: BTreeMap<u64, oneshot::Sender<()>>,
    pub(crate) reoffer: Option<oneshot::Sender<Result<()>>>,
    pub(crate) speaking: bool,
    /// Since when the far end speaks or is silent.
    pub(crate) voice_since: Instant,
    pub(crate) held: bool,
    pub(crate) peer: Option<Arc<PeerInfo>>,
    pub(crate) answered_at: Option<Instant>,
    pub(crate) ended_at: Option<Instant>,
    pub(crate) last_statistics: Option<Statistics>,
    /// The session is being closed; its last figures are on their way.
    pub(crate) media_closing: bool,
    /// The files recorded to, and whether each is whole.
    pub(crate) recordings: Vec<(PathBuf, bool)>,
    pub(crate) all_digits: String,
    /// The call is in a bridge.
    pub(crate) bridged: bool,
    /// Keys or a path did not come about while the call rang.
    early_media_failed: bool,
    hanging_up: bool,
}

/// Ends the call when the last handle is gone.
pub(crate) struct Guard(pub(crate) Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Shared {
    pub(crate) fn new(
        info: Arc<CallInfo>,
        endpoint: Arc<EndpointShared>,
        offer: Option<Bytes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            endpoint,
            signalling: OnceLock::new(),
            phase: watch::Sender::new(Phase::Trying),
            events: OnceLock::new(),
            state: Mutex::new(State {
                negotiation: None,
                media: None,
                offer,
                local_description: None,
                digits: DigitBuffer::default(),
                playbacks: BTreeMap::new(),
                sent_digits: BTreeMap::new(),
                reoffer: None,
                speaking: false,
                voice_since: Instant::now(),
                held: false,
                peer: None,
                answered_at: None,
                ended_at: None,
                last_statistics: None,
                media_closing: false,
                recordings: Vec::new(),
                all_digits: String::new(),
                bridged: false,
                early_media_failed: false,
                hanging_up: false,
            }),
            changed: Notify::new(),
            next_id: AtomicU64::new(1),
        })
    }

    pub(crate) fn bind(&self, signalling: SipHandle) {
        let _ = self.signalling.set(signalling);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    // ---- asking the far side -------------------------------------------

    /// Asks signalling for something; an error means that the endpoint is gone.
    pub(crate) fn act(&self, act: Act) -> Result<()> {
        match self.signalling.get() {
            Some(signalling) => signalling.act(act),
            None => Err(Error::Closed),
        }
    }

    /// Asks media for something. The call may have ended meanwhile.
    pub(crate) fn media(&self, command: Command) -> Result<()> {
        let state = self.lock();
        let media = state.media.as_ref().ok_or_else(|| self.no_media())?;
        media
            .command(command)
            .map_err(|error| Error::Exhausted(error.to_string()))
    }

    /// The rate of the call's audio, in Hz.
    pub(crate) fn audio_rate(&self) -> Result<u32> {
        let state = self.lock();
        let current = state.negotiation.as_ref().and_then(Negotiation::current);
        current
            .map(|negotiated| negotiated.codec.audio_rate())
            .ok_or_else(|| self.no_media())
    }

    fn no_media(&self) -> Error {
        match self.cause() {
            Some(cause) => Error::HungUp(cause),
            None => Error::State(
                "the call has no media: answer it first, or use progress() for early media",
            ),
        }
    }

    /// Ends the call if it still stands, and says why in a BYE.
    pub(crate) fn finish_because(&self, reason: String) {
        if matches!(*self.phase.borrow(), Phase::Established) {
            let first = !std::mem::replace(&mut self.lock().hanging_up, true);
            let told = first && self.act(Act::HangupBecause { reason }).is_ok();
            self.lock().hanging_up = told || !first;
        }
        self.finish();
    }

    /// Ends the call if it still stands: CANCEL, 480 or BYE, as its state asks.
    pub(crate) fn finish(&self) {
        if self.cause().is_some() {
            return;
        }
        {
            let mut state = self.lock();
            if state.hanging_up {
                return;
            }
            state.hanging_up = true;
        }
        if let Some(signalling) = self.signalling.get() {
            signalling.hang_up();
        }
    }

    // ---- waiting ---------------------------------------------------------

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The cause, once the call has ended.
    pub(crate) fn cause(&self) -> Option<HangupCause> {
        match &*self.phase.borrow() {
            Phase::Ended(cause) => Some(cause.clone()),
            _ => None,
        }
    }

    /// Resolves when the call has ended. Cancel safe.
    pub(crate) async fn ended(&self) -> HangupCause {
        let mut phase = self.phase();
        match phase
            .wait_for(|phase| matches!(phase, Phase::Ended(_)))
            .await
        {
            Ok(phase) => match &*phase {
                Phase::Ended(cause) => cause.clone(),
                _ => gone(),
            },
            Err(_) => gone(),
        }
    }

    /// Runs `work` until it is done or the call ends, whichever is first.
    pub(crate) async fn until_ended<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            cause = self.ended() => Err(Error::HungUp(cause)),
        }
    }

    /// A future that resolves at the next change of digits, voice or hold.
    /// It must be made before the state is looked at, or a change is missed.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Time since the answer, up to the end.
    pub(crate) fn duration(&self) -> Duration {
        let state = self.lock();
        match (state.answered_at, state.ended_at) {
            (Some(answered), Some(ended)) => ended.duration_since(answered),
            (Some(answered), None) => answered.elapsed(),
            (None, _) => Duration::ZERO,
        }
    }

    /// Figures of the media as of now, or the last ones after the call, which
    /// the media thread hands over within a frame of the end.
    pub(crate) async fn statistics(&self) -> Option<Statistics> {
        loop {
            let changed = self.changed();
            let asked = {
                let state = self.lock();
                match (&state.last_statistics, &state.media) {
                    (Some(last), _) => return Some(last.clone()),
                    (None, Some(media)) => Some(media.statistics()),
                    (None, None) if state.media_closing => None,
                    (None, None) => return None,
                }
            };
            match asked {
                Some(answer) => match answer.await {
                    Some(statistics) => return Some(statistics),
                    // The media thread takes no questions now.
                    None if self.lock().media.is_some() => return None,
                    None => {}
                },
                None => changed.await,
            }
        }
    }

    /// The events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<CallEvent> {
        self.events
            .get_or_init(|| broadcast::channel(EVENTS).0)
            .subscribe()
    }

    pub(crate) fn emit(&self, event: CallEvent) {
        if let Some(events) = self.events.get() {
            let _ = events.send(event);
        }
    }

    // ---- media -----------------------------------------------------------

    /// A recording is whole, or lost.
    pub(crate) fn recorded(&self, file: &Path, whole: bool) {
        {
            let recordings = &mut self.lock().recordings;
            let written = recordings
                .iter()
                .position(|(path, done)| !done && path == file);
            match written {
                Some(index) if whole => recordings[index].1 = true,
                Some(index) => drop(recordings.remove(index)),
                None => {}
            }
        }
        self.changed.notify_waiters();
    }

    /// Reserves RTP ports and makes the negotiation that names them.
    pub(crate) fn open_media(
        self: &Arc<Self>,
        local_ip: std::net::IpAddr,
        advertised: std::net::IpAddr,
    ) -> Result<OpenMedia> {
        let endpoint = &self.endpoint;
        let (socket, port) = endpoint.ports.take(local_ip).ok_or_else(|| {
            Error::Exhausted(
                "no RTP port is free: widen --rtp-ports or lower --max-calls".to_owned(),
            )
        })?;
        let seed = endpoint.next_seed();
        let config = SessionConfig {
            seed,
            cname: format!("{:016x}@callbot", seed.rotate_left(17)),
            rtp_timeout: endpoint.rtp_timeout,
            ..SessionConfig::default()
        };
        let negotiation = Negotiation::new(
            &endpoint.media_options,
            &self.info,
            Place {
                bind: local_ip,
                advertised: SocketAddr::new(advertised, port),
                name: config.stream_name(),
            },
            seed >> 2,
            [endpoint.next_secret(), endpoint.next_secret()],
        );
        let mut session = MediaSession::new(config);
        if let Some(certificate) = &endpoint.media_options.certificate {
            session.set_certificate(certificate.clone());
        }
        Ok(OpenMedia {
            socket,
            negotiation,
            session,
        })
    }

    /// Asks the STUN and TURN servers, where ICE will have a part in our offer,
    /// or in our answer to `offer`. It takes no longer than the endpoint's limit.
    ///
    /// Cancel safe: addresses that were got are given back.
    pub(crate) async fn gather(
        &self,
        mut open: OpenMedia,
        offer: Option<&[u8]>,
    ) -> Result<OpenMedia> {
        let endpoint = &self.endpoint;
        let options = &endpoint.media_options.ice;
        let Some((base, bind)) = open.negotiation.place() else {
            return Ok(open);
        };
        if !open.negotiation.wants_candidates(offer)
            || (options.servers.is_empty() && !options.relay_only)
        {
            return Ok(open);
        }
        let means = Means {
            links: endpoint.links.clone(),
            tasks: endpoint.background.clone(),
        };
        let gathered = ice::gather(options, &means, &mut open.socket, base, bind).await;
        if options.relay_only && gathered.relays.is_empty() {
            return Err(Error::Media(format!(
                "no TURN server gave a relayed address, and only those may be told: {}",
                gathered.complaint()
            )));
        }
        open.socket = open.socket.with_relays(gathered.relays);
        open.negotiation.add_candidates(gathered.candidates);
        Ok(open)
    }

    /// Gives the session to the media host; its events come to this call.
    pub(crate) fn start_media(self: &Arc<Self>, open: OpenMedia) -> Result<()> {
        let call = Arc::downgrade(self);
        let leg = Leg {
            session: open.session,
            socket: open.socket,
            events: Box::new(move |told| {
                if let Some(call) = call.upgrade() {
                    match told {
                        FromSweep::Event(event) => call.on_media(event),
                        FromSweep::Closed(statistics) => {
                            call.lock().last_statistics = Some(*statistics);
                            call.changed.notify_waiters();
                        }
                    }
                }
            }),
        };
        let handle = self
            .endpoint
            .media
            .add(leg)
            .map_err(|error| Error::Exhausted(error.to_string()))?;
        let mut state = self.lock();
        if let Some(current) = open.negotiation.current() {
            handle
                .apply(current.clone())
                .map_err(|error| Error::Exhausted(error.to_string()))?;
        }
        state.negotiation = Some(open.negotiation);
        state.media = Some(handle);
        Ok(())
    }

    // ---- what signalling says ---------------------------------------------

    /// Takes what signalling says; what is returned is asked of it in turn.
    pub(crate) fn on_signal(&self, signal: Signal) -> Option<Act> {
        match signal {
            Signal::Progress { status, body } => {
                if let Some(body) = body
                    && let Err(why) = self.take_answer(&body, true)
                {
                    tracing::info!(call_id = self.info.call_id(), %why, "early media cannot be used");
                }
                self.advance(Phase::Ringing(status));
                self.emit(CallEvent::Progress { status });
                None
            }
            Signal::Answered { body, info } => {
                {
                    let mut state = self.lock();
                    state.peer = Some(info);
                    state.answered_at = Some(Instant::now());
                }
                if let Err(why) = self.take_answer(&body, false) {
                    tracing::warn!(call_id = self.info.call_id(), %why, "the answer cannot be used: hanging up");
                    self.advance(Phase::Ended(HangupCause::new(
                        Cause::IncompatibleDestination,
                        Party::Local,
                        format!("the answer cannot be used: {why}"),
                    )));
                    return Some(Act::Hangup);
                }
                self.retry_early_media();
                self.advance(Phase::Established);
                self.emit(CallEvent::Answered);
                None
            }
            Signal::Acknowledged { body } => {
                if let Err(why) = self.take_answer(&body, false) {
                    tracing::warn!(call_id = self.info.call_id(), %why, "the ACK's answer cannot be used");
                    return Some(Act::Hangup);
                }
                self.retry_early_media();
                self.advance(Phase::Established);
                self.emit(CallEvent::Answered);
                None
            }
            Signal::Reoffer { body } => Some(self.on_reoffer(&body)),
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
            Signal::Alive => None,
            Signal::Ended(cause) => {
                self.end(cause);
                None
            }
        }
    }

    fn on_reoffer(&self, body: &[u8]) -> Act {
        let mut state = self.lock();
        let State {
            negotiation, media, ..
        } = &mut *state;
        let (Some(negotiation), Some(media)) = (negotiation, media) else {
            return Act::RejectReoffer { status: 488 };
        };
        if body.is_empty() {
            return Act::AcceptReoffer {
                body: negotiation.offer(MediaDirection::SendRecv),
            };
        }
        match negotiation.answer(body) {
            Ok((answer, negotiated)) => {
                if media.apply(negotiated).is_err() {
                    return Act::RejectReoffer { status: 500 };
                }
                let held = negotiation.held();
                self.set_held(&mut state, held);
                Act::AcceptReoffer { body: answer }
            }
            Err(error) => {
                tracing::info!(call_id = self.info.call_id(), %error, "new offer refused");
                Act::RejectReoffer {
                    status: error.status(),
                }
            }
        }
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
                let held = negotiation.held();
                self.set_held(&mut state, held);
                Ok(())
            }
        }
    }

    fn set_held(&self, state: &mut State, held: bool) {
        if state.held != held {
            state.held = held;
            self.changed.notify_waiters();
            self.emit(CallEvent::Held { held });
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

    /// Ends the session, which ends its recordings and frees its ports: when
    /// the call has ended, and already when we hang up, for a far end that does
    /// not answer our BYE would keep it for 32 s.
    pub(crate) fn close_media(&self) {
        let mut state = self.lock();
        if state.media.take().is_some() {
            state.media_closing = true;
        }
        state.playbacks.clear();
        state.sent_digits.clear();
    }

    /// Moves the call forward; an ended call stays ended, for its first cause.
    pub(crate) fn advance(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let rank = |phase: &Phase| match phase {
                Phase::Trying => 0,
                Phase::Ringing(_) => 1,
                Phase::Answered => 2,
                Phase::Established => 3,
                Phase::Ended(_) => 4,
            };
            let moves = match (&*phase, &next) {
                (Phase::Ended(_), _) => false,
                (Phase::Ringing(old), Phase::Ringing(new)) => old != new,
                (old, new) => rank(new) > rank(old),
            };
            if moves {
                *phase = next;
            }
            moves
        });
    }

    // ---- what media says -------------------------------------------------

    /// Tries again, now that the call is answered, what failed while it rang.
    pub(crate) fn retry_early_media(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.early_media_failed)
            && let (Some(negotiation), Some(media)) = (&state.negotiation, &state.media)
            && let Some(current) = negotiation.current()
        {
            let _ = media.apply(current.clone());
        }
    }

    /// Without keys, or without a path, a call is of no use to anyone.
    fn on_media_failed(&self, text: String) {
        if matches!(*self.phase.borrow(), Phase::Trying | Phase::Ringing(_)) {
            // Many peers begin with media when the call is answered, whatever was said while it rang.
            tracing::info!(call_id = self.info.call_id(), "{text}: no early media");
            self.lock().early_media_failed = true;
            return;
        }
        tracing::warn!(call_id = self.info.call_id(), "{text}: hanging up");
        self.advance(Phase::Ended(HangupCause::new(
            Cause::MediaFailed,
            Party::Local,
            text,
        )));
        if let Some(signalling) = self.signalling.get() {
            signalling.hang_up();
        }
    }

    fn on_media(&self, event: MediaEvent) {
        match event {
            MediaEvent::PlayEnded { id, reason, played } => {
                let waiting = self.lock().playbacks.remove(&id);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(match reason {
                        EndReason::Finished => PlayEnd::Finished { played },
                        EndReason::Stopped => PlayEnd::Stopped { played },
                        EndReason::Digit => PlayEnd::Digit { played },
                    });
                }
            }
            MediaEvent::DigitStarted { digit, .. } => {
                let digit = digit.as_char();
                {
                    let mut state = self.lock();
                    state.digits.press(digit);
                    if state.all_digits.len() < 1024 {
                        state.all_digits.push(digit);
                    }
                }
                self.changed.notify_waiters();
                self.emit(CallEvent::DigitStarted { digit });
            }
            MediaEvent::DigitEnded {
                digit, duration_ms, ..
            } => {
                self.lock().digits.release(Instant::now());
                self.changed.notify_waiters();
                self.emit(CallEvent::DigitEnded {
                    digit: digit.as_char(),
                    duration: Duration::from_millis(u64::from(duration_ms)),
                });
            }
            MediaEvent::DigitsSent { id, complete } => {
                let waiting = self.lock().sent_digits.remove(&id);
                if let Some(waiting) = waiting
                    && complete
                {
                    let _ = waiting.send(());
                }
            }
            MediaEvent::DigitsUnsupported { id } => drop(self.lock().sent_digits.remove(&id)),
            MediaEvent::InfoDigit { digit, duration_ms } => {
                let duration = Duration::from_millis(u64::from(duration_ms));
                let body = dtmf::info::write_relay(digit, duration);
                let _ = self.act(Act::Info {
                    content_type: dtmf::info::DTMF_RELAY.to_owned(),
                    body: body.into(),
                });
            }
            MediaEvent::Secured {
                keying, profile, ..
            } => {
                tracing::info!(call_id = self.info.call_id(), keying = keying.name(), %profile, "media is secured");
                self.emit(CallEvent::MediaSecured { keying, profile });
            }
            MediaEvent::SecurityFailed { text } => self.on_media_failed(text),
            MediaEvent::FirstRtp { .. } => self.emit(CallEvent::MediaStarted),
            MediaEvent::RtpTimeout { text } => {
                tracing::warn!(call_id = self.info.call_id(), "{text}");
                self.emit(CallEvent::MediaLost { text });
                // Silence alone proves nothing: the dialog is asked.
                let _ = self.act(Act::Probe);
            }
            MediaEvent::RtpResumed => self.emit(CallEvent::MediaResumed),
            MediaEvent::VoiceChanged { speaking, .. } => {
                {
                    let mut state = self.lock();
                    state.speaking = speaking;
                    state.voice_since = Instant::now();
                }
                self.changed.notify_waiters();
                self.emit(CallEvent::Voice { speaking });
            }
            _ => {}
        }
    }
}

/// Media that is reserved and not yet running.
pub(crate) struct OpenMedia {
    socket: crate::driver::socket::MediaSocket,
    pub(crate) negotiation: Negotiation,
    session: MediaSession,
}

fn gone() -> HangupCause {
    HangupCause::new(
        Cause::TemporaryFailure,
        Party::Local,
        "the endpoint is gone",
    )
}
