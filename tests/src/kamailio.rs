//! Kamailio as registrar and proxy.
//!
//! Its configuration is `peers/kamailio/kamailio.cfg`: any user `U` has the password `pw-U`. Whether somebody is registered is asked
//! over its control socket, not concluded from what the bot says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, find};
use crate::pki::Files;
use crate::process::{Process, wait_for};

/// How far above the first port the others lie.
const TLS: u16 = 1;
const WS: u16 = 2;
const WSS: u16 = 3;

/// Empty tables for Kamailio's text database.
pub(crate) const TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

/// The hash of the challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// RFC 2617 and RFC 3261.
    Md5,
    /// RFC 8760.
    Sha256,
    /// Both are offered, SHA-256 first; only SHA-256 lets in.
    Sha256ThenMd5,
    /// Both are offered, MD5 first; only SHA-256 lets in.
    Md5ThenSha256,
}

/// A running Kamailio.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    /// The program and its arguments, to start it again.
    command: Box<(PathBuf, Vec<String>)>,
    address: SocketAddr,
    control: String,
}

impl Kamailio {
    /// As [`Kamailio::start`], with TLS, WS and WSS too, on the three ports above the first, and this certificate.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_secure(
        lab: &Lab,
        digest: Digest,
        files: &Files,
        switches: &[&str],
    ) -> Result<Self> {
        Self::launch(lab, digest, Some(files), switches)
    }

    /// Starts it on UDP and TCP with the switches of its configuration file (`CHALLENGE_CALLS`, `NO_EVENTS`, `RTPENGINE=".."`) and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(lab: &Lab, digest: Digest, switches: &[&str]) -> Result<Self> {
        Self::launch(lab, digest, None, switches)
    }

    /// As [`Kamailio::start`], with presence: it keeps what is published, and tells who subscribes.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_presence(lab: &Lab) -> Result<Self> {
        // The tables that Debian's package brings, empty.
        let (from, tables) = (Path::new(TABLES), lab.path("tables"));
        std::fs::create_dir_all(&tables).context("make a folder for tables")?;
        for entry in std::fs::read_dir(from).with_context(|| format!("read {TABLES}"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), tables.join(entry.file_name()))
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
        let switch = format!("PRESENCE=\"text://{}\"", tables.display());
        Self::launch(lab, Digest::Md5, None, &[&switch])
    }

    fn launch(lab: &Lab, digest: Digest, files: Option<&Files>, switches: &[&str]) -> Result<Self> {
        let program = find("kamailio").context("kamailio is not installed")?;
        // The usual place, so that a figure in a log is recognised; another where the network is shared.
        let port = if lab.isolated() { 25_060 } else { lab.port()? };
        let control = format!("unix:{}", lab.text("control"));
        let folder = lab.path("kamailio");
        std::fs::create_dir_all(&folder).context("make a folder for kamailio")?;
        let configuration =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/kamailio/kamailio.cfg");
        let mut arguments: Vec<String> = ["-DD", "-E", "-m", "64", "-M", "8", "-f"]
            .map(str::to_owned)
            .into();
        arguments.extend([
            configuration.display().to_string(),
            "-Y".to_owned(),
            folder.display().to_string(),
        ]);
        let mut define = |text: String| arguments.extend(["-A".to_owned(), text]);
        define(format!("PORT={port}"));
        define(format!("CONTROL=\"{control}\""));
        if digest != Digest::Md5 {
            define("SHA256".to_owned());
        }
        match digest {
            Digest::Sha256ThenMd5 => define("BOTH_STRONG_FIRST".to_owned()),
            Digest::Md5ThenSha256 => define("BOTH_WEAK_FIRST".to_owned()),
            Digest::Md5 | Digest::Sha256 => {}
        }
        if let Some(files) = files {
            define("SECURE".to_owned());
            for (name, above) in [("TLS_PORT", TLS), ("WS_PORT", WS), ("WSS_PORT", WSS)] {
                define(format!("{name}={}", port + above));
            }
            define(format!("CERTIFICATE=\"{}\"", files.certificate.display()));
            define(format!("KEY=\"{}\"", files.key.display()));
        }
        switches
            .iter()
            .for_each(|switch| define((*switch).to_owned()));
        let process = Process::start(lab, "kamailio", &program, &arguments, &[])?;
        let mut this = Self {
            process,
            command: Box::new((program, arguments)),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            control,
        };
        this.wait_ready()?;
        Ok(this)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let answers = wait_for(
            "answer from kamailio's control socket",
            Duration::from_secs(10),
            || {
                let answers = self.ask(&["core.version"]).is_some();
                (answers || !self.process.is_running()).then_some(answers)
            },
        );
        ensure!(
            matches!(answers, Ok(true)),
            "kamailio does not start; it said:\n{}",
            self.process.last_words()
        );
        Ok(())
    }

    /// Ends it; [`start_again`](Self::start_again) brings it back.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(5)).map(drop)
    }

    /// Starts it as it was, but without anybody registered and with an empty log.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_again(&mut self, lab: &Lab) -> Result<()> {
        let (program, arguments) = &*self.command;
        self.process = Process::start(lab, "kamailio", program, arguments, &[])?;
        self.wait_ready()
    }

    /// The users who have a contact.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        let dump = self.ask(&["ul.dump"]).unwrap_or_default();
        let aors = dump
            .lines()
            .filter_map(|line| line.trim().strip_prefix("AoR: "));
        aors.map(str::to_owned).collect()
    }

    /// How many contacts are registered of all users together.
    #[must_use]
    pub fn contacts(&self) -> usize {
        self.ask(&["ul.dump"])
            .map_or(0, |text| text.matches("Address:").count())
    }

    /// When each REGISTER came (seconds since 1970) and from whom, with the switch `COUNT`.
    #[must_use]
    pub fn registers(&self) -> Vec<(f64, String)> {
        let log = self.log();
        let seen = log.lines().filter_map(|line| {
            let (_, rest) = line.split_once("SAW REGISTER ")?;
            let (at, user) = rest.split_once(' ')?;
            Some((at.parse().ok()?, user.trim().to_owned()))
        });
        seen.collect()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for `udp`, `tcp`, `tls`, `ws` or `wss`.
    #[must_use]
    pub fn address_of(&self, transport: &str) -> SocketAddr {
        let above = match transport {
            "tls" => TLS,
            "ws" => WS,
            "wss" => WSS,
            _ => 0,
        };
        SocketAddr::new(self.address.ip(), self.address.port() + above)
    }

    /// The contacts registered for a user, one text with all that Kamailio knows; `None` when there are none.
    #[must_use]
    pub fn registered(&self, user: &str) -> Option<String> {
        self.ask(&["ul.lookup", "location", user])
    }

    /// Waits until a user has a contact (or none any more).
    ///
    /// # Errors
    ///
    /// When the time is up.
    pub fn wait_registered(&self, user: &str, present: bool, limit: Duration) -> Result<()> {
        let what = if present {
            "registration"
        } else {
            "end of the registration"
        };
        wait_for(&format!("{what} of {user}"), limit, || {
            (self.registered(user).is_some() == present).then_some(())
        })
        .with_context(|| format!("kamailio said:\n{}", self.process.last_words()))
    }

    /// The main process, for the figures of all.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    fn ask(&self, words: &[&str]) -> Option<String> {
        let program = find("kamcmd")?;
        let said = Command::new(program)
            .arg("-s")
            .arg(&self.control)
            .args(words)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        (said.status.success() && !text.starts_with("error")).then_some(text)
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Its workers end with the main process only when that is asked politely.
        self.process.terminate(Duration::from_secs(3)).ok();
    }
}
