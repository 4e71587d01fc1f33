//! `callbot demo`: two endpoints on this machine call each other, and every sound is checked.
//!
//! Purpose: show a newcomer in twenty seconds, without a phone and without a
//! network, what callbot does: an IVR from a flow document takes a call, a
//! scripted caller hears its prompts, presses keys and leaves a message; then
//! the recordings are compared with what should be in them. A planted fault
//! shows that the comparison can fail.
//!
//! Invariant: the demo knows what it plays and checks what was *recorded*;
//! nothing passes because it was sent. Exit code 0 means that every check
//! passed and that the fault was caught.

mod check;
mod ear;
mod hold;
mod script;
mod show;
mod stage;
#[cfg(test)]
mod tests;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Endpoint, EndpointBuilder};
use clap::Args;
use tokio::sync::mpsc;
use tokio::time::Instant;

use check::Check;
use script::Caller;
use show::{Ink, Show};
use stage::{Flows, Folder, Operator};
use words::Words;

/// See and hear callbot work: an IVR and a caller on this machine.
///
/// Needs no phone and no network. The caller dials the IVR over loopback UDP,
/// hears the menu, presses keys and leaves a message; what was recorded is
/// checked: prompts, levels, lengths, digits. Then one prompt is exchanged, to
/// show that the check notices. Takes about twenty seconds.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot demo                        watch it
  callbot demo --hold                 then call the IVR yourself, from a softphone

Exit codes: 0 every check passed and the fault was caught, 1 not so, 2 it could not start.")]
pub(crate) struct Demo {
    /// Keep the IVR up afterwards, and tell the URI to dial, until Ctrl-C
    #[arg(long)]
    hold: bool,

    /// Where --hold listens: udp://ADDRESS:PORT or tcp://ADDRESS:PORT
    /// [default: both, on port 5060 or the next one that is free]
    #[arg(long, value_name = "URL", requires = "hold")]
    listen: Vec<String>,

    /// Leave the recordings in this folder [default: a new one among the temporary files]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Demo {
    /// Runs the demo; the error is why it could not begin.
    pub(crate) fn run(&self) -> Result<ExitCode, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the async runtime: {error}"))?;
        let show = Show::stdout();
        let done = runtime.block_on(async {
            let folder = Folder::make(self.out.as_deref())?;
            let flows = Flows::write(&folder)?;
            // A port that cannot be had is better known before than after.
            let held = match self.hold {
                true => Some(hold::listen(&self.listen, &show).await?),
                false => None,
            };
            let well = perform(&loopback, &folder, flows, &show).await?;
            if let Some(endpoint) = held
                && well
            {
                hold::hold(&endpoint, &folder, &show).await?;
            }
            Ok(match well {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            })
        });
        show.finish();
        done
    }
}

/// The two sides of the demo's calls.
#[derive(Clone, Copy, Debug)]
enum Role {
    Ivr,
    Caller,
}

/// A port of this machine that nobody else can reach.
fn loopback(_: Role) -> EndpointBuilder {
    Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .media_threads(1)
}

/// Both calls and all checks; true when all is as it should be.
async fn perform(
    endpoint: &dyn Fn(Role) -> EndpointBuilder,
    folder: &Folder,
    flows: Flows,
    show: &Show,
) -> Result<bool, String> {
    let begin = Instant::now();
    let (digits_in, digits) = mpsc::unbounded_channel();
    let operator = Operator {
        flows,
        show: show.clone(),
        digits: digits_in,
    };
    let start = async |builder: EndpointBuilder| {
        let started = builder.start().await;
        started.map_err(|error| error.to_string())
    };
    let ivr = start(endpoint(Role::Ivr)).await?;
    let messages = show.clone();
    let watched = endpoint(Role::Caller).on_message(move |message| messages.message(message));
    let caller = start(watched).await?;
    let serving = tokio::spawn({
        let ivr = ivr.clone();
        async move { ivr.serve(operator).await }
    });

    let uri = ivr.uri("ivr");
    let mut script = Caller {
        endpoint: &caller,
        folder,
        show,
        digits,
    };
    show.heading(
        "1. A caller dials an IVR on this machine: hears it, presses keys, leaves a message",
    );
    let checks = script.leaves_a_message(&uri).await;
    show.heading("2. What was recorded, against what should be in it");
    for check in &checks {
        tell(show, check);
    }
    show.heading("3. A planted fault: one prompt of the IVR's flow is exchanged");
    show.line(show.ink(Ink::Red, &format!("   - {}", stage::RIGHT)));
    show.line(show.ink(Ink::Green, &format!("   + {}", stage::WRONG)));
    let caught = match script.meets_the_fault(&stage::faulty(&uri)).await {
        Ok((check, instead)) => judge(show, check, instead),
        Err(error) => {
            tell(
                show,
                &Check::new("the call", false, script::explain(&error)),
            );
            false
        }
    };

    caller.shutdown(Duration::ZERO).await;
    ivr.shutdown(Duration::ZERO).await;
    let _ = serving.await;
    let failed = checks.iter().filter(|check| !check.passed).count();
    sum_up(show, folder, checks.len(), failed, caught, begin.elapsed());
    Ok(failed == 0 && caught)
}

/// Says whether the check that ought to fail did fail, and because of the
/// planted fault: a call that was silent would fail it too.
fn judge(show: &Show, check: Check, instead: Option<(Words, f32)>) -> bool {
    tell(show, &check);
    let wrong = instead.filter(|(words, likeness)| {
        *likeness >= check::LIKENESS && stage::WRONG.ends_with(words.name())
    });
    let verdict = match (check.passed, wrong) {
        (false, Some((words, likeness))) => {
            let (likeness, words) = (check::percent(likeness), words.short(30));
            let figures = format!("what was said is {words}, {likeness} alike");
            Check::new("caught", true, figures)
        }
        (false, None) => Check::new("missed", false, "the wrong prompt was not heard either"),
        (true, _) => Check::new("missed", false, "the wrong prompt passed for the right one"),
    };
    tell(show, &verdict);
    verdict.passed
}

fn tell(show: &Show, check: &Check) {
    let mark = match check.passed {
        true => show.ink(Ink::Green, "✓"),
        false => show.ink(Ink::Red, "✗"),
    };
    show.line(format!("   {mark} {:<14} {}", check.what, check.figures));
}

fn sum_up(
    show: &Show,
    folder: &Folder,
    checks: usize,
    failed: usize,
    caught: bool,
    took: Duration,
) {
    let verdict = match (failed, caught) {
        (0, true) => show.ink(
            Ink::Green,
            &format!("All {checks} checks passed, and the planted fault was caught"),
        ),
        (0, false) => show.ink(Ink::Red, "The planted fault was not caught"),
        (failed, _) => show.ink(Ink::Red, &format!("{failed} of {checks} checks failed")),
    };
    show.line(format!("\n{verdict} ({:.1} s).", took.as_secs_f32()));
    show.line(format!("\nThe files are in {}", folder.path().display()));
    for (file, what) in [
        (
            "call.wav",
            "stereo: what the caller heard left, what it said right",
        ),
        ("message.wav", "the message, as the IVR recorded it"),
        ("wrong-prompt.wav", "the call with the fault"),
        ("flow.yaml", "the IVR; run it with `callbot ivr flow.yaml`"),
    ] {
        if folder.file(file).exists() {
            show.line(format!("   {file:<17} {what}"));
        }
    }
}
