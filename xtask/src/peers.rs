//! `cargo xtask peers`: the software that tier 4 calls, by Debian package.
//!
//! Nothing third-party is kept in the repository: peers are installed by name from the distribution. Their services must not start
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
    /// The program as it is called.
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
        program: "tcpdump",
        package: "tcpdump",
        purpose: "loopback captures",
    },
    Peer {
        program: "ip",
        package: "iproute2",
        purpose: "a network namespace for each test",
    },
];

/// Installs what is missing, or only reports it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.check && !missing().is_empty() {
        install()?;
    }
    for peer in PEERS {
        let version =
            shell::find(peer.program).map_or("MISSING".to_owned(), |_| version(peer.package));
        println!(
            "{:<10} {:<34} {:<14} {}",
            peer.program, version, peer.package, peer.purpose
        );
    }
    let missing = missing();
    if missing.is_empty() {
        println!("\ncargo xtask peers: all {} are there", PEERS.len());
        return Ok(());
    }
    bail!("missing: {}; {}", names(&missing), how_to_install(&missing));
}

/// The peers that are not on this machine.
pub(crate) fn missing() -> Vec<&'static Peer> {
    PEERS
        .iter()
        .filter(|peer| shell::find(peer.program).is_none())
        .collect()
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
