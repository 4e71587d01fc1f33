//! Serving calls until a signal.

use std::process::ExitCode;
use std::time::Duration;

use callbot::report::Reporter;
use callbot_core::{
    Bot, CallInfo, Endpoint, EndpointBuilder, HttpPages, RegistrationStatus, Reply, Request,
    Service, async_trait,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::options::Server;
use super::{Misuse, Outcome, log, output};

/// How long reports may take once their calls are over.
const REPORTS: Duration = Duration::from_secs(8);

/// Gives every call a bot of `service`, until Ctrl-C or SIGTERM.
pub(crate) fn serve(server: &Server, label: &str, service: impl Service) -> Outcome {
    serve_with(server, label, |_, _| service)
}

/// The same for a service that needs the endpoint, or tells the reporter more.
pub(crate) fn serve_with<S: Service>(
    server: &Server,
    label: &str,
    make: impl FnOnce(&Endpoint, &Reporter) -> S,
) -> Outcome {
    serve_on(server.network.endpoint()?, server, label, make)
}

/// The same beside pages for browsers.
pub(crate) fn serve_pages<S: Service>(
    server: &Server,
    label: &str,
    pages: impl HttpPages,
    make: impl FnOnce(&Endpoint, &Reporter) -> S,
) -> Outcome {
    let builder = server.network.endpoint()?.http_pages(pages);
    serve_on(builder, server, label, make)
}

fn serve_on<S: Service>(
    builder: EndpointBuilder,
    server: &Server,
    label: &str,
    make: impl FnOnce(&Endpoint, &Reporter) -> S,
) -> Outcome {
    let _log = log::start(&server.talk);
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let endpoint = builder.start().await?;
        announce(&endpoint);
        let (reporter, reports) = Reporter::new(label);
        let writer = output::write_reports(reports, server.talk.json)?;
        let reported = reporter.wrap(Announced(make(&endpoint, &reporter)));
        let serving = {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { endpoint.serve(reported).await })
        };
        signals.next().await;
        let standing = endpoint.active_calls();
        if standing > 0 {
            tracing::info!(
                "stopping: {standing} calls stand and may go on for {} s; a second signal ends them at once",
                server.drain.as_secs_f32()
            );
        }
        tokio::select! {
            () = endpoint.shutdown(server.drain) => {}
            () = signals.next() => {
                tracing::info!("stopping at once");
                tokio::select! {
                    () = endpoint.shutdown(Duration::ZERO) => {}
                    () = signals.next() => return Ok(ExitCode::from(130)),
                }
            }
        }
        let _ = serving.await;
        let _ = tokio::time::timeout(REPORTS, reporter.finished()).await;
        drop(reporter);
        let _ = tokio::time::timeout(REPORTS, tokio::task::spawn_blocking(|| writer.join())).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// One thread carries the signalling and the bots: they only wait. Audio runs
/// on the media threads, files are decoded and written on blocking ones. A
/// second thread costs more in wake-ups than it brings.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Misuse> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Misuse(format!("cannot start the async runtime: {error}")))
}

/// Says on standard error where calls are taken, and how registrations fare.
pub(crate) fn announce(endpoint: &Endpoint) {
    for listener in endpoint.listeners() {
        eprintln!("listening on {listener}");
    }
    if let Some(fingerprint) = endpoint.certificate_fingerprint() {
        eprintln!("certificate SHA-256 {fingerprint}");
    }
    for (account, mut status) in endpoint.watch_registrations() {
        tokio::spawn(async move {
            let mut last = RegistrationStatus::Registering;
            loop {
                let now = status.borrow_and_update().clone();
                match &now {
                    RegistrationStatus::Registered { .. }
                        if !matches!(last, RegistrationStatus::Registered { .. }) =>
                    {
                        eprintln!("registered {account}");
                    }
                    RegistrationStatus::Failed { why } if now != last => {
                        eprintln!("registration of {account} failed and is tried again: {why}");
                    }
                    _ => {}
                }
                last = now;
                if status.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The signals that end the program. They are caught from its making on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Misuse> {
        let catch =
            |kind| signal(kind).map_err(|error| Misuse(format!("cannot catch signals: {error}")));
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// The next Ctrl-C or SIGTERM. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Logs each call as it comes in.
struct Announced<S>(S);

#[async_trait]
impl<S: Service> Service for Announced<S> {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        let remote = call.remote().map(|remote| remote.to_string());
        tracing::info!(
            "call from {} to {} by {} {} [{}]",
            call.from(),
            call.target(),
            call.transport(),
            remote.unwrap_or_default(),
            call.call_id()
        );
        self.0.bot(call)
    }

    async fn on_request(&self, request: Request) -> Reply {
        self.0.on_request(request).await
    }
}
