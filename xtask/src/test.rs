//! `cargo xtask test`: every test of the workspace, cheapest first.
//!
//! Tiers 1 to 3 (pure, in memory, loopback sockets) need nothing but Rust and run everywhere; the codec by libopus is tried where cmake is
//! there to build it. Tier 4 calls real peers and is left to
//! [`crate::interop`], which decides whether a missing peer is a skip or a failure.

use std::time::Instant;

use anyhow::Result;

use crate::{interop, shell};

/// `cargo xtask test`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Tier 4 must run: a peer that cannot be had is a failure, as it is with CI set
    #[arg(long, conflicts_with = "no_interop")]
    interop: bool,
    /// Leave tier 4 out
    #[arg(long)]
    no_interop: bool,
}

/// What hears Opus, with the other Opus: the feature `libopus`, where it can be built.
fn libopus(nextest: bool) -> Result<()> {
    if shell::find("cmake").is_none() {
        eprintln!("*** Opus by libopus is left out: its build needs cmake ***");
        return Ok(());
    }
    let mut command = shell::cargo();
    command.args(if nextest {
        &["nextest", "run"][..]
    } else {
        &["test", "--quiet"]
    });
    command.args(["--workspace", "--features", "callbot-media/libopus"]);
    for test in ["codec_pesq", "codec_quality", "codec_session"] {
        command.args(["--test", test]);
    }
    shell::run(&mut command)
}

/// Runs the tiers in order and stops at the first that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let nextest = shell::succeeds("cargo", &["nextest", "--version"]);
    if nextest {
        shell::run(shell::cargo().args(["nextest", "run", "--workspace", "--no-tests", "pass"]))?;
        // nextest knows no doctests.
        shell::run(shell::cargo().args(["test", "--workspace", "--quiet", "--doc"]))?;
    } else {
        shell::run(shell::cargo().args(["test", "--workspace", "--quiet"]))?;
    }
    libopus(nextest)?;
    let tiers = if options.no_interop {
        "tiers 1 to 3 passed, tier 4 (interop) was left out as asked".to_owned()
    } else {
        match interop::all(options.interop)? {
            interop::Outcome::Passed => "tiers 1 to 4 passed".to_owned(),
            interop::Outcome::Skipped(why) => {
                format!("tiers 1 to 3 passed; tier 4 was SKIPPED in part: {why}")
            }
        }
    };
    println!(
        "\ncargo xtask test: {tiers} ({} s)",
        begin.elapsed().as_secs()
    );
    Ok(())
}
