//! The bots that answer: echo, answer and record, with a caller who listens.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use callbot::report::Outcome;
use callbot::{AnswerBot, EchoBot, RecordBot};
use callbot_core::analysis::measure_tone;
use callbot_core::{Cause, Party};
use common::{BOT, Ear, Stage, about, ms, secs, tone, wav};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn echo_sends_back_sound_and_digits() {
    let mut stage = Stage::new(EchoBot::new).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    call.play(tone(440.0, secs(2))).await.unwrap();
    call.send_dtmf("12#").await.unwrap();
    tokio::time::sleep(ms(300)).await;
    assert_eq!(call.digits_received(), "12#");
    call.hangup().await.unwrap();
    let heard = ear.tone(440.0);
    about(heard.sounding(), secs(2));
    assert!((heard.level_dbov - -20.0).abs() < 0.5, "{heard:?}");
    let report = stage.report().await;
    assert_eq!((report.result, report.cause_code), (Outcome::Ok, 16));
    assert_eq!(report.digits, "12#");
    assert_eq!(report.label, "test");
    let rtp = report.rtp.unwrap();
    assert_eq!((rtp.lost, rtp.loss), (0, 0.0));
    assert!(rtp.received > 100 && rtp.sent == rtp.received, "{rtp:?}");
}

#[tokio::test(start_paused = true)]
async fn an_audio_echo_comes_back_after_its_delay() {
    let mut arrivals = Vec::new();
    for delay in [ms(0), ms(500)] {
        let stage = Stage::new(move || EchoBot::new().delay(delay)).await;
        let call = stage.dial().await;
        let ear = Ear::on(&call);
        tokio::time::sleep(secs(1)).await;
        call.play(tone(440.0, secs(2))).await.unwrap();
        tokio::time::sleep(secs(1)).await;
        call.hangup().await.unwrap();
        let heard = ear.tone(440.0);
        about(heard.sounding(), secs(2));
        arrivals.push(heard.span.start);
    }
    about(arrivals[1] - arrivals[0], ms(500));
}

#[tokio::test(start_paused = true)]
async fn answer_without_options_is_silent_until_the_caller_hangs_up() {
    let mut stage = Stage::new(AnswerBot::new).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    call.send_dtmf("0123456789*#ABCD").await.unwrap();
    tokio::time::sleep(secs(60)).await;
    assert!(call.hangup_cause().is_none());
    assert!(
        ear.samples()
            .iter()
            .all(|sample| sample.unsigned_abs() < 16)
    );
    call.hangup().await.unwrap();
    let report = stage.report().await;
    assert_eq!(report.digits, "0123456789*#ABCD");
    assert_eq!(report.reason, "the far end hung up");
}

#[tokio::test(start_paused = true)]
async fn answer_rings_plays_presses_records_and_hangs_up() {
    let folder = tempfile::tempdir().unwrap();
    let template = format!("{}/{{date}}/{{call_id}}.wav", folder.path().display());
    let bot = AnswerBot::new()
        .ring(secs(2))
        .play(tone(600.0, secs(3)))
        .dtmf("W1w2#")
        .record(template)
        .stereo()
        .hang_up_after(secs(8));
    let mut stage = Stage::new(move || bot.clone()).await;
    let began = Instant::now();
    let ringing = stage.caller.dial(BOT).start().await.unwrap();
    assert_eq!(ringing.ringing().await.unwrap(), 180);
    let call = ringing.answered().await.unwrap();
    about(began.elapsed(), secs(2));
    let ear = Ear::on(&call);
    call.play(tone(440.0, secs(5))).await.unwrap();
    let cause = call.ended().await;
    assert_eq!(cause.by(), Party::Remote);
    about(call.duration(), secs(8));
    assert_eq!(call.digits_received(), "12#");
    assert!(ear.heard(600.0));
    let report = stage.report().await;
    assert_eq!(report.result, Outcome::Ok);
    about(
        std::time::Duration::from_millis(report.duration_ms),
        secs(8),
    );
    let file = &report.recordings[0];
    assert!(
        file.starts_with(folder.path().join("2026-01-01")),
        "{file:?}"
    );
    let channels = wav(file);
    assert_eq!(channels.len(), 2);
    about(
        std::time::Duration::from_secs_f64(channels[0].len() as f64 / 8000.0),
        secs(8),
    );
    let caller = measure_tone(&channels[0], 8000, 440.0).unwrap();
    about(caller.sounding(), secs(5));
    // The sound waits while digits are pressed, and nothing of it is lost.
    let bot = measure_tone(&channels[1], 8000, 600.0).unwrap();
    about(bot.sounding(), secs(3));
    assert!(bot.span.length > ms(3200), "{bot:?}");
}

#[tokio::test(start_paused = true)]
async fn a_looped_sound_goes_on() {
    let stage = Stage::new(|| AnswerBot::new().play(tone(600.0, ms(500))).looped()).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    tokio::time::sleep(secs(20)).await;
    call.hangup().await.unwrap();
    assert!(ear.tone(600.0).sounding() > secs(19));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_after_the_ringing() {
    let mut stage = Stage::new(|| AnswerBot::new().ring(secs(3)).reject(486)).await;
    let began = Instant::now();
    let refused = stage.caller.dial(BOT).await.unwrap_err();
    about(began.elapsed(), secs(3));
    assert_eq!(refused.hangup_cause().unwrap().status(), Some(486));
    let report = stage.report().await;
    assert_eq!((report.result, report.cause_code), (Outcome::Failed, 17));
    assert_eq!(report.status, Some(486));
    assert!(report.rtp.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_while_it_rings_is_reported() {
    let mut stage = Stage::new(|| AnswerBot::new().ring(secs(30))).await;
    let ringing = stage.caller.dial(BOT).start().await.unwrap();
    tokio::time::sleep(secs(5)).await;
    let cause = ringing.cancel().await;
    assert_eq!(cause.cause(), Cause::OriginatorCancel);
    let report = stage.report().await;
    assert_eq!(report.result, Outcome::Failed);
    assert!(!report.reason.is_empty());
    assert_eq!(report.duration_ms, 0);
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_cannot_be_made_costs_no_call() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "in the way").unwrap();
    let template = format!("{}/file/call.wav", folder.path().display());
    let answer = template.clone();
    let mut stage = Stage::new(move || AnswerBot::new().record(answer.as_str())).await;
    let call = stage.dial().await;
    tokio::time::sleep(secs(10)).await;
    assert!(call.hangup_cause().is_none());
    call.hangup().await.unwrap();
    let report = stage.report().await;
    assert_eq!(report.result, Outcome::Ok);
    assert!(report.recordings.is_empty());

    // The recording bot goes on too, for as long as it would have recorded.
    let mut stage = Stage::new(move || RecordBot::new(template.as_str()).max(Some(secs(20)))).await;
    let call = stage.dial().await;
    call.ended().await;
    assert!(call.duration() > secs(19), "{:?}", call.duration());
    assert_eq!(stage.report().await.result, Outcome::Ok);
}

/// What a recording bot that begins like this one made of a message of 3 s.
async fn message(
    bot: impl Fn(String) -> RecordBot,
    after: impl AsyncFn(&callbot_core::Call),
) -> (f64, f64, callbot::report::CallReport) {
    let folder = tempfile::tempdir().unwrap();
    let bot = bot(format!("{}/{{from}}.wav", folder.path().display()));
    let mut stage = Stage::new(move || bot.clone()).await;
    let call = stage
        .caller
        .dial(BOT)
        .from("sip:alice@10.0.0.1")
        .await
        .unwrap();
    let ear = Ear::on(&call);
    // The beep takes 400 ms.
    tokio::time::sleep(ms(600)).await;
    call.play(tone(440.0, secs(3))).await.unwrap();
    after(&call).await;
    call.ended().await;
    let report = stage.report().await;
    assert!(ear.heard(1000.0), "there was no beep");
    assert_eq!(report.recordings, [folder.path().join("alice.wav")]);
    let recorded = wav(&report.recordings[0]).remove(0);
    let tone = measure_tone(&recorded, 8000, 440.0).unwrap();
    assert!((tone.level_dbov - -20.0).abs() < 0.5, "{tone:?}");
    (
        recorded.len() as f64 / 8000.0,
        tone.sounding().as_secs_f64(),
        report,
    )
}

#[tokio::test(start_paused = true)]
async fn a_message_ends_with_silence() {
    let (length, tone, report) = message(RecordBot::new, async |_| {}).await;
    assert!((tone - 3.0).abs() < 0.1, "{tone} s of 3 were recorded");
    assert!((5.5..7.0).contains(&length), "{length}");
    assert_eq!(report.reason, "we hung up");
}

#[tokio::test(start_paused = true)]
async fn a_message_ends_with_the_hash_key() {
    let bot = |file| RecordBot::new(file).silence(None);
    // The bot may hang up before the key comes up again.
    let press = async |call: &callbot_core::Call| drop(call.send_dtmf("5#").await);
    let (length, _, report) = message(bot, press).await;
    assert!((3.0..4.2).contains(&length), "{length}");
    assert_eq!(report.digits, "5#");
}

#[tokio::test(start_paused = true)]
async fn a_message_ends_at_the_maximum() {
    let bot = |file| RecordBot::new(file).silence(None).max(Some(secs(10)));
    let (length, _, _) = message(bot, async |_| {}).await;
    assert!((length - 10.0).abs() < 0.1, "{length}");
}

#[tokio::test(start_paused = true)]
async fn a_message_ends_with_the_call_and_is_whole() {
    let bot = |file| RecordBot::new(file).silence(None).max(None);
    let (length, tone, report) = message(bot, async |call| call.hangup().await.unwrap()).await;
    assert!((2.9..3.4).contains(&length), "{length}");
    assert!((tone - 3.0).abs() < 0.1, "{tone}");
    assert_eq!(report.result, Outcome::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_digit_skips_the_greeting_and_not_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message.wav");
    let bot = RecordBot::new(file.display().to_string())
        .greeting(tone(700.0, secs(30)))
        .beep(false);
    let stage = Stage::new(move || bot.clone()).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    tokio::time::sleep(secs(2)).await;
    call.send_dtmf("#").await.unwrap();
    call.play(tone(440.0, secs(4))).await.unwrap();
    call.ended().await;
    assert!(ear.tone(700.0).span.length < ms(2300));
    let recorded = wav(&file).remove(0);
    about(
        measure_tone(&recorded, 8000, 440.0).unwrap().sounding(),
        secs(4),
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_calls_and_leaves_whole_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("call.wav");
    let template = file.display().to_string();
    let mut stage = Stage::new(move || AnswerBot::new().record(template.as_str())).await;
    let call = stage.dial().await;
    tokio::time::sleep(secs(5)).await;
    let began = Instant::now();
    stage.callee.shutdown(secs(3)).await;
    assert!(began.elapsed() >= secs(3));
    assert_eq!(call.ended().await.cause(), Cause::NormalClearing);
    assert_eq!(stage.report().await.reason, "we hung up");
    let length = wav(&file)[0].len() as f64 / 8000.0;
    assert!((length - 8.0).abs() < 0.2, "{length}");
    assert!(!folder.path().join("call.wav.part").exists());
}
