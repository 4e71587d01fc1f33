//! Two calls joined, over the in-memory network and in paused time; and once over sockets and two media threads.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbot_core::analysis::{ToneReport, level_dbov, measure_tone};
use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::trace::Ladder;
use callbot_core::{
    BridgeSide, Call, Cause, Codec, DtmfMethod, Endpoint, EndpointBuilder, Error, Party,
    answer_with, bridge,
};
use common::{folder, golden, ms, secs, tone, wav};
use tokio::sync::mpsc;

const MIDDLE: &str = "sip:middle@10.0.0.2";
const FAR: &str = "sip:far@10.0.0.3";

/// A caller, a bot in the middle that dials on, and a callee.
struct Three {
    near: Endpoint,
    middle: Endpoint,
    far: Endpoint,
    ladder: Ladder,
    /// The calls that the callee answered.
    answered: mpsc::Receiver<Call>,
    /// The middle's two calls.
    joined: mpsc::Receiver<(Call, Call)>,
}

impl Three {
    async fn new(near: &[Codec], far: &[Codec]) -> Self {
        Self::with(
            |builder| builder.codecs(near.to_vec()),
            |builder| builder.codecs(far.to_vec()),
        )
        .await
    }

    async fn with(
        near: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
        far: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
    ) -> Self {
        let network = MemoryNetwork::new(5);
        let ladder = Ladder::new();
        let host = |n: u8| {
            Endpoint::builder()
                .memory(network.host([10, 0, 0, n]))
                .ladder(&ladder)
                .seed(u64::from(n))
        };
        let near = near(host(1)).start().await.unwrap();
        let middle = host(2).start().await.unwrap();
        let far = far(host(3)).start().await.unwrap();
        let (told, answered) = mpsc::channel(4);
        let served = far.clone();
        tokio::spawn(async move {
            let answer = answer_with(move |call| {
                let told = told.clone();
                async move {
                    let call = call.answer().await?;
                    let _ = told.send(call.clone()).await;
                    call.ended().await;
                    Ok(())
                }
            });
            served.serve(answer).await
        });
        let (told, joined) = mpsc::channel(4);
        let (served, dialler) = (middle.clone(), middle.clone());
        tokio::spawn(async move {
            let connect = answer_with(move |call| {
                let (told, dialler) = (told.clone(), dialler.clone());
                async move {
                    let call = call.answer().await?;
                    let other = dialler.dial(FAR).await?;
                    let _ = told.send((call.clone(), other)).await;
                    call.ended().await;
                    Ok(())
                }
            });
            served.serve(connect).await
        });
        Self {
            near,
            middle,
            far,
            ladder,
            answered,
            joined,
        }
    }

    /// The caller's handle, the middle's two and the callee's.
    async fn call(&mut self) -> (Call, Call, Call, Call) {
        let near = self.near.dial(MIDDLE).await.unwrap();
        let (first, second) = self.joined.recv().await.unwrap();
        let far = self.answered.recv().await.unwrap();
        (near, first, second, far)
    }

    async fn shutdown(&self) {
        for endpoint in [&self.near, &self.middle, &self.far] {
            endpoint.shutdown(Duration::ZERO).await;
        }
    }
}

/// What a side hears, and when it first heard something.
struct Ear(Arc<Mutex<(Vec<i16>, Option<tokio::time::Instant>)>>);

impl Ear {
    fn on(call: &Call) -> Self {
        let heard = Arc::new(Mutex::new((Vec::new(), None)));
        let ear = Self(heard.clone());
        let mut audio = call.audio_in().unwrap();
        tokio::spawn(async move {
            while let Some(frame) = audio.next().await {
                let mut heard = heard.lock().unwrap();
                heard.0.extend_from_slice(frame.samples());
                if level_dbov(frame.samples()) > -30.0 {
                    heard.1.get_or_insert_with(tokio::time::Instant::now);
                }
            }
        });
        ear
    }

    fn tone(&self, hertz: f64) -> ToneReport {
        measure_tone(&self.0.lock().unwrap().0, 8000, hertz).expect("the tone is heard")
    }

    fn first(&self) -> tokio::time::Instant {
        self.0.lock().unwrap().1.expect("something is heard")
    }

    /// The loudest frame from this second on, in dBov.
    fn level_from(&self, second: f64) -> f32 {
        let heard = self.0.lock().unwrap();
        let from = (second * 8000.0) as usize;
        heard
            .0
            .get(from..)
            .unwrap_or_default()
            .chunks(160)
            .map(level_dbov)
            .fold(-127.0, f32::max)
    }
}

fn is_tone(report: &ToneReport, hertz: f64, length: Duration) {
    assert!((report.frequency - hertz).abs() < 0.5, "{report:?}");
    assert!((report.level_dbov - -20.0).abs() < 0.5, "{report:?}");
    assert!(report.gaps.is_empty(), "{report:?}");
    assert!(report.sounding().abs_diff(length) < ms(30), "{report:?}");
}

/// How long a tone takes from the near to the far side.
async fn delay(near: &Call, far: &Call) -> Duration {
    let ear = Ear::on(far);
    tokio::time::sleep(secs(2)).await;
    let began = tokio::time::Instant::now();
    near.play(tone(440.0, 1.0)).await.unwrap();
    tokio::time::sleep(ms(500)).await;
    ear.first() - began
}

/// Talks both ways at once; gives the ladder of it all.
async fn both_ways(near: &[Codec], far: &[Codec]) -> String {
    let mut three = Three::new(near, far).await;
    let (near, first, second, far) = three.call().await;
    let bridge = bridge(&first, &second).unwrap();
    let (near_ear, far_ear) = (Ear::on(&near), Ear::on(&far));
    tokio::time::sleep(ms(500)).await;
    let (spoken, answered) = tokio::join!(near.play(tone(440.0, 2.0)), far.play(tone(600.0, 2.0)));
    spoken.unwrap();
    answered.unwrap();
    tokio::time::sleep(ms(500)).await;
    is_tone(&far_ear.tone(440.0), 440.0, secs(2));
    is_tone(&near_ear.tone(600.0), 600.0, secs(2));
    for call in [&first, &second] {
        let figures = call.statistics().await.unwrap();
        assert_eq!(figures.packets_lost, 0, "{figures:?}");
        assert!(figures.packets_received > 120, "{figures:?}");
    }
    near.send_dtmf("12#").await.unwrap();
    far.send_dtmf("98*").await.unwrap();
    tokio::time::sleep(ms(500)).await;
    assert_eq!(
        (far.digits_received(), near.digits_received()),
        ("12#".into(), "98*".into())
    );
    assert_eq!(first.digits_received(), "12#", "the bot hears them too");
    near.hangup().await.unwrap();
    let end = bridge.await;
    assert_eq!(
        (end.side, end.cause.by()),
        (BridgeSide::First, Party::Remote)
    );
    second.hangup_because("Q.850;cause=16").await.unwrap();
    far.ended().await;
    three.shutdown().await;
    three.ladder.to_string()
}

#[tokio::test(start_paused = true)]
async fn tones_and_keys_cross_both_ways_as_packets() {
    let ladder = both_ways(&[Codec::Pcmu], &[Codec::Pcmu]).await;
    golden("bridge", &ladder);
    assert_eq!(ladder, both_ways(&[Codec::Pcmu], &[Codec::Pcmu]).await);
}

#[tokio::test(start_paused = true)]
async fn tones_and_keys_cross_both_ways_transcoded() {
    let ladder = both_ways(&[Codec::Pcma], &[Codec::Pcmu]).await;
    golden("bridge_transcoded", &ladder);
    assert_eq!(ladder, both_ways(&[Codec::Pcma], &[Codec::Pcmu]).await);
}

#[tokio::test(start_paused = true)]
async fn passing_costs_a_slice_and_transcoding_a_jitter_buffer() {
    let mut delays = Vec::new();
    for far in [Codec::Pcmu, Codec::Pcma] {
        let mut three = Three::new(&[Codec::Pcmu], &[far]).await;
        let (near, first, second, far) = three.call().await;
        let bridge = bridge(&first, &second).unwrap();
        delays.push(delay(&near, &far).await);
        drop(bridge);
    }
    let three = Three::new(&[Codec::Pcmu], &[Codec::Pcmu]).await;
    let mut answered = three.answered;
    let near = three.near.dial(FAR).await.unwrap();
    let far = answered.recv().await.unwrap();
    let direct = delay(&near, &far).await;
    println!(
        "direct {direct:?}, passing {:?}, transcoding {:?}",
        delays[0], delays[1]
    );
    assert!(delays[0] <= direct + ms(25), "{delays:?} and {direct:?}");
    assert!(delays[1] <= direct + ms(85), "{delays:?} and {direct:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_cross_by_info_where_a_side_takes_nothing_else() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let mut three = Three::with(
            |builder| builder.codecs([Codec::Pcmu]).telephone_event(false),
            |builder| builder.codecs([codec]),
        )
        .await;
        let (near, first, second, far) = three.call().await;
        let _bridge = bridge(&first, &second).unwrap();
        let mut events = near.events();
        tokio::time::sleep(ms(200)).await;
        near.send_dtmf("123")
            .method(DtmfMethod::Info)
            .await
            .unwrap();
        far.send_dtmf("4#").tone(ms(160)).await.unwrap();
        tokio::time::sleep(ms(500)).await;
        assert_eq!(
            (far.digits_received(), near.digits_received()),
            ("123".into(), "4#".into())
        );
        let mut lengths = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let callbot_core::CallEvent::DigitEnded { duration, .. } = event {
                lengths.push(duration.as_millis());
            }
        }
        assert_eq!(lengths, [160, 160]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_side_holds_and_nothing_is_torn_down() {
    let mut three = Three::new(&[Codec::Pcmu], &[Codec::Pcmu]).await;
    let (near, first, second, far) = three.call().await;
    let bridge = bridge(&first, &second).unwrap();
    let far_ear = Ear::on(&far);
    near.hold().await.unwrap();
    tokio::time::sleep(secs(30)).await;
    assert!(far.hangup_cause().is_none() && second.hangup_cause().is_none());
    let sent = second.statistics().await.unwrap().packets_sent;
    assert!(
        sent > 1_400,
        "silence, so that nobody misses packets: {sent}"
    );
    near.resume().await.unwrap();
    tokio::time::sleep(ms(200)).await;
    near.play(tone(440.0, 1.0)).await.unwrap();
    tokio::time::sleep(ms(300)).await;
    is_tone(&far_ear.tone(440.0), 440.0, secs(1));
    far.hangup().await.unwrap();
    let end = bridge.await;
    assert_eq!(
        (end.side, end.cause.cause()),
        (BridgeSide::Second, Cause::NormalClearing)
    );
    assert!(
        first.hangup_cause().is_none(),
        "the other call is the bot's"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bridge_dropped_gives_the_calls_back_and_can_be_made_again() {
    let mut three = Three::new(&[Codec::Pcmu], &[Codec::Pcmu]).await;
    let (near, first, second, far) = three.call().await;
    // What plays waits for the end of the bridge, and goes on then.
    let music = {
        let first = first.clone();
        tokio::spawn(async move { first.play(tone(800.0, 2.0)).await })
    };
    tokio::time::sleep(secs(1)).await;
    let made = bridge(&first, &second).unwrap();
    assert!(
        matches!(bridge(&second, &first), Err(Error::State(why)) if why.contains("one bridge"))
    );
    assert!(matches!(bridge(&first, &first), Err(Error::State(why)) if why.contains("itself")));
    let near_ear = Ear::on(&near);
    far.play(tone(600.0, 1.0)).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert!(near_ear.level_from(1.5) < -60.0, "no music meanwhile");
    made.stop();
    music.await.unwrap().unwrap();
    tokio::time::sleep(ms(200)).await;
    let rest = near_ear.tone(800.0).sounding();
    assert!(rest.abs_diff(secs(1)) < ms(100), "{rest:?}");
    let again = bridge(&second, &first).unwrap();
    let far_ear = Ear::on(&far);
    near.play(tone(440.0, 1.0)).await.unwrap();
    tokio::time::sleep(ms(300)).await;
    is_tone(&far_ear.tone(440.0), 440.0, secs(1));
    far.hangup().await.unwrap();
    assert_eq!(again.await.side, BridgeSide::First);
    assert!(matches!(bridge(&first, &second), Err(Error::HungUp(_))));
}

#[tokio::test(start_paused = true)]
async fn a_recording_of_a_bridged_call_has_both_sides() {
    let mut three = Three::new(&[Codec::Pcma], &[Codec::Pcma]).await;
    let (near, first, second, far) = three.call().await;
    let _bridge = bridge(&first, &second).unwrap();
    tokio::time::sleep(ms(500)).await;
    let file = folder("bridge_recorded").join("both.wav");
    let recording = first
        .record(file.display().to_string())
        .stereo()
        .start()
        .await
        .unwrap();
    let (spoken, answered) = tokio::join!(near.play(tone(440.0, 2.0)), far.play(tone(600.0, 2.0)));
    spoken.unwrap();
    answered.unwrap();
    tokio::time::sleep(ms(300)).await;
    recording.stop().await.unwrap();
    let sides = wav(&file);
    for (side, hertz) in sides.iter().zip([440.0, 600.0]) {
        let report = measure_tone(side, 8000, hertz).unwrap();
        assert!(
            report.sounding() > ms(1_900) && (report.level_dbov - -20.0).abs() < 0.5,
            "{report:?}"
        );
    }
}

/// Over sockets, where the two sessions begin on two threads and are brought to one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_two_threads_are_joined_on_one() {
    let start = || async {
        Endpoint::builder()
            .listen("udp://127.0.0.1:0")
            .media_threads(2)
            .start()
            .await
            .unwrap()
    };
    let (near, middle, far) = (start().await, start().await, start().await);
    let take = |endpoint: &Endpoint| {
        let endpoint = endpoint.clone();
        async move { endpoint.accept().await.unwrap().answer().await.unwrap() }
    };
    let (to_middle, to_far) = (middle.uri("m"), far.uri("f"));
    let (near_call, first) =
        tokio::join!(async { near.dial(to_middle).await.unwrap() }, take(&middle));
    let (second, far_call) = tokio::join!(async { middle.dial(to_far).await.unwrap() }, take(&far));
    for round in 0..2 {
        let bridge = bridge(&first, &second).unwrap();
        let ear = Ear::on(&far_call);
        // A command right behind the move finds its session.
        assert!(second.statistics().await.is_some(), "round {round}");
        near_call.play(tone(440.0, 1.0)).await.unwrap();
        tokio::time::sleep(ms(300)).await;
        let report = ear.tone(440.0);
        assert!((report.frequency - 440.0).abs() < 0.5, "{report:?}");
        // A busy machine may run the threads late; what is tried here is where the sessions are, not how even they sound.
        assert!(report.sounding() > ms(500), "{report:?}");
        drop(bridge);
    }
    near_call.hangup().await.unwrap();
    second.hangup().await.unwrap();
    for endpoint in [near, middle, far] {
        endpoint.shutdown(Duration::ZERO).await;
    }
}
