//! Sending the far end elsewhere, and being sent (RFC 3515, 3891, 5589).
//!
//! A transfer that we ask for is a REFER: the far end places a call of its own and tells how it goes. One that the far
//! end asks for is decided by a [`TransferPolicy`] or by the bot; when it is followed, the bot's [`Call`] goes on with
//! the new far end: its playbacks, recordings and digits stay, only the peer is another.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use callbot_media::sdp::Direction as MediaDirection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::negotiate::Negotiation;
use super::{Call, CallEvent, Dial, Phase, Shared};
use crate::error::{Error, Result};
use crate::signalling::sip;
use crate::signalling::{Act, TransferAsked, TransferNews, TransferTo};

/// News of one transfer that wait to be read.
const NEWS: usize = 32;
/// Wishes of the far end that wait for the bot.
const ASKED: usize = 4;

/// What is done when the far end asks that a call go on with somebody else (REFER).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferPolicy {
    /// It is refused (603). A far end could otherwise have us call whom it likes, at our cost.
    #[default]
    Refuse,
    /// It is followed: whoever is named is called, and the call goes on with them if they answer.
    Follow,
    /// The bot decides, by [`Call::transfer_requested`]. What nobody decides within 32 s has failed.
    Ask,
}

/// What waits for the bot, and who decides.
#[derive(Debug, Default)]
pub(crate) struct TransferQueue {
    /// For this call alone.
    policy: Option<TransferPolicy>,
    asked: VecDeque<TransferAsked>,
}

/// How a transfer ended that we asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transferred {
    /// Whom the far end called has answered.
    Answered,
    /// The far end took it on, and tells no more of it.
    Untold,
}

impl Call {
    /// Sends the far end to `uri` (a blind transfer): it is asked to call there. Await it for the outcome. When that is
    /// an answer, or nothing will be told, this call is hung up; when the transfer fails, the call stands, and the far
    /// end is still there. Put it on [`hold`](Call::hold) before, as telephones do, or let it hear something.
    ///
    /// ```no_run
    /// # use callbot_core::{Call, Error, Result};
    /// # async fn forward(call: Call) -> Result<()> {
    /// match call.transfer("sip:sales@pbx.example").await {
    ///     Ok(_) => Ok(()),
    ///     Err(Error::Transfer { why, .. }) => {
    ///         println!("still here: {why}");
    ///         call.hangup().await
    ///     }
    ///     Err(error) => Err(error),
    /// }
    /// # }
    /// ```
    pub fn transfer(&self, uri: impl Into<String>) -> Transfer {
        Transfer::new(self, TransferTo::Uri(uri.into()))
    }

    /// Joins the far ends of this call and of `other` (an attended transfer): this one's is asked to call the other's,
    /// in our place (RFC 3891). When that has come about both calls end here; when it fails, both stand.
    ///
    /// The other's telephone must know Replaces, which most do.
    pub fn transfer_to(&self, other: &Call) -> Transfer {
        Transfer::new(self, TransferTo::Call(other.shared.clone()))
    }

    /// Places another call from the same endpoint, to ask somebody before the far end is sent there by
    /// [`Call::transfer_to`].
    pub fn consult(&self, uri: impl Into<String>) -> Dial {
        Dial::new(self.shared.endpoint.clone(), uri.into())
    }

    /// What to do when the far end asks that this call go on with somebody else, in the place of what the endpoint
    /// says.
    pub fn on_transfer(&self, policy: TransferPolicy) {
        self.shared.lock().transfers.policy = Some(policy);
    }

    /// The next wish of the far end that this call go on with somebody else. From the first time on that this is
    /// awaited, the bot decides, whatever the policy was. Cancel safe.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call ends first.
    pub async fn transfer_requested(&self) -> Result<TransferRequest> {
        self.on_transfer(TransferPolicy::Ask);
        loop {
            let changed = self.shared.changed();
            if let Some(asked) = self.shared.lock().transfers.asked.pop_front() {
                return Ok(TransferRequest {
                    call: self.shared.clone(),
                    asked: Some(asked),
                });
            }
            self.shared.until_ended(changed).await?;
        }
    }
}

/// A transfer about to be asked for; await it for its outcome, or [`start`](Transfer::start) it to watch it.
///
/// # Errors
/// [`Error::Transfer`] when the far end refuses, or does not reach whom it was sent to; [`Error::HungUp`] when the call
/// has ended before it was asked; [`Error::Uri`] for a URI that is none.
#[must_use = "a transfer is asked for when this is awaited or started"]
#[derive(Debug)]
pub struct Transfer {
    call: Call,
    to: TransferTo,
    referred_by: Option<String>,
    keep: bool,
}

impl Transfer {
    fn new(call: &Call, to: TransferTo) -> Self {
        Self {
            call: call.clone(),
            to,
            referred_by: None,
            keep: false,
        }
    }

    /// Who asks, as the far end tells whom it calls (RFC 3892); our own URI by default.
    pub fn referred_by(mut self, uri: impl Into<String>) -> Self {
        self.referred_by = Some(uri.into());
        self
    }

    /// Keeps this call when the transfer has succeeded, for its far end to hang up.
    pub fn keep_call(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Asks for the transfer, and returns as soon as that is on its way.
    ///
    /// # Errors
    /// As awaiting it, but for the outcome.
    pub async fn start(self) -> Result<Transferring> {
        let shared = &self.call.shared;
        if let Some(cause) = shared.cause() {
            return Err(Error::HungUp(cause));
        }
        match &self.to {
            TransferTo::Uri(uri) => sip::check_uri(uri)?,
            TransferTo::Call(other) => {
                if Arc::ptr_eq(other, shared) {
                    return Err(Error::State("a call cannot be transferred to itself"));
                }
                if let Some(cause) = other.cause() {
                    return Err(Error::HungUp(cause));
                }
            }
        }
        if let Some(uri) = &self.referred_by {
            sip::check_uri(uri)?;
        }
        let (news, heard) = mpsc::channel(NEWS);
        shared.act(Act::Transfer {
            to: self.to,
            referred_by: self.referred_by,
            news,
        })?;
        Ok(Transferring {
            call: self.call,
            news: heard,
            keep: self.keep,
            progress: VecDeque::new(),
            outcome: None,
        })
    }
}

impl IntoFuture for Transfer {
    type Output = Result<Transferred>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().await?.finished().await })
    }
}

/// A transfer that is under way. Dropping it leaves the far end to it: the call then stays until it is ended.
#[derive(Debug)]
pub struct Transferring {
    call: Call,
    news: mpsc::Receiver<TransferNews>,
    keep: bool,
    progress: VecDeque<u16>,
    outcome: Option<TransferNews>,
}

impl Transferring {
    /// The next status, 100 to 199, that the far end got from whom it calls; `None` once the outcome is known.
    /// Cancel safe.
    pub async fn progress(&mut self) -> Option<u16> {
        if let Some(status) = self.progress.pop_front() {
            return Some(status);
        }
        if self.outcome.is_some() {
            return None;
        }
        match self.news.recv().await {
            Some(TransferNews::Progress(status)) => Some(status),
            decided => {
                self.outcome = Some(decided.unwrap_or_else(lost));
                None
            }
        }
    }

    /// Waits for the outcome, and hangs the call up when it was transferred.
    ///
    /// # Errors
    /// See [`Transfer`].
    pub async fn finished(mut self) -> Result<Transferred> {
        while self.progress().await.is_some() {}
        let outcome = self.outcome.take().unwrap_or_else(lost);
        let done = match outcome {
            TransferNews::Decided {
                status: 200..300, ..
            } => Transferred::Answered,
            TransferNews::Decided { status, reason } => {
                return Err(Error::Transfer {
                    status: Some(status),
                    why: reason,
                });
            }
            // Who hangs up after having taken it on is done with us.
            TransferNews::Lost(_) if self.call.shared.cause().is_some() => Transferred::Untold,
            TransferNews::NotAsked(why) => {
                return Err(match self.call.shared.cause() {
                    Some(cause) => Error::HungUp(cause),
                    None => Error::Transfer { status: None, why },
                });
            }
            TransferNews::Lost(why) => return Err(Error::Transfer { status: None, why }),
            TransferNews::Untold | TransferNews::Progress(_) => Transferred::Untold,
        };
        if !self.keep {
            self.call.hangup().await?;
        }
        Ok(done)
    }
}

fn lost() -> TransferNews {
    TransferNews::Lost("the endpoint is gone".to_owned())
}

/// The far end's wish that the call go on with somebody else. Dropping it refuses it (603).
#[derive(Debug)]
pub struct TransferRequest {
    call: Arc<Shared>,
    asked: Option<TransferAsked>,
}

impl TransferRequest {
    /// Whom the far end wants to be called, as a URI.
    pub fn target(&self) -> &str {
        self.asked.as_ref().map_or("", |asked| &asked.target)
    }

    /// Who asks, as the far end's Referred-By says (RFC 3892); nothing vouches for it.
    pub fn referred_by(&self) -> Option<&str> {
        self.asked.as_ref()?.referred_by.as_deref()
    }

    /// Whether a call that stands there already is to be taken over (an attended transfer).
    pub fn is_attended(&self) -> bool {
        self.asked
            .as_ref()
            .is_some_and(|asked| asked.replaces.is_some())
    }

    /// Follows it: calls whom the far end names. When they answer, the bot's [`Call`] goes on with them. Dropping the
    /// future leaves it on its way.
    ///
    /// # Errors
    /// [`Error::HungUp`] with the cause when they do not answer; the call with the old far end stands then, unless it
    /// has hung up.
    pub async fn accept(mut self) -> Result<()> {
        let Some(asked) = self.asked.take() else {
            return Ok(());
        };
        let (done, outcome) = oneshot::channel();
        self.call.follow(asked, Some(done));
        outcome.await.map_err(|_| Error::Closed)?
    }

    /// Refuses it with a status from 400 to 699, such as 603.
    ///
    /// # Errors
    /// [`Error::State`] for another status.
    pub async fn reject(mut self, status: u16) -> Result<()> {
        if !(400..=699).contains(&status) {
            return Err(Error::State(
                "a transfer is refused with a status from 400 to 699",
            ));
        }
        self.refuse(status);
        Ok(())
    }

    fn refuse(&mut self, status: u16) {
        if let Some(asked) = self.asked.take() {
            let _ = self.call.act(Act::RefuseTransfer {
                refer: asked.refer,
                status,
            });
        }
    }
}

impl Drop for TransferRequest {
    fn drop(&mut self) {
        self.refuse(603);
    }
}

/// A call that is to go on with somebody else.
#[derive(Debug)]
pub(crate) struct Continued {
    pub(crate) call: Arc<Shared>,
    pub(crate) asked: TransferAsked,
    /// Who waits for the outcome.
    pub(crate) done: Option<oneshot::Sender<Result<()>>>,
}

impl Continued {
    pub(crate) fn finish(self, result: Result<()>) {
        match (self.done, result) {
            (Some(done), result) => drop(done.send(result)),
            (None, Err(error)) => {
                tracing::info!(call_id = self.call.info.call_id(), %error, "not transferred");
            }
            (None, Ok(())) => {}
        }
    }
}

/// What the far end asks for.
impl Shared {
    /// Our own URI in this call, if it is one that can be written.
    pub(crate) fn local_uri(&self) -> Option<String> {
        let own = self.info.own();
        sip::check_uri(own).is_ok().then(|| own.to_owned())
    }

    /// A REFER came: what is done at once.
    pub(crate) fn on_transfer_asked(self: &Arc<Self>, asked: TransferAsked) -> Option<Act> {
        self.emit(CallEvent::TransferRequested {
            to: asked.target.clone(),
        });
        let refused = |status| {
            let refer = asked.refer;
            Some(Act::RefuseTransfer { refer, status })
        };
        let mut state = self.lock();
        match state.transfers.policy.unwrap_or(self.endpoint.transfers) {
            TransferPolicy::Refuse => refused(603),
            TransferPolicy::Ask if state.transfers.asked.len() >= ASKED => refused(486),
            TransferPolicy::Ask => {
                state.transfers.asked.push_back(asked);
                drop(state);
                self.notify_changed();
                None
            }
            TransferPolicy::Follow => {
                drop(state);
                self.follow(asked, None);
                None
            }
        }
    }

    /// Calls whom the far end named, for this call to go on with. What becomes of it is told to `done`.
    fn follow(self: &Arc<Self>, asked: TransferAsked, done: Option<oneshot::Sender<Result<()>>>) {
        let continued = Continued {
            call: self.clone(),
            asked,
            done,
        };
        tokio::spawn(sip::follow(continued));
    }

    /// The negotiation with somebody else about this call's media, which stays as it is until they answer.
    pub(crate) fn negotiate_anew(&self) -> Result<Negotiation> {
        let endpoint = &self.endpoint;
        let state = self.lock();
        let negotiation = state
            .negotiation
            .as_ref()
            .ok_or(Error::State("the call has no media"))?;
        Ok(negotiation.anew(
            &endpoint.media_options,
            &self.info,
            endpoint.next_seed() >> 2,
            [endpoint.next_secret(), endpoint.next_secret()],
        ))
    }

    /// Whom we called has answered: media goes there from now on.
    pub(crate) fn continue_with(
        &self,
        mut negotiation: Negotiation,
        answer: &[u8],
        with: String,
    ) -> Result<(), String> {
        let negotiated = match negotiation.answered(answer) {
            Some(negotiated) => negotiated.map_err(|error| error.to_string())?,
            None => return Err("it bears no session description".to_owned()),
        };
        let mut state = self.lock();
        let media = state.media.as_ref().ok_or("the call has no media")?;
        media.apply(negotiated).map_err(|error| error.to_string())?;
        self.take_negotiation(&mut state, negotiation);
        drop(state);
        self.emit(CallEvent::Transferred { with });
        Ok(())
    }

    /// Somebody takes the far end's place (RFC 3891); their offer is answered, or without one gets ours. `Err` is the
    /// status that refuses them.
    pub(crate) fn replace_with(&self, offer: Option<&Bytes>, with: String) -> Result<Bytes, u16> {
        if !matches!(*self.phase().borrow(), Phase::Established | Phase::Answered)
            && self.lock().media.is_none()
        {
            return Err(488);
        }
        let mut negotiation = self.negotiate_anew().map_err(|_| 488_u16)?;
        let mut state = self.lock();
        let media = state.media.as_ref().ok_or(488_u16)?;
        let body = match offer {
            None => negotiation.offer(MediaDirection::SendRecv),
            Some(offer) => {
                let (body, negotiated) = negotiation.answer(offer).map_err(|error| {
                    tracing::info!(call_id = self.info.call_id(), %error, "a call that would replace this one is refused");
                    error.status()
                })?;
                media.apply(negotiated).map_err(|_| 500_u16)?;
                body
            }
        };
        self.take_negotiation(&mut state, negotiation);
        // A call of ours that rang is answered by it.
        state.answered_at.get_or_insert_with(Instant::now);
        drop(state);
        self.emit(CallEvent::Transferred { with });
        Ok(body)
    }
}
