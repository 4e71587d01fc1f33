//! Two calls joined: each far end hears the other.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use super::{Call, EarlyCall, HangupCause, OutgoingCall, Shared};
use crate::error::{Error, Result};

/// A call that [`bridge`] can join: one that has media, be it answered or not.
///
/// [`Call`], [`EarlyCall`] and [`OutgoingCall`] are; the trait is sealed.
pub trait Bridgeable: sealed::HasLine {}

impl Bridgeable for Call {}
impl Bridgeable for EarlyCall {}
impl Bridgeable for OutgoingCall {}

mod sealed {
    use std::sync::Arc;

    use crate::call::{Call, EarlyCall, OutgoingCall, Shared};

    /// The call behind a handle.
    #[derive(Debug)]
    pub struct Line(pub(crate) Arc<Shared>);

    pub trait HasLine {
        fn line(&self) -> Line;
    }

    impl HasLine for Call {
        fn line(&self) -> Line {
            Line(self.shared.clone())
        }
    }

    impl HasLine for EarlyCall {
        fn line(&self) -> Line {
            Line(self.shared.clone())
        }
    }

    impl HasLine for OutgoingCall {
        fn line(&self) -> Line {
            Line(self.shared.clone())
        }
    }
}

/// Joins two calls, from now on: what one far end says, the other hears, and
/// keys that one presses are pressed at the other.
///
/// Both sides may have other legs, codecs, rates and packet lengths. Where both
/// negotiated the same codec and packet length, packets pass as they are and
/// cost no delay worth naming; else the sound is decoded and encoded again,
/// which costs the delay of one jitter buffer (20 ms at least, 40 ms at first).
/// Keys cross as the other side takes them: as RFC 4733 events, else by INFO
/// (`application/dtmf-relay`), each once.
///
/// An [`EarlyCall`] or [`OutgoingCall`] bears early media: bridge a caller's
/// early call to the call that is placed for him, and he hears it ring. The
/// bridge stays when either is answered.
///
/// While a call is bridged, its events, statistics and recordings go on, and
/// digits count for the bot too; its playbacks, raw audio and echoes wait, as
/// they do while a call is held, and go on after it. What the bot sends with
/// `send_dtmf` goes out before what crosses. [`CallEvent::Voice`](super::CallEvent::Voice)
/// is told only where the sound is decoded. A side that is held gets nothing,
/// and the other then hears silence; nothing is torn down.
///
/// ```no_run
/// # use callbot_core::{Endpoint, IncomingCall, Result, bridge};
/// # async fn connect(endpoint: &Endpoint, call: IncomingCall) -> Result<()> {
/// let call = call.answer().await?;
/// let agent = endpoint.dial("sip:agent@pbx.example").await?;
/// let ended = bridge(&call, &agent)?.await;
/// println!("{:?} ended: {}", ended.side, ended.cause);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::HungUp`] when one has ended, [`Error::State`] when one is bridged
/// already, has no media yet, or both are the same call, [`Error::Exhausted`]
/// when the media threads are overloaded. Nothing is changed then.
pub fn bridge(first: &impl Bridgeable, second: &impl Bridgeable) -> Result<Bridge> {
    let (first, second) = (first.line().0, second.line().0);
    if Arc::ptr_eq(&first, &second) {
        return Err(Error::State("a call cannot be bridged with itself"));
    }
    for call in [&first, &second] {
        if let Some(cause) = call.cause() {
            return Err(Error::HungUp(cause));
        }
    }
    let other = {
        // Two bridges of the same calls at once lock them in one order.
        let (mut one, mut two);
        if Arc::as_ptr(&first) < Arc::as_ptr(&second) {
            one = first.lock();
            two = second.lock();
        } else {
            two = second.lock();
            one = first.lock();
        }
        if one.bridged || two.bridged {
            return Err(Error::State(
                "a call is in one bridge at a time: stop the other bridge first",
            ));
        }
        let (Some(a), Some(b)) = (one.media.as_mut(), two.media.as_mut()) else {
            return Err(Error::State(
                "only calls with media can be bridged: answer it first, or use progress() for early media",
            ));
        };
        if a.in_memory() != b.in_memory() {
            return Err(Error::State(
                "a call in memory and one over sockets live in different times: they cannot be bridged",
            ));
        }
        a.bridge(b)
            .map_err(|error| Error::Exhausted(error.to_string()))?;
        let other = b.id();
        one.bridged = true;
        two.bridged = true;
        other
    };
    Ok(Bridge {
        calls: [first, second],
        other,
    })
}

/// Two calls that are joined. Await it, or [`ended`](Bridge::ended), for the
/// end of either call; drop it or [`stop`](Bridge::stop) it, and both calls are
/// the bot's again. It keeps neither call alive.
#[must_use = "dropping a bridge ends it: await it, or keep it for as long as the calls are to be joined"]
#[derive(Debug)]
pub struct Bridge {
    calls: [Arc<Shared>; 2],
    /// The second call's session.
    other: u64,
}

/// One of the two calls of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BridgeSide {
    /// The one that was named first.
    First,
    /// The one that was named second.
    Second,
}

/// How a bridge ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeEnd {
    /// The call that ended; the other still stands unless its end crossed.
    pub side: BridgeSide,
    /// Why it ended.
    pub cause: HangupCause,
}

impl Bridge {
    /// Waits until either call ends. Cancel safe: dropping the future leaves the
    /// bridge as it is.
    pub async fn ended(&self) -> BridgeEnd {
        let [first, second] = &self.calls;
        tokio::select! {
            biased;
            cause = first.ended() => BridgeEnd { side: BridgeSide::First, cause },
            cause = second.ended() => BridgeEnd { side: BridgeSide::Second, cause },
        }
    }

    /// Ends the bridge; the calls go on. The same as dropping it.
    pub fn stop(self) {}
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let [first, second] = &self.calls;
        // A session that was closed has left its bridge already.
        if let Some(media) = &first.lock().media {
            let _ = media.part(self.other);
        }
        first.lock().bridged = false;
        second.lock().bridged = false;
    }
}

/// Waits for the end of either call. Dropping the future ends the bridge.
impl IntoFuture for Bridge {
    type Output = BridgeEnd;
    type IntoFuture = Pin<Box<dyn Future<Output = BridgeEnd> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.ended().await })
    }
}
