//! A ten-minute IVR call in paused time: the same each time, and quick.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use callbot_core::driver::memory::Impairment;
use callbot_core::{Call, Gathered, Result};
use common::{Pair, golden, ms, secs, tone};

/// A menu that goes round for ten minutes.
async fn menu(call: Call) -> Result<()> {
    loop {
        let gathered = call
            .gather()
            .prompt(tone(500.0, 4.0))
            .digits(2)
            .first_digit(secs(5))
            .inter_digit(secs(3))
            .tries(2)
            .await?;
        match gathered {
            Gathered::Digits(digits) if digits == "99" => return call.hangup().await,
            Gathered::Digits(digits) => call.send_dtmf(digits).await?,
            _ => call.play(tone(300.0, 2.0)).await?,
        }
    }
}

/// The caller's side: presses, listens, waits, for ten minutes. Gives the
/// ladder, with the digits that came back.
async fn ten_minutes(seed: u64) -> String {
    let pair = Pair::new(seed).await;
    pair.network.impair(Impairment {
        loss: 0.01,
        delay: ms(20),
        jitter: ms(20),
        ..Impairment::default()
    });
    pair.serve(|call| async move { menu(call.answer().await?).await });
    let call = pair.dial().await;
    let start = tokio::time::Instant::now();
    let mut round = 10;
    while start.elapsed() < secs(590) {
        tokio::time::sleep(secs(7)).await;
        call.send_dtmf(format!("{round}")).await.unwrap();
        round = if round == 98 { 10 } else { round + 1 };
        tokio::time::sleep(secs(13)).await;
    }
    let _ = call.send_dtmf("99").await;
    call.ended().await;
    assert!(start.elapsed() >= secs(590));
    let heard = call.digits_received();
    pair.shutdown().await;
    format!("{}digits back: {heard}\n", pair.ladder)
}

#[tokio::test(start_paused = true)]
async fn a_ten_minute_call_gives_the_same_ladder_each_time() {
    let first = ten_minutes(77).await;
    let second = ten_minutes(77).await;
    assert_eq!(first, second);
    golden("ten_minutes", &first);
}
