//! Session descriptions: who sends which codec where (RFC 4566), agreed by offer and answer (RFC 3264).
//!
//! Purpose: turn the bodies that SIP carries into one [`Negotiated`] stream of audio with telephone-events, and write our
//! own bodies. [`Negotiator`] keeps what the rules of RFC 3264 need from one exchange to the next.
//!
//! How media is secured is decided in `security` (profiles, SDES, DTLS-SRTP) and `ice`; [`Negotiated`] names the outcome, which
//! [`crate::leg::transport`] then carries out.
//!
//! Responsibility: the parsing is our own, line by line, and deliberately forgiving: a line that audio does not depend on
//! (a second `s=`, a bandwidth that is no number, an attribute in Latin-1) never costs a call. What audio does depend on
//! is checked, and refused in words.
//!
//! Invariants:
//! - an answer has exactly as many m-lines as its offer, in the same order; what is not taken has port 0;
//! - the version in `o=` grows by one when our description changes, and only then (RFC 3264 section 8);
//! - an exchange that fails leaves the negotiator as it was.

mod base64;
mod crypto;
mod description;
mod ice;
mod negotiator;
mod protocol;
mod security;
mod select;
mod transport;

pub use ice::{LocalIce, NegotiatedIce, RemoteIce};
pub use negotiator::Negotiator;
pub use security::{Keying, MediaSecurity, Security, SrtpPolicy};
pub use transport::StreamName;

use std::net::SocketAddr;

use crate::codec::{Codec, SendParameters};

/// The content type of the bodies that this module reads and writes.
pub const CONTENT_TYPE: &str = "application/sdp";

/// Which way media flows, seen from the side whose description says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// This side sends and does not listen: it holds the other.
    SendOnly,
    /// This side listens and does not send.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// The direction of these two freedoms.
    #[must_use]
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// Whether this side sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether this side receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same flow seen from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Direction::new(self.receives(), self.sends())
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Direction) -> Self {
        Direction::new(
            self.sends() && other.sends(),
            self.receives() && other.receives(),
        )
    }

    /// The attribute's name, such as `sendrecv`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What this side can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The codecs, best first. Offers name them in this order; an answer follows the order of its offer.
    pub codecs: Vec<Codec>,
    /// Whether to take digits as telephone-events (RFC 4733).
    pub telephone_event: bool,
    /// The audio in each packet that we would like to receive, in milliseconds.
    pub ptime_ms: u32,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            codecs: Codec::DEFAULT.to_vec(),
            telephone_event: true,
            ptime_ms: 20,
        }
    }
}

/// One stream of audio, as both sides agreed on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The codec to send.
    pub codec: Codec,
    /// The payload type that the peer expects for it.
    pub send_payload_type: u8,
    /// The payload types that may arrive, and what they mean. One codec may appear under two numbers.
    pub receive_payload_types: Vec<(u8, Codec)>,
    /// The payload type that the peer expects for telephone-events at the codec's clock; `None`: it takes none.
    pub event_send: Option<u8>,
    /// The payload type under which telephone-events may arrive.
    pub event_receive: Option<u8>,
    /// The payload type under which comfort noise (RFC 3389) may arrive.
    pub comfort_noise: Option<u8>,
    /// What the peer's format parameters ask of our encoder.
    pub send_parameters: SendParameters,
    /// Where the peer wants its media. The address is unspecified (`0.0.0.0` or `::`) when the peer holds the call in
    /// the manner of RFC 2543, and when it gave a host name: then media flows once packets come from it.
    pub remote_rtp: SocketAddr,
    /// Where the peer wants its RTCP.
    pub remote_rtcp: SocketAddr,
    /// Whether RTCP shares the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Our direction: `RecvOnly` when the peer holds the call.
    pub direction: Direction,
    /// The audio to send in each packet, in milliseconds.
    pub ptime_ms: u32,
    /// How packets are secured.
    pub security: Security,
    /// How the path between both sides is found; `None`: by the addresses above.
    pub ice: Option<NegotiatedIce>,
}

/// Why a description cannot be agreed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// The body is no session description.
    #[error("the body is no session description: {0}; send SDP that begins with `v=0`")]
    NotSdp(&'static str),
    /// A line that audio depends on cannot be read.
    #[error("line {line} of the session description, `{text}`, {problem}")]
    Malformed {
        /// The line's number, the first being 1.
        line: usize,
        /// The line, cut to a length that fits a log.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no m-line for audio.
    #[error("the session description has no audio; add an `m=audio` line")]
    NoAudio,
    /// There is audio, but none that can be taken.
    #[error("the audio cannot be taken: {0}")]
    Refused(String),
    /// An answer came and no offer of ours was open.
    #[error("an answer came, but nothing was offered; send the offer first")]
    NothingOffered,
}

impl SdpError {
    /// The SIP status code that refuses such a body.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            SdpError::NotSdp(_) | SdpError::Malformed { .. } => 400,
            SdpError::NoAudio | SdpError::Refused(_) => 488,
            SdpError::NothingOffered => 500,
        }
    }
}
