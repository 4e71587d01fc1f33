//! What a browser's leg costs beside a plain one: `callbot echo` called by the same program, once by RTP and once by ICE and DTLS-SRTP.
//!
//! The callers are [`crate::peers`]: plain sockets, and str0m as the browser. First all calls are set up without media, then they
//! stand silent, which tells what merely standing costs, then they all speak. A round counts when nearly all packets came back, which
//! for a browser means: were opened by its keys.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use callbot_tests::lab::Lab;
use str0m::crypto::dtls::DtlsVersion;

use crate::contender::Contender;
use crate::machine::{Cores, cpu_time};
use crate::peers::{Kind, Peers};
use crate::table::{Figures, markdown, ratio, verdict};

/// Calls begun a second: a handshake costs the browser's side as much as the server's.
const RATE: u32 = 100;
/// What a browser's call may cost, in plain ones.
const CPU_TARGET: f64 = 1.5;
/// What its set-up may cost, signalling included, in milliseconds.
const SETUP_TARGET: f64 = 3.0;
/// What it may hold of resident memory, in KB of 1000 bytes.
const MEMORY_TARGET: f64 = 150.0;
/// Less of the packets than this, in percent, and a round does not count: the machine was too busy for the load.
const ENOUGH: f64 = 97.0;
/// Rounds that are tried in place of those that do not count.
const MORE: u32 = 2;
/// How long the calls stand silent.
const SILENCE: Duration = Duration::from_secs(2);

/// The legs, the yardstick first.
const LEGS: [(Kind, &str); 3] = [
    (Kind::Plain, "RTP, PCMU"),
    (
        Kind::WebRtc(DtlsVersion::Dtls12),
        "ICE, DTLS-SRTP 1.2, Opus",
    ),
    (
        Kind::WebRtc(DtlsVersion::Dtls13),
        "ICE, DTLS-SRTP 1.3, Opus",
    ),
];

#[derive(Clone, Copy)]
struct Size {
    rounds: u32,
    calls: u32,
    window: Duration,
}

/// What one leg showed.
#[derive(Clone, Default)]
struct Shown {
    setup: Figures,
    cpu: Figures,
    memory: Figures,
}

/// What one round showed.
struct Round {
    /// Milliseconds of CPU for a call's set-up.
    setup: f64,
    /// Microseconds of CPU per call-second.
    cpu: f64,
    /// The same of a call that is silent.
    idle: f64,
    /// KB per call.
    memory: f64,
    /// Packets that came back, of those that should have been sent, in percent.
    packets: f64,
}

/// Measures all legs in turns and gives the table.
pub(crate) fn measure(lab: &Lab, callbot: &Contender, quick: bool) -> Result<String> {
    let cores = Cores::take()?;
    let size = if quick {
        Size {
            rounds: 2,
            calls: 200,
            window: Duration::from_secs(3),
        }
    } else {
        Size {
            rounds: 3,
            calls: 250,
            window: Duration::from_secs(8),
        }
    };
    let mut shown = vec![Shown::default(); LEGS.len()];
    for round in 1..=size.rounds + MORE {
        for ((kind, name), shown) in LEGS.iter().zip(&mut shown) {
            if shown.cpu.count() >= size.rounds as usize {
                continue;
            }
            let place = format!("legs, round {round} of {}: {name}", size.rounds);
            let one = once(lab, cores, callbot, *kind, round, size).context(place.clone())?;
            let counts = one.packets >= ENOUGH;
            eprintln!(
                "{place}: set up in {:.2} ms, {:.0} us a call-second ({:.0} us silent), {:.0} KB a call, {:.0}% of the packets{}",
                one.setup,
                one.cpu,
                one.idle,
                one.memory,
                one.packets,
                if counts {
                    ""
                } else {
                    ": too few, it does not count"
                }
            );
            if counts {
                shown.setup.push(one.setup);
                shown.cpu.push(one.cpu);
                shown.memory.push(one.memory);
            }
        }
    }
    ensure!(
        shown.iter().all(|shown| shown.cpu.count() > 0),
        "this machine cannot carry {} calls now: in no round did {ENOUGH}% of the packets come back",
        size.calls
    );
    Ok(table(&shown, size))
}

fn table(shown: &[Shown], size: Size) -> String {
    let plain = shown.first().and_then(|shown| shown.cpu.median());
    let rows: Vec<_> = LEGS
        .iter()
        .zip(shown)
        .map(|((kind, name), shown)| {
            let cpu = shown.cpu.median();
            let share = cpu.zip(plain).map(|(figure, plain)| figure / plain);
            let target = if *kind == Kind::Plain {
                String::new()
            } else {
                format!(
                    "{}; {}; {}",
                    verdict(share, CPU_TARGET, " times"),
                    verdict(shown.setup.median(), SETUP_TARGET, " ms"),
                    verdict(shown.memory.median(), MEMORY_TARGET, " KB")
                )
            };
            vec![
                (*name).to_owned(),
                shown.cpu.text(),
                ratio(cpu, plain),
                shown.setup.precise(),
                shown.memory.text(),
                target,
            ]
        })
        .collect();
    markdown(
        &format!(
            "Legs: CPU and memory of `callbot echo`, {} calls at once from one program (str0m is the browser; 20 ms packets, one core; median of {} windows of {} s, lowest-highest)",
            size.calls,
            size.rounds,
            size.window.as_secs()
        ),
        &[
            "leg",
            "us a call-second",
            "times plain",
            "ms to set up",
            "KB a call",
            "target",
        ],
        &rows,
    )
}

/// One leg, one window.
fn once(
    lab: &Lab,
    cores: Cores,
    callbot: &Contender,
    kind: Kind,
    round: u32,
    size: Size,
) -> Result<Round> {
    let mut server = callbot.start(lab, cores, round)?;
    let mut peers = Peers::new(kind, server.address())?;
    // Long enough for a runtime to have started its threads.
    peers.run(Duration::from_millis(300))?;
    let idle_memory = server.process().memory_kib().context("read its memory")?;
    let calls = f64::from(size.calls);

    let (begin, before) = (Instant::now(), cpu_time(server.process())?);
    for _ in 0..size.calls {
        peers.call()?;
        peers.run(Duration::from_secs(1) / RATE)?;
    }
    let limit = Instant::now() + Duration::from_secs(10);
    while peers.standing() < size.calls as usize {
        if Instant::now() > limit {
            bail!("only {} of {} calls stand", peers.standing(), size.calls);
        }
        peers.run(Duration::from_millis(50))?;
    }
    peers.check()?;
    let (ramp, setup) = (
        begin.elapsed(),
        cpu_time(server.process())?.saturating_sub(before),
    );

    let (begin, before) = (Instant::now(), cpu_time(server.process())?);
    peers.run(SILENCE)?;
    let silent = cpu_time(server.process())?.saturating_sub(before);
    let idle = silent.as_secs_f64() / (calls * begin.elapsed().as_secs_f64());

    peers.talk();
    peers.run(Duration::from_secs(1))?;
    let (begin, before, from) = (Instant::now(), cpu_time(server.process())?, peers.counts());
    peers.run(size.window)?;
    let (took, to) = (begin.elapsed().as_secs_f64(), peers.counts());
    let spent = cpu_time(server.process())?.saturating_sub(before);
    let memory = server.process().memory_kib().context("read its memory")?;
    let packets = (to.received - from.received) as f64 / (calls * took * 50.0) * 100.0;
    ensure!(
        packets > 55.0,
        "only {packets:.0}% of the packets came back: it does not echo"
    );
    Ok(Round {
        // On the way the calls stood for half of it, on average.
        setup: (setup.as_secs_f64() / calls - idle * ramp.as_secs_f64() / 2.0) * 1e3,
        cpu: spent.as_secs_f64() * 1e6 / (calls * took),
        idle: idle * 1e6,
        memory: memory.saturating_sub(idle_memory) as f64 * 1.024 / calls,
        packets,
    })
}
