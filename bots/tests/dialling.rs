//! The caller with a script, and what is reported of it.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use callbot::report::{CallReport, Outcome};
use callbot::{AnswerBot, Caller, EchoBot, Progress};
use callbot_core::analysis::measure_tone;
use common::{BOT, Stage, about, ms, secs, tone, wav};
use tokio::time::Instant;

/// Runs a script to its end, and gives what was told and reported.
async fn run(stage: &Stage, caller: &Caller) -> (Vec<Progress>, CallReport) {
    let call = caller.start(&stage.caller, BOT).await.unwrap();
    let monitor = call.monitor();
    let mut told = Vec::new();
    let result = caller.talk(call, |progress| told.push(progress)).await;
    let report = CallReport::of("dial", &monitor, result.as_ref().err()).await;
    (told, report)
}

#[tokio::test(start_paused = true)]
async fn a_script_ends_when_sound_and_digits_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("call.wav");
    let mut stage = Stage::new(|| EchoBot::new().delay(ms(300))).await;
    let caller = Caller::new()
        .play(tone(500.0, secs(4)))
        .record(file.display().to_string())
        .stereo();
    let (told, report) = run(&stage, &caller).await;
    assert_eq!(told, [Progress::Answered]);
    assert_eq!((report.result, report.cause_code), (Outcome::Ok, 16));
    about(
        std::time::Duration::from_millis(report.duration_ms),
        secs(4),
    );
    let channels = wav(&file);
    about(
        measure_tone(&channels[1], 8000, 500.0).unwrap().sounding(),
        secs(4),
    );
    assert!(measure_tone(&channels[0], 8000, 500.0).unwrap().sounding() > secs(3));
    assert_eq!(stage.report().await.result, Outcome::Ok);
}

#[tokio::test(start_paused = true)]
async fn digits_go_out_on_their_schedule() {
    let mut stage = Stage::new(AnswerBot::new).await;
    let (_, report) = run(&stage, &Caller::new().dtmf("1W2#")).await;
    assert_eq!(report.result, Outcome::Ok);
    assert!((1300..2000).contains(&report.duration_ms), "{report:?}");
    assert_eq!(stage.report().await.digits, "12#");
}

#[tokio::test(start_paused = true)]
async fn a_duration_is_kept_and_digits_are_told() {
    let stage = Stage::new(|| AnswerBot::new().ring(secs(1)).dtmf("W42")).await;
    let (told, report) = run(&stage, &Caller::new().duration(secs(10))).await;
    assert_eq!(
        told,
        [
            Progress::Ringing(180),
            Progress::Answered,
            Progress::Digit('4'),
            Progress::Digit('2')
        ]
    );
    about(
        std::time::Duration::from_millis(report.duration_ms),
        secs(10),
    );
    assert_eq!(report.digits, "42");
    assert_eq!(report.reason, "we hung up");
}

#[tokio::test(start_paused = true)]
async fn the_far_end_may_hang_up_first_and_that_is_well() {
    let stage = Stage::new(|| AnswerBot::new().hang_up_after(secs(3))).await;
    for caller in [Caller::new(), Caller::new().duration(secs(60))] {
        let (_, report) = run(&stage, &caller).await;
        assert_eq!(report.result, Outcome::Ok);
        assert_eq!(report.reason, "the far end hung up");
        about(
            std::time::Duration::from_millis(report.duration_ms),
            secs(3),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_failure_with_its_cause() {
    let stage = Stage::new(|| AnswerBot::new().reject(404)).await;
    let (told, report) = run(&stage, &Caller::new()).await;
    assert_eq!(told, []);
    assert_eq!((report.result, report.cause_code), (Outcome::Failed, 1));
    assert_eq!(report.status, Some(404));
    assert!(report.reason.starts_with("404"), "{}", report.reason);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_counts_from_the_invite_and_says_so() {
    let mut stage = Stage::new(|| AnswerBot::new().ring(secs(60))).await;
    let began = Instant::now();
    let (told, report) = run(&stage, &Caller::new().timeout(secs(5))).await;
    about(began.elapsed(), secs(5));
    assert_eq!(told, [Progress::Ringing(180)]);
    assert_eq!((report.result, report.cause_code), (Outcome::Failed, 19));
    assert!(report.reason.contains("no answer within 5 s"), "{report:?}");
    // The far end is told by CANCEL.
    assert_eq!(stage.report().await.result, Outcome::Failed);
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_given_up_at_the_timeout() {
    let stage = Stage::new(AnswerBot::new).await;
    let caller = Caller::new().timeout(secs(3));
    let began = Instant::now();
    let call = caller
        .start(&stage.caller, "sip:nobody@10.0.0.9")
        .await
        .unwrap();
    let monitor = call.monitor();
    let error = caller.talk(call, |_| {}).await.unwrap_err();
    about(began.elapsed(), secs(3));
    // Nobody answers the CANCEL either, and the report does not wait for it.
    let report = CallReport::of("dial", &monitor, Some(&error)).await;
    about(began.elapsed(), secs(4));
    assert_eq!((report.result, report.cause_code), (Outcome::Failed, 19));
}

#[tokio::test(start_paused = true)]
async fn headers_and_names_reach_the_far_end() {
    let (seen, mut infos) = tokio::sync::mpsc::unbounded_channel();
    let stage = Stage::new(callbot_core::answer_with(
        move |call: callbot_core::IncomingCall| {
            seen.send(call.info().clone()).unwrap();
            call.reject(480)
        },
    ))
    .await;
    let caller = Caller::new()
        .from("sip:alice@example.org")
        .display_name("Alice A.")
        .header("X-Test", "37");
    run(&stage, &caller).await;
    let info = infos.recv().await.unwrap();
    assert_eq!(info.from(), "sip:alice@example.org");
    assert_eq!(info.from_display(), Some("Alice A."));
    assert_eq!(info.header("x-test"), Some("37"));
}

#[tokio::test(start_paused = true)]
async fn the_json_line_has_the_names_that_programs_rely_on() {
    let stage = Stage::new(EchoBot::new).await;
    let (_, report) = run(&stage, &Caller::new().dtmf("7")).await;
    let line = report.to_json();
    assert!(!line.contains('\n'));
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["label"], "dial");
    assert_eq!(json["result"], "ok");
    assert_eq!(json["cause_code"], 16);
    assert_eq!(json["digits"], "7");
    for name in ["reason", "call_id", "from", "to"] {
        assert!(
            json[name].as_str().is_some_and(|text| !text.is_empty()),
            "{name}"
        );
    }
    assert!(json["duration_ms"].is_u64());
    for name in ["loss", "jitter_ms", "mos"] {
        assert!(json["rtp"][name].is_number(), "{name}: {line}");
    }
}
