//! Calls as browsers make them, between our own endpoints: ICE, DTLS-SRTP and RTCP on the RTP port, in paused time over the
//! in-memory network, and over sockets that are bound to all of the machine's addresses.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use std::time::Duration;

use callbot_core::analysis::measure_tone;
use callbot_core::driver::memory::{Impairment, MemoryNetwork};
use callbot_core::trace::Ladder;
use callbot_core::{Call, Cause, Endpoint, Keying, SrtpPolicy, answer_with, bridge};
use common::{folder, ms, secs, tone, wav};

const CALLEE: &str = "sip:bot@10.0.0.2";

/// A caller whose offers are a browser's, and a callee that takes anything.
struct Two {
    network: MemoryNetwork,
    caller: Endpoint,
    callee: Endpoint,
}

impl Two {
    async fn new(seed: u64, ladder: &Ladder) -> Self {
        let network = MemoryNetwork::new(seed);
        let host = |n: u8| {
            Endpoint::builder()
                .memory(network.host([10, 0, 0, n]))
                .ladder(ladder)
                .seed(seed + u64::from(n))
        };
        Self {
            caller: host(1).webrtc(true).start().await.unwrap(),
            callee: host(2).start().await.unwrap(),
            network,
        }
    }

    async fn call(&self) -> (Call, Call) {
        meet(&self.caller, &self.callee, CALLEE).await
    }
}

/// Dials, and gives both handles.
async fn meet(caller: &Endpoint, callee: &Endpoint, uri: &str) -> (Call, Call) {
    let answered = async { callee.accept().await.unwrap().answer().await.unwrap() };
    tokio::join!(async { caller.dial(uri).await.unwrap() }, answered)
}

/// Tone and keys go from one side to the other, secured by DTLS.
async fn says(name: &str, from: &Call, to: &Call, hertz: f64) {
    let file = folder(name).join("heard.wav");
    let recording = to.record(file.display().to_string()).start().await.unwrap();
    from.play(tone(hertz, 2.0)).await.unwrap();
    from.send_dtmf("159#").await.unwrap();
    tokio::time::sleep(ms(500)).await;
    recording.stop().await.unwrap();
    let report = measure_tone(&wav(&file)[0], 8000, hertz).expect("the tone is heard");
    assert!(
        (report.level_dbov - -20.0).abs() < 0.5,
        "{name}: {report:?}"
    );
    assert!(report.gaps.is_empty(), "{name}: {report:?}");
    let length = report.sounding();
    assert!(length.abs_diff(secs(2)) < ms(40), "{name}: {report:?}");
    assert!(to.digits_received().ends_with("159#"), "{name}");
    let figures = to.statistics().await.unwrap();
    assert_eq!(figures.keying, Some(Keying::Dtls), "{name}: {figures:?}");
    assert_eq!(
        (figures.packets_lost, figures.refused),
        (0, 0),
        "{name}: {figures:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn tone_and_keys_go_both_ways_and_hold_stays_on_the_path() {
    let ladder = Ladder::new();
    let two = Two::new(1, &ladder).await;
    let (caller, callee) = two.call().await;
    // What is said at once is not lost: it waits for the keys.
    says("webrtc-there", &caller, &callee, 440.0).await;
    says("webrtc-back", &callee, &caller, 600.0).await;
    callee.hold().await.unwrap();
    tokio::time::sleep(secs(40)).await;
    callee.resume().await.unwrap();
    says("webrtc-held", &caller, &callee, 500.0).await;
    caller.hangup().await.unwrap();
    callee.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_network_with_loss_delays_the_first_word_and_no_more() {
    let two = Two::new(7, &Ladder::new()).await;
    let impairment = Impairment {
        loss: 0.1,
        delay: ms(60),
        ..Impairment::default()
    };
    two.network.impair_ports(10_000..=20_000, impairment);
    let (caller, callee) = two.call().await;
    let mut secured = None;
    for _ in 0..100 {
        tokio::time::sleep(ms(100)).await;
        secured = callee.statistics().await.unwrap().srtp_profile;
        if secured.is_some() {
            break;
        }
    }
    assert!(secured.is_some(), "no keys within 10 s");
    two.network.impair(Impairment::default());
    tokio::time::sleep(secs(1)).await;
    let before = callee.statistics().await.unwrap();
    caller.play(tone(440.0, 1.0)).await.unwrap();
    let after = callee.statistics().await.unwrap();
    assert!(after.packets_received > before.packets_received + 45);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_path_breaks_ends_within_half_a_minute_and_says_why() {
    let two = Two::new(11, &Ladder::new()).await;
    let (caller, callee) = two.call().await;
    says("webrtc-before", &caller, &callee, 440.0).await;
    // Signalling goes on, so that nothing but the missing consent can end the call.
    let lost = Impairment {
        loss: 1.0,
        ..Impairment::default()
    };
    two.network.impair_ports(10_000..=20_000, lost);
    let began = tokio::time::Instant::now();
    let (one, other) = tokio::join!(caller.ended(), callee.ended());
    let took = began.elapsed();
    assert!(took > secs(20) && took < secs(31), "{took:?}");
    let causes = [&one, &other];
    let told = causes
        .iter()
        .find(|cause| cause.cause() == Cause::MediaFailed);
    let told = told.unwrap_or_else(|| panic!("{one} and {other}"));
    assert!(told.text().contains("RFC 7675"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_lite_in_ice_is_called_and_calls() {
    let network = MemoryNetwork::new(13);
    let host = |n: u8| {
        Endpoint::builder()
            .memory(network.host([10, 0, 0, n]))
            .webrtc(true)
            .seed(u64::from(n))
    };
    let server = host(2).ice_lite(true).start().await.unwrap();
    let phone = host(1).start().await.unwrap();
    let (there, here) = meet(&phone, &server, CALLEE).await;
    says("lite-there", &there, &here, 440.0).await;
    says("lite-back", &here, &there, 600.0).await;
    let figures = here.statistics().await.unwrap();
    assert!(figures.ice && figures.refused == 0, "{figures:?}");
    there.hangup().await.unwrap();
    let (here, there) = meet(&server, &phone, "sip:bot@10.0.0.1").await;
    says("lite-dials", &here, &there, 500.0).await;
    // A phone that keeps quiet for minutes is not taken for gone.
    tokio::time::sleep(secs(120)).await;
    says("lite-later", &there, &here, 700.0).await;
    here.hangup().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_side_that_secures_nothing_answers_plainly_or_refuses() {
    let network = MemoryNetwork::new(3);
    let off = Endpoint::builder()
        .memory(network.host([10, 0, 0, 2]))
        .srtp(SrtpPolicy::Off)
        .seed(1);
    let off = off.start().await.unwrap();
    let caller = Endpoint::builder()
        .memory(network.host([10, 0, 0, 1]))
        .webrtc(true)
        .seed(2);
    let caller = caller.start().await.unwrap();
    let callee = off.clone();
    tokio::spawn(async move {
        let bot = answer_with(|call| async move { call.answer().await?.echo().await });
        callee.serve(bot).await
    });
    let refused = caller.dial(CALLEE).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("488"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_browsers_leg_is_bridged_to_a_plain_one() {
    let network = MemoryNetwork::new(5);
    let host = |n: u8| {
        Endpoint::builder()
            .memory(network.host([10, 0, 0, n]))
            .seed(u64::from(n))
    };
    let near = host(1).webrtc(true).start().await.unwrap();
    let middle = host(2).start().await.unwrap();
    let far = host(3).start().await.unwrap();
    let (near_call, first) = meet(&near, &middle, CALLEE).await;
    let (second, far_call) = meet(&middle, &far, "sip:far@10.0.0.3").await;
    // The keys of the one leg are still to come.
    let _bridge = bridge(&first, &second).unwrap();
    let listen = async |call: &Call, name: &str| {
        let file = folder(name).join("heard.wav");
        let text = file.display().to_string();
        (call.record(text).start().await.unwrap(), file)
    };
    tokio::time::sleep(secs(1)).await;
    let (near_tape, near_file) = listen(&near_call, "webrtc-bridge-near").await;
    let (far_tape, far_file) = listen(&far_call, "webrtc-bridge-far").await;
    let (there, back) = tokio::join!(
        near_call.play(tone(440.0, 2.0)),
        far_call.play(tone(600.0, 2.0))
    );
    there.unwrap();
    back.unwrap();
    near_call.send_dtmf("12#").await.unwrap();
    far_call.send_dtmf("98*").await.unwrap();
    tokio::time::sleep(ms(500)).await;
    near_tape.stop().await.unwrap();
    far_tape.stop().await.unwrap();
    for (file, hertz) in [(near_file, 600.0), (far_file, 440.0)] {
        let report = measure_tone(&wav(&file)[0], 8000, hertz).expect("the tone is heard");
        assert!(
            report.sounding() > ms(1950) && report.gaps.is_empty(),
            "{report:?}"
        );
    }
    assert_eq!(far_call.digits_received(), "12#");
    assert_eq!(near_call.digits_received(), "98*");
    let (plain, secured) = (second.statistics().await, first.statistics().await);
    assert_eq!(plain.unwrap().keying, None);
    assert_eq!(secured.unwrap().keying, Some(Keying::Dtls));
}

/// Over sockets that are bound to all addresses, on two media threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_all_addresses_finds_its_path() {
    let start = |webrtc: bool| async move {
        Endpoint::builder()
            .listen("udp://0.0.0.0:0")
            .webrtc(webrtc)
            .media_threads(2)
            .start()
            .await
            .unwrap()
    };
    let (caller, callee) = (start(true).await, start(false).await);
    let (call, answered) = meet(&caller, &callee, &callee.uri("bot")).await;
    let file = folder("webrtc-sockets").join("heard.wav");
    let recording = answered.record(file.display().to_string());
    let recording = recording.start().await.unwrap();
    call.play(tone(440.0, 1.0)).await.unwrap();
    tokio::time::sleep(ms(300)).await;
    recording.stop().await.unwrap();
    let report = measure_tone(&wav(&file)[0], 8000, 440.0).expect("the tone is heard");
    assert!(report.sounding() > ms(950), "{report:?}");
    let figures = answered.statistics().await.unwrap();
    assert_eq!(figures.keying, Some(Keying::Dtls), "{figures:?}");
    call.hangup().await.unwrap();
    for endpoint in [caller, callee] {
        endpoint.shutdown(Duration::ZERO).await;
    }
}
