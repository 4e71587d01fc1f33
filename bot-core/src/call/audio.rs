//! Raw audio to and from a bot, a frame of 20 ms at a time.
//!
//! Each way is a ring of ten frames. Input drops its oldest frame when the
//! bot is slow, and counts it; output that runs dry is silence.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use callbot_media::frame::Frame;
use callbot_media::player::{AudioSource, SourceState};
use callbot_media::session::{Command, FrameSink};
use futures_core::Stream;
use futures_sink::Sink;

use super::Shared;
use crate::error::{Error, Result};

/// Frames that a ring holds: 200 ms.
const RING: usize = 10;

struct Ring {
    inner: Mutex<Inner>,
}

struct Inner {
    frames: VecDeque<Frame>,
    waker: Option<Waker>,
    closed: bool,
    dropped: u64,
}

impl Ring {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                frames: VecDeque::with_capacity(RING),
                waker: None,
                closed: false,
                dropped: 0,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }
}

/// What the far end says: a stream of frames, 50 a second, at the call's audio rate.
///
/// Dropping it ends the tap. `next` is cancel safe.
pub struct AudioIn {
    ring: Arc<Ring>,
}

/// What the bot says: a sink of frames. `send` waits while the ring is full,
/// so a bot that sends as fast as it can runs 200 ms ahead at most.
///
/// Dropping it gives the outgoing audio back to playbacks and silence.
pub struct AudioOut {
    call: Arc<Shared>,
    ring: Arc<Ring>,
}

struct Tap(Arc<Ring>);

impl FrameSink for Tap {
    fn write(&mut self, frame: &Frame) -> bool {
        let mut inner = self.0.lock();
        if inner.frames.len() >= RING {
            inner.frames.pop_front();
            inner.dropped += 1;
        }
        inner.frames.push_back(frame.clone());
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
        !inner.closed
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Reads the ring of an [`AudioOut`] on the media thread.
struct Feed {
    ring: Arc<Ring>,
    rest: Vec<i16>,
    at: usize,
}

impl AudioSource for Feed {
    fn read(&mut self, out: &mut [i16]) -> SourceState {
        let mut filled = 0;
        while filled < out.len() {
            if self.at >= self.rest.len() {
                let mut inner = self.ring.lock();
                let Some(frame) = inner.frames.pop_front() else {
                    return match (filled, inner.closed) {
                        (0, true) => SourceState::Ended,
                        (0, false) => SourceState::Starved,
                        (filled, _) => SourceState::Ready(filled),
                    };
                };
                if let Some(waker) = inner.waker.take() {
                    waker.wake();
                }
                self.rest.clear();
                self.rest.extend_from_slice(frame.samples());
                self.at = 0;
            }
            let take = (out.len() - filled).min(self.rest.len() - self.at);
            out[filled..filled + take].copy_from_slice(&self.rest[self.at..self.at + take]);
            filled += take;
            self.at += take;
        }
        SourceState::Ready(filled)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.ring.close();
    }
}

impl AudioIn {
    pub(crate) fn open(call: &Shared) -> Result<Self> {
        let ring = Ring::new();
        call.media(Command::Sink(Some(Box::new(Tap(ring.clone())))))?;
        Ok(Self { ring })
    }

    /// The next frame; `None` once the call has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Frame> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Frames dropped because they were not read within 200 ms.
    pub fn dropped(&self) -> u64 {
        self.ring.lock().dropped
    }
}

impl Stream for AudioIn {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let mut inner = self.ring.lock();
        if let Some(frame) = inner.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if inner.closed {
            return Poll::Ready(None);
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for AudioIn {
    fn drop(&mut self) {
        // The session drops the tap when it finds it closed.
        self.ring.lock().closed = true;
    }
}

impl AudioOut {
    pub(crate) fn open(call: Arc<Shared>) -> Result<Self> {
        let ring = Ring::new();
        let feed = Feed {
            ring: ring.clone(),
            rest: Vec::with_capacity(callbot_media::frame::MAX_FRAME_SAMPLES),
            at: 0,
        };
        call.media(Command::Source(Some(Box::new(feed))))?;
        Ok(Self { call, ring })
    }

    /// Queues one frame, waiting while the ring is full. Cancel safe: the
    /// frame is queued or it is not.
    ///
    /// # Errors
    /// [`Error::HungUp`] once the call has ended.
    pub async fn send(&mut self, frame: Frame) -> Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await?;
        Pin::new(self).start_send(frame)
    }

    fn closed(&self) -> Error {
        match self.call.cause() {
            Some(cause) => Error::HungUp(cause),
            None => Error::State("another audio source took over"),
        }
    }
}

impl Sink<Frame> for AudioOut {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = self.ring.lock();
        if inner.closed {
            drop(inner);
            return Poll::Ready(Err(self.closed()));
        }
        if inner.frames.len() < RING {
            return Poll::Ready(Ok(()));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, frame: Frame) -> Result<()> {
        let mut inner = self.ring.lock();
        if inner.closed {
            drop(inner);
            return Err(self.closed());
        }
        inner.frames.push_back(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = self.ring.lock();
        if inner.frames.is_empty() || inner.closed {
            return Poll::Ready(Ok(()));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}

impl Drop for AudioOut {
    fn drop(&mut self) {
        // What is queued is still heard; the source ends when it is.
        self.ring.lock().closed = true;
    }
}

impl std::fmt::Debug for AudioIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioIn")
            .field("dropped", &self.dropped())
            .finish()
    }
}

impl std::fmt::Debug for AudioOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioOut").finish_non_exhaustive()
    }
}
