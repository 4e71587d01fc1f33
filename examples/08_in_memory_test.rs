//! 08: tests a bot without sockets and without waiting: a ten-minute call on
//! an in-memory network whose clock jumps from one event to the next.
//!
//! ```text
//! cargo run -p callbot-examples --example 08_in_memory_test
//! ```
//!
//! In a test of your own, `#[tokio::test(start_paused = true)]` does what
//! `main` does here.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::driver::memory::{Impairment, MemoryNetwork};
use callbot_core::trace::Ladder;
use callbot_core::{Bot, Endpoint, Gathered, IncomingCall, Result, Tone, async_trait};

/// The bot under test: counts the keys that are pressed until `#`.
#[derive(Default)]
pub struct KeyCounter;

#[async_trait]
impl Bot for KeyCounter {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let keys = call
            .gather()
            .between(0, 64)
            .finish_on('#')
            .first_digit(Duration::from_secs(3600))
            .inter_digit(Duration::from_secs(3600))
            .await?;
        if let Gathered::Digits(keys) = keys {
            for _ in keys.chars() {
                call.play(Tone::beep()).await?;
            }
        }
        call.hangup().await
    }
}

/// What one run gave.
pub struct Run {
    /// Length of the call in its own time.
    pub call: Duration,
    /// Every SIP message, in order.
    pub ladder: String,
}

/// Two endpoints on one bad network, one call. The seed fixes everything that
/// chance decides, so that each run is the same.
pub async fn ten_minutes(seed: u64) -> Result<Run> {
    let network = MemoryNetwork::new(seed);
    network.impair(Impairment {
        loss: 0.05,
        delay: Duration::from_millis(40),
        jitter: Duration::from_millis(20),
        ..Impairment::default()
    });
    let ladder = Ladder::new();
    let endpoint = |last, seed| {
        let host = network.host([10, 0, 0, last]);
        Endpoint::builder()
            .memory(host)
            .seed(seed)
            .ladder(&ladder)
            .start()
    };
    let bot = endpoint(1, seed).await?;
    let caller = endpoint(2, seed + 1).await?;
    let serving = tokio::spawn({
        let bot = bot.clone();
        async move { bot.serve(KeyCounter::default).await }
    });

    let call = caller.dial("sip:keys@10.0.0.1").await?;
    tokio::time::sleep(Duration::from_secs(600)).await;
    call.send_dtmf("123#").await?;
    call.ended().await;
    let length = call.duration();

    bot.shutdown(Duration::ZERO).await;
    caller.shutdown(Duration::ZERO).await;
    let _ = serving.await;
    Ok(Run {
        call: length,
        ladder: ladder.to_string(),
    })
}

fn main() -> ExitCode {
    let clock = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let run = match runtime.map(|runtime| runtime.block_on(ten_minutes(7))) {
        Ok(Ok(run)) => run,
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", run.ladder);
    println!(
        "a call of {:.1} s, in {:.2} s",
        run.call.as_secs_f32(),
        clock.elapsed().as_secs_f32()
    );
    ExitCode::SUCCESS
}
