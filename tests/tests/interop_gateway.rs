//! `callbot gateway` between peers that this project did not write: what the one plays, the other hears.

use callbot_tests::prelude::*;

/// What the caller and the callee play.
const CALLER: (f64, f64, u32) = (440.0, -20.0, 4000);
const CALLEE: (f64, f64, u32) = (600.0, -17.0, 4000);

fn sound(lab: &Lab, name: &str, tone: (f64, f64, u32)) -> Result<Source> {
    let file = lab.path(&format!("{name}.wav"));
    Sound::silence(1500)
        .tone(tone.0, tone.1, tone.2)
        .pause(20_000)
        .write(&file)?;
    Ok(Source::File(file))
}

/// baresip calls baresip through the gateway; each hears the other's tone and keys.
fn baresip_to_baresip(name: &str, codecs: [&'static str; 2], transport: Transport) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let mut callee = Baresip::named("callee", sound(lab, "callee-plays", CALLEE)?)
            .over(transport)
            .codec(codecs[1])
            .answering()
            .start(lab)?;
        let to = callee.uri();
        let (mut callbot, address) = Callbot::serve_at(lab, &["gateway", "--to", &to])?;
        let mut caller = Baresip::named("caller", sound(lab, "caller-plays", CALLER)?)
            .codec(codecs[0])
            .start(lab)?;
        caller.dial(&format!("sip:anyone@{address}"))?;
        callee.wait_event("CALL_ESTABLISHED", seconds(5))?;
        std::thread::sleep(Duration::from_millis(6500));
        caller.press("159#")?;
        callee.press("24*")?;
        std::thread::sleep(seconds(1));
        callee.hang_up()?;
        caller.wait_event("CALL_CLOSED", seconds(5))?;
        let call = callbot.wait_call(seconds(5))?;
        lab.say(call.0.to_string());
        ensure!(
            call.result() == "ok" && call.0["callee"]["result"] == "ok",
            "the call failed: {}",
            call.0
        );
        ensure!(
            (callee.digits().as_str(), caller.digits().as_str()) == ("159#", "24*"),
            "the callee heard {} and the caller {}",
            callee.digits(),
            caller.digits()
        );
        for leg in [&call.0, &call.0["callee"]] {
            ensure!(
                leg["rtp"]["loss"] == 0.0,
                "on loopback nothing is lost, but callbot reports {leg}"
            );
        }
        let heard = [caller.heard()?, callee.heard()?];
        caller.quit()?;
        callee.quit()?;
        check(lab, "the caller heard", &Sound::read(&heard[0])?, CALLEE)?;
        check(lab, "the callee heard", &Sound::read(&heard[1])?, CALLER)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_baresip_and_packets_pass() {
    baresip_to_baresip("gateway-pass", ["pcmu", "pcmu"], Transport::Udp);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_baresip_and_is_transcoded() {
    baresip_to_baresip("gateway-transcode", ["pcma", "pcmu"], Transport::Tcp);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn keys_by_info_from_sipp_are_pressed_at_baresip() {
    Lab::run(
        "gateway-info",
        &[Peer::Callbot, Peer::Baresip, Peer::Sipp],
        |lab| {
            let mut callee = Baresip::named("callee", sound(lab, "callee-plays", CALLEE)?)
                .answering()
                .start(lab)?;
            let to = callee.uri();
            let (mut callbot, address) = Callbot::serve_at(lab, &["gateway", "--to", &to])?;
            let begun = Scenario::caller("info").without_events().pause(500);
            let pressed = "7702#"
                .chars()
                .fold(begun, |s, key| s.info(key, 160).pause(300));
            let got = Sipp::caller(address, &pressed.pause(500).write(lab)?)
                .calls(1)
                .run(lab, seconds(20))?;
            ensure!(got.successful == 1, "{got}");
            callbot.wait_call(seconds(5))?;
            ensure!(
                callee.digits() == "7702#",
                "the callee heard {}",
                callee.digits()
            );
            callee.quit()
        },
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn nobody_at_home_reaches_baresip() {
    Lab::run("gateway-refused", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (_busy, busy) = Callbot::serve_at(lab, &["answer", "--reject", "486"])?;
        let to = format!("sip:{{user}}@{busy}");
        let (_gateway, address) = Callbot::serve_at(lab, &["gateway", "--to", &to])?;
        let mut caller = Baresip::named("caller", Source::Echo).start(lab)?;
        let refused = caller.dial(&format!("sip:busy@{address}"));
        ensure!(
            refused
                .as_ref()
                .is_err_and(|why| why.to_string().contains("486")),
            "486 was expected, but: {refused:?}"
        );
        Ok(())
    });
}
