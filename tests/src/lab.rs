//! One test's laboratory: a folder for its files, a network namespace, ports, and the peers that it needs.
//!
//! As root, the test's thread moves into a fresh network namespace with nothing but a loopback device: ports cannot clash with the
//! machine or with another test, and nothing can leave. Children and threads started from it inherit the namespace, which vanishes
//! with the last of them. Without that right the test runs in the common network, on ports found free.
//!
//! Invariant: a test passes, fails, or says loudly that it was skipped; where `CI` or `CALLBOT_PEERS=required` is set it never skips.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::wav::Sound;

/// A program that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The release binary under test.
    Callbot,
    /// SIPp.
    Sipp,
    /// baresip.
    Baresip,
    /// Kamailio.
    Kamailio,
    /// Kamailio with its modules for TLS and WebSockets.
    KamailioSecure,
    /// Kamailio with its modules for presence.
    KamailioPresence,
    /// coturn, a STUN and TURN server.
    Coturn,
    /// Chromium, Node.js and the SIP libraries for browsers, as `cargo xtask peers` installs them.
    Browser,
    /// Firefox and what drives it, beside all that [`Peer::Browser`] stands for.
    Firefox,
    /// dnsmasq, a DNS server.
    Dnsmasq,
    /// tcpdump, with the right to capture on the loopback device.
    Tcpdump,
}

impl Peer {
    fn is_there(self) -> bool {
        match self {
            Self::Callbot => crate::callbot::binary().is_some(),
            Self::Sipp => find("sipp").is_some(),
            Self::Baresip => find("baresip").is_some(),
            Self::Kamailio => find("kamailio").is_some(),
            Self::KamailioSecure => {
                find("kamailio").is_some() && ["tls.so", "websocket.so"].iter().all(|m| module(m))
            }
            Self::KamailioPresence => {
                find("kamailio").is_some()
                    && ["presence.so", "presence_xml.so"].iter().all(|m| module(m))
                    && std::path::Path::new(crate::kamailio::TABLES).is_dir()
            }
            Self::Coturn => find("turnserver").is_some(),
            Self::Browser => crate::browser::is_there(),
            Self::Firefox => crate::browser::is_there() && crate::browser::firefox_is_there(),
            Self::Dnsmasq => find("dnsmasq").is_some(),
            Self::Tcpdump => find("tcpdump").is_some() && is_root(),
        }
    }
}

/// Where a program lies on the path or where Debian keeps what is for root.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether Kamailio has a module, wherever the machine's kind of processor puts it.
fn module(name: &str) -> bool {
    let Ok(folders) = std::fs::read_dir("/usr/lib") else {
        return false;
    };
    let within = folders.filter_map(|entry| Some(entry.ok()?.path()));
    within
        .chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")])
        .any(|folder| folder.join("kamailio/modules").join(name).is_file())
}

/// Whether a missing peer is a failure.
fn must_run() -> bool {
    ["CI", "CALLBOT_PEERS"].iter().any(|name| {
        std::env::var(name).is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()))
    })
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says loudly that a test does not run, and leaves word for `cargo xtask`, which sums up at the end.
fn skip(name: &str, why: &str) {
    eprintln!("*** {name}: SKIPPED, {why} ***");
    if let Some(file) = std::env::var_os("CALLBOT_SKIPPED")
        && let Ok(mut file) = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
    {
        writeln!(file, "{name}: {why}").ok();
    }
}

/// The surroundings of one test.
#[derive(Debug)]
pub struct Lab {
    name: String,
    folder: PathBuf,
    isolated: bool,
    next_port: AtomicU16,
}

impl Lab {
    /// Runs a test's body in a laboratory of its own and fails the test when the body fails.
    ///
    /// # Panics
    ///
    /// When the body gives an error or panics, or when a needed peer is missing where it must not be.
    pub fn run(
        name: &str,
        needs: &[Peer],
        body: impl FnOnce(&Self) -> Result<()> + Send + 'static,
    ) {
        let missing: Vec<_> = needs.iter().filter(|peer| !peer.is_there()).collect();
        if !missing.is_empty() {
            assert!(
                !must_run(),
                "{name}: {missing:?} missing; `cargo xtask peers` installs what it can"
            );
            skip(name, &format!("missing {missing:?}"));
            return;
        }
        let label = name.to_owned();
        // The namespace belongs to a thread; the test runner's own thread must stay where it is.
        let outcome = std::thread::Builder::new()
            .name(label.clone())
            .spawn(move || Self::live(&label, body));
        match outcome.map(std::thread::JoinHandle::join) {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(why))) => panic!("{name}: {why:#}"),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(why) => panic!("{name}: cannot start a thread: {why}"),
        }
    }

    fn live(name: &str, body: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let folder = std::env::temp_dir().join(format!("callbot-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let lab = Self {
            name: name.to_owned(),
            folder,
            isolated: enter_namespace(),
            next_port: AtomicU16::new(15_060),
        };
        let begin = std::time::Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&lab)));
        let took = begin.elapsed();
        let passed = matches!(outcome, Ok(Ok(())));
        if passed {
            eprintln!("--- {name}: passed in {:.1} s", took.as_secs_f64());
        }
        if passed && std::env::var_os("CALLBOT_KEEP").is_none() {
            std::fs::remove_dir_all(&lab.folder).ok();
        } else {
            eprintln!(
                "--- {name}: logs, captures and recordings are in {}",
                lab.folder.display()
            );
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The test's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The test's folder; everything that it writes belongs here.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the test's folder.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// A path in the test's folder, as text for a command line.
    #[must_use]
    pub fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    /// Whether the test has a network of its own.
    #[must_use]
    pub fn isolated(&self) -> bool {
        self.isolated
    }

    /// A port on 127.0.0.1 that is free on UDP and TCP, and so are the three above it.
    ///
    /// # Errors
    ///
    /// When no such port is found.
    pub fn port(&self) -> Result<u16> {
        for _ in 0..2000 {
            let port = self.next_port.fetch_add(4, Ordering::Relaxed);
            if port > 32_000 {
                break;
            }
            if (port..port + 4).all(is_free) {
                return Ok(port);
            }
        }
        bail!("no free port left below 32000")
    }

    /// Gives the test's network a second address beside 127.0.0.1, from which nothing leaves the machine either; `None` where the
    /// test has no network of its own.
    ///
    /// # Errors
    ///
    /// When that is not possible.
    pub fn second_address(&self) -> Result<Option<IpAddr>> {
        if !self.isolated {
            return Ok(None);
        }
        for line in [
            "link add second type veth peer name beyond",
            "addr add 10.99.0.1/32 dev second",
            "link set second up",
            "link set beyond up",
            "route add default dev second src 10.99.0.1",
        ] {
            let words = line.split(' ');
            let status = Command::new("ip").args(words).status().context("run ip")?;
            ensure!(status.success(), "`ip {line}` failed");
        }
        Ok(Some(IpAddr::from([10, 99, 0, 1])))
    }

    /// Leaves the rest of the test out because the machine does not allow it, loudly; where nothing may be skipped this is an error.
    ///
    /// # Errors
    ///
    /// Where `CI` or `CALLBOT_PEERS` is set.
    pub fn skip(&self, why: &str) -> Result<()> {
        ensure!(!must_run(), "{why}, and nothing may be skipped here");
        skip(&self.name, why);
        Ok(())
    }

    /// Says a measured figure, so that it stands in the log of a run that passes.
    pub fn say(&self, figure: impl std::fmt::Display) {
        eprintln!("    {}: {figure}", self.name);
    }
}

/// Checks that `sound` holds the tone that was sent (hertz, dBov, milliseconds), and says what it holds.
///
/// # Errors
/// When there is no such tone, or another one.
pub fn check(lab: &Lab, what: &str, sound: &Sound, sent: (f64, f64, u32)) -> Result<()> {
    let tone = sound.find_tone(sent.0).with_context(|| what.to_owned())?;
    lab.say(format!("{what}: {tone}"));
    tone.check(sent.0, sent.1, f64::from(sent.2))
        .with_context(|| what.to_owned())
}

fn is_free(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}

/// Moves this thread into a network namespace of its own; `false` where that is not allowed.
fn enter_namespace() -> bool {
    if !is_root() || find("ip").is_none() {
        return false;
    }
    let up = |_| {
        let mut command = Command::new("ip");
        command
            .args(["link", "set", "lo", "up"])
            .stdin(Stdio::null())
            .status()
    };
    match unshare(CloneFlags::CLONE_NEWNET).map(up) {
        Ok(Ok(status)) if status.success() => true,
        Ok(_) => panic!("the new network namespace has no loopback device that can be brought up"),
        Err(_) => false,
    }
}
