//! Listeners and limits that change while calls stand, over the in-memory network and in paused time.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use std::time::Duration;

use callbot_core::Error;
use callbot_core::analysis::measure_tone;
use common::{Pair, folder, secs, tone, wav};

const OLD: &str = "udp://10.0.0.2:5060";
const NEW: &str = "udp://10.0.0.2:5070";
const BY_OLD: &str = "sip:bot@10.0.0.2:5060";
const BY_NEW: &str = "sip:bot@10.0.0.2:5070";

fn status<T>(result: Result<T, Error>) -> Option<u16> {
    result.err()?.hangup_cause()?.status()
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_removed_finishes_its_calls_and_closes() {
    let pair = Pair::new(31).await;
    pair.serve(|call| async move { call.answer().await?.echo().await });
    assert_eq!(pair.callee.listeners(), [OLD]);
    let standing = pair.caller.dial(BY_OLD).await.unwrap();

    assert_eq!(pair.callee.add_listener(NEW).await.unwrap(), NEW);
    assert!(pair.callee.remove_listener(OLD));
    assert!(!pair.callee.remove_listener(OLD), "it is going already");
    assert_eq!(pair.callee.listeners(), [NEW]);
    assert_eq!(pair.callee.uri("bot"), BY_NEW);
    let other = pair.caller.dial(BY_NEW).await.unwrap();
    assert_eq!(status(pair.caller.dial(BY_OLD).await), Some(503));

    // What stood goes on, with all that a call can do: sound, and a re-INVITE by the old way.
    tokio::time::sleep(secs(120)).await;
    standing.hold().await.unwrap();
    standing.resume().await.unwrap();
    let file = folder("removed_listener").join("echo.wav");
    let recording = standing
        .record(file.display().to_string())
        .stereo()
        .start()
        .await
        .unwrap();
    standing.play(tone(440.0, 1.0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    recording.stop().await.unwrap();
    assert!(
        measure_tone(&wav(&file)[0], 8000, 440.0)
            .unwrap()
            .level_dbov
            > -21.0
    );
    standing.hangup().await.unwrap();

    // Its transactions have 64*T1; then nobody is there.
    tokio::time::sleep(secs(20)).await;
    assert_eq!(status(pair.caller.dial(BY_OLD).await), Some(503));
    tokio::time::sleep(secs(60)).await;
    let gone = pair.caller.dial(BY_OLD).await;
    assert!(
        gone.is_err() && status(gone) != Some(503),
        "the socket is closed"
    );

    // The call that came by the new one was never touched, and the address is free again.
    other.hangup().await.unwrap();
    assert_eq!(pair.callee.add_listener(OLD).await.unwrap(), OLD);
    pair.caller
        .dial(BY_OLD)
        .await
        .unwrap()
        .hangup()
        .await
        .unwrap();
    pair.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_can_be_taken_back_before_it_closes() {
    let pair = Pair::new(33).await;
    pair.serve(|call| async move { call.answer().await?.echo().await });
    let standing = pair.caller.dial(BY_OLD).await.unwrap();
    assert!(pair.callee.remove_listener(OLD));
    assert_eq!(pair.callee.add_listener(OLD).await.unwrap(), OLD);
    standing.hangup().await.unwrap();
    tokio::time::sleep(secs(120)).await;
    pair.caller
        .dial(BY_OLD)
        .await
        .unwrap()
        .hangup()
        .await
        .unwrap();
    for (url, word) in [
        ("udp://nowhere:5060", "IP address"),
        ("tls://10.0.0.2:5061", "without a certificate"),
        (OLD, "10.0.0.2:5060"),
    ] {
        let why = pair.callee.add_listener(url).await.unwrap_err().to_string();
        assert!(why.contains(word), "{url}: {why}");
    }
    pair.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_calls_may_change() {
    let pair = Pair::new(35).await;
    pair.serve(|call| async move { call.answer().await?.echo().await });
    let first = pair.caller.dial(BY_OLD).await.unwrap();
    pair.callee.set_max_calls(1).await.unwrap();
    assert_eq!(status(pair.caller.dial(BY_OLD).await), Some(503));
    pair.callee.set_max_calls(2).await.unwrap();
    let second = pair.caller.dial(BY_OLD).await.unwrap();
    pair.callee.set_max_calls(1).await.unwrap();
    for call in [first, second] {
        assert!(call.hangup_cause().is_none(), "what stands goes on");
        call.hangup().await.unwrap();
    }
    pair.shutdown().await;
}
