//! From the data of a configuration to what runs: an endpoint's builder, its
//! accounts, and the service that gives each call its bot.

use std::path::Path;

use callbot_core::{
    Bot, CallInfo, Endpoint, EndpointBuilder, IncomingCall, Reply, Request, Result, Router, Sound,
    async_trait,
};

use super::model::{self, BotTable, Config, When};
use crate::report::Reporter;
use crate::{AnswerBot, EchoBot, IvrBot, RecordBot, Template, load_flow};

/// The endpoint that a configuration describes, before it is started.
pub fn endpoint(config: &Config) -> EndpointBuilder {
    let (general, media) = (&config.general, &config.media);
    let mut builder = Endpoint::builder()
        .dtls_srtp(media.dtls_srtp)
        .webrtc(media.webrtc)
        .ice_relay_only(
            media
                .ice_relay_only
                .as_ref()
                .is_some_and(|only| *only.get_ref()),
        );
    match &general.listen {
        Some(urls) if urls.is_empty() => builder = builder.without_listeners(),
        urls => {
            for url in urls.iter().flatten() {
                builder = builder.listen(url.get_ref());
            }
        }
    }
    if let Some(address) = &general.advertise {
        builder = builder.advertise(address.0);
    }
    if let Some(path) = &general.websocket_path {
        builder = builder.websocket_path(path);
    }
    let file = |path: &Path| config.folder.join(path);
    if let Some(certificate) = &config.tls.certificate {
        let key = config.tls.key.as_ref().unwrap_or(certificate);
        builder = builder.certificate(file(certificate.get_ref()), file(key.get_ref()));
    }
    for authority in &config.tls.authorities {
        builder = builder.authority(file(authority.get_ref()));
    }
    if config.tls.insecure {
        builder = builder.without_certificate_checks();
    }
    if let Some(codecs) = &media.codecs {
        builder = builder.codecs(codecs.iter().map(|codec| codec.0));
    }
    if let Some(ports) = &media.rtp_ports {
        builder = builder.rtp_ports(ports.0.0.clone());
    }
    if let Some(srtp) = &media.srtp {
        builder = builder.srtp(srtp.0.0);
    }
    if let Some(timeout) = media.rtp_timeout {
        builder = builder.rtp_timeout(timeout.0);
    }
    for server in &media.ice_servers {
        builder = builder.ice_server(server.get_ref().0.clone());
    }
    if let Some(calls) = config.limits.calls {
        builder = builder.max_calls(calls.0 as usize);
    }
    for configured in &config.accounts {
        builder = builder.account(account(configured));
    }
    builder
}

/// Where a configuration listens, in its order; the endpoint's usual places where it does not say.
pub fn listeners(config: &Config) -> Vec<String> {
    match &config.general.listen {
        Some(urls) => urls.iter().map(|url| url.get_ref().clone()).collect(),
        None => ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// An account as the endpoint registers it.
pub fn account(configured: &model::Account) -> callbot_core::Account {
    let mut account = account_alone(configured);
    if let Some(registrar) = &configured.registrar {
        account = account.registrar(registrar.get_ref());
    }
    account
}

/// The same without its registrar.
pub(super) fn account_alone(configured: &model::Account) -> callbot_core::Account {
    let mut account = callbot_core::Account::new(configured.address.get_ref());
    if let Some(password) = &configured.password {
        account = account.password(&password.0);
    }
    if let Some(username) = &configured.username {
        account = account.username(username);
    }
    if let Some(expires) = configured.expires {
        account = account.expires(expires.0);
    }
    account
}

/// A sound by the name of a file, or `builtin:NAME`; the error says what is wrong with it.
pub(super) fn sound(folder: &Path, name: &str) -> Result<Sound, String> {
    if let Some(builtin) = name.strip_prefix("builtin:") {
        let file = callbot_media_files::by_name(builtin.trim());
        return file
            .map(|file| Sound::from_static(file.path, file.bytes))
            .ok_or_else(|| {
                let names = callbot_media_files::all().iter().map(|file| file.name);
                match crate::flow::nearest(builtin.trim(), names) {
                    Some(near) => {
                        format!("there is no `builtin:{builtin}`; did you mean `builtin:{near}`?")
                    }
                    None => format!("there is no `builtin:{builtin}`"),
                }
            });
    }
    let sound = Sound::from(folder.join(name));
    sound.check().map_err(|error| error.to_string())?;
    Ok(sound)
}

/// The service of a configuration: its routes and bots.
pub struct Service(Router);

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Service {
    /// Makes the bots of `config`; those that place calls do it through `endpoint`.
    ///
    /// # Errors
    /// What can no longer be read or played, in words: files may change after
    /// they were checked.
    pub fn new(config: &Config, endpoint: &Endpoint, reporter: &Reporter) -> Result<Self, String> {
        let maker = Maker {
            config,
            endpoint,
            reporter,
        };
        let mut router = Router::new();
        for route in &config.routes {
            router = maker.route(router, &route.bot, Some(condition(&route.when)))?;
        }
        if let Some(bot) = &config.otherwise {
            router = maker.route(router, bot, None)?;
        }
        Ok(Self(router))
    }
}

#[async_trait]
impl callbot_core::Service for Service {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        self.0.bot(call)
    }

    async fn on_request(&self, request: Request) -> Reply {
        self.0.on_request(request).await
    }
}

type Condition = Box<dyn Fn(&CallInfo) -> bool + Send + Sync>;

/// Whether a route takes a call.
fn condition(when: &When) -> Condition {
    let when = when.clone();
    Box::new(move |call| {
        let called = call.called();
        let any = |numbers: &[String]| numbers.is_empty() || numbers.iter().any(|n| n == called);
        let fits = |patterns: &[super::Word<super::NumberPattern>], number: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.0.0.matches(number))
        };
        any(&when.number.0)
            && (when.prefix.0.is_empty()
                || when
                    .prefix
                    .0
                    .iter()
                    .any(|prefix| called.starts_with(prefix)))
            && fits(&when.pattern.0, called)
            && fits(&when.from.0, call.caller())
            && when
                .header
                .0
                .iter()
                .all(|header| call.header(&header.0.name).map(str::trim) == Some(&header.0.value))
            && when
                .account
                .as_ref()
                .is_none_or(|account| call.account() == Some(account.get_ref()))
    })
}

struct Maker<'a> {
    config: &'a Config,
    endpoint: &'a Endpoint,
    reporter: &'a Reporter,
}

impl Maker<'_> {
    fn route(
        &self,
        router: Router,
        bot: &BotTable,
        when: Option<Condition>,
    ) -> Result<Router, String> {
        fn add(
            router: Router,
            when: Option<Condition>,
            service: impl callbot_core::Service,
        ) -> Router {
            match when {
                Some(when) => router.when(when, service),
                None => router.otherwise(service),
            }
        }
        Ok(match bot {
            BotTable::Echo(echo) => {
                let bot = match (echo.delay, echo.audio) {
                    (Some(delay), _) => EchoBot::new().delay(delay.0),
                    (None, true) => EchoBot::new().audio(),
                    (None, false) => EchoBot::new(),
                };
                add(router, when, move || bot.clone())
            }
            BotTable::Answer(answer) => {
                let bot = self.answer(answer)?;
                add(router, when, move || bot.clone())
            }
            BotTable::Record(record) => {
                let bot = self.record(record)?;
                add(router, when, move || bot.clone())
            }
            BotTable::Ivr(ivr) => {
                let path = self.config.folder.join(ivr.flow.get_ref());
                let loaded = load_flow(&path).map_err(|problems| problems.to_string())?;
                let bot = IvrBot::new(loaded.flow);
                add(router, when, move || bot.clone())
            }
            BotTable::Gateway(gateway) => add(router, when, self.gateway(gateway)),
            BotTable::Reject(reject) => {
                let bot = RejectBot(reject.clone());
                add(router, when, move || bot.clone())
            }
            BotTable::Redirect(redirect) => {
                let bot = RedirectBot(redirect.to.0.clone());
                add(router, when, move || bot.clone())
            }
        })
    }

    fn answer(&self, answer: &model::Answer) -> Result<AnswerBot, String> {
        let mut bot = AnswerBot::new();
        if let Some(time) = answer.ring {
            bot = bot.ring(time.0);
        }
        if let Some(name) = &answer.play {
            bot = bot.play(sound(&self.config.folder, name.get_ref())?);
        }
        if answer.looped {
            bot = bot.looped();
        }
        if let Some(file) = &answer.record {
            bot = bot.record(self.recording(file));
        }
        if answer.stereo {
            bot = bot.stereo();
        }
        if let Some(keys) = &answer.dtmf {
            bot = bot.dtmf(&keys.0.0);
        }
        if let Some(time) = answer.hangup_after {
            bot = bot.hang_up_after(time.0);
        }
        Ok(bot)
    }

    fn record(&self, record: &model::Record) -> Result<RecordBot, String> {
        let file = record.file.as_deref();
        let file = file.unwrap_or("rec/{date}-{from}-{call_id}.wav");
        let mut bot = RecordBot::new(self.recording(file)).beep(record.beep.unwrap_or(true));
        if let Some(max) = record.max {
            bot = bot.max(max.unless_zero());
        }
        if let Some(silence) = record.silence {
            bot = bot.silence(silence.unless_zero());
        }
        if record.stereo {
            bot = bot.stereo();
        }
        if let Some(name) = &record.play {
            bot = bot.greeting(sound(&self.config.folder, name.get_ref())?);
        }
        Ok(bot)
    }

    fn gateway(&self, configured: &model::Gateway) -> crate::Gateway {
        let mut gateway =
            crate::Gateway::new(self.endpoint, configured.to.0.clone()).report_to(self.reporter);
        if let Some(uri) = &configured.caller_id {
            gateway = gateway.caller_id(uri.0.clone());
        }
        if let Some(uri) = &configured.proxy {
            gateway = gateway.proxy(uri);
        }
        if let Some(account) = &configured.dial_account {
            gateway = gateway.account(account.get_ref());
        }
        if let Some(timeout) = configured.timeout {
            gateway = gateway.ring_timeout(timeout.0);
        }
        for header in &configured.add_header.0 {
            gateway = gateway.header(&header.0.name, &header.0.value);
        }
        for name in &configured.pass_header.0 {
            gateway = gateway.pass_header(name);
        }
        if let Some(file) = &configured.record {
            gateway = gateway.record(self.recording(file));
        }
        gateway
    }

    /// Where a recording goes: like every path of the file, from its folder.
    fn recording(&self, file: &str) -> String {
        match self.config.folder.to_str() {
            Some(folder) if Path::new(file).is_relative() && folder != "." => {
                format!("{folder}/{file}")
            }
            _ => file.to_owned(),
        }
    }
}

/// Refuses calls.
#[derive(Clone)]
struct RejectBot(model::Reject);

#[async_trait]
impl Bot for RejectBot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        if let Some(time) = self.0.ring {
            crate::answer::ring(&call, time.0).await?;
        }
        let status = self.0.status.map_or(486, |status| status.0 as u16);
        match &self.0.reason {
            Some(reason) => call.reject_with(status, reason).await,
            None => call.reject(status).await,
        }
    }
}

/// Sends callers elsewhere.
#[derive(Clone)]
struct RedirectBot(Template);

#[async_trait]
impl Bot for RedirectBot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        match self.0.fill(call.info()) {
            Ok(uri) => call.redirect(&uri).await,
            Err(why) => {
                tracing::info!("call refused: {why} [{}]", call.info().call_id());
                call.reject(484).await
            }
        }
    }
}
