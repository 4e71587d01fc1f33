//! All sixteen keys, each once and in order, by every way that a peer may send or take them.

use callbot_tests::events::{Ends, KEYS, Press, presses, write};
use callbot_tests::prelude::*;

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_from_baresip_by_rfc_4733() {
    Lab::run("digits-baresip", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (mut callbot, address) = Callbot::serve_at(lab, &["answer"])?;
        Sound::silence(30_000).write(&lab.path("silence.wav"))?;
        let mut baresip =
            Baresip::named("caller", Source::File(lab.path("silence.wav"))).start(lab)?;
        baresip.dial(&format!("sip:answer@{address}"))?;
        std::thread::sleep(Duration::from_millis(300));
        baresip.press(KEYS)?;
        std::thread::sleep(seconds(5));
        baresip.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        lab.say(call.digits());
        ensure!(call.digits() == KEYS, "pressed {KEYS}, reported {}", call.0);
        Ok(())
    });
}

fn by_info(name: &str, scenario: fn(Scenario) -> Scenario) {
    Lab::run(name, &[Peer::Callbot, Peer::Sipp], move |lab| {
        let (mut callbot, address) = Callbot::serve_at(lab, &["answer"])?;
        let begun = scenario(Scenario::caller("info")).pause(300);
        let pressed = KEYS
            .chars()
            .fold(begun, |s, key| s.info(key, 160).pause(20));
        let got = Sipp::caller(address, &pressed.pause(300).write(lab)?)
            .calls(1)
            .run(lab, seconds(20))?;
        ensure!(got.successful == 1, "{got}");
        let call = callbot.wait_call(seconds(5))?;
        lab.say(call.digits());
        ensure!(call.digits() == KEYS, "pressed {KEYS}, reported {}", call.0);
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_from_sipp_by_info() {
    by_info("digits-info", Scenario::without_events);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_from_sipp_by_info_though_events_were_negotiated() {
    by_info("digits-info-both", |scenario| scenario);
}

/// One stream of events: its name, the presses, and the keys that must be reported.
struct Case {
    name: &'static str,
    presses: Vec<Press>,
    keys: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |name, keys, tone, gap, ends| Case {
        name,
        presses: presses(keys, tone, gap, ends),
        keys,
    };
    let repeated = "1100##DD";
    let mut mixed: Vec<Press> = Vec::new();
    for (n, key) in KEYS.chars().enumerate() {
        let ends = [Ends::All, Ends::None, Ends::Doubled, Ends::Last][n % 4];
        mixed.push(Press {
            key,
            tone: [40, 100, 2000, 60][n / 4],
            gap: [40, 200][n % 2],
            ends,
        });
    }
    vec![
        case("short", KEYS, 40, 60, Ends::All),
        case("short-doubled", KEYS, 40, 40, Ends::Doubled),
        case("short-one-end", KEYS, 40, 60, Ends::Last),
        case("long", KEYS, 2000, 100, Ends::All),
        case("long-doubled", "05#D", 2000, 100, Ends::Doubled),
        case("long-no-end", "05#D", 2000, 200, Ends::None),
        case("no-end", KEYS, 100, 100, Ends::None),
        case("same-key", repeated, 80, 60, Ends::All),
        case("same-key-no-end", repeated, 80, 100, Ends::None),
        case("same-key-doubled", repeated, 40, 40, Ends::Doubled),
        Case {
            name: "mixed",
            presses: mixed,
            keys: KEYS,
        },
    ]
}

/// All streams play at the same time, each in a call of its own: the test lasts as long as the longest.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_from_sipp_by_rfc_4733_short_long_doubled_and_lost() {
    // Tcpdump stands for the right to open raw sockets, which SIPp needs to play a pcap.
    Lab::run(
        "digits-pcap",
        &[Peer::Callbot, Peer::Sipp, Peer::Tcpdump],
        |lab| {
            let (mut callbot, address) = Callbot::serve_at(lab, &["answer"])?;
            let cases = cases();
            let mut running = Vec::new();
            for case in &cases {
                let file = format!("{}.pcap", case.name);
                let length = write(&lab.path(&file), &case.presses)?;
                let scenario = Scenario::caller(case.name)
                    .play(&file)
                    .pause(length + 500)
                    .write(lab)?;
                let caller = Sipp::caller(address, &scenario).named(case.name).calls(1);
                let caller = caller
                    .with("-cid_str", format!("{}-%u-%p@%s", case.name))
                    .with("-mp", lab.port()?);
                running.push(caller.start(lab)?);
            }
            for caller in &mut running {
                let got = caller.finish(seconds(60))?;
                ensure!(got.successful == 1, "{got}");
            }
            let calls = callbot.wait_calls(cases.len(), seconds(5))?;
            let mut wrong = Vec::new();
            for case in &cases {
                let ours = |call: &&Call| {
                    call.0["call_id"]
                        .as_str()
                        .is_some_and(|id| id.starts_with(&format!("{}-1-", case.name)))
                };
                let digits = calls
                    .iter()
                    .find(ours)
                    .with_context(|| format!("call {} was not reported", case.name))?
                    .digits();
                lab.say(format!("{:<18} {digits}", case.name));
                if digits != case.keys {
                    wrong.push(format!(
                        "{}: played {}, reported {digits}",
                        case.name, case.keys
                    ));
                }
            }
            ensure!(wrong.is_empty(), "{}", wrong.join("; "));
            Ok(())
        },
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_to_baresip_by_rfc_4733() {
    Lab::run(
        "digits-to-baresip",
        &[Peer::Callbot, Peer::Baresip],
        |lab| {
            let mut baresip = Baresip::named("callee", Source::Echo)
                .answering()
                .start(lab)?;
            let own = format!("udp://127.0.0.1:{}", lab.port()?);
            let arguments = [
                "dial",
                &baresip.uri(),
                "--dtmf",
                KEYS,
                "--duration",
                "8",
                "--listen",
                &own,
            ];
            let (code, _) = Callbot::run(lab, "callbot", &arguments, seconds(20))?;
            ensure!(code == Some(0), "callbot ended with {code:?}");
            lab.say(baresip.digits());
            ensure!(
                baresip.digits() == KEYS,
                "sent {KEYS}, heard {}",
                baresip.digits()
            );
            baresip.quit()
        },
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_to_a_calling_baresip_from_answer() {
    Lab::run(
        "digits-from-answer",
        &[Peer::Callbot, Peer::Baresip],
        |lab| {
            let (mut callbot, address) =
                Callbot::serve_at(lab, &["answer", "--dtmf", "W159w#", "--hangup-after", "6"])?;
            let mut baresip = Baresip::named("caller", Source::Echo).start(lab)?;
            baresip.dial(&format!("sip:answer@{address}"))?;
            baresip.wait_event("CALL_CLOSED", seconds(15))?;
            callbot.wait_call(seconds(5))?;
            ensure!(
                baresip.digits() == "159#",
                "sent 159#, heard {}",
                baresip.digits()
            );
            baresip.quit()
        },
    );
}

/// A proxy that takes telephone-event out of every SDP leaves INFO as the only way.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_to_baresip_by_info() {
    Lab::run(
        "digits-to-baresip-info",
        &[Peer::Callbot, Peer::Baresip, Peer::Kamailio],
        |lab| {
            let kamailio = Kamailio::start(lab, Digest::Md5, &["NO_EVENTS"])?;
            let account = format!(
                ";regint=60;auth_user=bob;auth_pass=pw-bob;outbound=\"sip:{}\"",
                kamailio.address()
            );
            let mut baresip = Baresip::named("bob", Source::Echo)
                .account(&account)
                .registrar(kamailio.address())
                .answering()
                .start(lab)?;
            kamailio.wait_registered("bob", true, seconds(5))?;
            let own = format!("udp://127.0.0.1:{}", lab.port()?);
            let uri = format!("sip:bob@{}", kamailio.address());
            let arguments = [
                "dial",
                &uri,
                "--dtmf",
                KEYS,
                "--duration",
                "10",
                "--listen",
                &own,
            ];
            let (code, _) = Callbot::run(lab, "callbot", &arguments, seconds(25))?;
            ensure!(code == Some(0), "callbot ended with {code:?}");
            let passed = kamailio
                .log()
                .matches("INFO type=application/dtmf-relay")
                .count();
            lab.say(format!("{} by {passed} INFO requests", baresip.digits()));
            ensure!(
                passed >= KEYS.len(),
                "only {passed} INFO requests went through the proxy"
            );
            ensure!(
                baresip.digits() == KEYS,
                "sent {KEYS}, heard {}",
                baresip.digits()
            );
            baresip.quit()
        },
    );
}
