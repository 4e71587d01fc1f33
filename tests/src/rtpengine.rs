//! rtpengine: what stands beside Kamailio where browsers and telephones meet today. Here it forwards and transcodes in user space; its
//! kernel module would forward plain RTP, but neither encrypts DTLS-SRTP nor transcodes there.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, find};
use crate::process::{Process, wait_for};

/// A running rtpengine.
#[derive(Debug)]
pub struct Rtpengine {
    process: Process,
    control: SocketAddr,
}

impl Rtpengine {
    /// Starts it on loopback, with its media ports below 40,000, and waits until it takes commands.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(lab: &Lab, name: &str) -> Result<Self> {
        let program = find("rtpengine").context("rtpengine is not installed")?;
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (control, line) = (at(lab.port()?), at(lab.port()?));
        let arguments = [
            "--config-file=none".to_owned(),
            // No table: all in user space.
            "--table=-1".to_owned(),
            "--interface=127.0.0.1".to_owned(),
            format!("--listen-ng={control}"),
            format!("--listen-cli={line}"),
            "--port-min=33000".to_owned(),
            "--port-max=39999".to_owned(),
            "--num-threads=1".to_owned(),
            "--foreground".to_owned(),
            "--log-stderr".to_owned(),
            "--log-level=4".to_owned(),
            format!("--pidfile={}", lab.text(&format!("{name}.pid"))),
        ];
        let process = Process::start(lab, name, &program, &arguments, &[])?;
        let mut this = Self { process, control };
        let listens = wait_for("connection to rtpengine", Duration::from_secs(10), || {
            let there = TcpStream::connect_timeout(&line, Duration::from_millis(200)).is_ok();
            (there || !this.process.is_running()).then_some(there)
        });
        ensure!(
            matches!(listens, Ok(true)),
            "rtpengine does not start; it said:\n{}",
            this.process.last_words()
        );
        Ok(this)
    }

    /// Where it takes commands, as Kamailio writes it.
    #[must_use]
    pub fn control(&self) -> String {
        format!("udp:{}", self.control)
    }

    /// The process, for its figures.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
