//! What a call costs the server: `cargo xtask bench`.
//!
//! `cargo build --release -p callbot -p callbot-tests --bins`, then `load [signalling] [echo] [legs] [gateway] [--quick]` runs the same; all
//! parts when none is named.
//! Progress goes to standard error, the tables to standard output.
//!
//! - [`signalling`]: CPU per call of INVITE, 200, ACK, BYE
//! - [`echo`]: CPU per call-second and memory per call of G.711 calls that all stand at once
//! - [`webrtc`]: the same of a browser's leg beside a plain one, and what its set-up costs, with the callers of [`peers`]
//! - [`gateway`]: CPU per call-second and of the set-up where a browser is joined to a telephone, beside Kamailio with rtpengine
//! - [`contender`]: the servers that are measured beside each other
//! - [`machine`]: cores, CPU clocks, counters of the kernel
//! - [`table`]: medians with their spread, as Markdown
//!
//! Method: the server is pinned to one core and the load to another; every figure is CPU time of the server's whole process, user and
//! system; contenders take turns, round by round, so that what else the machine does falls on all of them; the median is reported,
//! with the lowest and the highest. Environment: `CALLBOT_BIN` names callbot, `SIPBOT_BIN` sipbot (left out without it).
//!
//! The exit code tells whether everything ran, never whether a target was reached.

mod contender;
mod echo;
mod gateway;
mod machine;
mod peers;
mod signalling;
mod table;
mod webrtc;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use callbot_tests::lab::{Lab, find};

use contender::Contender;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
struct Plan {
    signalling: bool,
    echo: bool,
    legs: bool,
    gateway: bool,
    quick: bool,
}

fn main() -> ExitCode {
    match plan().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan() -> Result<Plan> {
    let mut plan = Plan {
        signalling: false,
        echo: false,
        legs: false,
        gateway: false,
        quick: false,
    };
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "signalling" => plan.signalling = true,
            "echo" => plan.echo = true,
            "legs" => plan.legs = true,
            "gateway" => plan.gateway = true,
            "--quick" => plan.quick = true,
            _ => bail!(
                "{word} is not known; it takes [signalling] [echo] [legs] [gateway] [--quick]"
            ),
        }
    }
    if !(plan.signalling || plan.echo || plan.legs || plan.gateway) {
        plan = Plan {
            signalling: true,
            echo: true,
            legs: true,
            gateway: true,
            ..plan
        };
    }
    Ok(plan)
}

fn run(plan: Plan) -> Result<()> {
    if plan.signalling || plan.echo {
        find("sipp").context("sipp is not installed; `cargo xtask peers` as root installs it")?;
    }
    eprintln!("{}", machine::describe());
    let mut tables = Vec::new();
    if plan.signalling {
        let set = Contender::signalling()?;
        tables.push(in_lab("bench-signalling", move |lab| {
            signalling::measure(lab, &set, plan.quick)
        })?);
    }
    if plan.echo {
        let set = Contender::echo()?;
        tables.push(in_lab("bench-echo", move |lab| {
            echo::measure(lab, &set, plan.quick)
        })?);
    }
    if plan.legs {
        let callbot = Contender::callbot()?;
        tables.push(in_lab("bench-legs", move |lab| {
            webrtc::measure(lab, &callbot, plan.quick)
        })?);
    }
    if plan.gateway {
        let callbot = Contender::callbot()?;
        tables.push(in_lab("bench-gateway", move |lab| {
            gateway::measure(lab, &callbot, plan.quick)
        })?);
    }
    println!("{}", tables.join("\n"));
    Ok(())
}

/// Measures in a network and a folder of its own.
fn in_lab(
    name: &str,
    measure: impl FnOnce(&Lab) -> Result<String> + Send + 'static,
) -> Result<String> {
    let outcome = Arc::new(Mutex::new(None));
    let inside = outcome.clone();
    // What goes wrong becomes a panic of the lab's, which keeps its folder and says where it is.
    std::panic::catch_unwind(AssertUnwindSafe(|| {
        Lab::run(name, &[], move |lab| {
            let text = measure(lab)?;
            if let Ok(mut place) = inside.lock() {
                *place = Some(text);
            }
            Ok(())
        });
    }))
    .ok();
    outcome
        .lock()
        .ok()
        .and_then(|mut place| place.take())
        .with_context(|| format!("{name} could not be measured, for the reason above"))
}
