//! One telephone call: its state, and the handles that a bot holds on it.
//!
//! [`Shared`] is the call. The signalling task and the media threads tell it
//! what happened ([`Shared::on_signal`], [`Shared::on_media`]); both are
//! synchronous and short, so that no queue of events stands between a packet
//! and the bot that waits for it. Handles ([`IncomingCall`], [`OutgoingCall`],
//! [`EarlyCall`], [`Call`]) wait for what these change.

mod active;
mod audio;
mod bridge;
mod cause;
mod dtmf;
mod early;
mod event;
mod gather;
mod hold;
mod incoming;
mod monitor;
pub(crate) mod negotiate;
mod outgoing;
mod playback;
mod reason;
mod recording;
mod shared;
mod texting;
mod transfer;

pub use active::Call;
pub use audio::{AudioIn, AudioOut};
pub use bridge::{Bridge, BridgeEnd, BridgeSide, Bridgeable, bridge};
pub use cause::{Cause, HangupCause, Party};
pub use dtmf::{DtmfMethod, SendDtmf};
pub use early::EarlyCall;
pub use event::CallEvent;
pub use gather::{Gather, Gathered};
pub use hold::MusicOnHold;
pub use incoming::{Answer, IncomingCall};
pub use monitor::CallMonitor;
pub use outgoing::{Dial, OutgoingCall};
pub use playback::{Play, PlayEnd, Playback};
pub use reason::Reason;
pub use recording::{Record, RecordEnd, Recorded, Recording};
pub use transfer::{Transfer, TransferPolicy, TransferRequest, Transferred, Transferring};

pub(crate) use outgoing::DialRequest;
pub(crate) use shared::{Guard, Phase, Shared};
pub(crate) use transfer::Continued;
