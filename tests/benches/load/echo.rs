//! CPU per call-second and memory per call: many G.711 calls that all stand at once, streamed by SIPp and sent back by the server.
//!
//! The window begins when SIPp counts every call as standing and ends while all of them still do. SIPp does not read the echo well
//! (datagrams end in receive-buffer errors on its side), so that the echo is counted where it is sent: in the window every call must
//! bring 50 datagrams a second from SIPp and 50 from the server.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callbot_tests::lab::Lab;
use callbot_tests::process::wait_for;
use callbot_tests::scenario::Scenario;
use callbot_tests::sipp::{Sipp, Statistics};

use crate::contender::Contender;
use crate::machine::{Cores, cpu_time, datagrams_sent};
use crate::table::{Figures, markdown, ratio, verdict};

/// Calls begun a second.
const RATE: u32 = 250;
/// What callbot may cost, in reflectors.
const CPU_TARGET: f64 = 1.5;
/// What a call may hold of resident memory, in KB of 1000 bytes.
const MEMORY_TARGET: f64 = 100.0;
/// Less of the datagrams than this, in percent, and a round does not count: the machine was too busy for the load.
const ENOUGH: f64 = 97.0;
/// Rounds that are tried in place of those that do not count.
const MORE: u32 = 2;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    rounds: u32,
    calls: u32,
    window: Duration,
}

impl Size {
    /// How long each call streams: until the last has begun and the window is over, with room for a slow start.
    fn stream(self) -> Duration {
        Duration::from_secs(u64::from(self.calls / RATE) + 8) + self.window
    }
}

/// What one contender showed.
#[derive(Clone, Default)]
struct Shown {
    cpu: Figures,
    memory: Figures,
    trouble: Option<String>,
}

/// What one round showed.
struct Round {
    /// Microseconds of CPU per call-second.
    cpu: f64,
    /// KB per call.
    memory: f64,
    /// Datagrams that were sent, of those that should be, in percent.
    datagrams: f64,
}

/// Measures all contenders in turns and gives the table.
pub(crate) fn measure(lab: &Lab, set: &[Contender], quick: bool) -> Result<String> {
    let cores = Cores::take()?;
    let size = if quick {
        Size {
            rounds: 2,
            calls: 200,
            window: Duration::from_secs(2),
        }
    } else {
        Size {
            rounds: 3,
            calls: 1000,
            window: Duration::from_secs(8),
        }
    };
    // Noise, so that nothing on the way can take it for silence.
    let bytes = size.stream().as_millis() as u32 * 8;
    let noise: Vec<u8> = (0..bytes)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(lab.path("noise.ulaw"), noise)?;
    let scenario = Scenario::caller("streams")
        .stream("noise.ulaw")
        .pause(size.stream().as_millis() as u64)
        .write(lab)?;
    let mut shown = vec![Shown::default(); set.len()];
    for round in 1..=size.rounds + MORE {
        for (contender, shown) in set.iter().zip(&mut shown) {
            if shown.trouble.is_some() || shown.cpu.count() >= size.rounds as usize {
                continue;
            }
            let place = format!(
                "echo, round {round} of {}: {}",
                size.rounds,
                contender.name()
            );
            match once(lab, cores, contender, round, size, &scenario) {
                Ok(one) => {
                    let counts = one.datagrams >= ENOUGH;
                    eprintln!(
                        "{place}: {:.0} us a call-second, {:.0} KB a call, {:.0}% of the datagrams{}",
                        one.cpu,
                        one.memory,
                        one.datagrams,
                        if counts {
                            ""
                        } else {
                            ": too few, it does not count"
                        }
                    );
                    if counts {
                        shown.cpu.push(one.cpu);
                        shown.memory.push(one.memory);
                    }
                }
                Err(why) if contender.is_foreign() => {
                    eprintln!("{place}: {why:#}");
                    let first = why
                        .to_string()
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned();
                    shown.trouble = Some(format!("failed: {first}"));
                }
                Err(why) => return Err(why.context(place)),
            }
        }
    }
    ensure!(
        shown
            .iter()
            .all(|shown| shown.cpu.count() > 0 || shown.trouble.is_some()),
        "this machine cannot carry {} streams now: in no round of one of the servers were {ENOUGH}% of the datagrams sent",
        size.calls
    );
    Ok(table(set, &shown, size))
}

fn table(set: &[Contender], shown: &[Shown], size: Size) -> String {
    let floor = shown.first().and_then(|shown| shown.cpu.median());
    let rows: Vec<_> = set
        .iter()
        .zip(shown)
        .map(|(contender, shown)| {
            let cpu = shown.cpu.median();
            let share = cpu.zip(floor).map(|(figure, floor)| figure / floor);
            let target = match contender {
                Contender::Callbot(_) => format!(
                    "{}; {}",
                    verdict(share, CPU_TARGET, " times"),
                    verdict(shown.memory.median(), MEMORY_TARGET, " KB")
                ),
                _ => shown.trouble.clone().unwrap_or_default(),
            };
            vec![
                contender.name(),
                shown.cpu.text(),
                ratio(cpu, floor),
                shown.memory.text(),
                target,
            ]
        })
        .collect();
    markdown(
        &format!(
            "Echo: CPU and memory of the server, {} G.711 calls at once streamed by SIPp (20 ms packets, one core; median of {} windows of {} s, lowest-highest)",
            size.calls,
            size.rounds,
            size.window.as_secs()
        ),
        &[
            "server",
            "us a call-second",
            "times the reflector",
            "KB a call",
            "target",
        ],
        &rows,
    )
}

/// One contender, one window.
fn once(
    lab: &Lab,
    cores: Cores,
    contender: &Contender,
    round: u32,
    size: Size,
    scenario: &Path,
) -> Result<Round> {
    let mut server = contender.start(lab, cores, round)?;
    // Long enough for a runtime to have started its threads.
    sleep(Duration::from_millis(300));
    let idle = server.process().memory_kib().context("read its memory")?;
    let name = format!("streams-{round}");
    let statistics = lab.path(&format!("{name}.csv"));
    // Contenders take turns under the same name: the count of the one before must not be taken for this one's.
    std::fs::remove_file(&statistics).ok();
    let mut caller = Sipp::caller(server.address(), scenario)
        .named(&name)
        .calls(size.calls)
        .rate(RATE)
        .at_once(size.calls)
        .with("-mp", 16_000)
        .with("-rtp_threadtasks", 50)
        .start(lab)?;
    let read = || Statistics::parse(&std::fs::read_to_string(&statistics).ok()?).ok();
    let ramp = Duration::from_secs(u64::from(size.calls / RATE) + 6);
    let all_stand = wait_for("moment with all calls standing", ramp, || {
        let count = read()?;
        (count.created >= u64::from(size.calls) || count.failed > 0).then_some(count)
    });
    let count = match all_stand {
        Ok(count) => count,
        Err(why) => return Err(why.context(caller.process().last_words())),
    };
    ensure!(count.failed == 0, "not all calls stand: {count}");
    // The last calls may still wait for their 200.
    sleep(Duration::from_secs(1));
    let begin = Instant::now();
    let (cpu, sent) = (cpu_time(server.process())?, datagrams_sent()?);
    sleep(size.window);
    let (cpu, sent) = (
        cpu_time(server.process())?.saturating_sub(cpu),
        datagrams_sent()?.saturating_sub(sent),
    );
    let took = begin.elapsed().as_secs_f64();
    let memory = server.process().memory_kib().context("read its memory")?;
    let count = read().context("SIPp's count is gone")?;
    ensure!(
        count.failed == 0 && count.successful == 0 && caller.process().is_running(),
        "calls ended before the window did: {count}"
    );
    caller.process().kill();
    let calls = f64::from(size.calls);
    let datagrams = sent as f64 / (calls * took * 100.0) * 100.0;
    ensure!(
        datagrams > 55.0,
        "only {datagrams:.0}% of the datagrams were sent: it does not echo"
    );
    Ok(Round {
        cpu: cpu.as_secs_f64() * 1e6 / (calls * took),
        memory: memory.saturating_sub(idle) as f64 * 1.024 / calls,
        datagrams,
    })
}
