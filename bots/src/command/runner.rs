//! Serving calls until a signal: what every command that takes calls shares.

use std::cell::Cell;
use std::future::Ready;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use callbot::report::Reporter;
use callbot_core::{
    Bot, CallInfo, Endpoint, EndpointBuilder, HttpPages, RegistrationStatus, Reply, Request,
    Service, async_trait,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::options::{Server, Talk};
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
    let terms = Terms {
        talk: &server.talk,
        log: log::Wishes::default(),
        drain: Rc::new(Cell::new(server.drain)),
        label,
    };
    run(
        builder,
        terms,
        |endpoint, reporter| Ok(make(endpoint, reporter)),
        NEVER,
    )
}

/// How a program serves, beside what it serves.
pub(crate) struct Terms<'a> {
    pub(crate) talk: &'a Talk,
    /// What is logged where neither flags nor the environment say it.
    pub(crate) log: log::Wishes,
    /// How long calls may go on after the first signal.
    pub(crate) drain: Rc<Cell<Duration>>,
    /// What reports call the bot.
    pub(crate) label: &'a str,
}

/// A program that SIGHUP ends, like any other.
const NEVER: Option<fn(&Endpoint, &Reporter) -> Ready<()>> = None;

/// Runs the endpoint with the service that `make` gives, until Ctrl-C or
/// SIGTERM; SIGHUP calls `reload`, if there is one.
pub(crate) fn run<S: Service>(
    builder: EndpointBuilder,
    terms: Terms<'_>,
    make: impl FnOnce(&Endpoint, &Reporter) -> Result<S, Misuse>,
    mut reload: Option<impl AsyncFnMut(&Endpoint, &Reporter)>,
) -> Outcome {
    let _log = log::start(terms.talk, &terms.log);
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        if reload.is_some() {
            signals.catch_hangup()?;
        }
        let endpoint = builder.start().await?;
        announce(&endpoint);
        let (reporter, reports) = Reporter::new(terms.label);
        let writer = output::write_reports(reports, terms.talk.json)?;
        let reported = reporter.wrap(Announced(make(&endpoint, &reporter)?));
        let serving = {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { endpoint.serve(reported).await })
        };
        loop {
            tokio::select! {
                biased;
                () = signals.ends.next() => break,
                () = signals.hangup.next() => {
                    if let Some(reload) = &mut reload {
                        reload(&endpoint, &reporter).await;
                    }
                }
            }
        }
        let standing = endpoint.active_calls();
        if standing > 0 {
            tracing::info!(
                "stopping: {standing} calls stand and may go on for {} s; a second signal ends them at once",
                terms.drain.get().as_secs_f32()
            );
        }
        tokio::select! {
            () = endpoint.shutdown(terms.drain.get()) => {}
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
    for (account, status) in endpoint.watch_registrations() {
        announce_account(account, status);
    }
}

/// Says on standard error how a registration fares, until its account is removed.
pub(crate) fn announce_account(account: String, mut status: watch::Receiver<RegistrationStatus>) {
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

/// The signals that end the program, or have it read its configuration again.
/// They are caught from its making on.
pub(crate) struct Signals {
    ends: Ends,
    hangup: Hangup,
}

struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

/// SIGHUP, for those who asked for it.
struct Hangup(Option<Signal>);

fn catch(kind: SignalKind) -> Result<Signal, Misuse> {
    signal(kind).map_err(|error| Misuse(format!("cannot catch signals: {error}")))
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Misuse> {
        Ok(Self {
            ends: Ends {
                interrupt: catch(SignalKind::interrupt())?,
                terminate: catch(SignalKind::terminate())?,
            },
            hangup: Hangup(None),
        })
    }

    /// SIGHUP no longer ends the program.
    fn catch_hangup(&mut self) -> Result<(), Misuse> {
        self.hangup = Hangup(Some(catch(SignalKind::hangup())?));
        Ok(())
    }

    /// The next Ctrl-C or SIGTERM. Cancel safe.
    pub(crate) async fn next(&mut self) {
        self.ends.next().await;
    }
}

impl Ends {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl Hangup {
    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                let _ = signal.recv().await;
            }
            None => std::future::pending().await,
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
