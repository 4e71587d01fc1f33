//! Three real minutes with Chromium: a tone each way, of which nothing is missing at the end, and nothing has grown meanwhile.
//!
//! A machine that others keep busy stops either side for some tens of milliseconds now and then. What then comes late cannot be played,
//! so that no more than a packet may be missing at a time, and no more than three in all; each is said.
//!
//! The bot lives in this program, so that its statistics can be asked for as the call goes on.

use std::net::SocketAddr;

use callbot_core::analysis::{ToneReport, measure_tone};
use callbot_core::{Endpoint, Statistics, Tone};
use callbot_tests::prelude::*;

/// What the page says and what the bot says, in hertz and dBov.
const PAGE: (f64, f64) = (440.0, -15.0);
const BOT: (f64, f64) = (600.0, -18.0);
const LENGTH: Duration = seconds(180);
const PACKET: Duration = Duration::from_millis(20);
/// How often figures are taken.
const LOOK: Duration = seconds(15);

/// Resident memory of this process, in KiB.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(value.context("no VmRSS")?.parse()?)
}

/// The tone is there all the time, in this much of the recording at least, at its pitch and level.
fn check(
    lab: &Lab,
    what: &str,
    samples: &[i16],
    rate: u32,
    (hertz, level): (f64, f64),
    (least, most): (Duration, Duration),
) -> Result<ToneReport> {
    let heard = measure_tone(samples, rate, hertz).with_context(|| format!("{what}: nothing"))?;
    lab.say(format!("{what}: {heard:?}"));
    let missing: Duration = heard.gaps.iter().map(|gap| gap.length).sum();
    ensure!(
        heard.gaps.iter().all(|gap| gap.length <= PACKET) && missing <= 3 * PACKET,
        "{what} breaks off: {heard:?}"
    );
    ensure!(
        (heard.frequency / hertz - 1.0).abs() < 0.005
            && (f64::from(heard.level_dbov) - level).abs() < 1.5,
        "{what} is another: {heard:?}"
    );
    let length = heard.span.length;
    ensure!(
        least < length && length < most,
        "{what} lasts {length:?}, not {least:?} to {most:?}"
    );
    Ok(heard)
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn three_minutes_with_jssip() {
    Lab::run("long-jssip", &[Peer::Browser], |lab| {
        // Threads started here stay in this test's network.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let at = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
        let server = format!("ws://{at}");
        let endpoint = runtime.block_on(Endpoint::builder().listen(&server).start())?;
        let mut browser = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1")
            .hums(PAGE.0, PAGE.1)
            .start(lab)?;
        browser.wait_event("connected", seconds(5))?;
        browser.call(&format!("sip:bot@{at}"))?;
        let file = lab.text("bot-heard.wav");
        let (call, recording) = runtime.block_on(async {
            let call = endpoint.accept().await.context("no call")?.answer().await?;
            let tone = Tone::new(&[BOT.0]).level(BOT.1 as f32);
            call.play(tone).start().await?.detach();
            // What is heard before the keys are there is nothing.
            tokio::time::sleep(seconds(2)).await;
            let recording = call.record(file.as_str()).stereo().start().await?;
            anyhow::Ok((call, recording))
        })?;
        browser.wait_pitch(BOT.0, seconds(10))?;
        browser.record()?;
        let begin = std::time::Instant::now();

        let statistics = || -> Result<Statistics> {
            runtime.block_on(call.statistics()).context("no statistics")
        };
        let (mut ours, mut memory) = (Vec::new(), Vec::new());
        while begin.elapsed() < LENGTH {
            std::thread::sleep(LOOK);
            ours.push(statistics()?.buffer_delay_ms);
            memory.push(resident()?);
        }
        let took = begin.elapsed();
        let (rate, page_heard) = browser.recorded(&lab.path("page.raw"))?;
        let figures = statistics()?;
        let recorded = runtime.block_on(recording.stop())?;
        lab.say(format!(
            "our delay {ours:.1?} ms, memory {memory:?} KiB, {figures:?}"
        ));
        lab.say(format!("{:?}", browser.statistics()?));
        browser.hang_up()?;
        runtime.block_on(async {
            call.ended().await;
            endpoint.shutdown(Duration::ZERO).await;
        });
        browser.quit()?;

        let most = ours.iter().copied().fold(0.0, f32::max);
        ensure!(most < 150.0, "the delay grew: {ours:?} ms");
        let (first, last) = (memory[0], memory[memory.len() - 1]);
        ensure!(last < first + 2048, "memory grew: {memory:?} KiB");
        ensure!(
            (figures.packets_lost, figures.refused) == (0, 0),
            "packets are missing: {figures:?}"
        );
        // The recording goes by the bot's clock, and what the page keeps by the browser's: both lasted as long as they took.
        let bot_heard = Sound::read(&recorded.path)?;
        let slack = Duration::from_millis(500);
        let bounds = (
            recorded.duration.saturating_sub(slack),
            recorded.duration + slack,
        );
        let samples = bot_heard.samples();
        check(
            lab,
            "the page, by bot",
            samples,
            bot_heard.rate(),
            PAGE,
            bounds,
        )?;
        let bounds = (took.saturating_sub(slack), took + seconds(5));
        check(lab, "the bot, in the page", &page_heard, rate, BOT, bounds).map(drop)
    });
}
