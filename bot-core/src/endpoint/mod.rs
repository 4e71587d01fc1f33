//! An endpoint: listeners, accounts and ports, through which bots take and place calls.

mod accounts;
mod ask;
mod builder;
mod listeners;
mod message;
mod notifier;
mod publication;
mod serve;
mod shared;
mod signalling_options;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub use ask::Ask;
pub(crate) use ask::AskRequest;
pub use builder::EndpointBuilder;
pub(crate) use message::Sender;
pub use message::TextMessage;
pub use notifier::{IncomingSubscription, Subscriber};
pub(crate) use publication::Published;
pub use publication::{Publication, PublicationStatus, Publish};
pub(crate) use shared::EndpointShared;
pub use signalling_options::{Refresher, ReliableProvisionals, SessionTimer};
pub use subscription::{Notification, Subscribe, Subscription, SubscriptionStatus};
pub(crate) use subscription::{Told as SubscriptionTold, Wanted as SubscriptionWanted};

use crate::call::{Dial, IncomingCall};
use crate::driver::connection::ConnectionStatistics;
use crate::driver::shared_port::MediaPortStatistics;
use crate::error::Result;
use crate::service::{Reply, Service};
use crate::signalling::sip::{self, Arrival, ToSip};

/// How long bots may go on after their calls were hung up.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Takes and places calls. Clones are handles on the same endpoint; when the
/// last one is dropped its calls end. [`Endpoint::shutdown`] ends them politely.
#[derive(Clone, Debug)]
pub struct Endpoint {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<EndpointShared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        let (done, _) = oneshot::channel();
        let commands = &self.shared.commands;
        let _ = commands.try_send(ToSip::HangUpAll);
        let _ = commands.try_send(ToSip::Close { done });
    }
}

impl Endpoint {
    /// Starts to describe an endpoint.
    pub fn builder() -> EndpointBuilder {
        EndpointBuilder::default()
    }

    pub(crate) fn new(shared: Arc<EndpointShared>) -> Self {
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    fn shared(&self) -> &Arc<EndpointShared> {
        &self.handle.shared
    }

    /// Gives each call a bot of its own, until the endpoint is shut down.
    /// One service at a time: a second one waits for the first to end.
    ///
    /// Dropping the future stops taking calls; those that stand go on.
    ///
    /// # Errors
    /// None today; the result lets `main` end with it.
    pub async fn serve(&self, service: impl Service) -> Result<()> {
        serve::serve(self.shared(), Arc::new(service)).await;
        Ok(())
    }

    /// The next call, for programs that are no [`Service`]; `None` after the
    /// shutdown. Requests outside calls are refused meanwhile. Cancel safe.
    pub async fn accept(&self) -> Option<IncomingCall> {
        let shared = self.shared();
        let mut arrivals = shared.arrivals.lock().await;
        loop {
            let arrival = tokio::select! {
                biased;
                () = shared.closing.cancelled() => return None,
                arrival = arrivals.recv() => arrival?,
            };
            match arrival {
                Arrival::Call(call) => return Some(IncomingCall::new(call)),
                Arrival::Request(pending, _) => pending.reply(Reply::status(405)).await,
                Arrival::Subscription(subscription) => {
                    let _ = subscription.reject(480).await;
                }
            }
        }
    }

    /// Places a call; awaiting it gives the call once it is answered.
    pub fn dial(&self, uri: impl Into<String>) -> Dial {
        Dial::new(self.shared().clone(), uri.into())
    }

    /// Whether a call to `uri`, sent by way of `proxy` if there is one, would
    /// come back to this endpoint: who passes calls on should not place it.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Uri`](crate::Error::Uri) when the URI cannot be called.
    pub async fn leads_here(&self, uri: &str, proxy: Option<&str>) -> Result<bool> {
        sip::leads_here(self.shared(), uri, proxy).await
    }

    /// Asks a SIP peer whether it is there (OPTIONS); gives its status.
    ///
    /// # Errors
    /// [`Error::HungUp`](crate::Error::HungUp) when it does not answer, [`Error::Uri`](crate::Error::Uri) for a bad URI.
    pub async fn options(&self, uri: &str) -> Result<u16> {
        sip::options(self.shared(), uri)
            .await
            .map(|reply| reply.code())
    }

    /// The listeners as they are bound, such as `udp://127.0.0.1:5060`.
    pub fn listeners(&self) -> Vec<String> {
        self.shared()
            .locator
            .listeners()
            .iter()
            .filter(|listener| listener.is_open())
            .map(ToString::to_string)
            .collect()
    }

    /// A URI under which this machine can call the endpoint, with `user`.
    pub fn uri(&self, user: &str) -> String {
        self.shared().locator.uri(user)
    }

    /// The SHA-256 fingerprint of the certificate that TLS and WSS listeners show, as browsers write it.
    pub fn certificate_fingerprint(&self) -> Option<&str> {
        self.shared().links.tls.fingerprint()
    }

    /// What TCP, TLS, WS and WSS connections brought so far, and what was refused of it.
    pub fn connections(&self) -> ConnectionStatistics {
        self.shared().links.counters.read()
    }

    /// What the UDP ports brought so far that ICE legs share, and what of it was
    /// nobody's. What was refused of one call's packets is in its
    /// [`statistics`](crate::Call::statistics).
    pub fn media_ports(&self) -> MediaPortStatistics {
        self.shared().media.shared_ports()
    }

    /// Calls that stand now.
    pub fn active_calls(&self) -> usize {
        *self.shared().active.borrow()
    }

    /// Takes no more calls, lets those that stand finish for `drain`, hangs the
    /// rest up, unregisters, and waits until recordings are whole.
    pub async fn shutdown(&self, drain: Duration) {
        let shared = self.shared();
        // Who runs a bot from the command line has no other place to read them.
        let (connections, media_ports) = (self.connections(), self.media_ports());
        tracing::info!(
            ?connections,
            ?media_ports,
            "what strangers and peers brought until now"
        );
        let _ = shared.commands.send(ToSip::Refuse).await;
        shared.closing.cancel();
        let mut active = shared.active.subscribe();
        let _ = tokio::time::timeout(drain, active.wait_for(|calls| *calls == 0)).await;
        let _ = shared.commands.send(ToSip::HangUpAll).await;
        shared.bots.close();
        let _ = tokio::time::timeout(AFTERMATH, shared.bots.wait()).await;
        let (done, closed) = oneshot::channel();
        if shared.commands.send(ToSip::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
        shared.background.close();
        let _ = tokio::time::timeout(AFTERMATH, shared.background.wait()).await;
    }
}
