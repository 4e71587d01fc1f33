//! What a shape cannot say: whether the parts of a configuration fit each
//! other, and the files and addresses that it names.

use std::path::{Path, PathBuf};

use callbot_core::{Endpoint, IceServer, SrtpPolicy};
use toml::Spanned;

use super::bots;
use super::model::{BotTable, Config, When};
use super::read::Reader;
use crate::flow::nearest;
use crate::load_flow;

impl Reader<'_> {
    /// Tells what is wrong with a configuration whose shape was read.
    pub(super) fn check(&mut self, config: &Config) {
        self.listeners(config);
        self.certificates(config);
        self.media(config);
        self.accounts(config);
        let mut taken: Vec<&When> = Vec::new();
        for route in &config.routes {
            if let Some(account) = &route.when.account {
                self.account_named(config, account);
            }
            if let Some(earlier) = taken
                .iter()
                .find(|earlier| ***earlier == When::default() || ***earlier == route.when)
            {
                let why = if **earlier == When::default() {
                    "a route without conditions before it takes every call; move it behind this one, or make it [otherwise]"
                } else {
                    "a route before it has the same conditions"
                };
                let text = format!("this route takes no call: {why}");
                self.warning(route.at.clone(), text);
            }
            taken.push(&route.when);
            self.bot_table(config, &route.bot);
        }
        if let Some(bot) = &config.otherwise {
            self.bot_table(config, bot);
        }
        if config.routes.is_empty() && config.otherwise.is_none() && !self.failed() {
            self.warning(
                0..0,
                "there is no [[route]] and no [otherwise]: every call is refused with 404",
            );
        }
    }

    fn listeners(&mut self, config: &Config) {
        for url in config.general.listen.iter().flatten() {
            if let Err(error) = Endpoint::check_listener(url.get_ref()) {
                self.error(url.span(), error.to_string());
            }
        }
    }

    fn certificates(&mut self, config: &Config) {
        let tls = &config.tls;
        if let (None, Some(key)) = (&tls.certificate, &tls.key) {
            self.error(
                key.span(),
                "a `key` needs its `certificate`: name the PEM file of the chain",
            );
        }
        let files = tls
            .certificate
            .iter()
            .chain(&tls.key)
            .chain(&tls.authorities);
        for file in files {
            let path = config.folder.join(file.get_ref());
            if let Err(error) = std::fs::File::open(&path) {
                let text = format!("{} cannot be read: {error}", path.display());
                self.error(file.span(), text);
            }
        }
    }

    fn media(&mut self, config: &Config) {
        let media = &config.media;
        for server in &media.ice_servers {
            let named = &server.get_ref().0;
            if named.needs_password() {
                self.error(
                    server.span(),
                    format!(
                        "{named} needs a user and a password: write turn:USER:${{PASSWORD}}@HOST"
                    ),
                );
            }
        }
        let relayed = |server: &Spanned<super::Word<IceServer>>| server.get_ref().0.is_relay();
        if let Some(only) = &media.ice_relay_only
            && *only.get_ref()
            && !media.ice_servers.iter().any(relayed)
        {
            self.error(only.span(), "`ice_relay_only` needs a TURN server: add turn:USER:${PASSWORD}@HOST to `ice_servers`");
        }
        let off = media
            .srtp
            .as_ref()
            .is_some_and(|srtp| srtp.0.0 == SrtpPolicy::Off);
        if off && (media.dtls_srtp || media.webrtc) {
            self.error(0..0, "[media] `dtls_srtp` and `webrtc` ask for what `srtp = \"off\"` forbids: leave one of them out");
        }
    }

    fn accounts(&mut self, config: &Config) {
        for (index, account) in config.accounts.iter().enumerate() {
            let address = account.address.get_ref();
            if config.accounts[..index]
                .iter()
                .any(|other| other.address.get_ref() == address)
            {
                self.error(
                    account.address.span(),
                    format!("the account {address} is there already; one is enough"),
                );
            }
            if let Err(error) = bots::account(account).check() {
                let span = match &account.registrar {
                    Some(registrar) if bots::account_alone(account).check().is_ok() => {
                        registrar.span()
                    }
                    _ => account.address.span(),
                };
                self.error(span, error.to_string());
            }
        }
    }

    fn account_named(&mut self, config: &Config, named: &Spanned<String>) {
        let addresses = || {
            config
                .accounts
                .iter()
                .map(|account| account.address.get_ref().as_str())
        };
        if addresses().any(|address| address == named.get_ref()) {
            return;
        }
        let instead = match nearest(named.get_ref(), addresses()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if config.accounts.is_empty() => {
                "add an [[account]] with this `address`".to_owned()
            }
            None => format!("there are: {}", addresses().collect::<Vec<_>>().join(", ")),
        };
        let text = format!("there is no account `{}`; {instead}", named.get_ref());
        self.error(named.span(), text);
    }

    fn bot_table(&mut self, config: &Config, bot: &BotTable) {
        match bot {
            BotTable::Answer(answer) => self.sound(config, answer.play.as_ref()),
            BotTable::Record(record) => self.sound(config, record.play.as_ref()),
            BotTable::Gateway(gateway) => {
                if let Some(account) = &gateway.dial_account {
                    self.account_named(config, account);
                }
            }
            BotTable::Ivr(ivr) => self.flow(&config.folder, &ivr.flow),
            BotTable::Echo(_) | BotTable::Reject(_) | BotTable::Redirect(_) => {}
        }
    }

    fn sound(&mut self, config: &Config, sound: Option<&Spanned<String>>) {
        let Some(named) = sound else { return };
        if let Err(why) = bots::sound(&config.folder, named.get_ref()) {
            self.error(named.span(), why);
        }
    }

    /// The problems of a flow stand in another file; each names its place there.
    fn flow(&mut self, folder: &Path, flow: &Spanned<PathBuf>) {
        match load_flow(&folder.join(flow.get_ref())) {
            Ok(loaded) if loaded.warnings.is_empty() => {}
            Ok(loaded) => {
                for line in loaded.warnings.to_string().lines() {
                    self.warning(flow.span(), format!("the flow: {line}"));
                }
            }
            Err(problems) => {
                for line in problems.to_string().lines() {
                    self.error(flow.span(), format!("the flow: {line}"));
                }
            }
        }
    }
}
