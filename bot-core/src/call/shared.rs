//! The state of one call, and what signalling and media do to it.

mod media;
mod signalled;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use callbot_media::session::{Command, Statistics};
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;

use super::dtmf::DigitBuffer;
use super::negotiate::Negotiation;
use super::playback::PlayEnd;
use super::transfer::TransferQueue;
use super::{CallEvent, Cause, HangupCause, Party};
use crate::driver::media::MediaHandle;
use crate::endpoint::EndpointShared;
use crate::error::{Error, Result};
use crate::signalling::sip::SipHandle;
use crate::signalling::{Act, CallInfo, PeerInfo};

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
    /// A transfer puts another in its place.
    signalling: RwLock<Option<SipHandle>>,
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
    /// Nothing can be sent: prompts and time-outs pause.
    pub(crate) held: bool,
    /// Whether we hold the far end, and whether it holds us.
    pub(crate) held_by: (bool, bool),
    pub(crate) peer: Option<Arc<PeerInfo>>,
    /// What the newest provisional response says.
    pub(crate) progress: Option<Arc<PeerInfo>>,
    pub(crate) answered_at: Option<Instant>,
    pub(crate) ended_at: Option<Instant>,
    pub(crate) last_statistics: Option<Statistics>,
    /// The session is being closed; its last figures are on their way.
    pub(crate) media_closing: bool,
    /// The files recorded to, and whether each is whole.
    pub(crate) recordings: Vec<(PathBuf, bool)>,
    pub(crate) all_digits: String,
    /// What the far end asks that this call become.
    pub(crate) transfers: TransferQueue,
    /// The call is in a bridge.
    pub(crate) bridged: bool,
    /// Keys or a path did not come about while the call rang.
    early_media_failed: bool,
    hanging_up: bool,
    /// The end was told.
    ended: bool,
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
            signalling: RwLock::default(),
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
                held_by: (false, false),
                peer: None,
                progress: None,
                answered_at: None,
                ended_at: None,
                last_statistics: None,
                media_closing: false,
                recordings: Vec::new(),
                all_digits: String::new(),
                transfers: TransferQueue::default(),
                bridged: false,
                early_media_failed: false,
                hanging_up: false,
                ended: false,
            }),
            changed: Notify::new(),
            next_id: AtomicU64::new(1),
        })
    }

    pub(crate) fn bind(&self, signalling: SipHandle) {
        let mut bound = self
            .signalling
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *bound = Some(signalling);
    }

    pub(crate) fn signalling(&self) -> Option<SipHandle> {
        let bound = self.signalling.read();
        bound.unwrap_or_else(PoisonError::into_inner).clone()
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
        match self.signalling() {
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

    /// Whether the call was answered and acknowledged, and still stands.
    pub(crate) fn is_established(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Established)
    }

    /// Whether its end was asked for.
    pub(crate) fn is_hanging_up(&self) -> bool {
        self.lock().hanging_up
    }

    /// Ends the call if it still stands: CANCEL, 480 or BYE, as its state asks.
    pub(crate) fn finish(&self) {
        self.finish_with(Vec::new());
    }

    /// The same, with headers of the CANCEL, 480 or BYE.
    pub(crate) fn finish_with(&self, headers: Vec<(String, String)>) {
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
        if let Some(signalling) = self.signalling() {
            signalling.hang_up(headers);
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

    pub(crate) fn notify_changed(&self) {
        self.changed.notify_waiters();
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
}

fn gone() -> HangupCause {
    HangupCause::new(
        Cause::TemporaryFailure,
        Party::Local,
        "the endpoint is gone",
    )
}
