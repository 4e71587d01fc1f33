//! Calls by way of coturn, over UDP, TCP and TLS: what is heard, what is given back, and what goes on without it.

use std::net::{SocketAddr, UdpSocket};

use callbot_tests::coturn::{PASSWORD, USER};
use callbot_tests::prelude::*;
use serde_json::json;

/// What who is called plays.
const CALLEE: (f64, f64, u32) = (440.0, -18.0, 2500);
/// What who calls plays.
const CALLER: (f64, f64, u32) = (600.0, -18.0, 2500);

fn coturn(lab: &Lab, options: &[&str]) -> Result<(Coturn, String)> {
    let authority = Authority::new("an authority for relays")?;
    let ca = authority.write(&lab.path("ca.pem"))?;
    let files = authority.server(lab.folder(), "relay", &["127.0.0.1"], Validity::Current)?;
    Ok((
        Coturn::start(lab, &files, options)?,
        ca.display().to_string(),
    ))
}

fn sound(lab: &Lab, name: &str, (hertz, level, length): (f64, f64, u32)) -> Result<String> {
    Sound::silence(700)
        .tone(hertz, level, length)
        .pause(500)
        .write(&lab.path(name))?;
    Ok(lab.text(name))
}

fn check(lab: &Lab, what: &str, (hertz, level, length): (f64, f64, u32)) -> Result<()> {
    let file = lab.path(&format!("{what}.wav"));
    callbot_tests::process::wait_for("recording", seconds(5), || file.is_file().then_some(()))?;
    let tone = Sound::read(&file)?.channel(0).find_tone(hertz)?;
    lab.say(format!("{what} heard: {tone}"));
    // How the jitter buffer takes it when four programs share a core or two is tested elsewhere; here it is the way that
    // counts, and on it nothing may get lost, spoilt or doubled.
    ensure!(
        (tone.frequency / hertz - 1.0).abs() < 0.01
            && (tone.level - level).abs() < 1.0
            && (tone.span.length() - f64::from(length)).abs() < 250.0
            && tone.gap <= 80.0,
        "{what}: {hertz} Hz were to be heard for {length} ms at {level} dBov, heard was {tone}"
    );
    Ok(())
}

/// Two callbots call each other; the tone of each is heard by the other. Gives the caller's report and both logs.
fn call(lab: &Lab, callee: &[&str], caller: &[&str]) -> Result<(Call, String, String)> {
    let low = sound(lab, "low.wav", CALLEE)?;
    let high = sound(lab, "high.wav", CALLER)?;
    let files = [lab.text("callee.wav"), lab.text("caller.wav")];
    let own = format!("udp://127.0.0.1:{}", lab.port()?);
    let at = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
    let (uri, listen) = (format!("sip:bot@{at}"), format!("udp://{at}"));
    let mut arguments = vec!["answer", "--play", &low, "--listen", &listen];
    arguments.extend(["--record", &files[0], "--stereo"]);
    arguments.extend(callee);
    let mut bot = Callbot::serve(lab, "callee", &arguments)?;
    let mut arguments = vec!["dial", &uri, "--webrtc", "--play", &high, "--listen", &own];
    arguments.extend(["--record", &files[1], "--stereo", "--duration", "6"]);
    arguments.extend(caller);
    let mut dial = Callbot::start(lab, "caller", &arguments, &[])?;
    let report = dial.wait_call(seconds(20))?;
    lab.say(&report.0);
    ensure!(
        report.result() == "ok",
        "the call failed: {}\n{}",
        report.0,
        dial.process().stderr()
    );
    let answered = bot.wait_call(seconds(5))?;
    ensure!(
        report.loss() == Some(0.0),
        "packets were lost: {}",
        report.0
    );
    ensure!(
        answered.loss() == Some(0.0),
        "packets were lost: {}",
        answered.0
    );
    check(lab, "callee", CALLER)?;
    check(lab, "caller", CALLEE)?;
    let logs = (bot.process().stderr(), dial.process().stderr());
    Ok((report, logs.0, logs.1))
}

/// A call whose sides are reached by relays alone, by the transports that are named; an empty one is reached directly.
fn relayed(name: &str, callee: &'static str, caller: &'static str) {
    Lab::run(name, &[Peer::Callbot, Peer::Coturn], move |lab| {
        let (mut coturn, ca) = coturn(lab, &[])?;
        let uris = [callee, caller].map(|transport| coturn.uri(transport));
        let flags = |transport: &str, uri| match transport {
            "" => Vec::new(),
            _ => vec!["--ice-server", uri, "--ice-relay-only", "--ca", &ca],
        };
        call(lab, &flags(callee, &uris[0]), &flags(caller, &uris[1]))?;
        let relays = [callee, caller].iter().filter(|t| !t.is_empty()).count();
        // Each is given back at once, and not left until it expires.
        coturn.wait_log("lifetime=0", relays, seconds(3))?;
        let granted = coturn.count("ALLOCATE processed, success");
        let channels = coturn.count("CHANNEL_BIND processed, success");
        ensure!(
            granted == relays && channels >= relays,
            "{relays} relays were to be used; coturn granted {granted} and bound {channels} channels"
        );
        Ok(())
    });
}

/// A call whose caller has a server that is of no use; it must be the one line in the log that tells `cause`.
fn goes_on_without(
    name: &str,
    options: &'static [&'static str],
    cause: &'static str,
    server: fn(&Coturn) -> String,
) {
    Lab::run(name, &[Peer::Callbot, Peer::Coturn], move |lab| {
        let (coturn, _) = coturn(lab, options)?;
        let uri = server(&coturn);
        let stun = format!("stun:{}", coturn.address());
        let (_, _, log) = call(lab, &["--ice-server", &stun], &["--ice-server", &uri])?;
        let lines: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        lab.say(format!("{lines:?}"));
        ensure!(
            lines.len() == 1 && lines[0].contains(cause) && !log.contains("letmein"),
            "one line with `{cause}` was expected:\n{log}"
        );

        // Where only relays are told, that is the end of the call.
        let at = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
        let nobody = UdpSocket::bind(at)?;
        let target = format!("sip:bot@{at}");
        let own = format!("udp://127.0.0.1:{}", lab.port()?);
        let arguments = [
            "dial",
            &target,
            "--listen",
            &own,
            "--ice-relay-only",
            "--ice-server",
            &uri,
        ];
        let (code, calls) = Callbot::run(lab, "alone", &arguments, seconds(10))?;
        let reason = calls.first().and_then(|call| call.0["reason"].as_str());
        ensure!(
            code == Some(1) && reason.is_some_and(|reason| reason.contains(cause)),
            "it ended with {code:?}: {calls:?}"
        );
        nobody.set_nonblocking(true)?;
        ensure!(
            nobody.recv(&mut [0; 2000]).is_err(),
            "it called all the same"
        );
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn both_by_relay_over_udp() {
    relayed("turn-udp-udp", "udp", "udp");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn both_by_relay_over_tcp_and_tls() {
    relayed("turn-tcp-tls", "tcp", "tls");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn the_caller_alone_by_relay_over_tls() {
    relayed("turn-none-tls", "", "tls");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn the_callee_alone_by_relay_over_udp() {
    relayed("turn-udp-none", "udp", "");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_wrong_password_costs_a_line() {
    goes_on_without("turn-password", &[], "401 Unauthorized", |coturn| {
        format!("turn:caller:wrong@{}", coturn.address())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_server_that_is_not_there_costs_a_line() {
    // The discard port: nothing listens there in a network of one's own.
    goes_on_without("turn-gone", &[], "nothing listens there", |_| {
        "turn:caller:letmein@127.0.0.1:9?transport=tcp".to_owned()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn an_allocation_that_is_refused_costs_a_line() {
    goes_on_without(
        "turn-full",
        &[
            "--total-quota=1",
            "--user-quota=1",
            "--max-bps=0",
            "--no-udp-relay",
        ],
        "442",
        |coturn| coturn.uri("udp"),
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_certificate_that_is_not_believed_costs_a_line() {
    goes_on_without("turn-certificate", &[], "certificate", |coturn| {
        coturn.uri("tls")
    });
}

/// What the page says: its pitch, in hertz, and its level, in dBov.
const PAGE: (f64, f64) = (500.0, -15.0);

/// A browser calls `callbot echo` and hears itself; either side, or both, are reached by relay alone.
fn browser(name: &str, page: &'static str, bot: &'static str) {
    Lab::run(
        name,
        &[Peer::Callbot, Peer::Coturn, Peer::Browser],
        move |lab| {
            let (mut coturn, ca) = coturn(lab, &[])?;
            let uri = coturn.uri(bot);
            let at = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
            let listen = format!("ws://{at}");
            let mut arguments = vec!["echo", "--listen", &listen];
            if !bot.is_empty() {
                arguments.extend(["--ice-server", &uri, "--ice-relay-only", "--ca", &ca]);
            }
            let mut callbot = Callbot::serve(lab, "callbot", &arguments)?;
            let mut options =
                Browser::with(Library::JsSip, &listen, "alice", "127.0.0.1").hums(PAGE.0, PAGE.1);
            if !page.is_empty() {
                let url = format!("turn:{}?transport={page}", coturn.address());
                let server = json!({ "urls": url, "username": USER, "credential": PASSWORD });
                options = options.ice(json!([server]), true);
            }
            let mut browser = options.start(lab)?;
            browser.wait_event("connected", seconds(5))?;
            browser.call(&format!("sip:bot@{at}"))?;
            browser.wait_event("established", seconds(15))?;
            let pitch = browser.wait_pitch(PAGE.0, seconds(15))?;
            lab.say(format!("the page hears {pitch} Hz"));
            std::thread::sleep(seconds(2));
            let statistics = browser.statistics()?;
            lab.say(format!("{statistics:?}"));
            browser.hang_up()?;
            let call = callbot.wait_call(seconds(5))?;
            lab.say(&call.0);
            ensure!(call.result() == "ok", "the call failed: {}", call.0);
            let relays = [page, bot].iter().filter(|t| !t.is_empty()).count();
            coturn.wait_log("CHANNEL_BIND processed, success", relays, seconds(3))?;
            browser.quit()
        },
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_browser_by_relay_hears_its_echo() {
    browser("turn-browser-udp", "udp", "");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_browser_hears_its_echo_from_a_bot_by_relay() {
    browser("turn-browser-bot", "", "tls");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_browser_and_a_bot_both_by_relay() {
    browser("turn-browser-both", "tcp", "udp");
}

/// callbot, reached by relay alone, calls a browser that registered with Kamailio; the page hears it.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_bot_by_relay_calls_a_browser() {
    let peers = [
        Peer::Callbot,
        Peer::Coturn,
        Peer::Browser,
        Peer::KamailioSecure,
    ];
    Lab::run("turn-calls-browser", &peers, |lab| {
        let (coturn, _) = coturn(lab, &[])?;
        let authority = Authority::new("an authority for proxies")?;
        let files = authority.server(lab.folder(), "proxy", &["127.0.0.1"], Validity::Current)?;
        let kamailio = Kamailio::start_secure(lab, Digest::Md5, &files, &[])?;
        let server = format!("wss://{}", kamailio.address_of("wss"));
        let mut browser = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1")
            .registers("pw-alice")
            .hums(PAGE.0, PAGE.1)
            .start(lab)?;
        browser.wait_event("registered", seconds(10))?;
        kamailio.wait_registered("alice", true, seconds(5))?;
        let callee = format!("sip:alice@{}", kamailio.address());
        let play = sound(lab, "high.wav", CALLER)?;
        let (tape, uri) = (lab.text("bot.wav"), coturn.uri("udp"));
        let own = format!("udp://127.0.0.1:{}", lab.port()?);
        let mut arguments = vec!["dial", &callee, "--listen", &own, "--play", &play, "--loop"];
        arguments.extend(["--record", &tape, "--stereo", "--duration", "7"]);
        arguments.extend(["--ice-server", &uri, "--ice-relay-only"]);
        let mut callbot = Callbot::start(lab, "callbot", &arguments, &[])?;
        browser.wait_event("established", seconds(10))?;
        browser.wait_pitch(CALLER.0, seconds(6))?;
        let call = callbot.wait_call(seconds(15))?;
        lab.say(&call.0);
        ensure!(call.result() == "ok", "the call failed: {}", call.0);
        let tone = Sound::read(&lab.path("bot.wav"))?
            .channel(0)
            .find_tone(PAGE.0)?;
        lab.say(format!("the bot heard: {tone}"));
        ensure!(
            (tone.frequency / PAGE.0 - 1.0).abs() < 0.01 && (tone.level - PAGE.1).abs() < 1.5,
            "the page said {PAGE:?}, but recorded was {tone}"
        );
        ensure!(
            coturn.count("CHANNEL_BIND processed, success") > 0,
            "the relay was not used"
        );
        browser.quit()
    });
}

/// Who answers and may tell relays alone, but has none, refuses the call; and the password may come from the environment.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn who_is_called_without_a_relay_refuses() {
    Lab::run("turn-refuses", &[Peer::Callbot, Peer::Coturn], |lab| {
        let (coturn, _) = coturn(lab, &[])?;
        let at = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
        let (listen, target) = (format!("udp://{at}"), format!("sip:bot@{at}"));
        let server = format!("turn:caller@{}", coturn.address());
        let flags = [
            "--ice-server",
            &server,
            "--ice-relay-only",
            "--ice-password-env",
        ];
        let mut serve = vec!["echo", "--listen", &listen];
        serve.extend(flags);
        serve.push("RELAY_PASSWORD");
        let wrong = [("RELAY_PASSWORD", "wrong")];
        let mut bot = Callbot::start(lab, "bot", &serve, &wrong)?;
        bot.ready()?;
        let own = format!("udp://127.0.0.1:{}", lab.port()?);
        let dial = [
            "dial",
            &target,
            "--webrtc",
            "--listen",
            &own,
            "--duration",
            "1",
        ];
        let (code, calls) = Callbot::run(lab, "refused", &dial, seconds(10))?;
        ensure!(code == Some(1), "it was not refused: {calls:?}");
        let call = bot.wait_call(seconds(5))?;
        lab.say(&call.0);
        bot.terminate(seconds(5))?;

        let right = [("RELAY_PASSWORD", "letmein")];
        let mut bot = Callbot::start(lab, "bot", &serve, &right)?;
        bot.ready()?;
        let (code, calls) = Callbot::run(lab, "taken", &dial, seconds(10))?;
        ensure!(code == Some(0), "it was refused: {calls:?}");
        // Without ICE media would go past the relay.
        let plain = ["dial", &target, "--listen", &own, "--duration", "1"];
        let (code, calls) = Callbot::run(lab, "plain", &plain, seconds(10))?;
        ensure!(code == Some(1), "it was taken without ICE: {calls:?}");
        ensure!(
            calls.iter().all(|call| call.0["reason"]
                .as_str()
                .is_some_and(|why| why.contains("488"))),
            "488 was expected: {calls:?}"
        );
        bot.terminate(seconds(5))?;
        Ok(())
    });
}
