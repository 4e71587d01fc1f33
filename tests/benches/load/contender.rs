//! The servers that are measured beside each other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use callbot_tests::callbot;
use callbot_tests::lab::Lab;
use callbot_tests::process::{Process, wait_for};
use callbot_tests::sipp::{Running, Sipp};

use crate::machine::{Cores, is_taken};

/// A server.
#[derive(Clone, Debug)]
pub(crate) enum Contender {
    /// SIPp's built-in answerer, which has no media.
    SippUas,
    /// `callbot echo`.
    Callbot(PathBuf),
    /// `sipbot wait --echo`, a bot on the crates rsipstack and rustrtc.
    Sipbot(PathBuf, String),
    /// The bare UDP reflector of this package.
    Reflector,
}

/// Where its RTP goes, where it takes a choice: away from SIPp's own ports.
const RTP: u16 = 40_000;

impl Contender {
    /// The yardstick first.
    pub(crate) fn signalling() -> Result<Vec<Self>> {
        Self::with(Self::SippUas)
    }

    /// The yardstick first.
    pub(crate) fn echo() -> Result<Vec<Self>> {
        Self::with(Self::Reflector)
    }

    /// callbot alone.
    pub(crate) fn callbot() -> Result<Self> {
        let binary = callbot::binary().context(
            "no callbot binary: CALLBOT_BIN names none and there is no release build; run `cargo xtask bench`",
        )?;
        Ok(Self::Callbot(binary))
    }

    fn with(yardstick: Self) -> Result<Vec<Self>> {
        let mut set = vec![yardstick, Self::callbot()?];
        set.extend(sipbot());
        Ok(set)
    }

    /// As it stands in the tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::SippUas => "SIPp `-sn uas`".to_owned(),
            Self::Callbot(_) => "`callbot echo`".to_owned(),
            Self::Sipbot(_, version) => version.clone(),
            Self::Reflector => "bare UDP reflector".to_owned(),
        }
    }

    /// Whether a run without it is still a run.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::Sipbot(..))
    }

    /// Starts it on the server's core and waits until its port stands.
    pub(crate) fn start(&self, lab: &Lab, cores: Cores, round: u32) -> Result<Server> {
        cores.on_server(|| self.start_with_load(lab, round, RTP))
    }

    /// Starts it on this thread's core, with its RTP from this port on.
    pub(crate) fn start_with_load(&self, lab: &Lab, round: u32, rtp: u16) -> Result<Server> {
        let port = lab.port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let name = |what: &str| format!("{what}-{round}");
        let process = match self {
            Self::SippUas => {
                let uas = Sipp::uas(port).named(&name("uas")).start(lab)?;
                return Server::standing(Program::Sipp(uas.into()), address);
            }
            Self::Callbot(binary) => {
                let (listen, rtp) = (format!("udp://{address}"), format!("{rtp}-49999"));
                start(
                    lab,
                    &name("callbot"),
                    binary,
                    &["echo", "--listen", &listen, "--rtp-ports", &rtp],
                )
            }
            Self::Sipbot(binary, _) => {
                let listen = address.to_string();
                // Left to itself it names 0.0.0.0 for its RTP where there is nothing but a loopback device.
                let own = ["--external", "127.0.0.1"];
                let wait = ["wait", "--addr", &listen, "--username", "bench", "--echo"];
                start(lab, &name("sipbot"), binary, &[&own[..], &wait].concat())
            }
            Self::Reflector => {
                let (sip, rtp) = (port.to_string(), rtp.to_string());
                start(lab, &name("reflector"), &reflector()?, &[&sip, &rtp])
            }
        }?;
        Server::standing(Program::Other(process.into()), address)
    }
}

/// Starts a program that may open as many files as the machine allows: not every contender raises the limit itself.
pub(crate) fn start(lab: &Lab, name: &str, program: &Path, arguments: &[&str]) -> Result<Process> {
    let shell = r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#;
    let program = program.display().to_string();
    let mut all = vec!["-c", shell, &program];
    all.extend(arguments);
    Process::start(lab, name, Path::new("/bin/sh"), &all, &[])
}

/// The reflector, which cargo puts beside this program.
fn reflector() -> Result<PathBuf> {
    let file = std::env::current_exe()
        .context("ask where this program lies")?
        .with_file_name("reflector");
    ensure!(
        file.is_file(),
        "there is no {}: build the package's programs with `--bins`",
        file.display()
    );
    Ok(file)
}

/// sipbot with its version, where `SIPBOT_BIN` names it.
fn sipbot() -> Option<Contender> {
    let binary = PathBuf::from(std::env::var_os("SIPBOT_BIN")?);
    let said = Command::new(&binary).arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let version = if version.is_empty() {
        "sipbot".to_owned()
    } else {
        version
    };
    Some(Contender::Sipbot(binary, version))
}

/// A server that runs. Dropping it kills it.
pub(crate) struct Server {
    program: Program,
    address: SocketAddr,
}

enum Program {
    Sipp(Box<Running>),
    Other(Box<Process>),
}

impl Server {
    /// Waits until its port stands.
    fn standing(program: Program, address: SocketAddr) -> Result<Self> {
        let mut server = Self { program, address };
        let standing = wait_for("open port", Duration::from_secs(5), || {
            (is_taken(address.port()) || !server.process().is_running()).then_some(())
        });
        if standing.is_err() || !server.process().is_running() {
            bail!("it does not listen:\n{}", server.process().last_words());
        }
        Ok(server)
    }

    /// Where it takes calls, by UDP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        match &mut self.program {
            Program::Sipp(running) => running.process(),
            Program::Other(process) => process,
        }
    }
}
