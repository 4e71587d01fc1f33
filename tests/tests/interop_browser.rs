//! A browser and callbot over WS and WSS: the signalling of each library, and calls that carry sound and digits both ways.

use std::net::SocketAddr;

use callbot_tests::prelude::*;
use serde_json::Value;

/// callbot on a WebSocket of this kind, and what a browser writes to reach it.
fn serve(lab: &Lab, scheme: &str, bot: &[&str]) -> Result<(Callbot, SocketAddr, String)> {
    let at = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
    let listen = format!("{scheme}://{at}");
    let mut arguments = bot.to_vec();
    arguments.extend(["--listen", &listen]);
    Ok((Callbot::serve(lab, "callbot", &arguments)?, at, listen))
}

/// OPTIONS is answered, and a call that is refused is refused with the bot's own status.
fn signals(library: Library, scheme: &'static str) {
    let name = format!("browser-{}-{scheme}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let (_callbot, at, server) = serve(lab, scheme, &["answer", "--reject", "486"])?;
        let mut browser = Browser::with(library, &server, "alice", "127.0.0.1").start(lab)?;
        browser.wait_event("connected", seconds(5))?;
        if library != Library::SipMl {
            let status = browser.options(&format!("sip:bot@{at}"))?;
            ensure!(status == Some(200), "OPTIONS was answered with {status:?}");
        }
        browser.call(&format!("sip:bot@{at}"))?;
        let kind = if library == Library::SipMl {
            "ended"
        } else {
            "failed"
        };
        let refused = browser.wait_event(kind, seconds(10))?;
        lab.say(&refused);
        if library != Library::SipMl {
            ensure!(
                refused["status"] == 486 || refused["cause"] == "Busy",
                "486 was expected, but: {refused}"
            );
        }
        browser.quit()
    });
}

/// What the page says: its pitch, in hertz, and its level, in dBov.
const SAYS: (f64, f64) = (440.0, -15.0);

/// A browser that says a tone and calls callbot, which runs `bot`.
fn calls(
    lab: &Lab,
    library: Library,
    scheme: &str,
    bot: &[&str],
) -> Result<(Callbot, Browser, SocketAddr)> {
    let (callbot, at, server) = serve(lab, scheme, bot)?;
    let mut browser = Browser::with(library, &server, "alice", "127.0.0.1")
        .hums(SAYS.0, SAYS.1)
        .start(lab)?;
    browser.wait_event("connected", seconds(5))?;
    browser.call(&format!("sip:bot@{at}"))?;
    browser.wait_event("established", seconds(10))?;
    Ok((callbot, browser, at))
}

/// What the browser counts of its one call must look like a call.
fn check_statistics(lab: &Lab, browser: &mut Browser) -> Result<()> {
    let all = browser.statistics()?;
    ensure!(all.len() == 1, "one connection was expected: {all:?}");
    let figures = &all[0];
    lab.say(figures);
    ensure!(
        figures["connection"] == "connected",
        "the browser is not connected: {figures}"
    );
    let count = |name: &str| figures[name].as_f64().unwrap_or_default();
    ensure!(
        count("received") > 50.0 && count("sent") > 50.0 && count("energy") > 0.01,
        "too little came or went: {figures}"
    );
    ensure!(count("lost") < 3.0, "packets were lost: {figures}");
    Ok(())
}

/// `callbot echo` gives the page its own tone back, and the page hangs up.
fn echoes(library: Library, scheme: &'static str) {
    let name = format!("browser-echo-{}-{scheme}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let (mut callbot, mut browser, _) = calls(lab, library, scheme, &["echo"])?;
        let pitch = browser.wait_pitch(SAYS.0, seconds(10))?;
        lab.say(format!("the page hears {pitch} Hz"));
        std::thread::sleep(seconds(3));
        check_statistics(lab, &mut browser)?;
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        lab.say(&call.0);
        ensure!(call.result() == "ok", "the call failed: {}", call.0);
        browser.quit()
    });
}

/// `callbot record` hears the page's tone, at its pitch and level and without a gap.
fn records(library: Library, scheme: &'static str) {
    let name = format!("browser-record-{}-{scheme}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let out = lab.text("heard.wav");
        let bot = ["record", "--no-beep", "--silence", "0", "--out", &out];
        let (mut callbot, mut browser, _) = calls(lab, library, scheme, &bot)?;
        std::thread::sleep(seconds(6));
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        lab.say(&call.0);
        let tone = Sound::read(&lab.path("heard.wav"))?.find_tone(SAYS.0)?;
        lab.say(format!("recorded: {tone}"));
        ensure!(
            tone.gap <= 5.0
                && (tone.frequency / SAYS.0 - 1.0).abs() < 0.01
                && (tone.level - SAYS.1).abs() < 1.5
                && tone.span.length() > 4000.0,
            "the page said {SAYS:?}, but recorded was {tone}"
        );
        browser.quit()
    });
}

/// Digits from the page, by either way, are each heard once and in order; then the bot hangs up.
fn presses(library: Library, by_info: bool) {
    let way = if by_info { "info" } else { "rfc4733" };
    let name = format!("browser-digits-{}-{way}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let keys = "1590*#";
        let bot = ["answer", "--hangup-after", "14"];
        let (mut callbot, mut browser, _) = calls(lab, library, "ws", &bot)?;
        std::thread::sleep(seconds(1));
        browser.press(keys, by_info)?;
        browser.wait_event("ended", seconds(20))?;
        let call = callbot.wait_call(seconds(5))?;
        ensure!(call.digits() == keys, "pressed {keys}, heard {}", call.0);
        browser.quit()
    });
}

/// The page puts the bot on hold and takes it back; the tone is heard before and after.
fn holds(library: Library) {
    let name = format!("browser-hold-{}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        Sound::silence(0)
            .tone(600.0, -18.0, 2000)
            .write(&lab.path("tone.wav"))?;
        let tone = lab.text("tone.wav");
        let bot = ["answer", "--play", &tone, "--loop"];
        let (mut callbot, mut browser, _) = calls(lab, library, "ws", &bot)?;
        browser.wait_pitch(600.0, seconds(10))?;
        browser.hold()?;
        std::thread::sleep(seconds(3));
        let before = browser.statistics()?;
        std::thread::sleep(seconds(2));
        let after = browser.statistics()?;
        let received = |all: &[Value]| all.first().and_then(|one| one["received"].as_u64());
        ensure!(
            received(&before) == received(&after) && received(&before).is_some(),
            "packets come while the bot is held: {before:?} {after:?}"
        );
        browser.resume()?;
        std::thread::sleep(seconds(2));
        browser.wait_pitch(600.0, seconds(5))?;
        check_statistics(lab, &mut browser)?;
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        ensure!(call.result() == "ok", "the call failed: {}", call.0);
        browser.quit()
    });
}

/// A browser registers with Kamailio by WSS; callbot, by WS without a listener, makes it ring, and gives up.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_called_through_kamailio() {
    let peers = [Peer::Callbot, Peer::Browser, Peer::KamailioSecure];
    Lab::run("browser-kamailio", &peers, |lab| {
        let authority = Authority::new("the test's authority")?;
        let names = ["127.0.0.1"];
        let files = authority.server(lab.folder(), "kamailio", &names, Validity::Current)?;
        let kamailio = Kamailio::start_secure(lab, Digest::Md5, &files, &[])?;
        let server = format!("wss://{}", kamailio.address_of("wss"));
        // JsSIP wants a domain without a port, and Kamailio takes its own address for one.
        let mut browser = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1")
            .registers("pw-alice")
            .only_rings()
            .start(lab)?;
        browser.wait_event("registered", seconds(10))?;
        kamailio.wait_registered("alice", true, seconds(5))?;
        let callee = format!("sip:alice@{}", kamailio.address());
        let proxy = format!("sip:{};transport=ws", kamailio.address_of("ws"));
        let arguments = ["dial", &callee, "--proxy", &proxy, "--timeout", "3"];
        let (code, calls) = Callbot::run(lab, "callbot", &arguments, seconds(20))?;
        ensure!(code == Some(1), "callbot ended with {code:?}: {calls:?}");
        let incoming = browser.wait_event("incoming", seconds(1))?;
        let ended = browser.wait_event("failed", seconds(5))?;
        lab.say(format!("{incoming} {ended}"));
        ensure!(ended["cause"] == "Canceled", "the browser says {ended}");
        browser.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_over_ws() {
    signals(Library::JsSip, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_over_wss() {
    signals(Library::JsSip, "wss");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_over_ws() {
    signals(Library::SipJs, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_over_wss() {
    signals(Library::SipMl, "wss");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_hears_its_echo_over_ws() {
    echoes(Library::JsSip, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_hears_its_echo_over_wss() {
    echoes(Library::JsSip, "wss");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_hears_its_echo_over_ws() {
    echoes(Library::SipJs, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_hears_its_echo_over_wss() {
    echoes(Library::SipJs, "wss");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_hears_its_echo_over_ws() {
    echoes(Library::SipMl, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_hears_its_echo_over_wss() {
    echoes(Library::SipMl, "wss");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_recorded() {
    records(Library::JsSip, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_is_recorded() {
    records(Library::SipJs, "wss");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_is_recorded() {
    records(Library::SipMl, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_presses_keys_by_rfc_4733() {
    presses(Library::JsSip, false);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_presses_keys_by_info() {
    presses(Library::JsSip, true);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_presses_keys_by_rfc_4733() {
    presses(Library::SipJs, false);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_presses_keys_by_info() {
    presses(Library::SipJs, true);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_presses_keys_by_rfc_4733() {
    presses(Library::SipMl, false);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_holds_the_bot_and_takes_it_back() {
    holds(Library::JsSip);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_holds_the_bot_and_takes_it_back() {
    holds(Library::SipJs);
}
