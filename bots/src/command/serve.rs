//! `callbot serve`: the bots of a configuration, on one endpoint.
//!
//! Responsibility: reading the configuration again on SIGHUP. Either all of a
//! new file is taken, or none of it; calls that stand keep the bots that they
//! have.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use callbot::config::{self, Account, Config, LogFormat};
use callbot::report::Reporter;
use callbot_core::{Bot, CallInfo, Endpoint, Reply, Request, Service, async_trait};
use clap::Args;

use super::options::Talk;
use super::runner::{self, Terms};
use super::{Misuse, Outcome, log};

/// How long calls may go on after a signal, where the file does not say it.
const DRAIN: Duration = Duration::from_secs(5);
/// Calls at once, where the file does not say it.
const CALLS: usize = 5000;
/// How long a reload waits for registrars to let go of accounts.
const UNREGISTER: Duration = Duration::from_secs(2);

/// Run the bots of a configuration: accounts, listeners, and a bot for each number or pattern.
///
/// SIGHUP reads the file again without dropping a call: new calls meet the new
/// routes, bots, limits, accounts and listeners, calls that stand go on as they
/// are, and what was removed closes when its last call has ended. A file with a
/// mistake is refused as a whole and the old one stays in force. Changes of
/// [media], [tls] and [log] wait for the next start, which is said.
#[derive(Args, Debug)]
#[command(after_help = "\
Example, callbot.toml:
  listen = [\"udp://0.0.0.0:5060\"]

  [[account]]
  address = \"sip:600@pbx.example\"
  password = \"${PBX_PASSWORD}\"

  [[route]]
  number = \"600\"
  bot = \"echo\"

  [[route]]
  pattern = \"1??\"
  bot = \"ivr\"
  flow = \"office.yaml\"

  [otherwise]
  bot = \"reject\"
  status = 404

  callbot check callbot.toml                 what is wrong, by line and column
  callbot serve --config callbot.toml        Ctrl-C or SIGTERM stops it, SIGHUP reads the file again
  callbot check --schema=config              a JSON Schema for your editor

In systemd's journal each line of the log has its priority and no time of its own.")]
pub(crate) struct Serve {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "callbot.toml")]
    config: PathBuf,

    #[command(flatten)]
    talk: Talk,
}

impl Serve {
    pub(crate) fn run(&self) -> Outcome {
        let loaded = config::load(&self.config).map_err(|problems| Misuse(problems.to_string()))?;
        if !loaded.warnings.is_empty() {
            eprintln!("{}", loaded.warnings);
        }
        let config = loaded.config;
        let builder = config::endpoint(&config);
        let mut talk = self.talk.clone();
        talk.json |= config.log.reports;
        let drain = Rc::new(Cell::new(drain(&config)));
        let terms = Terms {
            talk: &talk,
            log: log::Wishes {
                level: config.log.level.clone(),
                json: config
                    .log
                    .format
                    .as_ref()
                    .is_some_and(|it| it.0 == LogFormat::Json),
            },
            drain: drain.clone(),
            label: "serve",
        };
        let current = Arc::new(RwLock::new(Arc::new(Nobody) as Arc<dyn Service>));
        let mut running = Running {
            path: self.config.clone(),
            listening: Vec::new(),
            config: config.clone(),
            current: current.clone(),
            drain,
        };
        runner::run(
            builder,
            terms,
            |endpoint, reporter| {
                let service = config::Service::new(&config, endpoint, reporter).map_err(Misuse)?;
                let swapped = Swapped(current);
                swapped.set(Arc::new(service));
                Ok(swapped)
            },
            Some(async move |endpoint: &Endpoint, reporter: &Reporter| {
                running.reload(endpoint, reporter).await;
            }),
        )
    }
}

fn drain(config: &Config) -> Duration {
    config.general.drain.map_or(DRAIN, |drain| drain.0)
}

/// The service that is in force, behind one that stays.
struct Swapped(Arc<RwLock<Arc<dyn Service>>>);

impl Swapped {
    fn get(&self) -> Arc<dyn Service> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, service: Arc<dyn Service>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = service;
    }
}

#[async_trait]
impl Service for Swapped {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        self.get().bot(call)
    }

    async fn on_request(&self, request: Request) -> Reply {
        self.get().on_request(request).await
    }
}

/// Stands in until there is a configuration.
struct Nobody;

#[async_trait]
impl Service for Nobody {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        callbot_core::Router::new().bot(call)
    }
}

/// What runs, and what of it the file asked for.
struct Running {
    path: PathBuf,
    config: Config,
    /// Each listener as the file names it, and as it is bound.
    listening: Vec<(String, String)>,
    current: Arc<RwLock<Arc<dyn Service>>>,
    drain: Rc<Cell<Duration>>,
}

impl Running {
    /// Takes the file as it is now, or says why not and leaves all as it is.
    async fn reload(&mut self, endpoint: &Endpoint, reporter: &Reporter) {
        if self.listening.is_empty() {
            // The endpoint has them in the order of the file.
            let wanted = config::listeners(&self.config);
            self.listening = wanted.into_iter().zip(endpoint.listeners()).collect();
        }
        if let Err(why) = self.take(endpoint, reporter).await {
            for line in why.lines() {
                tracing::error!("not reloaded: {line}");
            }
            tracing::error!("the configuration from before stays in force");
        }
    }

    async fn take(&mut self, endpoint: &Endpoint, reporter: &Reporter) -> Result<(), String> {
        let loaded = config::load(&self.path).map_err(|problems| problems.to_string())?;
        for line in loaded.warnings.to_string().lines() {
            tracing::warn!("{line}");
        }
        let config = loaded.config;
        let service = config::Service::new(&config, endpoint, reporter)?;
        let wanted = config::listeners(&config);
        let mut listening = self.listen(endpoint, &wanted).await?;
        // From here on nothing can fail: the new file is in force.
        let calls = config.limits.calls.map_or(CALLS, |calls| calls.0 as usize);
        let _ = endpoint.set_max_calls(calls).await;
        self.drain.set(drain(&config));
        Swapped(self.current.clone()).set(Arc::new(service));
        let moved = self.listening.iter().any(|(url, _)| !wanted.contains(url));
        for (url, bound) in std::mem::take(&mut self.listening) {
            if wanted.contains(&url) {
                listening.push((url, bound));
            } else {
                tracing::info!("no new calls at {bound}; it closes when its last call has ended");
                endpoint.remove_listener(&bound);
            }
        }
        self.listening = listening;
        // After the listeners, so that nothing registers on one that closes.
        self.accounts(endpoint, &config, moved).await;
        self.say_what_waits(&config);
        tracing::info!(
            "configuration read again: {} routes, {} accounts, {} listeners",
            config.routes.len(),
            config.accounts.len(),
            wanted.len()
        );
        self.config = config;
        Ok(())
    }

    /// Binds the listeners that are new; all of them, or none.
    async fn listen(
        &self,
        endpoint: &Endpoint,
        wanted: &[String],
    ) -> Result<Vec<(String, String)>, String> {
        let mut added: Vec<(String, String)> = Vec::new();
        let is_new = |url: &&String| self.listening.iter().all(|(have, _)| have != *url);
        for url in wanted.iter().filter(is_new) {
            match endpoint.add_listener(url).await {
                Ok(bound) => {
                    eprintln!("listening on {bound}");
                    added.push((url.clone(), bound));
                }
                Err(error) => {
                    for (_, bound) in &added {
                        endpoint.remove_listener(bound);
                    }
                    return Err(error.to_string());
                }
            }
        }
        Ok(added)
    }

    /// Registers what is new, lets go of what is gone, and does both, one after the other, for what changed; for all, when
    /// a listener has gone, since any may be registered at its address.
    async fn accounts(&self, endpoint: &Endpoint, config: &Config, moved: bool) {
        let (old, new) = (&self.config.accounts, &config.accounts);
        let is_gone = |it: &&Account| moved || !new.contains(it);
        let gone: Vec<&Account> = old.iter().filter(is_gone).collect();
        let is_there = |new: &&Account| gone.iter().any(|old| old.address == new.address);
        let added = new.iter().filter(|it| moved || !old.contains(it));
        let (changed, added): (Vec<&Account>, Vec<&Account>) = added.partition(is_there);
        added
            .iter()
            .for_each(|account| add_account(endpoint, account));
        let removals: Vec<_> = gone
            .iter()
            .map(|account| {
                tokio::spawn(remove_account(
                    endpoint.clone(),
                    account.address.get_ref().clone(),
                ))
            })
            .collect();
        // The same binding is taken back and then made: a registrar that hears it the other way round has none. One
        // that does not answer may not keep the rest waiting; the removals go on by themselves.
        let removed = async {
            for removal in removals {
                let _ = removal.await;
            }
        };
        if tokio::time::timeout(UNREGISTER, removed).await.is_err() {
            tracing::warn!("a registrar does not answer; accounts are changed all the same");
        }
        changed
            .iter()
            .for_each(|account| add_account(endpoint, account));
    }

    fn say_what_waits(&self, config: &Config) {
        let old = &self.config;
        let told =
            |general: &config::General| (general.advertise.clone(), general.websocket_path.clone());
        for (what, changed) in [
            ("[media]", old.media != config.media),
            ("[tls]", old.tls != config.tls),
            ("[log]", old.log != config.log),
            (
                "advertise or websocket_path",
                told(&old.general) != told(&config.general),
            ),
        ] {
            if changed {
                tracing::warn!("a change of {what} takes effect when callbot is started again");
            }
        }
    }
}

fn add_account(endpoint: &Endpoint, account: &Account) {
    let address = account.address.get_ref();
    match endpoint.add_account(config::account(account)) {
        Ok(status) => runner::announce_account(address.clone(), status),
        Err(error) => tracing::error!("account {address} is not taken up: {error}"),
    }
}

async fn remove_account(endpoint: Endpoint, address: String) {
    match endpoint.remove_account(&address).await {
        Ok(()) => tracing::info!("{address} is no longer registered"),
        Err(error) => {
            tracing::warn!("{address} may stay registered until its time is up: {error}");
        }
    }
}
