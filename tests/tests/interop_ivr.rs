//! A menu from a flow file, called by baresip: prompts are heard, a key interrupts them, branches are taken.

use callbot_tests::prelude::*;

/// The prompts are tones, so that it can be measured which was heard and for how long.
const FLOW: &str = "\
version: 1
name: Interop
start: menu
states:
  menu:
    - gather:
        prompt: menu.wav
        first_digit: 5s
        tries: 1
        on:
          '1': first
          '2': message
    - hangup
  first:
    - play: first.wav
    - hangup
  message:
    - record:
        file: 'message.wav'
        max: 10s
        finish_on: '#'
    - play: first.wav
    - hangup
";

/// Starts the bot and a baresip that sends 440 Hz, and calls.
fn call(lab: &Lab) -> Result<(Callbot, Baresip)> {
    std::fs::write(lab.path("flow.yaml"), FLOW)?;
    Sound::silence(0)
        .tone(500.0, -20.0, 4000)
        .write(&lab.path("menu.wav"))?;
    Sound::silence(200)
        .tone(700.0, -20.0, 1000)
        .pause(200)
        .write(&lab.path("first.wav"))?;
    Sound::silence(0)
        .tone(440.0, -20.0, 30_000)
        .write(&lab.path("caller.wav"))?;
    let (callbot, address) = Callbot::serve_at(lab, &["ivr", &lab.text("flow.yaml")])?;
    let mut baresip = Baresip::named("caller", Source::File(lab.path("caller.wav"))).start(lab)?;
    baresip.dial(&format!("sip:ivr@{address}"))?;
    std::thread::sleep(Duration::from_millis(1500));
    Ok((callbot, baresip))
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_key_interrupts_the_menu_and_takes_its_branch() {
    Lab::run("ivr-menu", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (mut callbot, mut baresip) = call(lab)?;
        baresip.press("1")?;
        baresip.wait_event("CALL_CLOSED", seconds(10))?;
        let call = callbot.wait_call(seconds(5))?;
        ensure!(call.digits() == "1", "pressed 1, reported {}", call.0);
        baresip.quit()?;
        let heard = Sound::read(&baresip.heard()?)?;
        let (menu, branch) = (heard.find_tone(500.0)?, heard.find_tone(700.0)?);
        lab.say(format!("menu: {menu}; branch: {branch}"));
        // The key goes down after 1.5 s, give or take the set-up of the call; the whole menu would take 4 s.
        ensure!(
            (1000.0..2100.0).contains(&menu.span.length()),
            "the key did not interrupt the menu: {menu}"
        );
        branch.check(700.0, -20.0, 1000.0)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_message_ends_at_the_hash_key() {
    Lab::run("ivr-message", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (mut callbot, mut baresip) = call(lab)?;
        baresip.press("2")?;
        std::thread::sleep(seconds(3));
        baresip.press("#")?;
        baresip.wait_event("CALL_CLOSED", seconds(10))?;
        let call = callbot.wait_call(seconds(5))?;
        ensure!(
            call.digits() == "2#",
            "pressed 2 and #, reported {}",
            call.0
        );
        baresip.quit()?;
        let message = Sound::read(&lab.path("message.wav"))?.find_tone(440.0)?;
        lab.say(format!("message: {message}"));
        // While it presses a key baresip sends no sound.
        ensure!(
            (message.span.length() - 3000.0).abs() < 700.0,
            "about 3 s lie between the keys, recorded were {message}"
        );
        ensure!(message.gap == 0.0, "the message is broken: {message}");
        Sound::read(&baresip.heard()?)?
            .find_tone(700.0)?
            .check(700.0, -20.0, 1000.0)
    });
}
