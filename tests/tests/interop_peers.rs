//! The peers against each other: proves the harness, and that a failure elsewhere is not the peers' fault.

use callbot_tests::events::{Ends, KEYS, presses, write};
use callbot_tests::prelude::*;
use callbot_tests::rtp::Flow;

const LIMIT: Duration = seconds(30);

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipp_calls_sipp() {
    Lab::run("peers-sipp", &[Peer::Sipp], |lab| {
        let port = lab.port()?;
        let mut uas = Sipp::uas(port).start(lab)?;
        uas.ready()?;
        let got = Sipp::uac(([127, 0, 0, 1], port).into())
            .calls(2000)
            .rate(1000)
            .at_once(2000)
            .run(lab, LIMIT)?;
        lab.say(&got);
        ensure!(got.successful == 2000 && got.failed == 0, "{got}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipp_failures_are_counted() {
    Lab::run("peers-sipp-failures", &[Peer::Sipp], |lab| {
        // Nobody listens: every call must be reported as failed, else no other count is worth anything.
        let got = Sipp::uac(([127, 0, 0, 1], lab.port()?).into())
            .calls(5)
            .rate(50)
            .with("-max_retrans", 1)
            .run(lab, LIMIT)?;
        lab.say(&got);
        ensure!(got.failed == 5 && got.successful == 0, "{got}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_capture_shows_streamed_rtp_and_its_echo() {
    Lab::run("peers-capture", &[Peer::Sipp, Peer::Tcpdump], |lab| {
        let port = lab.port()?;
        let noise: Vec<u8> = (0u32..100 * 160)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        std::fs::write(lab.path("noise.ulaw"), &noise)?;
        let capture = Capture::start(lab, "udp and not port 5060")?;
        let media = lab.port()?;
        let mut uas = Sipp::answerer(port, &Scenario::answerer(lab)?)
            .with("-mp", media)
            .start(lab)?;
        uas.ready()?;
        let scenario = Scenario::caller("stream")
            .stream("noise.ulaw")
            .pause(2500)
            .write(lab)?;
        let got = Sipp::caller(([127, 0, 0, 1], port).into(), &scenario)
            .calls(1)
            .run(lab, LIMIT)?;
        ensure!(got.successful == 1, "{got}");
        let flows = capture.finish()?;
        let sent = flows
            .flows
            .keys()
            .find(|f| f.to.port() == media)
            .context("no RTP went to the answerer")?;
        let payloads = |flow: Flow| {
            flows
                .packets(flow)
                .iter()
                .map(|p| p.payload.clone())
                .collect::<Vec<_>>()
        };
        let (there, back) = (payloads(*sent), payloads(sent.back()));
        lab.say(format!(
            "{} packets there, {} back",
            there.len(),
            back.len()
        ));
        ensure!(
            there.len() == 100 && there.concat() == noise,
            "SIPp streamed something else than the file"
        );
        ensure!(there == back, "the echo differs");
        Ok(())
    });
}

fn baresip_calls_baresip(name: &str, transport: Transport, codec: &'static str) {
    Lab::run(name, &[Peer::Baresip], move |lab| {
        let tone = |file: &str, frequency| -> Result<_> {
            Sound::silence(1000)
                .tone(frequency, -20.0, 3000)
                .pause(20_000)
                .write(&lab.path(file))?;
            Ok(Source::File(lab.path(file)))
        };
        let mut callee = Baresip::named("callee", tone("callee.wav", 600.0)?)
            .over(transport)
            .codec(codec)
            .answering()
            .start(lab)?;
        let mut caller = Baresip::named("caller", tone("caller.wav", 440.0)?)
            .over(transport)
            .codec(codec)
            .start(lab)?;
        caller.dial(&callee.uri())?;
        std::thread::sleep(Duration::from_millis(5500));
        caller.hang_up()?;
        callee.wait_event("CALL_CLOSED", seconds(5))?;
        caller.quit()?;
        callee.quit()?;
        for (side, frequency) in [(&callee, 440.0), (&caller, 600.0)] {
            let tone = Sound::read(&side.heard()?)?.find_tone(frequency)?;
            lab.say(tone);
            tone.check(frequency, -20.0, 3000.0)?;
        }
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_baresip_over_udp() {
    baresip_calls_baresip("peers-baresip-udp", Transport::Udp, "pcmu");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_baresip_over_tcp() {
    baresip_calls_baresip("peers-baresip-tcp", Transport::Tcp, "pcma");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_hears_the_keys_of_baresip() {
    Lab::run("peers-baresip-keys", &[Peer::Baresip], |lab| {
        let mut callee = Baresip::named("callee", Source::Echo)
            .answering()
            .start(lab)?;
        Sound::silence(30_000).write(&lab.path("silence.wav"))?;
        let mut caller =
            Baresip::named("caller", Source::File(lab.path("silence.wav"))).start(lab)?;
        caller.dial(&callee.uri())?;
        std::thread::sleep(Duration::from_millis(500));
        caller.press(KEYS)?;
        std::thread::sleep(seconds(5));
        lab.say(callee.digits());
        ensure!(
            callee.digits() == KEYS,
            "pressed {KEYS}, heard {}",
            callee.digits()
        );
        caller.hang_up()?;
        callee.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_hears_the_keys_that_sipp_plays() {
    Lab::run(
        "peers-pcap-keys",
        &[Peer::Sipp, Peer::Baresip, Peer::Tcpdump],
        |lab| {
            let mut callee = Baresip::named("callee", Source::Echo)
                .answering()
                .start(lab)?;
            let length = write(&lab.path("keys.pcap"), &presses(KEYS, 100, 100, Ends::All))?;
            let scenario = Scenario::caller("keys")
                .play("keys.pcap")
                .pause(length + 500)
                .write(lab)?;
            let to = callee.uri();
            let port: u16 = to
                .split([':', ';'])
                .nth(2)
                .context("the URI has no port")?
                .parse()?;
            let got = Sipp::caller(([127, 0, 0, 1], port).into(), &scenario)
                .with("-s", "callee")
                .calls(1)
                .run(lab, LIMIT)?;
            ensure!(got.successful == 1, "{got}");
            lab.say(callee.digits());
            ensure!(
                callee.digits() == KEYS,
                "played {KEYS}, heard {}",
                callee.digits()
            );
            callee.quit()
        },
    );
}

fn baresip_registers(name: &str, switches: &'static [&'static str]) {
    Lab::run(name, &[Peer::Kamailio, Peer::Baresip], move |lab| {
        let kamailio = Kamailio::start(lab, Digest::Md5, switches)?;
        Sound::silence(500)
            .tone(440.0, -20.0, 1000)
            .pause(20_000)
            .write(&lab.path("tone.wav"))?;
        let proxy = format!(
            ";regint=60;auth_user=bob;auth_pass=pw-bob;outbound=\"sip:{}\"",
            kamailio.address()
        );
        let mut callee = Baresip::named("bob", Source::Echo)
            .account(&proxy)
            .answering()
            .registrar(kamailio.address())
            .start(lab)?;
        kamailio.wait_registered("bob", true, seconds(5))?;
        let proxy = format!(
            ";auth_user=alice;auth_pass=pw-alice;outbound=\"sip:{}\"",
            kamailio.address()
        );
        let caller = Baresip::named("alice", Source::File(lab.path("tone.wav")))
            .account(&proxy)
            .registrar(kamailio.address());
        let mut caller = caller.start(lab)?;
        caller.dial(&format!("sip:bob@{}", kamailio.address()))?;
        std::thread::sleep(Duration::from_millis(3000));
        caller.hang_up()?;
        callee.quit()?;
        kamailio.wait_registered("bob", false, seconds(5))?;
        caller.quit()?;
        let tone = Sound::read(&callee.heard()?)?.find_tone(440.0)?;
        lab.say(tone);
        tone.check(440.0, -20.0, 1000.0)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_registers_and_is_called_through_kamailio() {
    baresip_registers("peers-kamailio", &[]);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn kamailio_challenges_calls_when_asked() {
    baresip_registers("peers-kamailio-407", &["CHALLENGE_CALLS"]);
}
