//! A network that loses every fifth datagram, in memory and in paused time: every call comes about, and every call ends.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callbot_core::driver::memory::{Impairment, MemoryNetwork};
use callbot_core::{Cause, Endpoint, Error, HangupCause, IncomingCall, Result, answer_with};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const CALLS: usize = 3_000;
/// Calls at once.
const AT_ONCE: usize = 200;
const LOSS: f64 = 0.2;
const TALK: Duration = Duration::from_millis(400);

async fn start(network: &MemoryNetwork, last: u8) -> Endpoint {
    Endpoint::builder()
        .memory(network.host([10, 0, 0, last]))
        .seed(u64::from(last))
        .start()
        .await
        .unwrap()
}

fn is_normal(cause: &HangupCause) -> bool {
    cause.cause() == Cause::NormalClearing
}

/// The callee of odd numbers hangs up, the caller of even ones.
async fn talk(call: IncomingCall, ended: Arc<AtomicUsize>) -> Result<()> {
    let hangs_up = call.info().called().ends_with(['1', '3', '5', '7', '9']);
    let call = match call.answer().await {
        Ok(call) => call,
        // The BYE may overtake the ACK.
        Err(Error::HungUp(cause)) if is_normal(&cause) => {
            ended.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if hangs_up {
        tokio::time::sleep(TALK).await;
        // A BYE whose answer is lost each time ends the call all the same.
        let _ = call.hangup().await;
    }
    call.ended().await;
    ended.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn every_fifth_datagram_is_lost_and_no_call() {
    let network = MemoryNetwork::new(20);
    network.impair(Impairment {
        loss: LOSS,
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(10),
        ..Impairment::default()
    });
    let (caller, callee) = (start(&network, 1).await, start(&network, 2).await);
    let ended = Arc::new(AtomicUsize::new(0));
    let serving = (callee.clone(), ended.clone());
    tokio::spawn(async move {
        let (callee, ended) = serving;
        callee
            .serve(answer_with(move |call| talk(call, ended.clone())))
            .await
    });
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let place = room.clone().acquire_owned().await.unwrap();
        let caller = caller.clone();
        calls.spawn(async move {
            let _place = place;
            let call = match caller.dial(format!("sip:{number}@10.0.0.2")).await {
                Ok(call) => call,
                Err(error) => return Some(format!("{number} never came about: {error}")),
            };
            if number % 2 == 0 {
                tokio::time::sleep(TALK).await;
                if let Err(error) = call.hangup().await {
                    return Some(format!("{number} could not be ended: {error}"));
                }
            }
            let cause = call.ended().await;
            // Whoever misses the sound may ask, and hear of the end, before the BYE gets through.
            let ended = is_normal(&cause) || cause.to_string().contains("(481)");
            (!ended).then(|| format!("{number} ended by {cause}"))
        });
    }
    let failed: Vec<String> = calls.join_all().await.into_iter().flatten().collect();
    assert!(
        failed.is_empty(),
        "{} of {CALLS}: {failed:#?}",
        failed.len()
    );
    // The last BYE may still be repeated; 64*T1 is all that it has.
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(
        ended.load(Ordering::Relaxed),
        CALLS,
        "calls that ended at the callee"
    );
    assert_eq!((caller.active_calls(), callee.active_calls()), (0, 0));
    let counts = network.counts();
    let lost = counts.lost as f64 / counts.sent as f64;
    assert!((lost - LOSS).abs() < 0.01, "{counts:?}");
}
