//! Many ICE legs on one UDP port: whose packets are whose, what strangers can do, and legs that move to another thread.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod loopback;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;

use callbot_core::analysis::measure_tone;
use callbot_core::{Call, Endpoint, EndpointBuilder, Tone, answer_with, bridge};
use loopback::{Lab, Seen, secs, wait_for};

fn builder(threads: usize) -> EndpointBuilder {
    Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .rtp_ports(30_000..=39_999)
        .media_threads(threads)
}

async fn echo(builder: EndpointBuilder) -> Endpoint {
    let endpoint = builder.start().await.unwrap();
    let serving = endpoint.clone();
    let echo = answer_with(|call| async move { call.answer().await?.echo().await });
    tokio::spawn(async move { serving.serve(echo).await });
    endpoint
}

/// Plays a tone on `from` and checks that `to` hears it.
async fn is_heard(lab: &Lab, from: &Call, to: &Call, hertz: f64) {
    let file: PathBuf = lab.folder.join(format!("{hertz}.wav"));
    let recording = to.record(file.display().to_string()).stereo();
    let recording = recording.start().await.unwrap();
    let tone = Tone::new(&[hertz]).level(-20.0).lasting(secs(1));
    from.play(tone).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    recording.stop().await.unwrap();
    let mut wav = hound::WavReader::open(&file).unwrap();
    let samples = wav.samples::<i16>().map(Result::unwrap);
    let heard: Vec<i16> = samples.step_by(2).collect();
    let heard = measure_tone(&heard, 8000, hertz).expect("the tone is heard");
    assert!(
        heard.sounding() > secs(1).mul_f32(0.8),
        "{hertz} Hz: {heard:?}"
    );
}

/// Where the answers to these calls say that media goes.
fn media_ports(answers: &[String]) -> BTreeSet<u16> {
    let port = |answer: &String| {
        let line = answer.lines().find(|line| line.starts_with("m=audio "));
        let line = line.unwrap_or_else(|| panic!("no audio in {answer}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    answers.iter().map(port).collect()
}

#[tokio::test]
async fn a_dozen_calls_stand_on_one_port_and_strangers_disturb_none() {
    const PITCHES: [f64; 12] = [
        400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0, 1100.0, 1200.0, 1300.0, 1400.0, 1500.0,
    ];
    let lab = Lab::new("shared-port");
    let bot = echo(builder(1)).await;
    let seen = Seen::default();
    let caller = seen.watch(builder(1).webrtc(true)).start().await.unwrap();
    let mut calls = Vec::new();
    for _ in PITCHES {
        calls.push(caller.dial(bot.uri("echo")).await.unwrap());
    }
    let ports = media_ports(&seen.all("Received SIP/2.0 200 OK"));
    assert_eq!(ports.len(), 1, "{ports:?}");
    let standing = bot.media_ports();
    assert_eq!((standing.ports, standing.legs), (1, 12), "{standing:?}");

    // Media, DTLS and checks from where nobody is, and checks with names that stand but passwords that do not.
    let port = SocketAddr::from(([127, 0, 0, 1], *ports.first().unwrap()));
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answer = &seen.all("Received SIP/2.0 200 OK")[0];
    let ufrag = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    let name = format!("{}:they", ufrag.unwrap());
    let mut check = vec![
        0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];
    check.extend([0, 6, 0, name.len() as u8]);
    check.extend(name.as_bytes());
    check.resize(check.len().next_multiple_of(4), 0);
    check.extend([0, 0x24, 0, 4, 0x6e, 0, 0x1e, 0xff, 0, 8, 0, 20]);
    check.extend([7; 20]);
    let length = check.len() as u16 - 20;
    check[2..4].copy_from_slice(&length.to_be_bytes());
    let flood = async {
        for round in 0..900_u16 {
            let mut media = vec![0x80, 0];
            media.extend(round.to_be_bytes());
            media.extend([9; 168]);
            stranger.send_to(&media, port).unwrap();
            stranger
                .send_to(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], port)
                .unwrap();
            stranger.send_to(&check, port).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let heard = async {
        // Four at a time, and all in the time of the flood.
        let mut calls = calls.iter().zip(PITCHES);
        while let (Some(a), Some(b), Some(c), Some(d)) =
            (calls.next(), calls.next(), calls.next(), calls.next())
        {
            tokio::join!(
                is_heard(&lab, a.0, a.0, a.1),
                is_heard(&lab, b.0, b.0, b.1),
                is_heard(&lab, c.0, c.0, c.1),
                is_heard(&lab, d.0, d.0, d.1),
            );
        }
    };
    tokio::join!(flood, heard);
    let after = bot.media_ports();
    assert!(
        after.refused >= 1500,
        "media and DTLS of strangers: {after:?}"
    );
    assert_eq!(after.overflowed, 0, "{after:?}");
    for call in &calls {
        let statistics = call.statistics().await.unwrap();
        assert_eq!(statistics.packets_lost, 0, "{statistics:?}");
        // A packet of another call would not open.
        assert_eq!(statistics.refused, 0, "{statistics:?}");
    }
    for call in calls {
        call.hangup().await.unwrap();
    }
    wait_for("end of the legs", secs(5), || {
        (bot.media_ports().legs == 0).then_some(())
    })
    .await;
    // The port stays, and the next call finds it.
    let call = caller.dial(bot.uri("echo")).await.unwrap();
    is_heard(&lab, &call, &call, 450.0).await;
    assert_eq!(bot.media_ports().ports, 1);
}

#[tokio::test]
async fn a_leg_that_a_bridge_moves_to_another_thread_keeps_its_packets() {
    let lab = Lab::new("shared-bridge");
    let middle = builder(2).start().await.unwrap();
    let caller = builder(1).webrtc(true).start().await.unwrap();
    let mut inner = Vec::new();
    let mut outer = Vec::new();
    for _ in 0..2 {
        let answered = async { middle.accept().await.unwrap().answer().await.unwrap() };
        let (mine, theirs) = tokio::join!(async { caller.dial(middle.uri("x")).await }, answered);
        outer.push(mine.unwrap());
        inner.push(theirs);
    }
    let standing = middle.media_ports();
    assert_eq!(
        (standing.ports, standing.legs),
        (2, 2),
        "one on each thread"
    );
    let _joined = bridge(&inner[0], &inner[1]).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    is_heard(&lab, &outer[0], &outer[1], 500.0).await;
    is_heard(&lab, &outer[1], &outer[0], 700.0).await;
    for call in &outer {
        let statistics = call.statistics().await.unwrap();
        assert_eq!(statistics.packets_lost, 0, "{statistics:?}");
    }
    // What a moved leg leaves behind is forgotten where it came from.
    for call in &outer {
        call.hangup().await.unwrap();
    }
    wait_for("end of the bridged legs", secs(10), || {
        (middle.media_ports().legs == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn calls_without_ice_and_those_that_want_it_so_have_ports_of_their_own() {
    let lab = Lab::new("own-ports");
    for (webrtc, own, shared) in [(false, false, 0), (true, true, 0), (true, false, 1)] {
        let bot = echo(builder(1).port_per_call(own)).await;
        let seen = Seen::default();
        let caller = seen.watch(builder(1).webrtc(webrtc)).start().await.unwrap();
        let calls = [
            caller.dial(bot.uri("echo")).await.unwrap(),
            caller.dial(bot.uri("echo")).await.unwrap(),
        ];
        let ports = media_ports(&seen.all("Received SIP/2.0 200 OK"));
        assert_eq!(ports.len(), 2 - shared, "{webrtc} {own}: {ports:?}");
        assert_eq!(bot.media_ports().ports, shared);
        is_heard(&lab, &calls[1], &calls[1], 600.0).await;
    }
}
