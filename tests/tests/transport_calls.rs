//! Whole calls over loopback by TCP, TLS, WS and WSS: tone out and back, hold, and BYE from either side.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod loopback;

use callbot_core::analysis::measure_tone;
use callbot_core::{Cause, Endpoint, Party, Tone, answer_with};
use loopback::{Lab, Seen, address, header, secs, wait_for};

/// Calls the echo by `transport` and listens to the tone that comes back.
async fn a_call_stands(name: &str, scheme: &str, via: &str) -> (Seen, Seen) {
    let lab = Lab::new(name);
    let (ours, theirs) = (Seen::default(), Seen::default());
    let callee = lab.echo(&[scheme], &theirs).await;
    let caller = lab.caller(&ours).await;
    assert!(caller.listeners().is_empty());

    let call = caller.dial(callee.uri("echo")).await.unwrap();
    let file = lab.folder.join("echo.wav");
    let recording = call.record(file.display().to_string()).stereo();
    let recording = recording.start().await.unwrap();
    let tone = Tone::new(&[440.0]).level(-20.0).lasting(secs(1));
    call.play(tone).await.unwrap();
    call.hold().await.unwrap();
    call.resume().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    recording.stop().await.unwrap();
    call.hangup().await.unwrap();
    let ended = call.hangup_cause().unwrap();
    assert_eq!(
        (ended.cause(), ended.by()),
        (Cause::NormalClearing, Party::Local)
    );
    wait_for("end of the call", secs(5), || {
        (callee.active_calls() == 0).then_some(())
    })
    .await;

    let mut wav = hound::WavReader::open(&file).unwrap();
    let samples = wav.samples::<i16>().map(Result::unwrap);
    let heard: Vec<i16> = samples.step_by(2).collect();
    let report = measure_tone(&heard, 8000, 440.0).expect("the tone comes back");
    assert!((report.level_dbov - -20.0).abs() < 0.5, "{report:?}");

    for request in ["INVITE", "ACK", "BYE"] {
        for message in ours.all(&format!("Sent {request}")) {
            let said = header(&message, "Via");
            assert!(said.starts_with(&format!("SIP/2.0/{via} ")), "{said}");
        }
    }
    assert_eq!(
        caller.connections().opened,
        1,
        "one connection carries it all"
    );
    assert_eq!(callee.connections().accepted, 1);
    caller.shutdown(secs(0)).await;
    callee.shutdown(secs(0)).await;
    (ours, theirs)
}

#[tokio::test]
async fn over_tcp() {
    a_call_stands("calls-tcp", "tcp", "TCP").await;
}

#[tokio::test]
async fn over_tls() {
    a_call_stands("calls-tls", "tls", "TLS").await;
}

#[tokio::test]
async fn over_ws_the_client_is_a_name_that_is_no_address() {
    let (ours, theirs) = a_call_stands("calls-ws", "ws", "WS").await;
    let invite = &ours.all("Sent INVITE")[0];
    let (via, contact) = (header(invite, "Via"), header(invite, "Contact"));
    let host = via["SIP/2.0/WS ".len()..]
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert!(host.ends_with(".invalid") && host.len() > 12, "{via}");
    assert_eq!(contact, format!("<sip:{host};transport=ws>"));
    let ok = &theirs.all("Sent SIP/2.0 200")[0];
    assert!(header(ok, "Contact").ends_with(";transport=ws>"), "{ok}");
}

#[tokio::test]
async fn over_wss() {
    a_call_stands("calls-wss", "wss", "WSS").await;
}

#[tokio::test]
async fn a_bot_hangs_up_on_a_websocket_that_listens_nowhere() {
    for scheme in ["ws", "wss", "tls"] {
        let lab = Lab::new(&format!("bye-{scheme}"));
        let seen = Seen::default();
        let builder = Endpoint::builder()
            .listen(format!("{scheme}://127.0.0.1:0"))
            .certificate(&lab.files.both, &lab.files.both)
            .media_threads(1);
        let callee = builder.start().await.unwrap();
        let serving = callee.clone();
        let bot = answer_with(|call| async move {
            let call = call.answer().await?;
            call.hold().await?;
            call.hangup().await
        });
        tokio::spawn(async move { serving.serve(bot).await });
        let caller = lab.caller(&seen).await;
        let call = caller.dial(callee.uri("bot")).await.unwrap();
        let ended = tokio::time::timeout(secs(5), call.ended()).await.unwrap();
        assert_eq!(
            (ended.cause(), ended.by()),
            (Cause::NormalClearing, Party::Remote)
        );
        let bye = seen.one("Received BYE");
        if scheme != "tls" {
            assert!(bye.lines().next().unwrap().contains(".invalid"), "{bye}");
        }
        assert_eq!(
            callee.connections().opened,
            0,
            "it went over the caller's own"
        );
        caller.shutdown(secs(0)).await;
        callee.shutdown(secs(0)).await;
    }
}

#[tokio::test]
async fn one_endpoint_listens_on_all_at_once() {
    let lab = Lab::new("all-at-once");
    let seen = Seen::default();
    let schemes = ["udp", "tcp", "tls", "ws", "wss"];
    let callee = lab.echo(&schemes, &seen).await;
    let said: Vec<String> = callee.listeners();
    for (said, scheme) in said.iter().zip(schemes) {
        assert!(
            said.starts_with(&format!("{scheme}://127.0.0.1:")),
            "{said}"
        );
    }
    assert!(
        callee
            .certificate_fingerprint()
            .is_some_and(|print| print.len() == 95)
    );
    let caller = lab.caller(&Seen::default()).await;
    for scheme in &schemes[1..] {
        let uri = format!("sip:echo@{};transport={scheme}", address(&callee, scheme));
        assert_eq!(caller.options(&uri).await.unwrap(), 200, "{uri}");
    }
    let sips = format!("sips:echo@localhost:{}", address(&callee, "tls").port());
    assert_eq!(caller.options(&sips).await.unwrap(), 200);
    let sips = format!("sips:echo@{};transport=ws", address(&callee, "wss"));
    assert_eq!(caller.options(&sips).await.unwrap(), 200);
    let opened = caller.connections().opened;
    // WSS by either name is one connection; TLS to localhost is not TLS to 127.0.0.1 (RFC 5922).
    assert_eq!(opened, 5, "{:?}", caller.connections());
}
