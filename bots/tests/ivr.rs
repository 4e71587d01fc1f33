//! The interpreter of flows, with a caller who presses keys and listens.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use callbot::flow::{self, Action, Surroundings};
use callbot::report::Outcome;
use callbot::{IvrBot, load_flow};
use callbot_core::Call;
use callbot_core::analysis::{find, measure_tone};
use common::{BOT, Ear, Stage, about, ms, secs, tone, wav, wav_bytes};
use tokio::time::Instant;

/// A bot for this document, in a folder of its own.
async fn stage(yaml: &str) -> (Stage, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flow.yaml");
    let yaml = yaml.replace("FOLDER", &folder.path().display().to_string());
    std::fs::write(&file, yaml).unwrap();
    let loaded = load_flow(&file).unwrap_or_else(|problems| panic!("{problems}"));
    let bot = IvrBot::new(loaded.flow);
    (Stage::new(move || bot.clone()).await, folder)
}

/// Whether this built-in prompt was heard, and where.
fn prompt_at(ear: &Ear, name: &str) -> Option<f64> {
    let prompt = wav_bytes(callbot_media_files::by_name(name).unwrap().bytes);
    let found = find(&prompt, &ear.samples(), 8000)?;
    (found.confidence > 0.8).then_some(found.offset.as_secs_f64())
}

const MENU: &str = "
version: 1
states:
  menu:
    - gather:
        prompt: ['tone:400Hz 1s', 'tone:500Hz 1s']
        first_digit: 3s
        tries: 3
        invalid_prompt: 'tone:600Hz 500ms'
        timeout_prompt: 'tone:700Hz 500ms'
        on: {'1': one, '2': two}
    - play: 'tone:800Hz 500ms'
  one: [{play: 'tone:1000Hz 500ms'}]
  two: [{play: 'tone:1200Hz 500ms'}, {goto: menu}]
";

#[tokio::test(start_paused = true)]
async fn a_key_leads_to_its_state_and_stops_the_prompt() {
    let (mut stage, _folder) = stage(MENU).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    tokio::time::sleep(ms(1500)).await;
    call.send_dtmf("1").await.unwrap();
    call.ended().await;
    assert!(ear.heard(400.0) && ear.heard(1000.0));
    assert!(ear.tone(500.0).span.length < ms(700), "the key came late");
    assert!(!ear.heard(600.0) && !ear.heard(700.0) && !ear.heard(800.0));
    let report = stage.report().await;
    assert_eq!((report.result, report.digits.as_str()), (Outcome::Ok, "1"));
    assert_eq!(report.reason, "we hung up");
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_and_silence_each_have_their_prompt_and_tries_end() {
    let (stage, _folder) = stage(MENU).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    tokio::time::sleep(ms(2500)).await;
    call.send_dtmf("7").await.unwrap();
    call.ended().await;
    // One try with a wrong key, two with none: each prompt between tries once, then the step after the gather.
    about(ear.tone(600.0).sounding(), ms(500));
    about(ear.tone(700.0).sounding(), ms(500));
    about(ear.tone(800.0).sounding(), ms(500));
    about(ear.tone(400.0).sounding(), secs(3));
    assert!(ear.tone(600.0).span.start < ear.tone(700.0).span.start);
}

#[tokio::test(start_paused = true)]
async fn keys_may_be_pressed_ahead() {
    let (stage, _folder) = stage(MENU).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    call.send_dtmf("21").await.unwrap();
    call.ended().await;
    assert!(ear.heard(1200.0) && ear.heard(1000.0));
    assert!(!ear.heard(600.0) && !ear.heard(700.0));
}

#[tokio::test(start_paused = true)]
async fn digits_are_spelled_and_compared() {
    let (mut stage, _folder) = stage(
        "
version: 1
states:
  pin:
    - gather: {prompt: 'builtin:enter-pin', digits: 4, finish_on: '#*', on_timeout: bye}
    - play: ['builtin:you-entered', 'spell:{digits}']
    - branch: {value: '{digits}', on: {'1234': right, '9...': nines}}
    - play: builtin:wrong-pin
  right: [{play: 'builtin:ok'}]
  nines: [{play: 'builtin:thank-you'}]
  bye: [{play: 'builtin:goodbye'}]
",
    )
    .await;
    for (keys, spoken, follows) in [
        ("1234#", "digit-3", "ok"),
        ("9876*", "digit-8", "thank-you"),
        ("4321", "digit-2", "wrong-pin"),
        ("", "goodbye", "goodbye"),
    ] {
        let call = stage.dial().await;
        let ear = Ear::on(&call);
        if !keys.is_empty() {
            call.send_dtmf(keys).await.unwrap();
        }
        call.ended().await;
        let spoken = prompt_at(&ear, spoken).unwrap_or_else(|| panic!("{keys}: no {spoken}"));
        let follows = prompt_at(&ear, follows).unwrap_or_else(|| panic!("{keys}: no {follows}"));
        assert!(spoken <= follows, "{keys}: {spoken} {follows}");
        assert_eq!(stage.report().await.result, Outcome::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_recorded_and_the_flow_goes_on() {
    let (mut stage, folder) = stage(
        "
version: 1
states:
  start:
    - gather: {digits: 2, on_timeout: start, prompt: 'silence:100ms'}
    - record: {file: 'FOLDER/{digits}-{from}.wav', silence: 2s, max: 30s}
    - play: 'tone:1500Hz 500ms'
",
    )
    .await;
    let call = stage
        .caller
        .dial(BOT)
        .from("sip:..%2Fmallory@10.0.0.1")
        .await
        .unwrap();
    let ear = Ear::on(&call);
    call.send_dtmf("42").await.unwrap();
    tokio::time::sleep(ms(700)).await;
    call.play(tone(440.0, secs(3))).await.unwrap();
    call.ended().await;
    // The beep comes first.
    assert!(ear.heard(1000.0));
    assert!(ear.heard(1500.0));
    let report = stage.report().await;
    let file = &report.recordings[0];
    assert_eq!(file.parent().unwrap(), folder.path(), "{file:?}");
    assert!(
        file.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("42-")
    );
    let recorded = wav(file).remove(0);
    about(
        measure_tone(&recorded, 8000, 440.0).unwrap().sounding(),
        secs(3),
    );
}

#[tokio::test(start_paused = true)]
async fn callers_are_told_apart_before_the_answer() {
    let (mut stage, _folder) = stage(
        "
version: 1
states:
  door:
    - branch: {value: '{from}', on: {'anonymous': refused, '1[0-4]?': colleague}}
    - ring: 3s
    - play: 'tone:400Hz 500ms'
  refused: [{reject: {status: 603, reason: Not today}}]
  colleague: [answer, {pause: 1s}, {dtmf: '1w2#'}, hangup]
",
    )
    .await;
    let dial = |from: &str| stage.caller.dial(BOT).from(format!("sip:{from}@10.0.0.1"));
    let refused = dial("anonymous").await.unwrap_err();
    assert_eq!(refused.hangup_cause().unwrap().to_string(), "603 Not today");

    let call: Call = dial("123").await.unwrap();
    call.ended().await;
    assert_eq!(call.digits_received(), "12#");

    let began = Instant::now();
    let call = dial("999").await.unwrap();
    about(began.elapsed(), secs(3));
    let ear = Ear::on(&call);
    call.ended().await;
    assert!(ear.heard(400.0));
    let results = [
        stage.report().await.result,
        stage.report().await.result,
        stage.report().await.result,
    ];
    assert_eq!(results, [Outcome::Failed, Outcome::Ok, Outcome::Ok]);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_missing_in_one_call_is_left_out() {
    let (stage, folder) = stage(
        "
version: 1
states:
  hello: [{play: ['{from}.wav', 'tone:400Hz 500ms']}]
",
    )
    .await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    call.ended().await;
    assert!(ear.heard(400.0));

    std::fs::write(folder.path().join("alice.wav"), callbot_media_files::OK).unwrap();
    let call = stage
        .caller
        .dial(BOT)
        .from("sip:alice@10.0.0.1")
        .await
        .unwrap();
    let ear = Ear::on(&call);
    call.ended().await;
    assert!(prompt_at(&ear, "ok").is_some());

    // A file that is no sound is left out as well.
    std::fs::write(folder.path().join("bob.wav"), "no sound").unwrap();
    let call = stage
        .caller
        .dial(BOT)
        .from("sip:bob@10.0.0.1")
        .await
        .unwrap();
    let ear = Ear::on(&call);
    call.ended().await;
    assert!(ear.heard(400.0));
}

#[tokio::test(start_paused = true)]
async fn a_digit_stops_a_repeated_prompt_and_is_kept() {
    let (stage, _folder) = stage(
        "
version: 1
states:
  hold:
    - play: {prompt: ['tone:400Hz 1s', 'silence:1s'], repeat: forever, barge_in: true}
    - gather: {digits: 1, on_timeout: hold, on_invalid: hold, prompt: 'tone:500Hz 5s'}
    - play: 'spell:{digits}'
",
    )
    .await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    tokio::time::sleep(ms(8500)).await;
    call.send_dtmf("7").await.unwrap();
    call.ended().await;
    assert!(ear.tone(400.0).sounding() > secs(4));
    assert!(prompt_at(&ear, "digit-7").is_some());
    assert!(!ear.heard(500.0), "the digit was asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_circle_that_takes_no_time_ends_the_call_with_an_error() {
    // The reader finds such circles; a flow that a program put together may have one.
    let document = b"version: 1\nstates:\n  a: [answer, {goto: b}]\n  b: [{pause: 1s}, hangup]\n";
    let surroundings = Surroundings {
        builtins: &[],
        probe: &|_| Ok(()),
    };
    let mut flow = flow::parse("circle", ".".as_ref(), document, &surroundings)
        .unwrap()
        .flow;
    flow.states[1].steps[0].action = Action::Goto(flow.find("b").unwrap());
    let bot = IvrBot::new(flow);
    let mut stage = Stage::new(move || bot.clone()).await;
    let call = stage.dial().await;
    call.ended().await;
    assert!(call.duration() < ms(100), "{:?}", call.duration());
    let report = stage.report().await;
    assert_eq!(report.result, Outcome::Failed);
    assert!(
        report.reason.contains("round and round"),
        "{}",
        report.reason
    );
}

#[tokio::test(start_paused = true)]
async fn every_sample_flow_can_be_run() {
    let flows = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("flows");
    for name in ["office.yaml", "mailbox.json", "screening.yaml"] {
        let loaded = load_flow(&flows.join(name)).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
    let bot = IvrBot::new(load_flow(&flows.join("office.yaml")).unwrap().flow);
    let mut stage = Stage::new(move || bot.clone()).await;
    let call = stage.dial().await;
    let ear = Ear::on(&call);
    tokio::time::sleep(secs(6)).await;
    // The hours, then the pin, then nothing more.
    call.send_dtmf("2WWWWW3WW1234").await.unwrap();
    call.ended().await;
    for prompt in [
        "welcome",
        "the-time-is",
        "number-12",
        "enter-pin",
        "ok",
        "no-input",
        "goodbye",
    ] {
        assert!(prompt_at(&ear, prompt).is_some(), "{prompt} was not heard");
    }
    assert_eq!(stage.report().await.result, Outcome::Ok);
}

/// A third party at 10.0.0.3, who says a tone of 1500 Hz, and refuses calls to "busy".
async fn colleague(stage: &Stage) {
    let third = common::endpoint(&stage.network, [10, 0, 0, 3]).await;
    let answer = callbot_core::answer_with(|call| async move {
        if call.info().called() == "busy" {
            return call.reject(486).await;
        }
        // Rings for so long that the music is heard.
        call.ring().await?;
        tokio::time::sleep(secs(1)).await;
        let call = call.answer().await?;
        call.play(tone(1500.0, secs(60))).await
    });
    tokio::spawn(async move { third.serve(answer).await });
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_sent_to_somebody_else_or_hears_that_it_failed() {
    for (step, fails, music) in [
        ("transfer: 'sip:{digits}@10.0.0.3'", false, false),
        (
            "transfer: {to: 'sip:{digits}@10.0.0.3', attended: true, prompt: 'tone:900Hz 1s'}",
            false,
            true,
        ),
        (
            "transfer: {to: 'sip:busy@10.0.0.3', on_failure: sorry}",
            true,
            false,
        ),
        (
            "transfer: {to: 'sip:busy@10.0.0.3', attended: true, on_failure: sorry}",
            true,
            false,
        ),
    ] {
        let flow = format!(
            "
version: 1
states:
  menu:
    - gather: {{digits: 1, on_timeout: sorry, prompt: 'tone:400Hz 500ms'}}
    - {step}
  sorry: [{{play: 'tone:600Hz 500ms'}}]
"
        );
        let (mut stage, _folder) = stage(&flow).await;
        colleague(&stage).await;
        let call = stage.dial().await;
        call.on_transfer(callbot_core::TransferPolicy::Follow);
        let ear = Ear::on(&call);
        tokio::time::sleep(secs(1)).await;
        call.send_dtmf("5").await.unwrap();
        let report = stage.report().await;
        assert_eq!(report.result, Outcome::Ok, "{step}");
        if fails {
            call.ended().await;
            assert!(ear.heard(600.0), "{step}");
        } else {
            tokio::time::sleep(secs(2)).await;
            assert!(call.hangup_cause().is_none(), "{step}");
            assert!(ear.heard(1500.0) && !ear.heard(600.0), "{step}");
        }
        assert_eq!(ear.heard(900.0), music, "{step}");
    }
}
