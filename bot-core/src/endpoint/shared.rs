//! What the calls of an endpoint share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngCore;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::TransferPolicy;
use crate::call::negotiate::MediaOptions;
use crate::driver::clock::Clock;
use crate::driver::connection::Links;
use crate::driver::media::MediaHost;
use crate::driver::memory::MemoryHost;
use crate::driver::ports::RtpPorts;
use crate::signalling::sip::{Accounts, Arrival, Locator, ToSip};
use crate::sound::SoundCache;

/// The parts of an endpoint that calls and tasks need.
pub(crate) struct EndpointShared {
    pub(crate) commands: mpsc::Sender<ToSip>,
    pub(crate) arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
    pub(crate) locator: Locator,
    pub(crate) links: Arc<Links>,
    /// Where listeners are bound that come later; `None` is the machine's network.
    pub(crate) memory: Option<MemoryHost>,
    /// Held while a listener is bound.
    pub(crate) binding: tokio::sync::Mutex<()>,
    pub(crate) ports: RtpPorts,
    pub(crate) media: MediaHost,
    pub(crate) media_options: MediaOptions,
    pub(crate) clock: Clock,
    pub(crate) sounds: SoundCache,
    pub(crate) rtp_timeout: Duration,
    /// What is done when a far end asks that a call go on with somebody else.
    pub(crate) transfers: TransferPolicy,
    pub(crate) accounts: Accounts,
    /// How many calls stand.
    pub(crate) active: watch::Sender<usize>,
    /// Bots that run.
    pub(crate) bots: TaskTracker,
    /// Recordings that are being written.
    pub(crate) background: TaskTracker,
    pub(crate) closing: CancellationToken,
    pub(crate) seeds: Mutex<StdRng>,
    /// Where keys come from: apart from the seeds, whose outcome every peer sees.
    pub(crate) secrets: Mutex<StdRng>,
}

impl std::fmt::Debug for EndpointShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let listeners: Vec<_> = self
            .locator
            .listeners()
            .iter()
            .map(ToString::to_string)
            .collect();
        f.debug_struct("Endpoint")
            .field("listeners", &listeners)
            .finish_non_exhaustive()
    }
}

impl EndpointShared {
    /// A number for one session's ids, from the endpoint's seed.
    pub(crate) fn next_seed(&self) -> u64 {
        self.seeds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next_u64()
    }

    /// What the keys of one session are derived from.
    pub(crate) fn next_secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        self.secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(&mut secret);
        secret
    }
}
