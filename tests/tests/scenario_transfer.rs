//! Transfers over the in-memory network, in paused time: who hears whom after each step.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use std::time::Duration;

use callbot_core::analysis::component_dbov;
use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::trace::Ladder;
use callbot_core::{
    Call, CallEvent, Cause, Endpoint, Error, Result, Tone, TransferPolicy, Transferred, answer_with,
};
use common::{ms, secs};
use tokio::sync::mpsc;

/// What each party says.
const TONES: [f64; 3] = [400.0, 700.0, 1_100.0];
const BOB: &str = "sip:bob@10.0.0.2";
const CAROL: &str = "sip:carol@10.0.0.3";

/// Alice, who calls; Bob and Carol, who answer. Everybody says a tone of his own for as long as his call stands.
struct Three {
    alice: Endpoint,
    bob: Endpoint,
    ladder: Ladder,
    bobs: mpsc::Receiver<Call>,
    carols: mpsc::Receiver<Call>,
}

impl Three {
    async fn new(policy: TransferPolicy) -> Self {
        let network = MemoryNetwork::new(9);
        let ladder = Ladder::new();
        let start = |n: u8| {
            Endpoint::builder()
                .memory(network.host([10, 0, 0, n]))
                .ladder(&ladder)
                .seed(u64::from(n))
                .transfers(policy)
                .start()
        };
        let alice = start(1).await.unwrap();
        let bob = start(2).await.unwrap();
        let carol = start(3).await.unwrap();
        let bobs = serve(&bob, TONES[1]);
        let carols = serve(&carol, TONES[2]);
        Self {
            alice,
            bob,
            ladder,
            bobs,
            carols,
        }
    }

    /// Alice's call to somebody, in which she speaks.
    async fn dial(&self, uri: &str) -> Call {
        let call = self.alice.dial(uri).await.unwrap();
        say(&call, TONES[0]);
        call
    }
}

/// Answers every call and speaks in it; "busy" is refused, "slow" rings for 5 s.
fn serve(endpoint: &Endpoint, tone: f64) -> mpsc::Receiver<Call> {
    let (told, calls) = mpsc::channel(8);
    let served = endpoint.clone();
    let bot = answer_with(move |call| {
        let told = told.clone();
        async move {
            if call.info().called() == "busy" {
                return call.reject(486).await;
            }
            if call.info().called() == "slow" {
                call.ring().await?;
                tokio::time::sleep(secs(5)).await;
            }
            let call = call.answer().await?;
            say(&call, tone);
            let _ = told.send(call.clone()).await;
            call.ended().await;
            Ok(())
        }
    });
    tokio::spawn(async move { served.serve(bot).await });
    calls
}

fn say(call: &Call, tone: f64) {
    let tone = Tone::new(&[tone]).level(-20.0);
    let call = call.clone();
    tokio::spawn(async move { call.play(tone).looped().await });
}

/// The parties that are heard during half a second.
async fn hears(call: &Call) -> Vec<usize> {
    // What is on its way, and what the jitter buffer holds.
    tokio::time::sleep(ms(500)).await;
    let mut audio = call.audio_in().unwrap();
    let mut samples = Vec::new();
    while samples.len() < 4_000 {
        samples.extend_from_slice(audio.next().await.unwrap().samples());
    }
    (0..3)
        .filter(|party| component_dbov(&samples, 8_000, TONES[*party]) > -26.0)
        .collect()
}

async fn ended(call: &Call) -> Cause {
    let cause = tokio::time::timeout(secs(10), call.ended()).await;
    cause.expect("the call ends").cause()
}

#[tokio::test(start_paused = true)]
async fn a_blind_transfer_leaves_the_two_others_together() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Follow).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    assert_eq!(hears(&alice).await, [1]);
    assert_eq!(hears(&bob).await, [0]);
    let mut events = bob.events();
    let mut transferring = alice.transfer(CAROL).start().await?;
    assert_eq!(transferring.progress().await, Some(100));
    assert_eq!(transferring.finished().await?, Transferred::Answered);
    assert_eq!(ended(&alice).await, Cause::NormalClearing);
    let carol = three.carols.recv().await.unwrap();
    assert_eq!(hears(&bob).await, [2]);
    assert_eq!(hears(&carol).await, [1]);
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if matches!(
            event,
            CallEvent::TransferRequested { .. } | CallEvent::Transferred { .. }
        ) {
            told.push(event);
        }
    }
    let carol_uri = CAROL.to_owned();
    assert_eq!(
        told,
        [
            CallEvent::TransferRequested {
                to: carol_uri.clone()
            },
            CallEvent::Transferred { with: carol_uri },
        ]
    );
    // The new far end's words are Bob's to hear: its end is the end.
    carol.hangup().await?;
    assert_eq!(ended(&bob).await, Cause::NormalClearing);
    assert_eq!(three.bob.active_calls(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_transfer_to_who_is_busy_leaves_the_call_as_it_was() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Follow).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    let outcome = alice.transfer("sip:busy@10.0.0.3").await;
    match outcome {
        Err(Error::Transfer { status, .. }) => assert_eq!(status, Some(486)),
        other => panic!("{other:?}"),
    }
    assert_eq!(hears(&alice).await, [1]);
    assert_eq!(hears(&bob).await, [0]);
    alice.hangup().await?;
    assert_eq!(ended(&bob).await, Cause::NormalClearing);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn by_default_a_far_end_sends_nobody_anywhere() -> Result<()> {
    let mut three = Three::new(TransferPolicy::default()).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    match alice.transfer(CAROL).await {
        Err(Error::Transfer { status, .. }) => assert_eq!(status, Some(603)),
        other => panic!("{other:?}"),
    }
    assert_eq!(hears(&bob).await, [0]);
    assert!(three.carols.try_recv().is_err());
    let nonsense = alice.transfer("sip:").await;
    assert!(matches!(nonsense, Err(Error::Uri { .. })), "{nonsense:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_attended_transfer_joins_two_calls() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Follow).await;
    let first = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    first.hold().await?;
    let second = three.dial(CAROL).await;
    let carol = three.carols.recv().await.unwrap();
    assert_eq!(hears(&second).await, [2]);
    assert_eq!(hears(&carol).await, [0]);
    second.hold().await?;
    assert_eq!(first.transfer_to(&second).await?, Transferred::Answered);
    assert_eq!(ended(&first).await, Cause::NormalClearing);
    assert_eq!(ended(&second).await, Cause::NormalClearing);
    // Both were on hold, and are not any more; Carol has the handle that she had.
    assert_eq!(hears(&bob).await, [2]);
    assert_eq!(hears(&carol).await, [1]);
    assert!(three.carols.try_recv().is_err());
    bob.hangup().await?;
    assert_eq!(ended(&carol).await, Cause::NormalClearing);
    let ladder = three.ladder.to_string();
    assert!(ladder.contains("REFER"), "{ladder}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_bot_decides_when_it_asks_to() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Refuse).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    bob.on_transfer(TransferPolicy::Ask);
    let refused = tokio::spawn({
        let alice = alice.clone();
        async move { alice.transfer(CAROL).await }
    });
    let wish = bob.transfer_requested().await?;
    assert_eq!(wish.target(), CAROL);
    assert!(!wish.is_attended());
    assert!(wish.referred_by().unwrap().contains("@10.0.0.1"));
    wish.reject(480).await?;
    match refused.await.unwrap() {
        Err(Error::Transfer { status, .. }) => assert_eq!(status, Some(480)),
        other => panic!("{other:?}"),
    }
    let taken = tokio::spawn({
        let alice = alice.clone();
        async move { alice.transfer("sip:busy@10.0.0.3").await }
    });
    let failed = bob.transfer_requested().await?.accept().await;
    assert!(
        matches!(&failed, Err(Error::HungUp(cause)) if cause.status() == Some(486)),
        "{failed:?}"
    );
    assert!(taken.await.unwrap().is_err());
    // What nobody decides is refused when it is dropped.
    let dropped = tokio::spawn({
        let alice = alice.clone();
        async move { alice.transfer(CAROL).await }
    });
    drop(bob.transfer_requested().await?);
    assert!(matches!(
        dropped.await.unwrap(),
        Err(Error::Transfer {
            status: Some(603),
            ..
        })
    ));
    let taken = tokio::spawn({
        let alice = alice.clone();
        async move { alice.transfer(CAROL).await }
    });
    bob.transfer_requested().await?.accept().await?;
    assert_eq!(taken.await.unwrap()?, Transferred::Answered);
    assert_eq!(hears(&bob).await, [2]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_transferor_may_hang_up_before_the_answer() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Follow).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    let mut transferring = alice.transfer("sip:slow@10.0.0.3").start().await?;
    assert_eq!(transferring.progress().await, Some(100));
    assert_eq!(transferring.progress().await, Some(180));
    alice.hangup().await?;
    // The news still come, in a dialog that has no call.
    assert_eq!(transferring.finished().await?, Transferred::Answered);
    let carol = three.carols.recv().await.unwrap();
    assert_eq!(hears(&bob).await, [2]);
    assert_eq!(hears(&carol).await, [1]);
    assert_eq!(three.bob.active_calls(), 1);
    bob.hangup().await?;
    assert_eq!(ended(&carol).await, Cause::NormalClearing);
    assert_eq!(three.bob.active_calls(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_transferor_who_left_for_nobody_leaves_a_call_that_ends() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Follow).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    let mut transferring = alice.transfer("sip:slow@10.0.0.3").start().await?;
    while transferring.progress().await != Some(180) {}
    alice.hangup().await?;
    // And now Bob gives up too, who has only a ringing call left.
    tokio::time::sleep(secs(1)).await;
    assert!(bob.hangup_cause().is_none());
    bob.hangup().await?;
    assert_eq!(three.bob.active_calls(), 0);
    assert!(matches!(
        transferring.finished().await,
        Err(Error::Transfer {
            status: Some(487),
            ..
        })
    ));
    assert!(three.carols.try_recv().is_err());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn texts_and_information_go_both_ways_in_a_call() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Refuse).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let mut events = to.events();
        from.message("Grüß Gott").await?;
        assert_eq!(
            events.recv().await.ok(),
            Some(CallEvent::Message {
                content_type: "text/plain;charset=UTF-8".to_owned(),
                body: "Grüß Gott".into(),
            })
        );
        from.info_of("application/json", "{}").await?;
        assert_eq!(
            events.recv().await.ok(),
            Some(CallEvent::Info {
                content_type: "application/json".to_owned(),
                body: b"{}".to_vec(),
            })
        );
    }
    alice.hangup().await?;
    assert!(matches!(
        alice.message("too late").await,
        Err(Error::HungUp(_))
    ));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn recordings_go_on_with_the_new_far_end() -> Result<()> {
    let mut three = Three::new(TransferPolicy::Follow).await;
    let alice = three.dial(BOB).await;
    let bob = three.bobs.recv().await.unwrap();
    let folder = common::folder("transferred");
    let file = folder.join("bob.wav").display().to_string();
    let recording = bob.record(file).stereo().start().await?;
    tokio::time::sleep(secs(2)).await;
    alice.transfer(CAROL).await?;
    tokio::time::sleep(secs(2)).await;
    let path = recording.stop().await?.path;
    let heard = &common::wav(&path)[0];
    let level =
        |from: usize, party: usize| component_dbov(&heard[from..from + 8_000], 8_000, TONES[party]);
    assert!(level(4_000, 0) > -23.0 && level(4_000, 2) < -50.0);
    let last = heard.len() - 9_000;
    assert!(level(last, 2) > -23.0 && level(last, 0) < -50.0);
    let length = Duration::from_secs_f64(heard.len() as f64 / 8_000.0);
    assert!(length > ms(3_900) && length < ms(4_400), "{length:?}");
    Ok(())
}
