//! Holding the far end, by any direction of media, and taking it off hold again (RFC 3264 section 8.4, RFC 6337).

use std::sync::Arc;

use callbot_media::sdp::Direction;
use tokio::sync::oneshot;

use super::playback::Playback;
use super::{Call, EarlyCall, OutgoingCall, Shared};
use crate::error::{Error, Result};
use crate::signalling::Act;
use crate::sound::Sound;

/// Offers the same media with another direction, and waits for the answer.
async fn offer(shared: &Arc<Shared>, direction: Direction) -> Result<()> {
    let (done, answered) = oneshot::channel();
    let body = {
        let mut state = shared.lock();
        if state.reoffer.is_some() {
            return Err(Error::State("another hold or resume is on its way"));
        }
        let Some(negotiation) = state.negotiation.as_mut() else {
            return Err(Error::State("the call has no media"));
        };
        let body = negotiation.offer(direction);
        state.reoffer = Some(done);
        body
    };
    if let Err(error) = shared.act(Act::Reoffer { body }) {
        let mut state = shared.lock();
        state.reoffer = None;
        if let Some(negotiation) = &mut state.negotiation {
            negotiation.refused();
        }
        return Err(error);
    }
    match shared.until_ended(answered).await? {
        Ok(result) => result,
        Err(_) => Err(Error::HungUp(shared.ended().await)),
    }
}

impl Call {
    /// Puts the far end on hold: we hear nothing of it any more, and it hears
    /// what we play, or silence (re-INVITE with `a=sendonly`).
    ///
    /// # Errors
    /// [`Error::Media`] when the far end refuses, [`Error::State`] while
    /// another hold or resume is on its way.
    pub async fn hold(&self) -> Result<()> {
        self.hold_with(Direction::SendOnly).await
    }

    /// Changes in which directions media goes: [`Direction::SendOnly`] and
    /// [`Direction::Inactive`] hold the far end, with and without sound for
    /// it; with [`Direction::RecvOnly`] it is only listened to.
    ///
    /// # Errors
    /// As [`Call::hold`].
    pub async fn hold_with(&self, direction: Direction) -> Result<()> {
        offer(&self.shared, direction).await
    }

    /// Puts the far end on hold and plays a sound to it, from the beginning
    /// again and again, until it is [resumed](MusicOnHold::resume). What plays
    /// already is heard to its end before.
    ///
    /// # Errors
    /// As [`Call::hold`]; [`Error::Sound`] when the sound cannot be used, the
    /// far end is on hold then all the same.
    pub async fn hold_with_music(&self, sound: impl Into<Sound>) -> Result<MusicOnHold> {
        self.hold().await?;
        let music = self.play(sound).looped().start().await?;
        Ok(MusicOnHold {
            call: self.clone(),
            music,
        })
    }

    /// Takes the far end off hold.
    ///
    /// # Errors
    /// As [`Call::hold`].
    pub async fn resume(&self) -> Result<()> {
        self.hold_with(Direction::SendRecv).await
    }

    /// Whether we hold the far end, and whether it holds us.
    pub fn held(&self) -> (bool, bool) {
        self.shared.lock().held_by
    }
}

impl EarlyCall {
    /// As [`Call::hold`], before the answer (UPDATE, RFC 3311): the caller must
    /// support that and reliable provisional responses.
    ///
    /// # Errors
    /// As [`Call::hold`]; also where the caller does not support it.
    pub async fn hold(&self) -> Result<()> {
        offer(&self.shared, Direction::SendOnly).await
    }

    /// Takes the caller off hold.
    ///
    /// # Errors
    /// As [`EarlyCall::hold`].
    pub async fn resume(&self) -> Result<()> {
        offer(&self.shared, Direction::SendRecv).await
    }
}

impl OutgoingCall {
    /// As [`Call::hold`], before the answer (UPDATE, RFC 3311): the callee must
    /// have sent early media, and support that and reliable provisional
    /// responses.
    ///
    /// # Errors
    /// As [`Call::hold`]; also where the callee does not support it.
    pub async fn hold(&self) -> Result<()> {
        offer(&self.shared, Direction::SendOnly).await
    }

    /// Takes the callee off hold.
    ///
    /// # Errors
    /// As [`OutgoingCall::hold`].
    pub async fn resume(&self) -> Result<()> {
        offer(&self.shared, Direction::SendRecv).await
    }
}

/// A far end on hold that hears music. Dropping it ends the music, not the
/// hold.
#[must_use = "dropping it ends the music"]
#[derive(Debug)]
pub struct MusicOnHold {
    call: Call,
    music: Playback,
}

impl MusicOnHold {
    /// Ends the music and takes the far end off hold.
    ///
    /// # Errors
    /// As [`Call::hold`].
    pub async fn resume(self) -> Result<()> {
        self.music.stop().await?;
        self.call.resume().await
    }
}
