//! What a session can be told to do.

use std::time::Duration;

use crate::dtmf::{Digit, Press};
use crate::frame::Frame;
use crate::player::{AudioSource, Playback};
use crate::recorder::RecordingSink;

/// Takes every frame that is played out: the raw audio of the far end.
pub trait FrameSink: Send {
    /// Takes in the next 20 ms. It is called on the media thread and must never wait. `false`: it wants no more.
    fn write(&mut self, frame: &Frame) -> bool;
}

/// An order to a [`super::MediaSession`]. Ids are the caller's own; events name them again.
pub enum Command {
    /// Play this after whatever plays now and waits.
    Play {
        /// Names it in events and in [`Command::StopPlay`].
        id: u64,
        /// What to play.
        playback: Playback,
        /// Whether a digit ends it: within one frame, and also while it still waits for its turn. A digit whose
        /// [`super::MediaEvent::DigitStarted`] nobody has polled yet counts as well.
        stop_on_digit: bool,
    },
    /// End a playback that plays or waits.
    StopPlay {
        /// Which.
        id: u64,
    },
    /// Hold a playback where it is.
    PausePlay {
        /// Which.
        id: u64,
    },
    /// Let a paused playback go on.
    ResumePlay {
        /// Which.
        id: u64,
    },
    /// Go to another place of a playback.
    SeekPlay {
        /// Which.
        id: u64,
        /// The place in the source.
        position: Duration,
    },
    /// Record both sides from now on. The sink gets 20 ms of each a frame, at the session's rate
    /// ([`super::MediaSession::audio_rate`]) as it is now: a later change of the codec does not change it.
    Record {
        /// Names it in events and in [`Command::StopRecord`].
        id: u64,
        /// Where the samples go. It is dropped when the recording ends.
        sink: Box<dyn RecordingSink>,
    },
    /// Stop recording.
    StopRecord {
        /// Which.
        id: u64,
    },
    /// Press keys, after those that are being pressed.
    SendDigits {
        /// Names it in [`super::MediaEvent::DigitsSent`].
        id: u64,
        /// The keys and pauses.
        presses: Vec<Press>,
        /// How long each key is held, in milliseconds.
        tone_ms: u32,
        /// The time between two keys, in milliseconds.
        gap_ms: u32,
    },
    /// Give up the digits that are not pressed yet.
    StopDigits {
        /// Which.
        id: u64,
    },
    /// A digit came by SIP INFO. Within 200 ms of the same key as a telephone-event it is that key's duplicate.
    InfoDigit {
        /// The key.
        digit: Digit,
        /// How long it was held.
        duration: Duration,
    },
    /// Send every packet of audio and telephone-event back at once, payload untouched. While something plays or digits are
    /// being sent, the packets are taken in but not sent back.
    Reflect(bool),
    /// Play the far end back to itself through decoder and jitter buffer while nothing else plays.
    Loopback {
        /// How much later, beyond what the jitter buffer takes; counted in whole frames, at most 10 s.
        delay: Duration,
    },
    /// End the loopback.
    StopLoopback,
    /// Send this audio while nothing plays; `None` ends it.
    Source(Option<Box<dyn AudioSource>>),
    /// Hand every frame of the far end to this sink; `None` ends it.
    Sink(Option<Box<dyn FrameSink>>),
    /// Say goodbye in RTCP, end every recording and playback, and send nothing more.
    Close,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, id) = match self {
            Command::Play { id, .. } => ("Play", Some(id)),
            Command::StopPlay { id } => ("StopPlay", Some(id)),
            Command::PausePlay { id } => ("PausePlay", Some(id)),
            Command::ResumePlay { id } => ("ResumePlay", Some(id)),
            Command::SeekPlay { id, .. } => ("SeekPlay", Some(id)),
            Command::Record { id, .. } => ("Record", Some(id)),
            Command::StopRecord { id } => ("StopRecord", Some(id)),
            Command::SendDigits { id, .. } => ("SendDigits", Some(id)),
            Command::StopDigits { id } => ("StopDigits", Some(id)),
            Command::InfoDigit { .. } => ("InfoDigit", None),
            Command::Reflect(_) => ("Reflect", None),
            Command::Loopback { .. } => ("Loopback", None),
            Command::StopLoopback => ("StopLoopback", None),
            Command::Source(_) => ("Source", None),
            Command::Sink(_) => ("Sink", None),
            Command::Close => ("Close", None),
        };
        match id {
            Some(id) => write!(formatter, "{name}({id})"),
            None => formatter.write_str(name),
        }
    }
}
