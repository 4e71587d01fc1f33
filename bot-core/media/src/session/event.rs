//! What a session tells of.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::dtmf::Digit;
use crate::leg::dtls::DtlsRole;
use crate::leg::ice::IceState;
use crate::leg::srtp::Profile;
use crate::sdp::Keying;

/// Why a playback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayEnd {
    /// It was played to its end.
    Finished,
    /// It was told to stop, or the session closed.
    Stopped,
    /// A digit stopped it.
    Digit,
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordEnd {
    /// It was told to stop, or the session closed.
    Stopped,
    /// The sink took no more.
    SinkClosed,
}

/// Something that happened in a session's media.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// The first frame of a playback goes out.
    PlayStarted {
        /// Which.
        id: u64,
    },
    /// A playback ended.
    PlayEnded {
        /// Which.
        id: u64,
        /// Why.
        reason: PlayEnd,
        /// How much of it was sent.
        played: Duration,
    },
    /// The far end pressed a key.
    DigitStarted {
        /// The key.
        digit: Digit,
        /// When its first packet arrived.
        at: Instant,
    },
    /// The far end let go of it.
    DigitEnded {
        /// The key.
        digit: Digit,
        /// How long it was held, in milliseconds.
        duration_ms: u32,
        /// When that became known.
        at: Instant,
    },
    /// The digits of one command were sent.
    DigitsSent {
        /// Which.
        id: u64,
        /// Whether all of them were: `false` when they were given up, or the session closed.
        complete: bool,
    },
    /// Digits cannot go as telephone-events: the peer takes none. Send them by INFO instead.
    DigitsUnsupported {
        /// Which command.
        id: u64,
    },
    /// A key of the bridged partner's far end is to be told to ours by SIP INFO: it takes no telephone-events.
    InfoDigit {
        /// The key.
        digit: Digit,
        /// How long it was held, in milliseconds.
        duration_ms: u32,
    },
    /// The first packet came from the far end.
    FirstRtp {
        /// From where.
        source: SocketAddr,
    },
    /// Media is secured from now on.
    Secured {
        /// Where the keys come from.
        keying: Keying,
        /// Cipher and tag.
        profile: Profile,
        /// Our part in the DTLS handshake, if there was one.
        role: Option<DtlsRole>,
    },
    /// Media is not secured any more: the peer offered plain RTP in a newer exchange, and that was agreed on.
    Unsecured,
    /// The media cannot be secured, no path to the peer was found, or the peer's consent to be sent media ran out (RFC 7675):
    /// there will be none, and the call is of no use.
    SecurityFailed {
        /// Why, for people.
        text: String,
    },
    /// The state of ICE changed.
    Ice {
        /// Whether there is a path.
        connected: bool,
        /// How far it is.
        state: IceState,
    },
    /// The far end's packets come from another place than before; ours go there now.
    RemoteMoved {
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
    },
    /// Nothing came for too long.
    RtpTimeout {
        /// What is known about why, for people.
        text: String,
    },
    /// Packets come again.
    RtpResumed,
    /// The far end said goodbye in RTCP.
    RtcpBye,
    /// A recording ended.
    RecordEnded {
        /// Which.
        id: u64,
        /// Why.
        reason: RecordEnd,
        /// How long it is.
        duration: Duration,
    },
    /// The raw audio given with [`super::Command::Source`] came to its end.
    SourceEnded,
    /// The far end began or ceased to speak.
    VoiceChanged {
        /// Whether it speaks now.
        speaking: bool,
        /// When.
        at: Instant,
    },
}
