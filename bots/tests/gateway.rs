//! The gateway between a caller and a callee, over the in-memory network and in paused time.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbot::Gateway;
use callbot::report::{CallReport, Outcome, Reporter};
use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::{
    Call, CallInfo, Cause, Endpoint, HangupCause, IncomingCall, Party, Reason, Result, answer_with,
};
use common::{Ear, ms, secs, tone};
use tokio::sync::mpsc;

/// What the callee's side saw of a call.
#[derive(Debug)]
enum Seen {
    Invited(Box<CallInfo>),
    Answered(Call),
    Ended(HangupCause),
}

/// A caller at 10.0.0.1, the gateway at 10.0.0.2 and a callee at 10.0.0.3.
struct Trio {
    caller: Endpoint,
    gateway: Endpoint,
    seen: mpsc::Receiver<Seen>,
    reports: mpsc::Receiver<CallReport>,
}

impl Trio {
    /// The callee does as the called user says; `shape` sets the gateway up.
    async fn new(to: &str, shape: impl FnOnce(Gateway) -> Gateway) -> Self {
        let network = MemoryNetwork::new(3);
        let start = |n: u8| {
            let endpoint = Endpoint::builder().memory(network.host([10, 0, 0, n]));
            async move { endpoint.seed(u64::from(n)).start().await.unwrap() }
        };
        let (caller, gateway, callee) = (start(1).await, start(2).await, start(3).await);
        let (told, seen) = mpsc::channel(16);
        tokio::spawn(async move {
            let service = answer_with(move |call| callee_bot(call, told.clone()));
            callee.serve(service).await
        });
        let (reporter, reports) = Reporter::new("gateway");
        let bot = shape(Gateway::new(&gateway, to.parse().unwrap())).report_to(&reporter);
        let serving = gateway.clone();
        tokio::spawn(async move { serving.serve(reporter.wrap(bot)).await });
        Self {
            caller,
            gateway,
            seen,
            reports,
        }
    }

    async fn dial(&self, user: &str) -> Result<Call> {
        self.caller.dial(format!("sip:{user}@10.0.0.2")).await
    }

    async fn next(&mut self) -> Seen {
        tokio::time::timeout(secs(300), self.seen.recv())
            .await
            .expect("the callee is told")
            .unwrap()
    }

    async fn invited(&mut self) -> Box<CallInfo> {
        match self.next().await {
            Seen::Invited(info) => info,
            other => panic!("{other:?}"),
        }
    }

    async fn answered(&mut self) -> Call {
        self.invited().await;
        match self.next().await {
            Seen::Answered(call) => call,
            other => panic!("{other:?}"),
        }
    }

    async fn ended(&mut self) -> HangupCause {
        match self.next().await {
            Seen::Ended(cause) => cause,
            other => panic!("{other:?}"),
        }
    }

    async fn report(&mut self) -> CallReport {
        tokio::time::timeout(secs(300), self.reports.recv())
            .await
            .expect("the call is reported")
            .unwrap()
    }
}

async fn callee_bot(call: IncomingCall, told: mpsc::Sender<Seen>) -> Result<()> {
    let user = call.info().called().to_owned();
    let _ = told
        .send(Seen::Invited(Box::new(call.info().clone())))
        .await;
    if let Ok(status) = user.parse::<u16>() {
        let reason = vec![(
            "Reason".to_owned(),
            "Q.850;cause=17;text=\"gone fishing\"".to_owned(),
        )];
        return call
            .reject_with_headers(status, Some("Said So"), reason)
            .await;
    }
    if user == "rings" {
        call.ring().await?;
        let cause = call.cancelled().await;
        let _ = told.send(Seen::Ended(cause)).await;
        return Ok(());
    }
    let call = if user == "early" {
        let early = call.progress().await?;
        early.play(tone(425.0, secs(2))).await?;
        early.answer().await?
    } else {
        call.ring().await?;
        tokio::time::sleep(secs(1)).await;
        call.answer().await?
    };
    let _ = told.send(Seen::Answered(call.clone())).await;
    let cause = call.ended().await;
    let _ = told.send(Seen::Ended(cause)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_through_is_heard_both_ways_and_reported_with_both_legs() {
    let mut trio = Trio::new("sip:{user}@10.0.0.3", |gateway| gateway).await;
    let dial = trio
        .caller
        .dial("sip:bob@10.0.0.2")
        .from("sip:alice@10.0.0.1")
        .display_name("Alice");
    let ringing = dial.start().await.unwrap();
    assert_eq!(ringing.ringing().await.unwrap(), 180);
    let near = ringing.answered().await.unwrap();
    let info = trio.invited().await;
    assert_eq!((info.called(), info.caller()), ("bob", "alice"));
    assert_eq!(info.from_display(), Some("Alice"));
    assert_eq!(info.header("Max-Forwards"), Some("69"));
    let Seen::Answered(far) = trio.next().await else {
        panic!("the callee answers");
    };
    let (near_ear, far_ear) = (Ear::on(&near), Ear::on(&far));
    let (there, back) = tokio::join!(
        near.play(tone(440.0, secs(2))),
        far.play(tone(600.0, secs(2)))
    );
    there.unwrap();
    back.unwrap();
    near.send_dtmf("42#").await.unwrap();
    tokio::time::sleep(ms(500)).await;
    for (ear, hertz) in [(&far_ear, 440.0), (&near_ear, 600.0)] {
        let report = ear.tone(hertz);
        assert!(
            report.sounding() > ms(1_900) && (report.level_dbov - -20.0).abs() < 0.5,
            "{report:?}"
        );
    }
    assert_eq!(far.digits_received(), "42#");
    near.hangup_because("Q.850;cause=31;text=\"tired\"")
        .await
        .unwrap();
    let cause = trio.ended().await;
    assert_eq!(cause.by(), Party::Remote);
    assert_eq!(cause.reason_header(), "Q.850;cause=31;text=\"tired\"");
    let report = trio.report().await;
    let callee = report.callee.as_ref().unwrap();
    assert_eq!((report.result, callee.result), (Outcome::Ok, Outcome::Ok));
    assert_eq!(report.digits, "42#");
    assert_eq!(callee.to, "sip:bob@10.0.0.3");
    assert_ne!(report.call_id, callee.call_id);
    for leg in [&report, &**callee] {
        let rtp = leg.rtp.as_ref().unwrap();
        assert!(rtp.received > 90 && rtp.lost == 0, "{rtp:?}");
    }
    let line: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(line["callee"]["to"], "sip:bob@10.0.0.3");
}

#[tokio::test(start_paused = true)]
async fn the_callee_hangs_up_and_so_does_the_gateway() {
    let mut trio = Trio::new("sip:{user}@10.0.0.3", |gateway| gateway).await;
    let near = trio.dial("bob").await.unwrap();
    let far = trio.answered().await;
    tokio::time::sleep(secs(1)).await;
    far.hangup_because("SIP;cause=200;text=\"done\"")
        .await
        .unwrap();
    let cause = near.ended().await;
    assert_eq!(
        (cause.cause(), cause.by()),
        (Cause::NormalClearing, Party::Remote)
    );
    assert_eq!(cause.reason_header(), "SIP;cause=200;text=\"done\"");
    assert_eq!(trio.report().await.result, Outcome::Ok);
}

#[tokio::test(start_paused = true)]
async fn early_media_is_heard_before_the_answer() {
    let mut trio = Trio::new("sip:{user}@10.0.0.3", |gateway| gateway).await;
    let ringing = trio
        .caller
        .dial("sip:early@10.0.0.2")
        .start()
        .await
        .unwrap();
    assert_eq!(ringing.ringing().await.unwrap(), 183);
    let near = ringing.answered().await.unwrap();
    let far = trio.answered().await;
    // What came before the answer is in the jitter buffer's past: the recorder of the caller tells.
    let figures = near.statistics().await.unwrap();
    assert!(figures.packets_received > 90, "{figures:?}");
    let far_ear = Ear::on(&far);
    near.play(tone(440.0, secs(1))).await.unwrap();
    tokio::time::sleep(ms(300)).await;
    assert!(
        far_ear.tone(440.0).sounding() > ms(950),
        "the same bridge goes on"
    );
    near.hangup().await.unwrap();
    trio.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_goes_to_the_caller_with_its_reason() {
    let mut trio = Trio::new("sip:{user}@10.0.0.3", |gateway| gateway).await;
    for (user, status) in [
        ("486", 486),
        ("404", 404),
        ("603", 603),
        ("503", 503),
        ("420", 502),
    ] {
        let refused = trio.dial(user).await.unwrap_err();
        let cause = refused.hangup_cause().unwrap();
        assert_eq!(
            (cause.status(), cause.by()),
            (Some(status), Party::Remote),
            "{user}"
        );
        assert_eq!(
            cause.reason_header(),
            "Q.850;cause=17;text=\"gone fishing\""
        );
        trio.invited().await;
        let report = trio.report().await;
        assert_eq!(
            (report.result, report.status),
            (Outcome::Failed, Some(status))
        );
        assert_eq!(report.callee.unwrap().status, user.parse().ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_cancels_the_callee() {
    let mut trio = Trio::new("sip:{user}@10.0.0.3", |gateway| gateway).await;
    let ringing = trio
        .caller
        .dial("sip:rings@10.0.0.2")
        .start()
        .await
        .unwrap();
    assert_eq!(ringing.ringing().await.unwrap(), 180);
    tokio::time::sleep(secs(2)).await;
    let elsewhere = Reason::sip(200, "Call completed elsewhere");
    ringing.cancel_because(elsewhere.clone()).await;
    trio.invited().await;
    let cause = trio.ended().await;
    assert_eq!(cause.cause(), Cause::OriginatorCancel);
    assert_eq!(cause.reason(), [elsewhere]);
    assert_eq!(trio.gateway.active_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_callee_who_never_answers_is_given_up() {
    let mut trio = Trio::new("sip:{user}@10.0.0.3", |gateway| {
        gateway.ring_timeout(secs(20))
    })
    .await;
    let began = tokio::time::Instant::now();
    let refused = trio.dial("rings").await.unwrap_err();
    assert_eq!(refused.hangup_cause().unwrap().status(), Some(480));
    assert!(began.elapsed() < secs(21));
    trio.invited().await;
    assert_eq!(trio.ended().await.cause(), Cause::OriginatorCancel);
    // And one that is not there at all: no answer to the INVITE.
    let trio = Trio::new("sip:{user}@10.0.0.9", |gateway| gateway).await;
    let refused = trio.dial("bob").await.unwrap_err();
    assert_eq!(refused.hangup_cause().unwrap().status(), Some(408));
}

#[tokio::test(start_paused = true)]
async fn calls_do_not_go_round() {
    let trio = Trio::new("sip:{user}@10.0.0.2", |gateway| gateway).await;
    let refused = trio.dial("bob").await.unwrap_err();
    assert_eq!(refused.hangup_cause().unwrap().status(), Some(482));
    let trio = Trio::new("sip:{user}@10.0.0.3", |gateway| gateway).await;
    let dial = trio.caller.dial("sip:bob@10.0.0.2").max_forwards(0);
    let refused = dial.await.unwrap_err();
    assert_eq!(refused.hangup_cause().unwrap().status(), Some(483));
}

#[tokio::test(start_paused = true)]
async fn the_target_is_made_of_the_call_and_limits_hold() {
    let shape = |gateway: Gateway| {
        gateway
            .caller_id("sip:+4930@10.0.0.2".parse().unwrap())
            .header("X-Gateway", "one")
            .pass_header("X-Case")
            .max_calls(1)
    };
    let mut trio = Trio::new("sip:{header:X-Agent}@10.0.0.3", shape).await;
    let missing = trio.dial("bob").await.unwrap_err();
    assert_eq!(missing.hangup_cause().unwrap().status(), Some(484));
    let dial = || {
        let dial = trio.caller.dial("sip:bob@10.0.0.2").header("X-Case", "7");
        dial.header("X-Agent", "a;b@c")
    };
    let standing = dial().await.unwrap();
    let full = dial().await.unwrap_err();
    assert_eq!(full.hangup_cause().unwrap().status(), Some(503));
    let info = trio.invited().await;
    assert_eq!((info.called(), info.caller()), ("a%3Bb%40c", "+4930"));
    assert_eq!(
        (info.header("X-Case"), info.header("X-Gateway")),
        (Some("7"), Some("one"))
    );
    standing.hangup().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_is_recorded_with_both_sides() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway");
    let _ = std::fs::remove_dir_all(&folder);
    let file = folder.join("{to}.wav").display().to_string();
    let mut trio = Trio::new("sip:{user}@10.0.0.3", |gateway| gateway.record(file)).await;
    let near = trio.dial("bob").await.unwrap();
    let far = trio.answered().await;
    let heard: Arc<Mutex<Vec<Duration>>> = Arc::default();
    tokio::time::sleep(ms(500)).await;
    let (there, back) = tokio::join!(
        near.play(tone(440.0, secs(1))),
        far.play(tone(600.0, secs(1)))
    );
    there.unwrap();
    back.unwrap();
    tokio::time::sleep(ms(300)).await;
    near.hangup().await.unwrap();
    let report = trio.report().await;
    let sides = common::wav(&report.recordings[0]);
    for (side, hertz) in sides.iter().zip([440.0, 600.0]) {
        let report = callbot_core::analysis::measure_tone(side, 8000, hertz).unwrap();
        heard.lock().unwrap().push(report.sounding());
    }
    assert!(
        heard.lock().unwrap().iter().all(|length| *length > ms(950)),
        "{heard:?}"
    );
}
