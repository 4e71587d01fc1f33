//! `callbot gateway` between peers that this project did not write: what the one plays, the other hears.

use std::path::PathBuf;

use callbot_media::analysis;
use callbot_media::codec::Codec;
use callbot_media::resample::resample;
use callbot_tests::prelude::*;

/// What the caller and the callee play.
const CALLER: (f64, f64, u32) = (440.0, -20.0, 4000);
const CALLEE: (f64, f64, u32) = (600.0, -17.0, 4000);

fn sound(lab: &Lab, name: &str, codec: &str, tone: (f64, f64, u32)) -> Result<Source> {
    Source::tone(lab, name, codec, 1500, tone)
}

/// baresip calls baresip through the gateway; each hears the other's tone and keys.
fn baresip_to_baresip(name: &str, codecs: [&'static str; 2], transport: Transport) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let mut callee = Baresip::named("callee", sound(lab, "callee", codecs[1], CALLEE)?)
            .over(transport)
            .codec(codecs[1])
            .answering()
            .start(lab)?;
        let to = callee.uri();
        let (mut callbot, address) = Callbot::serve_at(lab, &["gateway", "--to", &to])?;
        let mut caller = Baresip::named("caller", sound(lab, "caller", codecs[0], CALLER)?)
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
            let mut callee = Baresip::named("callee", sound(lab, "callee", "pcmu", CALLEE)?)
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

/// Who speaks the passages.
const VOICES: [&str; 3] = ["rms", "slt", "awb"];

/// The passages of speech at 8 kHz, one after the other in a file, and each by itself.
fn passages(lab: &Lab, name: &str, before: u32) -> Result<(PathBuf, Vec<Vec<i16>>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../media-files/reference");
    let mut all = Sound::silence(before);
    let mut passages = Vec::new();
    for voice in VOICES {
        let passage = Sound::read(&folder.join(format!("passage-{voice}.wav")))?;
        all = all.then(passage.samples()).pause(500);
        passages.push(passage.samples().to_vec());
    }
    let file = lab.path(&format!("{name}.wav"));
    all.pause(30_000).write(&file)?;
    Ok((file, passages))
}

/// What is left of speech at 8 kHz behind these codecs, one after the other, without a network.
fn through(speech: &[i16], codecs: [Codec; 2]) -> Result<Vec<i16>> {
    let mut speech = speech.to_vec();
    // What the codecs delay is not to fall off the end.
    speech.resize(speech.len() + 8000, 0);
    for codec in codecs {
        let (mut encoder, mut decoder) = (codec.encoder(), codec.decoder());
        let mut out = Vec::new();
        for frame in resample(&speech, 8000, codec.audio_rate())
            .chunks_exact(codec.audio_rate() as usize / 50)
        {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload);
            decoder
                .decode(&payload, &mut out)
                .context("decode what was encoded")?;
        }
        speech = resample(&out, codec.audio_rate(), 8000);
    }
    Ok(speech)
}

/// PESQ in narrow band of what was heard of a passage, once it is found there; `heard` is at 8 kHz.
fn score(passage: &[i16], heard: &[i16]) -> Result<f64> {
    let place = analysis::find(passage, heard, 8000).context("there is nothing but silence")?;
    ensure!(place.confidence > 0.5, "speech is not there: {place:?}");
    let begin = (place.offset.as_secs_f64() * 8000.0).round() as usize;
    let heard = heard.get(begin..begin + passage.len());
    let heard = heard.context("the passage was cut off")?;
    Ok(f64::from(pesq::pesq_8k(passage, heard)?))
}

/// Speech that crossed must be as good as two codecs leave it, in the mean over the passages: what a busy machine sends late, the
/// browser stretches.
fn compare(
    lab: &Lab,
    what: &str,
    passages: &[Vec<i16>],
    heard: &[i16],
    codecs: [Codec; 2],
) -> Result<()> {
    let mut lost = 0.0;
    for (said, voice) in passages.iter().zip(VOICES) {
        let (live, alone) = (score(said, heard)?, score(said, &through(said, codecs)?)?);
        lab.say(format!(
            "{what}, {voice}: PESQ {live:.3}, the two codecs alone {alone:.3}"
        ));
        lost += (alone - live) / passages.len() as f64;
    }
    ensure!(
        lost < 0.2,
        "{what} is heard {lost:.3} of PESQ below what the codecs alone leave"
    );
    Ok(())
}

/// How long baresip is silent before it speaks, so that the page can begin to record.
const BEFORE: u32 = 5000;

/// Speech both ways at once between a browser (Opus, DTLS-SRTP) and baresip (PCMU, RTP), and keys, whoever calls.
fn speech_crosses(name: &str, browser_calls: bool) {
    let mut peers = vec![Peer::Callbot, Peer::Browser, Peer::Baresip];
    if !browser_calls {
        peers.push(Peer::KamailioSecure);
    }
    Lab::run(name, &peers, move |lab| {
        let (page_says, passages) = passages(lab, "page-says", 0)?;
        let (plays, _) = self::passages(lab, "phone-plays", BEFORE)?;
        let phone = Baresip::named("phone", Source::File(plays)).codec("pcmu");
        let (mut callbot, mut browser, mut phone, _kamailio) = if browser_calls {
            let phone = phone.answering().start(lab)?;
            let port = lab.port()?;
            let server = format!("ws://127.0.0.1:{port}");
            let udp = format!("udp://127.0.0.1:{}", lab.port()?);
            let to = phone.uri();
            let arguments = [
                "gateway", "--to", &to, "--listen", &server, "--listen", &udp,
            ];
            let callbot = Callbot::serve(lab, "callbot", &arguments)?;
            let browser = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1");
            let mut browser = browser.says(&page_says).start(lab)?;
            browser.wait_event("connected", seconds(5))?;
            browser.call(&format!("sip:anyone@127.0.0.1:{port}"))?;
            phone.wait_event("CALL_ESTABLISHED", seconds(10))?;
            (callbot, browser, phone, None)
        } else {
            // A page can be called only through the server with which it registered.
            let authority = Authority::new("the test's authority")?;
            let names = ["127.0.0.1"];
            let files = authority.server(lab.folder(), "kamailio", &names, Validity::Current)?;
            let kamailio = Kamailio::start_secure(lab, Digest::Md5, &files, &["NO_EVENTS"])?;
            let server = format!("wss://{}", kamailio.address_of("wss"));
            let browser = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1");
            let browser = browser.registers("pw-alice").says(&page_says).start(lab)?;
            kamailio.wait_registered("alice", true, seconds(10))?;
            let to = format!("sip:alice@{}", kamailio.address());
            let proxy = format!("sip:{};transport=ws", kamailio.address_of("ws"));
            // What the phone calls lies on this side, what the browser is offered comes by the other's way.
            let arguments = [
                "gateway",
                "--to",
                &to,
                "--proxy",
                &proxy,
                "--codecs",
                "opus,pcmu",
            ];
            let (callbot, address) = Callbot::serve_at(lab, &arguments)?;
            let mut phone = phone.start(lab)?;
            phone.dial(&format!("sip:anyone@{address}"))?;
            (callbot, browser, phone, Some(kamailio))
        };
        browser.wait_event("established", seconds(10))?;
        browser.record()?;
        browser.say()?;
        let length: usize = passages.iter().map(|passage| passage.len() / 8 + 500).sum();
        std::thread::sleep(Duration::from_millis(
            u64::from(BEFORE) + length as u64 + 500,
        ));
        let (rate, heard) = browser.recorded(&lab.path("page.raw"))?;
        let page_heard = resample(&heard, rate, 8000);
        lab.say(format!("{:?}", browser.statistics()?));
        browser.press("27#", !browser_calls)?;
        phone.press("51*")?;
        std::thread::sleep(seconds(4));
        browser.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        lab.say(&call.0);
        phone.wait_event("CALL_CLOSED", seconds(5))?;
        ensure!(
            phone.digits() == "27#",
            "the phone heard {}",
            phone.digits()
        );
        ensure!(
            browser_calls || browser.digits() == "51*",
            "the page heard {}",
            browser.digits()
        );
        phone.quit()?;
        browser.quit()?;
        let phone_heard = Sound::read(&phone.heard()?)?;
        let there = [Codec::Opus, Codec::Pcmu];
        compare(
            lab,
            "the page, by phone",
            &passages,
            phone_heard.samples(),
            there,
        )?;
        let back = [Codec::Pcmu, Codec::Opus];
        compare(lab, "the phone, in the page", &passages, &page_heard, back)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn speech_crosses_when_a_browser_calls_baresip() {
    speech_crosses("gateway-speech-there", true);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn speech_crosses_when_baresip_calls_a_browser() {
    speech_crosses("gateway-speech-back", false);
}
