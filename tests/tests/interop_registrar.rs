//! `callbot registrar`: a softphone, a browser and a bot register with it, call each other, and send texts.

use std::net::SocketAddr;

use callbot_tests::prelude::*;

/// What the browser says: frequency in hertz and level in dBov.
const SAYS: (f64, f64) = (330.0, -20.0);
/// What baresip says.
const PLAYS: (f64, f64) = (440.0, -20.0);

/// A registrar on UDP and WS with three users.
fn registrar(lab: &Lab) -> Result<(Callbot, SocketAddr, SocketAddr)> {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (udp, ws) = (at(lab.port()?), at(lab.port()?));
    let (udp_url, ws_url) = (format!("udp://{udp}"), format!("ws://{ws}"));
    let arguments = [
        "registrar",
        "--listen",
        &udp_url,
        "--listen",
        &ws_url,
        "--realm",
        "laptop",
        "--user",
        "1000:pw-1000",
        "--user",
        "1001:pw-1001",
        "--user",
        "600:pw-600",
    ];
    Ok((Callbot::serve(lab, "registrar", &arguments)?, udp, ws))
}

/// baresip as user 1000.
fn baresip(lab: &Lab, registrar: SocketAddr) -> Result<Baresip> {
    let file = lab.path("baresip-plays.wav");
    Sound::silence(0)
        .tone(PLAYS.0, PLAYS.1, 60_000)
        .write(&file)?;
    let account =
        format!(";regint=60;auth_user=1000;auth_pass=pw-1000;outbound=\"sip:{registrar}\"");
    let mut baresip = Baresip::named("1000", Source::File(file))
        .account(&account)
        .registrar(registrar)
        .codec("pcmu")
        .contact(&format!("sip:1001@{registrar}"))
        .answering()
        .start(lab)?;
    baresip.wait_registered(seconds(5))?;
    Ok(baresip)
}

fn browser(lab: &Lab, ws: SocketAddr, password: &str) -> Result<Browser> {
    // JsSIP wants a domain without a port; the registrar takes any.
    Browser::with(Library::JsSip, &format!("ws://{ws}"), "1001", "127.0.0.1")
        .registers(password)
        .hums(SAYS.0, SAYS.1)
        .start(lab)
}

/// A bot that registers as user 600 and echoes.
fn echo(lab: &Lab, registrar: SocketAddr) -> Result<Callbot> {
    let account = format!("sip:600@{registrar}");
    let arguments = [
        "echo",
        "--listen",
        "udp://127.0.0.1:0",
        "--register",
        &account,
        "--password-env",
        "CALLBOT_TEST_PASSWORD",
    ];
    let mut bot = Callbot::start(
        lab,
        "bot",
        &arguments,
        &[("CALLBOT_TEST_PASSWORD", "pw-600")],
    )?;
    bot.ready()?;
    bot.process()
        .wait_until("its registration", seconds(5), |_, said| {
            said.contains("registered sip:600@")
        })?;
    Ok(bot)
}

/// Whether baresip heard the browser in its last call.
fn baresip_heard_the_browser(lab: &Lab, baresip: &Baresip) -> Result<()> {
    let heard = Sound::read(&baresip.heard()?)?;
    let tone = heard.find_tone(SAYS.0).context("what baresip heard")?;
    lab.say(format!("baresip heard {tone}"));
    ensure!(
        (tone.frequency - SAYS.0).abs() < 5.0,
        "baresip heard {tone}"
    );
    Ok(())
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_browser_a_softphone_and_a_bot_meet() {
    let peers = [Peer::Callbot, Peer::Browser, Peer::Baresip];
    Lab::run("registrar", &peers, |lab| {
        let (mut registrar, udp, ws) = registrar(lab)?;
        let mut bot = echo(lab, udp)?;
        let mut baresip = baresip(lab, udp)?;
        let mut browser = browser(lab, ws, "pw-1001")?;
        browser.wait_event("registered", seconds(10))?;

        // The browser and the bot, which knows nothing of WebSockets: it hears itself.
        browser.call("sip:600@127.0.0.1")?;
        browser.wait_event("established", seconds(10))?;
        browser.wait_pitch(SAYS.0, seconds(10))?;
        browser.hang_up()?;
        let call = bot.wait_call(seconds(5))?;
        ensure!(call.result() == "ok", "the bot says {}", call.0);
        ensure!(
            call.0["from"]
                .as_str()
                .is_some_and(|from| from.contains("1001@")),
            "{}",
            call.0
        );

        // The browser and the softphone.
        browser.call("sip:1000@127.0.0.1")?;
        baresip.wait_event("CALL_ESTABLISHED", seconds(10))?;
        browser.wait_pitch(PLAYS.0, seconds(10))?;
        std::thread::sleep(seconds(2));
        browser.hang_up()?;
        baresip.wait_event("CALL_CLOSED", seconds(5))?;
        baresip_heard_the_browser(lab, &baresip)?;

        // The other way: the call finds the browser by the connection that it registered over.
        baresip.dial(&format!("sip:1001@{udp}"))?;
        browser.wait_event("incoming", seconds(5))?;
        browser.wait_pitch(PLAYS.0, seconds(10))?;
        std::thread::sleep(seconds(2));
        baresip.hang_up()?;
        // Each call comes twice: once without a password, which is asked for.
        let calls = registrar.wait_calls(6, seconds(5))?;
        let asked = |call: &&Call| call.0["status"] == 407;
        ensure!(calls.iter().filter(asked).count() == 3, "{calls:?}");
        for call in calls.iter().filter(|call| !asked(call)) {
            ensure!(
                call.result() == "ok" && call.0["callee"]["result"] == "ok",
                "{}",
                call.0
            );
        }

        // Texts, both ways.
        let status = browser.text("sip:1000@127.0.0.1", "salut")?;
        ensure!(
            status == Some(200),
            "the browser's text was answered with {status:?}"
        );
        baresip.wait_text("salut", seconds(5))?;
        baresip.text("hello there")?;
        let text = browser.wait_event("text", seconds(5))?;
        ensure!(text["body"] == "hello there", "the browser got {text}");

        // Who is not there, and who is nobody.
        for (user, status) in [("2000", 404), ("600", 200)] {
            let said = browser.text(&format!("sip:{user}@127.0.0.1"), "are you there?")?;
            // The bot takes no texts: its own 405 comes back.
            let wanted = if status == 200 { 405 } else { status };
            ensure!(
                said == Some(wanted),
                "a text to {user} was answered with {said:?}"
            );
        }
        browser.quit()?;
        baresip.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_wrong_password_is_refused() {
    Lab::run(
        "registrar-refuses",
        &[Peer::Callbot, Peer::Browser],
        |lab| {
            let (_registrar, _, ws) = registrar(lab)?;
            let mut browser = browser(lab, ws, "pw-1000")?;
            let refused = browser.wait_event("refused", seconds(10))?;
            ensure!(refused["status"] == 401, "the browser says {refused}");
            // Nor does it call without one.
            browser.call("sip:1000@127.0.0.1")?;
            let failed = browser.wait_event("failed", seconds(10))?;
            ensure!(failed["status"] == 407, "the browser says {failed}");
            browser.quit()
        },
    );
}
