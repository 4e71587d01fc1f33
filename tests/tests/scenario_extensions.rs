//! What calls have beside INVITE and BYE, as bots see it: hold in every direction, music, reliable early media,
//! UPDATE, session timers, late offers, reasons, identities and headers of their own.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use std::sync::{Arc, Mutex};

use callbot_core::analysis::measure_tone;
use callbot_core::driver::memory::{Impairment, MemoryNetwork};
use callbot_core::trace::Ladder;
use callbot_core::{
    Call, CallEvent, Cause, Direction, Endpoint, EndpointBuilder, Party, Privacy, Reason,
    ReliableProvisionals, SessionTimer, answer_with,
};
use common::{CALLEE, Pair, folder, golden, ms, secs, tone, wav};
use tokio::sync::{broadcast, mpsc};

/// A pair whose endpoints are set up further.
async fn pair(seed: u64, set: impl Fn(EndpointBuilder) -> EndpointBuilder) -> Pair {
    let network = MemoryNetwork::new(seed);
    let ladder = Ladder::new();
    let mut made = Vec::new();
    for host in [1, 2] {
        let builder = Endpoint::builder()
            .memory(network.host([10, 0, 0, host]))
            .ladder(&ladder)
            .seed(seed + u64::from(host));
        made.push(set(builder).start().await.unwrap());
    }
    let callee = made.pop().unwrap();
    let caller = made.pop().unwrap();
    Pair {
        network,
        ladder,
        caller,
        callee,
    }
}

/// Serves calls that are answered and kept; gives them out.
fn answered(pair: &Pair) -> mpsc::Receiver<Call> {
    let (told, calls) = mpsc::channel(1);
    pair.serve(move |call| {
        let told = told.clone();
        async move {
            let call = call.answer().await?;
            let _ = told.send(call.clone()).await;
            call.ended().await;
            Ok(())
        }
    });
    calls
}

/// What was said about holding since the last look.
fn holds(events: &mut broadcast::Receiver<CallEvent>) -> Vec<(bool, Party)> {
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            CallEvent::Held { by } => seen.push((true, by)),
            CallEvent::Resumed { by } => seen.push((false, by)),
            _ => {}
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn every_direction_is_offered_and_each_side_knows_who_holds() {
    let pair = Pair::new(1).await;
    let mut calls = answered(&pair);
    let ours = pair.dial().await;
    let theirs = calls.recv().await.unwrap();
    let (mut our_events, mut their_events) = (ours.events(), theirs.events());
    use Party::{Local, Remote};
    for (direction, held, we_see, they_see) in [
        (
            Direction::SendOnly,
            (true, false),
            vec![(true, Local)],
            vec![(true, Remote)],
        ),
        (
            Direction::SendRecv,
            (false, false),
            vec![(false, Local)],
            vec![(false, Remote)],
        ),
        (
            Direction::Inactive,
            (true, false),
            vec![(true, Local)],
            vec![(true, Remote)],
        ),
        // We listen again, and still say nothing: nobody holds anybody.
        (
            Direction::RecvOnly,
            (false, false),
            vec![(false, Local)],
            vec![(false, Remote)],
        ),
        (Direction::SendRecv, (false, false), vec![], vec![]),
    ] {
        ours.hold_with(direction).await.unwrap();
        tokio::time::sleep(ms(100)).await;
        assert_eq!(ours.held(), held, "{direction:?}");
        assert_eq!(holds(&mut our_events), we_see, "{direction:?}");
        assert_eq!(holds(&mut their_events), they_see, "{direction:?}");
    }
    // Both hold each other; each takes back its own.
    theirs.hold().await.unwrap();
    assert_eq!((ours.held(), theirs.held()), ((false, true), (true, false)));
    ours.hold_with(Direction::SendOnly).await.unwrap();
    assert_eq!(theirs.held(), (true, true));
    theirs.resume().await.unwrap();
    assert_eq!((ours.held(), theirs.held()), ((true, false), (false, true)));
    ours.resume().await.unwrap();
    assert_eq!(
        (ours.held(), theirs.held()),
        ((false, false), (false, false))
    );
}

#[tokio::test(start_paused = true)]
async fn the_held_party_hears_music_and_then_not() {
    let pair = Pair::new(2).await;
    let mut calls = answered(&pair);
    let ours = pair.dial().await;
    let theirs = calls.recv().await.unwrap();
    // What is recorded while a call is held is silence; the frames that are heard tell.
    let mut frames = theirs.audio_in().unwrap();
    let hearing = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(frame) = frames.next().await {
            heard.extend_from_slice(frame.samples());
        }
        heard
    });
    let music = ours.hold_with_music(tone(700.0, 1.0)).await.unwrap();
    tokio::time::sleep(secs(3)).await;
    music.resume().await.unwrap();
    assert_eq!(ours.held(), (false, false));
    tokio::time::sleep(secs(2)).await;
    ours.hangup().await.unwrap();
    let heard = hearing.await.unwrap();
    let report = measure_tone(&heard, 8000, 700.0).expect("the music is heard");
    assert!(report.sounding() > ms(2_900), "{report:?}");
    assert!(report.sounding() < ms(3_100), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn early_media_is_held_and_resumed_before_the_answer() {
    let pair = Pair::new(3).await;
    pair.serve(|call| async move {
        let early = call.progress().await?;
        tokio::time::sleep(secs(1)).await;
        early.hold().await?;
        early.resume().await?;
        let call = early.answer().await?;
        call.ended().await;
        Ok(())
    });
    let ringing = pair.caller.dial(CALLEE).start().await.unwrap();
    let mut events = ringing.events();
    ringing.ringing().await.unwrap();
    ringing.hold().await.unwrap();
    ringing.resume().await.unwrap();
    let call = ringing.answered().await.unwrap();
    assert_eq!(holds(&mut events).len(), 4);
    call.hangup().await.unwrap();
    pair.shutdown().await;
    golden("early_update", &pair.ladder.to_string());
}

#[tokio::test(start_paused = true)]
async fn an_early_hold_without_update_is_an_error_and_nothing_else() {
    let pair = pair(4, |builder| {
        builder.reliable_provisionals(ReliableProvisionals::Off)
    })
    .await;
    pair.serve(|call| async move {
        let early = call.progress().await?;
        assert!(early.hold().await.is_err());
        let call = early.answer().await?;
        call.play(tone(500.0, 1.0)).await?;
        call.hangup().await
    });
    let call = pair.dial().await;
    assert_eq!(call.ended().await.cause(), Cause::NormalClearing);
}

#[tokio::test(start_paused = true)]
async fn a_callee_that_got_no_offer_makes_one_in_either_response() {
    for early in [false, true] {
        let pair = Pair::new(5).await;
        pair.serve(move |call| async move {
            let call = if early {
                call.progress().await?.answer().await?
            } else {
                call.answer().await?
            };
            call.echo().await
        });
        let call = pair.caller.dial(CALLEE).late_offer(true).await.unwrap();
        let file = folder(&format!("late_offer_{early}")).join("echo.wav");
        let recording = call
            .record(file.display().to_string())
            .start()
            .await
            .unwrap();
        call.play(tone(440.0, 1.0)).await.unwrap();
        tokio::time::sleep(ms(300)).await;
        recording.stop().await.unwrap();
        let report = measure_tone(&wav(&file)[0], 8000, 440.0).expect("the tone comes back");
        assert!(report.sounding() > ms(950), "{early}: {report:?}");
        call.hangup().await.unwrap();
        pair.shutdown().await;
        let name = if early {
            "late_offer_early"
        } else {
            "late_offer"
        };
        golden(name, &pair.ladder.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_required_180_is_acknowledged_and_who_cannot_is_told_so() {
    let pair = pair(6, |builder| {
        builder.reliable_provisionals(ReliableProvisionals::Required)
    })
    .await;
    pair.serve(|call| async move {
        call.ring().await?;
        tokio::time::sleep(secs(1)).await;
        call.answer().await?.hangup().await
    });
    pair.dial().await.ended().await;
    assert_eq!(pair.ladder.to_string().matches("PRACK sip").count(), 1);
    let plain = Endpoint::builder()
        .memory(pair.network.host([10, 0, 0, 3]))
        .reliable_provisionals(ReliableProvisionals::Off)
        .start()
        .await
        .unwrap();
    let refused = plain.dial(CALLEE).await.unwrap_err();
    assert_eq!(refused.hangup_cause().unwrap().status(), Some(421));
    let served = plain.clone();
    tokio::spawn(async move {
        let bot = answer_with(|call| async move { call.answer().await?.echo().await });
        served.serve(bot).await
    });
    let there = pair.caller.dial("sip:x@10.0.0.3").await.unwrap_err();
    assert_eq!(there.hangup_cause().unwrap().status(), Some(420));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_refreshed_and_one_whose_peer_is_gone_ends_by_its_timer() {
    let timer = SessionTimer {
        interval: secs(120),
        ..SessionTimer::default()
    };
    // No media timeout, so that nothing else notices.
    let pair = pair(7, |builder| {
        builder.session_timer(timer).rtp_timeout(secs(100_000))
    })
    .await;
    let mut calls = answered(&pair);
    let ours = pair.dial().await;
    let theirs = calls.recv().await.unwrap();
    tokio::time::sleep(secs(600)).await;
    assert!(ours.hangup_cause().is_none() && theirs.hangup_cause().is_none());
    let refreshes = pair.ladder.to_string().matches("UPDATE sip").count();
    assert!((9..=10).contains(&refreshes), "{refreshes}");
    let gone = tokio::time::Instant::now();
    pair.network.impair(Impairment {
        loss: 1.0,
        ..Default::default()
    });
    for call in [&theirs, &ours] {
        let cause = call.ended().await;
        assert_eq!(
            (cause.cause(), cause.by()),
            (Cause::PeerVanished, Party::Network)
        );
    }
    assert!(
        theirs
            .hangup_cause()
            .unwrap()
            .text()
            .contains("session timer")
    );
    assert!(gone.elapsed() < secs(160), "{:?}", gone.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_may_have_an_interval_of_its_own() {
    let pair = Pair::new(8).await;
    let mut calls = answered(&pair);
    let call = pair
        .caller
        .dial(CALLEE)
        .session_timer(secs(200))
        .await
        .unwrap();
    let theirs = calls.recv().await.unwrap();
    tokio::time::sleep(secs(450)).await;
    assert!(theirs.hangup_cause().is_none());
    call.hangup().await.unwrap();
    let text = pair.ladder.to_string();
    assert_eq!(text.matches("UPDATE sip").count(), 4, "{text}");
}

#[tokio::test(start_paused = true)]
async fn hanging_up_on_a_vanished_peer_takes_two_seconds() {
    let pair = Pair::new(9).await;
    let mut calls = answered(&pair);
    let call = pair.dial().await;
    let _theirs = calls.recv().await.unwrap();
    let mut events = call.events();
    pair.network.impair(Impairment {
        loss: 1.0,
        ..Default::default()
    });
    let begin = tokio::time::Instant::now();
    call.hangup().await.unwrap();
    let took = begin.elapsed();
    assert!(took >= secs(2) && took < ms(2_100), "{took:?}");
    let cause = call.hangup_cause().unwrap();
    assert_eq!(
        (cause.cause(), cause.by()),
        (Cause::NormalClearing, Party::Local)
    );
    // The BYE goes on being repeated meanwhile, and its end is not told again.
    tokio::time::sleep(secs(40)).await;
    let mut ends = 0;
    while let Ok(event) = events.try_recv() {
        ends += usize::from(matches!(event, CallEvent::Ended(_)));
    }
    assert_eq!(ends, 1);
    assert_eq!(pair.caller.active_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn reasons_cross_with_cancel_and_bye() {
    let pair = Pair::new(10).await;
    let (told, mut causes) = mpsc::channel(1);
    pair.serve(move |call| {
        let told = told.clone();
        async move {
            let cause = if call.info().called() == "rings" {
                call.ring().await?;
                call.cancelled().await
            } else {
                call.answer().await?.ended().await
            };
            let _ = told.send(cause).await;
            Ok(())
        }
    });
    let elsewhere = Reason::sip(200, "Call completed elsewhere");
    let ringing = pair
        .caller
        .dial("sip:rings@10.0.0.2")
        .start()
        .await
        .unwrap();
    ringing.ringing().await.unwrap();
    ringing.cancel_because(elsewhere.clone()).await;
    let cause = causes.recv().await.unwrap();
    assert_eq!(cause.cause(), Cause::OriginatorCancel);
    assert_eq!(cause.reason(), [elsewhere]);
    let call = pair.dial().await;
    call.hangup_with(vec![
        ("Reason".to_owned(), Reason::q850(31).into()),
        ("X-Why".to_owned(), "lunch".to_owned()),
    ])
    .await
    .unwrap();
    let cause = causes.recv().await.unwrap();
    assert_eq!(cause.reason(), [Reason::q850(31)]);
    assert_eq!(cause.header("x-why"), Some("lunch"));
    assert_eq!(cause.reason_header(), "Q.850;cause=31");
}

#[tokio::test(start_paused = true)]
async fn headers_and_identities_cross_in_both_directions() {
    let pair = Pair::new(11).await;
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    pair.serve(move |call| {
        let keep = keep.clone();
        async move {
            *keep.lock().unwrap() = Some(call.info().clone());
            let header = |value: &str| ("X-Stage".to_owned(), value.to_owned());
            call.ring_with(vec![header("ringing")]).await?;
            let early = call.progress_with(vec![header("early")]).await?;
            tokio::time::sleep(secs(1)).await;
            let call = early.answer().header("X-Stage", "answered").await?;
            call.hangup_with(vec![header("over")]).await
        }
    });
    let ringing = pair
        .caller
        .dial(CALLEE)
        .from("sip:secret@example.org")
        .display_name("Secret")
        .privacy(Privacy::id())
        .asserted_identity("sip:+4930123@example.org")
        .header("Diversion", "<sip:1@x>;reason=no-answer;counter=1")
        .header("History-Info", "<sip:1@x>;index=1")
        .header(
            "History-Info",
            "<sip:2@x?Reason=SIP%3Bcause%3D408>;index=1.1",
        )
        .header("X-Stage", "called")
        .start()
        .await
        .unwrap();
    while ringing.progress() != Some(183) {
        tokio::time::sleep(ms(1)).await;
    }
    assert_eq!(ringing.header("x-stage").as_deref(), Some("early"));
    let call = ringing.answered().await.unwrap();
    assert_eq!(call.header("X-Stage").as_deref(), Some("answered"));
    assert_eq!(call.ended().await.header("X-Stage"), Some("over"));
    let info = seen.lock().unwrap().take().unwrap();
    assert_eq!(info.header("X-Stage"), Some("called"));
    assert_eq!(info.from(), "sip:anonymous@anonymous.invalid");
    assert_eq!(info.from_display(), Some("Anonymous"));
    assert!(info.privacy().id);
    let asserted = info.asserted_identity().unwrap();
    assert_eq!(asserted.uri, "sip:+4930123@example.org");
    assert_eq!(info.diversion()[0].reason.as_deref(), Some("no-answer"));
    let history = info.history_info();
    assert_eq!(history.len(), 2);
    assert_eq!(history[1].cause, Some(408));
}
