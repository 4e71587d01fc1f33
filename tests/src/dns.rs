//! dnsmasq as the DNS server of one test: it knows what it is told, and nothing else.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, find};
use crate::process::{Process, wait_for};

/// A running dnsmasq.
#[derive(Debug)]
pub struct Dnsmasq {
    process: Process,
    address: SocketAddr,
}

impl Dnsmasq {
    /// Starts it with records in the words of its command line (`--host-record=…`, `--srv-host=…`, `--naptr-record=…`) and waits
    /// until it answers. Every name that is not named there does not exist.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(lab: &Lab, records: &[String]) -> Result<Self> {
        let program = find("dnsmasq").context("dnsmasq is not installed")?;
        let address = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
        let mut arguments: Vec<String> = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
            "--user=root",
            "--pid-file=",
            "--local=/test/",
            "--local-ttl=60",
            "--log-queries",
            "--log-facility=-",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--port={}", address.port()));
        arguments.extend(records.iter().cloned());
        let process = Process::start(lab, "dnsmasq", &program, &arguments, &[])?;
        let mut this = Self { process, address };
        let answers = wait_for("answer from dnsmasq", Duration::from_secs(5), || {
            let answers = this.answers();
            (answers || !this.process.is_running()).then_some(answers)
        });
        ensure!(
            matches!(answers, Ok(true)),
            "dnsmasq does not start: {}",
            this.process.last_words()
        );
        Ok(this)
    }

    /// Asks for `x.test`, which there is not.
    fn answers(&self) -> bool {
        const QUERY: &[u8] =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x04test\x00\x00\x01\x00\x01";
        let ask = || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            socket.send_to(QUERY, self.address)?;
            socket.recv(&mut [0; 512])
        };
        ask().is_ok()
    }

    /// Where it is asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked for this kind of record of this name, such as `SRV` of `_sip._udp.example.test`.
    #[must_use]
    pub fn asked(&self, kind: &str, name: &str) -> usize {
        let log = self.process.stderr();
        log.matches(&format!("query[{kind}] {name} ")).count()
    }
}
