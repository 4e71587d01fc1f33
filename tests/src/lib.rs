//! The harness of the interoperability tests: real peers, each test in a network of its own.
//!
//! Purpose: let a test say in a few lines "SIPp calls callbot a thousand times, and a capture shows that every payload came back".
//! The tests themselves are `tests/interop_*.rs`; `cargo xtask interop` runs them.
//!
//! - [`lab`]: a folder, a network namespace and ports for one test, and the decision to skip it where a peer is missing
//! - [`process`]: children that are bounded in time, keep their output and never outlive the test
//! - [`callbot`], [`sipp`], [`scenario`], [`baresip`], [`kamailio`], [`coturn`], [`rtpengine`], [`browser`]: the programs that are driven
//! - [`log`]: what a peer tells over its control connection
//! - [`pki`]: certificates, good ones and bad ones
//! - [`capture`], [`rtp`], [`events`]: what crossed the wire, read and written as pcap
//! - [`wav`]: what was heard, measured
//! - [`mutate`]: messages spoilt at random, the same ones each time
//!
//! Invariants: nothing waits without a deadline; nothing here decodes SIP or RTP by callbot's own code, so that a fault in it cannot
//! excuse itself.

pub mod baresip;
pub mod browser;
pub mod callbot;
pub mod capture;
pub mod coturn;
pub mod dns;
pub mod events;
pub mod kamailio;
pub mod lab;
pub mod log;
pub mod mutate;
pub mod pki;
pub mod process;
pub mod rtp;
pub mod rtpengine;
pub mod scenario;
pub mod sipp;
pub mod wav;

/// What a test needs, in one line.
pub mod prelude {
    pub use std::time::Duration;

    pub use anyhow::{Context as _, Result, bail, ensure};

    pub use crate::baresip::{Baresip, Source, codec_audio};
    pub use crate::browser::{Browser, Library};
    pub use crate::callbot::{Call, Callbot};
    pub use crate::capture::Capture;
    pub use crate::coturn::Coturn;
    pub use crate::dns::Dnsmasq;
    pub use crate::kamailio::{Digest, Kamailio};
    pub use crate::lab::{Lab, Peer, check};
    pub use crate::pki::{Authority, Validity};
    pub use crate::scenario::Scenario;
    pub use crate::sipp::{Sipp, Transport};
    pub use crate::wav::Sound;

    /// Seconds, for deadlines.
    #[must_use]
    pub const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }
}
