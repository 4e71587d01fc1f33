//! `cargo xtask peers`: the software that tier 4 calls, by Debian package, and the browser's libraries, by npm.
//!
//! Nothing third-party is kept in the repository: peers are installed by name, the browser's libraries into `/.peers`. Their services must not start
//! by themselves (a Kamailio on port 5060 would take the very port that a bot wants), so installation runs behind a `policy-rc.d`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// `cargo xtask peers`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say what is there and what is missing
    #[arg(long)]
    check: bool,
}

/// One program that tests need.
pub(crate) struct Peer {
    /// The program as it is called; with a slash, a file below the folder of libraries.
    pub(crate) program: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    /// What it is needed for, for people.
    purpose: &'static str,
}

/// Everything that tier 4 calls.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        program: "sipp",
        package: "sip-tester",
        purpose: "SIP load, scenarios, RTP streams",
    },
    Peer {
        program: "baresip",
        package: "baresip-core",
        purpose: "a softphone without a screen",
    },
    Peer {
        program: "kamailio",
        package: "kamailio",
        purpose: "registrar and proxy",
    },
    Peer {
        program: "kamailio/modules/tls.so",
        package: "kamailio-tls-modules",
        purpose: "Kamailio over TLS",
    },
    Peer {
        program: "kamailio/modules/websocket.so",
        package: "kamailio-websocket-modules",
        purpose: "Kamailio over WebSockets",
    },
    Peer {
        program: "kamailio/modules/presence.so",
        package: "kamailio-presence-modules",
        purpose: "Kamailio's presence",
    },
    Peer {
        program: "rtpengine",
        package: "rtpengine-daemon",
        purpose: "what the gateway is measured beside",
    },
    Peer {
        program: "turnserver",
        package: "coturn",
        purpose: "STUN and TURN",
    },
    Peer {
        program: "chromium",
        package: "chromium",
        purpose: "a browser that telephones",
    },
    Peer {
        program: "firefox-esr",
        package: "firefox-esr",
        purpose: "another one",
    },
    Peer {
        program: "node",
        package: "nodejs",
        purpose: "drives the browser",
    },
    Peer {
        program: "npm",
        package: "npm",
        purpose: "installs the browser's libraries",
    },
    Peer {
        program: "dnsmasq",
        package: "dnsmasq-base",
        purpose: "a DNS server",
    },
    Peer {
        program: "tcpdump",
        package: "tcpdump",
        purpose: "loopback captures",
    },
    Peer {
        program: "ip",
        package: "iproute2",
        purpose: "a network namespace for each test",
    },
    Peer {
        program: "iptables",
        package: "iptables",
        purpose: "datagrams that get lost",
    },
];

impl Peer {
    fn is_there(&self) -> bool {
        if self.program.contains('/') {
            return library(self.program);
        }
        shell::find(self.program).is_some()
    }
}

/// Whether a file is below `/usr/lib`, or the folder there of this kind of processor.
fn library(file: &str) -> bool {
    let within = std::fs::read_dir("/usr/lib").into_iter().flatten();
    within
        .filter_map(|entry| Some(entry.ok()?.path()))
        .chain([Path::new("/usr/lib").to_owned()])
        .any(|folder| folder.join(file).is_file())
}

/// Installs what is missing, or only reports it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.check && !missing().is_empty() {
        install()?;
    }
    if !options.check {
        install_libraries()?;
    }
    for peer in PEERS {
        let version = if peer.is_there() {
            version(peer.package)
        } else {
            "MISSING".to_owned()
        };
        println!(
            "{:<29} {:<34} {:<27} {}",
            peer.program, version, peer.package, peer.purpose
        );
    }
    let missing = missing();
    if missing.is_empty() {
        if !has_libraries() {
            bail!("the browser's libraries are missing: run `cargo xtask peers`");
        }
        println!("\ncargo xtask peers: all {} are there", PEERS.len());
        return Ok(());
    }
    bail!("missing: {}; {}", names(&missing), how_to_install(&missing));
}

/// The peers that are not on this machine.
pub(crate) fn missing() -> Vec<&'static Peer> {
    PEERS.iter().filter(|peer| !peer.is_there()).collect()
}

/// The programs' names in one line.
pub(crate) fn names(peers: &[&Peer]) -> String {
    peers
        .iter()
        .map(|peer| peer.program)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a person can type.
pub(crate) fn how_to_install(peers: &[&Peer]) -> String {
    let packages = peers
        .iter()
        .map(|peer| peer.package)
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "install with `apt-get install --no-install-recommends {packages}`, or run `cargo xtask peers` as root"
    )
}

/// Whether [`install`] has a chance.
pub(crate) fn may_install() -> bool {
    shell::is_root() && shell::find("apt-get").is_some()
}

/// Installs the missing packages by apt-get, with their services kept from starting.
pub(crate) fn install() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install() {
        bail!(
            "{} cannot be installed from here (no root or no apt-get); {}",
            names(&missing),
            how_to_install(&missing)
        );
    }
    let _policy = NoServices::begin()?;
    let apt = |arguments: &[&str]| {
        shell::run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(arguments),
        )
    };
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(missing.iter().map(|peer| peer.package));
    apt(&arguments)
}

/// Where the browser's libraries live: outside of what is kept.
const LIBRARIES: &str = ".peers/browser";

/// What the browser tests load, as `tests/browser/package.json` names it.
fn has_libraries() -> bool {
    let folder = shell::root().join(LIBRARIES);
    let named = |file: &Path| std::fs::read(file).ok();
    let wanted = named(&shell::root().join("tests/browser/package.json"));
    folder.join("node_modules/playwright-core").is_dir()
        && wanted.is_some()
        && named(&folder.join("package.json")) == wanted
}

/// Installs the browser's libraries by npm, when they are missing or others are named by now.
pub(crate) fn install_libraries() -> Result<()> {
    let Some(npm) = shell::find("npm").filter(|_| !has_libraries()) else {
        return Ok(());
    };
    let folder = shell::root().join(LIBRARIES);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    shell::run(
        Command::new(npm)
            .current_dir(&folder)
            // Copied only once all is there, so that a broken installation is not taken for a whole one.
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--no-save",
                "--silent",
            ])
            .args(dependencies()?),
    )?;
    std::fs::copy(
        shell::root().join("tests/browser/package.json"),
        folder.join("package.json"),
    )
    .context("copy package.json")?;
    Ok(())
}

/// `name@version` of each dependency in `tests/browser/package.json`.
fn dependencies() -> Result<Vec<String>> {
    let file = shell::root().join("tests/browser/package.json");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let package: serde_json::Value = serde_json::from_str(&text)?;
    let named = package["dependencies"]
        .as_object()
        .context("package.json has no dependencies")?;
    Ok(named
        .iter()
        .map(|(name, version)| format!("{name}@{}", version.as_str().unwrap_or("latest")))
        .collect())
}

fn version(package: &str) -> String {
    let asked = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", package])
        .output();
    match asked {
        Ok(said) if said.status.success() => String::from_utf8_lossy(&said.stdout).into_owned(),
        _ => "there (not from a package)".to_owned(),
    }
}

/// While this stands, packages do not start their services. An administrator's own policy is left alone.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").context("write policy-rc.d")?;
        std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))
            .context("make policy-rc.d executable")?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // Left behind it would keep every later service from starting, so say so where it cannot be removed.
            if let Err(why) = std::fs::remove_file(POLICY) {
                eprintln!("remove {POLICY} by hand: {why}");
            }
        }
    }
}
