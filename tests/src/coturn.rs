//! coturn, a STUN and TURN server, over UDP, TCP and TLS.
//!
//! What it allots, lets through and takes back is read from its own log, not concluded from what the bot says.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, find};
use crate::pki::Files;
use crate::process::{Process, wait_for};

/// The user that it knows.
pub const USER: &str = "caller";
/// Its password.
pub const PASSWORD: &str = "letmein";

/// A running coturn.
#[derive(Debug)]
pub struct Coturn {
    process: Process,
    address: SocketAddr,
    tls: SocketAddr,
}

impl Coturn {
    /// Starts it on UDP, TCP and TLS with this certificate, and further options of its command line, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(lab: &Lab, files: &Files, options: &[&str]) -> Result<Self> {
        let program = find("turnserver").context("coturn is not installed")?;
        let (port, tls) = (lab.port()?, lab.port()?);
        let mut arguments = vec![
            "-n".to_owned(),
            "--listening-ip=127.0.0.1".to_owned(),
            "--relay-ip=127.0.0.1".to_owned(),
            // All peers of these tests are on this machine.
            "--allow-loopback-peers".to_owned(),
            "--lt-cred-mech".to_owned(),
            "--realm=tests".to_owned(),
            "--no-cli".to_owned(),
            "--log-file=stdout".to_owned(),
            "--simple-log".to_owned(),
            "--verbose".to_owned(),
            format!("--user={USER}:{PASSWORD}"),
            format!("--listening-port={port}"),
            format!("--tls-listening-port={tls}"),
            format!("--cert={}", files.certificate.display()),
            format!("--pkey={}", files.key.display()),
            format!("--userdb={}", lab.text("coturn.db")),
            format!("--pidfile={}", lab.text("coturn.pid")),
        ];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let process = Process::start(lab, "coturn", &program, &arguments, &[])?;
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut this = Self {
            process,
            address: at(port),
            tls: at(tls),
        };
        let listens = wait_for("connection to coturn", Duration::from_secs(10), || {
            let both = [this.address, this.tls].iter().all(|address| {
                std::net::TcpStream::connect_timeout(address, Duration::from_millis(200)).is_ok()
            });
            (both || !this.process.is_running()).then_some(both)
        });
        ensure!(
            matches!(listens, Ok(true)),
            "coturn does not start; it said:\n{}",
            this.process.last_words()
        );
        Ok(this)
    }

    /// Where it listens on UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URI of RFC 7065 for this transport, `udp`, `tcp` or `tls`, with user and password.
    #[must_use]
    pub fn uri(&self, transport: &str) -> String {
        let Self { address, tls, .. } = self;
        match transport {
            "tls" => format!("turns:{USER}:{PASSWORD}@{tls}"),
            transport => format!("turn:{USER}:{PASSWORD}@{address}?transport={transport}"),
        }
    }

    /// Waits until its log has this so many times.
    ///
    /// # Errors
    ///
    /// When it has not within `limit`.
    pub fn wait_log(&mut self, what: &str, times: usize, limit: Duration) -> Result<()> {
        let wanted = format!("{times} times `{what}` in the log of coturn");
        self.process
            .wait_until(&wanted, limit, |out, _| out.matches(what).count() >= times)
    }

    /// How often its log has this.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.process.stdout().matches(what).count()
    }
}
