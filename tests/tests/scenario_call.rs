//! Calls from INVITE to BYE, over the in-memory network and in paused time.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use callbot_core::analysis::measure_tone;
use callbot_core::{CallEvent, Cause, Error, Party};
use common::{CALLEE, Pair, folder, golden, ms, secs, tone, wav};

#[tokio::test(start_paused = true)]
async fn a_tone_is_echoed_packet_by_packet() {
    let pair = Pair::new(1).await;
    pair.serve(|call| async move { call.answer().await?.echo().await });
    let call = pair.dial().await;
    let folder = folder("a_tone_is_echoed");
    let file = folder.join("echo.wav");
    let recording = call
        .record(file.display().to_string())
        .stereo()
        .start()
        .await
        .unwrap();
    call.play(tone(440.0, 2.0)).await.unwrap();
    tokio::time::sleep(ms(500)).await;
    let recorded = recording.stop().await.unwrap();
    call.hangup().await.unwrap();
    assert_eq!(call.hangup_cause().unwrap().cause(), Cause::NormalClearing);
    assert_eq!(call.hangup_cause().unwrap().by(), Party::Local);
    assert_eq!(recorded.path, file);

    let heard = &wav(&file)[0];
    let report = measure_tone(heard, 8000, 440.0).expect("the tone comes back");
    assert!((report.level_dbov - -20.0).abs() < 0.5, "{report:?}");
    assert!(
        (report.sounding().as_secs_f64() - 2.0).abs() < 0.06,
        "{report:?}"
    );
    pair.shutdown().await;
    golden("echo", &pair.ladder.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_its_cause() {
    let pair = Pair::new(2).await;
    pair.serve(|call| async move { call.reject(486).await });
    let refused = pair.caller.dial(CALLEE).await.unwrap_err();
    let cause = refused.hangup_cause().unwrap();
    assert_eq!(
        (cause.cause(), cause.status(), cause.by()),
        (Cause::UserBusy, Some(486), Party::Remote)
    );
    golden("refused", &pair.ladder.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_returns_unanswered_is_480_and_one_that_fails_is_500() {
    let pair = Pair::new(3).await;
    pair.serve(|call| async move {
        match call.info().called() {
            "returns" => Ok(()),
            "fails" => Err(Error::other("no database")),
            _ => panic!("on purpose"),
        }
    });
    for (user, status) in [("returns", 480), ("fails", 500), ("panics", 500)] {
        let refused = pair
            .caller
            .dial(format!("sip:{user}@10.0.0.2"))
            .await
            .unwrap_err();
        assert_eq!(
            refused.hangup_cause().unwrap().status(),
            Some(status),
            "{user}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn early_media_is_heard_before_the_answer() {
    let pair = Pair::new(4).await;
    pair.serve(|call| async move {
        let early = call.progress().await?;
        early.play(tone(600.0, 1.0)).await?;
        early.answer().await?.hangup().await
    });
    let ringing = pair.caller.dial(CALLEE).start().await.unwrap();
    assert_eq!(ringing.ringing().await.unwrap(), 183);
    let file = folder("early_media").join("early.wav");
    let recording = ringing
        .record(file.display().to_string())
        .start()
        .await
        .unwrap();
    let call = ringing.answered().await.unwrap();
    call.ended().await;
    recording.stop().await.unwrap();
    let report = measure_tone(&wav(&file)[0], 8000, 600.0).expect("early media was heard");
    assert!(report.sounding() > ms(900), "{report:?}");
    golden("early_media", &pair.ladder.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_ends_the_bot() {
    let pair = Pair::new(5).await;
    let (told, heard) = tokio::sync::oneshot::channel();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Some(told)));
    pair.serve(move |call| {
        let told = told.clone();
        async move {
            call.ring().await?;
            let cause = call.cancelled().await;
            if let Some(told) = told.lock().unwrap().take() {
                let _ = told.send(cause);
            }
            Ok(())
        }
    });
    let ringing = pair.caller.dial(CALLEE).start().await.unwrap();
    assert_eq!(ringing.ringing().await.unwrap(), 180);
    ringing.cancel().await;
    assert_eq!(heard.await.unwrap().cause(), Cause::OriginatorCancel);
    pair.shutdown().await;
    golden("cancel", &pair.ladder.to_string());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_hangs_up() {
    let pair = Pair::new(6).await;
    let (told, heard) = tokio::sync::mpsc::channel(1);
    pair.serve(move |call| {
        let told = told.clone();
        async move {
            let call = call.answer().await?;
            let cause = call.ended().await;
            let _ = told.send(cause).await;
            Ok(())
        }
    });
    let call = pair.dial().await;
    let clone = call.clone();
    drop(call);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(pair.caller.active_calls(), 1, "a clone keeps the call");
    drop(clone);
    let mut heard = heard;
    let cause = heard.recv().await.unwrap();
    assert_eq!(
        (cause.cause(), cause.by()),
        (Cause::NormalClearing, Party::Remote)
    );
}

#[tokio::test(start_paused = true)]
async fn the_call_ends_with_its_bot_whatever_clones_remain() {
    let pair = Pair::new(7).await;
    let kept = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = kept.clone();
    pair.serve(move |call| {
        let keep = keep.clone();
        async move {
            let call = call.answer().await?;
            keep.lock().unwrap().push(call.clone());
            Ok(())
        }
    });
    let call = pair.dial().await;
    let cause = call.ended().await;
    assert_eq!(
        (cause.cause(), cause.by()),
        (Cause::NormalClearing, Party::Remote)
    );
    assert_eq!(kept.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hold_pauses_the_prompt_and_resume_lets_it_go_on() {
    let pair = Pair::new(8).await;
    pair.serve(|call| async move {
        let call = call.answer().await?;
        call.play(tone(500.0, 2.0)).await?;
        call.hangup().await
    });
    let call = pair.dial().await;
    let mut events = call.events();
    let file = folder("hold").join("held.wav");
    let recording = call
        .record(file.display().to_string())
        .stereo()
        .start()
        .await
        .unwrap();
    tokio::time::sleep(secs(1)).await;
    call.hold().await.unwrap();
    tokio::time::sleep(secs(5)).await;
    call.resume().await.unwrap();
    call.ended().await;
    recording.stop().await.unwrap();
    let report = measure_tone(&wav(&file)[0], 8000, 500.0).unwrap();
    assert!(
        (report.sounding().as_secs_f64() - 2.0).abs() < 0.1,
        "all of it, no more: {report:?}"
    );
    assert!(
        report.span.length > secs(6),
        "with the hold between: {report:?}"
    );
    let mut ended = false;
    while let Ok(event) = events.try_recv() {
        ended |= matches!(event, CallEvent::Ended(_));
    }
    assert!(ended);
    golden("hold", &pair.ladder.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_is_noticed() {
    let pair = Pair::new(9).await;
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    pair.serve(move |call| {
        let told = told.clone();
        async move {
            let call = call.answer().await?;
            let cause = call.ended().await;
            let _ = told.send(cause).await;
            Ok(())
        }
    });
    let _call = pair.dial().await;
    tokio::time::sleep(secs(3)).await;
    let all = callbot_core::driver::memory::Impairment {
        loss: 1.0,
        ..Default::default()
    };
    pair.network.impair(all);
    let cause = heard.recv().await.unwrap();
    assert_eq!(
        (cause.cause(), cause.by()),
        (Cause::PeerVanished, Party::Network)
    );
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_and_calls_without_a_port_are_503() {
    let pair = Pair::new(10).await;
    let small = callbot_core::Endpoint::builder()
        .memory(pair.network.host([10, 0, 0, 3]))
        .rtp_ports(20_000..=20_003)
        .max_calls(3)
        .start()
        .await
        .unwrap();
    let served = small.clone();
    tokio::spawn(async move {
        let echo =
            callbot_core::answer_with(|call| async move { call.answer().await?.echo().await });
        served.serve(echo).await
    });
    let uri = "sip:x@10.0.0.3";
    let first = pair.caller.dial(uri).await.unwrap();
    let second = pair.caller.dial(uri).await.unwrap();
    let third = pair.caller.dial(uri).await.unwrap_err();
    assert_eq!(third.hangup_cause().unwrap().status(), Some(503));
    first.hangup().await.unwrap();
    let again = pair.caller.dial(uri).await.unwrap();
    drop((second, again));
}

#[tokio::test(start_paused = true)]
async fn hanging_up_ends_a_recording_though_the_far_end_is_gone() {
    let pair = Pair::new(11).await;
    pair.serve(|call| async move { call.answer().await?.echo().await });
    let call = pair.dial().await;
    let folder = folder("gone");
    let name = folder.join("call.wav").display().to_string();
    // Two of one name: neither is written over the other.
    let first = call.record(name.clone()).start().await.unwrap();
    let second = call.record(name).start().await.unwrap();
    tokio::time::sleep(secs(2)).await;
    pair.network
        .impair(callbot_core::driver::memory::Impairment {
            loss: 1.0,
            ..Default::default()
        });
    let hung_up = tokio::time::Instant::now();
    let hangup = tokio::spawn({
        let call = call.clone();
        async move { call.hangup().await }
    });
    let (first, second) = (first.stop().await.unwrap(), second.stop().await.unwrap());
    assert!(hung_up.elapsed() < secs(1), "{:?}", hung_up.elapsed());
    assert_eq!(first.path, folder.join("call.wav"));
    assert_eq!(second.path, folder.join("call-2.wav"));
    assert!(first.duration.abs_diff(secs(2)) < ms(50), "{first:?}");
    assert_eq!(
        wav(&second.path)[0].len() as u128,
        second.duration.as_millis() * 8
    );
    hangup.await.unwrap().unwrap();
}
