//! baresip and callbot call each other: what the one plays, the other's recording holds.

use callbot_tests::callbot;
use callbot_tests::pki::Files;
use callbot_tests::prelude::*;

/// What baresip sends: 440 Hz, late enough for the bot's own sound to be over, so that a mono recording keeps the two apart.
const BARESIP: (f64, f64, u32) = (440.0, -20.0, 3000);
/// Everything that callbot has, so that baresip's only codec decides.
const CODECS: &str = "pcmu,pcma,g722,opus,g729,l16,l16/8000";
/// What callbot plays.
const CALLBOT: (f64, f64, u32) = (600.0, -17.0, 2500);

fn plays(lab: &Lab, codec: &str) -> Result<Source> {
    Source::tone(lab, "baresip", codec, 4500, BARESIP)
}

fn calls_record(name: &str, transport: Transport, codec: &'static str) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let file = lab.path("message.wav");
        let (mut callbot, address) = Callbot::serve_at(
            lab,
            &[
                "record",
                "--out",
                &lab.text("message.wav"),
                "--max",
                "30",
                "--silence",
                "10",
                "--codecs",
                CODECS,
            ],
        )?;
        let mut baresip = Baresip::named("caller", plays(lab, codec)?)
            .over(transport)
            .codec(codec)
            .start(lab)?;
        baresip.dial(&format!(
            "sip:record@{address};transport={}",
            transport.parameter()
        ))?;
        std::thread::sleep(Duration::from_millis(8500));
        baresip.hang_up()?;
        callbot.wait_call(seconds(5))?;
        baresip.quit()?;
        check(lab, "callbot recorded", &callbot::recorded(&file)?, BARESIP)?;
        let heard = Sound::read(&baresip.heard()?)?;
        ensure!(!heard.spans(150.0).is_empty(), "baresip heard no beep");
        Ok(())
    });
}

fn calls_answer(name: &str, transport: Transport, codec: &'static str) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let file = lab.path("call.wav");
        let play = callbot::play(lab, CALLBOT)?;
        let bot = [
            "answer",
            "--ring",
            "1",
            "--play",
            &play,
            "--record",
            &lab.text("call.wav"),
            "--stereo",
            "--hangup-after",
            "9",
            "--codecs",
            CODECS,
        ];
        let (mut callbot, address) = Callbot::serve_at(lab, &bot)?;
        let mut baresip = Baresip::named("caller", plays(lab, codec)?)
            .over(transport)
            .codec(codec)
            .start(lab)?;
        baresip.dial(&format!(
            "sip:answer@{address};transport={}",
            transport.parameter()
        ))?;
        baresip.wait_event("CALL_RINGING", seconds(5))?;
        baresip.wait_event("CALL_CLOSED", seconds(15))?;
        let call = callbot.wait_call(seconds(5))?;
        baresip.quit()?;
        check(
            lab,
            "baresip heard",
            &Sound::read(&baresip.heard()?)?,
            CALLBOT,
        )?;
        let both = callbot::recorded(&file)?;
        ensure!(
            both.channels() == 2,
            "the stereo recording has {} channels",
            both.channels()
        );
        check(lab, "callbot recorded left", &both.channel(0), BARESIP)?;
        check(lab, "callbot recorded right", &both.channel(1), CALLBOT)?;
        ensure!(
            call.loss().is_some_and(|loss| loss == 0.0),
            "on loopback nothing is lost, but callbot reports {}",
            call.0
        );
        Ok(())
    });
}

fn is_dialled(name: &str, transport: Transport, codec: &'static str) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let play = callbot::play(lab, CALLBOT)?;
        let record = lab.path("dialled.wav");
        let mut baresip = Baresip::named("callee", plays(lab, codec)?)
            .over(transport)
            .codec(codec)
            .answering()
            .start(lab)?;
        let uri = baresip.uri();
        let own = format!("{}://127.0.0.1:{}", transport.parameter(), lab.port()?);
        let arguments = [
            "dial",
            &uri,
            "--play",
            &play,
            "--record",
            &lab.text("dialled.wav"),
            "--duration",
            "9",
            "--listen",
            &own,
            "--codecs",
            CODECS,
        ];
        let (code, calls) = Callbot::run(lab, "callbot", &arguments, seconds(25))?;
        ensure!(code == Some(0), "callbot ended with {code:?}");
        ensure!(
            calls.len() == 1,
            "one call was made, {} were reported",
            calls.len()
        );
        baresip.wait_event("CALL_CLOSED", seconds(5))?;
        baresip.quit()?;
        check(
            lab,
            "baresip heard",
            &Sound::read(&baresip.heard()?)?,
            CALLBOT,
        )?;
        check(
            lab,
            "callbot recorded",
            &callbot::recorded(&record)?,
            BARESIP,
        )
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_record_over_udp() {
    calls_record("baresip-record-udp", Transport::Udp, "pcmu");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_record_over_tcp() {
    calls_record("baresip-record-tcp", Transport::Tcp, "pcma");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_answer_over_udp() {
    calls_answer("baresip-answer-udp", Transport::Udp, "pcma");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_answer_over_tcp() {
    calls_answer("baresip-answer-tcp", Transport::Tcp, "pcmu");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_baresip_over_udp() {
    is_dialled("baresip-dial-udp", Transport::Udp, "pcmu");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_baresip_over_tcp() {
    is_dialled("baresip-dial-tcp", Transport::Tcp, "pcma");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_answer_in_opus() {
    calls_answer("baresip-answer-opus", Transport::Udp, "opus/48000/2");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_baresip_in_opus() {
    is_dialled("baresip-dial-opus", Transport::Udp, "opus/48000/2");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_answer_in_g722() {
    calls_answer("baresip-answer-g722", Transport::Udp, "G722/16000/1");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_baresip_in_g722() {
    is_dialled("baresip-dial-g722", Transport::Udp, "G722/16000/1");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_answer_in_l16() {
    calls_answer("baresip-answer-l16", Transport::Udp, "L16/16000/1");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_refusal_reaches_baresip() {
    Lab::run("baresip-reject", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (_callbot, address) = Callbot::serve_at(lab, &["answer", "--reject", "486"])?;
        let mut baresip = Baresip::named("caller", Source::Echo).start(lab)?;
        let refused = baresip.dial(&format!("sip:busy@{address}"));
        ensure!(
            refused
                .as_ref()
                .is_err_and(|why| why.to_string().contains("486")),
            "486 was expected, but: {refused:?}"
        );
        Ok(())
    });
}

/// One authority, callbot's certificate by it and baresip's, for 127.0.0.1.
fn certificates(lab: &Lab) -> Result<(Files, Files, std::path::PathBuf)> {
    let authority = Authority::new("the test's authority")?;
    let names = ["127.0.0.1", "localhost"];
    let server = |name: &str| authority.server(lab.folder(), name, &names, Validity::Current);
    Ok((
        server("for-callbot")?,
        server("for-baresip")?,
        authority.write(&lab.path("ca.pem"))?,
    ))
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_answer_over_tls_and_is_dialled() {
    Lab::run("baresip-tls", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (ours, theirs, ca) = certificates(lab)?;
        let ca = ca.display().to_string();
        let (cert, key) = (
            ours.certificate.display().to_string(),
            ours.key.display().to_string(),
        );
        // In: baresip checks callbot's certificate.
        let port = lab.port()?;
        let (listen, play) = (
            format!("tls://127.0.0.1:{port}"),
            callbot::play(lab, CALLBOT)?,
        );
        let out = lab.text("answered.wav");
        let arguments = [
            "answer",
            "--play",
            &play,
            "--record",
            &out,
            "--stereo",
            "--hangup-after",
            "9",
            "--listen",
            &listen,
            "--cert",
            &cert,
            "--key",
            &key,
        ];
        let mut callbot = Callbot::serve(lab, "callbot", &arguments)?;
        let mut baresip = Baresip::named("caller", plays(lab, "pcmu")?)
            .over(Transport::Tls)
            .certificate(theirs.both.clone())
            .authority(lab.path("ca.pem"))
            .start(lab)?;
        baresip.dial(&format!("sip:answer@127.0.0.1:{port};transport=tls"))?;
        baresip.wait_event("CALL_CLOSED", seconds(15))?;
        callbot.wait_call(seconds(5))?;
        baresip.quit()?;
        check(
            lab,
            "baresip heard",
            &Sound::read(&baresip.heard()?)?,
            CALLBOT,
        )?;
        check(
            lab,
            "callbot recorded",
            &callbot::recorded(&lab.path("answered.wav"))?.channel(0),
            BARESIP,
        )?;

        // Out: callbot checks baresip's.
        let mut callee = Baresip::named("callee", plays(lab, "pcmu")?)
            .over(Transport::Tls)
            .certificate(theirs.both)
            // What callbot offers where nobody can read the keys on the way.
            .encryption("srtp")
            .answering()
            .start(lab)?;
        let (uri, record) = (callee.uri(), lab.text("dialled.wav"));
        let arguments = [
            "dial",
            &uri,
            "--play",
            &play,
            "--record",
            &record,
            "--duration",
            "9",
            "--ca",
            &ca,
        ];
        let (code, _) = Callbot::run(lab, "dialler", &arguments, seconds(25))?;
        ensure!(code == Some(0), "callbot ended with {code:?}");
        callee.wait_event("CALL_CLOSED", seconds(5))?;
        // Without the authority it is refused, in words.
        let (code, calls) = Callbot::run(lab, "doubter", &["dial", &uri], seconds(10))?;
        let said = calls
            .first()
            .map(|call| call.0.to_string())
            .unwrap_or_default();
        ensure!(
            code == Some(1) && said.contains("unknown issuer"),
            "callbot ended with {code:?} and said {said}"
        );
        callee.quit()?;
        check(
            lab,
            "baresip heard",
            &Sound::read(&callee.heard()?)?,
            CALLBOT,
        )?;
        check(
            lab,
            "callbot recorded",
            &callbot::recorded(&lab.path("dialled.wav"))?,
            BARESIP,
        )
    });
}
