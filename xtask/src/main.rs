//! The project's own tasks, run as `cargo xtask TASK`.
//!
//! Purpose: the few command lines that people and CI need, so that nobody has to remember flags. Each task says what it is about to
//! run, and ends with one line that says how it went. Exit codes: 0 all well, 1 something failed, 2 wrong usage.

mod bench;
mod fuzz;
mod interop;
mod peers;
mod prompt_list;
mod prompts;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "\
Which one do I want?
  Before a commit                cargo xtask test --no-interop     (seconds once built)
  Before a push, and in CI       cargo xtask test                  (a few minutes)
  After a change to SIP or RTP   cargo xtask interop sipp baresip  (only these peers)
  After a change of hot paths    cargo xtask bench --quick         (under a minute once built)
  After a change of a parser     cargo xtask fuzz wire --seconds 120
  Is my machine ready?           cargo xtask peers --check

Environment:
  CI                 when set, a peer that cannot be had is a failure instead of a skip
  CARGO_TARGET_DIR   respected, as everywhere in cargo
  CALLBOT_KEEP       when set, interop tests keep their folders (logs, captures, recordings) even when they pass"
)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test: tiers 1 to 3 (pure, in memory, loopback), then tier 4 against real peers
    Test(test::Options),
    /// Run only tier 4: call software that this project did not write
    Interop(interop::Options),
    /// Measure CPU and memory a call beside SIPp's answerer, a UDP reflector and sipbot, and parsing beside rsip and rsipstack
    Bench(bench::Options),
    /// Throw inputs that coverage guides at every parser and at the whole user agent
    Fuzz(fuzz::Options),
    /// Install the peers of tier 4 (needs root and apt-get) and show their versions
    Peers(peers::Options),
    /// Make the files of media-files/ and their manifest again (needs flite)
    Prompts,
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Interop(options) => interop::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Peers(options) => peers::run(&options),
        Task::Prompts => prompts::run(&shell::root().join("media-files")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\ncargo xtask: FAILED: {why:#}");
            ExitCode::FAILURE
        }
    }
}
