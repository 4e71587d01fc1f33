//! Async bots that answer, place, hear, speak and record telephone calls.
//!
//! A [`Bot`] is one call's life in one async function; an [`Endpoint`] listens
//! for calls and places them. The same bot runs over sockets and on an
//! in-memory network ([`driver::memory`]), where tests need no second of real
//! time.
//!
//! ```no_run
//! use callbot_core::{Bot, Endpoint, Gathered, IncomingCall, Result, async_trait};
//! use std::time::Duration;
//!
//! struct PinCheck;
//!
//! #[async_trait]
//! impl Bot for PinCheck {
//!     async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
//!         let call = call.answer().await?;
//!         let recording = call.record("rec/{date}/{call_id}.wav").stereo().start().await?;
//!         match call.gather().prompt("pin.wav").digits(4).finish_on('#').tries(3).await? {
//!             Gathered::Digits(pin) if pin == "1234" => call.play("ok.wav").await?,
//!             _ => call.play("bye.wav").await?,
//!         }
//!         recording.stop().await?;
//!         call.hangup().await
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::builder().listen("udp://0.0.0.0:5060").start().await?;
//! endpoint.serve(|| PinCheck).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `libopus`: Opus by libopus, the reference in C, instead of by the Rust
//!   code that every build has. Its build needs cmake.

mod account;
mod auth;
mod bot;
mod call;
pub mod driver;
mod endpoint;
mod error;
mod guard;
pub mod package;
mod router;
mod run;
mod service;
mod signalling;
mod sound;
mod template;
pub mod trace;

pub use account::{Account, Binding, Registration, RegistrationStatus};
pub use async_trait::async_trait;
pub use auth::{DigestAlgorithm, DigestAuth};
pub use bot::Bot;
pub use call::{
    Answer, AudioIn, AudioOut, Bridge, BridgeEnd, BridgeSide, Bridgeable, Call, CallEvent,
    CallMonitor, Cause, Dial, DtmfMethod, EarlyCall, Gather, Gathered, HangupCause, IncomingCall,
    MusicOnHold, OutgoingCall, Party, Play, PlayEnd, Playback, Reason, Record, RecordEnd, Recorded,
    Recording, SendDtmf, Transfer, TransferPolicy, TransferRequest, Transferred, Transferring,
    bridge,
};
pub use callbot_media::analysis;
pub use callbot_media::codec::Codec;
pub use callbot_media::frame::Frame;
pub use callbot_media::leg::srtp::Profile as SrtpProfile;
pub use callbot_media::leg::transport::Refusals;
pub use callbot_media::player::Prompt;
pub use callbot_media::sdp::{Direction, Keying, SrtpPolicy};
pub use callbot_media::session::Statistics;
pub use callbot_media::tone::Tone;
pub use driver::connection::ConnectionStatistics;
pub use driver::http::{HttpPages, Page};
pub use driver::ice::{IceServer, IceServerError};
pub use driver::shared_port::MediaPortStatistics;
pub use endpoint::{
    Ask, Endpoint, EndpointBuilder, IncomingSubscription, Notification, Publication,
    PublicationStatus, Publish, Refresher, ReliableProvisionals, SessionTimer, Subscribe,
    Subscriber, Subscription, SubscriptionStatus, TextMessage,
};
pub use error::{Error, Result, StartError};
pub use guard::Guarded;
pub use router::Router;
pub use run::{run, shutdown_signal};
pub use service::{Contact, Reply, Request, Service, answer_with};
pub use signalling::sip::Way;
pub use signalling::{CallInfo, Diversion, HistoryEntry, Identity, Privacy};
pub use sound::Sound;
