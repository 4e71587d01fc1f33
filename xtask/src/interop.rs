//! `cargo xtask interop`: tier 4, calls with software that this project did not write.
//!
//! The tests live in `tests/tests/interop_*.rs` and are marked `#[ignore]`, so that a plain `cargo test` needs no peers. This task
//! installs the peers where it may, builds the release binary, hands its path over in `CALLBOT_BIN`, and runs the tests one at a
//! time: they measure time, and two loads at once would measure each other.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{peers, shell};

/// `cargo xtask interop`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which groups (such as sipp, baresip) or single tests by a part of their name; all when left out
    names: Vec<String>,
    /// Only list the groups and their tests
    #[arg(long)]
    list: bool,
}

/// How tier 4 went, when nothing failed.
pub(crate) enum Outcome {
    /// Every test ran.
    Passed,
    /// These tests were left out, in words.
    Skipped(String),
}

/// Runs what was asked for.
pub(crate) fn run(options: &Options) -> Result<()> {
    let groups = groups()?;
    if options.list {
        return Ok(cargo_test(&groups, &["--list", "--ignored"], |_| {})?);
    }
    let begin = Instant::now();
    let (chosen, filters) = choose(&groups, &options.names);
    match attempt(&chosen, &filters, false)? {
        Outcome::Passed => println!(
            "\ncargo xtask interop: passed ({} s)",
            begin.elapsed().as_secs()
        ),
        Outcome::Skipped(why) => {
            println!("\ncargo xtask interop: what ran has passed, the rest was SKIPPED: {why}")
        }
    }
    Ok(())
}

/// Groups that run only when they are named: calls of minutes, for a machine that does nothing else.
const BY_NAME: [&str; 1] = ["long"];

/// All groups but those that want to be named; `required` makes a missing peer a failure.
pub(crate) fn all(required: bool) -> Result<Outcome> {
    let mut groups = groups()?;
    groups.retain(|group| !BY_NAME.contains(&group.as_str()));
    attempt(&groups, &[], required)
}

fn attempt(groups: &[String], filters: &[String], required: bool) -> Result<Outcome> {
    let required = required || shell::is_ci();
    if peers::may_install()
        && let Err(why) = peers::install()
    {
        eprintln!("the peers could not be installed: {why:#}");
    }
    if let Err(why) = peers::install_libraries() {
        eprintln!("the browser's libraries could not be installed: {why:#}");
    }
    let missing = peers::missing();
    if !missing.is_empty() {
        let advice = peers::how_to_install(&missing);
        if required {
            bail!(
                "{} missing, and here that is a failure; {advice}",
                peers::names(&missing)
            );
        }
        eprintln!(
            "\n*** SKIPPING the tests that need {}: {advice} ***",
            peers::names(&missing)
        );
    }
    let binary = build()?;
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let arguments = [&TIER_4[..], &filters].concat();
    // Tests say here what they left out: a skip that scrolled away would look like a pass.
    let skipped = std::env::temp_dir().join(format!("callbot-skipped-{}", std::process::id()));
    let run = |arguments: &[&str]| {
        cargo_test(groups, arguments, |command| {
            command
                .env("CALLBOT_BIN", &binary)
                .env("CALLBOT_SKIPPED", &skipped);
            if required {
                command.env("CALLBOT_PEERS", "required");
            }
        })
    };
    let mut outcome = run(&arguments);
    if let Err(Failed { tests, .. }) = &outcome
        && (1..=AGAIN).contains(&tests.len())
    {
        // Browsers and phones that are not ours stumble now and then; what is wrong with callbot fails twice.
        let again = tests.clone();
        eprintln!("\n*** once more, alone: {} ***", again.join(", "));
        let names: Vec<&str> = again.iter().map(String::as_str).collect();
        outcome = run(&[&TIER_4[..], &["--exact"], &names].concat());
        if outcome.is_ok() {
            eprintln!(
                "*** passed only at the second try, find out why: {} ***",
                again.join(", ")
            );
        }
    }
    let left_out = std::fs::read_to_string(&skipped).unwrap_or_default();
    std::fs::remove_file(&skipped).ok();
    outcome?;
    Ok(if left_out.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Skipped(left_out.lines().collect::<Vec<_>>().join("; "))
    })
}

/// What the test runner is told about tests of tier 4: one by one, for they share the machine with their peers.
const TIER_4: [&str; 3] = ["--ignored", "--nocapture", "--test-threads=1"];

/// Failed tests that are tried once more; beyond these something is wrong.
const AGAIN: usize = 4;

/// Tests that failed.
#[derive(Debug, thiserror::Error)]
#[error("{why}; failed: {}", tests.join(", "))]
struct Failed {
    tests: Vec<String>,
    why: String,
}

/// Runs the test binaries of these groups with arguments for the test runner itself.
fn cargo_test(
    groups: &[String],
    arguments: &[&str],
    prepare: impl FnOnce(&mut Command),
) -> Result<(), Failed> {
    let mut command = shell::cargo();
    command.args([
        "test",
        "--quiet",
        "--package",
        "callbot-tests",
        "--no-fail-fast",
    ]);
    for group in groups {
        command.arg("--test").arg(format!("interop_{group}"));
    }
    command.arg("--").args(arguments);
    prepare(&mut command);
    let failed = |why: String, tests| Failed { tests, why };
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("start cargo test: {error}"), Vec::new()))?;
    let mut tests = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(lines) {
        println!("{line}");
        if let Some(name) = line.strip_suffix(" --- FAILED") {
            tests.push(name.to_owned());
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("cargo test ended with {status}"), tests)),
        Err(error) => Err(failed(error.to_string(), tests)),
    }
}

/// The lines that a program prints, whatever bytes are in them.
fn lines(output: impl std::io::Read) -> impl Iterator<Item = String> {
    let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned())
}

/// Builds the release binary and says where cargo put it, whatever the target directory is.
pub(crate) fn build() -> Result<PathBuf> {
    println!("\n$ cargo build --release --package callbot");
    let said = shell::cargo()
        .args([
            "build",
            "--release",
            "--package",
            "callbot",
            "--bin",
            "callbot",
            "--message-format",
            "json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo build")?;
    if !said.status.success() {
        bail!("the release build of callbot failed");
    }
    String::from_utf8_lossy(&said.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "callbot")
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo named no binary callbot: is it still declared in bots/Cargo.toml?")
}

/// The groups are the test files by name: `interop_sipp.rs` is `sipp`.
fn groups() -> Result<Vec<String>> {
    let folder = shell::root().join("tests/tests");
    let mut groups: Vec<String> = std::fs::read_dir(&folder)
        .with_context(|| format!("read {}", folder.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            Some(
                name.strip_prefix("interop_")?
                    .strip_suffix(".rs")?
                    .to_owned(),
            )
        })
        .collect();
    groups.sort();
    if groups.is_empty() {
        bail!("there is no test file interop_*.rs in {}", folder.display());
    }
    Ok(groups)
}

/// Names of groups choose files; any other name is a filter on the tests of the chosen groups, or of all.
fn choose(groups: &[String], names: &[String]) -> (Vec<String>, Vec<String>) {
    let (chosen, filters): (Vec<_>, Vec<_>) = names
        .iter()
        .cloned()
        .partition(|name| groups.contains(name));
    (
        if chosen.is_empty() {
            groups.to_vec()
        } else {
            chosen
        },
        filters,
    )
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn names_are_groups_or_filters() {
        let groups = ["baresip", "sipp"].map(str::to_owned);
        let pick = |names: &[&str]| {
            choose(
                &groups,
                &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(pick(&[]), (groups.to_vec(), vec![]));
        assert_eq!(pick(&["sipp"]), (vec!["sipp".to_owned()], vec![]));
        assert_eq!(
            pick(&["sipp", "loss"]),
            (vec!["sipp".to_owned()], vec!["loss".to_owned()])
        );
        assert_eq!(pick(&["loss"]), (groups.to_vec(), vec!["loss".to_owned()]));
    }
}
