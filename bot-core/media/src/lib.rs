//! SDP, RTP, codecs and audio for telephone calls.
//!
//! Purpose: everything in a call's media that decides what happens next. The crate is pure: it opens no socket, starts no
//! thread and never asks for the time; whoever drives it hands in [`Now`], datagrams and frames, and takes out datagrams,
//! frames and events. That is what lets a thirty-minute call be tested in a fraction of a second.
//!
//! Invariants:
//! - remote bytes never panic and never make memory grow without bound;
//! - nothing allocates on the path of a packet or of a frame once a call stands;
//! - audio moves in [`frame::Frame`]s of 20 ms, mono, 16-bit, at the rate of the negotiated codec.

use std::time::{Instant, SystemTime};

pub mod analysis;
pub mod codec;
pub mod conceal;
pub mod convert;
pub mod dtmf;
pub mod frame;
pub mod jitter;
pub mod leg;
pub mod player;
pub mod receive;
pub mod recorder;
pub mod resample;
pub mod rtp;
pub mod sdp;
pub mod session;
mod stretch;
pub mod tone;

/// The time, as told by whoever drives the crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: every deadline and interval is reckoned on it.
    pub instant: Instant,
    /// The calendar: it reaches only what peers and people read, such as the NTP time in RTCP reports.
    pub wall: SystemTime,
}
