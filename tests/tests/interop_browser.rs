//! A browser and callbot over WS and WSS: the signalling of each library, and calls that carry sound and digits both ways.

use std::net::{IpAddr, SocketAddr};

use callbot_tests::prelude::*;
use callbot_tests::wav::Span;
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

/// A browser as it is shipped, on a machine with a network: its addresses are behind names, and it has none on the loopback device.
fn finds_its_way(name: &str, connects_by_loopback: bool) {
    Lab::run(name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let Some(second) = lab.second_address()? else {
            return lab.skip("no network of its own, so no second address");
        };
        let port = lab.port()?;
        let listen = format!("ws://0.0.0.0:{port}");
        let mut callbot = Callbot::serve(lab, "callbot", &["echo", "--listen", &listen])?;
        let host = match connects_by_loopback {
            true => IpAddr::from([127, 0, 0, 1]),
            false => second,
        };
        let at = SocketAddr::new(host, port);
        let mut browser = Browser::with(
            Library::JsSip,
            &format!("ws://{at}"),
            "alice",
            &host.to_string(),
        )
        .hums(SAYS.0, SAYS.1)
        .as_shipped()
        .start(lab)?;
        browser.wait_event("connected", seconds(5))?;
        browser.call(&format!("sip:bot@{at}"))?;
        browser.wait_event("established", seconds(10))?;
        browser.wait_pitch(SAYS.0, seconds(10))?;
        std::thread::sleep(seconds(2));
        check_statistics(lab, &mut browser)?;
        let descriptions = browser.descriptions()?.to_string();
        ensure!(
            descriptions.contains(".local"),
            "the browser's addresses are not hidden: {descriptions}"
        );
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        ensure!(call.result() == "ok", "the call failed: {}", call.0);
        browser.quit()
    });
}

/// Firefox calls `callbot record` and then `callbot echo`: its tone is recorded, and it hears something.
fn firefox(library: Library) {
    let name = format!("firefox-{}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Firefox], move |lab| {
        if lab.second_address()?.is_none() {
            return lab.skip("no network of its own, so no second address");
        }
        let out = lab.text("heard.wav");
        let record = ["record", "--no-beep", "--silence", "0", "--out", &out];
        let (_recorder, recorder, _) = serve(lab, "ws", &record)?;
        let (mut callbot, at, server) = serve(lab, "wss", &["echo"])?;
        for (bot, server) in [(recorder, format!("ws://{recorder}")), (at, server)] {
            let mut browser = Browser::with(library, &server, "alice", "127.0.0.1")
                .hums(SAYS.0, SAYS.1)
                .firefox()
                .start(lab)?;
            browser.wait_event("connected", seconds(5))?;
            browser.call(&format!("sip:bot@{bot}"))?;
            browser.wait_event("established", seconds(10))?;
            std::thread::sleep(seconds(5));
            let all = browser.statistics()?;
            lab.say(all[0].to_string());
            ensure!(
                all[0]["connection"] == "connected" && all[0]["received"].as_u64() > Some(150),
                "too little came: {all:?}"
            );
            let level = all[0]["level"].as_f64().unwrap_or_default();
            ensure!(
                bot != at || level > 0.02,
                "the echo is not heard: {}",
                all[0]
            );
            if bot == at {
                browser.press("1#", false)?;
                std::thread::sleep(seconds(3));
            }
            browser.hang_up()?;
            browser.wait_event("ended", seconds(5))?;
            browser.quit()?;
        }
        let call = callbot.wait_call(seconds(5))?;
        lab.say(&call.0);
        ensure!(
            call.result() == "ok" && call.digits() == "1#",
            "the call failed, or 1# was not heard: {}",
            call.0
        );
        let tone = Sound::read(&lab.path("heard.wav"))?.find_tone(SAYS.0)?;
        lab.say(format!("recorded: {tone}"));
        ensure!(
            tone.gap <= 5.0
                && (tone.frequency / SAYS.0 - 1.0).abs() < 0.01
                && (-30.0..-6.0).contains(&tone.level)
                && tone.span.length() > 3500.0,
            "Firefox says {} Hz, but recorded was {tone}",
            SAYS.0
        );
        Ok(())
    });
}

/// The page hears keys that the bot presses, as the tones that a browser makes of RFC 4733 events.
fn hears_keys(library: Library) {
    let name = format!("browser-keys-{}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let bot = ["answer", "--dtmf", "WW5WW#", "--hangup-after", "7"];
        let (mut callbot, mut browser, _) = calls(lab, library, "ws", &bot)?;
        std::thread::sleep(seconds(5));
        let pitches = browser.pitches(7)?;
        lab.say(format!("{pitches:?}"));
        // Of the two tones of a key the louder one is told; digits last 100 ms.
        let near = |hertz: f64| pitches.iter().position(|p| (p / hertz - 1.0).abs() < 0.02);
        let five = near(770.0).or_else(|| near(1336.0));
        let hash = near(941.0).or_else(|| near(1477.0));
        ensure!(
            five.is_some() && five < hash,
            "5 and # were pressed, but the page heard {pitches:?}"
        );
        callbot.wait_call(seconds(10))?;
        browser.quit()
    });
}

/// Another ICE session in the middle of a call: other credentials, the same keys, and the sound goes on.
fn restarts(library: Library) {
    let name = format!("browser-restart-{}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let (mut callbot, mut browser, _) = calls(lab, library, "ws", &["echo"])?;
        browser.wait_pitch(SAYS.0, seconds(10))?;
        let ufrag = |descriptions: &Value| {
            let text = descriptions[0]["remote"].as_str().unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("a=ice-ufrag:"));
            line.map(str::to_owned)
        };
        let before = ufrag(&browser.descriptions()?);
        browser.restart_ice()?;
        let after = ufrag(&browser.descriptions()?);
        ensure!(
            before.is_some() && before != after,
            "ICE was not restarted: {before:?}, {after:?}"
        );
        std::thread::sleep(seconds(6));
        browser.wait_pitch(SAYS.0, seconds(1))?;
        // The page changes over to its new address at once; what it sends before a check came from there is refused.
        let all = browser.statistics()?;
        ensure!(
            all[0]["lost"].as_f64().is_some_and(|lost| lost <= 10.0),
            "more than 200 ms were lost: {all:?}"
        );
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        lab.say(&call.0);
        ensure!(
            call.result() == "ok" && call.loss().is_some_and(|loss| loss < 3.0),
            "the call failed: {}",
            call.0
        );
        browser.quit()
    });
}

/// What a bot that calls plays to the page: its frequency in Hz and its level in dBov.
const PLAYS: (f64, f64) = (600.0, -18.0);

/// Kamailio on all transports.
fn kamailio(lab: &Lab, switches: &[&str]) -> Result<Kamailio> {
    let authority = Authority::new("the test's authority")?;
    let files = authority.server(lab.folder(), "kamailio", &["127.0.0.1"], Validity::Current)?;
    Kamailio::start_secure(lab, Digest::Md5, &files, switches)
}

/// callbot calls a browser that registered with Kamailio by WSS: over WS, where it offers what browsers take by itself, or over
/// UDP, where it is told to. Both hear each other, and the browser hears the keys by INFO, as nobody offers events there.
fn is_called(library: Library, transport: &'static str) {
    let name = format!("browser-called-{}-{transport}", library.name());
    let peers = [Peer::Callbot, Peer::Browser, Peer::KamailioSecure];
    Lab::run(&name, &peers, move |lab| {
        let kamailio = kamailio(lab, &["NO_EVENTS"])?;
        let server = format!("wss://{}", kamailio.address_of("wss"));
        let mut browser = Browser::with(library, &server, "alice", "127.0.0.1")
            .registers("pw-alice")
            .hums(SAYS.0, SAYS.1)
            .start(lab)?;
        browser.wait_event("registered", seconds(10))?;
        kamailio.wait_registered("alice", true, seconds(5))?;
        Sound::silence(0)
            .tone(PLAYS.0, PLAYS.1, 2000)
            .write(&lab.path("tone.wav"))?;
        let callee = format!("sip:alice@{}", kamailio.address());
        let proxy = format!(
            "sip:{};transport={transport}",
            kamailio.address_of(transport)
        );
        let listen = format!("udp://127.0.0.1:{}", lab.port()?);
        let (tone, tape) = (lab.text("tone.wav"), lab.text("tape.wav"));
        let mut arguments = vec![
            "dial", &callee, "--proxy", &proxy, "--play", &tone, "--loop", "--record", &tape,
            "--stereo",
        ];
        arguments.extend(["--dtmf", "WWWW159#", "--duration", "9"]);
        if transport == "udp" {
            arguments.extend(["--listen", &listen, "--webrtc"]);
        }
        let mut callbot = Callbot::start(lab, "callbot", &arguments, &[])?;
        browser.wait_event("established", seconds(10))?;
        let pitch = browser.wait_pitch(PLAYS.0, seconds(5))?;
        lab.say(format!("the page hears {pitch} Hz"));
        check_later(lab, &mut browser)?;
        let call = callbot.wait_call(seconds(15))?;
        lab.say(&call.0);
        ensure!(call.result() == "ok", "the call failed: {}", call.0);
        browser.wait_event("ended", seconds(5))?;
        // sipML5 answers INFO, and tells nobody.
        ensure!(
            library == Library::SipMl || browser.digits() == "159#",
            "pressed 159#, the page heard {}",
            browser.digits()
        );
        let recorded = Sound::read(&lab.path("tape.wav"))?.channel(0);
        let tone = recorded.find_tone(SAYS.0)?;
        lab.say(format!("recorded: {tone}"));
        ensure!(
            tone.gap <= 5.0 && (tone.level - SAYS.1).abs() < 1.5,
            "the page said {SAYS:?}, but recorded was {tone}"
        );
        browser.quit()
    });
}

/// The same after some time, for enough packets to count.
fn check_later(lab: &Lab, browser: &mut Browser) -> Result<()> {
    std::thread::sleep(seconds(2));
    check_statistics(lab, browser)
}

/// A browser calls a bot through Kamailio, where the bot is registered by UDP and knows nothing of WebSockets.
fn calls_through_kamailio(library: Library) {
    let name = format!("browser-kamailio-{}", library.name());
    let peers = [Peer::Callbot, Peer::Browser, Peer::KamailioSecure];
    Lab::run(&name, &peers, move |lab| {
        let kamailio = kamailio(lab, &[])?;
        let account = format!("sip:bot@{}", kamailio.address());
        let listen = format!("udp://127.0.0.1:{}", lab.port()?);
        let arguments = [
            "echo",
            "--listen",
            &listen,
            "--register",
            &account,
            "--password-env",
            "CALLBOT_TEST_PASSWORD",
        ];
        let password = [("CALLBOT_TEST_PASSWORD", "pw-bot")];
        let mut callbot = Callbot::start(lab, "callbot", &arguments, &password)?;
        callbot.ready()?;
        kamailio.wait_registered("bot", true, seconds(5))?;
        let server = format!("wss://{}", kamailio.address_of("wss"));
        let mut browser = Browser::with(library, &server, "alice", "127.0.0.1")
            .registers("pw-alice")
            .hums(SAYS.0, SAYS.1)
            .start(lab)?;
        browser.wait_event("registered", seconds(10))?;
        browser.call(&format!("sip:bot@{}", kamailio.address()))?;
        browser.wait_event("established", seconds(10))?;
        browser.wait_pitch(SAYS.0, seconds(10))?;
        check_later(lab, &mut browser)?;
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        ensure!(call.result() == "ok", "the call failed: {}", call.0);
        browser.quit()
    });
}

/// `callbot gateway` between a browser and baresip, which speaks plain RTP: sound both ways, keys from the page.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_reaches_baresip_by_the_gateway() {
    let peers = [Peer::Callbot, Peer::Browser, Peer::Baresip];
    Lab::run("browser-gateway", &peers, |lab| {
        let file = lab.path("baresip-plays.wav");
        Sound::silence(0)
            .tone(PLAYS.0, PLAYS.1, 30_000)
            .write(&file)?;
        let mut callee = Baresip::named("callee", Source::File(file))
            .codec("pcmu")
            .answering()
            .start(lab)?;
        let listen = format!("udp://127.0.0.1:{}", lab.port()?);
        let bot = ["gateway", "--to", &callee.uri(), "--listen", &listen];
        let (mut callbot, mut browser, _) = calls(lab, Library::JsSip, "ws", &bot)?;
        callee.wait_event("CALL_ESTABLISHED", seconds(5))?;
        browser.wait_pitch(PLAYS.0, seconds(10))?;
        std::thread::sleep(seconds(4));
        browser.press("27#", false)?;
        std::thread::sleep(seconds(5));
        check_statistics(lab, &mut browser)?;
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        lab.say(&call.0);
        callee.wait_event("CALL_CLOSED", seconds(5))?;
        ensure!(
            callee.digits() == "27#",
            "pressed 27#, heard {}",
            callee.digits()
        );
        callee.quit()?;
        let heard = Sound::read(&callee.heard()?)?;
        let first = heard.spans(150.0).into_iter().next();
        let begin = first.context("baresip heard nothing")?.begin + 500.0;
        // While a key is down the page says nothing else.
        let tone = heard.measure(Span {
            begin,
            end: begin + 3000.0,
        });
        lab.say(format!("baresip heard {tone}"));
        ensure!(
            tone.gap <= 5.0
                && (tone.frequency / SAYS.0 - 1.0).abs() < 0.01
                && (tone.level - SAYS.1).abs() < 1.5,
            "the page said {SAYS:?}, baresip heard {tone}"
        );
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

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_browser_as_shipped_finds_a_bot_on_its_machine() {
    finds_its_way("browser-shipped-loopback", true);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_browser_as_shipped_finds_a_bot_by_the_network() {
    finds_its_way("browser-shipped-network", false);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_hears_the_bots_keys() {
    hears_keys(Library::JsSip);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_restarts_ice() {
    restarts(Library::JsSip);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_restarts_ice() {
    restarts(Library::SipJs);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_called_by_a_bot_over_ws() {
    is_called(Library::JsSip, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_called_by_a_bot_over_udp() {
    is_called(Library::JsSip, "udp");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_is_called_by_a_bot_over_ws() {
    is_called(Library::SipJs, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_is_called_by_a_bot_over_ws() {
    is_called(Library::SipMl, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_calls_a_bot_through_kamailio() {
    calls_through_kamailio(Library::JsSip);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_calls_a_bot_through_kamailio() {
    calls_through_kamailio(Library::SipJs);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_calls_a_bot_through_kamailio() {
    calls_through_kamailio(Library::SipMl);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_in_firefox() {
    firefox(Library::JsSip);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_in_firefox() {
    firefox(Library::SipJs);
}
