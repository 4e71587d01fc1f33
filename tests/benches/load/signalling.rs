//! CPU per call: SIPp's built-in caller, which sends INVITE, ACK and BYE at once and offers PCMU that it never sends.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use callbot_tests::lab::Lab;
use callbot_tests::sipp::Sipp;

use crate::contender::Contender;
use crate::machine::{Cores, cpu_time};
use crate::table::{Figures, markdown, ratio, verdict};

/// Calls a second.
const RATE: u32 = 1000;
/// Calls before the measurement, so that nobody pays for first use.
const WARM_UP: u32 = 300;
/// What callbot may cost, in SIPp's own answerer.
const TARGET: f64 = 2.5;

/// Measures all contenders in turns and gives the table.
pub(crate) fn measure(lab: &Lab, set: &[Contender], quick: bool) -> Result<String> {
    let cores = Cores::take()?;
    let (rounds, calls) = if quick { (3, RATE) } else { (5, 4 * RATE) };
    let mut figures = vec![Figures::default(); set.len()];
    let mut troubles = vec![None; set.len()];
    for round in 1..=rounds {
        for (n, contender) in set.iter().enumerate() {
            if troubles[n].is_some() {
                continue;
            }
            let place = format!(
                "signalling, round {round} of {rounds}: {}",
                contender.name()
            );
            match once(lab, cores, contender, round, calls) {
                Ok(figure) => {
                    eprintln!("{place}: {figure:.1} us a call");
                    figures[n].push(figure);
                }
                // One contender's trouble must not take the others' figures away, unless it is ours.
                Err(why) if contender.is_foreign() => {
                    eprintln!("{place}: {why:#}");
                    troubles[n] = Some(format!("failed: {}", first_line(&why)));
                }
                Err(why) => return Err(why.context(place)),
            }
        }
    }
    let uas = figures[0].median();
    let rows: Vec<_> = set
        .iter()
        .zip(&figures)
        .zip(troubles)
        .map(|((contender, figures), trouble)| {
            let share = figures.median().zip(uas).map(|(figure, uas)| figure / uas);
            let target = match contender {
                Contender::Callbot(_) => verdict(share, TARGET, " times"),
                _ => trouble.unwrap_or_default(),
            };
            vec![
                contender.name(),
                figures.text(),
                ratio(figures.median(), uas),
                target,
            ]
        })
        .collect();
    Ok(markdown(
        &format!(
            "Signalling: CPU of the server a call (INVITE, 200, ACK, BYE by UDP, {RATE} calls/s from SIPp's `uac`, one core; median of {rounds} rounds of {calls} calls, lowest-highest)"
        ),
        &["server", "us a call", "times SIPp's uas", "target"],
        &rows,
    ))
}

/// Microseconds a call.
fn once(lab: &Lab, cores: Cores, contender: &Contender, round: u32, calls: u32) -> Result<f64> {
    let mut server = contender.start(lab, cores, round)?;
    let address = server.address();
    let load = |name: &str, count: u32| {
        Sipp::uac(address)
            .named(&format!("{name}-{round}"))
            .calls(count)
            .rate(RATE)
            .at_once(count)
            .run(lab, Duration::from_secs(u64::from(count / RATE) + 15))
    };
    load("warm-up", WARM_UP)?;
    sleep(Duration::from_millis(100));
    let before = cpu_time(server.process())?;
    let got = load("load", calls)?;
    // What a server does once the caller has gone belongs to the call.
    sleep(Duration::from_millis(200));
    let spent = cpu_time(server.process())?.saturating_sub(before);
    ensure!(
        got.failed == 0 && got.successful == u64::from(calls),
        "not all calls succeeded: {got}"
    );
    if got.retransmissions > 0 {
        eprintln!(
            "  {} messages were sent again: the machine is busy",
            got.retransmissions
        );
    }
    Ok(spent.as_secs_f64() * 1e6 / f64::from(calls))
}

fn first_line(why: &anyhow::Error) -> String {
    why.to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
