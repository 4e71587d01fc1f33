//! Calls by way of coturn, over UDP, TCP and TLS: what is heard, what is given back, and what goes on without it.

use std::net::{SocketAddr, UdpSocket};

use callbot_tests::prelude::*;

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
    tone.check(hertz, level, f64::from(length))
        .with_context(|| what.to_owned())
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
    // Two ports, of which coturn keeps one: no room for an allocation.
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
