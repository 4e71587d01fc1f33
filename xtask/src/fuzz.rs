//! `cargo xtask fuzz`: the fuzz targets, guided by coverage.
//!
//! The targets stand in `tests/fuzz` (cargo-fuzz's layout), what they do in `tests/hostile`. They are built with the compiler that
//! is there: coverage needs no nightly one. An address sanitizer does, and would watch over little here, where `unsafe` is forbidden;
//! `cargo fuzz run` brings it where it is wanted. A finding is a file; put it into `tests/fuzz/findings/TARGET`, and every test run
//! replays it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The targets, as `tests/fuzz/Cargo.toml` names them.
const TARGETS: [&str; 5] = ["wire", "sdp", "digest", "media", "user_agent"];

/// What makes the compiler count edges and compare operands, as cargo-fuzz has it.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1";

/// `cargo xtask fuzz`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which targets: wire, sdp, digest, media, user_agent; all when left out
    targets: Vec<String>,
    /// How long each runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
}

/// Runs what was asked for; a finding is a failure.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(unknown) = options
        .targets
        .iter()
        .find(|name| !TARGETS.contains(&name.as_str()))
    {
        bail!(
            "there is no target {unknown}; there are: {}",
            TARGETS.join(", ")
        );
    }
    let chosen = |name: &&&str| {
        options.targets.is_empty() || options.targets.iter().any(|asked| asked == **name)
    };
    let chosen: Vec<&str> = TARGETS.iter().filter(chosen).copied().collect();
    let triple = host()?;
    let folder = shell::root().join("tests/fuzz");
    let built =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from);
    let mut build = shell::cargo();
    build.args(["build", "--release", "--target", &triple, "--manifest-path"]);
    build
        .arg(folder.join("Cargo.toml"))
        .env("RUSTFLAGS", COVERAGE);
    if !chosen
        .iter()
        .any(|target| ["sdp", "media"].contains(target))
    {
        // Then there is no C library to be built.
        build.arg("--no-default-features");
    }
    for target in &chosen {
        build.args(["--bin", target]);
    }
    shell::run(&mut build)?;
    for target in chosen {
        let grown = built.join("fuzz-corpus").join(target);
        let artifacts = folder.join("artifacts").join(target);
        for made in [&grown, &artifacts] {
            std::fs::create_dir_all(made).with_context(|| format!("make {}", made.display()))?;
        }
        let mut fuzz = Command::new(built.join(&triple).join("release").join(target));
        fuzz.arg(&grown).arg(folder.join("corpus").join(target));
        if matches!(target, "wire" | "user_agent") {
            let torture = shell::root().join("bot-core/sip/tests/torture");
            fuzz.args(["rfc4475", "rfc5118"].map(|rfc| torture.join(rfc)));
        }
        fuzz.arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args([
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-max_len=4096",
                "-print_final_stats=1",
                "-verbosity=1",
            ]);
        shell::run(&mut fuzz).with_context(|| {
            format!(
                "{target}: the input is in {}; put it into tests/fuzz/findings/{target}",
                artifacts.display()
            )
        })?;
    }
    println!("\ncargo xtask fuzz: nothing was found");
    Ok(())
}

/// The machine's own target triple: flags must not reach build scripts, so one is named.
fn host() -> Result<String> {
    let said = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("ask rustc for its host")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc names no host")
}
