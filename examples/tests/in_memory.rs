//! Runs the bot of each example over the in-memory network in paused time, and checks what its caller hears.

mod support;

/// The examples' own files; their `main` is not wanted here.
macro_rules! examples {
    ($($name:ident = $file:literal;)*) => {
        $(#[path = $file] #[allow(dead_code, unreachable_pub)] mod $name;)*
    };
}

examples! {
    readme = "../00_readme.rs";
    echo = "../01_echo.rs";
    answer_and_play = "../02_answer_and_play.rs";
    pin_check = "../03_pin_check.rs";
    record_message = "../04_record_message.rs";
    router = "../05_router.rs";
    dial_and_listen = "../06_dial_and_listen.rs";
    raw_audio = "../07_raw_audio.rs";
    in_memory_test = "../08_in_memory_test.rs";
    early_media = "../09_early_media.rs";
    bridging = "../10_bridge.rs";
    register_with_a_pbx = "../11_register_with_a_pbx.rs";
    several_accounts = "../12_several_accounts.rs";
    texting = "../13_texting_bot.rs";
    hold_with_music = "../14_hold_with_music.rs";
    blind = "../15_blind_transfer.rs";
    attended = "../16_attended_transfer.rs";
    presence = "../17_presence.rs";
}

use std::time::Duration;

use callbot_core::analysis::component_dbov;
use callbot_core::{CallEvent, Cause, Error, Party, Result, Tone, answer_with};
use callbot_media_files as sounds;
use support::pbx::{PASSWORD, Pbx};
use support::{Ear, Heard, RATE, Stage, folder, only_file, secs, sound};

fn tone(frequency: f64) -> Tone {
    Tone::new(&[frequency]).level(-20.0).lasting(secs(1.0))
}

/// What the README's bot answers to these keys: the level at 660 and at 425 Hz while it replies, in dBov.
async fn readme_bot_replies(keys: &str) -> Result<[f32; 2]> {
    // Its recordings go below the working directory.
    std::env::set_current_dir(env!("CARGO_TARGET_TMPDIR"))?;
    let stage = Stage::new(answer_with(readme::check_pin)).await;
    let call = stage.dial("pin").await?;
    let ear = Ear::on(&call);
    tokio::time::sleep(secs(0.5)).await;
    call.send_dtmf(keys).await?;
    call.ended().await;
    let reply = ear.heard().await.last(secs(1.9));
    Ok([660.0, 425.0].map(|hertz| component_dbov(&reply.0, RATE, hertz)))
}

#[tokio::test(start_paused = true)]
async fn example_00_tells_pins_apart() -> Result<()> {
    let [right, busy] = readme_bot_replies("1234").await?;
    assert!(right > -25.0 && busy < -50.0, "{right} and {busy} dBov");
    let [right, busy] = readme_bot_replies("4321").await?;
    assert!(right < -50.0 && busy > -35.0, "{right} and {busy} dBov");
    Ok(())
}

#[test]
fn example_00_is_the_bot_of_the_readme() {
    let readme = include_str!("../../README.md");
    let bot = include_str!("../00_readme.rs");
    assert!(readme.contains(&format!("```rust,no_run\n{bot}```\n")));
}

#[tokio::test(start_paused = true)]
async fn example_01_says_back_what_it_hears() -> Result<()> {
    let stage = Stage::new(echo::service()).await;
    let call = stage.dial("echo").await?;
    let ear = Ear::on(&call);
    call.play(tone(440.0)).await?;
    tokio::time::sleep(secs(0.5)).await;
    call.hangup().await?;
    ear.heard().await.assert_tone(440.0, 1_000, -20.0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_02_rings_plays_and_hangs_up() -> Result<()> {
    let stage = Stage::new(|| answer_and_play::Announcer {
        announcement: answer_and_play::welcome(),
    })
    .await;
    let ringing = stage.dial("news").start().await?;
    let mut events = ringing.events();
    let call = ringing.answered().await?;
    assert_eq!(
        events.recv().await.ok(),
        Some(CallEvent::Progress { status: 180 })
    );
    let ear = Ear::on(&call);
    let cause = call.ended().await;
    assert_eq!(
        (cause.cause(), cause.by()),
        (Cause::NormalClearing, Party::Remote)
    );
    let heard = ear.heard().await;
    heard.assert_prompt(sounds::WELCOME);
    // What the jitter buffer still holds when the BYE comes is not heard.
    heard.last(secs(0.6)).assert_tone(1_000.0, 370, -20.0);
    Ok(())
}

async fn pin(name: &str, presses: &[(Duration, &str)]) -> Result<(Heard, std::path::PathBuf)> {
    let folder = folder(name);
    let recordings = folder.display().to_string();
    let stage = Stage::new(move || pin_check::PinCheck {
        recordings: recordings.clone(),
    })
    .await;
    let call = stage.dial("pin").await?;
    let ear = Ear::on(&call);
    for (after, digits) in presses {
        tokio::time::sleep(*after).await;
        call.send_dtmf(*digits).await?;
    }
    call.ended().await;
    Ok((ear.heard().await, only_file(&folder)))
}

#[tokio::test(start_paused = true)]
async fn example_03_lets_the_right_pin_in_and_records() -> Result<()> {
    let (heard, recording) = pin("pin-right", &[(secs(1.0), "1234#")]).await?;
    heard.assert_prompt(sounds::OK);
    heard.assert_no_prompt(sounds::TOO_MANY_TRIES);
    // The digits came during the prompt and stopped it.
    heard.assert_no_prompt(sounds::ENTER_PIN);
    Heard::channel(&recording, 1).assert_prompt(sounds::OK);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_03_gives_three_tries() -> Result<()> {
    // Each comes while the prompt is asking again.
    let presses = ["1111#", "2222#", "33#"].map(|digits| (secs(2.5), digits));
    let (heard, _) = pin("pin-wrong", &presses).await?;
    heard.assert_prompt(sounds::WRONG_PIN);
    heard.assert_prompt(sounds::TOO_MANY_TRIES);
    heard.assert_no_prompt(sounds::OK);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_04_records_a_message_and_plays_it_back() -> Result<()> {
    let folder = folder("message");
    let messages = folder.display().to_string();
    let stage = Stage::new(move || record_message::AnsweringMachine {
        messages: messages.clone(),
    })
    .await;
    let call = stage.dial("mailbox").await?;
    let ear = Ear::on(&call);
    // Until after the beep.
    tokio::time::sleep(secs(4.2)).await;
    call.play(sound("caller-message")).await?;
    call.send_dtmf("#").await?;
    call.ended().await;
    let heard = ear.heard().await;
    heard.assert_prompt(sounds::YOU_SAID);
    heard.assert_prompt(sounds::CALLER_MESSAGE);
    heard.assert_prompt(sounds::THANK_YOU);
    Heard::channel(&only_file(&folder), 0).assert_prompt(sounds::CALLER_MESSAGE);
    Ok(())
}

/// The status with which a call is refused.
fn refusal<T>(result: Result<T>) -> Option<u16> {
    match result {
        Err(Error::HungUp(cause)) => cause.status(),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn example_05_routes_by_number_and_header() -> Result<()> {
    let stage = Stage::new(router::service()).await;

    let call = stage.dial("600").await?;
    let ear = Ear::on(&call);
    call.play(tone(600.0)).await?;
    tokio::time::sleep(secs(0.5)).await;
    call.hangup().await?;
    ear.heard().await.assert_tone(600.0, 1_000, -20.0);

    assert_eq!(refusal(stage.dial("742").await), Some(486));
    let closed = stage.dial("1").header("X-Office", "closed");
    assert_eq!(refusal(closed.follow_redirects(false).await), Some(302));

    for (from, words) in [
        ("sip:alice@home", sounds::WELCOME),
        ("sip:bob@home", sounds::PLEASE_HOLD),
    ] {
        let call = stage.dial("1").from(from).await?;
        let ear = Ear::on(&call);
        call.ended().await;
        ear.heard().await.assert_prompt(words);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_06_hears_a_tone_and_presses_digits() -> Result<()> {
    let (pressed, mut digits) = tokio::sync::mpsc::unbounded_channel();
    let stage = Stage::new(answer_with(move |call| {
        let pressed = pressed.clone();
        async move {
            let call = call.answer().await?;
            let _tone = call.play(tone(425.0)).looped().start().await?;
            call.ended().await;
            let _ = pressed.send(call.digits_received());
            Ok(())
        }
    }))
    .await;
    let heard = dial_and_listen::visit(&stage.caller, "sip:tone@10.0.0.1", "12w#").await?;
    let heard = Heard(heard.samples);
    assert_eq!(heard.0.len(), 2 * RATE as usize);
    heard.assert_tone(425.0, 1_950, -20.0);
    assert_eq!(digits.recv().await.as_deref(), Some("12#"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_07_answers_with_a_shifted_voice() -> Result<()> {
    let stage = Stage::new(raw_audio::Robot::default).await;
    let call = stage.dial("robot").await?;
    let ear = Ear::on(&call);
    call.play(tone(1_000.0)).await?;
    tokio::time::sleep(secs(0.5)).await;
    call.hangup().await?;
    let heard = ear.heard().await;
    // Ring modulation halves the amplitude (6 dB) and leaves nothing of the tone itself.
    heard.assert_tone(800.0, 1_000, -26.0);
    let voice = &heard.0[RATE as usize / 2..RATE as usize];
    let level = |frequency| component_dbov(voice, RATE, frequency);
    assert!((level(1_200.0) + 26.0).abs() < 1.0, "{}", level(1_200.0));
    assert!(level(1_000.0) < -50.0, "{}", level(1_000.0));
    assert_eq!(raw_audio::meter(-30.0), "##########            -30.0 dBov");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_08_is_the_same_each_time() -> Result<()> {
    let first = in_memory_test::ten_minutes(7).await?;
    assert!(first.call > Duration::from_secs(600));
    for message in ["INVITE", "200 OK", "ACK", "BYE"] {
        assert!(first.ladder.contains(message), "{}", first.ladder);
    }
    Ok(())
}

#[test]
fn example_08_gives_one_ladder_for_one_seed() -> std::io::Result<()> {
    let ladder = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        let run = runtime.block_on(in_memory_test::ten_minutes(seed));
        run.map(|run| run.ladder).map_err(std::io::Error::other)
    };
    assert_eq!(ladder(7)?, ladder(7)?);
    assert_ne!(ladder(7)?, ladder(8)?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_09_speaks_before_it_refuses() -> Result<()> {
    let folder = folder("early");
    let stage = Stage::new(early_media::Doorkeeper::default).await;
    let ringing = stage.dial("closed").start().await?;
    assert_eq!(ringing.ringing().await?, 183);
    let file = folder.join("early.wav").display().to_string();
    let recording = ringing.record(file).start().await?;
    assert_eq!(refusal(ringing.answered().await), Some(480));
    let path = recording.stop().await?.path;
    Heard::channel(&path, 0).assert_prompt(sounds::LINES_CLOSED);

    let call = stage.dial("open").await?;
    let ear = Ear::on(&call);
    call.ended().await;
    ear.heard().await.assert_prompt(sounds::WELCOME);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_10_joins_the_caller_with_the_agent() -> Result<()> {
    let network = callbot_core::driver::memory::MemoryNetwork::new(10);
    let start = |last: u8| {
        let host = network.host([10, 0, 0, last]);
        callbot_core::Endpoint::builder()
            .memory(host)
            .seed(u64::from(last))
            .start()
    };
    let (office, caller, agent) = (start(1).await?, start(2).await?, start(3).await?);
    let board = bridging::Switchboard {
        endpoint: office.clone(),
        agent: "sip:agent@10.0.0.3".to_owned(),
    };
    tokio::spawn(async move { office.serve(move || board.clone()).await });
    let answer = answer_with(|call| async move {
        let call = call.answer().await?;
        call.play(tone(600.0)).await?;
        call.hangup().await
    });
    tokio::spawn(async move { agent.serve(answer).await });
    let call = caller.dial("sip:office@10.0.0.1").await?;
    let ear = Ear::on(&call);
    let cause = call.ended().await;
    assert_eq!(
        (cause.cause(), cause.by()),
        (Cause::NormalClearing, Party::Remote)
    );
    let heard = ear.heard().await;
    heard.assert_prompt(sounds::PLEASE_HOLD);
    heard.last(secs(1.5)).assert_tone(600.0, 1_000, -20.0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_11_stays_registered_and_echoes() -> Result<()> {
    // The bot's endpoint is the stage's caller here, and the PBX stands where bots do.
    let pbx = Pbx::new();
    let stage = Stage::new(pbx.clone()).await;
    let bot = stage.caller.clone();
    let aor = "sip:1000@10.0.0.1";
    bot.add_account(register_with_a_pbx::account(aor, PASSWORD))?;
    bot.registered().await?;
    let serving = bot.clone();
    tokio::spawn(async move { serving.serve(register_with_a_pbx::service()).await });
    // Many lifetimes later it still is.
    tokio::time::sleep(secs(1000.0)).await;
    let registrations = bot.registrations();
    assert!(
        registrations[0]
            .expires_in
            .is_some_and(|left| left > secs(5.0))
    );
    let call = stage
        .bot
        .dial(pbx.contact("1000").unwrap_or_default())
        .await?;
    let ear = Ear::on(&call);
    call.play(tone(440.0)).await?;
    tokio::time::sleep(secs(0.5)).await;
    call.hangup().await?;
    ear.heard().await.assert_tone(440.0, 1_000, -20.0);
    bot.remove_account(aor).await?;
    assert_eq!(pbx.contact("1000"), None);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_12_tells_accounts_apart() -> Result<()> {
    let pbx = Pbx::new();
    let stage = Stage::new(pbx.clone()).await;
    let accounts: Vec<String> = (0..60).map(|n| format!("sip:u{n}@10.0.0.1")).collect();
    several_accounts::register(&stage.caller, &accounts, PASSWORD).await?;
    let (serving, service) = (stage.caller.clone(), several_accounts::service(&accounts));
    tokio::spawn(async move { serving.serve(service).await });
    for number in [0, 1, 7] {
        let contact = pbx.contact(&format!("u{number}")).unwrap_or_default();
        let call = stage.bot.dial(contact).await?;
        let ear = Ear::on(&call);
        call.ended().await;
        let hertz = 440.0 + 100.0 * f64::from(number);
        ear.heard().await.assert_tone(hertz, 1_000, -20.0);
    }
    Ok(())
}
/// Endpoints 10.0.0.1, 10.0.0.2 and 10.0.0.3 on one network.
async fn three() -> Result<[callbot_core::Endpoint; 3]> {
    let network = callbot_core::driver::memory::MemoryNetwork::new(13);
    let start = |last: u8| {
        let host = network.host([10, 0, 0, last]);
        callbot_core::Endpoint::builder()
            .memory(host)
            .seed(u64::from(last))
            .packages(presence::PACKAGES)
            .start()
    };
    Ok([start(1).await?, start(2).await?, start(3).await?])
}

fn serve(endpoint: &callbot_core::Endpoint, service: impl callbot_core::Service) {
    let endpoint = endpoint.clone();
    tokio::spawn(async move { endpoint.serve(service).await });
}

/// Hands on every text that comes.
struct Inbox(tokio::sync::mpsc::UnboundedSender<String>);

#[callbot_core::async_trait]
impl callbot_core::Service for Inbox {
    fn bot(&self, _: &callbot_core::CallInfo) -> Box<dyn callbot_core::Bot> {
        Box::new(early_media::Doorkeeper)
    }

    async fn on_request(&self, request: callbot_core::Request) -> callbot_core::Reply {
        let _ = self.0.send(request.text().unwrap_or_default().to_owned());
        callbot_core::Reply::status(200)
    }
}

#[tokio::test(start_paused = true)]
async fn example_13_answers_texts_in_a_call_and_out_of_one() -> Result<()> {
    let [bot, person, _] = three().await?;
    let service = texting::Texting {
        endpoint: bot.clone(),
    };
    serve(&bot, service);
    let (told, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    serve(&person, Inbox(told));
    let uri = "sip:texts@10.0.0.1";
    person.message(uri, "ping").await?;
    assert_eq!(inbox.recv().await.as_deref(), Some("pong"));
    person.message(uri, "Dr\u{e4}hen").await?;
    assert_eq!(inbox.recv().await.as_deref(), Some("neh\u{e4}rd"));
    assert_eq!(person.ask("PUBLISH", uri).send().await?.code(), 405);

    let call = person.dial(uri).await?;
    tokio::time::sleep(secs(4.0)).await;
    let mut events = call.events();
    call.message("ping").await?;
    let event = events.recv().await.ok();
    assert!(
        matches!(&event, Some(CallEvent::Message { body, .. }) if body == b"pong"),
        "{event:?}"
    );
    call.hangup().await
}

#[tokio::test(start_paused = true)]
async fn example_14_plays_music_while_the_caller_is_held() -> Result<()> {
    let stage = Stage::new(|| hold_with_music::Receptionist {
        music: tone(523.25).into(),
        takes: secs(3.0),
    })
    .await;
    let call = stage.dial("reception").await?;
    let mut events = call.events();
    let ear = Ear::on(&call);
    call.ended().await;
    ear.heard().await.assert_tone(523.25, 3000, -20.0);
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            CallEvent::Held { by } => seen.push((true, by)),
            CallEvent::Resumed { by } => seen.push((false, by)),
            _ => {}
        }
    }
    assert_eq!(seen, [(true, Party::Remote), (false, Party::Remote)]);
    Ok(())
}

/// Somebody who says a tone, unless he is called "busy"; he presses 1 when `agrees`.
fn colleague(endpoint: &callbot_core::Endpoint, agrees: bool) {
    serve(
        endpoint,
        answer_with(move |call| async move {
            if call.info().called() == "busy" {
                return call.reject(486).await;
            }
            let call = call.answer().await?;
            if agrees {
                call.send_dtmf("w1").await?;
            }
            call.play(Tone::new(&[600.0]).level(-20.0).lasting(secs(60.0)))
                .await
        }),
    );
}

#[tokio::test(start_paused = true)]
async fn example_15_sends_the_caller_on_or_keeps_him() -> Result<()> {
    for (user, reached) in [("sales", true), ("busy", false)] {
        let [office, caller, sales] = three().await?;
        colleague(&sales, false);
        let forwarder = blind::Forwarder {
            to: format!("sip:{user}@10.0.0.3"),
        };
        serve(&office, move || forwarder.clone());
        let call = caller.dial("sip:office@10.0.0.1").await?;
        call.on_transfer(callbot_core::TransferPolicy::Follow);
        let ear = Ear::on(&call);
        tokio::time::sleep(secs(8.0)).await;
        assert_eq!(call.hangup_cause().is_none(), reached);
        call.hangup().await?;
        let heard = ear.heard().await;
        heard.assert_prompt(sounds::PLEASE_HOLD);
        if reached {
            let last = heard.last(secs(1.0));
            assert!(component_dbov(&last.0, RATE, 600.0) > -22.0);
        } else {
            heard.assert_prompt(sounds::LINES_CLOSED);
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_16_joins_the_caller_with_who_agrees() -> Result<()> {
    for (user, agrees, joined) in [
        ("anna", true, true),
        ("anna", false, false),
        ("busy", false, false),
    ] {
        let [office, caller, anna] = three().await?;
        colleague(&anna, agrees);
        let receptionist = attended::Receptionist {
            colleague: format!("sip:{user}@10.0.0.3"),
        };
        serve(&office, move || receptionist.clone());
        let call = caller.dial("sip:reception@10.0.0.1").await?;
        call.on_transfer(callbot_core::TransferPolicy::Follow);
        let ear = Ear::on(&call);
        tokio::time::sleep(secs(25.0)).await;
        assert_eq!(call.hangup_cause().is_none(), joined, "{user} {agrees}");
        assert_eq!(office.active_calls(), 0);
        call.hangup().await?;
        let heard = ear.heard().await;
        if joined {
            let last = heard.last(secs(1.0));
            assert!(component_dbov(&last.0, RATE, 600.0) > -22.0);
        } else {
            heard.assert_prompt(sounds::LINES_CLOSED);
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn example_17_is_watched_while_it_is_called() -> Result<()> {
    let [bot, watcher, _] = three().await?;
    let uri = "sip:bot@10.0.0.1";
    serve(&bot, presence::Visible::new(uri));
    let mut presence = watcher.subscribe(uri, "presence").start().await?;
    let mut seen = Vec::new();
    let call = watcher.dial(uri);
    let calling = tokio::spawn(async move {
        tokio::time::sleep(secs(1.0)).await;
        call.await?.ended().await;
        Ok::<_, Error>(())
    });
    while seen.len() < 3 {
        let Some(news) = presence.next().await else {
            break;
        };
        let state = news.presence().map_err(Error::other)?;
        let note = state.first_note().unwrap_or_default().to_owned();
        seen.push((state.is_open(), note, state.activities));
    }
    let state = |note: &str, activities: &[&str]| {
        let activities = activities.iter().map(|a| (*a).to_owned()).collect();
        (true, note.to_owned(), activities)
    };
    assert_eq!(
        seen,
        [
            state("free", &[]),
            state("in a call", &["on-the-phone"]),
            state("free", &[]),
        ]
    );
    calling.await.map_err(Error::other)??;
    presence.unsubscribe().await;
    let lamp = watcher.subscribe(uri, "message-summary").fetch().await?;
    let summary = lamp.message_summary().map_err(Error::other)?;
    assert!(summary.waiting);
    assert_eq!(
        summary.count("Voice-Message").map(|count| count.new),
        Some(2)
    );
    let refused = watcher.subscribe(uri, "dialog").fetch().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("489")));
    Ok(())
}
