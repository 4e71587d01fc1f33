//! callbot registers with Kamailio, is called through it, and takes its registration back at the end.

use std::net::SocketAddr;

use callbot_tests::prelude::*;

fn registers(name: &str, digest: Digest, scheme: &'static str) {
    Lab::run(
        name,
        &[Peer::Callbot, Peer::Kamailio, Peer::Baresip],
        move |lab| {
            // Calls are not challenged: baresip 1.0 cannot answer SHA-256.
            let kamailio = Kamailio::start(lab, digest, &[])?;
            let own = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
            let (listen, account) = (
                format!("{scheme}://{own}"),
                format!("sip:u@{};transport={scheme}", kamailio.address()),
            );
            let arguments = [
                "echo",
                "--listen",
                &listen,
                "--register",
                &account,
                "--password-env",
                "CALLBOT_TEST_PASSWORD",
            ];
            let mut callbot = Callbot::start(
                lab,
                "callbot",
                &arguments,
                &[("CALLBOT_TEST_PASSWORD", "pw-u")],
            )?;
            callbot.ready()?;
            kamailio.wait_registered("u", true, seconds(5))?;

            Sound::silence(500)
                .tone(440.0, -20.0, 2000)
                .pause(20_000)
                .write(&lab.path("tone.wav"))?;
            let mut baresip =
                Baresip::named("caller", Source::File(lab.path("tone.wav"))).start(lab)?;
            baresip.dial(&format!("sip:u@{}", kamailio.address()))?;
            std::thread::sleep(Duration::from_millis(4000));
            baresip.hang_up()?;
            callbot.wait_call(seconds(5))?;
            baresip.quit()?;
            let tone = Sound::read(&baresip.heard()?)?.find_tone(440.0)?;
            lab.say(format!("{digest:?}: baresip heard its own {tone}"));
            tone.check(440.0, -20.0, 2000.0)?;

            let status = callbot.terminate(seconds(10))?;
            ensure!(status.success(), "callbot ended with {status}");
            ensure!(
                kamailio.registered("u").is_none(),
                "callbot left its registration behind:\n{}",
                kamailio.log()
            );
            Ok(())
        },
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn registers_with_md5() {
    registers("kamailio-md5", Digest::Md5, "udp");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn registers_with_sha_256() {
    registers("kamailio-sha256", Digest::Sha256, "udp");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn registers_over_tcp() {
    registers("kamailio-tcp", Digest::Sha256, "tcp");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_wrong_password_registers_nobody() {
    Lab::run(
        "kamailio-wrong-password",
        &[Peer::Callbot, Peer::Kamailio],
        |lab| {
            let kamailio = Kamailio::start(lab, Digest::Sha256, &[])?;
            let (listen, account) = (
                format!("udp://127.0.0.1:{}", lab.port()?),
                format!("sip:u@{}", kamailio.address()),
            );
            let arguments = [
                "echo",
                "--listen",
                &listen,
                "--register",
                &account,
                "--password-env",
                "CALLBOT_TEST_PASSWORD",
            ];
            let mut callbot = Callbot::start(
                lab,
                "callbot",
                &arguments,
                &[("CALLBOT_TEST_PASSWORD", "wrong")],
            )?;
            callbot.ready()?;
            callbot.process().wait_until(
                "complaint about the registration",
                seconds(10),
                |_, err| {
                    let err = err.to_lowercase();
                    err.contains("regist")
                        && (err.contains("401")
                            || err.contains("403")
                            || err.contains("password")
                            || err.contains("refused"))
                },
            )?;
            ensure!(
                kamailio.registered("u").is_none(),
                "the registrar took a wrong password"
            );
            Ok(())
        },
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_dialled_call_answers_the_proxys_challenge() {
    Lab::run(
        "kamailio-407",
        &[Peer::Callbot, Peer::Kamailio, Peer::Baresip],
        |lab| {
            let kamailio = Kamailio::start(lab, Digest::Md5, &["CHALLENGE_CALLS"])?;
            let account = format!(
                ";regint=60;auth_user=bob;auth_pass=pw-bob;outbound=\"sip:{}\"",
                kamailio.address()
            );
            let bob = Baresip::named("bob", Source::Echo)
                .account(&account)
                .registrar(kamailio.address())
                .answering();
            let mut baresip = bob.start(lab)?;
            kamailio.wait_registered("bob", true, seconds(5))?;
            let (callee, own) = (
                format!("sip:bob@{}", kamailio.address()),
                format!("sip:alice@{}", kamailio.address()),
            );
            let listen = format!("udp://127.0.0.1:{}", lab.port()?);
            let arguments = [
                "dial",
                &callee,
                "--register",
                &own,
                "--password-env",
                "CALLBOT_TEST_PASSWORD",
                "--duration",
                "2",
                "--listen",
                &listen,
            ];
            let mut callbot = Callbot::start(
                lab,
                "callbot",
                &arguments,
                &[("CALLBOT_TEST_PASSWORD", "pw-alice")],
            )?;
            let status = callbot.process().wait(seconds(20))?;
            ensure!(
                status.success(),
                "callbot ended with {status}: {:?}",
                callbot.calls()
            );
            ensure!(
                kamailio.registered("alice").is_none(),
                "callbot left its registration behind"
            );
            baresip.wait_event("CALL_CLOSED", seconds(5))?;
            baresip.quit()
        },
    );
}

/// callbot registers over this transport, is called through the registrar, and calls somebody by the same way. By WebSocket it
/// listens nowhere: calls come by the connection that it registered over.
fn registers_and_calls(transport: &'static str) {
    let peers = [Peer::Callbot, Peer::KamailioSecure, Peer::Baresip];
    Lab::run(&format!("kamailio-{transport}"), &peers, move |lab| {
        let authority = Authority::new("the test's authority")?;
        let names = ["127.0.0.1"];
        let files = authority.server(lab.folder(), "kamailio", &names, Validity::Current)?;
        let ca = authority.write(&lab.path("ca.pem"))?.display().to_string();
        let kamailio = Kamailio::start_secure(lab, Digest::Md5, &files, &["CHALLENGE_CALLS"])?;
        let domain = kamailio.address();
        let registrar = format!(
            "sip:{};transport={transport}",
            kamailio.address_of(transport)
        );
        let account = format!("sip:u@{domain}");
        let password = [("CALLBOT_TEST_PASSWORD", "pw-u")];
        let listen = match transport {
            "tls" => format!("tls://127.0.0.1:{}", lab.port()?),
            _ => "none".to_owned(),
        };
        let own = [
            "--listen",
            &listen,
            "--register",
            &account,
            "--registrar",
            &registrar,
            "--password-env",
            "CALLBOT_TEST_PASSWORD",
            "--ca",
            &ca,
        ];
        let mut arguments = vec!["echo"];
        arguments.extend(own);
        let mut callbot = Callbot::start(lab, "callbot", &arguments, &password)?;
        kamailio.wait_registered("u", true, seconds(5))?;
        let contact = kamailio.registered("u").unwrap_or_default();
        ensure!(
            contact.contains(".invalid") == (listen == "none"),
            "registered as {contact}"
        );

        // In: baresip calls by UDP, and hangs up.
        Sound::silence(500)
            .tone(440.0, -20.0, 2000)
            .pause(20_000)
            .write(&lab.path("tone.wav"))?;
        let parameters =
            format!(";regint=60;auth_user=bob;auth_pass=pw-bob;outbound=\"sip:{domain}\"");
        // What callbot offers over each: keys in the body, or by DTLS.
        let encryption = match transport {
            "tls" => "srtp",
            _ => "dtls_srtp",
        };
        let mut bob = Baresip::named("bob", Source::File(lab.path("tone.wav")))
            .account(&parameters)
            .encryption(encryption)
            .registrar(domain)
            .answering()
            .start(lab)?;
        kamailio.wait_registered("bob", true, seconds(5))?;
        bob.dial(&format!("sip:u@{domain}"))?;
        std::thread::sleep(Duration::from_millis(4000));
        bob.hang_up()?;
        callbot.wait_call(seconds(5))?;
        let tone = Sound::read(&bob.heard()?)?.find_tone(440.0)?;
        lab.say(format!("{transport}: baresip heard its own {tone}"));
        tone.check(440.0, -20.0, 2000.0)?;
        let status = callbot.terminate(seconds(10))?;
        ensure!(status.success(), "callbot ended with {status}");
        ensure!(
            kamailio.registered("u").is_none(),
            "callbot left its registration behind"
        );

        // Out: through the registrar, over the same kind of connection.
        let callee = format!("sip:bob@{domain}");
        let mut arguments = vec!["dial", &callee, "--proxy", &registrar, "--duration", "2"];
        arguments.extend(own);
        let mut caller = Callbot::start(lab, "caller", &arguments, &password)?;
        let status = caller.process().wait(seconds(20))?;
        ensure!(
            status.success(),
            "callbot ended with {status}: {:?}",
            caller.calls()
        );
        bob.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn registers_and_calls_over_tls() {
    registers_and_calls("tls");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn registers_and_calls_over_ws() {
    registers_and_calls("ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn registers_and_calls_over_wss() {
    registers_and_calls("wss");
}
