//! The rules of gathering digits, one test a sentence, in paused time.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use std::time::Duration;

use callbot_core::analysis::measure_tone;
use callbot_core::{Call, DtmfMethod, Error, Gathered, Result};
use common::{Pair, folder, ms, secs, tone, wav};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Runs `gather` on the callee and `press` on the caller; gives what was gathered and how long it took.
async fn gathered<G, GF, P, PF>(seed: u64, gather: G, press: P) -> (Gathered, Duration)
where
    G: Fn(Call) -> GF + Send + Sync + Clone + 'static,
    GF: Future<Output = Result<Gathered>> + Send + 'static,
    P: FnOnce(Call) -> PF,
    PF: Future<Output = ()>,
{
    let pair = Pair::new(seed).await;
    let (told, mut heard) = mpsc::channel(1);
    pair.serve(move |call| {
        let (told, gather) = (told.clone(), gather.clone());
        async move {
            let call = call.answer().await?;
            let start = Instant::now();
            let result = gather(call).await?;
            let _ = told.send((result, start.elapsed())).await;
            Ok(())
        }
    });
    let call = pair.dial().await;
    press(call.clone()).await;
    heard.recv().await.unwrap()
}

/// Presses keys; the far end may have hung up before the last one was let go.
async fn press(call: &Call, keys: &str) {
    match call.send_dtmf(keys).await {
        Ok(()) | Err(Error::HungUp(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

fn digits(text: &str) -> Gathered {
    Gathered::Digits(text.to_owned())
}

fn near(took: Duration, expected: Duration) {
    let off = took.abs_diff(expected);
    assert!(off <= ms(60), "took {took:?}, expected {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn digits_pressed_before_it_starts_count() {
    let (result, _) = gathered(
        1,
        |call| async move {
            tokio::time::sleep(secs(2)).await;
            call.gather().digits(3).await
        },
        |call| async move { press(&call, "123").await },
    )
    .await;
    assert_eq!(result, digits("123"));
}

#[tokio::test(start_paused = true)]
async fn flush_forgets_digits_pressed_before_it_starts() {
    let (result, _) = gathered(
        2,
        |call| async move {
            tokio::time::sleep(secs(2)).await;
            call.gather().flush().digits(2).await
        },
        |call| async move {
            call.send_dtmf("99").await.unwrap();
            tokio::time::sleep(secs(3)).await;
            press(&call, "12").await;
        },
    )
    .await;
    assert_eq!(result, digits("12"));
}

#[tokio::test(start_paused = true)]
async fn the_finishing_digit_ends_it_and_is_not_part_of_the_result() {
    let (result, took) = gathered(
        3,
        |call| async move { call.gather().between(1, 10).finish_on('#').await },
        |call| async move { press(&call, "42#").await },
    )
    .await;
    assert_eq!(result, digits("42"));
    assert!(took < secs(1), "no time-out was waited for: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_the_first_digit_starts_when_the_prompt_ends() {
    let (result, took) = gathered(
        4,
        |call| async move {
            call.gather()
                .prompt(tone(400.0, 3.0))
                .digits(1)
                .first_digit(secs(5))
                .await
        },
        |call| async move {
            tokio::time::sleep(secs(9)).await;
            drop(call)
        },
    )
    .await;
    assert_eq!(
        result,
        Gathered::Timeout {
            digits: String::new()
        }
    );
    near(took, secs(8));
}

#[tokio::test(start_paused = true)]
async fn the_time_to_the_next_digit_restarts_when_a_digit_ends() {
    let (result, took) = gathered(
        5,
        |call| async move { call.gather().digits(4).inter_digit(secs(2)).await },
        |call| async move {
            // One second each: three keys, and 1.5 s between them.
            call.send_dtmf("12")
                .tone(secs(1))
                .gap(ms(1500))
                .await
                .unwrap();
            tokio::time::sleep(secs(5)).await;
        },
    )
    .await;
    assert_eq!(
        result,
        Gathered::Timeout {
            digits: "12".to_owned()
        }
    );
    near(took, ms(1000 + 1500 + 1000 + 2000));
}

#[tokio::test(start_paused = true)]
async fn the_first_digit_stops_the_prompt_within_one_frame() {
    let pair = Pair::new(6).await;
    pair.serve(|call| async move {
        let call = call.answer().await?;
        call.gather()
            .prompt(tone(400.0, 10.0))
            .digits(4)
            .inter_digit(secs(3))
            .await?;
        Ok(())
    });
    let call = pair.dial().await;
    let file = folder("barge_in").join("prompt.wav");
    let recording = call
        .record(file.display().to_string())
        .stereo()
        .start()
        .await
        .unwrap();
    tokio::time::sleep(secs(2)).await;
    call.send_dtmf("1").await.unwrap();
    call.ended().await;
    recording.stop().await.unwrap();
    let report = measure_tone(&wav(&file)[0], 8000, 400.0).unwrap();
    // The key went down at 2.0 s; a packet, a slice and a frame later the prompt is gone,
    // and the jitter buffer of the listener lets what was sent run out.
    assert!(report.sounding() < ms(2000 + 120), "{report:?}");
    assert!(report.sounding() > ms(1800), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn without_barge_in_the_prompt_is_heard_to_its_end_and_the_digits_count() {
    let (result, took) = gathered(
        7,
        |call| async move {
            call.gather()
                .prompt(tone(400.0, 3.0))
                .barge_in(false)
                .digits(2)
                .await
        },
        |call| async move { press(&call, "56").await },
    )
    .await;
    assert_eq!(result, digits("56"));
    near(took, secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_long_press_is_one_digit() {
    let (result, _) = gathered(
        8,
        |call| async move { call.gather().between(1, 5).inter_digit(secs(1)).await },
        |call| async move {
            call.send_dtmf("7").tone(secs(9)).await.unwrap();
            tokio::time::sleep(secs(2)).await;
        },
    )
    .await;
    assert_eq!(result, digits("7"));
}

#[tokio::test(start_paused = true)]
async fn the_same_key_twice_is_two_digits() {
    let (result, _) = gathered(
        9,
        |call| async move { call.gather().digits(4).await },
        |call| async move { drop(call.send_dtmf("5555").tone(ms(40)).gap(ms(40)).await) },
    )
    .await;
    assert_eq!(result, digits("5555"));
}

#[tokio::test(start_paused = true)]
async fn info_right_after_the_same_telephone_event_is_its_duplicate() {
    let (result, _) = gathered(
        10,
        |call| async move { call.gather().between(1, 5).inter_digit(secs(2)).await },
        |call| async move {
            let events = call.send_dtmf("5").method(DtmfMethod::Rfc4733);
            let info = call.send_dtmf("5").method(DtmfMethod::Info);
            let (one, two) = tokio::join!(events.into_future(), info.into_future());
            one.unwrap();
            two.unwrap();
            // Half a second later it is a key of its own.
            tokio::time::sleep(ms(500)).await;
            call.send_dtmf("5").method(DtmfMethod::Info).await.unwrap();
            tokio::time::sleep(secs(3)).await;
        },
    )
    .await;
    assert_eq!(result, digits("55"));
}

#[tokio::test(start_paused = true)]
async fn too_few_digits_at_the_time_out_are_a_timeout() {
    let (result, took) = gathered(
        11,
        |call| async move { call.gather().digits(4).inter_digit(secs(3)).await },
        |call| async move {
            call.send_dtmf("12").await.unwrap();
            tokio::time::sleep(secs(5)).await;
        },
    )
    .await;
    assert_eq!(
        result,
        Gathered::Timeout {
            digits: "12".to_owned()
        }
    );
    near(took, ms(100 + 60 + 100 + 3000));
}

#[tokio::test(start_paused = true)]
async fn digits_that_the_pattern_refuses_are_invalid() {
    let (result, _) = gathered(
        12,
        |call| async move {
            call.gather()
                .digits(2)
                .matching(|digits| digits.starts_with('1'))
                .await
        },
        |call| async move { press(&call, "23").await },
    )
    .await;
    assert_eq!(
        result,
        Gathered::Invalid {
            digits: "23".to_owned()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn tries_play_the_prompt_again() {
    let pair = Pair::new(13).await;
    let (told, mut heard) = mpsc::channel(1);
    pair.serve(move |call| {
        let told = told.clone();
        async move {
            let call = call.answer().await?;
            let gather = call
                .gather()
                .prompt(tone(700.0, 0.5))
                .digits(1)
                .first_digit(secs(1))
                .tries(3);
            let _ = told.send(gather.await?).await;
            Ok(())
        }
    });
    let call = pair.dial().await;
    let file = folder("tries").join("prompts.wav");
    let recording = call
        .record(file.display().to_string())
        .stereo()
        .start()
        .await
        .unwrap();
    call.ended().await;
    recording.stop().await.unwrap();
    assert_eq!(
        heard.recv().await,
        Some(Gathered::Timeout {
            digits: String::new()
        })
    );
    let report = measure_tone(&wav(&file)[0], 8000, 700.0).unwrap();
    assert_eq!(report.gaps.len(), 2, "three times: {report:?}");
}

#[tokio::test(start_paused = true)]
async fn on_hold_its_timers_pause() {
    let (result, took) = gathered(
        14,
        |call| async move { call.gather().digits(1).first_digit(secs(5)).await },
        |call| async move {
            tokio::time::sleep(secs(2)).await;
            call.hold().await.unwrap();
            tokio::time::sleep(secs(20)).await;
            call.resume().await.unwrap();
            tokio::time::sleep(secs(6)).await;
        },
    )
    .await;
    assert_eq!(
        result,
        Gathered::Timeout {
            digits: String::new()
        }
    );
    near(took, secs(25));
}

#[tokio::test(start_paused = true)]
async fn all_sixteen_keys_arrive_once_and_in_order() {
    for (seed, method) in [(15, DtmfMethod::Rfc4733), (16, DtmfMethod::Info)] {
        let (result, _) = gathered(
            seed,
            |call| async move { call.gather().digits(16).await },
            move |call| async move { drop(call.send_dtmf("0123456789*#ABCD").method(method).await) },
        )
        .await;
        assert_eq!(result, digits("0123456789*#ABCD"), "{method:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn digits_survive_loss_and_disorder() {
    use callbot_core::driver::memory::Impairment;
    for seed in 20..30 {
        let pair = Pair::new(seed).await;
        pair.network.impair_ports(
            10_000..=20_000,
            Impairment {
                loss: 0.05,
                duplicate: 0.05,
                delay: ms(30),
                jitter: ms(30),
            },
        );
        let (told, mut heard) = mpsc::channel(1);
        pair.serve(move |call| {
            let told = told.clone();
            async move {
                let call = call.answer().await?;
                let _ = told.send(call.gather().digits(16).await?).await;
                Ok(())
            }
        });
        let call = pair.dial().await;
        press(&call, "0123456789*#ABCD").await;
        tokio::time::sleep(secs(4)).await;
        assert_eq!(
            heard.recv().await,
            Some(digits("0123456789*#ABCD")),
            "seed {seed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_finishing_digit_after_the_last_one_does_not_reach_the_next_gather() {
    let (result, _) = gathered(
        17,
        |call| async move {
            call.gather().digits(4).finish_on('#').await?;
            call.gather().digits(1).first_digit(secs(2)).await
        },
        |call| async move {
            call.send_dtmf("1234#").await.unwrap();
            tokio::time::sleep(secs(1)).await;
            press(&call, "9").await;
        },
    )
    .await;
    assert_eq!(result, digits("9"));
}
