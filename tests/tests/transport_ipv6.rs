//! Whole calls and a registration over IPv6 loopback: signalling, addresses in messages, and audio.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod loopback;

use callbot_core::analysis::measure_tone;
use callbot_core::{
    Account, Bot, CallInfo, Endpoint, EndpointBuilder, Reply, Request, Service, Tone, answer_with,
    async_trait,
};
use loopback::{Lab, Seen, header, secs};

/// An echo that is a registrar too, and believes everybody.
struct Home;

#[async_trait]
impl Service for Home {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        answer_with(|call| async move { call.answer().await?.echo().await }).bot(call)
    }

    async fn on_request(&self, request: Request) -> Reply {
        let contact = request.header("Contact").unwrap_or_default();
        Reply::status(200).header("Contact", format!("{contact};expires=60"))
    }
}

fn builder(scheme: &str) -> EndpointBuilder {
    Endpoint::builder()
        .listen(format!("{scheme}://[::1]:0"))
        .rtp_ports(30_000..=39_999)
        .media_threads(1)
}

async fn a_call_and_a_registration(scheme: &'static str) {
    let lab = Lab::new(&format!("ipv6-{scheme}"));
    let home = builder(scheme).start().await.unwrap();
    let serving = home.clone();
    tokio::spawn(async move { serving.serve(Home).await });
    let uri = home.uri("echo");
    assert!(uri.starts_with("sip:echo@[::1]:"), "{uri}");

    let seen = Seen::default();
    let domain = uri.trim_start_matches("sip:echo@");
    let (domain, _) = domain.split_once(';').unwrap_or((domain, ""));
    let account = Account::new(format!("sip:bot@{domain}"))
        .registrar(format!("sip:{domain};transport={scheme}"));
    let caller = seen.watch(builder(scheme).account(account));
    let caller = caller.start().await.unwrap();
    caller.registered().await.unwrap();
    let register = seen.one("Sent REGISTER");
    let via = header(&register, "Via");
    assert!(via.contains(" [::1]:"), "{via}");
    let contact = header(&register, "Contact");
    assert!(contact.starts_with("<sip:bot@[::1]:"), "{contact}");

    let call = caller.dial(&uri).await.unwrap();
    assert!(call.info().remote().is_some_and(|remote| remote.is_ipv6()));
    let file = lab.folder.join("echo.wav");
    let recording = call.record(file.display().to_string()).stereo();
    let recording = recording.start().await.unwrap();
    let tone = Tone::new(&[440.0]).level(-20.0).lasting(secs(1));
    call.play(tone).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    recording.stop().await.unwrap();
    call.hangup().await.unwrap();
    let mut wav = hound::WavReader::open(&file).unwrap();
    let samples = wav.samples::<i16>().map(Result::unwrap);
    let heard: Vec<i16> = samples.step_by(2).collect();
    let report = measure_tone(&heard, 8000, 440.0).expect("the tone comes back");
    assert!((report.level_dbov - -20.0).abs() < 0.5, "{report:?}");
    let invite = seen.one("Sent INVITE");
    assert!(invite.contains("c=IN IP6 ::1"), "{invite}");
    assert!(header(&invite, "Contact").contains("@[::1]:"), "{invite}");
    caller.shutdown(secs(0)).await;
    home.shutdown(secs(0)).await;
}

#[tokio::test]
async fn over_udp() {
    a_call_and_a_registration("udp").await;
}

#[tokio::test]
async fn over_tcp() {
    a_call_and_a_registration("tcp").await;
}
